"""One service in the nest: wakes predictors for its calls, lets them sleep after the last."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from structlog import get_logger

from dormouse_control.nest import states
from dormouse_control.nest.demand import Demand
from dormouse_control.nest.launches import Launches
from dormouse_control.nest.plan import Plan
from dormouse_control.nest.predictor import Predictor
from dormouse_control.nest.predictors import Predictors
from dormouse_control.nest.shared import Shared
from dormouse_control.nest.waiting import Asked, Place, Refused, WaitingCalls, held_too_long
from dormouse_control.nest.zygote import Zygote
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
        self._demand = Demand(plan)
        self._launches = Launches(
            plan.service,
            self._predictors,
            self._calls,
            ended=self._act,
            given_up=self._given_up,
            least=self._demand.least,
            not_offered=self._not_offered,
        )
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

    def expect(self, model: str) -> None:
        """A call for the model may come in a moment: what it would wait for begins now, once."""
        if self._closed or self._demand.resting:
            return
        if self._predictors.alive() or self._launches.running:
            return
        if self._not_offered(model) or not self._launches.may_start(model):
            return
        self._shared.read_ahead(self._plan.service, model)
        self._launches.start(lambda: model)

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
        self._launches.forgive()
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
        await self._launches.close()
        self._calls.refuse(lambda _: _draining())
        await self._predictors.close(seconds)

    def pids(self) -> list[int]:
        return [each.pid for each in self._predictors.alive() if each.pid is not None]

    def status(self, memory: Mapping[int, int] | None = None) -> ServiceStatus:
        """`memory` by process, from `states.memory_of`."""
        return states.describe(
            self._plan.service,
            self._predictors.alive(),
            memory=memory or {},
            waiting=len(self._calls),
            failure=self._launches.failure,
            quarantined=self._launches.quarantined(),
            oldest_wait=self._calls.oldest_seconds(),
            expected_wait=self._expected_wait(),
            last_cold_start_ms=self._last_cold_start_ms,
        )

    def _check(self, model: str) -> None:
        """Raises `Refused` for a call that is not even tried."""
        if self._closed:
            raise _draining()
        refusal = self._not_offered(model) or self._launches.blocked(model)
        if refusal is not None:
            raise refusal

    def _not_offered(self, model: str) -> Refused | None:
        try:
            self._shared.models[self._plan.service, model]
        except KeyError:
            text = f"{self._plan.service} offers no model {model} any more."
            return Refused("model_not_found", text, None)
        return None

    def replan(self, plan: Plan) -> None:
        """For predictors that start from now on, and for when they start and sleep."""
        self._calls.refuse(self._not_offered)
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
            ready, starts=self._launches.running, waits=bool(self._calls), now=now
        )
        if decision.sleep is not None:
            self._predictors.drain(ready[decision.sleep])
        if decision.start and (self._calls or self._launches.may_find_place(now)):
            self._launches.start(self._next_model)

    def _given_up(self) -> None:
        self._demand.asked_for = False

    def _next_model(self) -> str:
        """What the next predictor loads first."""
        waiting = self._calls.first_model(self._predictors.loaded())
        if waiting is not None:
            return waiting
        ready = self._predictors.ready()
        busiest = max(ready, key=lambda each: each.in_flight, default=None)
        if busiest is None or not busiest.model or self._not_offered(busiest.model):
            return self._plan.first_model
        return busiest.model

    def _woke(self, predictor: Predictor) -> None:
        self._launches.woke(predictor.model)
        self._demand.woke()
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

    def _changed(self, predictor: Predictor) -> None:
        ended = predictor.state == "gone" and not predictor.dismissed
        if ended and predictor.ready_at is not None and not self._closed:
            self._launches.died_awake(predictor)
        self._hand_early()
        self._act()

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
        return wake_ms / 1000 + self._launches.pause()


def _draining() -> Refused:
    return Refused("draining", "The platform is shutting down.", 5)
