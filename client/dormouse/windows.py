"""Windows of the week, as people write them: `Mon-Fri 08:00-18:00 Europe/Madrid`. Pure.

Days are one, a list or a range (`Sat`, `Mon,Thu`, `Fri-Mon`); the hours of a window that ends
before it begins go into the next day; `24:00` is the end of a day. Hours are those on the clocks of
the zone, so that they move with its summer time.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY_MINUTES = 24 * 60
_FORM = re.compile(r"(?P<days>\S+) (?P<begins>\d\d:\d\d)-(?P<ends>\d\d:\d\d) (?P<zone>\S+)")


@dataclass(frozen=True)
class Window:
    """`days` count from Monday, 0; `begins` and `ends` are minutes of a day."""

    days: frozenset[int]
    begins: int
    ends: int
    zone: ZoneInfo

    def holds(self, now: datetime) -> bool:
        """`now` knows its own zone."""
        local = now.astimezone(self.zone)
        minute, today = local.hour * 60 + local.minute, local.weekday()
        if self.begins < self.ends:
            return today in self.days and self.begins <= minute < self.ends
        if minute >= self.begins:
            return today in self.days
        return minute < self.ends and (today - 1) % 7 in self.days


def parse(text: str) -> Window:
    """Raises ValueError that says what is wrong."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not like 'Mon-Fri 08:00-18:00 Europe/Madrid'")
    begins, ends = _minutes(found["begins"]), _minutes(found["ends"])
    if begins in (ends, _DAY_MINUTES):
        raise ValueError(f"{text!r} ends when it begins")
    return Window(_days(found["days"]), begins, ends, _zone(found["zone"]))


def any_holds(windows: Iterable[Window], now: datetime) -> bool:
    return any(window.holds(now) for window in windows)


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        start, end = _day(first), _day(last if dash else first)
        found |= {day % 7 for day in range(start, end + 1 if end >= start else end + 8)}
    return frozenset(found)


def _day(name: str) -> int:
    if name not in DAYS:
        raise ValueError(f"{name!r} is no day; days are {', '.join(DAYS)}")
    return DAYS.index(name)


def _minutes(text: str) -> int:
    hours, minutes = int(text[:2]), int(text[3:])
    if minutes >= 60 or hours * 60 + minutes > _DAY_MINUTES:
        raise ValueError(f"{text!r} is no time of a day")
    return hours * 60 + minutes


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone, e.g. Europe/Madrid or UTC") from error
