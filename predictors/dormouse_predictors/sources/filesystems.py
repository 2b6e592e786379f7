"""Every other place that fsspec can read: s3:, gs:, abfs: … if its library is installed."""

from collections.abc import Iterator
from typing import Any  # fsspec is untyped

import fsspec

from dormouse_predictors.errors import WeightsError
from dormouse_predictors.sources.store import CHUNK, Interrupted, Opened, RemoteFile


def is_folder(source: str) -> bool:
    filesystem, path = _open(source)
    try:
        return bool(filesystem.isdir(path))
    except Exception as error:  # each filesystem raises its own
        raise WeightsError(f"{source}: {error}") from error


def file(source: str, sha256: str | None) -> RemoteFile:
    filesystem, path = _open(source)
    return _remote(filesystem, path, "", sha256)


def files(source: str, sha256: str | None, wanted: tuple[str, ...]) -> list[RemoteFile]:
    filesystem, path = _open(source)
    try:
        names = [str(found) for found in filesystem.ls(path, detail=False)]
    except Exception as error:
        raise WeightsError(f"{source}: {error}") from error
    return [
        _remote(
            filesystem,
            found,
            found.rstrip("/").rpartition("/")[2],
            sha256 if found.endswith(".safetensors") else None,
        )
        for found in names
        if found.endswith(wanted)
    ]


def _open(source: str) -> tuple[Any, str]:
    scheme, _, rest = source.partition(":")
    try:
        filesystem, path = fsspec.core.url_to_fs(f"{scheme}://{rest.removeprefix('//')}")
    except (ImportError, ValueError) as error:
        raise WeightsError(f"{source}: {error}") from error
    return filesystem, str(path)


def _remote(filesystem: Any, path: str, name: str, sha256: str | None) -> RemoteFile:
    def opened(offset: int, tag: str | None) -> Opened:
        try:
            total = int(filesystem.size(path))
            version = str(filesystem.ukey(path))
        except FileNotFoundError as error:
            raise WeightsError(f"{path}: there is no such file") from error
        except Exception as error:
            raise Interrupted(str(error)) from error
        start = offset if version == tag and offset <= total else 0
        return Opened(start, total, version, _chunks(filesystem, path, start))

    return RemoteFile(name, opened, sha256=sha256)


def _chunks(filesystem: Any, path: str, start: int) -> Iterator[bytes]:
    try:
        with filesystem.open(path, "rb") as stream:
            stream.seek(start)
            while chunk := stream.read(CHUNK):
                yield chunk
    except Exception as error:
        raise Interrupted(str(error)) from error
