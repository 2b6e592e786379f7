"""`dormouse usage`: calls, sums and files."""

import json
import time
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def lines(text: str) -> list[str]:
    """Without the blanks that align columns."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def test_usage_is_a_table_with_totals(signed_in: Any) -> None:
    done = signed_in("usage", "--limit", "2")
    assert done.exit_code == 0
    header, first, second, totals = lines(done.stdout)
    assert header == "Time Model Endpoint Outcome In Out Wake Took Cost"
    when = "2027-01-15 08:00:00"
    call = "small chat.completions completed 12 34"
    assert first == f"{when} {call} 140 ms 1.2 s 0.0000228 USD"
    assert second == f"{when} {call} 1.2 s 0.0000228 USD"
    assert totals == "All 3 calls: 36 tokens in, 102 out, 0.0000684 USD"


def test_usage_goes_on_after_a_cursor(signed_in: Any) -> None:
    page = json.loads(signed_in("usage", "--limit", "2", "--json").stdout)
    assert page["next"] == "2"
    rest = json.loads(signed_in("usage", "--after", page["next"], "--json").stdout)
    assert [item["request_id"] for item in rest["items"]] == ["req_2"]


def test_sums_are_a_table(platform: Any, signed_in: Any) -> None:
    done = signed_in("usage", "--by", "day", "--by", "tag:project", "--since", "2027-01-01")
    header, first, second = lines(done.stdout)
    assert header == "Day Project Calls In Out Computing Loading Idle Cost"
    assert first == second == "2027-01-15 2 24 68 1.5 s 40 ms 9.0 s 0.0000456 USD"
    asked = platform.requests[-2].query
    assert (asked["group_by"], asked["from"]) == (["day", "tag:project"], ["2027-01-01"])
    found = json.loads(signed_in("usage", "--by", "day", "--json").stdout)
    assert [item["requests"] for item in found["items"]] == [2, 2]


def test_filters_reach_the_server(platform: Any, signed_in: Any) -> None:
    filters = {
        "--key": "key_id",
        "--service": "service",
        "--model": "model",
        "--tag": "tag",
        "--since": "from",
        "--until": "to",
    }
    given = [word for option in filters for word in (option, f"x{option}")]
    assert signed_in("usage", *given).exit_code == 0
    asked = platform.requests[-1].query
    expected = {name: [f"x{option}"] for option, name in filters.items()}
    assert asked == {**expected, "limit": ["50"]}


@pytest.mark.parametrize("name", ["mine.csv", "mine.parquet"])
def test_an_export_becomes_a_new_file(signed_in: Any, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    done = signed_in("usage", "--export", str(file), "--each", "--tag", "a:1")
    assert done.stdout == f"Saved to {file}.\n"
    format = file.suffix.removeprefix(".")
    asked = f"[('format', ['{format}']), ('granularity', ['call']), ('tag', ['a:1'])]"
    assert file.read_text() == f"/api/v1/usage/export {asked}"
    assert file.stat().st_mode & 0o777 == 0o600
    assert signed_in("usage", "--export", str(file)).exit_code == 2
    assert file.read_text().endswith(asked)


def test_an_export_needs_a_known_ending(signed_in: Any, tmp_path: Path) -> None:
    done = signed_in("usage", "--export", str(tmp_path / "mine.xlsx"))
    assert done.exit_code == 2
    assert ".csv or .parquet" in done.stderr


def test_operators_ask_for_everybodys(platform: Any, signed_in: Any, tmp_path: Path) -> None:
    file = tmp_path / "all.csv"
    for more in ((), ("--by", "user"), ("--export", str(file))):
        assert signed_in("usage", "--all", "--user", "usr_2", *more).exit_code == 0
    for request, below in zip(
        platform.requests[-4:], ("", "/totals", "/totals", "/export"), strict=True
    ):
        assert request.path == f"/api/v1/usage/all{below}"
        assert request.query["user"] == ["usr_2"]
    assert signed_in("usage", "--user", "usr_2").exit_code == 2
