"""Feature tables: the vectors of one dataset × backbone × layer × spec."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histokit.errors import HistokitError, StoreError, UnreachableError, UsageError, did_you_mean
from histokit.plugin.digests import canonical_json
from histokit.store.change_digests import sealed, unsealed
from histokit.store.database import PRIMARY_KEY, Database
from histokit.store.fingerprints import spec_fingerprint, table_name
from histokit.store.vector_rows import StoredVectors, find

HEADER_KEY = b"histokit.features"

#: What the weights of vectors that were computed elsewhere begin with; their version follows.
IMPORTED = "import:"

#: What the numbers of a vector may be stored as; reading always gives float32.
STORE_DTYPES = {"float32": pa.float32(), "float16": pa.float16()}


@dataclass(frozen=True)
class FeatureTable:
    """The header of a feature table.

    Parameters
    ----------
    name : str
        Of the table in the database.
    dataset : str
    spec : mapping
        Backbone, weights, layer, pooling, preprocessing, precision: all that the vectors depend on.
    width : int
        Length of the vectors.
    info : mapping
        Facts that do not alter the vectors: ``index`` (depth order), ``layers`` (names of all curated
        layers) and ``merged`` (those that ``all`` merges), ``aliases`` (``last`` where it is the last one),
        ``columns`` (names of filters).
    checked : bool
        Whether its rows have a check number of their vector.
    """

    name: str
    dataset: str
    spec: Mapping[str, Any]
    width: int
    info: Mapping[str, Any] = field(default_factory=dict)
    checked: bool = True

    @property
    def dtype(self) -> str:
        """What the numbers of the vectors are stored as: ``float32`` or ``float16``."""
        return store_dtype(self.spec)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the spec."""
        return spec_fingerprint(self.spec)

    @property
    def backbone(self) -> str:
        """The whole name of the network."""
        return str(self.spec["backbone"])

    @property
    def layer(self) -> str:
        """The name of the cut point, its pooling included where it is not the layer's own."""
        return str(self.spec["layer"])

    @property
    def address(self) -> str:
        """The canonical feature address, without fingerprint."""
        return f"{self.backbone}/{self.layer}"

    @property
    def variant(self) -> dict[str, Any]:
        """All of the spec but the layer: one forward pass fills the tables that have the same."""
        return {name: value for name, value in self.spec.items() if name not in ("layer", "module", "pool")}

    @property
    def imported(self) -> bool:
        """Whether the vectors were computed elsewhere, so that no network can make them anew."""
        return str(self.spec.get("weights", "")).startswith(IMPORTED)

    @property
    def version(self) -> str:
        """The version that imported vectors were given; empty for others."""
        return str(self.spec["weights"]).removeprefix(IMPORTED) if self.imported else ""

    @property
    def weights(self) -> str:
        """The weights for people: their file, ``random:SEED`` or ``none``; the version of imported vectors."""
        return self.version if self.imported else str(self.info.get("source") or self.spec.get("weights", ""))

    @property
    def columns(self) -> list[str]:
        """The names of the filters, in the order of the vector; of channels that went in alone with that before it."""
        each = (self.spec.get("preprocess") or {}).get("adapter") == "each"
        channels = list(self.spec["channels"]) if each else []
        names = list(self.info.get("columns") or map(str, range(self.width // max(1, len(channels)))))
        return [f"{channel}:{name}" for channel in channels for name in names] if each else names


def list_tables(
    database: Database, dataset: str | None = None, unreadable: Callable[[HistokitError], None] | None = None
) -> list[FeatureTable]:
    """Return the feature tables of a dataset, or of all, in depth order for each backbone.

    `unreadable` is told of tables that cannot be read, which are an error where it is not given.
    """
    prefix = "features." if dataset is None else f"features.{dataset}."
    tables = []
    for name in database.names(prefix):
        try:
            tables.append(read_header(database, name))
        except (StoreError, UnreachableError) as error:
            if unreadable is None:
                raise
            unreadable(error)
    return sorted(tables, key=lambda t: (t.dataset, t.backbone, t.info.get("index", 0), t.layer, t.fingerprint))


def read_header(database: Database, name: str) -> FeatureTable:
    """Return the header of a feature table.

    Raises
    ------
    StoreError
        If the table was not written by histokit, or is not what it says.
    """
    return database.unchanged(name, "header", lambda: _header(name, database.schema(name)))


def _header(name: str, schema: pa.Schema) -> FeatureTable:
    text = (schema.metadata or {}).get(HEADER_KEY)
    if text is None:
        raise StoreError(
            f"The table {name!r} is no feature table of histokit.", next="Move it out of the store, or drop it."
        )
    try:
        header = json.loads(unsealed({}, text.decode()))
        width = schema.field("vector").type.list_size
        checked = "check" in schema.names
        return FeatureTable(name, header["dataset"], header["spec"], width, header["info"], checked)
    except (ValueError, KeyError, AttributeError) as error:
        raise StoreError(
            f"The columns of the table {name!r} are not those of a feature table: {error}.",
            next="Check the store with: histokit store verify",
        ) from error


def create_table(
    database: Database, dataset: str, spec: Mapping[str, Any], width: int, info: Mapping[str, Any]
) -> FeatureTable:
    """Make the table of a spec, or return the one that is there.

    Raises
    ------
    StoreError
        If the table that is there has another width.
    UsageError
        If the spec's ``store_dtype`` is unknown.
    """
    name = table_name(dataset, str(spec["backbone"]), str(spec["layer"]), spec_fingerprint(spec))
    if not database.exists(name):
        header = sealed({}, canonical_json({"dataset": dataset, "spec": spec, "info": info, "width": width}))
        schema = rows_schema(width, store_dtype(spec)).with_metadata({HEADER_KEY: header.encode()})
        database.create(name, schema, compress=False)
    table = read_header(database, name)
    if table.width != width:
        raise StoreError(
            f"The table {name!r} has vectors of {table.width} numbers; the network gave {width}.",
            next="Check the store with: histokit store verify",
        )
    return table


def store_dtype(spec: Mapping[str, Any]) -> str:
    """Return what a spec says that the numbers of the vectors are stored as.

    Raises
    ------
    UsageError
        If it is none of `STORE_DTYPES`.
    """
    name = str(spec.get("store_dtype", "float32"))
    if name not in STORE_DTYPES:
        hint = did_you_mean(name, STORE_DTYPES)
        raise UsageError(f"Vectors cannot be stored as {name!r}.", next=f"{hint}Use one of {', '.join(STORE_DTYPES)}.")
    return name


def rows_schema(width: int, dtype: str = "float32", checked: bool = True) -> pa.Schema:
    """Return the columns of a feature table."""
    fields = [
        # Of variable length and marked as a key, which let earlier versions notice that two inserted the same one.
        pa.field("key", pa.binary(), nullable=False, metadata=PRIMARY_KEY),
        pa.field("id", pa.string(), nullable=False),
        pa.field("content", pa.binary(16), nullable=False),
        pa.field("vector", pa.list_(STORE_DTYPES[dtype], width), nullable=False),
        pa.field("check", pa.uint64(), nullable=False),
    ]
    return pa.schema(fields if checked else fields[:-1])


def find_vectors(database: Database, table: FeatureTable, samples: pa.Table) -> StoredVectors:
    """Return where in a table the vectors of samples are.

    Parameters
    ----------
    database : Database
    table : FeatureTable
    samples : pyarrow.Table
        With the columns ``id`` and ``content``.
    """
    # One version for all reads, because merging fragments moves rows.
    version = database.table(table.name)
    with database.reading(table.name):
        stored = version.to_table(columns=["content", "id"], scan_in_order=True)
    return StoredVectors(version, find(samples, stored))


def read_vectors(
    database: Database, table: FeatureTable, samples: pa.Table
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.intp]]:
    """Return the vectors of samples.

    Parameters
    ----------
    samples : pyarrow.Table
        With the columns ``id`` and ``content``.

    Returns
    -------
    vectors : (m, width) float32 array
        Of the samples that have one, in their order.
    missing : array of int
        Positions of those that have none.
    """
    found = find_vectors(database, table, samples)
    matrix = np.empty((int(found.present.sum()), table.width), dtype=np.float32)
    copy_vectors(database, table, found, found.present, matrix)
    return matrix, np.flatnonzero(~found.present)


def copy_vectors(
    database: Database,
    table: FeatureTable,
    found: StoredVectors,
    kept: npt.NDArray[np.bool_],
    out: npt.NDArray[np.float32],
) -> None:
    """Copy the vectors of the samples of a mask, none of them missing, to the rows of a matrix or of its columns."""
    with database.reading(table.name):
        found.copy(found.places[kept], out)
