"""What every benchmark does with its results: a table to read, a file to keep."""

import json
from pathlib import Path
from typing import Any


def report(name: str, results: dict[str, Any]) -> None:
    for title, value in results.items():
        print(f"{title:62} {value}")
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
