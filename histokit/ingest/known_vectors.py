"""Vectors of a dataset that are stored already, some of them perhaps of a removed one of the same name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from histokit.errors import StoreError, some
from histokit.ingest.vector_file import VectorFile
from histokit.store import Store
from histokit.store.fingerprints import spec_fingerprint
from histokit.store.vectors import FeatureTable, find_vectors, read_vectors


def check_known(
    store: Store,
    dataset: str,
    spec: Mapping[str, Any],
    file: VectorFile,
    columns: Sequence[str],
    contents: Mapping[str, bytes],
) -> bool:
    """Return whether vectors of any sample of a file are stored under its name and version, all equal to its own.

    Parameters
    ----------
    store : Store
    dataset : str
    spec : mapping
        Of the vectors of the file.
    file : VectorFile
    columns : sequence of str
    contents : mapping
        Id → content digest of the samples.

    Raises
    ------
    StoreError
        If others are stored.
    """
    samples, fingerprint = _identities(contents), spec_fingerprint(spec)
    for table in store.feature_tables(dataset):
        if table.fingerprint == fingerprint and store.database.count(table.name):
            return _are_equal(store, table, samples, file, columns)
    return False


def _are_equal(store: Store, table: FeatureTable, samples: pa.Table, file: VectorFile, columns: Sequence[str]) -> bool:
    stored, missing = read_vectors(store.database, table, samples)
    absent, ids = set(missing.tolist()), samples.column("id").to_pylist()
    position = {i: row for row, i in enumerate(i for n, i in enumerate(ids) if n not in absent)}
    for given, matrix in file.vectors(columns) if position else ():
        rows = [row for row, sample_id in enumerate(given) if sample_id in position]
        known = stored[[position[given[row]] for row in rows]]
        if not np.array_equal(known, matrix[rows]):
            changed = [given[row] for row, vector in zip(rows, known, strict=True) if (vector != matrix[row]).any()]
            raise other_version(table, f"other vectors, for instance of {some(changed[:1])}")
    return len(position) > 0


def other_version(table: FeatureTable, found: str) -> StoreError:
    """Return the error on a version that is stored with something else."""
    return StoreError(
        f"Version {table.version} of {table.address} is in the store with {found}.",
        next="Give these vectors another --version.",
    )


def refuse_left(store: Store, dataset: str, contents: Mapping[str, bytes]) -> None:
    """Raise where a dataset without images that is to be made would have vectors that a removed one left.

    Its name and its ids alone say what they are of.

    Parameters
    ----------
    store : Store
    dataset : str
    contents : mapping
        Id → content digest of its samples.

    Raises
    ------
    StoreError
    """
    if store.find_dataset(dataset) is not None:
        return
    samples = _identities(contents)
    left = [t.address for t in store.feature_tables(dataset) if find_vectors(store.database, t, samples).present.any()]
    if left:
        raise StoreError(
            f"A dataset {dataset!r} with samples of the same ids was removed, and its vectors are still stored: "
            f"{some(left)}. Whether they are of these samples is not known.",
            next="Choose another name; or remove what is left of removed datasets: histokit store gc --orphans "
            "--older-than 0; or, where these are the same samples, import first the file that it was made from.",
        )


def _identities(contents: Mapping[str, bytes]) -> pa.Table:
    ids, digests = pa.array(list(contents), pa.string()), pa.array(list(contents.values()), pa.binary(16))
    return pa.table({"id": ids, "content": digests})
