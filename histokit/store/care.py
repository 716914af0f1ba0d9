"""The care of a store: small fragments are merged, and what nothing needs any more is removed."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from shutil import rmtree
from typing import Any, TypeVar

import numpy as np

from histokit.errors import StoreError, advice_on_store, number_of
from histokit.files import PathLock
from histokit.plugin.digests import DIGEST_BYTES
from histokit.ranges import check_range
from histokit.store.additions import MAKING
from histokit.store.database import FORMAT_KEY, Database
from histokit.store.digest_columns import DIGEST, Digests, stream
from histokit.store.documents import Documents
from histokit.store.fingerprints import row_key
from histokit.store.networks import FOLDER as NETWORKS
from histokit.store.networks import Networks
from histokit.store.removal import dataset_of_table, networks_of
from histokit.store.results import Results
from histokit.store.store import Store
from histokit.store.tables import READ_ERRORS
from histokit.store.unfinished import TABLE as UNFINISHED
from histokit.store.unfinished import Unfinished
from histokit.store.vectors import FeatureTable

LOCK = "gc.lock"
_DELETED_AT_ONCE = 1_000

_Removed = TypeVar("_Removed")


@dataclass
class Care:
    """What was done to one table.

    Parameters
    ----------
    table : str
    fragments : tuple of int, optional
        Their number before and after merging; none where another process was merging them.
    versions, rows : int
        Old versions and feature rows that were removed; files, of networks.
    freed : int
        Bytes on disk.
    dropped : bool
        Whether the whole table was removed.
    """

    table: str
    fragments: tuple[int, int] | None = None
    versions: int = 0
    rows: int = 0
    freed: int = 0
    dropped: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data."""
        return asdict(self)


def compact(store: Store, progress: Callable[..., None] = lambda *_: None) -> list[Care]:
    """Merge the small fragments of every table of histokit; no version is removed, so that no reader loses anything.

    Raises
    ------
    StoreError
        If there is no store, or a table is damaged.
    """
    names, kept = _names(store), _kept_versions(store)
    done = []
    for position, name in enumerate(names):
        progress(position, len(names), name)
        with _while_there(store, name):
            before = len(store.database.table(name).get_fragments())
            # Of samples and files another version is read; they are written in one piece anyway.
            merged = before > 1 and name not in kept and store.database.optimize(name, whole=True)
            after = len(store.database.table(name).get_fragments()) if merged else before
            done.append(Care(name, (before, after) if merged or before <= 1 else None))
    return done


def collect_garbage(
    store: Store,
    *,
    older_than: float = 60.0,
    stale_rows: bool = False,
    orphans: bool = False,
    dry_run: bool = False,
    progress: Callable[..., None] = lambda *_: None,
) -> list[Care]:
    """Remove old versions of all tables of histokit, under a lock, and on request what no dataset needs any more.

    A version is removed only when a newer one took its place more than `older_than` minutes ago: until then a
    reader or a writer may still hold it. Files of writes that were cut off go after seven days. Files of networks go
    once no run names them, and what is kept of a training that has not ended after thirty days.

    Parameters
    ----------
    store : Store
    older_than : float
        Minutes.
    stale_rows : bool
        Remove feature rows whose id and content belong to no sample of their dataset, as after images were replaced.
        Their bytes are freed once the versions that still hold them are old enough.
    orphans : bool
        Remove the tables of datasets, and the features of networks of runs, that are not there, unless they were
        written to in the last minutes.
    dry_run : bool
        Only say what would be removed.
    progress : callable, optional
        Called with (done, total, table).

    Raises
    ------
    StoreError
        If there is no store, or another process holds the lock.
    UsageError
        If `older_than` is negative.
    """
    older_than = check_range("older_than", older_than)
    names = _names(store)
    horizon = datetime.now(UTC) - timedelta(minutes=older_than)
    if dry_run:
        return _collect(store, names, horizon, stale_rows, orphans, True, progress)
    with locked(store.uri):
        return _collect(store, names, horizon, stale_rows, orphans, False, progress)


def _collect(
    store: Store,
    names: Sequence[str],
    horizon: datetime,
    stale_rows: bool,
    orphans: bool,
    dry_run: bool,
    progress: Callable[..., None],
) -> list[Care]:
    # What needs no room goes first: a full disk may be why there is to be some.
    _remove_unmade(store.uri, horizon, dry_run)
    files, freed = Networks(store.uri).collect(Unfinished(store.database).last, store.runs, horizon, dry_run)
    kept = _kept_versions(store)
    cares = {name: Care(name) for name in names}

    def make_room() -> None:
        for name, care in cares.items():
            with _while_there(store, name):
                _remove_versions(store.database, care, horizon, dry_run, kept.get(name))

    for name, count in _with_room(lambda: _remove_unnamed(store, horizon, dry_run), make_room).items():
        if name in cares:
            cares[name].rows = count
    features = {table.name: table for table in store.feature_tables()} if stale_rows or orphans else {}
    done = []
    for position, name in enumerate(names):
        progress(position, len(names), name)
        care = cares[name]
        table = features.get(name)
        with _while_there(store, name, table.dataset if table and stale_rows else None):
            if orphans and _is_orphan(store, name, table):
                _drop_orphan(store, care, table, horizon, dry_run)
            elif stale_rows and table is not None and store.find_dataset(table.dataset) is not None:
                care.rows = _with_room(partial(_remove_stale, store, table, dry_run), make_room)
            if not care.dropped:
                _remove_versions(store.database, care, horizon, dry_run, kept.get(name))
            done.append(care)
    return [*done, Care(NETWORKS, rows=files, freed=freed)] if files else done


def _with_room(remove: Callable[[], _Removed], make_room: Callable[[], None]) -> _Removed:
    """Remove rows, for which a little has to be written; where the disk is full, make room and try again."""
    try:
        return remove()
    except StoreError as error:
        if error.__cause__ is None or number_of(error.__cause__) not in (errno.ENOSPC, errno.EDQUOT):
            raise
    make_room()
    return remove()


def _remove_unmade(folder: Path, horizon: datetime, dry_run: bool) -> None:
    """Remove the beginnings of tables that killed processes were about to make, and what is left of dropped ones."""
    for path in folder.glob(f"{MAKING}*") if not dry_run else ():
        with suppress(FileNotFoundError):  # One that was just made is in its place by now.
            if datetime.fromtimestamp(path.stat().st_mtime, UTC) <= horizon:
                rmtree(path, ignore_errors=True)


def _kept_versions(store: Store) -> dict[str, int]:
    """Return table → the version of it that a dataset's record names."""
    return {f"{kind}.{record.name}": v for record in store.datasets() for kind, v in record.versions.items()}


def _remove_unnamed(store: Store, horizon: datetime, dry_run: bool) -> dict[str, int]:
    """Remove what processes that were killed left and no record names; return table → number of rows."""
    documents = Documents(store.database)
    found = Results(documents).remove_unnamed(dry_run)
    return {**found, UNFINISHED: Unfinished(store.database).collect(horizon, dry_run)}


def _is_orphan(store: Store, name: str, table: FeatureTable | None) -> bool:
    """Return whether the dataset of a table, or the run whose network made its features, is gone."""
    owner = dataset_of_table(name) if table is None else table.dataset
    if owner is not None and store.find_dataset(owner) is None:
        return True
    return table is not None and not all(store.has_run(run) for run in networks_of(table.address))


def _drop_orphan(store: Store, care: Care, table: FeatureTable | None, horizon: datetime, dry_run: bool) -> None:
    database = store.database
    with database.committing():
        if not _is_orphan(store, care.table, table):
            # Ingested just now.
            return
        last = database.table(care.table).versions()[-1]
        if _time(last) > horizon:
            return
        care.dropped = True
        care.rows = database.count(care.table)
        folder = database.uri / f"{care.table}.lance"
        care.freed = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if not dry_run:
            database.drop(care.table)


def _remove_stale(store: Store, table: FeatureTable, dry_run: bool) -> int:
    # The rows are read before the samples: a row that a writer adds meanwhile is of a sample that is there.
    stored = _joined(stream(store.database.table(table.name), "key"))
    known = _joined(_sample_keys(store, table.dataset))
    stale = [key.ljust(DIGEST_BYTES, b"\0") for key in np.setdiff1d(stored, known).tolist()]
    if not dry_run:
        for start in range(0, len(stale), _DELETED_AT_ONCE):
            listed = ", ".join(f"X'{key.hex()}'" for key in stale[start : start + _DELETED_AT_ONCE])
            store.database.delete(table.name, f"key IN ({listed})")
        if stale:
            store.database.optimize(table.name)
    return len(stale)


def _sample_keys(store: Store, dataset: str) -> Iterator[Digests]:
    for batch in store.ingested(store.dataset(dataset), "samples").batches(["id", "content"]):
        pairs = zip(batch.column("id").to_pylist(), batch.column("content").to_pylist(), strict=True)
        yield np.array([row_key(i, content or b"") for i, content in pairs], DIGEST)


def _joined(chunks: Iterable[Digests]) -> Digests:
    return np.concatenate([np.empty(0, DIGEST), *chunks])


def _remove_versions(database: Database, care: Care, horizon: datetime, dry_run: bool, kept: int | None = None) -> None:
    table = database.table(care.table)
    versions = table.versions()
    replaced = [old["version"] for old, new in pairwise(versions) if _time(new) <= horizon and old["version"] != kept]
    if not replaced:
        return
    options = {"versions": replaced, "error_if_tagged_old_versions": False}
    stats = table.explain_cleanup_old_versions(**options).stats if dry_run else table.cleanup_old_versions(**options)
    care.versions += stats.old_versions
    care.freed += stats.bytes_removed


def _time(version: dict[str, Any]) -> datetime:
    return version["timestamp"].astimezone(UTC)


def _names(store: Store) -> list[str]:
    store.database.require()
    found = []
    for name in store.database.names():
        with _while_there(store, name):
            if FORMAT_KEY in (store.database.schema(name).metadata or {}):
                found.append(name)
    return found


@contextmanager
def _while_there(store: Store, name: str, dataset: str | None = None) -> Iterator[None]:
    """Pass over a table that another process removes meanwhile, or whose dataset it removes."""
    try:
        yield
    except (StoreError, *READ_ERRORS):
        if store.database.exists(name) and (dataset is None or store.find_dataset(dataset) is not None):
            raise


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the store's lock, so that only one process at a time removes old versions.

    Raises
    ------
    StoreError
        If another process holds it, or the store cannot be written to.
    """
    path = folder / LOCK
    try:
        path.open("ab").close()
    except OSError as error:
        raise StoreError(
            f"The store {folder} cannot be written to: {error.strerror or error}.",
            next=advice_on_store(error),
        ) from error
    busy = StoreError(
        f"Another process is collecting the garbage of the store {folder}.",
        next="Wait for it; its lock goes with it, however it ends.",
        details={"lock": str(path)},
    )
    with PathLock(path, patience=0).held(busy):
        yield
