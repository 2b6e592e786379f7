import threading
from typing import Any

import pytest
from argon2 import PasswordHasher

from dormouse_control.errors import Busy, InvalidValue
from dormouse_control.identity.passwords import Passwords, check_new

EMAIL = "ada@example.org"


@pytest.fixture(scope="module")
def passwords() -> Passwords:
    return Passwords()


def test_only_the_password_itself_fits(passwords: Passwords) -> None:
    known = passwords.hash("correct horse")

    assert known.startswith("$argon2id$")
    assert passwords.verify("correct horse", known)
    for wrong in ("correct hors", "correct horse ", "Correct horse", ""):
        assert not passwords.verify(wrong, known)


def test_long_passwords_count_to_their_last_character(passwords: Passwords) -> None:
    known = passwords.hash("x" * 100 + "a")

    assert not passwords.verify("x" * 100 + "b", known)


def test_one_letter_written_in_two_ways_is_one_password(passwords: Passwords) -> None:
    known = passwords.hash("caf\u00e9 caf\u00e9")

    assert passwords.verify("cafe\u0301 cafe\u0301", known)
    assert not passwords.verify("cafe cafe", known)


def test_one_sign_is_one_character_however_long_its_normal_form_is() -> None:
    with pytest.raises(InvalidValue, match="at least 15 characters"):
        check_new("\ufdfa", email=EMAIL, min_length=15)


def test_nobody_has_no_password_but_costs_as_much(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One hash of the same cost, whether the account exists or not: time tells nothing."""
    asked: list[str] = []
    really = PasswordHasher.verify

    def noted(self: PasswordHasher, hash: str, password: str) -> Any:
        asked.append(hash.rpartition("$")[0].rpartition("$")[0])  # kind, version and cost
        return really(self, hash, password)

    monkeypatch.setattr(PasswordHasher, "verify", noted)
    assert not passwords.verify("wrong horse", passwords.hash("correct horse"))
    assert not passwords.verify("nobody's password", None)
    assert len(asked) == 2
    assert asked[0] == asked[1]


def test_too_many_at_once_are_told_to_come_back() -> None:
    passwords = Passwords(at_once=1, wait_seconds=0.01)
    results: list[Any] = []

    def one() -> None:
        try:
            results.append(passwords.hash("correct horse"))
        except Busy as error:
            results.append(error)

    threads = [threading.Thread(target=one) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    refused = [found for found in results if isinstance(found, Busy)]
    assert 0 < len(refused) < 30
    assert refused[0].headers() == {"retry-after": "1"}
    assert passwords.hash("correct horse")  # every place was given back


@pytest.mark.parametrize(
    "password", ["1234567", "        ", EMAIL, EMAIL.upper(), "\uff21da@example.org"]
)
def test_passwords_that_nobody_should_have(password: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        check_new(password, email=EMAIL, min_length=8)
    assert caught.value.param == "password"


@pytest.mark.parametrize(
    "password",
    ["wqxbkfmz", "correct horse", "\u043f\u0430\u0440\u043e\u043b\u044c12", "😀👻🐴🔋🧲🧅🪣🧦"],
)
def test_passwords_need_no_special_composition(password: str) -> None:
    check_new(password, email=EMAIL, min_length=8)
