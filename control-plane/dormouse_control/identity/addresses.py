"""Addresses of callers, and the ranges that hold them. Pure; also for the authorizer."""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def normal(text: str) -> str:
    """A range in its one spelling. Raises ValueError, with a hint, for what is none."""
    try:
        if "%" in text:  # a zone is a name inside one machine
            raise ValueError
        meant = ipaddress.ip_network(text, strict=False)
        given = ipaddress.ip_interface(text).ip
    except ValueError:
        raise ValueError(
            f"{text!r} is not a range of addresses such as 192.0.2.0/24 or 2001:db8::/32"
        ) from None
    if given != meant.network_address:
        raise ValueError(
            f"{text!r} names one address inside a range: write {meant} for the whole range"
        )
    return str(_as_written_most(meant))


def _as_written_most(range: Network) -> Network:
    """Addresses of version 4 in version 6's clothes (RFC 4291, 2.5.5.2) are looked up as such."""
    mapped = getattr(range.network_address, "ipv4_mapped", None)
    if mapped is None or range.prefixlen < 96:
        return range
    return ipaddress.IPv4Network((mapped, range.prefixlen - 96))


def contains(ranges: Sequence[str], address: str | None) -> bool:
    """Whether one of the ranges (CIDR) holds the address; never for one that is not known."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    # The same address of version 4, as sockets that speak both versions write it.
    mapped = getattr(found, "ipv4_mapped", None)
    return any((mapped or found) in _network(each) for each in ranges)


@lru_cache(maxsize=4096)
def _network(text: str) -> Network:
    return ipaddress.ip_network(text)
