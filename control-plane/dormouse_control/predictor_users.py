"""Users of their own for predictors, where the platform runs as root.

Each service has one, all have one group. What they need in `home` is their group's to enter, and
nothing else in it is open to them: a setgid folder says that what is made in it for predictors is
shared with its group (`private_files.share`), so whoever makes that needs no settings.

    home, spool        entered, not listed; files in home are their owner's alone
    run, keys          entered; `internal.sock`, `meters.sock` and `jwks.json` shared
    spool/<service>    its user's (made by the nest before it forks)
    weights            entered; folders in it shared, where only who made a file may replace it
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from dormouse_control.private_files import share
from dormouse_control.settings import Settings

FIRST = 60600
"""The group; users follow it. A range that distributions and systemd leave unused, and that there
is in containers too, whose users end at 65535."""


_ENTERED = 0o710
_WEIGHTS = {"blobs": 0o3770, "sources": 0o3770, "partial": 0o3770, "locks": 0o2770}
"""Sticky: what is in them only its owner moves or removes."""


class NotArranged(Exception):
    """The folders cannot be opened to predictors; the message says which."""


def group(settings: Settings) -> int | None:
    """The predictors' group; None: they run as the platform does."""
    if os.geteuid() != 0 or settings.predictor_user == "platform":
        return None
    return FIRST if settings.predictor_user == "auto" else int(settings.predictor_user)


def arrange(settings: Settings, gid: int) -> None:
    """Root only; before any other process of the platform runs. Raises `NotArranged`."""
    weights, jwks = settings.weights, settings.keys_folder / "jwks.json"
    try:
        for folder in (settings.keys_folder, weights):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _close_files(settings.home)
        _open(settings.home, gid, _ENTERED)
        _open(settings.spool_folder, gid, _ENTERED)
        _open(settings.run_folder, gid, 0o2710)
        _open(settings.keys_folder, gid, 0o2710)
        _share_weights(weights, gid)
        if jwks.exists():
            os.chown(jwks, -1, gid)
            share(jwks)
    except OSError as error:
        raise NotArranged(f"{error.filename}: {error.strerror}") from error


def arranged(settings: Settings, gid: int) -> bool:
    """Whether predictors may have users of their own."""
    if not settings.run_folder.exists():
        return False
    found = settings.run_folder.stat()
    return found.st_gid == gid and bool(found.st_mode & stat.S_ISGID)


def _open(path: Path, gid: int, mode: int) -> None:
    found = path.stat()
    if found.st_mode & stat.S_IXOTH and mode == _ENTERED:
        return  # open to everybody, as its owner wants it
    if found.st_gid not in (gid, os.getegid()) and found.st_mode & stat.S_IRWXG:
        raise NotArranged(f"{path} is open to group {found.st_gid}, which would lose it")
    os.chown(path, -1, gid)
    path.chmod(mode)


def _share_weights(weights: Path, gid: int) -> None:
    if weights.stat().st_gid != gid:
        for path in (*_inside(weights), weights):  # that it is last says that it was done
            added = 0o2750 if path.is_dir() else 0o640
            _open(path, gid, stat.S_IMODE(path.stat().st_mode) | added)
    for name, mode in _WEIGHTS.items():
        (weights / name).mkdir(exist_ok=True)
        os.chown(weights / name, os.geteuid(), gid)
        (weights / name).chmod(mode)
    for path in (weights, *(weights / "blobs").iterdir()):  # of a release that left them open too
        found = path.lstat()
        if not stat.S_ISLNK(found.st_mode) and found.st_mode & stat.S_IWGRP:
            path.chmod(stat.S_IMODE(found.st_mode) & ~stat.S_IWGRP)


def _close_files(home: Path) -> None:
    """Settings with passwords, say, which nothing but a closed `home` kept from others."""
    if home.stat().st_mode & stat.S_IXOTH:
        return  # others read them already
    for path in home.iterdir():
        found = path.lstat()
        if stat.S_ISREG(found.st_mode) and found.st_mode & 0o077:
            path.chmod(stat.S_IMODE(found.st_mode) & 0o700)


def _inside(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if not path.is_symlink())
