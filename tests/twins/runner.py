"""Puts defects into copies of our source, one at a time, and runs the tests that must see them."""

import compileall
import os
import py_compile
import queue
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from twins.defect import Defect
from twins.register import problem

SOURCES = ("client", "control-plane", "predictors")
_SECONDS = 280
_SECONDS_OF_ALL = 1800
_OPTIONS = ["-q", "-x", "--tb=line", "-m", "", "-p", "no:cacheprovider", "-o", "addopts="]

Verdict = Literal["caught", "NOT CAUGHT", "broken"]


@dataclass(frozen=True)
class Result:
    """`broken`: nothing can be said, because entry or test is wrong; `why` says how."""

    defect: Defect
    verdict: Verdict
    why: str
    seconds: float


@dataclass(frozen=True)
class Tree:
    """A copy of the source below `root` that a test imports instead of it."""

    root: Path
    copy: Path

    def make(self) -> None:
        """Raises RuntimeError if it would not be the copy that is imported."""
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "node_modules")
        for name in SOURCES:
            if (self.root / name).is_dir():
                shutil.copytree(self.root / name, self.copy / name, ignore=ignored)
        # By content, because a defect may be as long and as old as what it replaces.
        by_content = py_compile.PycInvalidationMode.CHECKED_HASH
        compileall.compile_dir(self.copy, quiet=2, invalidation_mode=by_content)
        if (self.root / "services").is_dir():
            (self.copy / "services").symlink_to(self.root / "services")
        for package in self._packages():
            code = f"import {package}; print({package}.__file__)"
            found = self._run([sys.executable, "-c", code]).stdout.strip()
            if not found.startswith(str(self.copy)):
                raise RuntimeError(f"{package} is imported from {found or 'nowhere'}")

    def test(self, names: Iterable[str], *, seconds: float = _SECONDS) -> tuple[int, str]:
        """pytest's exit status, and what it wrote."""
        command = [sys.executable, "-m", "pytest", *_OPTIONS, *names]
        try:
            done = self._run(command, seconds=seconds)
        except subprocess.TimeoutExpired:
            return -1, f"longer than {seconds} s"
        return done.returncode, done.stdout + done.stderr

    def put(self, defect: Defect) -> None:
        file = self.copy / defect.file
        file.write_text(file.read_text("utf-8").replace(defect.find, defect.replace), "utf-8")

    def take_back(self, defect: Defect) -> None:
        shutil.copyfile(self.root / defect.file, self.copy / defect.file)

    def _packages(self) -> list[str]:
        return [
            found.parent.name
            for name in SOURCES
            for found in self.copy.glob(f"{name}/*/__init__.py")
        ]

    def _run(
        self, command: list[str], *, seconds: float = 60
    ) -> "subprocess.CompletedProcess[str]":
        path = os.pathsep.join(str(self.copy / name) for name in SOURCES)
        environment = os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            command,
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )


def run(root: Path, defects: list[Defect], *, folder: Path, jobs: int) -> Iterator[Result]:
    """Each result as soon as it is known."""
    sound = []
    for defect in defects:
        if why := problem(root, defect):
            yield Result(defect, "broken", why, 0)
        else:
            sound.append(defect)
    trees: queue.Queue[Tree] = queue.Queue()
    for number in range(jobs):
        tree = Tree(root, folder / str(number))
        tree.make()
        trees.put(tree)
    # All at once is much faster than each alone, and is all there is to do if they are green.
    names = {name: None for defect in sound for name in defect.tests.split()}
    green = tree.test(names, seconds=_SECONDS_OF_ALL)[0] == 0

    def one(defect: Defect) -> Result:
        tree = trees.get()
        try:
            return _judge(tree, defect, green=green)
        finally:
            trees.put(tree)

    with ThreadPoolExecutor(jobs) as pool:
        for done in as_completed([pool.submit(one, defect) for defect in sound]):
            yield done.result()


def _judge(tree: Tree, defect: Defect, *, green: bool) -> Result:
    started = time.monotonic()
    names = defect.tests.split()
    status, said = (0, "") if green else tree.test(names)
    if status == 0:
        tree.put(defect)
        try:
            verdict, why = _verdict(*tree.test(names))
        finally:
            tree.take_back(defect)
    else:
        verdict, why = "broken", f"red without the defect: {_end(said)}"
    return Result(defect, verdict, why, time.monotonic() - started)


def _verdict(status: int, said: str) -> tuple[Verdict, str]:
    if status == 0:
        return "NOT CAUGHT", _end(said)
    # 1 is also what an error outside of the test gives, in a fixture for example.
    if status == 1 and re.search(r"\b\d+ failed\b", said):
        return "caught", ""
    return "broken", f"pytest ended with {status}: {_end(said)}"


def _end(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    return " | ".join(lines[-3:])[-300:]
