"""Whose message is sent next."""

from dormouse_control.webhooks import decisions
from dormouse_control.webhooks.decisions import choose
from dormouse_control.webhooks.models import WebhookDelivery


def _due(user: str, host: str, id: str = "") -> WebhookDelivery:
    return WebhookDelivery(id=id, user_id=user, url=f"https://{host}/x")


def test_users_take_turns() -> None:
    due = [_due("ada", f"a{number}.test", f"a{number}") for number in range(9)]
    due += [_due("bob", f"b{number}.test", f"b{number}") for number in range(2)]
    chosen = choose(due, [("ada", "other.test")])
    assert [each.id for each in chosen] == ["b0", "a0", "b1", "a1", "a2", "a3"]
    assert choose(due, [("ada", "x")] * decisions.MOST_OF_A_USER) == due[-2:]


def test_a_host_is_not_asked_by_everybody_at_once() -> None:
    due = [_due(f"user {number}", "one.test", str(number)) for number in range(9)]
    due.append(_due("other", "two.test"))
    chosen = choose(due, [("somebody", "one.test")])
    assert len(chosen) == decisions.MOST_TO_A_HOST
    assert chosen[-1].user_id == "other"


def test_so_many_are_sent_at_once() -> None:
    due = [_due(f"user {number}", f"{number}.test") for number in range(99)]
    assert len(choose(due, [("user", "x.test")])) == decisions.MOST_AT_ONCE - 1
