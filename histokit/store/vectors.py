"""Feature tables: the vectors of one dataset × backbone × layer × spec."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histokit.errors import DataError, StoreError
from histokit.plugin.digests import canonical_json
from histokit.store.database import PRIMARY_KEY, Database
from histokit.store.fingerprints import row_key, spec_fingerprint, table_name

HEADER_KEY = b"histokit.features"

#: What the weights of vectors that were computed elsewhere begin with; their version follows.
IMPORTED = "import:"

_COPIED_AT_ONCE = 4_096


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
    """

    name: str
    dataset: str
    spec: Mapping[str, Any]
    width: int
    info: Mapping[str, Any] = field(default_factory=dict)

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
    def imported(self) -> bool:
        """Whether the vectors were computed elsewhere, so that no network can make them anew."""
        return str(self.spec.get("weights", "")).startswith(IMPORTED)

    @property
    def columns(self) -> list[str]:
        """The names of the filters, in the order of the vector."""
        names = self.info.get("columns")
        return list(names) if names else [str(i) for i in range(self.width)]


def list_tables(database: Database, dataset: str | None = None) -> list[FeatureTable]:
    """Return the feature tables of a dataset, or of all, in depth order for each backbone."""
    prefix = "features." if dataset is None else f"features.{dataset}."
    tables = [read_header(database, name) for name in database.names(prefix)]
    return sorted(tables, key=lambda t: (t.dataset, t.backbone, t.info.get("index", 0), t.layer, t.fingerprint))


def read_header(database: Database, name: str) -> FeatureTable:
    """Return the header of a feature table.

    Raises
    ------
    StoreError
        If the table was not written by histokit, or is not what it says.
    """
    schema = database.schema(name)
    text = (schema.metadata or {}).get(HEADER_KEY)
    if text is None:
        raise StoreError(
            f"The table {name!r} is no feature table of histokit.", next="Move it out of the store, or drop it."
        )
    try:
        header = json.loads(text)
        width = schema.field("vector").type.list_size
        return FeatureTable(name, header["dataset"], header["spec"], width, header["info"])
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
    """
    name = table_name(dataset, str(spec["backbone"]), str(spec["layer"]), spec_fingerprint(spec))
    if not database.exists(name):
        header = canonical_json({"dataset": dataset, "spec": spec, "info": info, "width": width})
        database.create(name, _schema(width).with_metadata({HEADER_KEY: header.encode()}))
    table = read_header(database, name)
    if table.width != width:
        raise StoreError(
            f"The table {name!r} has vectors of {table.width} numbers; the network gave {width}.",
            next="Check the store with: histokit store verify",
        )
    return table


def _schema(width: int) -> pa.Schema:
    return pa.schema(
        [
            # Lance notices that two processes insert the same key only for keys of variable length:
            # with pa.binary(16), concurrent merge-inserts doubled rows.
            pa.field("key", pa.binary(), nullable=False, metadata=PRIMARY_KEY),
            pa.field("id", pa.string(), nullable=False),
            pa.field("content", pa.binary(16), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), width), nullable=False),
        ]
    )


def insert_vectors(
    database: Database,
    table: FeatureTable,
    ids: Sequence[str],
    contents: Sequence[bytes],
    vectors: npt.NDArray[np.float32] | Sequence[npt.NDArray[np.float32]],
) -> int:
    """Insert the rows that are not there yet; return their number.

    Raises
    ------
    DataError
        If a vector holds NaN or infinity; names the layer and the sample.
    """
    matrix = np.ascontiguousarray(vectors, dtype=np.float32).reshape(len(ids), table.width)
    finite = np.isfinite(matrix).all(axis=1)
    if not finite.all():
        bad = ids[int(np.argmin(finite))]
        raise DataError(
            f"{table.address} gave NaN or infinity for the sample {bad!r}.",
            next="Try --precision float32, or check the weights and the image.",
        )
    schema = _schema(table.width)
    keys = [row_key(i, c) for i, c in zip(ids, contents, strict=True)]
    flat = pa.array(matrix.reshape(-1))
    columns = [
        pa.array(keys, pa.binary()),
        pa.array(list(ids), pa.string()),
        pa.array(list(contents), pa.binary(16)),
        pa.FixedSizeListArray.from_arrays(flat, type=schema.field("vector").type),
    ]
    return database.insert_missing(table.name, pa.table(columns, schema=schema), "key")


def stored_keys(database: Database, table: FeatureTable) -> set[bytes]:
    """Return the keys of all rows."""
    return set(database.read(table.name, ["key"]).column("key").to_pylist())


def read_vectors(
    database: Database, table: FeatureTable, keys: Sequence[bytes]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.intp]]:
    """Return the vectors of keys.

    Returns
    -------
    vectors : (m, width) float32 array
        Of the keys that are there, in the order of `keys`.
    missing : array of int
        Positions in `keys` of those that are not.
    """
    rows = database.read(table.name, ["key", "vector"])
    position = {key: i for i, key in enumerate(rows.column("key").to_pylist())}
    found = np.array([position.get(key, -1) for key in keys], dtype=np.intp)
    matrix = _matrix(rows.column("vector"), table.width)
    missing = np.flatnonzero(found < 0)
    kept = found[found >= 0]
    ordered = len(kept) == len(matrix) and bool((kept == np.arange(len(kept))).all())
    return (matrix if ordered else matrix[kept]), missing


def vectors_by_content(
    database: Database, table: FeatureTable, contents: set[bytes]
) -> Iterator[dict[bytes, npt.NDArray[np.float32]]]:
    """Yield, some thousand at a time, one vector for each of the contents that the table holds under any id."""
    # One version for both reads, because merging fragments moves rows.
    version = database.table(table.name)
    here = version.to_table(columns=["content"], scan_in_order=True).column("content").to_pylist()
    rows = sorted({content: i for i, content in enumerate(here) if content in contents}.values())
    for start in range(0, len(rows), _COPIED_AT_ONCE):
        found = version.take(rows[start : start + _COPIED_AT_ONCE], columns=["content", "vector"])
        yield dict(zip(found.column("content").to_pylist(), _matrix(found.column("vector"), table.width), strict=True))


def _matrix(column: pa.ChunkedArray, width: int) -> npt.NDArray[np.float32]:
    chunks = [c.flatten().to_numpy(zero_copy_only=True).reshape(-1, width) for c in column.chunks if len(c)]
    if not chunks:
        return np.empty((0, width), dtype=np.float32)
    return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)
