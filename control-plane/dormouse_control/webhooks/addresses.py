"""Where webhooks may go: public addresses, and what the operator allows. Pure.

A name says nothing: whoever owns it decides where it leads, and may change that between two looks.
So what is decided on is an address, and the connection is made to that very address.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from urllib.parse import urlsplit

LONGEST = 2000
"""Characters of a URL."""

_Address = IPv4Address | IPv6Address
_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*", re.ASCII)
_VISIBLE = re.compile(r"[!-~]*", re.ASCII)
# Python calls several of these global: they lead to an IPv4 address that is written inside.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NEVER = tuple(
    ip_network(each)
    for each in (
        "0.0.0.0/8",
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "224.0.0.0/3",
        "2001::/23",
        "2002::/16",
        "3fff::/20",
    )
)


class Refused(Exception):
    """The webhook may not go there. The text is for its owner."""


@dataclass(frozen=True)
class Target:
    """A URL in its parts. `host` is lower-case and without brackets, `path` with its query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """As it stands in the header `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"https": 443, "http": 80}[self.scheme]
        return host if self.port == usual else f"{host}:{self.port}"


@dataclass(frozen=True)
class Allowed:
    """What the operator allows beside public addresses."""

    names: frozenset[str]
    networks: tuple[IPv4Network | IPv6Network, ...]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Allowed":
        """Raises ValueError for what is neither the name of a host nor a network."""
        names, networks = set(), []
        for text in texts:
            try:
                networks.append(ip_network(text))
            except ValueError:
                if not _NAME.fullmatch(text.lower()) or _is_numeric(text):
                    raise ValueError(f"{text!r} is no name of a host and no network") from None
                names.add(text.lower())
        return cls(frozenset(names), tuple(networks))

    def covers(self, address: _Address) -> bool:
        return any(address in network for network in self.networks)


def target(url: str, allowed: Allowed) -> Target:
    """Raises `Refused` for a URL that could not be right, wherever its name leads."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Refused("The URL of the webhook is not valid.") from None
    host = (parts.hostname or "").lower()
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    # Of the whole: what splits it leaves tabs, line ends and leading spaces out.
    if len(url) > LONGEST or not _VISIBLE.fullmatch(url):
        raise Refused(
            f"The URL of the webhook must be visible ASCII, at most {LONGEST} characters."
        )
    if parts.scheme not in ("https", "http") or "@" in parts.netloc or "#" in url or port == 0:
        raise Refused("The webhook must be https://HOST[:PORT]/PATH, without user and fragment.")
    literal = _literal(host)
    if literal is None and (not _NAME.fullmatch(host) or _is_numeric(host)):
        raise Refused("The webhook's host is neither a name nor an address in its usual form.")
    if literal is not None:
        check(host, [host], allowed)
    if parts.scheme == "http" and not _may_be_plain(host, literal, allowed):
        raise Refused("The webhook must begin with https://.")
    usual = 443 if parts.scheme == "https" else 80
    return Target(parts.scheme, host, port or usual, path)


def check(host: str, addresses: Sequence[str], allowed: Allowed) -> str:
    """The address to connect to, of all those that `host` stands for.

    Raises `Refused` if one of them is neither public nor allowed.
    """
    if not addresses:
        raise Refused("The webhook's host has no address.")
    if host not in allowed.names:
        for text in addresses:
            address = ip_address(text)
            if not (_is_public(address) or allowed.covers(address)):
                raise Refused("The webhook's host leads to an address that is not public.")
    return addresses[0]


def _is_public(address: _Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False  # also IPv4 addresses in any of the ways to write them inside
    return (
        address.is_global
        and not address.is_multicast
        and not any(address in network for network in _NEVER)
    )


def _may_be_plain(host: str, literal: _Address | None, allowed: Allowed) -> bool:
    return host in allowed.names or (literal is not None and allowed.covers(literal))


def _literal(host: str) -> _Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _is_numeric(host: str) -> bool:
    """2130706433, 0x7f.1 and the like: resolvers take them for addresses, though nobody else."""
    last = host.rstrip(".").rpartition(".")[2].lower()
    return last.isdigit() or re.fullmatch(r"0x[0-9a-f]*", last) is not None
