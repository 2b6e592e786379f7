"""`python -m dormouse_control.supervisor FACTS`: what `dormouse up` becomes."""

import sys

from dormouse_control.lean import without_what_only_developers_need

if __name__ == "__main__":
    without_what_only_developers_need()
    from dormouse_control.supervisor import keeper
    from dormouse_control.supervisor.facts import Facts

    sys.exit(keeper.main(Facts.from_json(sys.argv[1])))
