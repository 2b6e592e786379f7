"""Which token a predictor gets: one that says since when its caller was not revoked."""

import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dormouse.tokens import InternalClaims, SigningKey, TokenError, verify_internal
from dormouse_control.authorizer.internal_tokens import InternalTokens


@pytest.fixture
def tokens(world: Any) -> InternalTokens:
    made = InternalTokens(lambda: world.internal)
    made.position = 4
    return made


def token(tokens: InternalTokens, principal: Any, position: int = 4, **changes: Any) -> str:
    call = {"service": "chat", "model": "m", "alias": None, "priority": 1, "cold_start_ms": None}
    call |= {"until": None, "account": 1, "lease": None, "max_body": None}
    return tokens.token(principal, position=position, **(call | changes))


def read(world: Any, found: str) -> InternalClaims:
    keys = {world.internal.kid: world.internal.private.public_key()}
    return verify_internal(found, service="chat", keys=keys, now=time.time())


def test_a_token_says_what_its_signer_knew(world: Any, tokens: Any, make_principal: Any) -> None:
    assert read(world, token(tokens, make_principal())).revocation == 4


def test_a_token_says_how_urgent_a_call_may_be(
    world: Any, tokens: Any, make_principal: Any
) -> None:
    found = [token(tokens, make_principal(highest_priority=number)) for number in (0, 2, 0)]
    assert [read(world, each).most_urgent for each in found] == [0, 2, 0]
    assert found[0] == found[2]


def test_who_is_revoked_gets_a_new_one_and_others_keep_theirs(
    world: Any, tokens: Any, make_principal: Any
) -> None:
    ada, bob = make_principal(), make_principal(user="usr_2", credential="key_2")
    before = [token(tokens, ada), token(tokens, bob)]
    assert [token(tokens, ada), token(tokens, bob)] == before

    for subject in ("usr_1", "key_1"):
        tokens.revoke([{"id": subject}])
        tokens.position += 1
        after = token(tokens, ada, tokens.position)
        assert read(world, after).revocation == tokens.position
        assert token(tokens, bob, tokens.position) == before[1]


def test_a_token_of_who_was_looked_up_before_the_news_is_not_kept(
    world: Any, tokens: Any, make_principal: Any
) -> None:
    """Else the next call, looked up after them, would come with a token of before."""
    tokens.revoke([{"id": "usr_1"}])
    tokens.position = 5
    assert read(world, token(tokens, make_principal(), 4)).revocation == 4

    assert read(world, token(tokens, make_principal(), 5)).revocation == 5


def test_nothing_is_kept_when_everything_must_be_forgotten(
    world: Any, tokens: Any, make_principal: Any
) -> None:
    token(tokens, make_principal())
    tokens.forget_all()
    tokens.position = 9

    assert read(world, token(tokens, make_principal(), 9)).revocation == 9


def test_the_key_of_the_moment_signs(make_principal: Any, world: Any) -> None:
    other = SigningKey("internal-2", Ed25519PrivateKey.generate())
    keys = iter([world.internal, other])
    made = InternalTokens(lambda: next(keys))

    assert read(world, token(made, make_principal()))
    with pytest.raises(TokenError, match="unknown signing key"):
        read(world, token(made, make_principal(), model="n"))
