"""What must never be in a log, whoever writes it."""

import pytest

from dormouse.scrubbing import HIDDEN, scrubbed


@pytest.mark.parametrize(
    "name", ["authorization", "password", "refresh_token", "key", "api_key", "client_secret"]
)
def test_values_of_secret_names_are_hidden(name):
    assert scrubbed({name: "x", "deep": {name: ["x"]}}) == {name: HIDDEN, "deep": {name: HIDDEN}}


@pytest.mark.parametrize("name", ["key_id", "prompt_tokens", "token_count", "monkey"])
def test_names_that_only_sound_alike_stay_readable(name):
    assert scrubbed({name: 5}) == {name: 5}


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("key dm_abcdefghijklmnop is wrong", "dm_abcdefghijklmnop"),
        ("Bearer some-opaque-thing", "some-opaque-thing"),
        ("eyJhbGciOiJF.eyJzdWIiOi.c2ln", "eyJzdWIiOi"),
        ("postgresql://u:pw@host/db", "pw"),
        (f"ott_{'0' * 26}.secret-part", "secret-part"),
        (f"x/account#invitation=inv_{'0' * 26}.secret-part", "secret-part"),
    ],
)
def test_what_looks_like_a_credential_is_hidden_wherever_it_stands(text, secret):
    shown = str(scrubbed({"event": text, "list": [text], "map": {"a": {"b": text}}}))
    assert secret not in shown
    assert HIDDEN in shown
