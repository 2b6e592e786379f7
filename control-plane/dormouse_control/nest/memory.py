"""The memory handler of the nest: finds every model a place before it is loaded (QUE-10 … QUE-14).

What is possible is decided in `dormouse.memory`; here it is asked with what is true at the moment,
one model after the other. A place is set aside from the answer until `release`, so that two that
wake at once are never given the same memory. All but `place` and `loaded` returns at once; all of
it belongs to the event loop.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any  # messages are JSON

from structlog import get_logger

from dormouse.memory import (
    Decision,
    Evict,
    Machine,
    Place,
    Refuse,
    Resident,
    State,
    decide,
    fits_alone,
)
from dormouse.needs import ALL_LAYERS, Need
from dormouse_control.nest.inventory import Inventory, Taken
from dormouse_control.nest.model_facts import ModelFacts
from dormouse_control.nest.occupants import Held, Occupant, model_mb, resident
from dormouse_control.nest.sizes import Sizes

log = get_logger(__name__)

EVICT_SECONDS = 10.0
"""How long a model that was evicted may take to end."""

FREE_SECONDS = 3.0
"""A driver gives memory back a moment after its process has ended: as long as this is waited."""

RETRY_AFTER = 5

_LOOK_AGAIN_SECONDS = 0.05

_MIB = 2**20


class InsufficientMemory(Exception):
    """The model has no place. `retry_after` in seconds; None if it will never have one here."""

    code = "insufficient_memory"
    status = 503

    def __init__(self, message: str, retry_after: int | None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class MemoryHandler:
    """`models` by service and model, looked at for every question. `evict` tells a predictor to
    end, as the clock does with an idle one; `kept` says which are never to be ended for others.
    `limit` is what a predictor of a service is held to, in bytes; None if it is not."""

    def __init__(
        self,
        models: Mapping[tuple[str, str], ModelFacts],
        inventory: Inventory,
        sizes: Sizes,
        *,
        evict: Callable[[Occupant], None],
        kept: Callable[[Occupant], bool] = lambda _: False,
        limit: Callable[[str], int | None] = lambda _: None,
    ) -> None:
        self._models = models
        self._inventory = inventory
        self._sizes = sizes
        self._evict = evict
        self._kept = kept
        self._limit = limit
        self._held: dict[str, Held] = {}
        self._turn = asyncio.Lock()
        self._measuring = asyncio.Lock()

    async def place(self, occupant: Occupant, model: str, *, may_evict: bool = True) -> Place:
        """A place for the model, in this predictor, instead of the one that it may have loaded.

        `may_evict`: idle models may be ended for it. Set aside from now on. Raises
        `InsufficientMemory`, and then what it had stays its own; and KeyError for a model that
        there is not.
        """
        facts = self._models[occupant.service, model]
        wish = _Wish(occupant, facts, self._held.get(occupant.instance), may_evict)
        try:
            decision = await self._granted(wish)
        except BaseException:
            self._take_back(wish)
            raise
        log.info(
            "placed",
            service=facts.service,
            model=model,
            gpu=decision.gpu,
            gpu_layers=decision.gpu_layers,
            ram_mb=round(decision.ram_mb),
            vram_mb=round(decision.vram_mb),
            contexts=decision.contexts,
        )
        return decision

    async def loaded(self, occupant: Occupant, model: str, *, seconds: float) -> None:
        """The model is in memory after so long: from now on it counts by what it really took."""
        async with self._measuring:  # one at a time: it is work for a core
            held, pid = self._held.get(occupant.instance), occupant.pid
            # Another may be on its way there by now, and is measured when it has come.
            if held is None or pid is None or held.facts.model != model:
                return
            taken = await asyncio.to_thread(self._inventory.taken, pid)
        held.loading, held.taken = False, taken
        measured = model_mb(held)
        if measured is None:
            return
        stated_mb = held.facts.need().model_mb
        await asyncio.to_thread(
            self._sizes.learn,
            held.facts.key,
            model_mb=measured,
            stated_mb=stated_mb,
            seconds=seconds,
            ini=held.facts.ini,
        )

    def release(self, occupant: Occupant) -> None:
        """It is gone, or never was. May be called more than once."""
        self._held.pop(occupant.instance, None)

    def planned_mb(self) -> dict[int | None, float]:
        """What is set aside, in MiB, by GPU; None is main memory. From any thread."""
        found: dict[int | None, float] = {None: 0.0}
        for place in [held.place for held in list(self._held.values())]:
            found[None] += place.ram_mb
            if place.gpu is not None:
                found[place.gpu] = found.get(place.gpu, 0.0) + place.vram_mb
        return found

    def machine(self) -> Machine:
        """As it is now. From any thread; blocks for milliseconds. Raises OSError."""
        return self._inventory.machine()

    async def answer(self, occupant: Occupant, message: Mapping[str, Any]) -> dict[str, Any]:
        """What to write to a predictor that asked on its control socket before it swaps models.

        Raises ValueError for a message that is no such question.
        """
        number, model = message.get("number"), message.get("model")
        if not isinstance(number, int) or not isinstance(model, str):
            raise ValueError(f"not a question for a place: {message!r:.100}")
        try:
            found = await self.place(occupant, model)
        except InsufficientMemory as error:
            told = {"message": error.message, "retry_after": error.retry_after}
            return {"op": "refused", "number": number, **told}
        except KeyError:  # it was taken out of the catalogue; who waits for an answer must get one
            text = f"There is no place for {model}: it is offered no more."
            return {"op": "refused", "number": number, "message": text, "retry_after": None}
        told = {"gpu": found.gpu, "gpu_layers": found.gpu_layers, "contexts": found.contexts}
        return {"op": "placed", "number": number, **told}

    async def _granted(self, wish: "_Wish") -> Place:
        """Its place, once it is free. While others end for it the place is set aside already, and
        nobody else has to wait for them. Raises `InsufficientMemory`."""
        patient_until = 0.0
        while True:
            async with self._turn:
                decision = await self._decide(wish)
                if isinstance(decision, Place):
                    self._set_aside(wish, decision)
                    return decision
                ending: Sequence[Occupant] = ()
                if time.monotonic() >= patient_until:
                    if not isinstance(decision, Evict) or not wish.may_evict:
                        raise _refused(wish.facts, decision)
                    self._set_aside(wish, decision.then)
                    ending = self._end(decision, wish)
            if not ending:
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
                continue
            await _all_gone(ending, EVICT_SECONDS)
            stuck = {each.instance for each in ending if not each.gone.is_set()}
            wish.stuck |= stuck
            # Nobody else is evicted only because a driver takes its time.
            patient_until = 0.0 if stuck else time.monotonic() + FREE_SECONDS

    def _set_aside(self, wish: "_Wish", place: Place) -> None:
        self._held[wish.occupant.instance] = Held(wish.occupant, wish.facts, place)

    def _take_back(self, wish: "_Wish") -> None:
        if wish.before is None or wish.occupant.gone.is_set():
            self.release(wish.occupant)
        else:
            self._held[wish.occupant.instance] = wish.before

    async def _decide(self, wish: "_Wish") -> Decision:
        # To measure processes takes milliseconds, also theirs: only if it may change anything. Who
        # loads counts as having taken nothing yet, which leaves the least for this one.
        for held in self._loading():
            held.taken = None
        machine = await self._look(())
        decision = self._decide_by(wish, machine)
        if isinstance(decision, Place) and self._is_best(decision, wish.facts.need(), machine):
            return decision
        decision = self._decide_by(wish, await self._look(self._loading()))
        if isinstance(decision, Place):
            return decision
        # Models that are loaded may have taken more of what was set aside for them, since.
        return self._decide_by(wish, await self._look(list(self._held.values())))

    def _decide_by(self, wish: "_Wish", machine: Machine) -> Decision:
        need = self._need(wish.facts, machine)
        for held in list(self._held.values()):
            if held.occupant.gone.is_set():  # while it waited for its place
                self.release(held.occupant)
        there = [
            self._resident(held, stuck=instance in wish.stuck)
            for instance, held in self._held.items()
            if instance != wish.occupant.instance
        ]
        before = None if wish.occupant.gone.is_set() else wish.before
        own = None if before is None else self._resident(before, stuck=False)
        return decide(need, machine, there, instead_of=own)

    def _is_best(self, place: Place, need: Need, machine: Machine) -> bool:
        """Whether no place could be better, however much those that load have taken already."""
        if need.gpu and machine.gpus and place.gpu_layers != ALL_LAYERS:
            return False
        if need.gpu and len(machine.gpus) > 1 and self._loading():
            return False  # which of them is the fullest is not known
        return place.contexts == need.contexts

    def _need(self, facts: ModelFacts, machine: Machine) -> Need:
        """As stated, or as learned; but what this machine never had was not measured rightly."""
        stated, limit = facts.need(), self._limit(facts.service)
        if limit is not None:
            stated = stated.limited(limit / _MIB)
        learned = stated.at_least(self._sizes.model_mb(facts.key, stated_mb=stated.model_mb))
        return learned if fits_alone(learned, machine) else stated

    def _resident(self, held: Held, *, stuck: bool) -> Resident:
        found = resident(
            held,
            kept=self._kept(held.occupant),
            reload_seconds=self._sizes.load_seconds(held.facts.key) or 1.0,
        )
        return replace(found, state=State.BUSY) if stuck else found

    def _loading(self) -> list[Held]:
        return [held for held in self._held.values() if held.loading]

    async def _look(self, measured: Sequence[Held]) -> Machine:
        """The machine, and what these have taken of it so far."""
        pids = [held.occupant.pid for held in measured]

        def look() -> tuple[Machine, list[Taken | None]]:
            taken = [self._inventory.taken(pid) if pid is not None else None for pid in pids]
            return self._inventory.machine(), taken

        machine, taken = await asyncio.to_thread(look)
        for held, found in zip(measured, taken, strict=True):
            if held.loading or found is not None:
                held.taken = found
        return machine

    def _end(self, decision: Evict, wish: "_Wish") -> Sequence[Occupant]:
        ending = [self._held[each].occupant for each in decision.residents]
        for each in ending:
            if each.state != "draining":
                log.info("evicting", service=each.service, pid=each.pid, for_model=wish.facts.model)
                self._evict(each)
        return ending


@dataclass
class _Wish:
    """For a place. `before` is what the occupant has, and gives up once it has another; `stuck` are
    those that were to end for it and have not."""

    occupant: Occupant
    facts: ModelFacts
    before: Held | None
    may_evict: bool
    stuck: set[str] = field(default_factory=set)


async def _all_gone(occupants: Sequence[Occupant], seconds: float) -> None:
    waits = [asyncio.create_task(each.gone.wait()) for each in occupants]
    try:
        await asyncio.wait(waits, timeout=seconds)
    finally:
        for task in waits:
            task.cancel()


def _refused(facts: ModelFacts, decision: Evict | Refuse) -> InsufficientMemory:
    if isinstance(decision, Evict):
        text, later = "Idle models have what is missing, and are not to be ended for it.", True
    else:
        text, later = decision.message, decision.may_fit_later
    log.warning("no_place", service=facts.service, model=facts.model, reason=text)
    return InsufficientMemory(
        f"There is no place for {facts.model} at the moment. {text}"
        if later
        else f"There is no place for {facts.model} on this machine. {text}",
        RETRY_AFTER if later else None,
    )
