"""Whose calls are refused and ended, decided by numbers and not by clocks."""

from typing import Any

import pytest

from dormouse.tokens import InternalClaims
from dormouse_predictors import revoked
from dormouse_predictors.errors import CallError
from dormouse_predictors.revoked import Revoked


def claims(**changes: Any) -> InternalClaims:
    told = {"user": "usr_1", "credential": "key_1", "service": "chat", "model": "m"}
    return InternalClaims(**(told | {"priority": 1, "expires_at": 0, "revocation": 4} | changes))


def item(seq: int = 5, **changes: Any) -> dict[str, Any]:
    return {"seq": seq, "kind": "user", "id": "usr_1", "service": None, "cuts": True} | changes


def is_refused(found: Revoked, caller: InternalClaims) -> bool:
    try:
        with found.watched(caller):
            return False
    except CallError as error:
        return (error.status, error.code) == (403, "access_revoked")


@pytest.mark.parametrize(
    "learnt",
    [
        item(),
        item(service="chat"),
        item(kind="key", id="key_1"),
        item(kind="session", id="key_1"),
    ],
)
def test_who_is_named_is_ended_and_refused(learnt: dict[str, Any]) -> None:
    found = Revoked("chat")
    ended: list[str] = []
    with found.watched(claims()) as call, found.watched(claims(user="usr_2", credential="k")) as it:
        call.end = lambda: ended.append("theirs")
        it.end = lambda: ended.append("another's")
        assert found.learn([learnt]) == 1
        assert found.learn([learnt]) == 0

    assert ended == ["theirs"]
    assert is_refused(found, claims())
    assert is_refused(found, claims(revocation=None))
    assert not is_refused(found, claims(user="usr_2", credential="key_2"))


@pytest.mark.parametrize(
    "learnt",
    [item(service="embeddings"), item(cuts=False), item(id="usr_9"), item(kind="key", id="key_9")],
)
def test_what_names_somebody_else_changes_nothing(learnt: dict[str, Any]) -> None:
    found = Revoked("chat")
    with found.watched(claims()):
        assert found.learn([learnt]) == 0

    assert not is_refused(found, claims())


def test_who_got_the_right_back_comes_with_a_newer_token() -> None:
    found = Revoked("chat")
    found.learn([item(5)])

    assert not is_refused(found, claims(revocation=5))
    found.learn([item(6)])
    assert is_refused(found, claims(revocation=5))
    assert not is_refused(found, claims(revocation=6))


def test_news_that_come_in_no_order_do_not_forgive() -> None:
    found = Revoked("chat")
    found.learn([item(6), item(3)])

    assert is_refused(found, claims(revocation=5))


def test_what_no_token_can_outlive_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Revoked("chat")
    found.learn([item(5)])
    monkeypatch.setattr(revoked, "KEPT_SECONDS", -1)
    found.learn([])

    assert not is_refused(found, claims())


def test_numbers_that_begin_anew_say_nothing_of_the_old_ones() -> None:
    found = Revoked("chat")
    found.learn([item(500)])
    found.forget()

    assert not is_refused(found, claims(revocation=2))
