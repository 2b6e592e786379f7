"""What a forked predictor gives up before it runs any engine's code; done once, for good.

No parent-death signal is set: the parent is the zygote, and predictors outlive a zygote that died.
The kernel clears the zygote's own at the fork. What ends a predictor is the end of its control
socket, which the nest's death is too, and which lets the calls that run be finished first.

No limit of the address space is set either: weights are mapped, and a mapping as long as the
file costs nothing until it is read. Memory is bounded by the nest's control groups.
"""

import ctypes
import os
import resource
from collections.abc import Collection

MOST_FILES = 65536
MOST_THREADS = 4096
"""Threads and processes of one predictor user together, where no control group counts them."""

_UMASK = 0o007
"""What one service downloaded others may read: the group is that of all predictors."""

_STDIO = (0, 1, 2)
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_LAST = (1 << 32) - 1

_libc = ctypes.CDLL(None, use_errno=True)  # looked up before the fork


def close_all_but(kept: Collection[int]) -> None:
    """Close every descriptor but these and standard input, output and error."""
    start = 0
    for descriptor in sorted({*_STDIO, *kept}):
        if descriptor > start:
            _close_range(start, descriptor - 1)
        start = descriptor + 1
    _close_range(start, _LAST)


def confine(user: int | None, group: int | None) -> None:
    """Become `user` if there is one, and never get any right back. Raises OSError."""
    _limit(resource.RLIMIT_CORE, 0)  # a core dump holds prompts
    _limit(resource.RLIMIT_NOFILE, MOST_FILES)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if user is not None and group is not None:
        _become(user, group)


def _become(user: int, group: int) -> None:
    _limit(resource.RLIMIT_NPROC, MOST_THREADS)
    os.umask(_UMASK)
    os.chdir("/")  # of where the platform was started nothing is theirs, not even a way there
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)  # and with it every capability is gone
    if 0 in (user, group) or os.getresuid() != (user,) * 3 or os.getresgid() != (group,) * 3:
        raise PermissionError(f"not user {user} and group {group}")  # -1 means: as before
    # Other predictors of the same user may not look into us. The nest, being root, may; where it
    # has our user, it reads our memory's size as our equal, so there we stay as we are.
    _prctl(_PR_SET_DUMPABLE, 0)
    os.environ.update(LOGNAME="predictor", USER="predictor")  # libraries ask, and no list has it


def _limit(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (allowed, allowed))


def _close_range(first: int, last: int) -> None:
    try:
        failed = _libc.close_range(ctypes.c_uint(first), ctypes.c_uint(last), 0)
    except AttributeError:
        failed = -1  # an old C library
    if failed:
        os.closerange(first, min(last + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def _prctl(option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    if _libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero):
        number = ctypes.get_errno()
        raise OSError(number, f"prctl {option}: {os.strerror(number)}")
