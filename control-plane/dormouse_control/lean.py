"""Memory: what a process of the platform does not load."""

import sys


def without_terminal_libraries() -> None:
    """To be called by a process before it imports anything else, and only by a process.

    structlog and httpx load these wherever they are installed (our command line has them), for
    colours in terminals: 4 MB in each process that nobody ever looks at in a terminal.
    """
    for name in ("rich", "pygments"):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # "there is no such module"
