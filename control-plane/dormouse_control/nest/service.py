"""One service in the nest: wakes predictors for its calls, lets them sleep after the last."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from structlog import get_logger

from dormouse_control.nest import states
from dormouse_control.nest.demand import Demand
from dormouse_control.nest.memory import InsufficientMemory
from dormouse_control.nest.plan import Plan
from dormouse_control.nest.predictor import Predictor
from dormouse_control.nest.predictors import Predictors
from dormouse_control.nest.setbacks import Setbacks
from dormouse_control.nest.shared import Shared
from dormouse_control.nest.waiting import (
    Asked,
    Place,
    Refused,
    WaitingCalls,
    held_too_long,
    refusal_of,
)
from dormouse_control.nest.zygote import Zygote, ZygoteFailed
from dormouse_control.runtimes.base import ServiceStatus

log = get_logger(__name__)

LEARNING_SECONDS = 0.05

NO_PLACE_SECONDS = 5.0
"""A predictor that no call waits for is tried again so long after there was no place for it."""


@dataclass(frozen=True)
class Acquired:
    """`cold_start_ms` is None if the predictor was awake. `lasting`: more calls may go to the
    address unasked, until it is told to be leaving; there is no other to choose from.
    """

    address: str
    cold_start_ms: int | None
    lasting: bool


class ServiceRunner:
    """Whatever changes ends in `_act`, which asks `Demand` for the next step and takes it."""

    def __init__(self, plan: Plan, zygote: Zygote, shared: Shared) -> None:
        self._plan = plan
        self._shared = shared
        self._predictors = Predictors(plan, zygote, shared, woke=self._woke, changed=self._changed)
        self._calls = WaitingCalls(
            plan.service, plan.queue_length, ageing_seconds=plan.ageing_seconds
        )
        self._setbacks = Setbacks(plan.service)
        self._demand = Demand(plan)
        self._launching: asyncio.Task[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._no_place_until = 0.0
        self._failure: str | None = None
        self._last_cold_start_ms: int | None = None
        self._closed = False

    async def acquire(self, asked: Asked) -> Acquired:
        """The address of an awake predictor, waking one if need be. Raises `Refused`."""
        self._check(asked.model)
        predictor = self._predictors.hand(asked.model)
        if predictor is not None:
            return Acquired(predictor.address, None, self._is_lasting())
        arrived = time.monotonic()
        predictor = await self._wait(asked, arrived)
        while predictor.state != "ready" and not (asked.early and predictor.listens):
            # It died in between.
            self._check(asked.model)
            predictor = self._predictors.hand(asked.model) or await self._wait(asked, arrived)
        cold = round((time.monotonic() - arrived) * 1000)
        if predictor.state == "ready":
            self._last_cold_start_ms = cold
        return Acquired(predictor.address, cold, self._is_lasting())

    def place(self, request_id: str) -> Place | None:
        """Of a waiting call; None if it does not wait."""
        try:
            ahead = self._calls.ahead_of(request_id, self._predictors.loaded())
        except KeyError:
            return None
        return Place(ahead, states.milliseconds(self._expected_wait()))

    def tick(self) -> None:
        """To be called several times a second: what only the clock tells."""
        self._act()

    def kill_hung(self, *, checks: int) -> None:
        self._predictors.kill_hung(checks=checks)

    def wake(self) -> None:
        """An operator's: forget what went wrong, and have at least one awake."""
        self._setbacks.forgive()
        self._no_place_until = 0.0
        self._demand.resting = False
        self._demand.asked_for = not self._predictors.ready()
        self._act()

    def sleep(self) -> None:
        """An operator's: drain now; a call that comes meanwhile wakes another predictor."""
        starting = self._predictors.starting()
        # Calls that wait where the model loads are its own already.
        wanted = bool(self._calls) or bool(starting and starting.load(time.monotonic()))
        self._demand.resting, self._demand.asked_for = not wanted, False
        for predictor in self._predictors.ready():
            self._predictors.drain(predictor)
        if starting is not None and not wanted:
            self._predictors.drain(starting)

    async def close(self, seconds: float) -> None:
        """Refuse new calls, let running ones end, and end the predictors."""
        self._closed = True
        if self._launching is not None:
            self._launching.cancel()
            await asyncio.wait([self._launching])
        if self._alarm is not None:
            self._alarm.cancel()
        self._calls.refuse(lambda _: _draining())
        await self._predictors.close(seconds)

    def is_awake(self) -> bool:
        return bool(self._predictors.ready())

    def waiting(self) -> int:
        return len(self._calls)

    def last_cold_start_ms(self) -> int | None:
        return self._last_cold_start_ms

    def pids(self) -> list[int]:
        return [each.pid for each in self._predictors.alive() if each.pid is not None]

    def status(self, memory: Mapping[int, int] | None = None) -> ServiceStatus:
        """`memory` by process, from `states.memory_of`."""
        return states.describe(
            self._plan.service,
            self._predictors.alive(),
            memory=memory or {},
            waiting=len(self._calls),
            failure=self._failure,
            quarantined=self._setbacks.quarantined(time.monotonic()),
            oldest_wait=self._calls.oldest_seconds(),
            expected_wait=self._expected_wait(),
            last_cold_start_ms=self._last_cold_start_ms,
        )

    def _check(self, model: str) -> None:
        """Raises `Refused` for a call that is not even tried."""
        if self._closed:
            raise _draining()
        try:
            self._shared.models[self._plan.service, model]
        except KeyError:
            text = f"{self._plan.service} offers no model {model} any more."
            raise Refused("model_not_found", text, None) from None
        refusal = self._blocked(model)
        if refusal is not None:
            raise refusal

    def _blocked(self, model: str) -> Refused | None:
        now = time.monotonic()
        block = self._setbacks.block(model, now)
        if block is None or model in self._predictors.loaded():
            return None
        return refusal_of(block, now)

    def replan(self, plan: Plan) -> None:
        """For predictors that start from now on, and for when they start and sleep."""
        if plan != self._plan:
            self._plan = plan
            self._demand.replan(plan)
            self._calls.replan(plan.queue_length, ageing_seconds=plan.ageing_seconds)
            self._predictors.replan(plan)

    def evict(self, instance: str) -> None:
        """For another service's model. Does nothing for one that is not ready any more."""
        for predictor in self._predictors.ready():
            if predictor.instance == instance:
                self._predictors.drain(predictor)

    def keeps_awake(self, instance: str) -> bool:
        """Whether it is one of the fewest: of those that are ready, who was used last."""
        ready = sorted(self._predictors.ready(), key=Predictor.idle_seconds)
        return any(each.instance == instance for each in ready[: self._demand.least()])

    async def _wait(self, asked: Asked, arrived: float) -> Predictor:
        self._shared.read_ahead(self._plan.service, asked.model)
        entry = self._calls.add(asked, arrived=arrived, expected_wait=self._expected_wait())
        self._demand.resting = False
        try:
            self._hand_early()
            self._act()
            async with asyncio.timeout(arrived + self._plan.hold_seconds - time.monotonic()):
                return await entry.waiter.future
        except TimeoutError:
            held = self._plan.hold_seconds
            raise held_too_long(self._plan.service, held, self._expected_wait()) from None
        finally:
            self._calls.remove(entry)

    def _hand_early(self) -> None:
        starting = self._predictors.starting()
        if starting is not None and starting.listens:
            self._calls.hand_early(starting)

    def _is_lasting(self) -> bool:
        return len(self._predictors.ready()) == 1

    def _act(self) -> None:
        if self._closed:
            return
        now = time.monotonic()
        ready = self._predictors.ready()
        decision = self._demand.next_step(
            ready, starts=self._launching is not None, waits=bool(self._calls), now=now
        )
        if decision.sleep is not None:
            self._predictors.drain(ready[decision.sleep])
        if decision.start and (self._calls or now >= self._no_place_until):
            self._start(now)

    def _start(self, now: float) -> None:
        pause = self._setbacks.pause(now)
        if pause > 0:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm = asyncio.get_running_loop().call_later(pause, self._act)
            return
        model = self._next_model()
        if self._setbacks.block(model, now) is not None:
            self._demand.asked_for = False
            return
        self._launching = asyncio.create_task(self._launch(model))
        self._launching.add_done_callback(self._launched)

    def _next_model(self) -> str:
        """What the next predictor loads first."""
        waiting = self._calls.first_model(self._predictors.loaded())
        if waiting is not None:
            return waiting
        ready = self._predictors.ready()
        busiest = max(ready, key=lambda each: each.in_flight, default=None)
        return (busiest.model if busiest is not None else "") or self._plan.first_model

    async def _launch(self, model: str) -> None:
        extra = len(self._predictors.ready()) >= max(1, self._demand.least())
        try:
            predictor = await self._predictors.launch(model, may_evict=not extra)
        except ZygoteFailed as error:
            self._failed(None, str(error), died=False)
            return
        except InsufficientMemory as error:
            self._has_no_place(model, error, extra=extra)
            return
        if predictor.ready_at is None and not predictor.dismissed:
            reason = predictor.failure or "the predictor ended while it was loading"
            self._failed(model, reason, died=predictor.failure is None)

    def _has_no_place(self, model: str, error: InsufficientMemory, *, extra: bool) -> None:
        """Nothing is wrong with it: calls for it are refused, and later ones ask again."""
        self._no_place_until = time.monotonic() + NO_PLACE_SECONDS
        if extra:  # for a call that waits by now others may be ended
            return
        refusal = Refused(error.code, error.message, error.retry_after)
        self._demand.asked_for = False
        self._calls.refuse(lambda each: refusal if each == model else None)

    def _launched(self, task: asyncio.Task[None]) -> None:
        """Nobody may wait for ever because of a defect of ours."""
        self._launching = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("wake_broke", service=self._plan.service, exc_info=error)
            self._failed(None, "an internal error", died=False)
        self._act()

    def _woke(self, predictor: Predictor) -> None:
        self._failure = None
        self._demand.woke()
        self._setbacks.woke(predictor.model)
        self._predictors.ask_anew(but=predictor)
        self._calls.hand_out(self._predictors.hand, self._predictors.loaded())
        log.info(
            "awake",
            service=self._plan.service,
            model=predictor.model,
            pid=predictor.pid,
            wake_ms=predictor.wake_ms,
        )
        # After the answers to who waits for it: this writes a file.
        asyncio.get_running_loop().call_later(LEARNING_SECONDS, self._learn, predictor)

    def _learn(self, predictor: Predictor) -> None:
        if not predictor.downloaded:
            self._shared.cold_starts.learn(
                self._plan.service,
                predictor.model,
                wake_ms=predictor.wake_ms,
                load_ms=predictor.load_ms,
            )

    def _failed(self, model: str | None, reason: str, *, died: bool) -> None:
        log.error("wake_failed", service=self._plan.service, model=model, reason=reason)
        self._failure = f"{self._plan.service} could not be woken: {reason}"
        self._setbacks.failed(model, reason, died=died, now=time.monotonic())
        self._calls.refuse(self._blocked)
        self._calls.failed(model, reason)

    def _changed(self, predictor: Predictor) -> None:
        ended = predictor.state == "gone" and not predictor.dismissed
        if ended and predictor.ready_at is not None and not self._closed:
            self._died_awake(predictor)
        self._hand_early()
        self._act()

    def _died_awake(self, predictor: Predictor) -> None:
        now = time.monotonic()
        assert predictor.ready_at is not None
        log.error("predictor_died", service=self._plan.service, loading=predictor.loading)
        if predictor.loading is not None:
            reason = "the predictor ended while it was loading"
            self._setbacks.failed(predictor.loading, reason, died=True, now=now)
        self._setbacks.died_awake(now - predictor.ready_at, now=now)

    def _expected_wait(self) -> float | None:
        """Seconds until a predictor is ready for calls that wait; None while nobody knows."""
        now = time.monotonic()
        starting = self._predictors.starting()
        model = self._next_model() if starting is None else starting.model
        wake_ms = self._shared.cold_starts.wake_ms(self._plan.service, model)
        if wake_ms is None:
            return None
        if starting is not None and starting.forked_at is not None:
            return max(0.0, wake_ms / 1000 - (now - starting.forked_at))
        return wake_ms / 1000 + self._setbacks.pause(now)


def _draining() -> Refused:
    return Refused("draining", "The platform is shutting down.", 5)
