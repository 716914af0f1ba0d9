"""Tables as files that other programs read: CSV and Parquet."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from histokit.datasets.formulas import guarded
from histokit.errors import unwritten_output
from histokit.files import check_output, replaced

#: Of files that tables are written to.
SUFFIXES = (".csv", ".parquet")


def write_table(table: pa.Table, path: str | Path, *, raw: bool = False) -> None:
    """Write a table as CSV or Parquet, by the ending of the path.

    In CSV, texts that a spreadsheet would run as formulas have an apostrophe before them, unless they are to be `raw`.

    Raises
    ------
    UsageError
        If the ending is another, or the path cannot be written.
    """
    path = check_table(path)
    try:
        with replaced(path) as part:
            if path.suffix.lower() == ".csv":
                from pyarrow import csv

                csv.write_csv(table if raw else guarded(table), part)
            else:
                from pyarrow import parquet

                parquet.write_table(table, part)
    except OSError as error:
        raise unwritten_output(path, error) from error


def check_table(path: str | Path) -> Path:
    """Return the path of a file that a table is to be written to.

    Raises
    ------
    UsageError
        If it cannot be.
    """
    return check_output(path, SUFFIXES)
