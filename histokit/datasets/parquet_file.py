"""Parquet files, opened with their errors told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from histokit.errors import DataError, first_line
from histokit.plugin.signatures import refuse_stand_in


def read_parquet(path: Path) -> pa.Table:
    """Read all of a Parquet file.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    with opened_parquet(path) as file:
        return file.read()


@contextmanager
def opened_parquet(path: Path) -> Iterator[Any]:
    """Open a Parquet file as a `pyarrow.parquet.ParquetFile`; what it raises meanwhile is told with its name.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    from pyarrow import parquet

    try:
        # A part of a column at a time, however long it is.
        with parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        refuse_stand_in(path)
        raise DataError(
            f"The table {str(path)!r} cannot be read: {first_line(error)}.", next="Give a Parquet file."
        ) from error
