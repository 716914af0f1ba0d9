"""Vectors in a file of arrays (NumPy's ``.npz`` or AnnData's ``.h5ad``), as the table that they stand for."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from histokit.datasets import cells, tables
from histokit.errors import DataError, UsageError, first_line
from histokit.features.sample_columns import PROVENANCE_KEY, arrow_columns
from histokit.plugin.signatures import refuse_stand_in

SUFFIXES = (".npz", ".h5ad")

#: What libraries raise for files that are none of their kind, cut off or changed.
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)

_NPZ = "Give the arrays X (n × d) and sample_ids (n), and if you like labels, column_names and groups."


def read_arrays(path: Path, id: str, notes: list[str]) -> pa.Table:
    """Read a file of arrays.

    Parameters
    ----------
    path : Path
        ``.npz`` with the arrays that `histokit.features.export_features` writes, at least ``X`` and ``sample_ids``; or
        ``.h5ad``, whose ``X`` are the vectors, ``obs_names`` the ids and ``obs`` the columns of samples.
    id : str
        What to call the column of ids.
    notes : list of str
        Added to: what the user should know.

    Returns
    -------
    pyarrow.Table
        Ids, columns of the samples, then a column for each feature; with the provenance of the vectors, in its
        schema metadata, so that no number of a sample is taken for a feature.

    Raises
    ------
    DataError
        If the file cannot be read, or its vectors are no numbers.
    """
    try:
        return _read_npz(path, id, notes) if path.suffix.lower() == ".npz" else _read_h5ad(path, id, notes)
    except _UNREADABLE as error:
        refuse_stand_in(path)
        raise DataError(
            f"The file {str(path)!r} cannot be read: {first_line(error)}.", next="Write it anew."
        ) from error


def check_vectors(path: Path, kind: np.dtype[Any], shape: tuple[int, ...], notes: list[str]) -> None:
    """Raise a `DataError` unless vectors are a matrix of real numbers; note where they are whole ones.

    Raises
    ------
    DataError
    """
    if len(shape) != 2:
        raise DataError(
            f"The vectors of {str(path)!r} have the shape {shape}.", next="Give a matrix with a row for each sample."
        )
    if kind.kind not in "fiu":
        raise DataError(
            f"The vectors of {str(path)!r} are of the type {kind}, which is no real number.",
            next="Save them as float32: of complex numbers, say which part; of objects or texts, convert them.",
        )
    note_integers(kind, notes)


def note_integers(kind: np.dtype[Any], notes: list[str]) -> None:
    """Note where vectors are of small whole numbers, which may be what is left of others."""
    if kind.kind in "iu" and kind.itemsize == 1:
        notes.append(
            f"The vectors are of the type {kind} and are taken as the whole numbers that they are; where they were "
            "quantised, scale them back before"
        )


def _read_npz(path: Path, id: str, notes: list[str]) -> pa.Table:
    if not zipfile.is_zipfile(path):
        refuse_stand_in(path)
        # NumPy would take a single array, or say how to load a pickle.
        raise DataError(f"The file {str(path)!r} is no archive of arrays.", next=_NPZ)
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    if "X" not in arrays or "sample_ids" not in arrays:
        raise DataError(f"The file {str(path)!r} has the arrays {', '.join(arrays) or 'none'}.", next=_NPZ)
    X = arrays["X"]
    check_vectors(path, X.dtype, X.shape, notes)
    document = json.loads(str(arrays["provenance"])) if "provenance" in arrays else {}
    columns = json.loads(str(arrays["metadata"])) if "metadata" in arrays else {}
    for array, name in (("labels", "label"), ("groups", document.get("group") or "group")):
        if array in arrays and name not in columns:
            columns[name] = [text or None for text in _texts(path, array, arrays[array])]
    names = [str(name) for name in arrays["column_names"]] if "column_names" in arrays else _numbered(X.shape[1])
    native = X.astype(X.dtype.newbyteorder("="), copy=False)
    return _table(path, id, _texts(path, "sample_ids", arrays["sample_ids"]), columns, names, native, document)


def _texts(path: Path, name: str, array: np.ndarray) -> list[str | None]:
    """Return ids, labels or groups as the columns of tables are: 1.0 is 1 where all are whole, NaN is missing."""
    if array.ndim != 1:
        raise DataError(
            f"The array {name} of {str(path)!r} has the shape {array.shape}.", next="Give one value for each row of X."
        )
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    if array.dtype.kind == "U":
        return list(array.tolist())
    values = pa.array(array.astype(array.dtype.newbyteorder("=")), from_pandas=True)
    return list(cells.as_text(tables.plain(pa.chunked_array([values]))).to_pylist())


def _read_h5ad(path: Path, id: str, notes: list[str]) -> pa.Table:
    try:
        import anndata
    except ImportError:
        raise UsageError("This needs the package anndata.", next="Install it with: pip install anndata") from None
    found = anndata.read_h5ad(path)
    X = found.X.toarray() if hasattr(found.X, "toarray") else np.asarray(found.X)
    check_vectors(path, X.dtype, X.shape, notes)
    document = json.loads(found.uns["histokit"]) if isinstance(found.uns.get("histokit"), str) else {}
    obs = found.obs.drop(columns=document.get("added", []), errors="ignore")
    obs = obs.rename(columns=document.get("renamed", {}))
    columns = {name: pa.array(obs[name], from_pandas=True) for name in obs.columns}
    if id in columns and not document:
        notes.append(f"The column {id!r} was passed over: the ids are the names of the rows (obs_names)")
    return _table(path, id, list(map(str, found.obs_names)), columns, list(map(str, found.var_names)), X, document)


def _numbered(width: int) -> list[str]:
    return [f"f{number}" for number in range(width)]


def _table(
    path: Path,
    id: str,
    ids: Sequence[str | None],
    columns: Mapping[str, Any],
    names: Sequence[str],
    X: np.ndarray,
    document: Mapping[str, Any],
) -> pa.Table:
    lengths = {len(ids), len(X), *map(len, columns.values())}
    if len(lengths) > 1 or len(names) != X.shape[1]:
        raise DataError(
            f"The file {str(path)!r} has {len(X)} vectors of {X.shape[1]} numbers, {len(ids)} ids and "
            f"{len(names)} names of columns.",
            next="Give an id for each row of X, and a name for each column.",
        )
    described = arrow_columns(columns, document.get("types", {}), len(ids))
    described.pop(id, None)
    clash = sorted({*described, id}.intersection(names))
    if clash:
        raise DataError(
            f"The file {str(path)!r} has both a feature and a column of samples called {clash[0]!r}.",
            next="Rename one of them.",
        )
    arrays = [pa.array(ids, pa.string()), *described.values(), *(pa.array(column) for column in X.T)]
    metadata = {PROVENANCE_KEY: json.dumps({**document, "columns": list(names)}).encode()}
    return pa.table(arrays, names=[id, *described, *names]).replace_schema_metadata(metadata)
