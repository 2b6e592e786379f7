"""One service in the nest: wakes a predictor for the first call, lets it sleep after the last."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from structlog import get_logger

from dormouse_control.nest.periods import Periods
from dormouse_control.nest.predictor import Predictor
from dormouse_control.nest.queue import Entry, Queue, QueueFull
from dormouse_control.nest.zygote import Zygote, ZygoteFailed
from dormouse_control.runtimes.base import PredictorStatus, ServiceStatus, State

log = get_logger(__name__)

DRAIN_GRACE_MS = 500
WAKE_ATTEMPTS = 3
FAILED_SECONDS = 5.0


class Refused(Exception):
    """No predictor for this call; `code` and `message` go to the caller."""

    def __init__(self, code: str, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after


@dataclass(frozen=True)
class Acquired:
    """`cold_start_ms` is None if the predictor was awake."""

    address: str
    cold_start_ms: int | None


@dataclass(frozen=True)
class Plan:
    """What the nest must know of a service. `config` goes to the zygote as it is."""

    service: str
    first_model: str
    idle_seconds: float
    wake_seconds: float
    queue_length: int
    config: dict[str, Any]
    gpus: int = 0


class ServiceRunner:
    """`leaving` hears the address of a predictor from which on no call may be sent there."""

    def __init__(
        self,
        plan: Plan,
        zygote: Zygote,
        periods: Periods,
        leaving: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._plan = plan
        self._zygote = zygote
        self._periods = periods
        self._tell_leaving = leaving
        self._waiting: Queue[asyncio.Future[Predictor]] = Queue(plan.queue_length)
        self._current: Predictor | None = None
        self._leaving: set[Predictor] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waking: asyncio.Task[None] | None = None
        self._failure: tuple[float, str] | None = None
        self._last_cold_start_ms: int | None = None
        self._closed = False

    async def acquire(self, *, request_id: str, model: str, priority: int) -> Acquired:
        """The address of an awake predictor, waking one if need be. Raises `Refused`."""
        if self._closed:
            raise Refused("draining", "The platform is shutting down.", 5)
        ready = self._ready()
        if ready is not None:
            ready.touch()
            return Acquired(ready.address, None)
        arrived = time.monotonic()
        predictor = await self._wait(request_id, model, priority)
        predictor.touch()
        cold = round((time.monotonic() - arrived) * 1000)
        self._last_cold_start_ms = cold
        return Acquired(predictor.address, cold)

    def _ready(self) -> Predictor | None:
        current = self._current
        return current if current is not None and current.state == "ready" else None

    async def _wait(self, request_id: str, model: str, priority: int) -> Predictor:
        if self._failure is not None and time.monotonic() < self._failure[0]:
            raise Refused("waking_failed", self._failure[1], round(FAILED_SECONDS))
        future: asyncio.Future[Predictor] = asyncio.get_running_loop().create_future()
        try:
            self._waiting.add(Entry(request_id, model, priority, future))
        except QueueFull:
            raise Refused(
                "queue_full",
                f"{self._plan.queue_length} calls already wait for {self._plan.service}.",
                2,
            ) from None
        if self._waking is None or self._waking.done():
            self._waking = asyncio.create_task(self._wake())
            self._waking.add_done_callback(self._woken)
        try:
            return await future
        finally:
            self._waiting.remove(request_id)

    async def _wake(self) -> None:
        """Try until a predictor is ready, nobody waits any more, or it failed too often."""
        reason = "unknown"
        for attempt in range(1, WAKE_ATTEMPTS + 1):
            first = self._waiting.first()
            if first is None:
                return
            try:
                predictor = await self._start(first.model)
            except ZygoteFailed as error:
                reason = str(error)
                log.error("wake_failed", service=self._plan.service, attempt=attempt, reason=reason)
                continue
            if predictor.state == "ready":
                self._failure = None
                self._hand_out(predictor)
                return
            reason = predictor.failure or "the predictor ended while it was loading"
            log.error("wake_failed", service=self._plan.service, attempt=attempt, reason=reason)
        self._fail(reason)

    def _woken(self, task: asyncio.Task[None]) -> None:
        """Nobody may wait for ever because of a defect of ours."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("wake_broke", service=self._plan.service, exc_info=error)
            self._fail("an internal error")

    async def _start(self, model: str) -> Predictor:
        """A predictor that is ready, or gone."""
        settled = asyncio.Event()

        def changed(predictor: Predictor) -> None:
            if predictor.state != "starting":
                settled.set()
            self._note(predictor)
            self._forget(predictor)

        predictor = Predictor(self._plan.service, model, changed)
        self._current = predictor
        log.info("waking", service=self._plan.service, model=model)
        told = {"model": model, "instance": predictor.instance}
        self._periods.began(predictor.instance, service=self._plan.service, gpus=self._plan.gpus)
        try:
            control = await self._zygote.fork({**self._plan.config, **told})
        except BaseException:
            self._current = None  # there never was one
            self._periods.ended(predictor.instance)
            raise
        self._spawn(predictor.follow(control))
        try:
            await asyncio.wait_for(settled.wait(), self._plan.wake_seconds)
        except TimeoutError:
            predictor.failure = f"not ready within {self._plan.wake_seconds:g} s"
            predictor.kill()
            await predictor.gone.wait()
        return predictor

    def _spawn(self, coroutine: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _hand_out(self, predictor: Predictor) -> None:
        for entry in self._waiting.take_all():
            if not entry.waiter.done():
                entry.waiter.set_result(predictor)
        log.info("awake", service=self._plan.service, model=predictor.model, pid=predictor.pid)

    def _fail(self, reason: str) -> None:
        message = f"{self._plan.service} could not be woken: {reason}"
        self._failure = (time.monotonic() + FAILED_SECONDS, message)
        for entry in self._waiting.take_all():
            if not entry.waiter.done():
                entry.waiter.set_exception(Refused("waking_failed", message, round(FAILED_SECONDS)))

    def _note(self, predictor: Predictor) -> None:
        if predictor.pid is not None:
            self._periods.runs(predictor.instance, pid=predictor.pid, load_ms=predictor.load_ms)
        if predictor.state == "gone":
            self._periods.ended(predictor.instance)

    def _forget(self, predictor: Predictor) -> None:
        """Keep `_current` to a predictor that may still get calls."""
        if predictor.state == "draining":
            self._leaving.add(predictor)
        if predictor.state == "gone":
            self._leaving.discard(predictor)
        if predictor is self._current and predictor.state in ("draining", "gone"):
            self._current = None
            if predictor.port is not None:
                self._tell_leaving(predictor.address)
            log.info("asleep", service=self._plan.service, pid=predictor.pid)

    def sleep_if_idle(self) -> None:
        ready = self._ready()
        if ready is not None and ready.idle_seconds() >= self._plan.idle_seconds:
            self.sleep()

    def kill_hung(self, *, checks: int) -> None:
        """End predictors that do nothing any more, so that their calls end and others can run."""
        for predictor in (*self._leaving, *((self._current,) if self._current else ())):
            if predictor.is_hung(checks=checks):
                log.error("killed_because_hung", service=self._plan.service, pid=predictor.pid)
                predictor.kill()

    def sleep(self) -> None:
        """Drain now; a call that comes meanwhile wakes another predictor."""
        ready = self._ready()
        if ready is not None:
            ready.drain(DRAIN_GRACE_MS)
            self._forget(ready)

    async def close(self, seconds: float) -> None:
        """Refuse new calls, let running ones end, and end the predictors."""
        self._closed = True
        if self._waking is not None:
            self._waking.cancel()
        for entry in self._waiting.take_all():
            if not entry.waiter.done():
                entry.waiter.set_exception(Refused("draining", "The platform is shutting down.", 5))
        leaving = self._leaving | ({self._current} if self._current else set())
        for predictor in leaving:
            predictor.drain(0)
        waits = [asyncio.create_task(predictor.gone.wait()) for predictor in leaving]
        if waits:
            await asyncio.wait(waits, timeout=seconds)
        for predictor in leaving:
            if predictor.state != "gone":
                log.warning("killed_while_draining", service=self._plan.service, pid=predictor.pid)
                predictor.kill()

    def status(self) -> ServiceStatus:
        alive = [*([self._current] if self._current else []), *self._leaving]
        loaded = [predictor.model for predictor in alive if predictor.state == "ready"]
        state, stage = self._state()
        return ServiceStatus(
            id=self._plan.service,
            status=state,
            stage=stage,
            models_loaded=tuple(loaded),
            predictors=tuple(_predictor_status(predictor) for predictor in alive),
            queue=len(self._waiting),
            last_cold_start_ms=self._last_cold_start_ms,
        )

    def _state(self) -> tuple[State, str | None]:
        if self._ready() is not None:
            return "awake", self._current.swapping() if self._current else None
        if self._current is not None or len(self._waiting):
            return "waking", self._current.stage if self._current else "starting"
        if self._failure is not None:
            return "failed", self._failure[1]
        return "asleep", None


def _predictor_status(predictor: Predictor) -> PredictorStatus:
    return PredictorStatus(
        pid=predictor.pid,
        model=predictor.model,
        state=predictor.state,
        in_flight=predictor.in_flight,
        memory_bytes=_memory(predictor.pid),
        idle_seconds=round(predictor.idle_seconds(), 1),
        port=predictor.port,
        metrics_port=predictor.metrics_port,
    )


def _memory(pid: int | None) -> int:
    """Proportional share of memory: pages shared with the zygote count only in part."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0
