"""Tables that are made or dropped at once, and rows that are added to one version or not at all, without locks."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import pyarrow as pa

from histokit.errors import AGAIN, StoreError
from histokit.store.fragments import data_files

#: What folders begin with in which a table is just being made, or dropped.
MAKING = "making-"
#: The folder of a store to which tables are moved, and removed records written, that are damaged.
DAMAGED = "damaged"
#: How Lance words that a file which it listed is no longer there.
_GONE = re.compile(r"not found|no such file", re.IGNORECASE)


def make_table(path: Path, schema: pa.Schema, storage: str | None) -> None:
    """Make an empty table, unless another process makes it first.

    Lance lets a second process replace what the first one has just made, rows and all: so it is made beside its
    place, and a folder that holds something cannot be replaced.

    Parameters
    ----------
    path : Path
    schema : pyarrow.Schema
    storage : str, optional
        The version of its data files; Lance's own choice where not given.
    """
    import lance

    with TemporaryDirectory(prefix=MAKING, dir=path.parent, ignore_cleanup_errors=True) as folder:
        made = Path(folder) / "table"
        lance.write_dataset(schema.empty_table(), made, mode="create", data_storage_version=storage)
        # Where its versions were deleted, their folder alone is new; what was in the others is no part of it.
        if not _moved(made, path):
            for transaction in made.glob("_transactions/*"):
                (path / transaction.parent.name).mkdir(exist_ok=True)
                transaction.rename(path / transaction.parent.name / transaction.name)
            _moved(made / "_versions", path / "_versions")


def drop_table(path: Path) -> None:
    """Drop a table at once, if it is there: it is not seen any more before the first of its files goes.

    Parameters
    ----------
    path : Path
    """
    going = path.with_name(f"{MAKING}{uuid4().hex}.gone")
    if path.is_dir():
        os.rename(path, going)
        rmtree(going, ignore_errors=True)


@contextmanager
def making_way(path: Path) -> Iterator[None]:
    """Keep a table aside that cannot be read while another one is made in its place, and bring it back if none is.

    Parameters
    ----------
    path : Path
    """
    aside = path.parent / DAMAGED / uuid4().hex
    aside.mkdir(parents=True)
    try:
        os.rename(path, aside / path.name)
        try:
            yield
        except BaseException:
            rmtree(path, ignore_errors=True)
            os.rename(aside / path.name, path)
            raise
        rmtree(aside / path.name, ignore_errors=True)
    finally:
        # What could not be brought back stays, as does what else was put aside.
        with suppress(OSError):
            aside.rmdir()
            aside.parent.rmdir()


def manifests(path: Path) -> set[str]:
    """Return the files that are the versions of a table, none where it is not there."""
    with suppress(FileNotFoundError, NotADirectoryError, ValueError):
        return {name for name in os.listdir(path / "_versions") if name.endswith(".manifest")}
    return set()


def undo_cut_write(table: Any, path: Path, before: AbstractSet[str]) -> None:
    """Bring the version before the newest of a table back where a file of the newest ended short.

    Lance commits a version although the system refused the last bytes of a file of it.

    Parameters
    ----------
    table : lance.LanceDataset
        The newest version.
    path : Path
        Of the table.
    before : set of str
        Its manifests before the write; what was damaged before, and not written to, stays as it is.

    Raises
    ------
    StoreError
        If a file ended short.
    """
    if manifests(path) <= before:
        return
    cut = _cut_files(table.uri, data_files(table))
    if not cut:
        return
    if table.version == 1:
        drop_table(path)
    else:
        last = table.checkout_version(table.version - 1)
        if not cut - _cut_files(last.uri, data_files(last)):
            return
        last.restore()
    raise _cut_short(path)


def _cut_files(uri: str, files: Iterable[Any]) -> set[Path]:
    """Return which data files of a table are shorter than what was written to them."""
    found = set()
    for file in files:
        path = Path(uri) / "data" / file.path
        # One that is gone is told by whoever reads it.
        with suppress(OSError):
            if path.stat().st_size < (file.file_size_bytes or 0):
                found.add(path)
    return found


def _cut_short(path: Path) -> StoreError:
    return StoreError(
        f"The table {path.stem!r} of the store {path.parent} cannot be written: a file of it was cut short.",
        next=f"Look for room on the disk, a quota, and a limit of files (ulimit -f), {AGAIN}",
    )


def _moved(folder: Path, place: Path) -> bool:
    """Move a folder, or return that the place is taken."""
    try:
        os.rename(folder, place)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        return False
    return True


def add_on(version: Any, rows: pa.Table) -> tuple[Any, list[Any]] | None:
    """Add rows to the end of a table as it is in a version, or nothing where other rows were added since.

    Lance takes appends whatever was committed before them. It refuses a change of a fragment that another one changed
    or removed since: so each addition states that it changes the table's oldest fragment, although it leaves it as it
    is, and of two additions to one version the later is refused. Fragments that come later have greater numbers;
    so where versions differ in the oldest one, that of the earlier version was removed, which refuses it as well.
    The first rows of a table replace its empty list of fragments, which is refused after any other commit.

    What versions in between did is not known where these were removed meanwhile: rows are taken away again then.

    Parameters
    ----------
    version : lance.LanceDataset
    rows : pyarrow.Table

    Returns
    -------
    (lance.LanceDataset, list of lance.FragmentMetadata), optional
        The version that they are in, and their fragments.
    """
    from lance import LanceDataset, LanceOperation
    from lance.commit import CommitConflictError
    from lance.fragment import write_fragments

    storage = version.data_storage_version
    fragments = write_fragments(rows, version, schema=version.schema, data_storage_version=storage)
    if cut := _cut_files(version.uri, [file for fragment in fragments for file in fragment.files]):
        for path in cut:
            path.unlink(missing_ok=True)
        raise _cut_short(Path(version.uri))
    oldest = min(version.fragment_ids(), default=None)
    operation = LanceOperation.Merge(fragments, version.lance_schema)
    if oldest is not None:
        changed = [version.get_fragment(oldest).metadata]
        operation = LanceOperation.Update([], changed, fragments, [], [])
    try:
        made = LanceDataset.commit(version, operation, read_version=version.version)
    except CommitConflictError:
        for fragment in fragments:
            for file in fragment.files:
                with suppress(OSError):
                    (Path(version.uri) / "data" / file.path).unlink()
        return None
    if _knew_all_between(version.version, made):
        return made, fragments
    _take_away(made, fragments, rows)
    return None


def _take_away(made: Any, fragments: list[Any], rows: pa.Table) -> None:
    """Remove rows that were just added as fragments; by their keys where another process has merged these since.

    What is removed by its key may be of another process that added the same sample: who is to add the rows adds it.
    """
    from lance import LanceDataset, LanceOperation
    from lance.commit import CommitConflictError

    paths = {file.path for fragment in fragments for file in fragment.files}
    keys = ", ".join(f"X'{key.hex()}'" for key in rows.column("key").to_pylist())
    while True:
        added = [each.fragment_id for each in made.get_fragments() if each.metadata.files[0].path in paths]
        try:
            if len(added) == len(fragments):
                LanceDataset.commit(made, LanceOperation.Update(added, [], [], [], []), read_version=made.version)
            else:
                made.delete(f"key IN ({keys})")
            return
        except CommitConflictError:
            made = LanceDataset(made.uri)


def _knew_all_between(number: int, made: Any) -> bool:
    """Return whether the versions between one and that which was made from it are all there."""
    between = set(range(number + 1, made.version))
    try:
        return not between or between <= {each["version"] for each in made.versions()}
    except (OSError, ValueError) as error:
        # One of those that were listed was removed before it was read.
        if not _GONE.search(str(error)):
            raise
        return False
