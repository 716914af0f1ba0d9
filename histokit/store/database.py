"""Tables of a LanceDB database, as they are written: whole or not at all, and by one process at a time.

Vectors alone are added without a lock, to exactly the version that was looked at: `Database.add_on`.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from functools import cached_property
from typing import Any

import pyarrow as pa

from histokit.errors import HistokitError, StoreError, advice_on_store, number_of
from histokit.late_imports import run_when_asked
from histokit.store.additions import add_on, drop_table, make_table, making_way, manifests, undo_cut_write
from histokit.store.commits import ELSEWHERE, LEDGER, Known, Made, NewerFormatError
from histokit.store.fragments import all_but_small, large_fragments
from histokit.store.records import FORMAT
from histokit.store.spilled_rows import SpilledRows
from histokit.store.tables import FORMAT_KEY, PANICS, READ_ERRORS, RESTORE, Tables, check_format, lance_reason, quote

__all__ = ["FEATURES", "FORMAT_KEY", "PRIMARY_KEY", "RESTORE", "Database", "lance_reason", "quote"]

FEATURES = "features."
PRIMARY_KEY = {b"lance-schema:unenforced-primary-key": b"true"}

#: Vectors do not compress; files of this version hold them as they are, and take half the time of later ones.
_UNCOMPRESSED_FILES = "2.0"
_COPIED_BYTES = 4 << 20
_CACHE_BYTES = 16 << 20
#: Of an index of a million vectors, some hundred megabytes are asked for again and again.
_INDEX_CACHE_BYTES = 2 << 30

#: What Lance says of rows that are there already; those to be written are of the right kind.
_DAMAGE = re.compile(r"LanceError\(|in table schema|cannot be cast|[Ss]chema mismatch|panicked")
_CONFLICT = re.compile("commit conflict|too many concurrent writers|incompatible transaction", re.IGNORECASE)
_LOST = re.compile(r"not found|LanceError\(IO\)", re.IGNORECASE)

#: Clients of a server, whose import costs more than the rest of lancedb; a local database has use for none.
_CLIENTS = "lance_namespace_urllib3_client"


def _lancedb() -> Any:
    """Import lancedb, which takes the descriptions of requests from the package of clients, without the clients."""
    if "lancedb" not in sys.modules:
        run_when_asked(_CLIENTS)
    return importlib.import_module("lancedb")


class Database(Tables):
    """A folder of Lance tables, replaced through lancedb and changed through lance; it is made on the first write.

    Parameters
    ----------
    uri : Path
    """

    @cached_property
    def _connection(self) -> Any:
        self._make_folder()
        # By default these caches grow to gigabytes with the number of writes.
        lancedb = _lancedb()
        return lancedb.connect(str(self.uri), session=lancedb.Session(_CACHE_BYTES, _CACHE_BYTES))

    def _make_folder(self) -> None:
        try:
            self.uri.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"The store {self.uri} cannot be made: {error.strerror}.", next=ELSEWHERE) from error

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        """Say what the operating system refused, a full disk above all; each write is whole or not there."""
        try:
            yield
        except HistokitError:
            raise
        except BaseException as error:
            panic = type(error).__name__ in PANICS
            if not panic and not isinstance(error, RuntimeError | OSError | ValueError):
                raise
            number = number_of(error)
            if number is None:
                if panic or (_DAMAGE.search(str(error)) and not _CONFLICT.search(str(error))):
                    raise self._damaged(name, error) from error
                raise
            raise StoreError(
                f"The table {name!r} of the store {self.uri} cannot be written: {os.strerror(number)}.",
                next=advice_on_store(error),
            ) from error

    @contextmanager
    def committing(self, *names: str) -> Iterator[None]:
        """Let no other process write meanwhile to what is not a feature table; then take note of what tables became."""
        self._make_folder()
        with self.commits.alone():
            before = {name: manifests(self._path(name)) for name in names if not name.startswith(FEATURES)}
            yield
            for name, versions in before.items():
                with self._writing(name):
                    self.commits.note(name, self._now(name, versions))

    def accept(self) -> None:
        """Take the tables as they are from now on, whatever was known of them; only while nobody else writes."""
        tables = {}
        for name in self.names():
            if not name.startswith(FEATURES):
                # One that cannot be opened is told by whoever reads it.
                with suppress(StoreError):
                    tables[name] = self._now(name)
        self.commits.replace({name: known for name, known in tables.items() if known is not None}, self.names(FEATURES))

    def remember_features(self, name: str, made: Made) -> None:
        """Take note that a feature table is there, so that it is missed once it is gone."""
        if self.commits.features().get(name) != made:
            with self.commits.alone(), self._writing(LEDGER):
                self.commits.note_features(name, made)

    def lost_features(self, dataset: str | None = None) -> dict[str, Made]:
        """Return the feature tables, of all datasets or of one, that were made, and are gone."""
        made = self.commits.features().items()
        return {name: entry for name, entry in made if dataset in (None, entry.dataset) and not self._is_there(name)}

    def _now(self, name: str, before: set[str] | None = None) -> Known | None:
        """Return what a table is, if it is there; what was written since those manifests, and cut short, is undone."""
        import lance

        if not self._is_there(name):
            return None
        with self.reading(name):
            table = lance.dataset(str(self._path(name)))
            known = Known(table.version, table.count_rows())
        if before is not None:
            undo_cut_write(table, self._path(name), before)
        return known

    def overwrite(self, name: str, rows: pa.Table | SpilledRows) -> int:
        """Replace a table by rows, in one atomic step; return its version."""
        schema = rows.schema.with_metadata({FORMAT_KEY: str(FORMAT).encode(), **(rows.schema.metadata or {})})
        with self.committing(name):
            damaged = (there := self._is_there(name)) and not self._is_whole(name)
            mode = "overwrite" if there and not damaged else "create"
            with self._writing(name), making_way(self._path(name)) if damaged else nullcontext():
                stream = pa.RecordBatchReader.from_batches(schema, rows.to_reader())
                return int(self._connection.create_table(name, stream, mode=mode).version)

    def _is_whole(self, name: str) -> bool:
        """Return whether a table can be read, unless it is a newer version's."""
        import lance

        try:
            with self.reading(name):
                check_format(name, lance.dataset(str(self._path(name))).schema)
        except NewerFormatError:
            raise
        except StoreError:
            return False
        return True

    def create(self, name: str, schema: pa.Schema, compress: bool = True) -> None:
        """Make an empty table; one that is there, or that another process just made, stays as it is."""
        if self.exists(name):
            return
        schema = schema.with_metadata({FORMAT_KEY: str(FORMAT).encode(), **(schema.metadata or {})})
        with self.committing(name):
            if not self.exists(name):
                with self._writing(name):
                    make_table(self._path(name), schema, None if compress else _UNCOMPRESSED_FILES)

    @cached_property
    def _session(self) -> Any:
        import lance

        return lance.Session(_CACHE_BYTES, _CACHE_BYTES)

    def _to_write(self, name: str) -> Any:
        """Open a table to change rows of it, through lance: importing lancedb takes longer than most changes."""
        import lance

        with self.reading(name):
            table = lance.dataset(str(self._path(name)), session=self._session)
        check_format(name, table.schema)
        return table

    def to_add(self, name: str) -> Any:
        """Open a table for `add_on`, again and again: what it remembers of earlier versions takes little memory."""
        import lance

        return self._open(name, session=lance.Session(_CACHE_BYTES, _CACHE_BYTES))

    def to_search(self, name: str) -> Any:
        """Open a table whose indices are asked again and again: what is read of them is kept."""
        import lance

        return self._open(name, session=lance.Session(_INDEX_CACHE_BYTES, _CACHE_BYTES))

    def index_vectors(self, name: str, version: Any, how: Mapping[str, Any]) -> bool:
        """Make an index of the vectors of a table; return whether it was, or another process changed them meanwhile."""
        return self._indexed(name, lambda: version.create_index("vector", **how))

    def index_rest(self, name: str, version: Any, index: str) -> bool:
        """Add the rows to an index that were added to its table since; return as `index_vectors` does."""
        return self._indexed(name, lambda: version.optimize.optimize_indices(index_names=[index]))

    def _indexed(self, name: str, make: Callable[[], Any]) -> bool:
        try:
            with self._writing(name):
                make()
        except (RuntimeError, OSError, ValueError) as error:
            if _CONFLICT.search(str(error)):
                return False
            raise
        return True

    def add_on(self, name: str, version: Any, rows: pa.Table) -> tuple[Any, list[Any]] | None:
        """Add rows to a table as it is in a version, or nothing where anything was added to it since.

        Parameters
        ----------
        name : str
        version : lance.LanceDataset
            From `to_add`, or returned by this method.
        rows : pyarrow.Table

        Returns
        -------
        (lance.LanceDataset, list of lance.FragmentMetadata), optional
            The version that they are in, and their fragments.
        """
        with self._writing(name):
            return add_on(version, rows)

    def replace(self, name: str, rows: pa.Table, key: str | list[str]) -> None:
        """Insert rows, replacing those of the same key; the table is made where it is absent."""
        self.create(name, rows.schema)
        with self.committing(name), self._writing(name):
            table = self._to_write(name)
            table.merge_insert(key).when_matched_update_all().when_not_matched_insert_all().execute(rows)

    def append(self, name: str, rows: pa.Table) -> None:
        """Add rows to the end of a table, which is made where it is absent."""
        self.create(name, rows.schema)
        with self.committing(name), self._writing(name):
            table = self._to_write(name)
            # Where it has other columns, it is damaged.
            with self.reading(name):
                rows = rows.select(table.schema.names).cast(table.schema)
            table.insert(rows)

    def add_column(self, name: str, field: pa.Field) -> None:
        """Add a column of nulls to a table, unless it has it."""
        if field.name not in self.schema(name).names:
            with self.committing(name), self._writing(name):
                self._to_write(name).add_columns(field)

    def delete(self, name: str, where: str) -> None:
        """Delete rows; nothing happens where the table is absent, or has none of them."""
        if self.count(name, where):
            with self.committing(name), self._writing(name):
                self._to_write(name).delete(where)

    def drop(self, name: str) -> None:
        """Drop a table, which may be lost already: of one that an interruption leaves, nothing is missed."""
        with self.committing(), self._writing(name):
            # A full disk takes no note before there is room.
            with suppress(OSError):
                self.commits.forget(name)
            drop_table(self._path(name))
            self.commits.forget(name)

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
        return self._merge(name, table, [] if whole else large_fragments(table))

    def tidy(self, name: str) -> bool:
        """Merge the small fragments of a table once they are many; versions stay, as in `optimize`.

        Returns whether that was done. Where it cannot be, reading is slower, and whoever reads tells of damage.
        """
        with suppress(HistokitError, *READ_ERRORS):
            table = self._open(name)
            without = all_but_small(table)
            return without is not None and self._merge(name, table, without)
        return False

    def _merge(self, name: str, table: Any, without: list[int]) -> bool:
        as_it_is = table.data_storage_version == _UNCOMPRESSED_FILES
        alone = nullcontext() if name.startswith(FEATURES) else self.committing(name)
        try:
            with alone, self._writing(name):
                table.optimize.compact_files(
                    compaction_mode="try_binary_copy" if as_it_is else "reencode",
                    binary_copy_read_batch_bytes=_COPIED_BYTES,
                    excluded_fragment_ids=without,
                )
        except (RuntimeError, OSError, ValueError) as error:
            if _CONFLICT.search(str(error)):
                return False
            if _LOST.search(str(error)):
                raise self._damaged(name, error) from error
            raise
        return True
