"""Which messages are sent next. Pure."""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from dormouse_control.webhooks.models import WebhookDelivery

MOST_AT_ONCE = 20
MOST_OF_A_USER = 5
MOST_TO_A_HOST = 5


def host_of(url: str) -> str:
    return (urlsplit(url).hostname or "").lower()


def choose(
    due: Sequence[WebhookDelivery], running: Iterable[tuple[str, str]]
) -> list[WebhookDelivery]:
    """In turns: who has the fewest on their way is next. `running` has each one's user and host.

    A receiver that lets us wait takes some places of its owner, and no more.
    """
    users, hosts = Counter[str](), Counter[str]()
    for user, host in running:
        users[user] += 1
        hosts[host] += 1
    queues: dict[str, deque[WebhookDelivery]] = {}
    for each in due:
        queues.setdefault(each.user_id, deque()).append(each)
    chosen: list[WebhookDelivery] = []
    while users.total() < MOST_AT_ONCE:
        waiting = [user for user, queue in queues.items() if queue and users[user] < MOST_OF_A_USER]
        if not waiting:
            break
        user = min(waiting, key=lambda name: users[name])
        delivery = queues[user].popleft()
        if hosts[host_of(delivery.url)] >= MOST_TO_A_HOST:
            continue
        chosen.append(delivery)
        users[user] += 1
        hosts[host_of(delivery.url)] += 1
    return chosen
