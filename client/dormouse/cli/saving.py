"""Files that commands save: new ones only, for nobody else's eyes, and whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import typer


@contextmanager
def saved(file: Path) -> Iterator[IO[bytes]]:
    """To write to; gone again if anything fails."""
    try:
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}") from error
    try:
        with os.fdopen(opened, "wb") as target:
            yield target
    except BaseException:
        file.unlink()
        raise
