"""CSV for people's spreadsheets, which must never run a cell as a formula."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import IO, Any  # cells of all kinds

from pydantic import BaseModel

# OWASP, "CSV Injection"; some spreadsheets read the wide forms like the narrow ones, and where
# commas are decimal points a semicolon begins a new cell.
_FORMULA = re.compile("(^|;)(?=[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")


def write(file: IO[bytes], *, columns: Sequence[str], rows: Iterable[BaseModel]) -> None:
    """RFC 4180, UTF-8."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    lines = csv.writer(text)
    lines.writerow(columns)
    lines.writerows([cell(getattr(row, name)) for name in columns] for row in rows)
    text.flush()
    text.detach()


def cell(value: Any) -> str:
    """As text; one that looks like a formula gets an apostrophe in front."""
    if value is None:
        return ""
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return _FORMULA.sub(r"\1'", text)
