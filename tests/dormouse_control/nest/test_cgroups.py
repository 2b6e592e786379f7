"""Control groups of predictors: the protocol of the files, on a tree that behaves as cgroup v2, and
entering, leaving and removing on the kernel's own where there is one that we may write to."""

import asyncio
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from dormouse_control.nest import cgroups
from dormouse_control.nest.cgroups import ALLOWANCE, Groups, Limits, open_groups

LIMITS = Limits(memory=1 << 30, cpus=2.5, threads=300)
FILES = ("memory.max", "memory.oom.group", "cpu.weight", "pids.max", "cgroup.procs")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A delegated group: folders that are made get files, and go only if no process is in them."""
    make, remove = Path.mkdir, Path.rmdir

    def mkdir(path: Path, *arguments: Any, **options: Any) -> None:
        make(path, *arguments, **options)
        for name in FILES:
            (path / name).write_text("")
        (path / "memory.events").write_text("low 0\noom 0\noom_kill 0\n")

    def rmdir(path: Path) -> None:
        if (path / "cgroup.procs").exists() and (path / "cgroup.procs").read_text():
            raise OSError(16, "busy")
        shutil.rmtree(path) if path.exists() else remove(path)

    root = tmp_path / "delegated"
    root.mkdir()
    (root / "cgroup.controllers").write_text("cpuset cpu io memory hugetlb pids\n")
    (root / "cgroup.subtree_control").write_text("")
    (root / "cgroup.procs").write_text("")
    monkeypatch.setattr(Path, "mkdir", mkdir)
    monkeypatch.setattr(Path, "rmdir", rmdir)
    return root


def test_a_group_says_what_its_service_may_use(tree: Path) -> None:
    with capture_logs() as logs:
        group = open_groups(str(tree), supervisor=os.getppid()).make("chat", "1f", LIMITS)
    assert group is not None
    os.write(group.entrance, b"0")
    group.entered()
    found = {name: (group.folder / name).read_text() for name in FILES}
    assert found == {
        "memory.max": str((1 << 30) + ALLOWANCE),
        "memory.oom.group": "1",
        "cpu.weight": "250",
        "pids.max": "300",
        "cgroup.procs": "0",
    }
    assert not (group.folder / "memory.swap.max").exists()  # this kernel has no swap
    assert (tree / "cgroup.subtree_control").read_text() == "+memory +cpu +pids"
    assert [each["event"] for each in logs] == ["predictors_limited"]


@pytest.mark.parametrize(("cpus", "weight"), [(0.001, "1"), (1, "100"), (500, "10000")])
def test_weights_stay_what_the_kernel_takes(tree: Path, cpus: float, weight: str) -> None:
    group = Groups(tree).make("chat", "1f", Limits(1, cpus, 1))
    assert group is not None
    group.entered()
    assert (group.folder / "cpu.weight").read_text() == weight


def test_a_kill_for_memory_is_told_as_what_it_was(tree: Path) -> None:
    group = Groups(tree).make("chat", "1f", LIMITS)
    assert group is not None
    group.entered()
    (group.folder / "memory.events").write_text("low 0\nmax 9\noom 1\noom_kill 3\n")
    with capture_logs() as logs:
        assert group.end()
    assert not group.folder.exists()
    assert logs == [
        {
            "event": "predictor_killed_for_memory",
            "log_level": "error",
            "service": "chat",
            "group": "predictor-chat-1f",
            "limit_bytes": (1 << 30) + ALLOWANCE,
            "kills": 3,
        }
    ]


def test_a_predictor_that_ended_otherwise_is_not_told(tree: Path) -> None:
    group = Groups(tree).make("chat", "1f", LIMITS)
    assert group is not None
    group.entered()
    with capture_logs() as logs:
        assert group.end()
        assert group.end()  # once more is none the worse
    assert logs == []


def test_a_group_goes_when_its_predictor_has(tree: Path) -> None:
    async def leave() -> None:
        groups = Groups(tree)
        group = groups.make("chat", "1f", LIMITS)
        assert group is not None
        group.entered()
        (group.folder / "cgroup.procs").write_text("17")
        groups.leave(group)
        await asyncio.sleep(0.12)
        assert group.folder.exists()
        (group.folder / "cgroup.procs").write_text("")
        async with asyncio.timeout(10):
            while group.folder.exists():
                await asyncio.sleep(0.01)

    asyncio.run(leave())


@pytest.mark.parametrize(("there", "limits"), [("cpu memory pids", True), ("cpu pids", False)])
def test_it_is_known_whether_memory_is_limited(tree: Path, there: str, limits: bool) -> None:
    (tree / "cgroup.controllers").write_text(there)
    assert open_groups(str(tree), supervisor=os.getppid()).limit_memory is limits
    assert not open_groups("off", supervisor=os.getppid()).limit_memory


def test_leftovers_of_a_dead_nest_go_if_they_are_empty(tree: Path) -> None:
    for name in ("predictor-chat-a", "predictor-chat-b", "other"):
        (tree / name).mkdir()
    (tree / "predictor-chat-b" / "cgroup.procs").write_text("17")
    groups = open_groups(str(tree), supervisor=os.getppid())
    assert {each.name for each in tree.iterdir() if each.is_dir()} == {"predictor-chat-b", "other"}
    ours = groups.make("chat", "c", LIMITS)
    assert ours is not None
    ours.entered()
    groups.sweep()  # nobody is in ours yet, and it stays
    assert ours.folder.exists()


def test_where_a_group_cannot_be_made_it_is_said_and_none_is(tree: Path) -> None:
    groups = Groups(tree / "missing")
    with capture_logs() as logs:
        assert groups.make("chat", "1f", LIMITS) is None
    assert [each["event"] for each in logs] == ["predictor_not_limited"]


@pytest.mark.parametrize("place", ["auto", "off", "/nowhere/at/all"])
def test_without_groups_the_platform_works_as_before(tmp_path: Path, place: str) -> None:
    with capture_logs() as logs:
        groups = open_groups(place, supervisor=os.getppid(), mount=tmp_path)
    assert groups.make("chat", "1f", LIMITS) is None
    said = [(each["event"], each["log_level"]) for each in logs]
    assert said == ([] if place == "off" else [("predictors_not_limited", "info")])


def test_a_group_that_offers_nothing_is_not_used(tree: Path) -> None:
    (tree / "cgroup.controllers").write_text("hugetlb\n")
    with capture_logs() as logs:
        assert open_groups(str(tree), supervisor=1).make("chat", "1f", LIMITS) is None
    assert "offers none of memory" in logs[0]["reason"]


def test_only_processes_of_the_platform_are_moved(tree: Path) -> None:
    (tree / "cgroup.procs").write_text(f"{os.getpid()}\n")
    stranger = max(os.getpid() - 1, 2)
    with pytest.raises(OSError, match="not ours, such as"):
        cgroups._move_down(tree, supervisor=2**22 + 1)
    assert not (tree / "platform").exists()
    assert stranger != os.getpid()


def test_processes_of_the_platform_go_below(tree: Path) -> None:
    """The tree does not empty itself, so moving goes on until it gives up."""
    (tree / "cgroup.procs").write_text(f"{os.getpid()}\n")
    with pytest.raises(OSError, match="does not get empty"):
        cgroups._move_down(tree, supervisor=os.getppid())
    assert (tree / "platform" / "cgroup.procs").read_text() == str(os.getpid())


@pytest.fixture
def real() -> Iterator[Path]:
    """A group of ours in the kernel's own tree."""
    for mount in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
        if (mount / "cgroup.controllers").exists() and os.access(mount, os.W_OK):
            break
    else:
        pytest.skip("no cgroup v2 that we may write to")
    root = mount / f"dormouse-test-{uuid.uuid4().hex}"
    try:
        root.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup v2 that we may write to: {error}")
    yield root
    for folder in root.iterdir():
        if folder.is_dir():
            folder.rmdir()
    root.rmdir()


def test_a_process_enters_the_kernels_group_and_it_goes_with_it(real: Path) -> None:
    """Without limits where the kernel's controllers belong to cgroup v1."""
    group = Groups(real).make("chat", "1f", LIMITS)
    assert group is not None
    enter = "import os, sys; os.write(int(sys.argv[1]), b'0'); print('in', flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", enter, str(group.entrance)],
        pass_fds=[group.entrance],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    group.entered()
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    assert (group.folder / "cgroup.procs").read_text() == f"{process.pid}\n"
    assert not group.end()
    process.communicate("\n")
    assert group.end()
    assert not group.folder.exists()
