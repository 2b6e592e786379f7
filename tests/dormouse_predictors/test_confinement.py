"""What a forked predictor has given up: seen from inside, in children that try to get it back."""

import ctypes
import getpass
import json
import os
import resource
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dormouse_predictors import confinement

USER, GROUP = 60611, 60600
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def inside(work: Callable[[], Any]) -> Any:
    """What `work` returns in a child of ours, by way of JSON."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writes, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writes)
    with open(reads, "rb") as told:
        found = told.read()
    os.waitpid(child, 0)
    return json.loads(found)


def refused(attempt: Callable[[], Any]) -> str | None:
    """The error's name, if there was one."""
    try:
        attempt()
    except (OSError, ValueError) as error:
        return type(error).__name__
    return None


def status(pid: int | str = "self") -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _trace(pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(16, pid, None, None):  # PTRACE_ATTACH
        raise OSError(ctypes.get_errno(), "ptrace")
    libc.ptrace(17, pid, None, None)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that everybody may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="dm-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_only_what_was_given_stays_open() -> None:
    def work() -> list[int]:
        report = max(int(each) for each in os.listdir("/proc/self/fd"))  # listing has one as well
        opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]
        os.dup2(opened[0], 900)
        kept = [opened[3], opened[11], 900]
        reports = set(range(3, report + 1))
        confinement.close_all_but([*kept, *reports])
        found = {each for each in range(2000) if refused(partial(os.fstat, each)) is None}
        return [*sorted(found - reports - {0, 1, 2} - set(kept)), len(found & set(kept))]

    assert inside(work) == [3]


def test_without_close_range_the_same_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement, "_libc", object())
    test_only_what_was_given_stays_open()


def test_limits_and_no_new_privileges() -> None:
    def work() -> list[Any]:
        confinement.confine(None, None)
        limits = [resource.getrlimit(kind) for kind in (resource.RLIMIT_CORE, 7)]
        death = ctypes.c_int(-1)
        ctypes.CDLL(None).prctl(2, ctypes.byref(death))
        return [*limits, status()["NoNewPrivs"], os.geteuid(), death.value]

    core, files, privileges, user, death_signal = inside(work)
    assert core == [0, 0]
    assert files[0] == files[1] <= confinement.MOST_FILES
    assert (privileges, user, death_signal) == ("1", os.geteuid(), 0)


@as_root
def test_a_user_of_its_own_has_no_right_left_and_gets_none_back() -> None:
    def work() -> dict[str, Any]:
        os.setgroups([0, 4, 27])
        confinement.confine(USER, GROUP)
        found = status()
        tries = {
            "root": lambda: os.setresuid(0, 0, 0),
            "group": lambda: os.setresgid(0, 0, 0),
            "groups": lambda: os.setgroups([0]),
            "files": lambda: resource.setrlimit(7, (resource.RLIM_INFINITY,) * 2),
            "core": lambda: resource.setrlimit(resource.RLIMIT_CORE, (1, 1)),
            "parent": lambda: os.kill(os.getppid(), 0),
            "trace": lambda: _trace(os.getppid()),
            "shadow": lambda: os.open("/etc/shadow", os.O_RDONLY),
            "kernel": lambda: os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY),
        }
        kept = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs")
        assert getpass.getuser() == "predictor"
        return {**{k: found[k].split() for k in kept}, **{k: refused(v) for k, v in tries.items()}}

    found = inside(work)
    assert (found.pop("Uid"), found.pop("Gid")) == ([str(USER)] * 4, [str(GROUP)] * 4)
    assert (found.pop("Groups"), found.pop("NoNewPrivs")) == ([], ["1"])
    assert {int(found.pop(each)[0], 16) for each in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
    assert {name for name, error in found.items() if error is None} == set()


@as_root
def test_a_set_user_id_program_gives_nothing_back(reachable: Path) -> None:
    program = reachable / "id"
    program.write_bytes(Path("/usr/bin/id").read_bytes())
    program.chmod(0o4755)

    def user(*, confined: bool) -> str:
        def work() -> str:
            if confined:
                confinement.confine(USER, GROUP)
            else:
                os.setresuid(USER, USER, USER)
            return subprocess.check_output([program, "-u"], text=True).strip()

        return str(inside(work))

    assert user(confined=False) == "0"  # it would, if it were not for what is tried here
    assert user(confined=True) == str(USER)


@as_root
def test_predictors_of_one_user_cannot_look_into_each_other() -> None:
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        confinement.confine(USER, GROUP)
        theirs.sendall(b"ready")
        theirs.recv(1)
        os._exit(0)
    assert ours.recv(5) == b"ready"

    def work() -> list[str | None]:
        confinement.confine(USER, GROUP)
        return [
            refused(lambda: _trace(child)),
            refused(lambda: os.open(f"/proc/{child}/mem", os.O_RDONLY)),
            refused(lambda: os.open(f"/proc/{child}/environ", os.O_RDONLY)),
        ]

    try:
        assert inside(work) == ["PermissionError"] * 3
        # The nest, being root, reads how much memory it has.
        assert "Pss:" in Path(f"/proc/{child}/smaps_rollup").read_text()
    finally:
        ours.sendall(b".")
        os.waitpid(child, 0)
        ours.close()
        theirs.close()


@as_root
@pytest.mark.parametrize(("user", "group"), [(-1, GROUP), (USER, -1), (0, GROUP), (USER, 0)])
def test_a_user_that_would_be_as_before_is_refused(user: int, group: int) -> None:
    assert inside(lambda: refused(lambda: confinement.confine(user, group))) == "PermissionError"


def test_what_cannot_be_given_up_is_an_error() -> None:
    def work() -> str | None:
        if os.geteuid() == 0:
            os.setresuid(USER, USER, USER)
        return refused(lambda: confinement.confine(USER + 1, GROUP))

    assert inside(work) == "PermissionError"
