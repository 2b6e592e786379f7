"""What a predictor that runs an attacker's code gets at, on a platform that runs as root."""

import ctypes
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dormouse_control import predictor_users
from dormouse_control.nest.users import first_choice

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has what to give up")


@pytest.fixture(scope="module")
def awake(platform, account) -> dict[str, int]:
    """Service -> pid of its predictor."""
    assert platform.chat(account.key, max_tokens=1).status_code == 200
    body = {"model": "all-minilm-l6-v2", "input": "x"}
    assert platform.post("/v1/embeddings", account.key, json=body).status_code == 200
    return {
        name: platform.predictors(account.access_token, name)[0]["pid"]
        for name in ("chat", "embeddings")
    }


def as_predictor(pid: int, work: Callable[[], Any]) -> Any:
    """What `work` returns with that process's view of the machine, its user and its groups."""
    tells, told = socket.socketpair()
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
    user, group = os.stat(f"/proc/{pid}/task").st_uid, 0
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, values = line.partition(":")
        user = int(values.split()[0]) if name == "Uid" else user
        group = int(values.split()[0]) if name == "Gid" else group
    child = os.fork()
    if child == 0:
        try:
            assert ctypes.CDLL(None).setns(namespace, 0) == 0
            os.chdir("/")
            os.setgroups([])
            os.setresgid(group, group, group)
            os.setresuid(user, user, user)
            tells.sendall(json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(namespace)
    tells.close()
    with told, told.makefile("rb") as found:
        answer = found.read()
    os.waitpid(child, 0)
    return json.loads(answer)


def gets_at(paths: list[Path]) -> dict[str, list[str]]:
    """Verb -> what of it worked."""
    found: dict[str, list[str]] = {"read": [], "write": [], "connect": []}
    for path in paths:
        for verb, flags in (("read", os.O_RDONLY), ("write", os.O_WRONLY)):
            try:
                os.close(os.open(path, flags | os.O_NONBLOCK))
                found[verb].append(str(path))
            except OSError:
                pass
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_UNIX, kind) as caller:
                try:
                    caller.connect(str(path))
                    found["connect"].append(str(path))
                except OSError:
                    pass
    return found


def test_a_predictor_gets_at_what_it_needs_and_nothing_else(platform, awake):
    (platform.home / "open").touch(0o644)  # to everybody, once the platform runs
    files = [path for path in platform.home.rglob("*") if not path.is_dir()]
    home = str(platform.home)
    private = ("dormouse.db", "dormouse.yaml", "keys/internal.pem", "run/admin.sock")
    assert {f"{home}/{name}" for name in private} <= {*map(str, files)}

    found = as_predictor(awake["chat"], lambda: gets_at(files))

    own = {str(path) for path in files if path.match("spool/chat/*")}
    assert own
    # What the test itself left open to everybody shows that it is looked at all.
    assert set(found["read"]) == {f"{home}/keys/jwks.json", f"{home}/open", *own}
    assert set(found["write"]) == own
    assert set(found["connect"]) == {f"{home}/run/internal.sock", f"{home}/run/meters.sock"}


def test_a_predictor_neither_lists_nor_adds_to_what_is_not_its_own(platform, awake):
    home = platform.home
    folders = [home, *(home / name for name in ("keys", "run", "spool", "spool/embeddings"))]

    def work() -> list[str]:
        done = []
        for folder in folders:
            for attempt in (lambda: os.listdir(folder), lambda: os.mkdir(folder / "x")):  # noqa: B023
                try:
                    attempt()
                    done.append(str(folder))
                except OSError:
                    pass
        return done

    assert as_predictor(awake["chat"], work) == []


def test_each_service_has_a_user_and_they_leave_each_other_alone(awake):
    users = {
        name: Path(f"/proc/{pid}/status").read_text().split("Uid:")[1].split()[:4]
        for name, pid in awake.items()
    }
    first = predictor_users.FIRST
    assert users == {name: [str(first + first_choice(name))] * 4 for name in awake}

    def work() -> list[str]:
        done = []
        for name, attempt in {
            "kill": lambda: os.kill(awake["embeddings"], 0),
            "memory": lambda: os.open(f"/proc/{awake['embeddings']}/mem", os.O_RDONLY),
            "environment": lambda: os.open(f"/proc/{awake['embeddings']}/environ", os.O_RDONLY),
            "own": lambda: os.open(f"/proc/{awake['chat']}/mem", os.O_RDONLY),
        }.items():
            try:
                attempt()
                done.append(name)
            except OSError:
                pass
        return done

    assert as_predictor(awake["chat"], work) == []


def test_a_predictor_has_no_rights_and_no_files_of_others(platform, awake):
    for pid in awake.values():
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
        assert (status["NoNewPrivs"], status["Groups"]) == (["1"], [])
        assert {int(status[f"Cap{kind}"][0], 16) for kind in ("Inh", "Prm", "Eff", "Amb")} == {0}
        opened = {os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()}
        here = {each for each in opened if each.startswith(str(platform.home))}
        assert {Path(each).relative_to(platform.home).parts[0] for each in here} == {
            "logs",  # to write to, not to read
            "spool",
        }


def test_the_memory_that_a_predictor_takes_is_known_still(platform, account, awake):
    for name in awake:
        assert platform.predictors(account.access_token, name)[0]["memory_bytes"] > 1 << 20


def test_it_does_not_matter_where_root_starts_the_platform(start_platform, tmp_path):
    """In a folder of its own, say: nothing there is imported, and predictors get at none of it."""
    (tmp_path / "closed").mkdir(mode=0o700)
    folder = tmp_path / "closed" / "work"
    folder.mkdir()
    (folder / "secret").write_text("x")
    for name in ("httpcore", "uvloop", "llama_cpp"):
        (folder / f"{name}.py").write_text("open('imported', 'w').close()\n")
    platform = start_platform(folder=folder)
    account = platform.sign_up("chat")
    assert platform.chat(account.key, max_tokens=1).status_code == 200
    assert not (folder / "imported").exists()
    [predictor] = platform.predictors(account.access_token, "chat")
    user = str(predictor_users.FIRST + first_choice("chat"))
    status = Path(f"/proc/{predictor['pid']}/status").read_text()
    assert status.split("Uid:")[1].split()[:4] == [user] * 4
    # What it has open it keeps, whatever lies above it: a relative path would lead there.
    assert os.readlink(f"/proc/{predictor['pid']}/cwd") == "/"


def test_root_has_no_predictor_user_if_so_wanted(start_platform):
    platform = start_platform(predictor_user="platform")
    account = platform.sign_up("chat")
    assert platform.chat(account.key, max_tokens=1).status_code == 200
    [predictor] = platform.predictors(account.access_token, "chat")
    status = Path(f"/proc/{predictor['pid']}/status").read_text()
    assert status.split("Uid:")[1].split()[:4] == ["0"] * 4
    assert status.split("NoNewPrivs:")[1].split()[0] == "1"
    assert (platform.home / "run").stat().st_mode & 0o7777 == 0o700
