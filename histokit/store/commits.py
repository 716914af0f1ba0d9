"""One writer at a time, and what it left: so that tables which were lost, or went back to an earlier version, show."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from threading import get_ident
from typing import Any, NamedTuple, TypeVar

from histokit.errors import HistokitError, StoreError, advice_on_store, out_of_reach
from histokit.files import PathLock
from histokit.plugin.digests import digest_json
from histokit.store.records import FORMAT

#: What to do where a store cannot be made or opened in a folder.
ELSEWHERE = "Choose another folder with --store or HISTOKIT_STORE."
LEDGER = "tables.json"
LOCK = "write.lock"

#: Seconds that a process waits for another one, which holds the lock for a write of some megabytes.
_PATIENCE = 600.0


#: The entries of the ledger beside its format.
_LEDGER = ("check", "tables", "features")
FORMAT_NAME = "format"


class NewerFormatError(StoreError):
    """A table, or the list of them, that a newer version of histokit wrote; no command touches it."""


class Known(NamedTuple):
    """What a table was when it was last written: its version, and its number of rows then."""

    version: int
    rows: int


class Made(NamedTuple):
    """Of what a feature table is, and the command that fills it: what is to be told once it is gone."""

    dataset: str
    address: str
    again: str


_Entry = TypeVar("_Entry", Known, Made)


class _Ledger(NamedTuple):
    tables: dict[str, Known]
    features: dict[str, Made]


class Commits:
    """The lock that a store's writers hold, and the ledger of its tables.

    Feature tables are written without the lock, and of them the ledger knows only that they were made: they are only
    ever added to, and a row that is lost is computed again.

    Parameters
    ----------
    folder : Path
        Of the store.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        #: Whether `known` tells what the ledger says; a check of all tables goes on without one that is damaged.
        self.trusted = True
        self._lock: PathLock | None = None
        self._read: tuple[tuple[int, int, int] | None, _Ledger] = (None, _Ledger({}, {}))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let one process at a time write; what it writes in between becomes visible in the order of its writes.

        Raises
        ------
        StoreError
            If another process held the lock for ten minutes, or nothing can be written to the folder.
        """
        self.check_writable()
        if self._lock is None:
            self._lock = PathLock(self.folder / LOCK, _PATIENCE)
        busy = StoreError(
            f"Another process has been writing to the store {self.folder} for {_PATIENCE / 60:.0f} minutes.",
            next=f"Wait for it, or end it; it holds {self.folder / LOCK}.",
        )
        with self._lock.held(busy):
            yield

    def check_writable(self) -> None:
        """Raise where nothing can be written: what writes tables finds that out after many seconds of trying again.

        Raises
        ------
        StoreError
        """
        if os.access(self.folder, os.W_OK | os.X_OK):
            return
        try:
            TemporaryFile(dir=self.folder).close()
        except OSError as error:
            raise StoreError(
                f"The store {self.folder} cannot be written to: {error.strerror or error}.",
                next=advice_on_store(error),
            ) from error

    def known(self) -> dict[str, Known]:
        """Return what the tables were when they were last written, by name; empty for stores of earlier versions.

        Raises
        ------
        StoreError
            If the ledger is damaged.
        """
        return self._ledger().tables

    def features(self) -> dict[str, Made]:
        """Return what feature tables were made, by name.

        Raises
        ------
        StoreError
            If the ledger is damaged.
        """
        return self._ledger().features

    def _ledger(self) -> _Ledger:
        path = self.folder / LEDGER
        try:
            status = path.stat()
        except OSError as error:
            if unreached := _out_of_reach(path, error):
                raise unreached from error
            return _Ledger({}, {})
        if not self.trusted:
            return _Ledger({}, {})
        state = (status.st_mtime_ns, status.st_size, status.st_ino)
        if self._read[0] != state:
            self._read = (state, _read(path))
        return self._read[1]

    @property
    def is_lost(self) -> bool:
        """Whether tables were written under the lock, and their list is not there."""
        return (self.folder / LOCK).exists() and not (self.folder / LEDGER).exists()

    def replace(self, tables: dict[str, Known], features: Iterable[str]) -> None:
        """Write all down anew, of feature tables those that are there; only while the lock is held."""
        made: dict[str, Made] = {}
        with suppress(StoreError):
            made = self.features()
        self._write(_Ledger(tables, {name: made[name] for name in features if name in made}))

    def note(self, name: str, known: Known | None) -> None:
        """Write down what a table is now, or that it was dropped; only while the lock is held."""
        before = self._ledger()
        if before.tables.get(name) != known:
            self._write(before._replace(tables=_with(before.tables, name, known)))

    def forget(self, name: str) -> None:
        """Write down that a table is dropped; only while the lock is held."""
        before = self._ledger()
        if name in before.tables or name in before.features:
            self._write(_Ledger(_with(before.tables, name, None), _with(before.features, name, None)))

    def note_features(self, name: str, made: Made) -> None:
        """Write down that a feature table was made; only while the lock is held."""
        before = self._ledger()
        if before.features.get(name) != made:
            self._write(before._replace(features=_with(before.features, name, made)))

    def _write(self, ledger: _Ledger) -> None:
        path = self.folder / LEDGER
        # Never seen half written. The name differs between processes and threads, where the file system takes no locks.
        new = path.with_name(f"{LEDGER}.{socket.gethostname()}.{os.getpid()}.{get_ident()}")
        # Versions that know of no feature tables read the rest.
        document = {FORMAT_NAME: FORMAT, **_sealed(ledger.tables), "features": _sealed(ledger.features)}
        try:
            new.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)


def newer(what: str, written: str) -> NewerFormatError:
    """Return the error of something that a newer version wrote."""
    return NewerFormatError(
        f"{what} has format {written}; this version of histokit reads up to {FORMAT}.", next="Update histokit."
    )


def _with(entries: dict[str, _Entry], name: str, entry: _Entry | None) -> dict[str, _Entry]:
    kept = {key: value for key, value in entries.items() if key != name}
    return kept if entry is None else {**kept, name: entry}


def _sealed(entries: Mapping[str, Known | Made]) -> dict[str, Any]:
    listed = {name: list(entries[name]) for name in sorted(entries)}
    return {"check": digest_json(listed).hex(), "tables": listed}


def _unsealed(document: Mapping[str, Any]) -> dict[str, list[Any]]:
    tables: dict[str, list[Any]] = document["tables"]
    if digest_json(tables).hex() != document["check"]:
        raise ValueError("it is not what was written")
    return tables


def _out_of_reach(path: Path, error: BaseException) -> HistokitError | None:
    return out_of_reach(error, f"The list of tables {path}")


def _read(path: Path) -> _Ledger:
    try:
        document = json.loads(path.read_bytes())
        if int(document.get(FORMAT_NAME, FORMAT)) > FORMAT:
            raise newer(f"The list of tables {path}", str(document[FORMAT_NAME]))
        if document.keys() - {FORMAT_NAME, *_LEDGER}:
            raise ValueError("it is not what was written")
        tables = {name: Known(*map(int, entry)) for name, entry in _unsealed(document).items()}
        made = _unsealed(document["features"]) if "features" in document else {}
        return _Ledger(tables, {name: Made(*map(str, entry)) for name, entry in made.items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if unreached := _out_of_reach(path, error):
            raise unreached from error
        raise StoreError(
            f"The list of tables {path} is damaged: {error}.",
            next="Check the store with: histokit store verify; then mend it with: histokit store repair",
        ) from error
