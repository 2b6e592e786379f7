import string

import pytest

from dormouse_control.identity.refresh import RefreshToken, read, write
from dormouse_control.naming import new_id

KEY = b"k" * 32


def test_a_token_is_read_back_and_can_be_made_again() -> None:
    token = RefreshToken(family=new_id("ses"), seq=41)

    assert read(write(token, KEY), KEY) == token
    assert write(token, KEY) == write(token, KEY)


def test_another_key_number_or_family_does_not_verify() -> None:
    text = write(RefreshToken(new_id("ses"), 1), KEY)
    family, _, mac = text.split(".")

    assert read(text, b"x" * 32) is None
    assert read(f"{family}.2.{mac}", KEY) is None
    assert read(f"{new_id('ses')}.1.{mac}", KEY) is None


def test_no_prefix_and_no_single_edit_of_a_token_is_valid() -> None:
    text = write(RefreshToken(new_id("ses"), 7), KEY)
    edits = {text[:end] for end in range(len(text))} | {text + extra for extra in "=. \n\x00a"}
    alphabet = string.ascii_letters + string.digits + "-_.= \n"
    for place in range(len(text)):
        edits |= {text[:place] + other + text[place + 1 :] for other in alphabet}

    assert [edit for edit in edits - {text} if read(edit, KEY)] == []


@pytest.mark.parametrize("seq", ["01", "-1", "+1", "1_0", "\u0661", "9999999999"])
def test_numbers_are_written_in_one_way(seq: str) -> None:
    family, _, mac = write(RefreshToken(new_id("ses"), 1), KEY).split(".")

    assert read(f"{family}.{seq}.{mac}", KEY) is None
