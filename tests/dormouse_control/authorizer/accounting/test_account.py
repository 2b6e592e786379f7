"""What runs, and what it holds of limits, from what predictors say."""

from dormouse.meters import Meters
from dormouse_control.authorizer.accounting.account import (
    ARRIVAL_SECONDS,
    SILENCE_SECONDS,
    Account,
)
from dormouse_control.authorizer.accounting.pieces import Money, Rate, Slots

ONE, TWO = b"1" * 16, b"2" * 16


def account(**changed):
    fields = {
        "requests": [Rate("usr_1", "requests", 600, balance=100)],
        "tokens": [Rate("usr_1", "tokens", 60000, balance=10000)],
        "slots": [Slots("usr_1", 8, held=8)],
        "money": Money("key_1", "usr_1", balance=1000),
        "reserve": 100,
        "expected": 50.0,
    }
    return Account(1, "key_1", **{**fields, **changed})


def meters(began, ended, prompt=0, completion=0, cost=0):
    return Meters(1, began, ended, prompt, completion, cost)


def hear(found, predictor, said, now):
    found.hear(predictor, said, now)
    found.rebook(now)


def holds(found):
    """Requests left, tokens and money set aside, calls that hold a place."""
    return (
        found.requests[0].free,
        found.tokens[0].reserved,
        found.money.reserved,
        found.slots[0].used,
    )


def test_a_call_holds_its_share_until_it_has_ended_and_then_pays_what_it_used():
    found = account()
    found.begin(0.0)
    assert holds(found) == (99, 50, 100, 1)
    found.went(0.0)
    hear(found, ONE, meters(1, 0), 0.1)
    assert holds(found) == (99, 50, 100, 1)
    hear(found, ONE, meters(1, 1, 20, 10, 7), 0.2)
    assert holds(found) == (99, 0, 0, 0)
    assert found.tokens[0].balance == 10000 - 30
    assert found.money.balance == 1000 - 7


def test_tokens_count_while_a_call_still_runs():
    found = account()
    found.begin(0.0)
    hear(found, ONE, meters(1, 0, 20, 10), 0.1)
    assert found.tokens[0].balance == 10000 - 30


def test_what_a_call_is_taken_for_follows_what_calls_have_used():
    found = account()
    for number in range(1, 30):
        found.begin(0.0)
        found.went(0.0)
        hear(found, ONE, meters(number, number, 200 * number), 0.1)
    assert 190 < found.expected <= 200


def test_a_call_that_is_given_up_counts_as_a_request_only():
    found = account()
    found.begin(0.0)
    found.give_up(0.0)
    assert holds(found) == (99, 0, 0, 0)


def test_a_call_that_never_arrives_is_lost_after_a_while():
    found = account()
    found.begin(0.0)
    found.went(0.0)
    found.rebook(ARRIVAL_SECONDS - 0.1)
    assert found.slots[0].used == 1
    found.rebook(ARRIVAL_SECONDS)
    assert holds(found) == (99, 0, 0, 0)


def test_one_that_arrives_late_after_all_counts_again():
    found = account()
    found.begin(0.0)
    found.went(0.0)
    found.rebook(ARRIVAL_SECONDS)
    hear(found, ONE, meters(1, 0), ARRIVAL_SECONDS + 1)
    assert found.slots[0].used == 1
    hear(found, ONE, meters(1, 1), ARRIVAL_SECONDS + 2)
    assert found.slots[0].used == 0


def test_a_call_that_waits_for_a_predictor_is_not_lost():
    found = account()
    found.begin(0.0)
    found.begin(0.0)
    found.went(0.0)
    hear(found, ONE, meters(1, 1), 0.1)
    found.rebook(1000.0)
    assert found.slots[0].used == 1
    found.went(1000.0)
    hear(found, ONE, meters(2, 2), 1000.1)
    assert found.slots[0].used == 0


def test_a_predictor_that_fell_silent_runs_nothing_and_may_come_back():
    found = account()
    found.begin(0.0)
    found.went(0.0)
    hear(found, ONE, meters(1, 0), 0.1)
    found.rebook(0.1 + SILENCE_SECONDS + 0.1)
    assert found.slots[0].used == 0
    hear(found, ONE, meters(1, 0), 60.0)
    assert found.slots[0].used == 1


def test_predictors_are_added_up():
    found = account()
    for _ in range(4):
        found.begin(0.0)
        found.went(0.0)
    hear(found, ONE, meters(2, 1, 10), 0.1)
    hear(found, TWO, meters(2, 0, 5), 0.1)
    assert found.slots[0].used == 3
    assert found.tokens[0].balance == 10000 - 15


def test_a_lost_datagram_is_made_up_for_by_the_next():
    found = account()
    for _ in range(3):
        found.begin(0.0)
        found.went(0.0)
    hear(found, ONE, meters(3, 3, 30, 0, 3), 0.1)
    assert holds(found)[1:] == (0, 0, 0)
    assert found.money.balance == 1000 - 3


def test_a_predictor_that_forgot_the_account_begins_anew():
    found = account()
    for _ in range(3):
        found.begin(0.0)
        found.went(0.0)
    hear(found, ONE, meters(2, 2, 20), 0.1)
    hear(found, ONE, meters(1, 1, 5), 700.0)
    assert found.slots[0].used == 0
    assert found.tokens[0].balance == 10000 - 25


def test_permits_hold_what_calls_would():
    found = account()
    found.permit(5, 0.0)
    assert holds(found) == (95, 250, 500, 5)
    found.count(2, 0.0)
    hear(found, ONE, meters(2, 2), 0.1)
    assert holds(found)[1:] == (3 * found.expected, 300, 3)
    found.permit(-3, 0.2)
    assert holds(found) == (98, 0, 0, 0)


def test_a_call_of_the_gateway_that_is_lost_gives_its_place_back():
    found = account()
    found.permit(2, 0.0)
    found.count(2, 0.0)
    found.rebook(ARRIVAL_SECONDS)
    assert found.slots[0].used == 0


def test_limits_may_be_exchanged_while_calls_run():
    found = account()
    found.begin(0.0)
    old = found.slots[0]
    found.release(0.0)
    assert old.used == 0
    found.slots = [Slots("usr_1/chat", 2, held=2)]
    found.rebook(0.0)
    assert found.slots[0].used == 1


def test_calls_of_a_predictor_that_died_are_taken_for_as_dear_as_they_can_be():
    found = account()
    found.begin(0.0)
    found.went(0.0)
    hear(found, ONE, meters(1, 0), 0.1)
    found.rebook(0.1 + SILENCE_SECONDS + 0.1)
    assert found.money.free == 1000 - 100
    hear(found, ONE, meters(1, 1, cost=7), 60.0)  # it was only stopped
    assert found.money.free == 1000 - 7


def test_a_predictor_that_begins_anew_with_as_many_calls_refunds_nothing():
    found = account()
    found.begin(0.0)
    hear(found, ONE, meters(1, 1, 20, cost=40), 0.1)
    found.begin(2000.0)
    hear(found, ONE, meters(1, 0), 2000.1)
    hear(found, ONE, meters(1, 1, 20, cost=40), 2000.2)
    assert found.money.balance == 1000 - 80
    assert found.tokens[0].balance == 10000 - 40


def test_predictors_that_are_long_gone_are_not_kept_one_by_one():
    found = account(requests=[])
    for number in range(50):
        now = number * 1000.0
        found.begin(now)
        found.went(now)
        hear(found, number.to_bytes(16), meters(1, 1, 2, cost=3), now + 0.1)
    assert len(found._predictors) < 10
    assert found.money.balance == 1000 - 50 * 3
    assert found.slots[0].used == 0
