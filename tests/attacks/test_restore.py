"""T14, R36: a backup made while everybody wrote is put back after a kill, and revives nothing."""

import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from dormouse_control.audit.operations import verify
from dormouse_control.db import connect
from fixtures.control_plane_process import *  # noqa: F403  fixtures are found by their names here
from fixtures.control_plane_process import Process

USERS = 3


@dataclass
class Writer:
    """A user who refreshes without end; `used` has every refresh token that is spent."""

    process: Process
    email: str
    used: list[str] = field(default_factory=list)
    refresh_token: str = ""
    access_token: str = ""

    def sign_up(self) -> None:
        self._post("/api/v1/registrations", self._login).raise_for_status()

    def sign_in(self) -> None:
        self._take(self._post("/api/v1/sessions", self._login))

    def refresh(self) -> None:
        before = self.refresh_token
        self._take(self._post("/api/v1/sessions/refresh", {"refresh_token": before}))
        self.used.append(before)

    def key(self) -> dict[str, Any]:
        found: dict[str, Any] = self.call("POST", "/api/v1/keys", json={"name": "x"}).json()
        return found

    def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.access_token}"}
        answer = self.process.public.request(method, path, headers=headers, **more)
        return answer.raise_for_status()

    @property
    def _login(self) -> dict[str, str]:
        return {"email": self.email, "password": "correct horse battery"}

    def _post(self, path: str, body: dict[str, str]) -> httpx.Response:
        return self.process.public.post(path, json=body)

    def _take(self, answer: httpx.Response) -> None:
        pair = answer.raise_for_status().json()
        self.refresh_token, self.access_token = pair["refresh_token"], pair["access_token"]


def _backup(process: Process, to: Path) -> None:
    to.unlink(missing_ok=True)
    source = sqlite3.connect(process.home / "dormouse.db")
    with closing(source), closing(sqlite3.connect(to)) as target:
        source.backup(target, pages=20, sleep=0.001)


def _put_back(process: Process, backup: Path) -> None:
    file = process.home / "dormouse.db"
    for more in ("-wal", "-shm"):
        file.with_name(file.name + more).unlink(missing_ok=True)
    shutil.copy(backup, file)


def _sound(process: Process) -> int:
    """Fails unless the database is whole; how often it says that it was restored."""
    file = process.home / "dormouse.db"
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        query = "SELECT count(*) FROM audit_entry WHERE action = 'database.restore'"
        [[restores]] = database.execute(query).fetchall()
    opened = connect(f"sqlite:///{file}")
    with opened.reads() as reading:
        assert verify(reading).problem is None
    opened.engine.dispose()
    return int(restores)


def _round(start: Callable[[], Process], writers: list[Writer], backup: Path) -> None:
    process = start().wait()
    stop = threading.Event()

    def write(writer: Writer) -> None:
        with suppress(httpx.HTTPError):  # in the end the process is killed
            while not stop.is_set():
                writer.refresh()

    for writer in writers:
        writer.process = process
        writer.sign_in()
    keys = [writer.key() for writer in writers]
    work = [threading.Thread(target=write, args=(writer,)) for writer in writers[1:]]
    for thread in work:
        thread.start()
    _backup(process, backup)
    first = writers[0]
    for _ in range(3):
        first.refresh()
    first.call("DELETE", f"/api/v1/keys/{keys[0]['id']}")
    process.end()
    stop.set()
    for thread in work:
        thread.join()
    _put_back(process, backup)

    process = start().wait()
    try:
        _check(process, writers, keys)
    finally:
        process.end()


def _check(process: Process, writers: list[Writer], keys: list[dict[str, Any]]) -> None:
    for writer in writers:
        for token in {*writer.used[-5:], writer.refresh_token}:
            body = {"refresh_token": token}
            assert process.public.post("/api/v1/sessions/refresh", json=body).status_code == 401
        headers = {"authorization": f"Bearer {writer.access_token}"}
        assert process.public.get("/api/v1/me", headers=headers).status_code == 401
    for key, status in zip(keys, [401, 200, 200], strict=True):
        headers = {"authorization": f"Bearer {key['key']}"}
        assert process.public.get("/api/v1/me", headers=headers).status_code == status
    # The one before it is in a copy that this one replaced.
    assert _sound(process) >= 1


def _restore(start: Callable[[], Process], folder: Path, rounds: int) -> None:
    process = start().wait()
    writers = [Writer(process, f"user-{number}@example.org") for number in range(USERS)]
    for writer in writers:
        writer.sign_up()
    process.end()
    for _ in range(rounds):
        _round(start, writers, folder / "backup.db")


@pytest.mark.timeout(120)
def test_r36_a_backup_made_while_everybody_writes_is_whole_and_revives_nothing(
    start_control_plane: Callable[[], Process], tmp_path: Path
) -> None:
    _restore(start_control_plane, tmp_path, rounds=2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_r36_a_hundred_such_backups_revive_nothing(
    start_control_plane: Callable[[], Process], tmp_path: Path
) -> None:
    _restore(start_control_plane, tmp_path, rounds=100)


@pytest.mark.timeout(120)
def test_t14_a_killed_process_is_no_restore(
    start_control_plane: Callable[[], Process],
) -> None:
    """Whoever was signed in stays so, or every crash would end all sessions."""
    writer = Writer(start_control_plane().wait(), "ada@example.org")
    writer.sign_up()
    writer.sign_in()
    for _ in range(4):
        process = writer.process
        timer = threading.Timer(0.15, process.popen.kill)
        timer.start()
        with suppress(httpx.HTTPError):
            while True:
                writer.refresh()
        timer.join()
        process.end()
        writer.process = start_control_plane().wait()
        writer.refresh()
        replay = {"refresh_token": writer.used[0]}
        assert writer.process.public.get("/healthz").status_code == 200
    assert _sound(writer.process) == 0
    answer = writer.process.public.post("/api/v1/sessions/refresh", json=replay)
    assert answer.status_code == 401
