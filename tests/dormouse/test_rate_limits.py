"""From the authorizer's one value to the headers that OpenAI's clients read."""

import pytest

from dormouse.rate_limits import limit_headers


def test_each_part_has_its_header():
    assert limit_headers(b"600,598,200ms,1000,900,6m0s") == [
        (b"x-ratelimit-limit-requests", b"600"),
        (b"x-ratelimit-remaining-requests", b"598"),
        (b"x-ratelimit-reset-requests", b"200ms"),
        (b"x-ratelimit-limit-tokens", b"1000"),
        (b"x-ratelimit-remaining-tokens", b"900"),
        (b"x-ratelimit-reset-tokens", b"6m0s"),
    ]


def test_what_is_empty_has_none():
    names = [name for name, _ in limit_headers(b"600,598,200ms,,,")]
    assert all(name.endswith(b"requests") for name in names)
    assert len(names) == 3


@pytest.mark.parametrize("value", [None, b"", b"600", b"1,2,3,4,5", b"1,2,3,4,5,6,7"])
def test_what_is_no_such_value_has_none(value):
    assert limit_headers(value) == []


def test_nothing_else_becomes_a_header():
    assert limit_headers(b"6\r\nx: y,598,2s,,,") == [
        (b"x-ratelimit-remaining-requests", b"598"),
        (b"x-ratelimit-reset-requests", b"2s"),
    ]
