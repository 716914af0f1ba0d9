"""A dataset without images, made from a file of vectors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa

from histokit import __version__
from histokit.errors import DataError, StoreError, UsageError
from histokit.features.vector_file import VectorFile, is_number
from histokit.plugin.dataset import RESERVED_COLUMNS
from histokit.plugin.digests import digest_bytes
from histokit.store import DatasetRecord, Store
from histokit.store.records import FILE_SCHEMA, IMPORT_PLUGIN, SAMPLE_FIELDS

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def create_dataset(
    store: Store,
    name: str,
    file: VectorFile,
    ids: Sequence[str],
    vectors: Sequence[str],
    label: str | None,
    group: str | None,
    levels: Sequence[str] = (),
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

    Raises
    ------
    DataError
        If a sample has no group or no unit.
    StoreError
        If another dataset of this name is there.
    UsageError
        If the name of the dataset or of the group is not allowed.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"The dataset name {name!r} is not allowed.",
            next="Use up to 64 letters, digits, _ and -, beginning with a letter or digit.",
        )
    units = list(dict.fromkeys([*([group] if group else []), *levels]))
    for unit in units:
        if unit in RESERVED_COLUMNS:
            raise UsageError(
                f"The group or level cannot be called {unit!r}.", next=f"Rename the column, such as to {unit}_id."
            )
    label = label or ("label" if "label" in file.schema.names else None)
    metadata = dict(_metadata(file, vectors, label, units))
    labels = file.texts(label) if label else [None] * len(ids)
    samples = _samples(name, ids, labels, metadata)
    for unit in units:
        if samples.column(unit).null_count:
            row = samples.column(unit).to_pylist().index(None)
            raise DataError(
                f"The sample {ids[row]!r} has no {unit}.", next="Give every sample one, or name another column."
            )
    record = _record(name, file, labels, metadata, group, levels)
    if not _is_there(store, record, samples):
        store.save_dataset(record, samples, FILE_SCHEMA.empty_table())
    return record


def _samples(
    name: str, ids: Sequence[str], labels: Sequence[str | None], metadata: Mapping[str, pa.ChunkedArray]
) -> pa.Table:
    columns = {f.name: pa.nulls(len(ids), f.type) for f in SAMPLE_FIELDS}
    columns["id"] = pa.array(ids, pa.string())
    columns["content"] = pa.array([digest_bytes(b"import", name.encode(), i.encode()) for i in ids], pa.binary(16))
    columns["image"] = pa.array([[] for _ in ids], pa.list_(pa.string()))
    columns["label"] = pa.array(labels, pa.string())
    fields = [pa.field(column, values.type) for column, values in metadata.items()]
    return pa.table({**columns, **metadata}, schema=pa.schema([*SAMPLE_FIELDS, *fields]))


def _record(
    name: str,
    file: VectorFile,
    labels: Sequence[str | None],
    metadata: Mapping[str, pa.ChunkedArray],
    group: str | None,
    levels: Sequence[str],
) -> DatasetRecord:
    counts = Counter(labels)
    classes = tuple(sorted(value for value in counts if value is not None))
    return DatasetRecord(
        name=name,
        plugin=IMPORT_PLUGIN,
        plugin_version="1",
        distribution=f"histokit {__version__}",
        root=str(file.path.resolve()),
        options={},
        classes=classes,
        positive=classes[-1] if len(classes) == 2 else None,
        metric="accuracy",
        channels=(),
        columns={column: _KINDS[values.type] for column, values in metadata.items()},
        group=group,
        levels=tuple(levels),
        state=None,
        count=len(labels),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        labels={value or "": counts[value] for value in sorted(counts, key=lambda value: value or "")},
    )


_KINDS = {pa.string(): "str", pa.int64(): "int", pa.float64(): "float", pa.bool_(): "bool"}


def _metadata(
    file: VectorFile, vectors: Sequence[str], label: str | None, units: Sequence[str]
) -> Iterator[tuple[str, pa.ChunkedArray]]:
    taken = {*vectors, *RESERVED_COLUMNS, file.id, *([label] if label else [])} - {*units}
    for field in file.schema:
        if field.name in taken or pa.types.is_nested(field.type):
            continue
        if field.name in units:
            yield field.name, pa.chunked_array([pa.array(file.texts(field.name), pa.string())])
            continue
        chunks = [batch.column(0) for batch in file.batches([field.name])]
        try:
            yield field.name, pa.chunked_array(chunks, field.type).cast(_stored_type(field.type))
        except pa.ArrowInvalid as error:
            reason = str(error).partition(": ")[2] or str(error)
            raise DataError(
                f"The column {field.name!r} of {str(file.path)!r} cannot be stored as metadata: {reason}.",
                next="Save the file in UTF-8, and whole numbers within 64 bits; or leave the column out.",
            ) from error


def _stored_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_boolean(kind):
        return pa.bool_()
    if pa.types.is_integer(kind):
        return pa.int64()
    return pa.float64() if is_number(kind) else pa.string()


def _is_there(store: Store, record: DatasetRecord, samples: pa.Table) -> bool:
    known = next((found for found in store.datasets() if found.name == record.name), None)
    if known is None:
        return False
    if known.plugin == IMPORT_PLUGIN and replace(known, created=record.created, root=record.root) == record:
        stored = store.samples(record.name)
        if stored.replace_schema_metadata(None).equals(samples):
            return True
    raise StoreError(
        f"Another dataset {record.name!r} is there already.",
        next="Leave --create out to add vectors to it, or choose another name.",
    )
