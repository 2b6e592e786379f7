"""Files that are made for one answer: written to disk whole, then sent and gone.

First whole, so that a slow reader holds no database connection and a failure is an error, not half
a file.
"""

import tempfile
from collections.abc import Callable, Iterator
from typing import IO

from fastapi.responses import StreamingResponse

_IN_MEMORY = 1024 * 1024
_AT_ONCE = 64 * 1024


def download(write: Callable[[IO[bytes]], None], *, name: str, kind: str) -> StreamingResponse:
    """What `write` puts into the file it is given, to be saved as `name` and kept by no cache."""
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  `_content` closes it
    try:
        write(file)
        size = file.tell()
        file.seek(0)
    except BaseException:
        file.close()
        raise
    headers = {
        "content-disposition": f'attachment; filename="{name}"',
        "content-length": str(size),
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
    }
    return StreamingResponse(_content(file), media_type=kind, headers=headers)


def _content(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while part := file.read(_AT_ONCE):
            yield part
