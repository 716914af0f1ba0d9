"""Vectors computed elsewhere become a feature table of the same standing as extracted ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from histokit.datasets.cells import tidy_text
from histokit.datasets.tables import stored_name
from histokit.errors import DataError, StoreError, UsageError, counted, some
from histokit.features.feature_store import StoreLike, open_store
from histokit.ingest.known_vectors import check_known, other_version, refuse_left
from histokit.ingest.new_dataset import contents_of, create_dataset
from histokit.ingest.vector_columns import apart, is_list
from histokit.ingest.vector_file import VectorFile
from histokit.ingest.whole_exports import absent_notes
from histokit.plugin.digests import digest_json
from histokit.store import Store
from histokit.store.fingerprints import spec_fingerprint
from histokit.store.table_differences import differences
from histokit.store.vector_writes import VectorInserter
from histokit.store.vectors import IMPORTED, FeatureTable

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_WORDS = ("last", "all", "each")


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Parameters
    ----------
    dataset, address, table, fingerprint : str
    width : int
        Numbers in a vector.
    columns, apart : tuple of str
        The columns of the file that are the vectors; those of them that stand apart from the others in the file.
    samples, inserted, missing : int
        Samples of the dataset; vectors that were not there before; samples without a vector.
    notes : tuple of str
        What the user should know.
    """

    dataset: str
    address: str
    table: str
    fingerprint: str
    width: int
    columns: tuple[str, ...]
    apart: tuple[str, ...]
    samples: int
    inserted: int
    missing: int
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data."""
        return asdict(self)


def import_features(
    store: StoreLike,
    dataset: str,
    path: str | Path,
    *,
    name: str,
    version: str,
    layer: str = "imported",
    id: str = "id",
    allow_missing: bool = False,
    create: bool = False,
    label: str | None = None,
    group: str | None = None,
    levels: Sequence[str] = (),
    metadata: Sequence[str] = (),
    progress: Callable[..., None] = lambda *_: None,
) -> Imported:
    """Bring vectors that were computed elsewhere into the store, under the address ``name/layer``.

    The vectors are all numeric columns of the file, or its one column of lists; columns that the dataset has
    already, `metadata`, and columns called ``Metadata_…`` are passed over. A file that `export_features` wrote names
    its own. Importing the same file again changes nothing; other vectors need another version.

    Parameters
    ----------
    store : FeatureStore or path
    dataset : str
    path : path
        ``.parquet``, ``.csv``, ``.tsv``, ``.npz`` or ``.h5ad``, a row for each sample.
    name, version, layer : str
        What made the vectors; the spec of the table, together with the names of the columns.
    id : str
        The column of sample ids.
    allow_missing : bool
        Go on although samples of the dataset have no vector in the file.
    create : bool
        Make the dataset from the file: one without images, whose metadata are the columns passed over and those
        that are not numeric.
    label, group : str, optional
        With `create`, the columns of labels (``label`` where the file has it) and of groups (that of an exported
        file). A sample without a group is one of its own.
    levels : sequence of str
        With `create`, the columns of the units that samples belong to, fine to coarse.
    metadata : sequence of str
        Columns, numeric ones too, that are no features; ``*`` stands for any text.
    progress : callable, optional
        Called with (done, total).

    Returns
    -------
    Imported

    Raises
    ------
    DataError
        If ids are unknown, missing, empty or doubled, or a vector is not of finite numbers.
    StoreError
        If there is no such dataset, or the version is there with other vectors or columns; or if a removed dataset left
        vectors that may be of other samples of the same ids. Nothing is changed then.
    UsageError
        If a name is not allowed, or the file has no such column.
    """
    store = open_store(store)
    _check_names(name, version, layer)
    named = [column for column in (label, group, *levels) if column]
    if named and not create:
        raise UsageError("--label, --group and --level are for new datasets.", next="Add --create, or leave them out.")
    file = VectorFile(Path(path), id, named, metadata)
    if not create:
        _require(store, dataset)
        file.join(store.samples(dataset, ["id"]).column("id").to_pylist())
    ids = file.ids
    if not ids:
        raise _no_rows(file)
    columns = _vector_columns(store, None if create else dataset, file, named)
    width = _check_vectors(file, columns)
    if file.exported and not file.provenance:
        file.notes.extend(absent_notes(store, columns))
    names = columns if not is_list(file.schema.field(columns[0]).type) else []
    spec = _spec(name, version, layer, names, width)
    _check_conflicts(store, dataset, spec, names, width)
    keys, missing = (contents_of(dataset, ids), []) if create else _match(store, dataset, file, ids, allow_missing)
    # Before anything is changed.
    if not check_known(store, dataset, spec, file, columns, keys) and create:
        refuse_left(store, dataset, keys)
    if create:
        asked = {"label": label, "group": group, "level": [*levels], "id": id, "metadata": [*metadata]}
        asked |= {"name": name, "version": version, "layer": layer}
        create_dataset(store, dataset, file, ids, columns, label, group, levels, asked)
    info = {"index": 0, "layers": [layer], "merged": [layer], "aliases": ["last"], "source": str(Path(path).resolve())}
    info |= {"columns": names, "missing": len(missing)}
    table = store.create_feature_table(dataset, spec, width, info)
    inserted = _insert(store, table, file, columns, keys, progress)
    return Imported(
        dataset,
        table.address,
        table.name,
        table.fingerprint,
        width,
        tuple(columns),
        tuple(apart(file.schema.names, columns)),
        len(keys) + len(missing),
        inserted,
        len(missing),
        tuple(file.notes),
    )


def _require(store: Store, dataset: str) -> None:
    try:
        store.dataset(dataset)
    except StoreError as error:
        raise StoreError(error.message, next=f"Make it from the file: add --create. {error.next}") from error


def _vector_columns(store: Store, dataset: str | None, file: VectorFile, named: Sequence[str]) -> list[str]:
    known = _known(store, dataset, file, named)
    columns = file.vector_columns(known)
    if dataset is not None and not file.exported:
        _refuse_texts(file, columns, known)
    return columns


def _known(store: Store, dataset: str | None, file: VectorFile, named: Sequence[str]) -> list[str]:
    """Return the columns of a file that are known to be no vectors."""
    if dataset is None:
        return [*map(tidy_text, named), *file.metadata()]
    there = set(store.samples(dataset, where="false").column_names)
    return [*(name for name in file.schema.names if stored_name(name) in there), *file.metadata()]


def _check_names(name: str, version: str, layer: str) -> None:
    for what, text in (("name", name), ("version", version), ("layer", layer)):
        if not isinstance(text, str):
            raise UsageError(f"The {what} {text!r} is no text.", next=f'Write it in quotes: {what}="{text}"')
    for what, text in (("--name", name), ("--layer", layer)):
        if not _NAME.fullmatch(text) or text in _WORDS:
            raise UsageError(
                f"{what} {text!r} is not allowed.",
                next=f"Use letters, digits, _ . and -, but not {', '.join(_WORDS)}.",
            )
    if not version.strip():
        raise UsageError("The version is empty.", next="Add --version, such as --version 1 or a date.")


def _spec(name: str, version: str, layer: str, names: Sequence[str], width: int) -> dict[str, Any]:
    columns = digest_json(list(names) or width).hex()
    spec = {"backbone": name, "layer": layer, "module": "", "pool": "none", "weights": f"{IMPORTED}{version}"}
    return {**spec, "preprocess": {}, "columns": columns}


def _refuse_texts(file: VectorFile, columns: Sequence[str], known: Sequence[str]) -> None:
    others = [n for n in file.schema.names if n not in {*columns, *known, file.id}]
    if others:
        value = next((v for batch in file.batches([others[0]]) for v in batch.column(0).to_pylist()), None)
        raise DataError(
            f"{len(others)} columns of {str(file.path)!r} are neither numbers nor columns of the dataset: "
            f"{some(others)}; {others[0]!r} holds {value!r}.",
            next="Remove them, or give one column of lists alone.",
        )


def _match(
    store: Store, dataset: str, file: VectorFile, ids: Sequence[str], allow_missing: bool
) -> tuple[dict[str, bytes], list[str]]:
    """Return the content of each sample that has a vector, and the samples that have none."""
    rows = store.samples(dataset, ["id", "content"])
    contents = dict(zip(rows.column("id").to_pylist(), rows.column("content").to_pylist(), strict=True))
    unknown = [sample_id for sample_id in ids if sample_id not in contents]
    if unknown:
        raise DataError(
            f"{len(unknown)} of {len(ids)} ids of {str(file.path)!r} are not in {dataset!r}: {some(unknown)}.",
            next=f"Its ids are like {some(list(contents)[:2])}. Name their column with --id, or remove the rows.",
        )
    given = set(ids)
    missing = [i for i, content in contents.items() if i not in given or content is None]
    if missing and not allow_missing:
        unreadable = sum(i in given for i in missing)
        known = f" ({unreadable} of them have images that could not be read)" if unreadable else ""
        of_all = f"of {len(contents):,} samples of {dataset!r}"
        raise DataError(
            f"{counted(len(missing), f'{of_all} has', f'{of_all} have')} no vector in {str(file.path)!r}{known}: "
            f"{some(missing)}.",
            next="Add their rows, or go on without them with --allow-missing.",
        )
    return {i: contents[i] for i in ids if contents[i] is not None}, missing


def _check_vectors(file: VectorFile, columns: Sequence[str]) -> int:
    width = 0
    for _, matrix in file.vectors(columns):
        width = matrix.shape[1]
    if not width:
        raise _no_rows(file)
    return width


def _no_rows(file: VectorFile) -> DataError:
    return DataError(f"The file {str(file.path)!r} has no rows.", next="Give a row for each sample.")


def _check_conflicts(store: Store, dataset: str, spec: Mapping[str, Any], names: Sequence[str], width: int) -> None:
    """Refuse a second meaning of a name and version."""
    same = [table for table in store.feature_tables(dataset) if table.backbone == spec["backbone"]]
    networks = [table for table in same if not table.imported]
    if networks:
        raise UsageError(
            f"{spec['backbone']!r} is the name of a network whose features are in the store.",
            next="Choose another --name.",
        )
    for table in same:
        same_version = table.layer == spec["layer"] and table.spec["weights"] == spec["weights"]
        if same_version and table.fingerprint != spec_fingerprint(spec):
            changed = "; ".join(differences(table, spec, names, width))
            raise other_version(table, f"other columns ({table.width} numbers; {changed})")


def _insert(
    store: Store,
    table: FeatureTable,
    file: VectorFile,
    columns: Sequence[str],
    contents: Mapping[str, bytes],
    progress: Callable[..., None],
) -> int:
    done = inserted = 0
    inserter = VectorInserter(store.database, table, list(contents), list(contents.values()))
    for ids, matrix in file.vectors(columns):
        rows = [row for row, sample_id in enumerate(ids) if sample_id in contents]
        inserted += inserter.insert([ids[row] for row in rows], matrix[rows])
        done += len(ids)
        progress(done, len(contents))
    store.database.optimize(table.name)
    return inserted
