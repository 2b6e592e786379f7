"""What meters say of each account, and who is to hear it."""

import ipaddress
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path

from dormouse import meters

REPEAT_SECONDS = 2.0
"""A record is repeated at every tick while calls run and for so long after: datagrams get lost."""

FORGET_SECONDS = 1800.0
"""Longer than authorizers remember accounts, and shorter than they remember predictors."""

_SOCKET = re.compile(r"\w[\w.-]*", re.ASCII)


@dataclass(eq=False, slots=True)
class Record:
    """One account's. `changed` is monotonic; `sent`: it went out after its last change."""

    account: int
    began: int = 0
    ended: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_nano: int = 0
    changed: float = 0.0
    sent: bool = False

    def values(self) -> meters.Meters:
        return meters.Meters(
            self.account,
            self.began,
            self.ended,
            self.prompt_tokens,
            self.completion_tokens,
            self.cost_nano,
        )

    def is_old(self, now: float) -> bool:
        """Who has it begins anew with their next call."""
        return self.began == self.ended and now - self.changed >= FORGET_SECONDS

    def is_over(self, now: float) -> bool:
        """Nobody needs to hear it any more."""
        if self.is_old(now):
            return True
        since = now - self.changed
        return self.began == self.ended and self.sent and since >= REPEAT_SECONDS


@dataclass(eq=False)
class MeterListener:
    """One authorizer. `lively` are the records that ticks repeat, `news` what changed just now."""

    family: socket.AddressFamily
    address: str | tuple[str, int]
    records: dict[int, Record] = field(default_factory=dict)
    lively: set[Record] = field(default_factory=set)
    news: set[Record] = field(default_factory=set)


def read_listener(authorizer: str, folder: Path | None) -> MeterListener | None:
    """`unix:NAME` in `folder`, or `udp:HOST:PORT` with an address for HOST: names would have to be
    looked up, which takes time."""
    kind, _, rest = authorizer.partition(":")
    if kind == "unix" and folder is not None and _SOCKET.fullmatch(rest):
        return MeterListener(socket.AF_UNIX, str(folder / rest))
    host, _, port = rest.rpartition(":")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
        number = int(port)
    except ValueError:
        return None
    if kind != "udp" or not 0 < number < 1 << 16:
        return None
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    return MeterListener(family, (str(address), number))
