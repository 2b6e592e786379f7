"""Where a model is placed (QUE-10 … QUE-14): on a GPU, partly there, in main memory, or nowhere.

Pure: everything that is known goes in, a decision comes out; sizes in MiB. In this order: all
layers on one GPU; as many as fit there, if the engine can; main memory; one of these once models
that idle are gone, as few and as useless ones as will do; else a refusal that has the numbers.
Nothing ends for a second context: these are of what is free.
What is promised to others counts as taken, even if they have not taken it yet.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from dormouse.needs import ALL_LAYERS, Need


@dataclass(frozen=True)
class Space:
    """Of a GPU or of main memory: all that there is for models, and what nobody has taken yet."""

    total_mb: float
    free_mb: float

    def emptied(self) -> "Space":
        return Space(self.total_mb, self.total_mb)


@dataclass(frozen=True)
class Gpu:
    """`index` is the driver's."""

    index: int
    space: Space
    name: str = "GPU"


@dataclass(frozen=True)
class Machine:
    ram: Space
    gpus: tuple[Gpu, ...] = ()

    def emptied(self) -> "Machine":
        """The same, if nobody had taken anything of it."""
        gpus = (replace(gpu, space=gpu.space.emptied()) for gpu in self.gpus)
        return Machine(self.ram.emptied(), tuple(gpus))


@dataclass(frozen=True)
class Place:
    """Where a model goes and how much is set aside for it. `gpu_layers`: 0 is none, -1 is all.

    `contexts` are what it may have of them, one for each call at the same time.
    """

    gpu: int | None
    gpu_layers: int
    ram_mb: float
    vram_mb: float
    contexts: int = 1


class State(Enum):
    LOADING = "loading"
    BUSY = "busy"
    IDLE = "idle"
    LEAVING = "leaving"
    """It was told to end, and its memory will be free."""
    KEPT = "kept"
    """Never to be evicted, and never free by itself."""


@dataclass(frozen=True)
class Resident:
    """A model that is loaded or being loaded. `taken_…` is what the machine's `free_mb` lacks
    already because of it; None where nobody knows: nothing while it is loading, then all of it.
    """

    id: str
    state: State
    place: Place
    idle_seconds: float = 0.0
    reload_seconds: float = 1.0
    taken_ram_mb: float | None = None
    taken_vram_mb: float | None = None

    @property
    def usefulness(self) -> float:
        """Seconds of loading that keeping it may save, per MiB, weighed by how lately it was used.
        Less than nothing if it is going anyway."""
        if self.state is State.LEAVING:
            return -1.0
        held = max(1.0, self.place.ram_mb + self.place.vram_mb)
        return self.reload_seconds / held / (1.0 + self.idle_seconds)

    def taken(self, gpu: int | None) -> float:
        """Of a GPU, or of main memory (None)."""
        known = self.taken_ram_mb if gpu is None else self.taken_vram_mb
        if gpu is not None and gpu != self.place.gpu:
            return 0.0
        if known is None:
            return 0.0 if self.state is State.LOADING else self.set_aside(gpu)
        return known

    def set_aside(self, gpu: int | None) -> float:
        if gpu is None:
            return self.place.ram_mb
        return self.place.vram_mb if gpu == self.place.gpu else 0.0


@dataclass(frozen=True)
class Evict:
    """End these (those that are leaving are only waited for), and `then` is possible."""

    residents: tuple[str, ...]
    then: Place


@dataclass(frozen=True)
class Refuse:
    """`message` has the numbers. `may_fit_later`: models that are busy hold what is missing, or
    programs that are none of ours."""

    message: str
    may_fit_later: bool


Decision = Place | Evict | Refuse


def decide(
    need: Need,
    machine: Machine,
    residents: Sequence[Resident] = (),
    *,
    instead_of: Resident | None = None,
) -> Decision:
    """Where the model goes now, or what has to go before.

    `instead_of`, not one of the `residents`, gives up what it has before the model is loaded.
    """
    before = () if instead_of is None else (instead_of,)
    place = _placed(need, machine, residents, before)
    if place is not None:
        return _roomier(place, need, machine, residents, before)
    evicted = _evicted(need, machine, residents, before)
    if evicted is not None:
        return evicted
    kept = [each for each in residents if each.state is State.KEPT]
    others = [each for each in residents if each.state is not State.KEPT]
    later = _placed(need, machine.emptied(), kept, [*others, *before]) is not None
    return Refuse(_explained(need, machine, residents, before), later)


def fits_alone(need: Need, machine: Machine) -> bool:
    """Whether the model would have a place if nobody else had one."""
    return _placed(need, machine.emptied(), (), ()) is not None


def _placed(
    need: Need, machine: Machine, staying: Sequence[Resident], gone: Sequence[Resident]
) -> Place | None:
    ram = min(_room(machine.ram, None, staying, gone), need.limit_mb)
    if need.gpu:
        found = min(_on_gpus(need, machine, ram, staying, gone), default=None)
        if found is not None:
            return _place(need, found[-1], -found[0])
    return _place(need, None, 0) if need.ram_mb(0) <= ram else None


def _place(need: Need, gpu: int | None, layers: int) -> Place:
    on_gpu = ALL_LAYERS if gpu is not None and layers >= need.layers else layers
    return Place(gpu, on_gpu, need.ram_mb(on_gpu), need.vram_mb(on_gpu))


def _roomier(
    place: Place,
    need: Need,
    machine: Machine,
    staying: Sequence[Resident],
    gone: Sequence[Resident],
) -> Place:
    """With more contexts, if there is room: of what one leaves, at most half, for other models."""
    ram = _room(machine.ram, None, staying, gone)
    gpu = next((each for each in machine.gpus if each.index == place.gpu), None)
    vram = _room(gpu.space, gpu.index, staying, gone) if gpu is not None else 0.0
    layers = place.gpu_layers
    for contexts in range(need.contexts, 1, -1):
        more = need.having(contexts)
        found = Place(place.gpu, layers, more.ram_mb(layers), more.vram_mb(layers), contexts)
        more_ram, more_vram = found.ram_mb - place.ram_mb, found.vram_mb - place.vram_mb
        if 2 * more_ram <= ram - place.ram_mb and (
            gpu is None or 2 * more_vram <= vram - place.vram_mb
        ):
            return found
    return place


def _on_gpus(
    need: Need,
    machine: Machine,
    ram: float,
    staying: Sequence[Resident],
    gone: Sequence[Resident],
) -> Iterator[tuple[int, int, float, int]]:
    """What is possible on each GPU, the best first in order: most layers, fewest other models,
    least room to spare (so that the larger GPU stays for a larger model)."""
    for gpu in machine.gpus:
        room = _room(gpu.space, gpu.index, staying, gone)
        layers = _most_layers(need, room)
        if layers and need.ram_mb(layers) <= ram:
            others = sum(each.place.gpu == gpu.index for each in staying)
            yield -layers, others, room, gpu.index


def _most_layers(need: Need, room: float) -> int:
    """How many fit; all or none, if the engine cannot split the model."""
    if need.vram_mb(ALL_LAYERS) <= room:
        return need.layers
    if not need.splits or need.model_mb <= 0:
        return 0
    guess = int((room - need.driver_mb) / need.model_mb * need.layers)
    near = (guess + 1, guess, guess - 1)  # division rounds
    fitting = (n for n in near if 0 < n < need.layers and need.vram_mb(n) <= room)
    return next(fitting, 0)


def _room(
    space: Space, gpu: int | None, staying: Sequence[Resident], gone: Sequence[Resident]
) -> float:
    """What nobody has and nobody was promised, once `gone` have given back theirs.

    By what is measured as free, and by what all was said to be: neither may be exceeded.
    """
    free, promised, held = space.free_mb, 0.0, 0.0
    for each in gone:
        free += each.taken(gpu)
    for each in staying:
        size, taken = each.set_aside(gpu), each.taken(gpu)
        promised += max(0.0, size - taken)
        held += max(size, taken)
    return min(free - promised, space.total_mb - held)


def _evicted(
    need: Need, machine: Machine, residents: Sequence[Resident], before: Sequence[Resident]
) -> Evict | None:
    """A set of which none may be left out, with the least useful ones if there is a choice."""

    def after(chosen: Collection[Resident]) -> Place | None:
        staying = [each for each in residents if each not in chosen]
        return _placed(need, machine, staying, [*chosen, *before])

    can_go = [each for each in residents if each.state in (State.IDLE, State.LEAVING)]
    chosen: list[Resident] = []
    place = None
    for each in sorted(can_go, key=lambda one: (one.usefulness, one.id)):
        chosen.append(each)
        place = after(chosen)
        if place is not None:
            break
    if place is None:
        return None
    for each in reversed(list(chosen)):
        fewer = [one for one in chosen if one is not each]
        with_fewer = after(fewer)
        if with_fewer is not None:
            chosen, place = fewer, with_fewer
    return Evict(tuple(each.id for each in chosen), place)


def _explained(
    need: Need, machine: Machine, residents: Sequence[Resident], before: Sequence[Resident]
) -> str:
    parts = f"{need.weights_mb:,.0f} for its weights, {need.process_mb:,.0f} for its process"
    if need.context_mb:
        parts = f"{need.context_mb:,.0f} for its context, {parts}"
    text = f"It needs {need.ram_mb(0):,.0f} MiB of main memory ({parts})"
    gpus = machine.gpus if need.gpu else ()
    if gpus:
        text += f" or {need.vram_mb(ALL_LAYERS):,.0f} MiB on one GPU"
        text += ", or some of its layers here and some there" if need.splits else ""
    if need.ram_mb(0) > need.limit_mb:
        text += f". A process of its service may take {need.limit_mb:,.0f} MiB of main memory"
    text += f". Main memory: {_numbers(machine.ram, None, residents, before)}."
    for gpu in gpus:
        numbers = _numbers(gpu.space, gpu.index, residents, before)
        text += f" GPU {gpu.index} ({gpu.name}): {numbers}."
    return text


def _numbers(
    space: Space, gpu: int | None, residents: Sequence[Resident], before: Sequence[Resident]
) -> str:
    idle = [each for each in residents if each.state in (State.IDLE, State.LEAVING)]
    others = [each for each in residents if each not in idle]
    free = max(0.0, _room(space, gpu, residents, before))
    without_idle = max(0.0, _room(space, gpu, others, [*idle, *before]))
    busy = sum(max(each.set_aside(gpu), each.taken(gpu)) for each in others)
    return (
        f"{free:,.0f} MiB of {space.total_mb:,.0f} are free, {without_idle - free:,.0f} more once"
        f" idle models have ended; {busy:,.0f} are held by models that cannot end now"
    )
