"""Under which names the gateway answers.

A page from anywhere can point a name of its own at this machine (DNS rebinding) and then talk to
the gateway as if it were its own server; what it cannot do is send another Host header.
"""

import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
EVERY = ("*",)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def served_hosts(*, host: str, public_url: str, allowed: Sequence[str]) -> tuple[str, ...]:
    """Without ports; `host` is the address that the gateway listens on."""
    if not (allowed or is_loopback(host)):
        return EVERY
    names = (*LOOPBACK, host, urlsplit(public_url).hostname or "", *allowed)
    if "*" in names:
        return EVERY
    return tuple(dict.fromkeys(_written(name) for name in names if name))


def certificate_names(*, host: str, public_url: str, allowed: Sequence[str]) -> list[str]:
    """Host names and addresses for which a certificate of our own is to be good."""
    named = (*LOOPBACK, socket.gethostname(), host, urlsplit(public_url).hostname or "", *allowed)
    plain = {name.strip("[]").lower() for name in named}
    return sorted(plain - {"", "*", "0.0.0.0", "::"})  # noqa: S104  compares, does not bind


def _written(name: str) -> str:
    """As a Host header writes it: an IPv6 address in brackets."""
    name = name.lower()
    return f"[{name}]" if ":" in name and not name.startswith("[") else name
