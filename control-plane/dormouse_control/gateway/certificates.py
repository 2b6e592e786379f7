"""A certificate that the platform makes for itself, so that one machine has TLS at once."""

import ipaddress
import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dormouse_control import private_files
from dormouse_control.gateway.tls import CERTIFICATE, KEY

LIFE = timedelta(days=365)
RENEWED_BEFORE = timedelta(days=30)


def keep(folder: Path, names: Sequence[str], *, now: datetime) -> bool:
    """Have a certificate for exactly these names and addresses in `folder`; True: a new one."""
    wanted = sorted(set(names))
    if _is_good(folder, wanted, now=now):
        return False
    folder.mkdir(mode=0o700, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _sign(key, wanted, now=now)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    private_files.write(folder / KEY, pem)
    private_files.write(folder / CERTIFICATE, certificate.public_bytes(Encoding.PEM))
    return True


def _is_good(folder: Path, names: list[str], *, now: datetime) -> bool:
    try:
        found = x509.load_pem_x509_certificate((folder / CERTIFICATE).read_bytes())
        key = os.stat(folder / KEY)
    except (OSError, ValueError):
        return False
    stated = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    there = sorted(str(each.value) for each in stated)
    return (
        there == names
        and key.st_size > 0
        and found.not_valid_before_utc <= now < found.not_valid_after_utc - RENEWED_BEFORE
    )


def _sign(
    key: ec.EllipticCurvePrivateKey, names: Sequence[str], *, now: datetime
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Dormouse of this machine")])
    alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # for clocks that are a little behind
        .not_valid_after(now + LIFE)
        .add_extension(alternatives, critical=False)
        # It stands for itself alone: whoever trusts it trusts no other that its key could sign.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
