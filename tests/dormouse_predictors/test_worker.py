"""How a call ends, and that it is accounted for however it ends; on an engine that does as told."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from dormouse.catalog import Model
from dormouse.events import UsageEvent
from dormouse.tokens import InternalClaims
from dormouse.unfinished import Begun
from dormouse_predictors.base import (
    Choice,
    Computation,
    GenerateRequest,
    Generation,
    LoadableModel,
    Meter,
    Piece,
)
from dormouse_predictors.errors import (
    CallError,
    Cancelled,
    WeightsError,
    access_expired,
    access_revoked,
    timeout,
)
from dormouse_predictors.jobs import Job
from dormouse_predictors.metrics import Metrics
from dormouse_predictors.outbox import Bell, Done, Failed, Item, Outbox
from dormouse_predictors.placing import Placement, insufficient_memory
from dormouse_predictors.resident import Resident
from dormouse_predictors.usage import Instance
from dormouse_predictors.weights import Weights
from dormouse_predictors.worker import Worker
from fixtures.scripted_engine import ScriptedEngine

CLAIMS = InternalClaims("usr_1", "key_1", "chat", "a", 1, 0, cold_start_ms=77)


class Told(ScriptedEngine):
    """Makes three tokens and then fails as told."""

    def __init__(self) -> None:
        super().__init__()
        self.end: BaseException | None = None
        self.broken: set[str] = set()
        self.pause = 0.0
        self.gpu_layers: int | None = None
        self.loads: list[str] = []

    def load(self, model: LoadableModel, *, threads: int) -> None:
        if model.id in self.broken:
            raise WeightsError("broken")
        self.loads.append(f"{model.id}:{threads}")

    def begin(self, call: Computation) -> None:
        if isinstance(self.end, CallError):
            raise self.end
        super().begin(call)

    def script(self, request: GenerateRequest, meter: Meter) -> Iterator[Piece]:  # noqa: ARG002
        meter.prompt_tokens = 5
        meter.gpu_layers = self.gpu_layers
        time.sleep(self.pause)
        for at in range(3):
            meter.completion_tokens += 1
            yield Piece(0, str(at), (), "stop" if at == 2 else None)
        if self.end is not None:
            raise self.end

    def unload(self) -> None:
        self.loads.append("unload")


class Bench:
    def __init__(self, folder: Path, spec: Callable[..., Any]) -> None:
        (folder / "w").write_bytes(b"x")
        models = {name: Model(name, folder, spec(source="builtin:w")) for name in ("a", "b")}
        self.engine = Told()
        self.stages: list[tuple[str, str, int | None]] = []
        self.resident = Resident(
            self.engine,
            models,
            Weights(folder / "weights"),
            threads=2,
            stage=lambda *stage: self.stages.append(stage),
            place=lambda _: self.place(),
        )
        self.events: list[UsageEvent] = []
        self.order: list[str] = []
        self.no_place: CallError | None = None
        self.cut: CallError | None = None
        self.swapped: list[str] = []
        self.metrics = Metrics(CollectorRegistry())
        self.begun: list[tuple[UsageEvent, int | None, float]] = []
        self.worker = Worker(
            self.resident,
            self.metrics,
            books=self,
            swapped=lambda model, _: self.swapped.append(model),
            who=Instance("ab" * 16, gpus=2),
        )

    def place(self) -> Placement:
        if self.no_place is not None:
            raise self.no_place
        return Placement(None, 0)

    def begin(self, calls: Sequence[tuple[Job, Begun]]) -> None:
        self.order.append("begun")
        self.begun += [(begun.event, begun.most, begun.rate) for _, begun in calls]

    def record(self, events: Sequence[UsageEvent]) -> None:
        self.order.append("recorded")
        self.events += events

    def work(
        self, *, stream: bool = False, model: str = "a", cancelled: bool = False
    ) -> list[Item]:
        async def run() -> list[Item]:
            outbox = Outbox(Bell(asyncio.get_running_loop()))
            put = outbox.put

            def noted(item: Item) -> None:
                self.order.append(type(item).__name__)
                put(item)

            outbox.put = noted  # type: ignore[method-assign]
            claims = InternalClaims(**(vars(CLAIMS) | {"model": model}))
            job = Job("req", "chat.completions", claims, GenerateRequest(("x",)), stream, outbox)
            job.cut = self.cut
            if cancelled:
                job.meter.cancel()
            self.worker.begin(job)
            while self.worker.running:
                self.worker.step()
            return await outbox.take()

        return asyncio.run(run())


@pytest.fixture
def bench(tmp_path: Path, model_spec: Any) -> Bench:
    return Bench(tmp_path, model_spec)


def test_a_completed_call(bench: Bench) -> None:
    (item,) = bench.work()
    assert isinstance(item, Done)
    assert item.result == Generation((Choice("012", (), "stop"),))
    (event,) = bench.events
    assert (event.request_id, event.outcome) == ("req", "completed")
    assert (event.user, event.credential, event.service) == ("usr_1", "key_1", "chat")
    assert (event.prompt_tokens, event.completion_tokens, event.cold_start_ms) == (5, 3, 77)


def test_usage_is_on_disk_before_the_last_item(bench: Bench) -> None:
    bench.work(stream=True)
    assert bench.order == ["begun", "Piece", "Piece", "Piece", "recorded", "Done"]


@pytest.mark.parametrize(
    ("end", "outcome", "status", "tokens"),
    [
        (Cancelled(), "cancelled", 504, (5, 3)),
        (RuntimeError("secret detail"), "failed", 500, (5, 3)),
        (CallError(400, "context_length_exceeded", "too long"), "failed", 400, (0, 0)),
    ],
    ids=["cancelled", "engine breaks", "engine refuses"],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_does_not_complete_is_recorded_once(
    bench: Bench,
    end: BaseException,
    outcome: str,
    status: int,
    tokens: tuple[int, int],
    stream: bool,
) -> None:
    bench.engine.end = end
    item = bench.work(stream=stream)[-1]
    assert isinstance(item, Failed)
    assert item.error.status == status
    assert "secret" not in item.error.message
    (event,) = bench.events
    assert event.outcome == outcome
    assert (event.prompt_tokens, event.completion_tokens) == tokens


def test_what_cannot_be_recorded_is_not_given_away(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_events: Sequence[UsageEvent]) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(bench, "record", full)
    (item,) = bench.work()
    assert isinstance(item, Failed)
    assert item.error.status == 500


def test_models_are_swapped_by_request(bench: Bench) -> None:
    for model in ("a", "a", "b", "a"):
        assert isinstance(bench.work(model=model)[-1], Done)
    loads = [load for load in bench.engine.loads if load != "unload"]
    assert loads == ["a:2", "b:2", "a:2"]
    assert bench.engine.loads.index("unload") == 0
    assert bench.stages == [(model, "loading", None) for model in "aba"]


def test_only_a_load_that_took_time_is_a_swap(bench: Bench) -> None:
    bench.resident.ensure("a")
    bench.work(model="a")
    assert bench.swapped == []


def test_a_model_that_does_not_load_is_503_and_no_usage(bench: Bench) -> None:
    bench.engine.broken = {"b"}
    item = bench.work(model="b")[-1]
    assert isinstance(item, Failed)
    assert (item.error.status, item.error.code) == (503, "waking_failed")
    assert item.error.retry_after
    assert bench.events == []
    stages = [("b", "loading", None), ("b", "ready", None)]
    assert (bench.stages, bench.resident.loading) == (stages, None)
    assert isinstance(bench.work(model="a")[-1], Done)


def test_a_model_without_a_place_is_refused_and_the_one_before_stays(bench: Bench) -> None:
    bench.work(model="a")
    bench.no_place = insufficient_memory("No room.", 5)
    (item,) = bench.work(model="b")
    assert isinstance(item, Failed)
    assert (item.error.status, item.error.code) == (503, "insufficient_memory")
    assert bench.resident.loaded == "a"
    assert isinstance(bench.work(model="a")[-1], Done)
    assert len(bench.events) == 2


def test_a_job_that_was_cancelled_before_is_not_begun(bench: Bench) -> None:
    item = bench.work(cancelled=True)[-1]
    assert isinstance(item, Failed)
    assert bench.events == []
    assert bench.engine.loads == []


def test_calls_and_tokens_are_counted(bench: Bench) -> None:
    bench.work(stream=True)
    bench.engine.end = RuntimeError()
    bench.work()
    value = bench.metrics.registry.get_sample_value
    labels = {"endpoint": "chat.completions", "model": "a"}
    name = "dormouse_predictor_requests_total"
    assert value(name, labels | {"outcome": "completed"}) == 1
    assert value(name, labels | {"outcome": "failed"}) == 1
    assert value("dormouse_predictor_tokens_total", {"model": "a", "kind": "completion"}) == 6
    assert value("dormouse_predictor_time_to_first_token_seconds_count", {"model": "a"}) == 1


def test_the_first_call_has_the_load_that_it_was_woken_with(bench: Bench) -> None:
    bench.resident.ensure("a")
    bench.worker.woke(30)
    bench.work()
    bench.work()
    assert [event.load_ms for event in bench.events] == [30, 0]
    assert bench.swapped == []


def test_what_a_call_will_be_charged_if_we_die_is_written_before_it_costs_anything(
    bench: Bench,
) -> None:
    bench.work(stream=True)
    ((event, most, rate),) = bench.begun
    assert (event.outcome, event.prompt_tokens, event.completion_tokens) == ("failed", 5, 0)
    assert (event.request_id, event.predictor) == ("req", "ab" * 16)
    assert (most, rate) == (bench.resident.context("a"), 0.0)


def test_the_next_call_knows_how_fast_the_last_was(bench: Bench) -> None:
    bench.engine.pause = 0.1
    bench.work(stream=True)
    bench.work(stream=True)
    assert 10 < bench.begun[1][2] < 60  # three tokens in a little more than 100 ms
    assert 100 <= bench.events[0].compute_ms < 300


def test_r18_an_answer_that_would_be_given_whole_costs_nothing_if_we_die(bench: Bench) -> None:
    bench.work(stream=False)
    assert bench.begun == []
    assert bench.order == ["recorded", "Done"]


def test_a_call_that_the_engine_refuses_is_not_begun(bench: Bench) -> None:
    bench.engine.end = CallError(400, "context_length_exceeded", "too long")
    bench.work(stream=True)
    assert bench.begun == []


def test_what_cannot_be_begun_is_not_answered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(bench, "begin", full)
    (item,) = bench.work(stream=True)
    assert isinstance(item, Failed)
    assert item.error.status == 500


@pytest.mark.parametrize(("layers", "gpus"), [(None, 0), (0, 0), (3, 2)])
def test_gpus_are_charged_where_layers_run_on_them(
    bench: Bench, layers: int | None, gpus: int
) -> None:
    bench.engine.gpu_layers = layers
    bench.work()
    assert bench.events[0].gpus == gpus


@pytest.mark.parametrize(
    ("cut", "outcome"),
    [
        (None, "cancelled"),
        (timeout(), "cancelled"),
        (access_revoked(), "revoked"),
        (access_expired(), "revoked"),
    ],
)
def test_a_call_that_was_cut_says_why(bench: Bench, cut: CallError | None, outcome: str) -> None:
    bench.engine.end, bench.cut = Cancelled(), cut
    item = bench.work()[-1]
    assert isinstance(item, Failed)
    assert item.error.code == (cut or timeout()).code
    assert bench.events[0].outcome == outcome


class Counting(Told):
    """Knows prompts as soon as calls begin, as real engines do."""

    def begin(self, call: Computation) -> None:
        super().begin(call)
        call.meter.prompt_tokens = 5

    def script(self, request: GenerateRequest, meter: Meter) -> Iterator[Piece]:
        meter.check()
        yield from super().script(request, meter)


def jobs(count: int, outboxes: list[list[Item]]) -> list[Job]:
    made = []
    loop = asyncio.new_event_loop()
    loop.close()
    for number in range(count):
        items: list[Item] = []
        outbox = Outbox(Bell(loop))
        outbox.put = items.append  # type: ignore[method-assign]
        outboxes.append(items)
        request = GenerateRequest(("x",))
        made.append(Job(f"req_{number}", "chat.completions", CLAIMS, request, True, outbox))
    return made


@pytest.fixture
def counting(bench: Bench) -> Bench:
    bench.engine = bench.resident.engine = Counting()
    return bench


def test_what_happens_to_several_calls_at_once_is_written_down_at_once(counting: Bench) -> None:
    answers: list[list[Item]] = []
    for job in jobs(3, answers):
        counting.worker.begin(job)
    assert counting.begun == []  # nothing has been spent on them
    while counting.worker.running:
        counting.worker.step()
    assert counting.order == ["begun", "recorded"]
    assert [event.request_id for event, _, _ in counting.begun] == ["req_0", "req_1", "req_2"]
    assert [event.completion_tokens for event in counting.events] == [3] * 3
    assert all(isinstance(items[-1], Done) for items in answers)


def test_calls_that_cannot_be_written_down_cost_nothing_and_are_refused(
    counting: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_calls: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(counting, "begin", full)
    answers: list[list[Item]] = []
    for job in jobs(2, answers):
        counting.worker.begin(job)
    while counting.worker.running:
        counting.worker.step()
    assert [item.error.status for (item,) in answers if isinstance(item, Failed)] == [500] * 2
    found = [(event.outcome, event.completion_tokens) for event in counting.events]
    assert found == [("failed", 0)] * 2
