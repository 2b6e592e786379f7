"""What the command prints: JSON or tables on stdout, everything else on stderr."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.table import Table


def emit(data: object) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(data, indent=2))


def say(text: str) -> None:
    """One line for people, on stderr."""
    typer.echo(text, err=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A column whose name starts with ">" is set to the right."""
    from rich.console import Console

    # A program that reads the table gets whole lines.
    width = None if sys.stdout.isatty() else 400
    Console(width=width, highlight=False).print(drawn(columns, rows))


def drawn(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> "Table":
    """As `table` shows it."""
    from rich.table import Table
    from rich.text import Text

    found = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        right = column.startswith(">")
        found.add_column(
            column.removeprefix(">"),
            justify="right" if right else "left",
            overflow="fold",
            # A name or number that goes on in the next line is hard to read.
            no_wrap=right or number == 0,
        )
    for row in rows:
        # Text: what the server sends is never markup.
        found.add_row(*(Text(printable(cell)) for cell in row))
    return found


def printable(text: str) -> str:
    """Without the characters that steer a terminal."""
    return "".join(each for each in text if each in "\n\t" or not _steers(ord(each)))


def _steers(code: int) -> bool:
    return code < 0x20 or 0x7F <= code < 0xA0


def amount(value: float, currency: str) -> str:
    """Money down to its billionths, without the zeros at the end."""
    return f"{value:.9f}".rstrip("0").rstrip(".") + f" {currency}"


def milliseconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.1f} s"


def mebibytes(value: int | None) -> str:
    return "" if value is None else f"{value / 2**20:.0f} MiB"


def local_time(value: str | None) -> str:
    """A time of the server's on this machine's clock."""
    if value is None:
        return ""
    try:
        return datetime.fromisoformat(value).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return value
