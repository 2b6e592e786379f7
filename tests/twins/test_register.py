from dataclasses import replace
from pathlib import Path

import pytest

from twins.defect import Defect
from twins.register import collect, lacking, problem

ROOT = Path(__file__).parents[2]
DEFECT = Defect(
    "T01", "a hole", "a.py", find="x = 1", replace="x = 2", tests="test_a.py::test_t01_x"
)


@pytest.mark.parametrize("defect", collect(ROOT), ids=lambda found: f"{found.case} {found.what}")
def test_every_defect_can_still_be_put_in_and_its_tests_exist(defect: Defect) -> None:
    assert problem(ROOT, defect) is None


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    (tmp_path / "tests/twins").mkdir(parents=True)
    (tmp_path / "a.py").write_text("x = 1\ny = 1\n")
    (tmp_path / "test_a.py").write_text(
        "def test_t01_x():\n    pass\nclass TestMore:\n    def test_y(self):\n        pass\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    "tests",
    [
        "test_a.py",
        "test_a.py::test_t01_x",
        "test_a.py::test_t01_x[a-b]",
        "test_a.py::TestMore::test_y",
        "test_a.py::test_t01_x test_a.py::TestMore",
    ],
)
def test_a_right_entry_has_no_problem(toy: Path, tests: str) -> None:
    assert problem(toy, replace(DEFECT, tests=tests)) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"file": "b.py"}, "there is no b.py"),
        ({"find": "z = 1"}, "`find` stands 0 times in a.py"),
        ({"find": "= 1"}, "`find` stands 2 times in a.py"),
        ({"replace": "x = 1"}, "`replace` is `find`"),
        ({"tests": " "}, "no test is named"),
        ({"tests": "test_b.py::test_x"}, "there is no test_b.py"),
        ({"tests": "test_a.py::test_x"}, "test_a.py has no test_x"),
        ({"tests": "test_a.py::TestMore::test_x"}, "test_a.py has no test_x"),
        ({"tests": "test_a.py::test_t01_x test_a.py::test_x"}, "test_a.py has no test_x"),
    ],
)
def test_a_wrong_entry_is_explained(toy: Path, changes: dict[str, str], why: str) -> None:
    assert problem(toy, replace(DEFECT, **changes)) == why


def test_entries_are_collected_and_cases_without_them_are_named(toy: Path) -> None:
    entry = "from twins.defect import Defect\nDEFECTS = (Defect('T0{0}', 'w', 'a', 'b', 'c', 'd'),)"
    for number in (2, 1):
        (toy / f"tests/twins/defects_{number}.py").write_text(entry.format(number))
    (toy / "tests/test_a.py").write_text("async def test_t03_x():\n    pass\n")

    defects = collect(toy)
    assert [found.case for found in defects] == ["T01", "T02"]
    untested, without_twin = lacking(toy, defects)
    assert untested[:3] == ["T01", "T02", "T04"]
    assert without_twin[:2] == ["T03", "T04"]
    assert without_twin[-3:] == ["R36", "R37", "R42"]


def test_every_case_has_a_test_and_a_twin() -> None:
    assert lacking(ROOT, collect(ROOT)) == ([], [])
