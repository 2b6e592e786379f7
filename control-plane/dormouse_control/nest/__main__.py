"""`python -m dormouse_control.nest FILE`: the nest, with the facts that `prepare.py` wrote."""

import sys
from pathlib import Path

from dormouse_control.lean import without_terminal_libraries

if __name__ == "__main__":
    without_terminal_libraries()
    from dormouse_control.nest import run
    from dormouse_control.nest.facts import Facts

    run.main(Facts.from_json(Path(sys.argv[1]).read_text()))
