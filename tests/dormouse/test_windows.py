"""Windows of the week: what holds when, and what is refused by name."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from dormouse.windows import any_holds, parse


def at(text, zone="Europe/Madrid"):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


@pytest.mark.parametrize(
    ("window", "when", "holds"),
    [  # 2030-01-07 is a Monday
        ("Mon-Fri 08:00-18:00 Europe/Madrid", "2030-01-07T08:00", True),
        ("Mon-Fri 08:00-18:00 Europe/Madrid", "2030-01-07T07:59:59", False),
        ("Mon-Fri 08:00-18:00 Europe/Madrid", "2030-01-11T17:59:59", True),
        ("Mon-Fri 08:00-18:00 Europe/Madrid", "2030-01-11T18:00", False),
        ("Mon-Fri 08:00-18:00 Europe/Madrid", "2030-01-12T12:00", False),
        ("Mon-Fri 08:00-18:00 UTC", "2030-01-07T08:30", False),  # 07:30 in UTC
        ("Mon-Fri 08:00-18:00 UTC", "2030-01-07T18:30", True),
        ("Sat 00:00-24:00 Europe/Madrid", "2030-01-12T23:59", True),
        ("Sat 00:00-24:00 Europe/Madrid", "2030-01-13T00:00", False),
        ("Mon,Thu 10:00-11:00 Europe/Madrid", "2030-01-10T10:30", True),
        ("Mon,Thu 10:00-11:00 Europe/Madrid", "2030-01-09T10:30", False),
        ("Fri-Mon 10:00-11:00 Europe/Madrid", "2030-01-13T10:30", True),
        ("Fri-Mon 10:00-11:00 Europe/Madrid", "2030-01-07T10:30", True),
        ("Fri-Mon 10:00-11:00 Europe/Madrid", "2030-01-10T10:30", False),
        ("Sun 22:00-06:00 Europe/Madrid", "2030-01-07T05:59", True),  # into Monday
        ("Sun 22:00-06:00 Europe/Madrid", "2030-01-07T06:00", False),
        ("Sun 22:00-06:00 Europe/Madrid", "2030-01-13T22:00", True),
        ("Sun 22:00-06:00 Europe/Madrid", "2030-01-13T05:00", False),  # that was Saturday's
        ("Mon 22:00-00:00 Europe/Madrid", "2030-01-07T23:59", True),
        ("Mon 22:00-00:00 Europe/Madrid", "2030-01-08T00:00", False),
        ("Mon-Sun 08:00-09:00 Europe/Madrid", "2030-07-08T08:30", True),  # summer: the wall clock
    ],
)
def test_when_a_window_holds(window, when, holds):
    assert parse(window).holds(at(when)) is holds


def test_one_of_several_is_enough():
    both = [parse("Mon 08:00-09:00 UTC"), parse("Tue 08:00-09:00 UTC")]
    assert any_holds(both, at("2030-01-08T08:30", "UTC"))
    assert not any_holds(both, at("2030-01-09T08:30", "UTC"))
    assert not any_holds([], at("2030-01-09T08:30", "UTC"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not like"),
        ("Mon-Fri 8:00-18:00 UTC", "is not like"),
        ("Mon-Fri 08:00-18:00", "is not like"),
        ("Mon-Fri 08:00-18:00 UTC ", "is not like"),
        ("mon-Fri 08:00-18:00 UTC", "'mon' is no day"),
        ("Mon-Friday 08:00-18:00 UTC", "'Friday' is no day"),
        ("Mon, 08:00-18:00 UTC", "'' is no day"),
        ("Mon- 08:00-18:00 UTC", "'' is no day"),
        ("Mon 08:60-18:00 UTC", "'08:60' is no time"),
        ("Mon 08:00-24:01 UTC", "'24:01' is no time"),
        ("Mon 08:00-08:00 UTC", "ends when it begins"),
        ("Mon 24:00-08:00 UTC", "ends when it begins"),
        ("Mon 08:00-18:00 Europe", "'Europe' is no time zone"),
        ("Mon 08:00-18:00 Europe/Nowhere", "is no time zone"),
        ("Mon 08:00-18:00 ../../etc/passwd", "is no time zone"),
    ],
)
def test_what_is_wrong_is_said(text, why):
    with pytest.raises(ValueError, match=why):
        parse(text)
