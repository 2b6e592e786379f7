"""The token bucket, by its own clock."""

from dormouse_control.authorizer.limits import RequestLimit, RequestLimits


def test_a_minute_admits_exactly_its_number_at_once():
    limits = RequestLimits()
    waits = [limits.take(RequestLimit("u", 5), now=0.0) for _ in range(8)]
    assert waits[:5] == [0.0] * 5
    assert all(wait > 0 for wait in waits[5:])


def test_whoever_waits_as_told_is_admitted():
    limits = RequestLimits()
    now = 0.0
    for _ in range(5):
        limits.take(RequestLimit("u", 5), now=now)
    for _ in range(20):
        now += limits.take(RequestLimit("u", 5), now=now)
        assert limits.take(RequestLimit("u", 5), now=now + 1e-6) == 0.0
        now += 1e-6


def test_users_do_not_share_a_bucket():
    limits = RequestLimits()
    limits.take(RequestLimit("a", 1), now=0.0)
    assert limits.take(RequestLimit("b", 1), now=0.0) == 0.0


def test_an_idle_bucket_never_holds_more_than_a_minute():
    limits = RequestLimits()
    limits.take(RequestLimit("u", 3), now=0.0)
    waits = [limits.take(RequestLimit("u", 3), now=1e6) for _ in range(4)]
    assert waits[:3] == [0.0] * 3
    assert waits[3] > 0


def test_a_share_leaves_most_for_others_and_comes_out_of_every_limit():
    limits, key, user = RequestLimits(), RequestLimit("k", 40), RequestLimit("u", 100)
    assert limits.set_aside((key, user), 64, now=0.0) == 10
    left = [limits.take(key, now=0.0) for _ in range(31)]
    assert left[:30] == [0.0] * 30
    assert left[30] > 0
    assert [limits.take(user, now=0.0) for _ in range(91)].count(0.0) == 90


def test_near_the_edge_nothing_is_set_aside():
    limits, limit = RequestLimits(), RequestLimit("u", 3)
    assert limits.set_aside((limit,), 64, now=0.0) == 0
    assert [limits.take(limit, now=0.0) for _ in range(4)].count(0.0) == 3


def test_what_is_given_back_never_overfills():
    limits, limit = RequestLimits(), RequestLimit("u", 8)
    assert limits.set_aside((limit,), 64, now=0.0) == 2
    limits.give_back((limit,), 2, now=1e6)
    assert [limits.take(limit, now=1e6) for _ in range(9)].count(0.0) == 8
