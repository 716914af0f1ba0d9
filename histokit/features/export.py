"""Features written to a file that other programs read: Parquet, CSV, NumPy or AnnData."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histokit.datasets.formulas import guarded, guarded_text
from histokit.errors import UsageError, unwritten_output
from histokit.features.feature_set import FeatureSet
from histokit.features.feature_store import FeatureStore, StoreLike, open_store
from histokit.features.normalisation import parse_normalisation
from histokit.features.normalised import normalise as normalise_by
from histokit.features.sample_columns import PROVENANCE_KEY, column_types, flat, obs_names
from histokit.features.slide_files import check_layout, export_slides
from histokit.features.spatial import LIBRARY
from histokit.files import check_output, replaced

_ROWS_AT_ONCE = 4_096
_HIDDEN = ("content",)


def export(
    store: StoreLike,
    dataset: str,
    features: str,
    out: str | Path,
    *,
    where: str | None = None,
    normalise: str | None = None,
    controls: str | None = None,
    per: str | None = None,
    allow_missing: bool = False,
    raw: bool = False,
    layout: str | None = None,
) -> Path:
    """Write features of a dataset to a file for other programs, as `export_features` or `export_slides` does.

    Parameters
    ----------
    store : FeatureStore or path
    dataset : str
    features : str
        An address.
    out : path
        A ``.parquet``, ``.csv``, ``.tsv``, ``.npz`` or ``.h5ad`` file; with `layout` a folder.
    where : str, optional
        A filter over the columns of the samples.
    normalise, controls, per : str, optional
        As in `histokit.train`. Controls are written as well, where `where` keeps them.
    allow_missing : bool
        Go on without samples whose features are missing.
    raw : bool
        Write texts of CSV files as they are, also those that a spreadsheet would run as formulas.
    layout : str, optional
        ``trident`` or ``stamp``: an HDF5 file for each slide, as these programs read it.

    Returns
    -------
    Path

    Raises
    ------
    DataError, StoreError, UsageError
    """
    if layout is None:
        check_suffix(Path(out))
    else:
        check_layout(layout)
    asked = {"normalise": normalise, "controls": controls, "per": per}
    found, _ = open_for_export(open_store(store), dataset, features, where=where, allow_missing=allow_missing, **asked)
    if layout is None:
        return export_features(found, out, raw=raw)
    export_slides(found, out, layout)
    return Path(out)


def open_for_export(
    store: FeatureStore,
    dataset: str,
    features: str,
    *,
    where: str | None,
    allow_missing: bool,
    normalise: str | None,
    controls: str | None,
    per: str | None,
) -> tuple[FeatureSet, list[str]]:
    """Return the features that `export` writes, and what is to be known of them."""
    asked = parse_normalisation(normalise, controls, per)
    found = store.features(dataset, features, where=where, allow_missing=allow_missing)
    if asked is None:
        return found, []
    by = store.features(dataset, features, where=asked.controls, allow_missing=allow_missing)
    return normalise_by(found, by, asked)


def export_features(features: FeatureSet, path: str | Path, *, raw: bool = False) -> Path:
    """Write features with ids, labels, groups, metadata and the provenance of each column.

    ``.parquet`` holds a row for each sample: the columns of the samples, then one float32 column for each feature,
    called as in `FeatureSet.column_names`; the provenance is JSON in the schema metadata under
    ``histokit.provenance``. ``.csv`` and ``.tsv`` hold the same columns, texts in quotes and lists as JSON (a path
    that is alone as it is), and no provenance but the names of the features; texts that begin as formulas of
    spreadsheets have an apostrophe before them. ``.npz`` holds the arrays ``X`` (n × d
    float32), ``sample_ids``, ``labels`` (empty text where there is none), ``groups`` (only where the dataset has a
    group), ``column_names``, and as JSON text ``metadata`` (column → values) and ``provenance``; it loads without
    pickle. ``.h5ad`` is `FeatureSet.to_anndata` with the provenance in ``uns["histokit"]``. What is written comes back
    by `import_features`.

    Parameters
    ----------
    features : FeatureSet
    path : path
        Replaced in one step where it is there.
    raw : bool
        Leave out the apostrophes.

    Returns
    -------
    Path

    Raises
    ------
    UsageError
        If the suffix is none of these, two columns have the same name, or the file cannot be written.
    """
    path = Path(path)
    write = check_suffix(path)
    names = features.column_names
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"Two columns are called {twice!r}.", next="Export features that hold each column once.")
    try:
        with replaced(path) as part:
            write(features, part, raw)
    except OSError as error:
        raise unwritten_output(path, error, "a path in a folder that exists") from error
    return path


def check_suffix(path: Path) -> Callable[[FeatureSet, Path, bool], None]:
    """Return what writes a file of this name.

    Raises
    ------
    UsageError
        If nothing does, or nothing can be written there.
    """
    return _WRITERS[check_output(path, _WRITERS).suffix.lower()]


def provenance(features: FeatureSet) -> dict[str, Any]:
    """Return where features come from, as JSON-serialisable data."""
    parts = [
        {
            "address": part.address,
            "backbone": part.backbone,
            "layer": part.layer,
            "fingerprint": part.fingerprint,
            "filters": part.filters.tolist(),
            "names": list(part.names),
        }
        for part in features.parts
    ]
    record = features.record
    found = {
        "dataset": record.name,
        "address": features.address,
        "group": record.group,
        "columns": features.column_names,
    }
    steps = {"steps": list(features.steps)} if features.steps else {}
    return {**found, "parts": parts, "types": column_types(features.samples), **steps}


def _metadata(features: FeatureSet) -> list[str]:
    hidden = {*_HIDDEN, "id", "label"}
    return [name for name in features.samples.column_names if name not in hidden]


def _write_parquet(features: FeatureSet, path: Path, _: bool) -> None:
    from pyarrow import parquet

    samples = features.samples.drop_columns(list(_HIDDEN))
    if "box" in samples.column_names:
        # Of lists of a fixed size, pyarrow before version 26 reads no missing ones.
        place = samples.column_names.index("box")
        samples = samples.set_column(place, "box", samples.column("box").cast(pa.list_(pa.int32())))
    columns = [pa.field(name, pa.float32()) for name in features.column_names]
    document = json.dumps(provenance(features), ensure_ascii=False).encode()
    schema = pa.schema([*samples.schema, *columns], metadata={PROVENANCE_KEY: document})
    with parquet.ParquetWriter(path, schema) as writer:
        for piece in _pieces(features, samples, schema):
            writer.write_table(piece)


def _pieces(features: FeatureSet, samples: pa.Table, schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the samples with their features as columns of a schema, some rows at once; one without rows of none."""
    for start in range(0, max(1, len(features)), _ROWS_AT_ONCE):
        rows = samples.slice(start, _ROWS_AT_ONCE)
        block = np.ascontiguousarray(features.X[start : start + _ROWS_AT_ONCE].T)
        arrays = [*rows.combine_chunks().columns, *(pa.array(column) for column in block)]
        yield pa.table(arrays, schema=schema)


def _write_csv(features: FeatureSet, path: Path, raw: bool, separator: str = ",") -> None:
    from pyarrow import csv

    samples = flat(features.samples.drop_columns(list(_HIDDEN)))
    samples = samples if raw else guarded(samples)
    names = features.column_names if raw else map(guarded_text, features.column_names)
    schema = pa.schema([*samples.schema, *(pa.field(name, pa.float32()) for name in names)])
    options = csv.WriteOptions(delimiter=separator)
    with csv.CSVWriter(path, schema, write_options=options) as writer:
        for piece in _pieces(features, samples, schema):
            writer.write_table(piece)


def _write_tsv(features: FeatureSet, path: Path, raw: bool) -> None:
    _write_csv(features, path, raw, "\t")


def _write_npz(features: FeatureSet, path: Path, _: bool) -> None:
    samples = flat(features.samples)
    metadata = {name: samples.column(name).to_pylist() for name in _metadata(features)}
    arrays: dict[str, Any] = {
        "X": features.X,
        "sample_ids": _texts(features.sample_ids),
        "labels": _texts(features.labels),
        "column_names": _texts(features.column_names),
        "metadata": np.array(json.dumps(metadata, ensure_ascii=False)),
        "provenance": np.array(json.dumps(provenance(features), ensure_ascii=False)),
    }
    groups = features.groups()
    if groups is not None:
        arrays["groups"] = _texts(groups)
    np.savez(path, **arrays)


def _texts(values: Any) -> npt.NDArray[np.str_]:
    return np.array(["" if value is None else str(value) for value in values], dtype=np.str_)


def _write_h5ad(features: FeatureSet, path: Path, _: bool) -> None:
    annotated = features.to_anndata()
    document = {**provenance(features), "renamed": {new: old for old, new in obs_names(features.samples).items()}}
    # What is no column of the samples is not to come back as one.
    document["added"] = [LIBRARY] if LIBRARY in annotated.obs and LIBRARY not in features.samples.column_names else []
    annotated.uns["histokit"] = json.dumps(document, ensure_ascii=False)
    annotated.write_h5ad(path)


_WRITERS: dict[str, Callable[[FeatureSet, Path, bool], None]] = {
    ".parquet": _write_parquet,
    ".csv": _write_csv,
    ".tsv": _write_tsv,
    ".npz": _write_npz,
    ".h5ad": _write_h5ad,
}
