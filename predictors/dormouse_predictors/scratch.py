"""A temporary folder that is removed in the end: also after a kill, by whoever needs the next one.

Who has a folder holds a lock on it, which goes with the process however that ends.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

YOUNG_SECONDS = 10.0
"""Such a folder may be without its lock because it is only being made."""


@contextlib.contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Raises OSError."""
    _remove_leftovers(prefix)
    with tempfile.TemporaryDirectory(prefix=prefix) as name, _locked(name):
        yield Path(name)


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Raises OSError, a BlockingIOError if somebody has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _remove_leftovers(prefix: str) -> None:
    """Of processes that were killed. Others have the same temporary folder: theirs are theirs."""
    for each in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            found = each.lstat()
            old = time.time() - found.st_mtime > YOUNG_SECONDS
            if found.st_uid == os.geteuid() and old:
                with _locked(str(each)):
                    shutil.rmtree(each, ignore_errors=True)
