"""A dataset without images, made from a file of vectors."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from histokit import __version__
from histokit.datasets.cells import tidy_text
from histokit.datasets.groups import groups_unknown, own_group
from histokit.datasets.tables import renamed, stored_name
from histokit.errors import DataError, StoreError, UsageError, counted, some
from histokit.features.sample_columns import lists
from histokit.ingest.dataset_record import alike_in, check_name, make_record, refuse_twins
from histokit.ingest.vector_file import VectorFile
from histokit.plugin.dataset import RESERVED_COLUMNS
from histokit.plugin.digests import digest_bytes
from histokit.store import DatasetRecord, Store
from histokit.store.records import FILE_SCHEMA, IMPORT_PLUGIN, SAMPLE_FIELDS

#: What vectors belong to.
_WHAT = ["id", "content"]


def create_dataset(
    store: Store,
    name: str,
    file: VectorFile,
    ids: Sequence[str],
    vectors: Sequence[str],
    label: str | None,
    group: str | None,
    levels: Sequence[str] = (),
    asked: Mapping[str, Any] | None = None,
) -> DatasetRecord:
    """Make a dataset whose samples are the rows of a file; one that is there stays if it is the same.

    There are no images: the content digest of a sample is that of the dataset's name and the sample's id.

    Parameters
    ----------
    store : Store
    name : str
    file : VectorFile
    ids : sequence of str
        Of all rows.
    vectors : sequence of str
        The columns that are no metadata.
    label, group : str, optional
        The columns of labels and of groups.
    levels : sequence of str
        Columns of the units that samples belong to, fine to coarse.
    asked : mapping, optional
        Options of the command that makes it again.

    Raises
    ------
    DataError
        If a sample has no group or no unit.
    StoreError
        If another dataset of this name is there.
    UsageError
        If the name of the dataset or of the group is not allowed.
    """
    check_name(name)
    label = tidy_text(label) if label else "label" if "label" in file.schema.names else None
    group = tidy_text(group) if group else _group_of_export(file)
    units = list(dict.fromkeys([*([group] if group else []), *map(tidy_text, levels)]))
    for unit in units:
        if unit in RESERVED_COLUMNS:
            raise UsageError(
                f"The group or level cannot be called {unit!r}.", next=f"Rename the column, such as to {unit}_id."
            )
    labels = file.texts(label) if label else [None] * len(ids)
    fields = _sample_fields(file, label)
    metadata = _stored(file, dict(_metadata(file, vectors, label, units, fields)))
    units = [stored_name(unit) for unit in units]
    for unit in units:
        metadata[unit] = _complete(file, ids, metadata[unit], unit, unit == (group and stored_name(group)))
    samples = _samples(name, ids, labels, fields, metadata)
    group, levels = group and stored_name(group), list(map(stored_name, levels))
    record = make_record(
        name,
        samples,
        plugin=IMPORT_PLUGIN,
        plugin_version="1",
        distribution=f"histokit {__version__}",
        root=str(file.path.resolve()),
        options=dict(asked or {}),
        metric="accuracy",
        channels=(),
        group=group,
        levels=levels,
        state=None,
    )
    texts = [field.name for field in samples.schema if field.name in metadata and pa.types.is_string(field.type)]
    file.notes.extend([*_unlabelled(ids, labels, texts), *alike_in(samples, group, levels)])
    before = store.find_dataset(name)
    if before is not None and _is_same(store, before, record, samples):
        return record
    return store.save_dataset(record, samples, FILE_SCHEMA.empty_table(), before=before)


def contents_of(name: str, ids: Sequence[str]) -> dict[str, bytes]:
    """Return id → content digest of the samples of a dataset without images."""
    return {i: digest_bytes(b"import", name.encode(), i.encode()) for i in ids}


def _unlabelled(ids: Sequence[str], labels: Sequence[str | None], texts: Sequence[str]) -> Iterator[str]:
    """Yield a sentence where rows have no label: some, as what is read as missing is not, or all beside columns."""
    without = [i for i, label in zip(ids, labels, strict=True) if label is None]
    if len(without) == len(ids) and texts:
        yield f"no sample has a label: run it again with --label COL; columns of text are {some(texts, 4)}"
    if 0 < len(without) < len(ids):
        rows = counted(len(without), "row has", "rows have")
        yield f"{rows} no label, for example {', '.join(map(repr, without[:3]))}"


def _group_of_export(file: VectorFile) -> str | None:
    group = file.provenance.get("group")
    return group if group in file.schema.names else None


def _complete(
    file: VectorFile, ids: Sequence[str], column: pa.ChunkedArray, unit: str, is_group: bool
) -> pa.ChunkedArray:
    """Return a column of units; a sample without a group gets one of its own."""
    values = column.to_pylist()
    unknown = [ids[row] for row, value in enumerate(values) if value is None]
    if not unknown:
        return column
    if not is_group or len(unknown) == len(values):
        raise DataError(
            f"The sample {unknown[0]!r} has no {unit}.", next="Give every sample one, or name another column."
        )
    file.notes.append(groups_unknown(len(unknown), unit, ", ".join(map(repr, unknown[:3]))))
    completed = [own_group(i) if value is None else value for i, value in zip(ids, values, strict=True)]
    return pa.chunked_array([pa.array(completed, pa.string())])


def _sample_fields(file: VectorFile, label: str | None) -> dict[str, pa.Array]:
    """Return the fields of samples other than metadata, of an exported file; of another one they are passed over."""
    names = [n for n in file.schema.names if n in RESERVED_COLUMNS and n not in (file.id, label)]
    if not file.exported:
        file.notes.extend(
            f"The column {name!r} was passed over: every sample has a field of that name" for name in names
        )
        return {}
    return {name: _sample_field(file, name) for name in names if name not in ("id", "content", "label")}


def _sample_field(file: VectorFile, name: str) -> pa.Array:
    kind = next(field.type for field in SAMPLE_FIELDS if field.name == name)
    if pa.types.is_nested(file.schema.field(name).type):
        chunks = [batch.column(0) for batch in file.batches([name])]
        return pa.chunked_array(chunks, file.schema.field(name).type).cast(kind).combine_chunks()
    texts = file.texts(name)
    if pa.types.is_nested(kind):
        return lists(texts, name)
    return pa.array([None if text is None else float(text) for text in texts] if name == "mpp" else texts, kind)


def _stored(file: VectorFile, metadata: Mapping[str, pa.ChunkedArray]) -> dict[str, pa.ChunkedArray]:
    """Return columns under the names that the store takes."""
    found: dict[str, pa.ChunkedArray] = {}
    for original, column in metadata.items():
        name = stored_name(original)
        if name in found:
            raise DataError(
                f"The file {str(file.path)!r} has several columns that the store calls {name!r}, such as {original!r}.",
                next="Rename or remove all but one.",
            )
        if name != original:
            file.notes.append(renamed(original, name))
        found[name] = column
    refuse_twins(found, f"The file {str(file.path)!r}")
    return found


def _samples(
    name: str,
    ids: Sequence[str],
    labels: Sequence[str | None],
    given: Mapping[str, pa.Array],
    metadata: Mapping[str, pa.ChunkedArray],
) -> pa.Table:
    columns = {f.name: pa.nulls(len(ids), f.type) for f in SAMPLE_FIELDS}
    columns["id"] = pa.array(ids, pa.string())
    columns["content"] = pa.array(list(contents_of(name, ids).values()), pa.binary(16))
    columns["image"] = pa.array([[] for _ in ids], pa.list_(pa.string()))
    columns["label"] = pa.array(labels, pa.string())
    fields = [pa.field(column, values.type) for column, values in metadata.items()]
    return pa.table({**columns, **given, **metadata}, schema=pa.schema([*SAMPLE_FIELDS, *fields]))


def _metadata(
    file: VectorFile, vectors: Sequence[str], label: str | None, units: Sequence[str], fields: Collection[str]
) -> Iterator[tuple[str, pa.ChunkedArray]]:
    taken = {*vectors, *fields, *RESERVED_COLUMNS, file.id, *([label] if label else [])} - {*units}
    for field in file.schema:
        if field.name in taken:
            continue
        if pa.types.is_nested(field.type):
            file.notes.append(f"The column {field.name!r} was left out: it holds lists or records")
        elif field.name in units:
            yield field.name, pa.chunked_array([pa.array(file.texts(field.name), pa.string())])
        else:
            yield field.name, file.described(field.name)


def _is_same(store: Store, before: DatasetRecord, record: DatasetRecord, samples: pa.Table) -> bool:
    """Return whether a dataset is there as it is; of the same file it may get other labels, groups and metadata.

    Raises
    ------
    StoreError
        If it is another one.
    """
    if before.plugin == IMPORT_PLUGIN:
        moment = {"created": "", "root": "", "options": {}}
        stored = store.samples(record.name)
        if before.to_json() | moment == record.to_json() | moment and stored.replace_schema_metadata().equals(samples):
            return True
        if before.root == record.root and stored.select(_WHAT).equals(samples.select(_WHAT)):
            return False
    raise StoreError(
        f"Another dataset {record.name!r} is there already.",
        next="Leave --create out to add vectors to it, or choose another name.",
    )
