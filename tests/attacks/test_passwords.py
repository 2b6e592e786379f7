"""Attacks on passwords: too simple, cut off, too long, read back."""

import threading
import time
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import psutil
import pytest
from argon2 import PasswordHasher
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from starlette.testclient import TestClient
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from dormouse_control.app import public_app
from dormouse_control.errors import InvalidValue
from dormouse_control.identity.models import ApiKey, User
from dormouse_control.identity.passwords import Passwords, check_new, normal
from dormouse_control.wiring import Platform
from fixtures.control_plane import PASSWORD
from fixtures.control_plane_process import Process

EMAIL = "ada.lovelace@example.org"
LEAST = 15

# As many and as short as the tests need; what they say does not depend on the cost.
CHEAP = Passwords(hasher=PasswordHasher(time_cost=1, memory_cost=8, parallelism=1), at_once=64)

REFUSED = [
    "",
    "x",
    " ",
    " " * 15,
    "\u3000" * 20,
    "\t" * 16,
    "short but good",
    "a" * 15,
    "a" * 1000,
    "\U0001f600" * 20,
    "abcdefghijklmnopqrstuvwxyz",
    "zyxwvutsrqponmlkj",
    "123456789012345",
    "0987654321098765",
    "111111111111111111",
    "112233445566778899",
    "abcabcabcabcabcabc",
    "password1234567",
    "passwordpassword",
    "Password2024!!!!!",
    "P@ssw0rdP@ssw0rd!",
    "pa55word12345678",
    "drowssapdrowssap",
    "iloveyouiloveyou1",
    "letmeinletmeinletmein",
    "qwertyuiopasdfgh",
    "qwertyuiop123456",
    "1qaz2wsx3edc4rfv",
    "zaq12wsxcde34rfv",
    "asdfghjkl;'asdfgh",
    "azertyuiopqsdfgh",
    "qwertzuiopyxcvbnm",
    "1q2w3e4r5t6y7u8i9o",
    "a1b2c3d4e5f6g7h8",
    "trustno1trustno1!",
    "dormousedormouse",
    "Dormouse-Dormouse-1",
    "dormouse20242025",
    EMAIL,
    EMAIL.upper(),
    f"  {EMAIL}  ",
    "\uff21da.lovelace@example.org",
    EMAIL + "123",
    "ada.lovelace1234",
    "ada.lovelaceada.lovelace",
    "adalovelace!!!!!!!!!!",
    "lovelacelovelace",
    "example.org2024!",
    "welcome welcome welcome",
    "nul\x00 inside of a long one",
    "x" * 1025,
    "\u00e9a" * 400,
]
ACCEPTED = [
    PASSWORD,
    "four words nobody says",
    "violet tram eats moss",
    "kX9$mQv2!bTz7#Lp",
    "\u043c\u043e\u0439 \u0434\u044f\u0434\u044f "
    "\u0441\u0430\u043c\u044b\u0445 \u0447\u0435\u0441\u0442",
    "\U0001f600\U0001f47b\U0001f434\U0001f50b\U0001f9f2\U0001f9c5\U0001faa3\U0001f9e6"
    "\U0001f353\U0001f388\U0001f3b2\U0001f4a1\U0001f511\U0001f6b2\U0001f30b",
    "this is all lower case and fine",
    "no-digits-no-capitals-here",
]


@pytest.mark.parametrize("password", REFUSED)
def test_t26_passwords_that_are_guessed_first_are_refused(password: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        check_new(password, email=EMAIL, min_length=LEAST)
    assert caught.value.param == "password"
    assert caught.value.message.count(".") >= 2, "says what is wrong and what to do"


@pytest.mark.parametrize("password", ACCEPTED)
def test_t26_other_passwords_need_no_composition(password: str) -> None:
    check_new(password, email=EMAIL, min_length=LEAST)


def test_t26_none_of_the_3000_most_common_passes_however_it_is_padded() -> None:
    passed = []
    for word in FREQUENCY_LISTS["passwords"][:3000]:
        padded = (
            word,
            word * (LEAST // len(word) + 1),
            word + "123456789012345"[: max(0, LEAST - len(word))],
            word.ljust(LEAST, "!"),
            word.capitalize() + "0" * LEAST,
        )
        passed += [text for text in padded if _is_accepted(text)]
    assert passed == []


def test_t26_such_a_password_opens_no_account(client: TestClient) -> None:
    for password in ("", "x", " " * 15, "password1234567", EMAIL):
        body = {"email": EMAIL, "password": password}
        answer = client.post("/api/v1/registrations", json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (422, "password")


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=200),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=200),
)
@settings(max_examples=150, deadline=None)
def test_t27_only_the_password_itself_fits(one: str, other: str) -> None:
    known = CHEAP.hash(one)
    assert CHEAP.verify(one, known)
    assert CHEAP.verify(unicodedata.normalize("NFD", one), known)
    assert CHEAP.verify(other, known) == (normal(other) == normal(one))


@pytest.mark.parametrize("length", [55, 56, 71, 72, 73, 128, 255, 256, 1023])
def test_t27_the_last_of_many_characters_counts(length: int) -> None:
    known = CHEAP.hash("x" * length + "a")
    assert not CHEAP.verify("x" * length + "b", known)
    assert not CHEAP.verify("x" * length, known)


def test_t27_one_form_of_every_letter_is_documented_and_nul_is_refused(client: TestClient) -> None:
    composed, apart = "caf\u00e9 sits by the lake", "cafe\u0301 sits by the lake"
    body = {"email": EMAIL, "password": composed}
    assert client.post("/api/v1/registrations", json=body).status_code == 201
    for password, status in ((apart, 201), (composed, 201), (composed.replace("\u00e9", "e"), 401)):
        answer = client.post("/api/v1/sessions", json=body | {"password": password})
        assert answer.status_code == status
    for path in ("registrations", "sessions"):
        answer = client.post(f"/api/v1/{path}", json=body | {"password": composed + "\x00"})
        assert answer.status_code == 422


@pytest.mark.parametrize("size", [1025, 10_000, 900_000])
def test_t28_an_endless_password_is_refused_before_anything_is_hashed(
    client: TestClient, platform: Platform, size: int
) -> None:
    def fail(*_: Any) -> Any:
        raise AssertionError("hashed")

    platform.passwords.fits = fail  # type: ignore[method-assign]
    platform.passwords.hash = fail  # type: ignore[method-assign]
    body = {"email": EMAIL, "password": "x" * size}
    for path in ("registrations", "sessions"):
        assert client.post(f"/api/v1/{path}", json=body).status_code == 422


def test_t28_ten_megabytes_are_not_even_read(client: TestClient) -> None:
    body = {"email": EMAIL, "password": "x" * 10_000_000}
    assert client.post("/api/v1/sessions", json=body).status_code == 413


def test_t22_no_answer_holds_a_hash_and_no_hash_signs_in(
    client: TestClient, sign_up: Callable[..., Any], platform: Platform, capfd: Any
) -> None:
    ada, key = (account := sign_up()), account.key()
    with platform.database.reads() as reading:
        known = str(reading.scalar(select(User.password_hash)))
    sha256 = _key_hash(platform)
    shown = [
        ada.get(path).text
        for path in ("/api/v1/me", "/api/v1/sessions", "/api/v1/keys", "/api/v1/entitlements")
    ]
    written = capfd.readouterr()
    for secret in (known, known.rpartition("$")[2], sha256, PASSWORD, key["key"]):
        assert all(secret not in text for text in shown)
        assert secret not in written.out + written.err
    for password in (known, known.rpartition("$")[2]):
        body = {"email": ada.email, "password": password}
        assert client.post("/api/v1/sessions", json=body).status_code == 401
    for bearer in (sha256, f"dm_{sha256}", f"dm_{sha256[:43]}"):
        answer = client.get("/api/v1/me", headers={"authorization": f"Bearer {bearer}"})
        assert answer.status_code == 401


def test_passwords_of_before_are_hashed_anew_when_their_owner_comes(
    client: TestClient, sign_up: Callable[..., Any], platform: Platform
) -> None:
    ada = sign_up()
    old = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    with platform.database.sessions.begin() as session:
        session.scalars(select(User)).one().password_hash = old
    wrong = {"email": ada.email, "password": PASSWORD + "!"}
    assert client.post("/api/v1/sessions", json=wrong).status_code == 401
    assert _hash_of(platform) == old
    right = wrong | {"password": PASSWORD}
    assert client.post("/api/v1/sessions", json=right).status_code == 201
    renewed = _hash_of(platform)
    assert renewed != old
    assert "m=19456,t=2,p=1" in renewed
    assert client.post("/api/v1/sessions", json=right).status_code == 201
    assert _hash_of(platform) == renewed


def _is_accepted(password: str) -> bool:
    try:
        check_new(password, email=EMAIL, min_length=8)
    except InvalidValue:
        return False
    return True


def _hash_of(platform: Platform) -> str:
    with platform.database.reads() as reading:
        return str(reading.scalar(select(User.password_hash)))


def _key_hash(platform: Platform) -> str:
    with platform.database.reads() as reading:
        return str(reading.scalar(select(ApiKey.sha256)))


class _Counting(PasswordHasher):
    """Says how many verified at once at most."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.lock, self.now, self.most = threading.Lock(), 0, 0

    def verify(self, hash: Any, password: Any) -> Any:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            time.sleep(0.02)
            return super().verify(hash, password)
        finally:
            with self.lock:
                self.now -= 1


def test_t28_of_200_parallel_logins_as_many_are_hashed_as_there_are_cores(
    platform: Platform, at_once: Callable[..., list[Any]]
) -> None:
    hasher = _Counting()
    busy = replace(platform, passwords=Passwords(hasher=hasher, at_once=2, wait_seconds=0.2))
    client = TestClient(public_app(busy))
    number = count()

    def sign_in() -> Any:
        body = {"email": f"user{next(number)}@example.org", "password": PASSWORD}
        return client.post("/api/v1/sessions", json=body)

    answers = at_once(200, sign_in)
    assert {answer.status_code for answer in answers} <= {401, 503}
    assert hasher.most <= 2
    refused = [answer for answer in answers if answer.status_code == 503]
    assert refused
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    assert {answer.json()["error"]["code"] for answer in refused} == {"busy"}
    assert sign_in().status_code == 401, "every place was given back"


@pytest.mark.parametrize("logins", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_t28_ordinary_calls_go_on_beside_a_flood_of_logins(
    start_control_plane: Callable[[], Process], at_once: Callable[..., list[Any]], logins: int
) -> None:
    """How much slower they become is measured by benchmarks/sign_in.py."""
    process = start_control_plane().wait()
    body = {"email": EMAIL, "password": PASSWORD}
    assert process.public.post("/api/v1/registrations", json=body).status_code == 201
    access = process.public.post("/api/v1/sessions", json=body).json()["access_token"]
    number = count()
    before = psutil.Process(process.popen.pid).memory_info().rss

    def call() -> int:
        if (mine := next(number)) % 5 == 0:
            headers = {"authorization": f"Bearer {access}"}
            found: int = process.public.get("/api/v1/me", headers=headers).status_code
            return found
        stranger = {"email": f"user{mine}@example.org", "password": PASSWORD}
        return -process.public.post("/api/v1/sessions", json=stranger).status_code

    statuses = Counter(at_once(logins, call))
    assert {status for status in statuses if status > 0} == {200}
    assert {status for status in statuses if status < 0} <= {-401, -503}
    grown = psutil.Process(process.popen.pid).memory_info().rss - before
    assert grown < 300 * 2**20
