"""Reads ID tokens: who a provider says has signed in (OpenID Connect Core, 3.1.3.7)."""

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any  # claims are JSON

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

LEEWAY_SECONDS = 60
OLDEST_SECONDS = 600
LONGEST = 32 * 1024
_SMALLEST_RSA = 2048
_MOST_KEYS = 100

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

# A key is good for its own algorithms only: never what the token says, never one with a shared
# secret, for which our public copy of the key would be enough to sign.
_PARTS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_ALGORITHMS = {
    ("RSA", None): ("RS256", "PS256"),
    ("EC", "P-256"): ("ES256",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
_READERS = {
    "RSA": jwt.algorithms.RSAAlgorithm.from_jwk,
    "EC": jwt.algorithms.ECAlgorithm.from_jwk,
    "OKP": jwt.algorithms.OKPAlgorithm.from_jwk,
}
# Times are checked below with our own clock, and the rest more strictly than the library does.
_SIGNATURE_ONLY: jwt.types.Options = {
    "verify_signature": True,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


class IdTokenError(Exception):
    """Its text says what is wrong and holds nothing of the token."""


@dataclass(frozen=True)
class ProviderKey:
    kid: str | None
    key: PublicKey
    algorithms: tuple[str, ...]


@dataclass(frozen=True)
class Expected:
    issuer: str
    client_id: str
    nonce: str


def read_keys(document: Mapping[str, Any]) -> tuple[ProviderKey, ...]:
    """The keys of a JWKS document that we can use; others are left out."""
    listed = document.get("keys")
    entries = listed[:_MOST_KEYS] if isinstance(listed, list) else []
    return tuple(key for entry in entries if (key := _read_key(entry)) is not None)


def key_id(token: str) -> str | None:
    """What the token says of its key. Raises `IdTokenError` for what is no token."""
    if len(token) > LONGEST:
        raise IdTokenError("too long")
    try:
        found = jwt.get_unverified_header(token).get("kid")
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise IdTokenError("not a token") from error
    return found if isinstance(found, str) else None


def verify(
    token: str, *, keys: Iterable[ProviderKey], expected: Expected, now: float
) -> dict[str, Any]:
    """The claims. Raises `IdTokenError` for a token that is not for us, here and now."""
    kid = key_id(token)
    fitting = [key for key in keys if kid is None or key.kid == kid]
    if len(fitting) != 1:
        raise IdTokenError("no key, or several, for this token")
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            fitting[0].key,
            algorithms=list(fitting[0].algorithms),
            options=_SIGNATURE_ONLY,
        )
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise IdTokenError("signature does not verify") from error
    _check_addressee(claims, expected)
    _check_times(claims, now=now)
    return claims


def _read_key(entry: object) -> ProviderKey | None:
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    kind = entry.get("kty")
    allowed = _ALGORITHMS.get((str(kind), entry.get("crv") if kind != "RSA" else None))
    if allowed is None or not isinstance(entry.get("kid"), str | None):
        return None
    if "alg" in entry:
        allowed = tuple(alg for alg in allowed if alg == entry["alg"])
    try:
        # Only the public parts: a provider that publishes more must not make us hold it.
        parts = {name: entry[name] for name in ("kty", *_PARTS[str(kind)])}
        key = _READERS[str(kind)](parts)
    except (jwt.PyJWTError, KeyError, ValueError, TypeError):
        return None
    if isinstance(key, RSAPublicKey) and key.key_size < _SMALLEST_RSA:
        return None
    if not allowed or not isinstance(key, PublicKey):
        return None
    return ProviderKey(entry.get("kid"), key, allowed)


def _check_addressee(claims: Mapping[str, Any], expected: Expected) -> None:
    if claims.get("iss") != expected.issuer:
        raise IdTokenError("from another issuer")
    audience = claims.get("aud")
    if audience not in (expected.client_id, [expected.client_id]):
        # Several audiences: then the token must say that it was made for us.
        several = isinstance(audience, list) and expected.client_id in audience
        if not several or "azp" not in claims:
            raise IdTokenError("for another audience")
    if claims.get("azp", expected.client_id) != expected.client_id:
        raise IdTokenError("for another client")
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not hmac.compare_digest(
        nonce.encode("utf-8", "replace"), expected.nonce.encode()
    ):
        raise IdTokenError("from another sign-in")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 1 <= len(subject) <= 255:
        raise IdTokenError("without a subject")
    if not (subject.isascii() and subject.isprintable()):
        raise IdTokenError("with a subject that is none")


def _check_times(claims: Mapping[str, Any], *, now: float) -> None:
    expires, issued = _time(claims, "exp"), _time(claims, "iat")
    if expires <= now - LEEWAY_SECONDS or issued < now - OLDEST_SECONDS - LEEWAY_SECONDS:
        raise IdTokenError("expired")
    begins = _time(claims, "nbf") if "nbf" in claims else issued
    if max(issued, begins) > now + LEEWAY_SECONDS:
        raise IdTokenError("not valid yet")


def _time(claims: Mapping[str, Any], name: str) -> float:
    found = claims.get(name)
    # NaN and infinity are no JSON, but Python reads them.
    if type(found) not in (int, float) or not 0 <= found < 1e11:  # type: ignore[operator]
        raise IdTokenError(f"{name} is not a time")
    return float(found)  # type: ignore[arg-type]
