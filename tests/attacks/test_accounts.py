"""Attacks on registration, verification, resets, invitations and the first administrator."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, select, update

from dormouse_control.identity import administrators
from dormouse_control.identity.models import Role, User, UserStatus
from dormouse_control.proofs import tokens
from dormouse_control.proofs.models import TokenKind
from dormouse_control.sealing import Sealing
from fixtures.accounts import Place
from fixtures.control_plane import PASSWORD
from fixtures.statistics import kolmogorov_smirnov

MakePlace = Callable[..., Place]
AtOnce = Callable[[int, Callable[[], Any]], list[Any]]
NEW = "another battery staple"
_HOST_LIKE = (
    "host",
    "x-forwarded-host",
    "x-forwarded-server",
    "x-original-host",
    "x-host",
    "x-http-host-override",
    "origin",
    "referer",
    "x-envoy-original-path",
)


# ---- T18: one-time tokens ------------------------------------------------------------------------


def test_t18_only_exactly_the_mailed_token_sets_a_password(place: MakePlace) -> None:
    here = place()
    here.register()
    here.post("resets", email="ada@example.org")
    token = here.mailed_token()
    id, mac = token.split(".")
    edited = [
        f"{token[:at]}{'B' if token[at] != 'B' else 'C'}{token[at + 1 :]}"
        for at in range(0, len(token), 3)
    ]
    alike = [token.replace("o", "\u043e", 1), token.replace(".", "\uff0e"), f"{token}\u200b"]
    others = [id, f"{id}.", f".{mac}", mac, token.upper(), f"{token}=", f"{token}A", f"{token} "]
    others += [f" {token}", f"{token}\n", f"{token}.{mac}", f"{id}.{mac}.{mac}", "", "x" * 100]

    for text in [token[:end] for end in range(len(token))] + edited + alike + others:
        answer = here.post("resets/confirm", token=text, password=NEW)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_token"), text

    assert here.post("resets/confirm", token=token, password=NEW).status_code == 204


def test_t18_a_token_for_one_thing_is_worth_nothing_for_another(place: MakePlace) -> None:
    here = place(verify_email=True)
    here.register()
    verify = here.mailed_token()
    here.post("resets", email="ada@example.org")
    reset = here.mailed_token()
    administrators.announce(here.platform)
    first = here.platform.settings.first_administrator_file.read_text().strip()

    wrong = [
        here.post("resets/confirm", token=verify, password=NEW),
        here.post("resets/confirm", token=first, password=NEW),
        here.post("verifications/confirm", token=reset),
        here.post("verifications/confirm", token=first),
        here.post("administrators", token=reset, email="eve@example.org", password=PASSWORD),
        here.post("administrators", token=verify, email="eve@example.org", password=PASSWORD),
        here.register("eve@example.org", invitation=reset),
    ]

    assert {(answer.status_code, answer.text) for answer in wrong} == {(400, wrong[0].text)}


# ---- T25: once means once ------------------------------------------------------------------------


def test_t25_a_reset_token_sets_one_password(place: MakePlace, at_once: AtOnce) -> None:
    here = place()
    here.register()
    here.post("resets", email="ada@example.org")
    token = here.mailed_token()

    statuses = until_hashed(
        at_once, 16, lambda: here.post("resets/confirm", token=token, password=NEW)
    )

    assert statuses.count(204) == 1
    assert set(statuses) <= {204, 400}
    assert len(here.mail()) == 1


def test_t25_a_verification_token_is_taken_once(place: MakePlace, at_once: AtOnce) -> None:
    here = place(verify_email=True)
    here.register()
    token = here.mailed_token()

    answers = at_once(16, lambda: here.post("verifications/confirm", token=token).status_code)

    assert sorted(answers) == [200] + [400] * 15


def test_t25_an_invitation_makes_one_account(place: MakePlace, at_once: AtOnce) -> None:
    here = place(registration="invitation")
    token = here.invite(here.administrator())["token"]
    names = iter(f"user{number}@example.org" for number in range(1000))

    statuses = until_hashed(at_once, 16, lambda: here.register(next(names), invitation=token))

    assert statuses.count(201) == 1
    assert set(statuses) <= {201, 400}
    assert here.users() == 2  # the administrator is the other


# ---- T29: who has an account ---------------------------------------------------------------------


def test_t29_a_taken_address_registers_like_a_new_one(place: MakePlace) -> None:
    here = place(verify_email=True)
    first = here.register()
    here.mail()

    again, new = here.register("ADA@example.org"), here.register("bob@example.org")

    assert (again.status_code, again.headers.keys()) == (new.status_code, new.headers.keys())
    assert again.json() | {"id": ""} == {
        "id": "",
        "email": "ada@example.org",
        "status": "unverified",
    }
    ids = {first.json()["id"], again.json()["id"], new.json()["id"]}
    assert len(ids) == 3
    assert {len(id) for id in ids} == {30}
    assert here.users() == 2


def test_t29_the_owner_of_the_address_is_told(place: MakePlace, clock: Any) -> None:
    here = place(verify_email=True)
    here.register()
    here.post("verifications/confirm", token=here.mailed_token())
    clock.advance(minutes=5)

    assert here.post("registrations", email="ada@example.org", password=NEW).status_code == 201

    (letter,) = here.mail()
    assert (letter.to, letter.subject) == (
        "ada@example.org",
        "Dormouse: You have an account already",
    )
    assert "ott_" not in letter.text
    assert here.sign_in().status_code == 201
    assert here.sign_in(password=NEW).status_code == 401


def test_t29_signing_in_right_after_registering_tells_nothing(place: MakePlace) -> None:
    here = place(verify_email=True)
    here.register()
    here.post("verifications/confirm", token=here.mailed_token())
    seen = []
    for email in ("ada@example.org", "new@example.org"):
        here.post("registrations", email=email, password=NEW)
        answers = [here.sign_in(email, password=NEW) for _ in range(12)]
        seen.append([(answer.status_code, answer.text) for answer in answers])

    assert seen[0] == seen[1]


def test_t29_an_invitation_is_used_up_by_a_taken_address_too(place: MakePlace) -> None:
    """Or one could ask with it about any number of addresses."""
    here = place(verify_email=True)
    here.register()
    token = here.invite(here.administrator())["token"]

    answers = [here.register(email, invitation=token) for email in ("ada@example.org", "b@x.org")]

    assert [answer.status_code for answer in answers] == [201, 400]


def test_t29_a_reset_answers_everybody_alike(place: MakePlace) -> None:
    here = place()
    here.register()
    here.register("disabled@example.org")
    with here.platform.database.sessions.begin() as session:
        where = User.email == "disabled@example.org"
        session.execute(update(User).where(where).values(status=UserStatus.DISABLED))

    for noun in ("resets", "verifications"):
        names = ("ada@example.org", "nobody@example.org", "disabled@example.org")
        answers = [here.post(noun, email=email) for email in names]
        assert {(answer.status_code, answer.text) for answer in answers} == {(202, "{}")}
        assert {letter.to for letter in here.mail()} == {"ada@example.org"}


def test_t29_a_reset_does_the_same_work_for_everybody(place: MakePlace) -> None:
    here = place()
    here.register()
    done = []
    for email in ("ada@example.org", "nobody@example.org"):
        with statements(here) as seen:
            for noun in ("resets", "verifications", "resets"):
                assert here.post(noun, email=email).status_code == 202
        done.append(seen)

    assert done[0] == done[1]
    assert len(done[0]) > 3


def test_t29_a_wrong_address_for_an_invitation_is_a_wrong_invitation(place: MakePlace) -> None:
    here = place(registration="invitation")
    bound = here.invite(here.administrator(), email="ada@example.org")["token"]

    wrong = here.register("eve@example.org", invitation=bound)
    invented = here.register("eve@example.org", invitation=bound[:-1] + "AB"[bound[-1] == "A"])

    assert (wrong.status_code, wrong.text) == (400, invented.text)
    assert here.register(invitation=bound).status_code == 201


@pytest.mark.slow
def test_t29_the_time_of_a_reset_tells_nothing(place: MakePlace, clock: Any) -> None:
    here = place()
    _insert_users(here, "known", 400)

    def reset(email: str) -> None:
        assert here.post("resets", email=email).status_code == 202

    # Alike they fail together once in ten thousand times.
    found = []
    for _ in range(2):
        found.append(_alike(reset))
        here.mail()
        clock.advance(hours=1)
        here.tidy()
    assert max(found) > 0.01


@pytest.mark.slow
def test_t29_the_time_of_a_registration_tells_nothing(place: MakePlace) -> None:
    here = place(verify_email=True)
    _insert_users(here, "known", 400)

    def register(email: str) -> None:
        assert here.register(email).status_code == 201

    assert _alike(register) > 0.01


# ---- T31: one address, one account ---------------------------------------------------------------


@pytest.mark.parametrize("verify", [False, True])
def test_t31_parallel_registrations_make_one_account(
    place: MakePlace, at_once: AtOnce, verify: bool
) -> None:
    here = place(verify_email=verify)
    spellings = ["ada@example.org", "ADA@EXAMPLE.org", "\uff21da@example.org", " ada@example.org"]
    turn = iter(spellings * 1000)

    statuses = until_hashed(at_once, 64, lambda: here.register(next(turn)), enough=64)

    assert here.users() == 1
    assert set(statuses) <= ({201} if verify else {201, 409})
    assert verify or statuses.count(201) == 1
    if verify:
        assert len(here.mail()) <= 2  # one to verify, one that tells of the others


@pytest.mark.parametrize(
    "email",
    ["ada@example.org@evil.org", "ada@example.org.", "ada@example\u3002org\u3002", "ada @x.org"],
)
def test_t31_what_could_be_read_in_two_ways_is_no_address(place: MakePlace, email: str) -> None:
    assert place().register(email).status_code == 422


def test_t31_mail_for_a_look_alike_goes_to_the_account_that_is_meant(place: MakePlace) -> None:
    here = place()
    here.register("mike@example.org")

    for email in ("MIKE@example.org", "mi\u212ae@example.org", "m\u0131ke@example.org"):
        here.post("resets", email=email)

    assert {letter.to for letter in here.mail()} == {"mike@example.org"}


def test_t31_the_next_owner_of_an_address_sees_nothing_of_the_last(place: MakePlace) -> None:
    here = place()
    old = here.register().json()["id"]
    key = {"authorization": f"Bearer {here.sign_in().json()['access_token']}"}
    here.client.post("/api/v1/entitlements", json={"service": "chat"}, headers=key)
    here.client.post("/api/v1/keys", json={"name": "old"}, headers=key)
    here.post("resets", email="ada@example.org")
    reset = here.mailed_token()
    with here.platform.database.sessions.begin() as session:
        gone = {"status": UserStatus.ERASED, "email": None, "password_hash": None}
        session.execute(update(User).values(**gone))

    new = here.register().json()["id"]

    assert new != old
    assert here.post("resets/confirm", token=reset, password=NEW).status_code == 400
    mine = {"authorization": f"Bearer {here.sign_in().json()['access_token']}"}
    assert here.client.get("/api/v1/me", headers=mine).json()["id"] == new
    for path in ("keys", "entitlements", "usage"):
        assert here.client.get(f"/api/v1/{path}", headers=mine).json()["items"] == []
    assert here.client.get("/api/v1/me", headers=key).status_code == 401


# ---- T32: where links lead -----------------------------------------------------------------------


def test_t32_links_come_from_the_settings_alone(place: MakePlace) -> None:
    here = place(public_url="https://models.example", verify_email=True)
    canary = "canary.evil.example"
    headers = dict.fromkeys(_HOST_LIKE, canary)
    headers |= {"forwarded": f"host={canary};proto=http", "x-forwarded-proto": "http"}
    administrator = here.administrator()
    here.client.headers.update(headers)
    here.register()
    here.post("resets", email="ada@example.org")
    here.register()
    here.invite(administrator, email="bob@example.org", mail=True)

    letters = here.mail()

    assert len(letters) == 4
    for letter in letters:
        assert canary not in letter.text + letter.subject + letter.to
        links = [word for word in letter.text.split() if "://" in word]
        assert all(link.startswith("https://models.example") for link in links)


# ---- T33: who may register, and who administers --------------------------------------------------


def test_t33_registration_that_is_closed_stays_closed(place: MakePlace) -> None:
    here = place(registration="invitation")
    invented = [None, "", "inv_x", tokens.write("inv_" + "0" * 26, "invitation", _other_sealing())]
    answers = [here.register(invitation=each) for each in invented]

    assert [answer.status_code for answer in answers] == [403, 400, 400, 400]
    assert here.users() == 0


def test_t33_an_invitation_ends(place: MakePlace, clock: Any) -> None:
    here = place(registration="invitation")
    token = here.invite(here.administrator())["token"]
    clock.advance(days=7)

    answer = here.register(invitation=token)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_token")
    assert here.users() == 1


def test_t33_parallel_first_administrators_make_one(place: MakePlace, at_once: AtOnce) -> None:
    here = place()
    administrators.announce(here.platform)
    token = here.platform.settings.first_administrator_file.read_text().strip()
    names = iter(f"user{number}@example.org" for number in range(1000))

    def become() -> Any:
        return here.post("administrators", token=token, email=next(names), password=PASSWORD)

    statuses = until_hashed(at_once, 32, become)

    assert statuses.count(201) == 1
    assert set(statuses) <= {201, 400}
    assert _administrators(here) == 1


def test_t33_two_tokens_make_one_first_administrator(place: MakePlace, at_once: AtOnce) -> None:
    """As if two control planes had started at once."""
    here = place()
    texts = []
    with here.platform.database.sessions.begin() as session:
        for _ in range(8):
            kind, life = TokenKind.ADMINISTRATOR, administrators.LIFE
            issued = tokens.issue(session, kind, life=life, now=here.platform.clock())
            texts.append(tokens.write(issued.id, kind.value, here.platform.sealing))
    turn, names = iter(texts), iter(f"user{number}@example.org" for number in range(8))

    def become() -> Any:
        body = {"email": next(names), "password": PASSWORD}
        return here.post("administrators", token=next(turn), **body)

    statuses = [answer.status_code for answer in at_once(8, become)]

    assert statuses.count(201) == 1
    assert _administrators(here) == 1


def test_t33_being_first_makes_nobody_an_administrator(place: MakePlace) -> None:
    here = place()
    here.register()

    assert _administrators(here) == 0
    body = {"email": "eve@example.org", "password": PASSWORD, "role": "administrator"}
    assert here.post("registrations", **body).status_code == 422


# ---- what the tests above share ------------------------------------------------------------------


def until_hashed(
    at_once: AtOnce, threads: int, call: Callable[[], Any], enough: int = 16
) -> list[int]:
    """Statuses of so many calls that were not told to come back because of the hashing."""
    found: list[int] = []
    for _ in range(20):
        answers = at_once(threads, call)
        found += [each.status_code for each in answers if each.status_code != 503]
        if len(found) >= enough:
            return found
    raise AssertionError("the machine is too busy to hash")


@contextmanager
def statements(here: Place) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(here.platform.database.engine, "before_cursor_execute", note)
    yield seen
    event.remove(here.platform.database.engine, "before_cursor_execute", note)


def _alike(call: Callable[[str], None]) -> float:
    """p of the times for 400 addresses that are known and 400 that are not, in random order."""
    times: dict[str, list[float]] = {"known": [], "unknown": []}
    addresses = [(kind, f"{kind}{number}@example.org") for kind in times for number in range(400)]
    random.shuffle(addresses)
    for kind, address in addresses:
        started = time.perf_counter()
        call(address)
        times[kind].append(time.perf_counter() - started)
    return kolmogorov_smirnov(times["known"], times["unknown"])


def _insert_users(here: Place, name: str, count: int) -> None:
    password_hash = here.platform.passwords.hash(PASSWORD)
    with here.platform.database.sessions.begin() as session:
        for number in range(count):
            user = User(
                id=f"usr_{name}{number}",
                email=f"{name}{number}@example.org",
                password_hash=password_hash,
                status=UserStatus.ACTIVE,
                role=Role.USER,
                tier="standard",
                created_at=here.platform.clock(),
            )
            session.add(user)


def _administrators(here: Place) -> int:
    with here.platform.database.reads() as reading:
        return len(reading.scalars(select(User).where(User.role == Role.ADMINISTRATOR)).all())


def _other_sealing() -> Sealing:
    return Sealing(b"somebody else's secret, 32 bytes")
