"""Tables of a LanceDB database: written through lancedb, read through lance, which starts faster."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from histokit.errors import StoreError
from histokit.store.fragments import large_fragments
from histokit.store.records import FORMAT

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

FORMAT_KEY = b"histokit.format"
PRIMARY_KEY = {b"lance-schema:unenforced-primary-key": b"true"}

#: Vectors do not compress; files of this version hold them as they are, and take half the time of later ones.
_UNCOMPRESSED_FILES = "2.0"
_UNCOMPRESSED = {"new_table_data_storage_version": _UNCOMPRESSED_FILES}
_COPIED_BYTES = 4 << 20
_CACHE_BYTES = 16 << 20
_MAKING = "making.lock"
_SCAN_BYTES = 4 << 20
_SCAN_ROWS = 8_192

_REFUSED = re.compile(r"\(os error (\d+)\)")
_CONFLICT = re.compile("commit conflict|too many concurrent writers|incompatible transaction", re.IGNORECASE)
_LOST = re.compile(r"not found|LanceError\(IO\)", re.IGNORECASE)

os.environ.setdefault("LANCE_LOG", "error")
os.environ.setdefault("RUST_LOG", "error")


class Database:
    """A folder of Lance tables.

    Parameters
    ----------
    uri : Path
        Made on the first write.
    """

    def __init__(self, uri: Path):
        self.uri = uri

    @cached_property
    def _connection(self) -> Any:
        import lancedb

        try:
            self.uri.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"The store {self.uri} cannot be made: {error.strerror}.",
                next="Choose another folder with --store or HISTOKIT_STORE.",
            ) from error
        # By default these caches grow to gigabytes with the number of writes.
        return lancedb.connect(str(self.uri), session=lancedb.Session(_CACHE_BYTES, _CACHE_BYTES))

    def _path(self, name: str) -> Path:
        return self.uri / f"{name}.lance"

    def names(self, prefix: str = "") -> list[str]:
        """Return the names of the tables that begin with a prefix, sorted."""
        with self._permitted():
            listed = os.listdir(self.uri) if self.uri.is_dir() else []
        found = (e.removesuffix(".lance") for e in listed if e.endswith(".lance"))
        return sorted(name for name in found if name.startswith(prefix) and self.exists(name))

    def exists(self, name: str) -> bool:
        """Return whether a table is there; one that another process is just making is not."""
        versions = self._path(name) / "_versions"
        with self._permitted():
            return versions.is_dir() and any(name.endswith(".manifest") for name in os.listdir(versions))

    @contextmanager
    def _permitted(self) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            raise StoreError(
                f"The store {self.uri} cannot be opened: {error.strerror}: {error.filename}.",
                next="Mend its permissions, or name another store with --store.",
            ) from error

    def schema(self, name: str) -> pa.Schema:
        """Return the schema of a table, after checking that its format is not newer than this version's."""
        return self._open(name).schema

    def table(self, name: str) -> Any:
        """Open the Lance table itself, for its care."""
        return self._open(name)

    def count(self, name: str, where: str | None = None) -> int:
        """Return the number of rows, 0 where the table is absent."""
        return int(self._open(name).count_rows(where)) if self.exists(name) else 0

    def read(self, name: str, columns: Sequence[str] | None = None, where: str | None = None) -> pa.Table:
        """Read rows in the order of insertion.

        Parameters
        ----------
        name : str
        columns : sequence of str, optional
        where : str, optional
            In Lance's SQL, and ours alone; what users write is read by `histokit.store.filters`.

        Raises
        ------
        StoreError
            If the table is damaged or too new.
        """
        table = self._open(name)
        with self.reading(name):
            return table.to_table(columns=columns, filter=where, scan_in_order=True)

    def batches(
        self, name: str, columns: Sequence[str] | None = None, where: str | None = None, size: int = 4096
    ) -> Iterator[pa.RecordBatch]:
        """Stream rows in the order of insertion."""
        table = self._open(name)
        with self.reading(name):
            yield from table.to_batches(columns=columns, filter=where, batch_size=size, scan_in_order=True)

    def scan(self, name: str) -> Iterator[pa.RecordBatch]:
        """Stream all of a table in batches of some megabytes, however wide its rows are."""
        table = self._open(name)
        files = [file for fragment in table.get_fragments() for file in fragment.data_files()]
        size = sum(file.file_size_bytes or 0 for file in files) // max(1, table.count_rows())
        rows = max(1, min(_SCAN_ROWS, _SCAN_BYTES // max(1, size)))
        yield from table.to_batches(
            batch_size=rows, batch_readahead=2, fragment_readahead=1, io_buffer_size=4 * _SCAN_BYTES, scan_in_order=True
        )

    def take(self, name: str, rows: Sequence[int], columns: Sequence[str]) -> pa.Table:
        """Read the rows at positions, in that order."""
        return self._open(name).take(list(rows), columns=list(columns))

    def _open(self, name: str) -> Any:
        import lance

        if not self.exists(name):
            raise StoreError(f"The store {self.uri} has no table {name!r}.", next="See: histokit list datasets")
        try:
            table = lance.dataset(str(self._path(name)))
        except (ValueError, OSError) as error:
            raise self._damaged(name, error) from error
        written = int((table.schema.metadata or {}).get(FORMAT_KEY, b"0"))
        if written > FORMAT:
            raise StoreError(
                f"The table {name!r} has format {written}; this version of histokit reads up to {FORMAT}.",
                next="Update histokit.",
            )
        return table

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """Say which table is damaged, where reading an open one fails."""
        try:
            yield
        except (ValueError, OSError) as error:
            raise self._damaged(name, error) from error

    def _damaged(self, name: str, error: Exception) -> StoreError:
        return StoreError(
            f"The table {name!r} of the store {self.uri} cannot be read: {first_line(error)}.",
            next="Check the store with: histokit store verify",
        )

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        """Say what the operating system refused, a full disk above all; each write is whole or not there."""
        try:
            yield
        except (RuntimeError, OSError, ValueError) as error:
            refused = _REFUSED.search(str(error))
            if refused is None:
                raise
            raise StoreError(
                f"The table {name!r} of the store {self.uri} cannot be written: {os.strerror(int(refused[1]))}.",
                next="Free some space or mend its permissions, then run the same command again: it goes on from there.",
            ) from error

    def overwrite(self, name: str, rows: pa.Table) -> None:
        """Replace a table by rows, in one atomic step."""
        rows = rows.replace_schema_metadata({FORMAT_KEY: str(FORMAT).encode(), **(rows.schema.metadata or {})})
        # Made first, because another process may be making it, too.
        self.create(name, rows.schema)
        with self._writing(name):
            self._connection.create_table(name, rows, mode="overwrite")

    def create(self, name: str, schema: pa.Schema, compress: bool = True) -> None:
        """Make an empty table; one that is there, or that another process just made, stays as it is."""
        if self.exists(name):
            return
        schema = schema.with_metadata({FORMAT_KEY: str(FORMAT).encode(), **(schema.metadata or {})})
        connection = self._connection
        try:
            with self._making():
                if not self.exists(name):
                    with self._writing(name):
                        connection.create_table(name, schema=schema, storage_options={} if compress else _UNCOMPRESSED)
        except (RuntimeError, ValueError, OSError):
            if not self.exists(name):
                raise

    @contextmanager
    def _making(self) -> Iterator[None]:
        """Let one process at a time make a table: LanceDB lets a second one overwrite what the first one just made."""
        with ExitStack() as held:
            # Where the file system takes no locks, two processes must not begin in the same instant.
            with suppress(OSError):
                file = held.enter_context((self.uri / _MAKING).open("a"))
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def insert_missing(self, name: str, rows: pa.Table, key: str) -> int:
        """Insert the rows whose key is not there yet; return their number."""
        # Not through lance, which gives the rows another order where there are megabytes of them.
        with self._writing(name):
            table = self._connection.open_table(name)
            return int(table.merge_insert(key).when_not_matched_insert_all().execute(rows).num_inserted_rows)

    def replace(self, name: str, rows: pa.Table, key: str | list[str]) -> None:
        """Insert rows, replacing those of the same key; the table is made where it is absent."""
        self.create(name, rows.schema)
        with self._writing(name):
            table = self._connection.open_table(name)
            table.merge_insert(key).when_matched_update_all().when_not_matched_insert_all().execute(rows)

    def append(self, name: str, rows: pa.Table) -> None:
        """Add rows to the end of a table, which is made where it is absent."""
        self.create(name, rows.schema)
        with self._writing(name):
            self._connection.open_table(name).add(rows)

    def delete(self, name: str, where: str) -> None:
        """Delete rows; nothing happens where the table is absent."""
        if self.exists(name):
            with self._writing(name):
                self._connection.open_table(name).delete(where)

    def drop(self, name: str) -> None:
        """Drop a table."""
        self._connection.drop_table(name)

    def optimize(self, name: str, whole: bool = False) -> bool:
        """Merge small fragments; versions stay, so that no reader loses what it reads.

        Parameters
        ----------
        whole : bool
            Merge large ones, too, although little was added since they were made.

        Returns
        -------
        bool
            Whether it was done; False where another process was merging the same fragments.
        """
        table = self._open(name)
        as_it_is = table.data_storage_version == _UNCOMPRESSED_FILES
        try:
            with self._writing(name):
                table.optimize.compact_files(
                    compaction_mode="try_binary_copy" if as_it_is else "reencode",
                    binary_copy_read_batch_bytes=_COPIED_BYTES,
                    excluded_fragment_ids=[] if whole else large_fragments(table),
                )
        except (RuntimeError, OSError, ValueError) as error:
            if _CONFLICT.search(str(error)):
                return False
            if _LOST.search(str(error)):
                raise self._damaged(name, error) from error
            raise
        return True


def quote(text: str) -> str:
    """Return text as a SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def first_line(error: Exception) -> str:
    """Return the first line of an error's text."""
    # Lance begins with the kind of error and ends with a place in its own source.
    lines = str(error).removeprefix("Invalid user input: ").partition(", /")[0].splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
