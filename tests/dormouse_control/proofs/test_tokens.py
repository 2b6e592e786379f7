"""One-time tokens."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from dormouse_control.errors import InvalidOneTimeToken
from dormouse_control.proofs import tokens
from dormouse_control.proofs.models import OneTimeToken, TokenKind
from dormouse_control.wiring import Platform

HOUR = timedelta(hours=1)
KIND = TokenKind.VERIFY_EMAIL


def issued(platform: Platform, kind: TokenKind = KIND) -> str:
    with platform.database.sessions.begin() as session:
        token = tokens.issue(session, kind, life=HOUR, now=platform.clock(), bound="x")
        return tokens.write(token.id, kind.value, platform.sealing)


def redeemed(platform: Platform, text: str, kind: TokenKind = KIND) -> OneTimeToken:
    now = platform.clock()
    with platform.database.sessions.begin() as session:
        return tokens.redeem(session, text, kind, sealing=platform.sealing, now=now)


def test_a_token_is_good_once(platform: Platform) -> None:
    text = issued(platform)

    assert redeemed(platform, text).bound == "x"
    with pytest.raises(InvalidOneTimeToken):
        redeemed(platform, text)


def test_looking_does_not_use_it_up(platform: Platform) -> None:
    text = issued(platform)
    with platform.database.reads() as reading:
        for _ in range(2):
            found = tokens.peek(reading, text, KIND, sealing=platform.sealing, now=platform.clock())
            assert found.used_at is None

    redeemed(platform, text)

    with platform.database.reads() as reading, pytest.raises(InvalidOneTimeToken):
        tokens.peek(reading, text, KIND, sealing=platform.sealing, now=platform.clock())


def test_a_token_of_one_kind_is_worth_nothing_for_another(platform: Platform) -> None:
    text = issued(platform)
    with pytest.raises(InvalidOneTimeToken):
        redeemed(platform, text, TokenKind.RESET_PASSWORD)

    id = text.partition(".")[0]
    with pytest.raises(InvalidOneTimeToken):
        redeemed(platform, tokens.write(id, "reset_password", platform.sealing))
    redeemed(platform, text)


def test_it_expires(platform: Platform, clock: Any) -> None:
    text = issued(platform)
    clock.advance(hours=1)

    with pytest.raises(InvalidOneTimeToken):
        redeemed(platform, text)


def test_old_ones_are_dropped(platform: Platform, clock: Any) -> None:
    issued(platform)
    for left in (1, 0):
        clock.advance(hours=24)
        with platform.database.sessions.begin() as session:
            tokens.prune(session, now=platform.clock())
            assert session.scalar(select(func.count()).select_from(OneTimeToken)) == left
        clock.advance(hours=1)
