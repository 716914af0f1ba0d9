"""Tables of a LanceDB database, as they are read."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from histokit.errors import HistokitError, StoreError, UnreachableError, did_you_mean, out_of_reach
from histokit.files import refuse_remote
from histokit.store.additions import manifests
from histokit.store.commits import ELSEWHERE, LEDGER, Commits, newer
from histokit.store.fragments import data_files
from histokit.store.records import FORMAT

FORMAT_KEY = b"histokit.format"
_SCAN_BYTES = 4 << 20
_SCAN_ROWS = 8_192

#: What to do about what is lost or damaged.
REPAIR = "histokit store repair"
RESTORE = f"Bring it back from a copy of the store; or go on without it, after: {REPAIR}"
VERIFY = "Check the store with: histokit store verify"

#: What Lance and pyarrow raise where a table cannot be read; and the name of what their Rust code raises at a loss.
READ_ERRORS = (ValueError, OSError, RuntimeError, IndexError, KeyError, pa.ArrowException)
PANICS = ("PanicException", "RustPanic")

os.environ.setdefault("LANCE_LOG", "error")
os.environ.setdefault("RUST_LOG", "error")

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_Read = TypeVar("_Read")


class Tables:
    """A folder of Lance tables, read through lance, which starts faster than lancedb.

    Parameters
    ----------
    uri : Path
    """

    def __init__(self, uri: Path):
        _check_path(uri)
        self.uri = uri
        self.commits = Commits(uri)
        self._kept: dict[tuple[str, str | None], tuple[Any, Any]] = {}

    def require(self) -> None:
        """Raise where there is no store: a mistyped name is no empty one.

        Raises
        ------
        StoreError
        """
        with self._permitted():
            entries = os.listdir(self.uri) if self.uri.is_dir() else None
        if any(entry.endswith(".lance") or entry == LEDGER for entry in entries or ()):
            return
        what = f"The folder {self.uri} is no store: it holds no table."
        near = {path.parent.name for path in self.uri.parent.glob("*/*.lance")}
        raise StoreError(
            f"There is no store {self.uri}." if entries is None else what,
            next=f"{did_you_mean(self.uri.name, near)}Name another with --store or HISTOKIT_STORE, or make one with: "
            "histokit ingest PLUGIN ROOT --name NAME",
        )

    def _path(self, name: str) -> Path:
        return self.uri / f"{name}.lance"

    def names(self, prefix: str = "") -> list[str]:
        """Return the names of the tables that begin with a prefix, sorted."""
        with self._permitted():
            listed = os.listdir(self.uri) if self.uri.is_dir() else []
        found = (e.removesuffix(".lance") for e in listed if e.endswith(".lance"))
        return sorted(name for name in found if name.startswith(prefix) and self._is_there(name))

    def exists(self, name: str) -> bool:
        """Return whether a table is there; one that another process is just making is not.

        Raises
        ------
        StoreError
            If it was there and had rows, and is lost.
        """
        known = self.commits.known().get(name)
        if self._is_there(name):
            return True
        if known is not None and known.rows:
            what = f"The table {name!r} of the store {self.uri}, which had {known.rows} rows, is gone."
            raise StoreError(what, next=RESTORE)
        return False

    def _is_there(self, name: str) -> bool:
        with self._permitted():
            return bool(manifests(self._path(name)))

    @contextmanager
    def _permitted(self) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            raise UnreachableError(
                f"The store {self.uri} cannot be opened: {error.strerror}: {error.filename}.",
                next="Mend its permissions, or name another store with --store.",
            ) from error
        except OSError as error:
            if unreached := out_of_reach(error, f"The store {self.uri}"):
                raise unreached from error
            raise

    def unchanged(self, name: str, part: str | None, read: Callable[[], _Read]) -> _Read:
        """Return what was read of a table before, or read it where that is not so or the table was written to since.

        Parameters
        ----------
        name : str
        part : str, optional
            What tells apart what is read of the table; it is kept as long as the store is open, so it should be small.
        read : callable
            Returns what nobody changes.
        """
        # Looked at first: what another process writes meanwhile is read the next time.
        state = self.commits.known().get(name), self._last_write(name)
        if (name, part) not in self._kept or self._kept[name, part][0] != state:
            self._kept[name, part] = state, read()
        return self._kept[name, part][1]

    def _last_write(self, name: str) -> tuple[int, int] | None:
        """Return what another write of a table changes: each makes a file in the folder of its versions."""
        try:
            status = (self._path(name) / "_versions").stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino

    def schema(self, name: str) -> pa.Schema:
        """Return the schema of a table, after checking that its format is not newer than this version's."""
        return self._open(name).schema

    def table(self, name: str, version: int | None = None) -> Any:
        """Open the Lance table itself, as it is now or was in an earlier version."""
        return self._open(name, version)

    def count(self, name: str, where: str | None = None) -> int:
        """Return the number of rows, 0 where the table is absent."""
        if not self.exists(name):
            return 0
        table = self._open(name)
        with self.reading(name):
            return int(table.count_rows(where))

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

    def scan(
        self, name: str, columns: Sequence[str] | None = None, where: str | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Stream rows of a table, all or those of a filter, in batches of some megabytes, however wide they are."""
        table = self._open(name)
        ahead = {"batch_readahead": 2, "fragment_readahead": 1, "io_buffer_size": 4 * _SCAN_BYTES}
        with self.reading(name):
            size = sum(file.file_size_bytes or 0 for file in data_files(table)) // max(1, table.count_rows())
            rows = max(1, min(_SCAN_ROWS, _SCAN_BYTES // max(1, size)))
            yield from table.to_batches(columns=columns, filter=where, batch_size=rows, scan_in_order=True, **ahead)

    def take(self, name: str, rows: Sequence[int], columns: Sequence[str]) -> pa.Table:
        """Read the rows at positions, in that order."""
        table = self._open(name)
        with self.reading(name):
            return table.take(list(rows), columns=list(columns))

    def _open(self, name: str, version: int | None = None, session: Any = None) -> Any:
        import lance

        # Read first, so that another process that writes meanwhile makes the table newer than what is known.
        known = self.commits.known().get(name)
        if not self.exists(name):
            raise StoreError(f"The store {self.uri} has no table {name!r}.", next="See: histokit list datasets")
        with self.reading(name):
            table = lance.dataset(str(self._path(name)), version=version, session=session)
            rows = table.count_rows()
            check_format(name, table.schema)
        gone_back = known is not None and (
            table.version < known.version or (table.version == known.version and rows != known.rows)
        )
        if version is None and known is not None and gone_back:
            raise StoreError(
                f"The table {name!r} of the store {self.uri} went back to version {table.version} with {rows} rows; "
                f"version {known.version} with {known.rows} rows was written.",
                next=RESTORE,
            )
        return table

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """Say which table is damaged, where opening it or reading an open one fails."""
        try:
            yield
        except (HistokitError, GeneratorExit):
            raise
        except BaseException as error:
            # Lance panics where bytes of a file are not what they should be, and tells of Ctrl-C as of an error.
            if "KeyboardInterrupt" in str(error):
                raise KeyboardInterrupt from error
            if not isinstance(error, READ_ERRORS) and type(error).__name__ not in PANICS:
                raise
            if unreached := out_of_reach(error, f"The table {name!r} of the store {self.uri}"):
                raise unreached from error
            raise self._damaged(name, error) from error

    def _damaged(self, name: str, error: BaseException) -> StoreError:
        # One that was lost is still known.
        if not self._is_there(name) and name not in {**self.commits.known(), **self.commits.features()}:
            return StoreError(
                f"The table {name!r} of the store {self.uri} was removed by another process meanwhile.",
                next="See what is left: histokit list datasets",
            )
        return StoreError(
            f"The table {name!r} of the store {self.uri} cannot be read: {lance_reason(error)}.",
            next=VERIFY,
        )


def stretches(batches: Iterable[pa.RecordBatch], names: Sequence[str]) -> Iterator[tuple[tuple[Any, ...], pa.Table]]:
    """Yield rows that stand together and have the same texts in some columns, with these; those of one are held."""
    key: tuple[Any, ...] = ()
    waiting: list[pa.RecordBatch] = []
    for batch in filter(len, batches):
        columns = [batch.column(name).dictionary_encode() for name in names]
        numbers = np.stack([each.indices.fill_null(-1).to_numpy(zero_copy_only=False) for each in columns])
        changes = (np.diff(numbers, prepend=-2) != 0).any(axis=0)
        starts = np.flatnonzero(changes).tolist()
        for start, end in zip(starts, [*starts[1:], len(batch)], strict=True):
            here = tuple(each[start].as_py() for each in columns)
            if waiting and here != key:
                yield key, pa.Table.from_batches(waiting)
                waiting = []
            key = here
            waiting.append(batch.slice(start, end - start))
    if waiting:
        yield key, pa.Table.from_batches(waiting)


def _check_path(uri: Path) -> None:
    """Raise where the database could not open the path of a store, although a folder can be called so."""
    refuse_remote(uri, "stores")
    path = os.fspath(uri)
    try:
        # The database takes whole paths, wherever the command runs.
        path = os.path.abspath(uri)
        path.encode()
    except OSError as error:
        raise StoreError(f"The current folder cannot be found: {error.strerror}.", next="Go to another one.") from error
    except ValueError as error:
        raise StoreError(f"The path of the store {path!r} is not valid UTF-8.", next=ELSEWHERE) from error
    if _CONTROL.search(path):
        raise StoreError(f"The path of the store {path!r} holds control characters.", next=ELSEWHERE)


def check_format(name: str, schema: pa.Schema) -> None:
    """Raise unless a table is of a format that this version knows.

    Raises
    ------
    StoreError
    """
    written = (schema.metadata or {}).get(FORMAT_KEY, b"0")
    if not written.isdigit() or int(written) > FORMAT:
        shown = written.decode("ascii", "backslashreplace")
        raise newer(f"The table {name!r}", shown)


def again_or_without(command: str) -> str:
    """Return the advice on what is lost and can be made again by a command."""
    return f"Make it again: {command}; or go on without it, after: {REPAIR}"


def quote(text: str) -> str:
    """Return text as a SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def lance_reason(error: BaseException) -> str:
    """Return the first line of what Lance says of an error."""
    # It begins with the kind of error and ends with a place in its own source.
    lines = str(error).removeprefix("Invalid user input: ").partition(", /")[0].splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
