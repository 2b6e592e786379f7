"""Ways to run the command: in this process, in one of its own, and at a terminal."""

import contextlib
import fcntl
import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from dormouse.cli.main import app

COMMAND = [sys.executable, "-c", "from dormouse.cli.main import main; main()"]

Run = Callable[..., Result]


@pytest.fixture
def run(platform: Any, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("DORMOUSE_BASE_URL", platform.url)

    def run(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(app, list(arguments), input=stdin)

    return run


@pytest.fixture
def signed_in(platform: Any, run: Run) -> Run:
    """`run` after `dormouse login` as a user who may call chat."""
    platform.entitled.add("chat")
    done = run("login", "--email", "ada@example.org", "--password-stdin", stdin="correct horse\n")
    assert done.exit_code == 0, done.stderr
    platform.requests.clear()
    return run


class Terminal:
    """The command at a terminal: stdin, stdout and stderr are one pseudo-terminal."""

    def __init__(self, *arguments: str, **streams: Any) -> None:
        self._master, slave = pty.openpty()
        self.screen = ""
        at = {"stdin": slave, "stdout": slave, "stderr": slave} | streams
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY),  # Ctrl-C becomes a signal
            **at,
        )
        os.close(slave)

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def interrupt(self) -> None:
        """Ctrl-C; again if it fell into the moment before Python reads, where it goes unnoticed."""
        for _ in range(5):
            self.type("\x03")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(2)
                return

    def wait_for(self, text: str, seconds: float = 10, times: int = 1) -> None:
        end = time.monotonic() + seconds
        while self.screen.count(text) < times:
            if time.monotonic() > end or not self._read(end - time.monotonic()):
                raise AssertionError(f"no {text!r} on the screen:\n{self.screen}")

    def wait_without(self, mode: int) -> None:
        """Until the terminal's `mode` is off; keys typed before the switch may be dropped."""
        end = time.monotonic() + 10
        while termios.tcgetattr(self._master)[3] & mode:
            assert time.monotonic() < end
            time.sleep(0.01)

    def exit_code(self) -> int:
        while self._read(10):
            pass
        return self.process.wait(10)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        os.close(self._master)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._master], [], [], max(seconds, 0))[0]:
            return False
        with contextlib.suppress(OSError):  # EIO: the other side has gone
            data = os.read(self._master, 4096)
            self.screen += data.decode(errors="replace")
            return bool(data)
        return False


@pytest.fixture
def terminal(platform: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Terminal]]:
    monkeypatch.setenv("DORMOUSE_BASE_URL", platform.url)
    monkeypatch.setenv("TERM", "xterm")
    opened: list[Terminal] = []

    def open_(*arguments: str, **streams: Any) -> Terminal:
        opened.append(Terminal(*arguments, **streams))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()
