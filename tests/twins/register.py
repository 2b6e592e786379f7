"""All seeded defects, what is wrong with their entries, and which attack cases lack something."""

import ast
import importlib.util
import re
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from twins.defect import Defect

CASES = [
    *(f"T{number:02}" for number in (*range(1, 43), 108, 109, 113, 114, 115)),
    *(f"R{number}" for number in (11, 12, 13, 17, 18, 19, 36, 37, 42)),
]
"""The cases, of attacks and of reliability, that need a test and a twin."""

_TEST = re.compile(r"^\s*(?:async )?def test_([tr]\d{2,3})_", re.MULTILINE)


def collect(root: Path) -> list[Defect]:
    """Of every `tests/twins/defects*.py`, by case."""
    files = sorted((root / "tests/twins").glob("defects*.py"))
    found = [defect for file in files for defect in _module(file).DEFECTS]
    return sorted(found, key=lambda defect: (len(defect.case), defect.case, defect.what))


def problem(root: Path, defect: Defect) -> str | None:
    """Why this defect cannot be put in or looked for; None if it can."""
    file = root / defect.file
    if not file.is_file():
        return f"there is no {defect.file}"
    times = file.read_text("utf-8").count(defect.find)
    if times != 1:
        return f"`find` stands {times} times in {defect.file}"
    if defect.find == defect.replace:
        return "`replace` is `find`"
    if not defect.tests.split():
        return "no test is named"
    return next((why for name in defect.tests.split() if (why := _untestable(root, name))), None)


def lacking(root: Path, defects: Iterable[Defect]) -> tuple[list[str], list[str]]:
    """The cases without a test, and those without a twin."""
    files = (f for f in (root / "tests").rglob("test_*.py") if f.parent.name != "twins")
    tested = {case.upper() for file in files for case in _TEST.findall(file.read_text("utf-8"))}
    twinned = {defect.case for defect in defects}
    return (
        [case for case in CASES if case not in tested],
        [case for case in CASES if case not in twinned],
    )


def _untestable(root: Path, name: str) -> str | None:
    path, *inner = name.partition("[")[0].split("::")
    if not (root / path).is_file():
        return f"there is no {path}"
    body: list[ast.stmt] = ast.parse((root / path).read_text("utf-8")).body
    for wanted in inner:
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        found = [node for node in body if isinstance(node, kinds) and node.name == wanted]
        if not found:
            return f"{path} has no {wanted}"
        body = found[0].body
    return None


def _module(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
