"""Decisions that the authorizer left for the gateway, applied by a real Envoy."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dormouse_control.authorizer.decisions import Answer, Call, DecisionTable, Slot
from dormouse_control.gateway.slots import MAX_WORKERS

KEY = "Bearer dm_" + "k" * 43
PATH = "/v1/chat/completions"


@pytest.fixture
def decisions(gateway: Any) -> Iterator["Decisions"]:
    made = Decisions(gateway)
    yield made
    made.end_all()


@pytest.fixture
def client(gateway: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, headers={"authorization": KEY}) as opened:
        yield opened


class Decisions:
    """Of an authorizer."""

    def __init__(self, gateway: Any) -> None:
        self.table = DecisionTable(gateway.decisions)
        self.table.live(time.time() + 600)
        self._address = gateway.authorizer.headers["x-envoy-original-dst-host"]
        self._open: set[Slot] = set()

    def decide(
        self,
        calls: int,
        *,
        seconds: float = 60,
        max_bytes: int | None = None,
        tokens: int | None = 870,
        **changed: str,
    ) -> Slot:
        """Permits for so many calls on each of the workers; the token is `Bearer <model>`."""
        fields = {"credential": KEY, "path": PATH, "priority": "1", "model": "m"} | changed
        slot = self.table.put(
            Call(**fields),
            Answer(
                f"Bearer {fields['model']}", self._address, ("600,", ",1s,900,", ",6s"), max_bytes
            ),
            until=time.time() + seconds,
        )
        assert slot is not None
        self._open.add(slot)
        self.table.tell_rest(slot, 100, tokens)
        for worker in range(MAX_WORKERS):
            self.table.allow(slot, worker, calls)
        return slot

    def end(self, slot: Slot) -> int:
        """How many of its permits were not used."""
        self._open.remove(slot)
        self.table.withdraw(slot)
        return self.table.settle(slot)

    def end_all(self) -> None:
        for slot in list(self._open):
            self.end(slot)


def ask(client: httpx.Client, model: str = "m", path: str = PATH, **headers: str) -> int:
    return client.post(path, json={"model": model}, headers=headers).status_code


def test_calls_go_through_until_the_permits_are_used(
    gateway: Any, decisions: Decisions, client: httpx.Client
) -> None:
    slot = decisions.decide(3)
    for _ in range(5):  # one connection, so one worker
        assert ask(client) == 200

    assert [seen.headers["authorization"] for seen in gateway.predictor.seen] == [
        "Bearer m",
        "Bearer m",
        "Bearer m",
        "Bearer internal",
        "Bearer internal",
    ]
    assert len(gateway.authorizer.seen) == 2
    assert decisions.end(slot) == 3 * (MAX_WORKERS - 1)


def test_nothing_of_ours_reaches_the_predictor(
    gateway: Any, decisions: Decisions, client: httpx.Client
) -> None:
    decisions.decide(1)
    assert ask(client, **{"x-dormouse-worker": "7", "x-dormouse-priority": "1"}) == 200

    [seen] = gateway.predictor.seen
    ours = {name for name in seen.headers if name.startswith(("x-dormouse-", "x-envoy-"))}
    # Its own address and what is left of the limits, both written by us.
    assert ours == {"x-envoy-original-dst-host", "x-dormouse-limits"}
    assert seen.headers["authorization"] == "Bearer m"


def test_the_predictor_is_told_what_is_left_of_the_limits(
    gateway: Any, decisions: Decisions, client: httpx.Client
) -> None:
    decisions.decide(3, tokens=870)
    for _ in range(2):
        assert ask(client, **{"x-dormouse-limits": "9,9,9s,,,"}) == 200
    told = [seen.headers["x-dormouse-limits"] for seen in gateway.predictor.seen]
    assert told == ["600,102,1s,900,870,6s", "600,101,1s,900,870,6s"]


@pytest.mark.parametrize(("most", "asked"), [(None, 0), (13, 0), (12, 1)])
def test_a_longer_body_than_the_decision_is_for_is_asked_about(
    gateway: Any, decisions: Decisions, client: httpx.Client, most: int | None, asked: int
) -> None:
    decisions.decide(1, max_bytes=most)
    assert ask(client) == 200  # {"model":"m"} has 13 bytes
    assert len(gateway.authorizer.seen) == asked


def test_the_authorizer_is_told_how_long_a_body_is(gateway: Any, client: httpx.Client) -> None:
    ask(client, **{"x-dormouse-bytes": "1"})
    client.post(PATH, content=iter([b'{"model":', b'"m"}']))
    client.post("/m/m/v1/chat/completions", content=iter([b"{}"]))
    assert [seen.headers.get("x-dormouse-bytes") for seen in gateway.authorizer.seen] == [
        "13",
        "13",
        None,
    ]


def test_a_caller_cannot_say_which_worker_it_is_on(gateway: Any, client: httpx.Client) -> None:
    for _ in range(3):
        ask(client, **{"x-dormouse-worker": "7"})
    workers = {seen.headers["x-dormouse-worker"] for seen in gateway.authorizer.seen}
    assert len(workers) == 1
    assert workers <= {"0", "1", "2", "3"}


@pytest.mark.parametrize(
    "changed",
    [
        {"headers": {"authorization": KEY[:-1] + "l"}},
        {"headers": {"authorization": KEY.lower()}},
        {"model": "n"},
        {"path": "/v1/completions"},
        {"path": "/chat/completions"},
        {"path": PATH + "?x=1"},
        {"path": "/m/m" + PATH},
        {"headers": {"x-dormouse-priority": "0"}},
        {"headers": {"x-dormouse-priority": "1"}, "same": True},
    ],
    ids=str,
)
def test_only_the_very_same_call_is_decided(
    gateway: Any, decisions: Decisions, client: httpx.Client, changed: dict[str, Any]
) -> None:
    decisions.decide(1)
    ask(client, changed.get("model", "m"), changed.get("path", PATH), **changed.get("headers", {}))
    assert len(gateway.authorizer.seen) == (0 if changed.get("same") else 1)


def test_two_credentials_are_none(gateway: Any, decisions: Decisions, client: httpx.Client) -> None:
    decisions.decide(5)
    headers = [("authorization", KEY), ("authorization", "Bearer other")]
    client.headers.pop("authorization")
    client.post(PATH, json={"model": "m"}, headers=headers)
    assert len(gateway.authorizer.seen) == 1


def test_a_withdrawn_decision_counts_no_more(
    gateway: Any, decisions: Decisions, client: httpx.Client
) -> None:
    slot = decisions.decide(100)
    assert ask(client) == 200
    assert decisions.end(slot) == 100 * MAX_WORKERS - 1
    assert ask(client) == 200
    assert len(gateway.authorizer.seen) == 1


def test_a_decision_ends_with_its_time(
    gateway: Any, decisions: Decisions, client: httpx.Client
) -> None:
    decisions.decide(100, seconds=0.3)
    ask(client)
    time.sleep(0.35)
    ask(client)
    assert len(gateway.authorizer.seen) == 1


def test_without_an_authorizer_no_decision_counts(
    gateway: Any, decisions: Decisions, client: httpx.Client
) -> None:
    decisions.decide(100)
    decisions.table.live(time.time() + 0.3)
    ask(client)
    assert gateway.authorizer.seen == []
    time.sleep(0.35)
    ask(client)
    assert len(gateway.authorizer.seen) == 1


def test_a_new_decision_takes_the_place_of_the_old(
    gateway: Any, decisions: Decisions, client: httpx.Client
) -> None:
    for round_ in range(20):
        slot = decisions.decide(1)
        assert ask(client) == 200
        assert decisions.end(slot) == MAX_WORKERS - 1, round_
    assert gateway.authorizer.seen == []


def test_what_an_authorizer_before_decided_counts_no_more(
    gateway: Any, decisions: Decisions, client: httpx.Client
) -> None:
    decisions.decide(100)
    ask(client)
    DecisionTable(gateway.decisions)
    ask(client)
    assert len(gateway.authorizer.seen) == 1


def test_no_more_calls_than_permits_go_through_in_a_race(
    gateway: Any, decisions: Decisions
) -> None:
    slot = decisions.decide(25)

    def many(_: int) -> list[int]:
        with httpx.Client(base_url=gateway.url, headers={"authorization": KEY}) as client:
            return [ask(client) for _ in range(8)]

    with ThreadPoolExecutor(16) as pool:
        statuses = Counter(status for found in pool.map(many, range(16)) for status in found)
    assert statuses == {200: 128}
    tokens = Counter(seen.headers["authorization"] for seen in gateway.predictor.seen)
    assert tokens["Bearer m"] == 25 * MAX_WORKERS - decisions.end(slot)
    assert tokens["Bearer internal"] == len(gateway.authorizer.seen) == 128 - tokens["Bearer m"]
    assert tokens["Bearer internal"] >= 128 - 25 * 4


_NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}", fullmatch=True)
_SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=1500)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(model=_NAMES, secret=_SECRETS)
def test_both_sides_hash_alike(
    gateway: Any, decisions: Decisions, client: httpx.Client, model: str, secret: str
) -> None:
    """Or a decision would never be found again."""
    gateway.forget()
    decisions.end_all()
    decisions.decide(1, credential=f"Bearer {secret}", model=model)
    assert ask(client, model, authorization=f"Bearer {secret}") == 200
    assert gateway.authorizer.seen == []
