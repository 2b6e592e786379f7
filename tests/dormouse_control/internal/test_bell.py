"""Who follows revocations hears of them at their commit, not at the next look."""

import threading
from typing import Any

import pytest
from starlette.testclient import TestClient

from dormouse_control.identity import revocations
from dormouse_control.identity.models import RevocationKind
from dormouse_control.internal import api
from dormouse_control.wiring import Platform

NOBODY = RevocationKind.USER, "usr_nobody"


@pytest.fixture
def heard(internal: TestClient, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A long poll under way, which by itself would look again only when it gives up."""
    monkeypatch.setattr(api, "_POLL_SECONDS", 60)
    looked, answers = threading.Event(), []
    look = api._look

    def watched(platform: Platform, after: int) -> Any:
        found = look(platform, after)
        looked.set()
        return found

    monkeypatch.setattr(api, "_look", watched)

    def follow() -> None:
        answers.append(internal.get("/internal/v1/revocations?after=0&wait=10").json())

    thread = threading.Thread(target=follow)
    thread.start()
    assert looked.wait(10)

    def finish(seconds: float) -> Any:
        thread.join(seconds)
        return answers

    yield finish
    thread.join()


def test_a_commit_is_heard_at_once(heard: Any, platform: Platform) -> None:
    with platform.database.sessions.begin() as session:
        revocations.record(session, *NOBODY, now=platform.clock())

    [answer] = heard(5)
    assert [item["id"] for item in answer["items"]] == ["usr_nobody"]


def test_what_is_rolled_back_rings_nothing(heard: Any, platform: Platform) -> None:
    session = platform.database.sessions()
    revocations.record(session, *NOBODY, now=platform.clock())
    session.rollback()
    session.commit()
    session.close()

    assert heard(0.5) == []
