"""`python -m dormouse.catalog [REPOSITORY]` writes what its schema generates."""

import sys
from pathlib import Path

from dormouse.catalog.json_schema import generated


def main(repository: Path) -> None:
    for path, text in generated().items():
        target = repository / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
        print(target)


if __name__ == "__main__":
    main(Path(*sys.argv[1:2]))
