"""Lets predictors that have a user of their own reach the folders that they need, and no others.

Below a folder that they may not enter (root's home, say) nothing can be opened, whatever its own
mode. In a mount namespace of the zygote an empty folder lies over it, in which there is only what
predictors need, at the same paths. Outside of the zygote and its predictors nothing changes.
"""

import contextlib
import ctypes
import os
import stat
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

_CLONE_NEWNS = 0x00020000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_SLAVE = 2, 4, 4096, 16384, 1 << 19


class Unreachable(Exception):
    """Predictors of another user cannot work here; the message names a folder."""


def pythons() -> list[Path]:
    """Folders that modules are imported from."""
    return [Path(each) for each in (sys.prefix, sys.base_prefix, *sys.path) if os.path.isdir(each)]


def open_ways(needed: Collection[Path], group: int) -> None:
    """Root only, and before there are threads. Raises `Unreachable`; nothing is changed then."""
    paths = {Path(os.path.abspath(each)) for each in needed}
    paths |= {each.resolve() for each in paths}
    covered: dict[Path, list[Path]] = {}
    for path in sorted(paths):
        _check_itself(path, group)
        closed = _closed(path, group)
        if closed:
            covered.setdefault(closed[0], []).append(path)
    plans = {folder: _outermost(below, group) for folder, below in covered.items()}
    if plans:
        _own_namespace()
    for folder, below in plans.items():
        _cover(folder, below)


def _closed(path: Path, group: int) -> list[Path]:
    """The folders above `path` that members of `group` may not enter, the outermost first."""
    return [each for each in reversed(path.parents) if not _allows(each, group, stat.S_IXOTH)]


def _check_itself(path: Path, group: int) -> None:
    try:
        allowed = _allows(path, group, stat.S_IXOTH)
    except OSError as error:
        raise Unreachable(f"{path}: {error.strerror}") from error
    if not allowed:
        raise Unreachable(f"{path} may be entered by its owner alone")


def _allows(path: Path, group: int, others: int) -> bool:
    found = path.stat()
    return bool(found.st_mode & (others << 3 if found.st_gid == group else others))


def _outermost(paths: Sequence[Path], group: int) -> list[Path]:
    """Without those that are inside of another."""
    kept: list[Path] = []
    for path in paths:  # sorted: what is outside comes first
        outer = next((each for each in kept if path.is_relative_to(each)), None)
        if outer is None:
            kept.append(path)
        elif inside := [each for each in _closed(path, group) if each.is_relative_to(outer)]:
            raise Unreachable(f"{inside[0]} may be entered by its owner alone")
    return kept


def _own_namespace() -> None:
    if _libc.unshare(_CLONE_NEWNS):
        raise Unreachable(f"no mount namespace: {os.strerror(ctypes.get_errno())}")
    # What is mounted on the machine later on is seen here; what is mounted here is not seen there.
    _mount("none", Path("/"), None, _MS_REC | _MS_SLAVE)


def _cover(folder: Path, below: Sequence[Path]) -> None:
    with contextlib.ExitStack() as stack:
        handles = []
        for path in below:
            handles.append(os.open(path, os.O_PATH | os.O_CLOEXEC))
            stack.callback(os.close, handles[-1])
        options = "mode=0711,size=1m,nr_inodes=4096"
        _mount("tmpfs", folder, "tmpfs", _MS_NOSUID | _MS_NODEV, options)
        for path, handle in zip(below, handles, strict=True):
            _make(path, folder)
            _mount(f"/proc/self/fd/{handle}", path, None, _MS_BIND | _MS_REC)


def _make(path: Path, folder: Path) -> None:
    for each in [*reversed(path.relative_to(folder).parents), path.relative_to(folder)]:
        made = folder / each
        if not made.exists():
            made.mkdir()
            made.chmod(0o711)


def _mount(
    source: str, target: Path, kind: str | None, flags: int, options: str | None = None
) -> None:
    done = _libc.mount(
        source.encode(),
        os.fsencode(target),
        None if kind is None else kind.encode(),
        ctypes.c_ulong(flags),
        None if options is None else options.encode(),
    )
    if done:
        raise Unreachable(f"{target} not mounted: {os.strerror(ctypes.get_errno())}")


_libc = ctypes.CDLL(None, use_errno=True)
