"""Rows that come piece by piece, more of them than memory may hold."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Any, Self

import pyarrow as pa

from histokit.errors import StoreError, advice_on_store

#: Bytes up to which no file is made.
_IN_MEMORY = 8 << 20


class SpilledRows:
    """Takes rows and gives them back as often as they are wanted, like a `pyarrow.Table` that is read as a stream.

    The first few megabytes are held in memory. More go to a file beside the store, where there has to be room for them
    anyway; it has no name, so that nothing is left of it whatever becomes of this process.

    Parameters
    ----------
    schema : pyarrow.Schema
    store : Path
        Of the store, which need not be there yet.
    """

    def __init__(self, schema: pa.Schema, store: Path):
        self.schema = schema
        self._store = store
        self._held: list[pa.RecordBatch] = []
        self._bytes = 0
        self._file: IO[bytes] | None = None
        self._writer: Any = None
        self._written = 0
        self._rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._held.clear()
        self._writer = None
        if self._file is not None:
            # What the disk had no room for was told already.
            try:
                self._file.close()
            except OSError:
                self._file.close()

    def __len__(self) -> int:
        return self._rows

    @property
    def column_names(self) -> list[str]:
        """The names of the columns."""
        return list(self.schema.names)

    def add(self, batch: pa.RecordBatch) -> None:
        """Take the next rows.

        Raises
        ------
        StoreError
            If they cannot be written.
        """
        self._held.append(batch)
        self._bytes += batch.nbytes
        self._rows += len(batch)
        if self._file is None and self._bytes <= _IN_MEMORY:
            return
        with self._writing():
            if self._file is None:
                self._file = _file_beside(self._store)
                self._writer = pa.ipc.new_stream(pa.PythonFile(self._file, "w"), self.schema)
            for each in self._held:
                self._writer.write_batch(each)
        self._written += len(self._held)
        self._held.clear()

    def to_batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows that came up to now; none may come meanwhile, and one reader reads at a time."""
        if self._file is None:
            yield from (batch if columns is None else batch.select(list(columns)) for batch in self._held)
            return
        with self._writing():
            self._file.flush()
        try:
            self._file.seek(0)
            fields = None if columns is None else [self.schema.get_field_index(name) for name in columns]
            how = pa.ipc.IpcReadOptions(included_fields=fields)
            stream = pa.ipc.open_stream(pa.PythonFile(self._file, "r"), options=how)
            for _ in range(self._written):
                yield stream.read_next_batch()
        finally:
            self._file.seek(0, os.SEEK_END)

    def to_reader(self) -> pa.RecordBatchReader:
        """Return what streams the rows to Arrow's own functions."""
        return pa.RecordBatchReader.from_batches(self.schema, self.to_batches())

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one column, in memory."""
        # Copied, for what is read from a file is held together with all other columns.
        chunks = [pa.concat_arrays([batch.column(name)]) for batch in self.to_batches([name])]
        return pa.chunked_array(chunks, self.schema.field(name).type)

    def to_table(self) -> pa.Table:
        """Return all rows, in memory."""
        return pa.Table.from_batches(self.to_batches(), self.schema)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            told = os.strerror(error.errno) if error.errno else str(error)
            raise StoreError(
                f"The store {self._store} cannot be written: {told}.",
                next=advice_on_store(error),
            ) from error


def _file_beside(store: Path) -> IO[bytes]:
    """Return a file without a name on the disk that a store is on, or is to be on."""
    return TemporaryFile(dir=next(part for part in (store, *store.absolute().parents) if part.is_dir()))
