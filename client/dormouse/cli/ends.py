"""`--expires`: when a key or a right ends, as it is written on a command line."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

Expires = Annotated[
    str | None,
    typer.Option("--expires", metavar="30d|DATE", help="When it ends: in 12h, 30d, 4w, or a date."),
]
_LIFE = re.compile(r"(\d{1,5})([dhw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def end(text: str) -> datetime:
    life = _LIFE.fullmatch(text)
    if life is not None:
        return datetime.now(UTC) + int(life[1]) * _UNITS[life[2]]
    try:
        # Without a zone it is this machine's time.
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is neither like 30d nor like 2030-01-31", param_hint="--expires"
        ) from None


def written_end(text: str | None) -> str | None:
    return None if text is None else end(text).isoformat()
