"""Thousands of random operations of many people, compared with a reference model after each.

DORMOUSE_TEST_SEED chooses another run. A failure is shrunk by playing ever fewer of its steps.
"""

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from attacks import machine_admin as admin
from attacks import machine_reads as reads
from attacks import machine_steps as steps
from attacks.machine import Mismatch, Pick, World
from dormouse_control.identity.models import Role
from dormouse_control.settings import Settings
from dormouse_control.wiring import build
from fixtures.control_plane import FakeClock, FakeRuntime
from fixtures.databases import unsynced

Worlds = Callable[[], AbstractContextManager[World]]

WEIGHTS = {
    steps.register: 30,
    steps.sign_in: 50,
    steps.sign_in_wrongly: 3,
    steps.refresh: 40,
    steps.sign_out: 8,
    steps.end_session: 15,
    steps.end_others: 3,
    steps.make_key: 40,
    steps.change_key: 25,
    steps.revoke_key: 25,
    steps.ask_right: 30,
    steps.give_up_right: 10,
    steps.passing_time: 40,
    admin.change_user: 30,
    admin.end_user_sessions: 5,
    admin.revoke_key_of_user: 10,
    admin.erase_user: 6,
    admin.erase_oneself: 4,
    admin.grant: 25,
    admin.refuse: 10,
    admin.take_away: 10,
    admin.make_group: 8,
    admin.change_group: 40,
    reads.read_mine: 150,
    reads.read_user: 50,
    reads.read_group: 40,
    reads.read_users: 20,
    reads.read_principal: 80,
}
STEPS = {step.__name__: step for step in WEIGHTS}
OFTEN = 25
SHRINKING_SECONDS = 60


@dataclass(frozen=True)
class Step:
    name: str
    seed: int


def planned(seed: int, count: int) -> list[Step]:
    chance = random.Random(seed)  # noqa: S311  has to be repeatable
    names = [step.__name__ for step in WEIGHTS]
    chosen = chance.choices(names, list(WEIGHTS.values()), k=count)
    return [Step(name, chance.getrandbits(32)) for name in chosen]


@dataclass(frozen=True)
class Sweep:
    """After each `every` steps everybody tries the `most` newest ids of each kind."""

    every: int
    most: int


def play(world: World, plan: Sequence[Step], sweep: Sweep | None) -> None:
    """Raises `Mismatch`, whose notes say where."""
    for number, step in enumerate(plan, 1):
        pick = Pick(random.Random(step.seed), world.model)  # noqa: S311  has to be repeatable
        try:
            _awake(world)
            STEPS[step.name](world, pick)
            if number % OFTEN == 0:
                reads.own_lists(world)
                world.model.forget_old(most=40)
        except Mismatch as mismatch:
            mismatch.add_note(f"at step {number} of {len(plan)}: {step}")
            raise
        if sweep is not None and (number % sweep.every == 0 or number == len(plan)):
            try:
                reads.everything(world, sweep.most)
            except Mismatch as mismatch:
                mismatch.add_note(f"after step {number} of {len(plan)}, with everything read")
                raise


def _awake(world: World) -> None:
    """Root can always act: its session may have expired by now."""
    root = world.model.users[0]
    mine = [c for c in world.model.credentials if c.user is root and not c.is_key]
    if not any(c.refusal(world.model.now, Role.ADMINISTRATOR, "none") is None for c in mine):
        world.signed_in(root)


def shrunk(plan: list[Step], worlds: Worlds, sweep: Sweep | None) -> list[Step]:
    """A shorter plan that fails too: leaves out ever smaller parts while there is time."""
    deadline = time.monotonic() + SHRINKING_SECONDS
    # What only reads is needed at the end, if at all.
    writes = [step for step in plan[:-1] if not step.name.startswith("read_")] + plan[-1:]
    if _fails(writes, worlds, sweep):
        plan = writes
    size = len(plan) // 2
    while size:
        start = 0
        while start < len(plan) and time.monotonic() < deadline:
            shorter = plan[:start] + plan[start + size :]
            if shorter and _fails(shorter, worlds, sweep):
                plan = shorter
            else:
                start += size
        size //= 2
    return plan


def _fails(plan: Sequence[Step], worlds: Worlds, sweep: Sweep | None) -> bool:
    with worlds() as world:
        try:
            play(world, plan, sweep)
        except Mismatch:
            return True
    return False


@pytest.fixture
def worlds(
    fresh_database_urls: Callable[[], AbstractContextManager[str]],
    services_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    quiet: None,  # noqa: ARG001
) -> Worlds:
    @contextmanager
    def new() -> Iterator[World]:
        with fresh_database_urls() as url:
            home = tmp_path_factory.mktemp("world") / "home"
            settings = Settings(
                home=home, services=services_folder, database_url=url, profile="standard"
            )
            clock = FakeClock()
            platform = build(settings, runtime=FakeRuntime(), clock=clock)
            unsynced(platform.database.engine)
            world = World(platform, clock)
            try:
                yield world
            finally:
                world.close()
                platform.database.engine.dispose()

    return new


def run(worlds: Worlds, say: Callable[[str], None], *, seed: int, count: int, sweep: Sweep) -> None:
    seed = int(os.environ.get("DORMOUSE_TEST_SEED", seed))
    plan = planned(seed, count)
    started = time.monotonic()
    with worlds() as world:
        try:
            play(world, plan, sweep)
        except Mismatch as mismatch:
            note = mismatch.__notes__[-1]
            done = int(note.split()[2])
            few = shrunk(plan[:done], worlds, sweep if note.startswith("after") else None)
            told = "\n".join(f"    {step}," for step in few)
            mismatch.add_note(f"DORMOUSE_TEST_SEED={seed}; these steps are enough:\n{told}")
            raise
        calls = world.call.calls + world.internal.calls
        seconds = time.monotonic() - started
        say(
            f"state machine: seed {seed}, {count} operations, {calls} calls, {seconds:.0f} s;"
            f" {len(world.model.owner)} users, sessions and keys; {dict(world.answers)}"
        )


@pytest.mark.timeout(600)
def test_t38_everybody_sees_and_changes_only_what_is_theirs(
    worlds: Worlds, say: Callable[[str], None]
) -> None:
    run(worlds, say, seed=1, count=2_000, sweep=Sweep(1_000, most=5))


@pytest.mark.slow
@pytest.mark.timeout(4 * 60 * 60)
def test_t38_for_a_hundred_thousand_operations(worlds: Worlds, say: Callable[[str], None]) -> None:
    run(worlds, say, seed=time.time_ns() % 2**31, count=100_000, sweep=Sweep(5_000, most=30))
