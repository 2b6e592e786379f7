"""Downloaded weights of this machine: each file once, under the hash of what is in it.

    blobs/<sha256>            what was downloaded whole and checked
    sources/<key>[/<name>]    links to blobs: what a source is known to hold
    partial/<key>.…           what is downloaded so far, kept over failures; of each user its own
    locks/<key>               held while somebody downloads

Nothing appears under `blobs` or `sources` before it is complete: it is moved there, and then not to
be changed by other users, who share all of it (`predictor_users.py`).
"""

import fcntl
import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dormouse_predictors.errors import WeightsError

CHUNK = 1 << 20
ATTEMPTS = 5  # in a row that bring nothing

Progress = Callable[[int], None]


class Interrupted(Exception):
    """The connection failed; going on from where it stopped may help."""


@dataclass(frozen=True)
class Opened:
    """Bytes from `start` on. `tag` names the version, if the place has versions."""

    start: int
    total: int | None
    tag: str | None
    chunks: Iterator[bytes]


@dataclass(frozen=True)
class RemoteFile:
    """`open(offset, tag)` starts at `offset` if the version is still `tag`, else at 0 or anywhere
    before; it and its chunks raise `Interrupted` or `WeightsError`."""

    name: str
    open: Callable[[int, str | None], Opened]
    size: int | None = None
    sha256: str | None = None


class Store:
    def __init__(self, folder: Path, *, pause: float = 0.5) -> None:
        self._folder = folder
        self._pause = pause

    def file(self, source: str, file: RemoteFile, progress: Progress) -> Path:
        """Raises `WeightsError`."""
        if file.sha256 and (known := self._folder / "blobs" / file.sha256).is_file():
            return known
        link = self._folder / "sources" / _key(source)
        with self._locked(source):
            if not link.is_file():
                meter = _Percent(progress, file.size, single=True)
                _link(self._fetched(source, file, meter), link)
        return link.resolve()

    def snapshot(
        self, source: str, listed: Callable[[], Sequence[RemoteFile]], progress: Progress
    ) -> Path:
        """A folder of several files. Raises `WeightsError`."""
        folder = self._folder / "sources" / _key(source)
        with self._locked(source):
            if folder.is_dir():
                return folder
            files = listed()
            sizes = [file.size for file in files]
            total = None if None in sizes else sum(size or 0 for size in sizes)
            meter = _Percent(progress, total, single=False)
            blobs = {file.name: self._fetched(source, file, meter) for file in files}
            staged = self._folder / "partial" / f"{_own_key(source)}.folder"
            for name, blob in blobs.items():
                _link(blob, staged / name)
            for each in (staged, *staged.rglob("*/")):
                _close(each)
            os.replace(staged, folder)
        return folder

    def _fetched(self, source: str, file: RemoteFile, meter: "_Percent") -> Path:
        partial = self._folder / "partial" / _own_key(f"{source}#{file.name}")
        self._download(source, file, partial, meter)
        meter.file_done()
        digest = _sha256(partial)
        if file.sha256 not in (None, digest):
            partial.unlink()
            raise WeightsError(
                f"{source}: {file.name or 'the file'} has SHA-256 {digest}, not {file.sha256};"
                " it was thrown away"
            )
        _close(partial)
        blob = self._folder / "blobs" / digest
        blob.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.replace(partial, blob)
        except PermissionError:  # another user has it
            partial.unlink()
            if _sha256(blob) != digest:
                raise WeightsError(f"{source}: {blob} is not what its name says") from None
        return blob

    def _download(self, source: str, file: RemoteFile, partial: Path, meter: "_Percent") -> None:
        partial.parent.mkdir(parents=True, exist_ok=True)
        failures = 0
        while True:
            before = partial.stat().st_size if partial.exists() else 0
            try:
                _continue(file, partial, meter)
            except Interrupted as error:
                after = partial.stat().st_size if partial.exists() else 0
                failures = 0 if after > before else failures + 1
                if failures >= ATTEMPTS:
                    raise WeightsError(f"{source}: download failed: {error}") from error
                time.sleep(self._pause * 2**failures)
            except OSError as error:
                raise WeightsError(f"{source}: cannot be stored: {error}") from error
            else:
                return

    @contextmanager
    def _locked(self, source: str) -> Iterator[None]:
        """One process downloads a source; the others wait here for it."""
        path = self._folder / "locks" / _key(source)
        path.parent.mkdir(parents=True, exist_ok=True)
        (self._folder / "sources").mkdir(exist_ok=True)
        with path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class _Percent:
    """Tells whole percents of all files of a source, where their sizes are known."""

    def __init__(self, progress: Progress, total: int | None, *, single: bool) -> None:
        self._progress = progress
        self._total = total
        self._single = single
        self._before = 0  # bytes of the files that are done
        self._here = 0
        self._told = -1

    def expect(self, total: int | None) -> None:
        if self._single and self._total is None:
            self._total = total

    def file_done(self) -> None:
        self._before, self._here = self._before + self._here, 0

    def at(self, position: int) -> None:
        """How much of the present file is on disk."""
        self._here = position
        arrived = self._before + position
        percent = min(100, arrived * 100 // self._total) if self._total else 0
        if percent != self._told:
            self._told = percent
            self._progress(percent)


def _continue(file: RemoteFile, partial: Path, meter: _Percent) -> None:
    """Add what is missing to `partial`; raises `Interrupted` if not all of it came."""
    remembered = partial.with_suffix(".json")
    have = partial.stat().st_size if partial.exists() else 0
    tag = json.loads(remembered.read_text())["tag"] if have and remembered.exists() else None
    opened = file.open(have, tag)
    remembered.write_text(json.dumps({"tag": opened.tag}))
    meter.expect(opened.total)
    with partial.open("ab") as out:
        out.truncate(opened.start)
        size = opened.start
        for chunk in opened.chunks:
            out.write(chunk)
            size += len(chunk)
            meter.at(size)
        out.flush()
        os.fsync(out.fileno())
    if opened.total is not None and size < opened.total:
        raise Interrupted(f"{size} of {opened.total} bytes came")
    remembered.unlink()


def _link(blob: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    temporary = link.with_name(f"{link.name}.{os.getpid()}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(blob.absolute())
    os.replace(temporary, link)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _close(path: Path) -> None:
    path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o022)


def _own_key(source: str) -> str:
    """Nobody goes on with what another user began, who could change it still."""
    return f"{_key(source)}-{os.geteuid()}"


def _key(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()[:32]
