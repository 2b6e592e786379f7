"""All predictors of one service, from before their start until they are gone."""

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

from structlog import get_logger

from dormouse_control.nest.plan import Plan
from dormouse_control.nest.predictor import Predictor
from dormouse_control.nest.routing import choose
from dormouse_control.nest.shared import Shared
from dormouse_control.nest.zygote import Zygote

log = get_logger(__name__)

DRAIN_GRACE_MS = 500
NOTING_SECONDS = 0.05
CALM_SECONDS = 1.0
"""So long others may start before we look what a model took: to look is work for a core too, and
calls make a model's memory grow."""
ZYGOTE_ENDS_SECONDS = 0.1
"""Its sockets are closed so long, and more, before the end of a process is known."""


class Predictors:
    """`woke` hears of each once it is ready, `changed` of every report."""

    def __init__(
        self,
        plan: Plan,
        zygote: Zygote,
        shared: Shared,
        *,
        woke: Callable[[Predictor], None],
        changed: Callable[[Predictor], None],
    ) -> None:
        self._plan = plan
        self._zygote = zygote
        self._periods = shared.periods
        self._cold_starts = shared.cold_starts
        self._memory = shared.memory
        self._tell_leaving = shared.leaving
        self._starts = shared.starts
        self._woke = woke
        self._changed = changed
        self._alive: list[Predictor] = []  # in the order of their starts
        self._followed: set[asyncio.Task[None]] = set()

    def replan(self, plan: Plan) -> None:
        """For those that start from now on."""
        self._plan = plan

    def alive(self) -> tuple[Predictor, ...]:
        return tuple(self._alive)

    def ready(self) -> tuple[Predictor, ...]:
        return tuple(each for each in self._alive if each.state == "ready")

    def starting(self) -> Predictor | None:
        return next((each for each in self._alive if each.state == "starting"), None)

    def loaded(self) -> frozenset[str]:
        return frozenset(each.model for each in self.ready() if each.model)

    def hand(self, model: str) -> Predictor | None:
        """The one that a call for `model` goes to from now on; None if none is ready."""
        now = time.monotonic()
        chosen = choose(self.ready(), model, now)
        if chosen is not None:
            chosen.hand(now)
        return chosen

    async def launch(self, model: str, *, may_evict: bool) -> Predictor:
        """A new one that is ready, leaving or gone; `may_evict`: idle ones of other services may be
        ended for it. Raises `ZygoteFailed`, `InsufficientMemory`.
        """
        settled = asyncio.Event()

        def changed(predictor: Predictor) -> None:
            if predictor.state == "ready" and not settled.is_set():
                self._woke(predictor)
            if predictor.state != "starting":
                settled.set()
            self._note(predictor)
            self._changed(predictor)

        predictor = Predictor(self._plan.service, model, changed, self._memory.answer)
        self._alive.append(predictor)
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._starts.turn())
                if predictor.dismissed:
                    predictor.never_began()
                    return predictor
                log.info("waking", service=self._plan.service, model=model)
                control = await self._fork(predictor, may_evict=may_evict)
            except BaseException:
                self._alive.remove(predictor)  # there never was one
                self._memory.release(predictor)
                raise
            predictor.forked_at = time.monotonic()
            zygote = self._zygote.pid
            self._follow(predictor.follow(control))
            try:
                await asyncio.wait_for(settled.wait(), self._plan.wake_seconds)
            except TimeoutError:
                predictor.failure = f"not ready within {self._plan.wake_seconds:g} s"
                predictor.kill()
                await predictor.gone.wait()
        if predictor.gone.is_set() and predictor.pid is None and predictor.failure is None:
            await asyncio.sleep(ZYGOTE_ENDS_SECONDS)
            if self._zygote.pid != zygote:  # no fault of the model
                predictor.failure = "its zygote ended before it was forked"
        return predictor

    def drain(self, predictor: Predictor) -> None:
        predictor.drain(DRAIN_GRACE_MS)
        self._note(predictor)

    def ask_anew(self, *, but: Predictor) -> None:
        """Another one is ready: who has kept an address must not go on with it."""
        for each in self.ready():
            if each is not but:
                self._tell_leaving(each.address)

    def kill_hung(self, *, checks: int) -> None:
        """End those that do nothing any more, so that their calls end and others can run."""
        for predictor in self.alive():
            if predictor.is_unheard(checks=checks):
                log.error("zygote_hangs", service=self._plan.service)
                predictor.failure = "the zygote hangs"
                self._zygote.kill()
                predictor.kill()
            elif predictor.is_hung(checks=checks):
                log.error("killed_because_hung", service=self._plan.service, pid=predictor.pid)
                predictor.kill()

    async def close(self, seconds: float) -> None:
        """Let running calls end, and then the predictors."""
        leaving = self.alive()
        for predictor in leaving:
            predictor.drain(0)
        waits = [asyncio.create_task(predictor.gone.wait()) for predictor in leaving]
        if waits:
            await asyncio.wait(waits, timeout=seconds)
        for predictor in leaving:
            if predictor.state != "gone":
                log.warning("killed_while_draining", service=self._plan.service, pid=predictor.pid)
                predictor.kill()

    async def _fork(self, predictor: Predictor, *, may_evict: bool) -> socket.socket:
        place = await self._memory.place(predictor, predictor.model, may_evict=may_evict)
        placed = {
            "gpu": place.gpu,
            "gpu_layers": place.gpu_layers,
            "contexts": place.contexts,
        }
        instance, service = predictor.instance, self._plan.service
        self._periods.began(instance, service=service, gpus=self._plan.gpus)
        try:
            return await self._zygote.fork({**self._plan.config, **self._told(predictor), **placed})
        except BaseException:
            self._periods.ended(instance)
            raise

    def _told(self, predictor: Predictor) -> dict[str, Any]:
        told = {"model": predictor.model, "instance": predictor.instance}
        expected = self._cold_starts.load_ms(self._plan.service, predictor.model)
        return told if expected is None else {**told, "expected_load_ms": round(expected)}

    def _follow(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._followed.add(task)
        task.add_done_callback(self._followed.discard)

    def _note(self, predictor: Predictor) -> None:
        if predictor.measures:
            predictor.measures = False
            self._follow(self._measure(predictor, predictor.model, predictor.load_ms / 1000))
        if predictor.emptied:
            predictor.emptied = False
            self._memory.release(predictor)
        if predictor.state == "ready":
            # After the answers to who waits for it: this writes a file.
            asyncio.get_running_loop().call_later(NOTING_SECONDS, self._note_period, predictor)
        else:
            self._note_period(predictor)
        if predictor.state in ("draining", "gone") and predictor.serves:
            predictor.serves = False
            self._tell_leaving(predictor.address)
            log.info("asleep", service=self._plan.service, pid=predictor.pid)
        if predictor.state == "gone":
            self._memory.release(predictor)
            self._periods.ended(predictor.instance)
            if predictor in self._alive:
                self._alive.remove(predictor)

    async def _measure(self, predictor: Predictor, model: str, load_seconds: float) -> None:
        await self._starts.calm(CALM_SECONDS)
        await self._memory.loaded(predictor, model, seconds=load_seconds)

    def _note_period(self, predictor: Predictor) -> None:
        if predictor.pid is not None:
            self._periods.runs(predictor.instance, pid=predictor.pid, load_ms=predictor.load_ms)
