"""Writes a table of usage: CSV for people's spreadsheets, Parquet for their tools."""

import csv
import io
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import IO, Any, Literal  # cells of all kinds, pyarrow's types

from dormouse_control.access import tabular
from dormouse_control.usage.export import Kind, Table

Format = Literal["csv", "parquet"]

TYPES: dict[Format, str] = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
_ROWS_OF_A_GROUP = 10_000


def write(file: IO[bytes], table: Table, format: Format) -> None:
    if format == "csv":
        _write_csv(file, table)
    else:
        _write_parquet(file, table)


def _write_csv(file: IO[bytes], table: Table) -> None:
    """RFC 4180, UTF-8; no cell is a formula, and money has nine decimals."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    lines = csv.writer(text)
    lines.writerow(table.columns)
    for row in table.rows:
        lines.writerow([_cell(value) for value in row])
    text.flush()
    text.detach()


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal):
        return f"{value:.9f}"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return tabular.cell(value)


def _write_parquet(file: IO[bytes], table: Table) -> None:
    # 60 MB of memory and a tenth of a second, for the few who ask for it.
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema([(name, _arrow_type(kind)) for name, kind in table.columns.items()])
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        while rows := list(islice(table.rows, _ROWS_OF_A_GROUP)):
            arrays = [
                pyarrow.array(cells, field.type)
                for cells, field in zip(zip(*rows, strict=True), schema, strict=True)
            ]
            writer.write_batch(pyarrow.record_batch(arrays, schema=schema))


def _arrow_type(kind: Kind) -> Any:
    import pyarrow

    return {
        "text": pyarrow.string(),
        "number": pyarrow.int64(),
        "time": pyarrow.timestamp("us", tz="UTC"),
        "flag": pyarrow.bool_(),
        "money": pyarrow.decimal128(38, 9),
    }[kind]
