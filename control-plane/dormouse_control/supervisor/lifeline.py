"""Ties a child process to its parent: for `preexec_fn` of a process that must not be left alone."""

import ctypes
import os
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def ends_with(parent: int, number: signal.Signals) -> Callable[[], None]:
    """The child gets signal `number` when `parent`, however it dies, is gone."""
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork

    def in_the_child() -> None:
        prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os._exit(1)

    return in_the_child
