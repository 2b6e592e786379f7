"""`python -m dormouse_control.nest FILE`: the nest, with the facts that `prepare.py` wrote."""

import sys
from pathlib import Path

from dormouse_control.lean import without_what_only_developers_need

if __name__ == "__main__":
    without_what_only_developers_need()
    from dormouse_control.nest import run

    run.main(Path(sys.argv[1]))
