"""Checks of feature tables: header, schema, keys, vectors, completeness."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histokit.errors import counted
from histokit.store.change_digests import unsealed
from histokit.store.database import Database, quote
from histokit.store.findings import INCOMPLETE, FaultTally, Finding, remove_folder
from histokit.store.fingerprints import row_key, spec_fingerprint, table_name
from histokit.store.ingested_tables import Ingested
from histokit.store.records import DatasetRecord
from histokit.store.repeat_commands import make_again
from histokit.store.vector_rows import as_matrix, finite_rows, row_checks
from histokit.store.vectors import HEADER_KEY, STORE_DTYPES, FeatureTable

Prefixes = npt.NDArray[np.uint64]

_PREFIX_BYTES = 8


def feature_table(name: str, schema: pa.Schema) -> tuple[FeatureTable | None, list[str]]:
    """Return the header of a feature table, and what does not fit it; its width is 0 where its rows cannot be read."""
    try:
        header = json.loads(unsealed({}, schema.metadata[HEADER_KEY].decode()))
        spec, info, width = dict(header["spec"]), dict(header["info"]), header.get("width")
        made = table_name(header["dataset"], spec["backbone"], spec["layer"], spec_fingerprint(spec))
    except (ValueError, KeyError, TypeError) as error:
        return None, [f"its header cannot be read: {type(error).__name__} {error}"]
    wrong = list(_schema_differences(schema, str(spec.get("store_dtype", "float32"))))
    found = 0 if wrong else int(schema.field("vector").type.list_size)
    if found and width is not None and found != width:
        wrong.append(f"its vectors have {found} numbers; its header says {width}")
    if found and info.get("columns") and len(info["columns"]) != found:
        wrong.append(f"its vectors have {found} numbers; its header names {len(info['columns'])} filters")
    if made != name:
        wrong.append(f"its header says that it is the table {made!r}")
    checked = "check" in schema.names and found == (found if width is None else width)
    return FeatureTable(name, header["dataset"], spec, found, info, checked), wrong


def _schema_differences(schema: pa.Schema, dtype: str) -> Iterator[str]:
    found = {field.name: field.type for field in schema}
    kinds = {"key": pa.binary(), "id": pa.string(), "content": pa.binary(16)}
    if "check" in found:
        kinds["check"] = pa.uint64()
    for name, kind in kinds.items():
        if found.get(name) != kind:
            yield f"its column {name!r} is {found.get(name, 'absent')} instead of {kind}"
    vector = found.get("vector")
    if vector is None or not pa.types.is_fixed_size_list(vector) or vector.value_type != STORE_DTYPES.get(dtype):
        yield f"its column 'vector' is {vector or 'absent'} instead of a list of {dtype} of a fixed size"


class FeatureCheck:
    """Looks at the rows of one feature table, batch by batch.

    Eight bytes of each key are held, to find doubled and missing rows.

    Parameters
    ----------
    table : FeatureTable
    """

    def __init__(self, table: FeatureTable):
        self.table = table
        self._strange_keys = FaultTally()
        self._not_finite = FaultTally()
        self._changed = FaultTally()
        self._prefixes: list[Prefixes] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Look at a batch of rows."""
        keys, ids, contents = (batch.column(name).to_pylist() for name in ("key", "id", "content"))
        rows = zip(keys, ids, contents, strict=True)
        self._strange_keys.add(i for key, i, content in rows if key != row_key(i or "", content or b""))
        self._prefixes.append(prefixes(keys))
        matrix = as_matrix(batch.column("vector"), self.table.width)
        same = np.ones(len(matrix), dtype=bool)
        if self.table.checked:
            same = row_checks(matrix) == batch.column("check").to_numpy()
        self._changed.add(ids[row] for row in np.flatnonzero(~same))
        self._not_finite.add(ids[row] for row in np.flatnonzero(same & ~finite_rows(matrix)))

    def findings(self, database: Database, expected: Prefixes | None) -> Iterator[Finding]:
        """Yield what is wrong, after all rows.

        Parameters
        ----------
        database : Database
        expected : array of uint64, optional
            The keys of the samples that should have a vector; none where that is not known.
        """
        name, again = self.table.name, make_again(self.table)
        remove = remove_folder(database.uri, name, [again])
        if self._strange_keys.count:
            rows = counted(self._strange_keys.count, "row has a key not of its", "rows have a key not of their")
            yield Finding(name, "key", f"{rows} id and content: {self._strange_keys}", remove)
        if self._changed.count:
            vectors = counted(self._changed.count, "vector is not the one that was", "vectors are not those that were")
            yield Finding(name, "changed", f"{vectors} written: {self._changed}", remove)
        if self._not_finite.count:
            vectors = counted(self._not_finite.count, "vector holds", "vectors hold")
            yield Finding(name, "vector", f"{vectors} NaN or infinity: {self._not_finite}", remove)
        stored = joined(self._prefixes)
        doubled = np.unique(stored[1:][stored[1:] == stored[:-1]])
        if len(doubled):
            shown = FaultTally()
            shown.add(_ids_of(database, name, doubled))
            samples = counted(shown.count, "sample is", "samples are")
            yield Finding(name, "doubled", f"{samples} there more than once: {shown}", remove)
        if expected is not None:
            yield from self._missing(expected, stored, again)

    def _missing(self, expected: Prefixes, stored: Prefixes, again: str) -> Iterator[Finding]:
        missing = len(expected) - int(contained(expected, stored).sum())
        if missing > int(self.table.info.get("missing", 0)):
            forms = (f"of {len(expected):,} samples {has} no vector" for has in ("has", "have"))
            what = f"{counted(missing, *forms)}: not extracted yet, or lost"
            yield Finding(self.table.name, INCOMPLETE, what, f"Run: {again}")


def prefixes(keys: list[bytes | None]) -> Prefixes:
    """Return the first eight bytes of each key as numbers."""
    return np.frombuffer(b"".join((key or b"")[:_PREFIX_BYTES].ljust(_PREFIX_BYTES) for key in keys), np.uint64)


def joined(chunks: list[Prefixes]) -> Prefixes:
    """Return all numbers in one sorted array; the list is emptied, so that they are held once."""
    found = np.empty(sum(map(len, chunks)), np.uint64)
    start = 0
    while chunks:
        chunk = chunks.pop()
        found[start : start + len(chunk)] = chunk
        start += len(chunk)
    found.sort()
    return found


def contained(values: Prefixes, known: Prefixes) -> npt.NDArray[np.bool_]:
    """Return which numbers are among sorted ones."""
    if not len(known):
        return np.zeros(len(values), bool)
    places = np.searchsorted(known, values)
    np.minimum(places, len(known) - 1, out=places)
    return known[places] == values


def expected_prefixes(database: Database, record: DatasetRecord) -> Prefixes:
    """Return the keys of the samples that could be read at ingestion, eight bytes of each, sorted."""
    found: list[Prefixes] = []
    for batch in Ingested(database, record, "samples").batches(["id", "content"]):
        pairs = zip(batch.column("id").to_pylist(), batch.column("content").to_pylist(), strict=True)
        found.append(prefixes([row_key(i, content) for i, content in pairs if content is not None]))
    return joined(found)


def problem_prefixes(database: Database, table: FeatureTable) -> Prefixes:
    """Return the keys of the samples that are known to have no vector in a table, eight bytes of each, sorted."""
    if not database.exists("problems"):
        return np.empty(0, np.uint64)
    where = f"dataset = {quote(table.dataset)} AND stage IN ('extract', {quote(table.name)}) AND content IS NOT NULL"
    rows = database.read("problems", ["id", "content"], where).to_pylist()
    return joined([prefixes([row_key(row["id"], row["content"]) for row in rows])])


def width_differences(tables: Mapping[str, FeatureTable]) -> Iterator[Finding]:
    """Yield the tables whose vectors are of another length than those of the same spec elsewhere."""
    first: dict[str, FeatureTable] = {}
    for table in tables.values():
        known = first.setdefault(table.fingerprint, table)
        if known.width != table.width:
            what = f"its vectors have {table.width} numbers; those of {known.name!r}, of the same spec, {known.width}"
            yield Finding(table.name, "schema", what, "Find out which one is right, and make the other one anew.")


def _ids_of(database: Database, name: str, wanted: Prefixes) -> Iterator[Any]:
    seen: set[str] = set()
    for batch in database.batches(name, ["key", "id"]):
        hit = np.isin(prefixes(batch.column("key").to_pylist()), wanted)
        for row in np.flatnonzero(hit):
            sample_id = batch.column("id")[int(row)].as_py()
            if sample_id not in seen:
                seen.add(sample_id)
                yield sample_id
