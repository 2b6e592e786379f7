"""Every service has a user of its own, and keeps it."""

from pathlib import Path

import pytest

from dormouse_control.nest.users import MOST, TooManyServices, assigned, first_choice, numbers

NAMES = [f"service-{number}" for number in range(MOST)]


def test_no_two_services_share_one() -> None:
    found = assigned({}, NAMES)
    assert sorted(found.values()) == list(range(1, MOST + 1))
    with pytest.raises(TooManyServices):
        assigned(found, [*NAMES, "one-more"])


def test_whoever_comes_or_goes_the_others_keep_theirs(tmp_path: Path) -> None:
    file = tmp_path / "users.json"
    rivals = [name for name in NAMES if first_choice(name) == first_choice(NAMES[3])]
    rivals += [name for name in (f"x{n}" for n in range(2000)) if first_choice(name) == 4][:3]
    before = numbers(file, NAMES[:12])
    assert numbers(file, [*rivals, *NAMES[:12]]).items() >= before.items()
    alone = numbers(file, NAMES[3:4])
    assert alone == {NAMES[3]: before[NAMES[3]]}
    assert numbers(file, NAMES[:12]) == before  # they have been away
    assert file.stat().st_mode & 0o777 == 0o600


def test_those_that_are_gone_give_way_when_there_is_no_room() -> None:
    before = assigned({}, NAMES)
    found = assigned(before, [*NAMES[1:], "new"])
    assert found["new"] == before[NAMES[0]]
    assert {name: found[name] for name in NAMES[1:]} == {n: before[n] for n in NAMES[1:]}


def test_the_one_of_a_name_is_likely_the_same_everywhere() -> None:
    assert assigned({}, ["chat"]) == {"chat": 91}


@pytest.mark.parametrize(
    "text", ["", "[]", '{"chat": "x"}', '{"chat": 0}', '{"chat": 5, "other": 5}', '{"chat": null}']
)
def test_a_damaged_file_counts_for_nothing(tmp_path: Path, text: str) -> None:
    file = tmp_path / "users.json"
    file.write_text(text)
    assert numbers(file, ["chat"]) == {"chat": 91}
    assert numbers(file, ["chat"]) == {"chat": 91}
