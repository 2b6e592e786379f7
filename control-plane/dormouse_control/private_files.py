"""Files that only this user may read, and that are there whole or not at all, whatever crashes."""

import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path


def make_once(path: Path, make: Callable[[], bytes]) -> None:
    """Never written over a file that another process made first."""
    if path.exists():
        return
    draft = _draft(path, make())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    sync_folder(path.parent)


def write(path: Path, content: bytes, *, shared: bool = False) -> None:
    """In place of what is there; does nothing if that is the same. `shared`: see `share`."""
    if not path.exists() or path.read_bytes() != content:
        draft = _draft(path, content)
        if shared:
            share(draft)
        os.replace(draft, path)
        sync_folder(path.parent)


def share(path: Path, *, writable: bool = False) -> None:
    """Of a file or socket that predictors need too: private, unless its folder is setgid, which
    says that predictors have a group (`predictor_users.py`)."""
    if path.parent.stat().st_mode & stat.S_ISGID:
        path.chmod(0o660 if writable else 0o640)
    else:
        path.chmod(0o600)


def ensure_secret(path: Path) -> bytes:
    """32 random bytes kept in `path`, made if they are missing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    make_once(path, lambda: secrets.token_bytes(32))
    return path.read_bytes()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process and thread at a time changes the folder; whoever dies gives the lock back."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        flock(handle, LOCK_EX)
        yield
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _draft(path: Path, content: bytes) -> Path:
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(8)}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return draft
