"""The memory handler on a machine of files and a driver that is not there; all between is real."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from dormouse.gpus import NoDriver, built_for_gpus
from dormouse.machine import SPARE_MB
from dormouse.memory import Place
from dormouse.needs import ALL_LAYERS, DRIVER_MB, PROCESS_MB
from dormouse_control.nest import memory
from dormouse_control.nest.inventory import Inventory
from dormouse_control.nest.memory import InsufficientMemory, MemoryHandler
from dormouse_control.nest.model_facts import ModelFacts
from dormouse_control.nest.sizes import Sizes
from fixtures.nvml import Card, FakeNvml


@dataclass(eq=False)
class Process:
    """A predictor as the nest sees it."""

    instance: str
    service: str = "chat"
    pid: int | None = None
    state: str = "starting"
    in_flight: int = 0
    idle: float = 60.0
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def idle_seconds(self) -> float:
        return self.idle


class Box:
    """A machine with so much memory, of which processes take some, and a handler for it."""

    def __init__(self, folder: Path, ram: float, *cards: Card) -> None:
        self.root, self.total, self.nvml = folder / "root", ram, FakeNvml(*cards)
        self.private: dict[int, float] = {}
        self.free: float = ram
        self.pids = 0
        self.evicted: list[str] = []
        self.evict: Callable[[Process], None] = self.end
        self.sizes = Sizes(folder / "sizes.json")
        self.models = {
            ("chat", name): _facts(name, mb) for name, mb in {"small": 1000, "large": 4000}.items()
        }
        self.write()
        self.handler = MemoryHandler(
            self.models,
            Inventory(self.root, nvml=self._driver),
            self.sizes,
            evict=self._evict,  # type: ignore[arg-type]
            kept=lambda each: each.service == "kept",
        )

    def _driver(self) -> Any:
        if not self.nvml.cards:
            raise NoDriver("none")
        return self.nvml

    def _evict(self, process: Process) -> None:
        self.evicted.append(process.instance)
        self.evict(process)

    def write(self) -> None:
        (self.root / "proc").mkdir(parents=True, exist_ok=True)
        free = self.free - sum(self.private.values()) + SPARE_MB
        text = f"MemTotal: {(self.total + SPARE_MB) * 1024:.0f} kB\n"
        text += f"MemAvailable: {free * 1024:.0f} kB\n"
        (self.root / "proc/meminfo").write_text(text)

    def takes(self, process: Process, private: float, *, files: float = 0) -> None:
        """The process has so much of main memory by now."""
        if process.pid is None:
            self.pids += 1
            process.pid = self.pids
        self.private[process.pid] = private
        folder = self.root / f"proc/{process.pid}"
        folder.mkdir(exist_ok=True)
        text = f"Pss: {(private + files) * 1024:.0f} kB\nPss_Anon: {private * 1024:.0f} kB\n"
        text += f"Private_Dirty: {private * 1024:.0f} kB\nPss_File: {files * 1024:.0f} kB\n"
        text += f"Private_Clean: {files * 1024:.0f} kB\n"
        (folder / "smaps_rollup").write_text(text)
        self.write()

    def takes_gpu(self, process: Process, card: int, mb: float) -> None:
        assert process.pid is not None
        self.nvml.cards[card].processes[process.pid] = mb
        self.nvml.cards[card].used += mb

    def end(self, process: Process) -> None:
        if process.pid is not None:
            self.private.pop(process.pid, None)
            for card in self.nvml.cards:
                card.used -= card.processes.pop(process.pid, None) or 0
        self.write()
        process.state = "gone"
        process.gone.set()
        self.handler.release(process)

    async def up(self, name: str, model: str, *, service: str = "chat") -> Process:
        """A predictor that has loaded the model, and has been idle for a minute."""
        process = Process(name, service)
        place = await self.handler.place(process, model)
        self.takes(process, place.ram_mb)
        if place.gpu is not None:
            self.takes_gpu(process, place.gpu, place.vram_mb)
        process.state = "ready"
        await self.handler.loaded(process, model, seconds=1.0)
        return process


def _facts(name: str, mb: float, **changed: Any) -> ModelFacts:
    facts = ModelFacts(
        service="chat",
        model=name,
        profile="starter",
        engine="llama",
        ini=f"{name}.ini",
        folder="/",
        source="builtin:x",
        sha256=None,
        size_mb=mb,
        layers=40,
        context=1000,
        parameters=1,
        kv_mb_per_1000_tokens=0,
    )
    return replace(facts, **changed)


@pytest.fixture(autouse=True)
def _gpu_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An installed llama.cpp that can use GPUs."""
    library = tmp_path / "installed" / "llama_cpp" / "lib"
    library.mkdir(parents=True)
    (library / "libggml-cuda.so").touch()
    (library.parent / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "installed")
    monkeypatch.delitem(sys.modules, "llama_cpp", raising=False)  # some other test's, the real one
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    built_for_gpus.cache_clear()
    yield
    built_for_gpus.cache_clear()


@pytest.fixture
def box(tmp_path: Path) -> Callable[..., Box]:
    return lambda ram, *cards: Box(tmp_path, ram, *cards)


SMALL, LARGE = 1000 + PROCESS_MB, 4000 + PROCESS_MB


def test_a_model_gets_a_place(box: Callable[..., Box]) -> None:
    async def scene() -> None:
        there = box(9000, Card(9000))
        found = await there.handler.place(Process("a"), "large")
        assert found == Place(0, ALL_LAYERS, PROCESS_MB, 4000 + DRIVER_MB)

    asyncio.run(scene())


def test_a_place_that_was_given_is_not_given_again_before_it_is_used(
    box: Callable[..., Box],
) -> None:
    async def scene() -> None:
        there = box(2 * SMALL)
        first, second, third = (Process(name) for name in "abc")
        places = await asyncio.gather(
            there.handler.place(first, "small"),
            there.handler.place(second, "small"),
            there.handler.place(third, "small"),
            return_exceptions=True,
        )
        assert [type(each).__name__ for each in places] == ["Place", "Place", "InsufficientMemory"]
        there.end(second)
        assert isinstance(await there.handler.place(third, "small"), Place)

    asyncio.run(scene())


def test_what_loads_counts_once_while_it_grows(box: Callable[..., Box]) -> None:
    async def scene() -> None:
        there = box(2 * SMALL)
        first = Process("a")
        await there.handler.place(first, "small")
        there.takes(first, SMALL / 2)
        assert isinstance(await there.handler.place(Process("b"), "small"), Place)

    asyncio.run(scene())


def test_a_place_is_free_once_its_predictor_failed_to_start(box: Callable[..., Box]) -> None:
    async def scene() -> None:
        there = box(SMALL)
        first = Process("a")
        await there.handler.place(first, "small")
        there.handler.release(first)
        there.handler.release(first)
        await there.handler.place(Process("b"), "small")

    asyncio.run(scene())


def test_the_pages_of_a_mapped_model_are_not_given_away(box: Callable[..., Box]) -> None:
    """The machine calls them free, but then the model would be read again for every token."""

    async def scene() -> None:
        there = box(9000)
        there.free = SMALL + 500
        there.write()
        first = Process("a")
        await there.handler.place(first, "small")
        there.takes(first, 100, files=1000)
        first.state, first.in_flight = "ready", 1
        await there.handler.loaded(first, "small", seconds=1)
        with pytest.raises(InsufficientMemory):
            await there.handler.place(Process("b"), "small")

    asyncio.run(scene())


def test_an_idle_model_makes_room(box: Callable[..., Box]) -> None:
    async def scene() -> None:
        there = box(LARGE)
        await there.up("a", "small")
        place = await there.handler.place(Process("b"), "large")
        assert place.gpu is None
        assert there.evicted == ["a"]

    asyncio.run(scene())


def test_no_more_idle_models_end_than_have_to(box: Callable[..., Box]) -> None:
    async def scene() -> None:
        there = box(3 * SMALL)
        for name, idle in (("a", 5.0), ("b", 50.0), ("c", 9.0)):
            (await there.up(name, "small")).idle = idle
        await there.handler.place(Process("d"), "small")
        assert there.evicted == ["b"]

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("state", "in_flight", "idle", "service", "retry_after"),
    [
        ("ready", 1, 60.0, "chat", memory.RETRY_AFTER),
        ("ready", 0, 0.1, "chat", memory.RETRY_AFTER),  # a call may be on its way
        ("starting", 0, 60.0, "chat", memory.RETRY_AFTER),
        ("ready", 0, 60.0, "kept", None),
    ],
)
def test_who_works_is_not_evicted(
    box: Callable[..., Box],
    state: str,
    in_flight: int,
    idle: float,
    service: str,
    retry_after: int | None,
) -> None:
    async def scene() -> None:
        there = box(SMALL)
        there.models["kept", "small"] = there.models["chat", "small"]
        first = await there.up("a", "small", service=service)
        first.state, first.in_flight, first.idle = state, in_flight, idle
        with pytest.raises(InsufficientMemory) as caught:
            await there.handler.place(Process("b"), "small")
        assert there.evicted == []
        assert (caught.value.code, caught.value.retry_after) == ("insufficient_memory", retry_after)

    asyncio.run(scene())


def test_a_model_that_never_fits_is_refused_with_the_numbers(box: Callable[..., Box]) -> None:
    async def scene() -> InsufficientMemory:
        there = box(3000, Card(500))
        with pytest.raises(InsufficientMemory) as caught:
            await there.handler.place(Process("a"), "large")
        return caught.value

    refused = asyncio.run(scene())
    assert refused.retry_after is None
    assert refused.message == (
        "There is no place for large on this machine. It needs 4,064 MiB of main memory (4,000 for"
        " its weights, 64 for its process) or 4,512 MiB on one GPU, or some of its layers here and"
        " some there. Main memory: 3,000 MiB of 3,000 are free, 0 more once idle models have ended;"
        " 0 are held by models that cannot end now. GPU 0 (NVIDIA Fake 500): 500 MiB of 500 are"
        " free, 0 more once idle models have ended; 0 are held by models that cannot end now."
    )


def test_who_leaves_anyway_is_waited_for_and_not_told_again(box: Callable[..., Box]) -> None:
    async def scene() -> None:
        there = box(SMALL)
        first = await there.up("a", "small")
        first.state = "draining"
        asyncio.get_running_loop().call_later(0.2, there.end, first)
        await there.handler.place(Process("b"), "small")
        assert there.evicted == []

    asyncio.run(scene())


def test_who_does_not_end_is_not_waited_for_for_ever(
    box: Callable[..., Box], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "EVICT_SECONDS", 0.2)

    async def scene() -> None:
        there = box(LARGE)
        first = await there.up("a", "small")
        there.evict = lambda process: setattr(process, "state", "draining")
        with pytest.raises(InsufficientMemory, match="models that cannot end now") as caught:
            await there.handler.place(Process("b"), "large")
        assert caught.value.retry_after == memory.RETRY_AFTER
        there.end(first)
        await there.handler.place(Process("b"), "large")

    asyncio.run(scene())


def test_others_go_if_who_was_told_to_does_not(
    box: Callable[..., Box], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "EVICT_SECONDS", 0.2)

    async def scene() -> None:
        there = box(2 * SMALL)
        stubborn, _ = await there.up("a", "small"), await there.up("b", "small")
        stubborn.idle = 99.0

        def evict(process: Process) -> None:
            process.state = "draining"
            if process is not stubborn:
                there.end(process)

        there.evict = evict
        assert isinstance(await there.handler.place(Process("c"), "small"), Place)
        assert there.evicted == ["a", "b"]

    asyncio.run(scene())


def test_who_leaves_with_a_call_is_not_waited_for(box: Callable[..., Box]) -> None:
    async def scene() -> None:
        there = box(2 * SMALL)
        leaving = await there.up("a", "small")
        leaving.state, leaving.in_flight = "draining", 1
        await there.up("b", "small")
        assert isinstance(await there.handler.place(Process("c"), "small"), Place)
        assert there.evicted == ["b"]
        with pytest.raises(InsufficientMemory) as caught:
            await there.handler.place(Process("d"), "small")
        assert caught.value.retry_after == memory.RETRY_AFTER

    asyncio.run(scene())


def test_nobody_waits_until_others_end_for_somebody_else(box: Callable[..., Box]) -> None:
    async def scene() -> None:
        there = box(9000, Card(1000 + DRIVER_MB))
        there.free = PROCESS_MB * 2
        there.write()
        first = await there.up("a", "small")
        told = asyncio.Event()

        def evict(process: Process) -> None:
            process.state = "draining"
            told.set()

        there.evict = evict
        waiting = asyncio.create_task(there.handler.place(Process("b"), "small"))
        await asyncio.wait_for(told.wait(), 10)
        there.free += SMALL
        there.write()
        assert (await there.handler.place(Process("c"), "small")).gpu is None
        assert not waiting.done()
        there.end(first)
        assert (await waiting).gpu == 0

    asyncio.run(scene())


def test_who_gives_up_waiting_to_swap_keeps_what_it_has(box: Callable[..., Box]) -> None:
    async def scene() -> None:
        there = box(LARGE)
        first, second = await there.up("a", "small"), await there.up("b", "small")
        first.in_flight = 1
        there.evict = lambda process: setattr(process, "state", "draining")
        waiting = asyncio.create_task(there.handler.place(first, "large"))
        while not there.evicted:
            await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        there.end(second)
        there.models["chat", "rest"] = _facts("rest", LARGE - SMALL - PROCESS_MB)
        await there.handler.place(Process("c"), "rest")  # all but what the first has
        with pytest.raises(InsufficientMemory):
            await there.handler.place(Process("d"), "small")

    asyncio.run(scene())


def test_a_driver_that_frees_late_costs_nobody_else_the_place(
    box: Callable[..., Box], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "FREE_SECONDS", 30.0)

    async def scene() -> None:
        there = box(2 * PROCESS_MB + 2000, Card(2 * (1000 + DRIVER_MB)))
        first, second = await there.up("a", "small"), await there.up("b", "small")
        assert second.pid is not None
        first.idle, second.idle = 99.0, 1.0
        card = there.nvml.cards[0]

        def late(process: Process) -> None:
            used = card.used
            there.end(process)
            freed, card.used = card.used, used
            asyncio.get_running_loop().call_later(0.3, setattr, card, "used", freed)

        there.evict = late
        there.free = 2 * PROCESS_MB  # no place in main memory
        there.write()
        place = await there.handler.place(Process("c"), "small")
        assert (place.gpu, there.evicted) == (0, ["a"])

    asyncio.run(scene())


def test_two_who_need_the_same_room_come_one_after_the_other(box: Callable[..., Box]) -> None:
    async def scene() -> None:
        there = box(2 * SMALL)
        await there.up("a", "small")
        await there.up("b", "small")
        places = await asyncio.gather(
            there.handler.place(Process("c"), "small"), there.handler.place(Process("d"), "small")
        )
        assert len(places) == 2
        assert sorted(there.evicted) == ["a", "b"]

    asyncio.run(scene())


def test_nobody_takes_the_room_that_is_made_for_somebody_else(box: Callable[..., Box]) -> None:
    async def scene() -> None:
        there = box(LARGE + PROCESS_MB)
        there.models["chat", "medium"] = _facts("medium", 3000)
        await there.up("a", "small")
        second = await there.up("b", "medium")
        first_is_gone = asyncio.Event()

        def one_after_the_other(process: Process) -> None:
            if process is second:
                asyncio.get_running_loop().call_later(0.3, there.end, process)
            else:
                there.end(process)
                first_is_gone.set()

        there.evict = one_after_the_other
        large = asyncio.create_task(there.handler.place(Process("c"), "large"))
        await asyncio.wait_for(first_is_gone.wait(), 10)
        with pytest.raises(InsufficientMemory):
            await there.handler.place(Process("d"), "small")
        assert isinstance(await large, Place)

    asyncio.run(scene())


def test_a_driver_that_does_not_tell_whose_memory_it_is(box: Callable[..., Box]) -> None:
    """What loads counts beside what is used; once it is loaded, it is part of what is used."""

    async def scene() -> list[int | None]:
        there = box(9000, Card(2 * (1000 + DRIVER_MB)))
        first = Process("a")
        await there.handler.place(first, "small")
        there.takes(first, PROCESS_MB)
        there.nvml.cards[0].used += 1000 + DRIVER_MB
        while_it_loads = await there.handler.place(Process("b"), "small")
        first.state = "ready"
        await there.handler.loaded(first, "small", seconds=1)
        loaded = await there.handler.place(Process("c"), "small")
        return [while_it_loads.gpu, loaded.gpu]

    assert asyncio.run(scene()) == [None, 0]


def test_what_is_kept_counts_in_full_before_it_has_begun_to_load(box: Callable[..., Box]) -> None:
    async def scene() -> None:
        there = box(9000)
        there.models["kept", "small"] = there.models["chat", "small"]
        there.free = SMALL + 100
        there.write()
        await there.handler.place(Process("a", "kept"), "small")
        with pytest.raises(InsufficientMemory):
            await there.handler.place(Process("b"), "small")

    asyncio.run(scene())


def test_who_stops_waiting_sets_nothing_aside_and_holds_nobody_up(box: Callable[..., Box]) -> None:
    async def scene() -> None:
        there = box(SMALL)
        first = await there.up("a", "small")
        there.evict = lambda process: setattr(process, "state", "draining")
        waiting = asyncio.create_task(there.handler.place(Process("b"), "small"))
        while not there.evicted:
            await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        there.end(first)
        await there.handler.place(Process("c"), "small")

    asyncio.run(scene())


def test_a_swap_uses_what_the_present_model_gives_up(box: Callable[..., Box]) -> None:
    async def scene() -> None:
        there = box(LARGE)
        first = await there.up("a", "small")
        first.in_flight = 1
        await there.handler.place(first, "large")
        with pytest.raises(InsufficientMemory):
            await there.handler.place(Process("b"), "small")

    asyncio.run(scene())


def test_who_may_not_swap_keeps_what_it_has(box: Callable[..., Box]) -> None:
    async def scene() -> None:
        there = box(SMALL + 100)
        first = await there.up("a", "small")
        first.in_flight = 1
        with pytest.raises(InsufficientMemory):
            await there.handler.place(first, "large")
        with pytest.raises(InsufficientMemory):  # for its own is still there
            await there.handler.place(Process("b"), "small")

    asyncio.run(scene())


def test_who_died_while_it_waited_holds_nothing(box: Callable[..., Box]) -> None:
    async def scene() -> None:
        there = box(SMALL)
        dead = Process("a")
        dead.gone.set()
        await there.handler.place(dead, "small")
        await there.handler.place(Process("b"), "small")

    asyncio.run(scene())


def test_a_model_that_took_more_than_its_ini_says_gets_more_the_next_time(
    box: Callable[..., Box],
) -> None:
    async def scene() -> Any:
        there = box(9000)
        first = Process("a")
        await there.handler.place(first, "small")
        there.takes(first, 500, files=PROCESS_MB + 1500)
        with capture_logs() as logs:
            await there.handler.loaded(first, "small", seconds=3)
        second = await there.handler.place(Process("b"), "small")
        assert second.ram_mb == 2000 + PROCESS_MB
        assert Sizes(there.root.parent / "sizes.json").load_seconds(
            ("chat", "small", "starter")
        ) == pytest.approx(3)
        return logs

    [warning] = asyncio.run(scene())
    assert warning["event"] == "ini_states_too_little"
    assert (warning["file"], warning["stated_mb"], warning["measured_mb"]) == (
        "small.ini",
        1000,
        2000,
    )


def test_a_learned_size_that_the_machine_cannot_have_had_is_none(box: Callable[..., Box]) -> None:
    async def scene() -> Place:
        there = box(9000)
        key = there.models["chat", "small"].key
        there.sizes.learn(key, model_mb=9500, stated_mb=1000, seconds=1, ini="small.ini")
        return await there.handler.place(Process("a"), "small")

    assert asyncio.run(scene()).ram_mb == SMALL


def test_what_other_programs_have_may_be_free_later(box: Callable[..., Box]) -> None:
    async def scene() -> int | None:
        there = box(9000)
        there.free = 3000
        there.write()
        with pytest.raises(InsufficientMemory, match="at the moment") as caught:
            await there.handler.place(Process("a"), "large")
        return caught.value.retry_after

    assert asyncio.run(scene()) == memory.RETRY_AFTER


@pytest.mark.parametrize(
    ("card", "told", "expected"),
    [
        (Card(9000), 3000.0, 3000 - DRIVER_MB),  # all of it there
        (Card(9000), None, 1000.0),  # the driver does not tell: nothing is learned
    ],
)
def test_on_a_gpu_what_the_driver_tells_is_learned(
    box: Callable[..., Box], card: Card, told: float | None, expected: float
) -> None:
    async def scene() -> None:
        there = box(9000, Card(card.total))
        first = Process("a")
        await there.handler.place(first, "small")
        there.takes(first, 200, files=5000)  # mapped only to be copied to the GPU
        assert first.pid is not None
        there.nvml.cards[0].processes[first.pid] = told
        await there.handler.loaded(first, "small", seconds=1)
        facts = there.models["chat", "small"]
        assert there.sizes.model_mb(facts.key, stated_mb=1000) == expected

    asyncio.run(scene())


def test_a_build_without_gpus_is_not_sent_to_one(box: Callable[..., Box], tmp_path: Path) -> None:
    (tmp_path / "installed/llama_cpp/lib/libggml-cuda.so").unlink()

    async def scene() -> Place:
        return await box(9000, Card(9000)).handler.place(Process("a"), "large")

    assert asyncio.run(scene()).gpu is None


def test_questions_of_predictors_are_answered(box: Callable[..., Box]) -> None:
    async def scene() -> list[dict[str, Any]]:
        there = box(LARGE + 100, Card(1000 + DRIVER_MB))
        first = await there.up("a", "large")
        first.in_flight = 1
        placed = await there.handler.answer(
            first, {"event": "place", "number": 1, "model": "small"}
        )
        there.models["chat", "huge"] = _facts("huge", 9e6)
        refused = await there.handler.answer(
            first, {"event": "place", "number": 2, "model": "huge"}
        )
        gone = await there.handler.answer(first, {"number": 3, "model": "unknown"})
        for nonsense in ({"model": "small"}, {"number": 3}, {"number": "3", "model": "small"}):
            with pytest.raises(ValueError, match="not a question"):
                await there.handler.answer(first, nonsense)
        return [placed, refused, gone]

    placed, refused, gone = asyncio.run(scene())
    assert "offered no more" in gone.pop("message")
    assert gone == {"op": "refused", "number": 3, "retry_after": None}
    assert placed == {"op": "placed", "number": 1, "gpu": 0, "gpu_layers": -1, "contexts": 1}
    assert refused.pop("message").startswith("There is no place for huge on this machine. It needs")
    assert refused == {"op": "refused", "number": 2, "retry_after": None}


def test_contexts_that_have_room_are_set_aside_and_told(box: Callable[..., Box]) -> None:
    async def scene() -> tuple[dict[str, Any], Place, Place]:
        there = box(20_000)
        # A context of 900 MiB, and an eighth more while it grows.
        numbers = {"context": 9000, "kv_mb_per_1000_tokens": 100.0, "contexts": 4}
        for name in ("one", "two"):
            there.models["chat", name] = _facts(name, 5000, **numbers)
        first = await there.up("a", "one")
        first.in_flight = 1
        told = await there.handler.answer(first, {"number": 1, "model": "two"})
        places = [await there.handler.place(each, "two") for each in (first, Process("b"))]
        return told, places[0], places[1]

    told, alone, beside = asyncio.run(scene())
    assert told["contexts"] == alone.contexts == 4
    assert alone.ram_mb == 5000 + 4 * 900 * 1.125 + PROCESS_MB
    # 20,000 less what the first has and what it needs itself: half of what is left.
    assert beside.contexts == 3
    assert beside.ram_mb == 5000 + 3 * 900 * 1.125 + PROCESS_MB


@pytest.mark.parametrize(("ram", "measured"), [(30_000, 0), (LARGE + SMALL, 1)])
def test_processes_are_only_measured_if_it_may_change_where_a_model_goes(
    box: Callable[..., Box], monkeypatch: pytest.MonkeyPatch, ram: float, measured: int
) -> None:
    async def scene() -> int:
        there = box(ram)
        asked: list[int] = []
        inventory = there.handler._inventory
        taken = inventory.taken

        def counted(pid: int) -> Any:
            asked.append(pid)
            return taken(pid)

        monkeypatch.setattr(inventory, "taken", counted)
        first = Process("a")
        await there.handler.place(first, "large")
        there.takes(first, LARGE)  # it loads, and has nearly all that it will have
        place = await there.handler.place(Process("b"), "small")
        assert place.ram_mb == SMALL
        return len(asked)

    assert asyncio.run(scene()) == measured


def test_what_was_measured_of_a_model_that_is_being_exchanged_is_not_the_others(
    box: Callable[..., Box],
) -> None:
    async def scene() -> tuple[float | None, float | None, bool]:
        there = box(30_000)
        first = Process("a")
        await there.handler.place(first, "large")
        there.takes(first, LARGE)
        first.state = "ready"
        async with there.handler._measuring:  # others come before it
            measuring = asyncio.create_task(there.handler.loaded(first, "large", seconds=1.0))
            await asyncio.sleep(0.01)
            await there.handler.place(first, "small")  # for a call that came at once
        await measuring
        sizes, facts = there.handler._sizes, there.models["chat", "small"]
        learned = sizes.model_mb(facts.key, stated_mb=1000)
        loading = there.handler._held[first.instance].loading
        there.takes(first, SMALL)
        await there.handler.loaded(first, "small", seconds=1.0)
        return learned, sizes.model_mb(facts.key, stated_mb=1000), loading

    before, after, loading = asyncio.run(scene())
    assert loading
    assert before == 1000
    assert after == 1000


def test_what_a_model_that_loads_gave_back_is_not_taken_for_granted(
    box: Callable[..., Box],
) -> None:
    async def scene() -> None:
        there = box(20_000)
        there.free = 10_000  # other programs have the rest
        first = Process("a")
        await there.handler.place(first, "large")
        there.takes(first, LARGE)
        await there.handler.place(Process("b"), "large")  # for which the first was measured
        there.takes(first, 100)  # what it took was for a moment only
        with pytest.raises(InsufficientMemory):
            await there.handler.place(Process("c"), "large")

    asyncio.run(scene())


def test_of_several_gpus_the_one_with_least_room_is_taken_also_while_others_load(
    box: Callable[..., Box],
) -> None:
    async def scene() -> Place:
        there = box(90_000, Card(48_000), Card(24_000))
        for name, mb in (("huge", 20_000), ("some", 4_000), ("half", 8_000)):
            there.models["chat", name] = _facts(name, mb - DRIVER_MB)
        assert (await there.up("a", "some")).state == "ready"  # on the smaller one
        loading = Process("b")
        assert (await there.handler.place(loading, "huge")).gpu == 0
        there.takes(loading, PROCESS_MB)
        there.takes_gpu(loading, 0, 18_000)
        return await there.handler.place(Process("c"), "half")

    # 20,000 MiB are left there, and 28,000 on the other, of which 2,000 are still to be taken.
    assert asyncio.run(scene()).gpu == 1


def test_who_has_grown_is_measured_before_another_one_ends_for_it(
    box: Callable[..., Box],
) -> None:
    async def scene() -> tuple[Place, list[str]]:
        there = box(LARGE + SMALL)
        first = Process("a")
        await there.handler.place(first, "large")
        there.takes(first, 100)
        first.state = "ready"
        await there.handler.loaded(first, "large", seconds=1.0)
        there.takes(first, LARGE)  # since: all that was set aside for it
        return await there.handler.place(Process("b"), "small"), there.evicted

    place, evicted = asyncio.run(scene())
    assert place.gpu is None
    assert evicted == []


def test_a_predictor_of_the_nest_is_an_occupant(box: Callable[..., Box]) -> None:
    from dormouse_control.nest.predictor import Predictor

    async def scene() -> None:
        there = box(9000)
        real = Predictor("chat", "small", lambda _: None, there.handler.answer)
        await there.handler.place(real, "small")
        await there.handler.loaded(real, "small", seconds=1)
        there.handler.release(real)

    asyncio.run(scene())
