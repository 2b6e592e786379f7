"""Memory: what a process of the platform does not load."""

import sys


def without_what_only_developers_need() -> None:
    """To be called by a process before it imports anything else, and only by a process.

    structlog and httpx load the first two wherever they are installed (our command line has them),
    for colours in terminals, and uvicorn the third to watch source files: 5 MB in each process.
    """
    for name in ("rich", "pygments", "watchfiles"):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # "there is no such module"
