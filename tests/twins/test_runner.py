"""The runner on a tree of its own: a package with a rule, and tests that see it or not."""

import subprocess
import sys
from pathlib import Path

import pytest

from twins.defect import Defect
from twins.runner import Tree, run

SCRIPT = Path(__file__).parents[2] / "scripts/twins.py"

TESTS = """
import pytest
from toy_of_twins.rules import may

def test_t01_strangers_may_not():
    assert not may("stranger")

def test_t01_owners_may():
    assert may("owner")

@pytest.fixture
def checked():
    assert not may("stranger")

def test_t01_by_a_fixture(checked):
    pass

def test_t01_red():
    raise AssertionError
"""


def defect(what: str, replace: str, test: str) -> Defect:
    return Defect(
        "T01",
        what,
        "control-plane/toy_of_twins/rules.py",
        find='who == "owner"',
        replace=replace,
        tests=f"tests/test_toy.py::{test}",
    )


OPEN = defect("open to all", 'who != "nobody"', "test_t01_strangers_may_not")
SAME_LENGTH = defect("same length", 'who != "owner"', "test_t01_strangers_may_not")
UNSEEN = defect("unseen", 'who != "nobody"', "test_t01_owners_may")
NO_PYTHON = defect("no Python", "who ==", "test_t01_strangers_may_not")
IN_FIXTURE = defect("only a fixture fails", 'who != "nobody"', "test_t01_by_a_fixture")
RED = defect("red anyway", 'who != "nobody"', "test_t01_red")
GONE = defect("no such test", 'who != "nobody"', "test_t01_gone")


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    root = tmp_path / "toy"
    package = root / "control-plane/toy_of_twins"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "rules.py").write_text('def may(who):\n    return who == "owner"\n')
    (root / "tests/twins").mkdir(parents=True)
    (root / "tests/test_toy.py").write_text(TESTS)
    (root / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    return root


def test_each_defect_gets_its_verdict(toy: Path, tmp_path: Path) -> None:
    given = [OPEN, SAME_LENGTH, UNSEEN, NO_PYTHON, IN_FIXTURE, RED, GONE]

    found = {each.defect.what: each for each in run(toy, given, folder=tmp_path / "trees", jobs=2)}

    assert {what: each.verdict for what, each in found.items()} == {
        "open to all": "caught",
        "same length": "caught",
        "unseen": "NOT CAUGHT",
        "no Python": "broken",
        "only a fixture fails": "broken",
        "red anyway": "broken",
        "no such test": "broken",
    }
    assert found["red anyway"].why.startswith("red without the defect")
    assert found["no such test"].why == "tests/test_toy.py has no test_t01_gone"
    # Neither the tree nor a copy of it is left with a defect in it.
    for file in (toy, tmp_path / "trees/0", tmp_path / "trees/1"):
        assert 'who == "owner"' in (file / "control-plane/toy_of_twins/rules.py").read_text()


def test_a_copy_that_would_not_be_imported_is_refused(toy: Path, tmp_path: Path) -> None:
    (toy / "control-plane/sys").mkdir()
    (toy / "control-plane/sys/__init__.py").touch()

    with pytest.raises(RuntimeError, match="sys is imported from"):
        Tree(toy, tmp_path / "copy").make()


@pytest.mark.parametrize(("given", "status"), [([OPEN], 0), ([OPEN, UNSEEN], 1), ([RED], 1)])
def test_the_table_and_its_exit_status(toy: Path, given: list[Defect], status: int) -> None:
    lines = "".join(f"    {each!r},\n" for each in given)
    text = f"from twins.defect import Defect\n\nDEFECTS = (\n{lines})\n"
    (toy / "tests/twins/defects_toy.py").write_text(text)

    done = subprocess.run(
        [sys.executable, SCRIPT, "--root", toy], capture_output=True, text=True, check=False
    )

    assert done.returncode == status, done.stdout + done.stderr
    for each in given:
        line = next(line for line in done.stdout.splitlines() if each.what in line)
        assert line.startswith("T01")
    assert f"{1 if OPEN in given else 0} of {len(given)} defects caught" in done.stdout
    assert "cases without a test: T02 T03" in done.stdout
    assert "cases without a twin: T02 T03" in done.stdout
