import re
import time

from dormouse_control.naming import new_id

ID_PATTERN = r"^(usr|key|ses|ent)_[0-9a-hjkmnp-tv-z]{26}$"


def test_ids_say_what_they_are_and_sort_by_time() -> None:
    first = new_id("usr")
    time.sleep(0.002)
    second = new_id("usr")

    assert re.fullmatch(ID_PATTERN, first)
    assert first < second


def test_ids_are_never_the_same() -> None:
    assert len({new_id("key") for _ in range(10_000)}) == 10_000
