"""The token bucket, by its own clock."""

from dormouse_control.authorizer.limits import RequestLimits


def test_a_minute_admits_exactly_its_number_at_once():
    limits = RequestLimits()
    waits = [limits.take("u", per_minute=5, now=0.0) for _ in range(8)]
    assert waits[:5] == [0.0] * 5
    assert all(wait > 0 for wait in waits[5:])


def test_whoever_waits_as_told_is_admitted():
    limits = RequestLimits()
    now = 0.0
    for _ in range(5):
        limits.take("u", per_minute=5, now=now)
    for _ in range(20):
        now += limits.take("u", per_minute=5, now=now)
        assert limits.take("u", per_minute=5, now=now + 1e-6) == 0.0
        now += 1e-6


def test_users_do_not_share_a_bucket():
    limits = RequestLimits()
    limits.take("a", per_minute=1, now=0.0)
    assert limits.take("b", per_minute=1, now=0.0) == 0.0


def test_an_idle_bucket_never_holds_more_than_a_minute():
    limits = RequestLimits()
    limits.take("u", per_minute=3, now=0.0)
    waits = [limits.take("u", per_minute=3, now=1e6) for _ in range(4)]
    assert waits[:3] == [0.0] * 3
    assert waits[3] > 0
