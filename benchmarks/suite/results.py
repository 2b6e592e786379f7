"""The table that is printed and the file that is kept."""

import contextlib
import json
import os
import platform as machine
import subprocess
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any  # what is kept is JSON

import httpx

from suite.goals import Goal
from suite.processes import NotReady
from suite.rounds import Spread
from suite.wrk import Errors

_FOLDER = Path(__file__).parents[1] / "results"


class Results:
    def __init__(self, goals: Sequence[Goal]) -> None:
        self._goals = goals
        self._values: dict[str, Spread] = {}
        self._notes: dict[str, Any] = {}
        self._missing: dict[str, str] = {}
        self.broken: dict[str, str] = {}
        """Measurements that failed, and why."""

    def put(self, id: str, value: Spread) -> None:
        """The number that counts is the median."""
        self._values[id] = value
        print(f"  {id}: {value}", flush=True)

    def note(self, title: str, value: Any) -> None:
        self._notes[title] = value

    def missing(self, what: str, why: str) -> None:
        """A peer or number that cannot be had here."""
        self._missing[what] = why
        print(f"  no {what}: {why}", flush=True)

    def breaks(self, what: str, why: str) -> None:
        self.broken[what] = why
        print(f"  {what} FAILED: {why}", flush=True)

    @contextlib.contextmanager
    def trying(self, what: str) -> Iterator[None]:
        """One measurement that fails is told of, and the others go on."""
        try:
            yield
        except (Errors, NotReady, RuntimeError, OSError, httpx.HTTPError) as error:
            self.breaks(what, str(error)[:1000])

    def describe(self, *packages: str) -> None:
        """The machine, how busy it is, and versions of what was installed with us."""
        load = os.getloadavg()[0]
        self.note("machine", f"{os.cpu_count()} cores, {machine.machine()}, load {load}")
        self.note("Python", machine.python_version())
        for name in packages:
            self.note(name, version(name))
        said = subprocess.run(["wrk", "-v"], check=False, capture_output=True, text=True).stdout
        self.note("wrk", said.partition("\n")[0])

    def table(self) -> str:
        lines = [f"{'id':4} {'what':58} {'goal':>8} {'floor':>8}  measured"]
        for goal in self._goals:
            sign = "<=" if goal.at == "most" else ">="
            floor = "" if goal.floor is None else f"{sign} {goal.floor:.3g}"
            value = self._values.get(goal.id)
            said = "-" if value is None else f"{value}  {goal.reached(value.median)}"
            lines.append(
                f"{goal.id:4} {goal.what:58} {f'{sign} {goal.goal:.3g}':>8} {floor:>8}  {said}"
            )
        lines += [f"no {what}: {why}" for what, why in self._missing.items()]
        lines += [f"{what} FAILED: {why}" for what, why in self.broken.items()]
        return "\n".join(lines)

    def keep(self, name: str) -> Path:
        numbers = {}
        for goal in self._goals:
            if (value := self._values.get(goal.id)) is not None:
                numbers[goal.id] = {
                    "what": goal.what,
                    f"goal, at {goal.at}": round(goal.goal, 4),
                    "floor": None if goal.floor is None else round(goal.floor, 4),
                    "least": round(value.least, 5),
                    "median": round(value.median, 5),
                    "most": round(value.most, 5),
                    "reached": goal.reached(value.median),
                }
        document = {
            "numbers": numbers,
            "not to be had": self._missing,
            "failed": self.broken,
            "details": self._notes,
        }
        _FOLDER.mkdir(exist_ok=True)
        path = _FOLDER / f"{name}.json"
        path.write_text(json.dumps(document, indent=1) + "\n")
        return path
