"""`python -m dormouse_control.supervisor FACTS`: what `dormouse up` becomes."""

import sys

from dormouse_control.lean import without_terminal_libraries

if __name__ == "__main__":
    without_terminal_libraries()
    from dormouse_control.supervisor import keeper
    from dormouse_control.supervisor.facts import Facts

    sys.exit(keeper.main(Facts.from_json(sys.argv[1])))
