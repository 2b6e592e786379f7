"""Starts predictors of one service: one at a time, with pauses after failures, and says what a
failure means for the calls that wait."""

import asyncio
import time
from collections.abc import Callable

from structlog import get_logger

from dormouse_control.nest.memory import InsufficientMemory
from dormouse_control.nest.predictor import Predictor
from dormouse_control.nest.predictors import Predictors
from dormouse_control.nest.setbacks import Setbacks
from dormouse_control.nest.waiting import Refused, WaitingCalls, refusal_of
from dormouse_control.nest.zygote import ZygoteFailed

NO_PLACE_SECONDS = 5.0
"""Until a predictor that no call waits for is tried again."""

log = get_logger(__name__)


class Launches:
    """`ended` hears when the next one may start; `given_up` that a predictor which was asked for is
    not going to be there. `least` are wanted whatever happens. `failure` is what went wrong last,
    if the service has not woken since.
    """

    def __init__(
        self,
        service: str,
        predictors: Predictors,
        calls: WaitingCalls,
        *,
        ended: Callable[[], None],
        given_up: Callable[[], None],
        least: Callable[[], int],
        not_offered: Callable[[str], Refused | None],
    ) -> None:
        self._service = service
        self._predictors = predictors
        self._calls = calls
        self._ended = ended
        self._given_up = given_up
        self._least = least
        self._not_offered = not_offered
        self._no_place_until = 0.0
        self._setbacks = Setbacks(service)
        self._task: asyncio.Task[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self.failure: str | None = None

    @property
    def running(self) -> bool:
        return self._task is not None

    def start(self, choose: Callable[[], str]) -> None:
        """One with the model that is chosen, now or after the pause; none with a model that is
        refused by name."""
        now = time.monotonic()
        pause = self._setbacks.pause(now)
        if pause > 0:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm = asyncio.get_running_loop().call_later(pause, self._ended)
            return
        model = choose()
        if self._setbacks.block(model, now) is not None:
            self._given_up()
            return
        self._task = asyncio.create_task(self._launch(model))
        self._task.add_done_callback(self._launched)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._alarm is not None:
            self._alarm.cancel()

    def forgive(self) -> None:
        self._setbacks.forgive()
        self._no_place_until = 0.0

    def may_find_place(self, now: float) -> bool:
        """False for a while after there was none: for a predictor that no call waits for."""
        return now >= self._no_place_until

    def may_start(self, model: str) -> bool:
        """Whether one with this model has a chance, by what went wrong lately."""
        now = time.monotonic()
        return self.may_find_place(now) and self._setbacks.block(model, now) is None

    def blocked(self, model: str) -> Refused | None:
        """What calls for the model are told if it is not even tried."""
        now = time.monotonic()
        block = self._setbacks.block(model, now)
        if block is None or model in self._predictors.loaded():
            return None
        return refusal_of(block, now)

    def pause(self) -> float:
        """Seconds until the next may start."""
        return self._setbacks.pause(time.monotonic())

    def quarantined(self) -> tuple[str, ...]:
        return self._setbacks.quarantined(time.monotonic())

    def woke(self, model: str) -> None:
        self.failure = None
        self._setbacks.woke(model)

    def died_awake(self, predictor: Predictor) -> None:
        """One that was ready, and nobody had asked for its end."""
        now = time.monotonic()
        assert predictor.ready_at is not None
        log.error("predictor_died", service=self._service, loading=predictor.loading)
        if predictor.loading is not None:
            reason = "the predictor ended while it was loading"
            self._setbacks.failed(predictor.loading, reason, died=True, now=now)
        self._setbacks.died_awake(now - predictor.ready_at, now=now)

    async def _launch(self, model: str) -> None:
        extra = len(self._predictors.ready()) >= max(1, self._least())
        try:
            predictor = await self._predictors.launch(model, may_evict=not extra)
        except ZygoteFailed as error:
            self._failed(None, str(error), died=False)
            return
        except KeyError:  # it was taken out of the catalogue a moment ago
            if self._not_offered(model) is None:
                raise
            self._calls.refuse(self._not_offered)
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
        self._given_up()
        self._calls.refuse(lambda each: refusal if each == model else None)

    def _launched(self, task: asyncio.Task[None]) -> None:
        """Nobody may wait for ever because of a defect of ours."""
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("wake_broke", service=self._service, exc_info=error)
            self._failed(None, "an internal error", died=False)
        self._ended()

    def _failed(self, model: str | None, reason: str, *, died: bool) -> None:
        log.error("wake_failed", service=self._service, model=model, reason=reason)
        self.failure = f"{self._service} could not be woken: {reason}"
        self._setbacks.failed(model, reason, died=died, now=time.monotonic())
        self._calls.refuse(self.blocked)
        self._calls.failed(model, reason)
