"""Which passwords are guessed first."""

import pytest

from dormouse_control.identity.weak_passwords import ENOUGH, points, weakness

EMAIL = "ada.lovelace@example.org"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", 0),
        ("a", 1),
        ("xk", 2),
        ("aaaa", 1),
        ("1234", 1),
        ("dcba", 1),
        ("qwerty", 1),
        ("ytrewq", 1),
        ("2024", 1),
        ("dormouse", 1),
        ("password", 2),
        ("p@ssw0rd", 2),
        ("drowssap", 2),
        ("passwordpassword", 3),
        ("password2024!!!!", 4),
        ("abababab", 3),
        ("xkqv", 4),
    ],
)
def test_a_text_is_cut_into_the_fewest_pieces(text: str, found: int) -> None:
    assert points(text, frozenset({"dormouse"})) == found


def test_what_is_long_is_judged_by_both_ends_and_soon() -> None:
    assert weakness("a" * 1000, email=EMAIL) is not None
    assert weakness("a" * 1000 + "kX9$mabcqT", email=EMAIL) is None
    assert weakness("kX9$mabcqT" + "a" * 1000, email=EMAIL) is None


def test_three_common_words_are_enough() -> None:
    assert points("dragonmonkeyshadow", frozenset()) == ENOUGH


def test_the_owners_own_words_count_as_one_piece_each() -> None:
    assert weakness("lovelace-example-2024", email=EMAIL) is not None
    assert weakness("lovelace-example-2024", email="bob@company.test") is None
