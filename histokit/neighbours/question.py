"""What is sought: queries, the samples that each may find, and what a reader should know of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histokit.errors import DataError, UsageError, counted, did_you_mean
from histokit.features import FeatureSet, FeatureStore
from histokit.features.finite import check_finite
from histokit.neighbours.exact import Barred, Rows, Vectors
from histokit.plugin.images import Pixels
from histokit.plugin.values import known
from histokit.protocol.leaks import check_groups
from histokit.protocol.networks_seen import check_networks
from histokit.protocol.outer_folds import no_fold_left
from histokit.protocol.splits import resolve_split
from histokit.store.database import quote
from histokit.store.vectors import read_vectors

Objects = NDArray[np.object_]

#: Ids among which one that is nearly as written is sought.
_LISTED = 20_000


@dataclass(frozen=True, eq=False)
class Round:
    """Queries that seek among the same samples.

    Parameters
    ----------
    queries, samples : arrays of int
        Rows.
    repeat, fold : int
        Of a split; 0 where there is none.
    """

    queries: Rows
    samples: Rows
    repeat: int = 0
    fold: int = 0


@dataclass(frozen=True, eq=False)
class Queries:
    """m queries.

    Parameters
    ----------
    kind : str
        ``all``, ``split``, ``sample``, ``file`` or ``dataset``.
    name : str
        Of the sample, file, dataset or split; empty for all.
    ids : list of str
    labels, groups : (m,) object arrays
        None where it is not known.
    contents : list of bytes or None
        The digests of what the images hold.
    own : (m,) array of int
        Their rows among the samples; -1 of those that are none.
    vectors : callable, optional
        Returns the (r, d) float32 vectors of r rows; those of the samples where not given.
    pixels : (H, W, C) array, optional
        Of the one query that is a file.
    """

    kind: str
    name: str
    ids: list[str]
    labels: Objects
    groups: Objects
    contents: Sequence[bytes | None]
    own: Rows
    vectors: Callable[[Rows], Vectors] | None
    pixels: Pixels | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class SearchQuestion:
    """Queries, and the samples of a dataset that they seek among.

    Parameters
    ----------
    samples : FeatureSet
    queries : Queries
    rounds : list of Round
    barred : Barred
    group : str, optional
        The column whose own value a query does not find; none where it is not looked at.
    notes : list of str
    """

    samples: FeatureSet
    queries: Queries
    rounds: list[Round]
    barred: Barred
    group: str | None
    notes: list[str] = field(default_factory=list)


def open_samples(
    store: FeatureStore, dataset: str, address: str, where: str | None, allow_missing: bool, outline: bool
) -> FeatureSet:
    """Open the features of samples that are to be found or that are queries, and check them.

    Raises
    ------
    DataError
        If there are none, or they are not finite.
    """
    found = store.features(dataset, address, where=where, allow_missing=allow_missing, outline=outline)
    if not len(found):
        what = f"The filter {where!r} keeps no sample of {dataset!r}." if where else f"{dataset!r} has no sample left."
        raise DataError(what, next="Mend --where." if where else f"See: histokit list problems {dataset}")
    if not outline:
        check_finite(found, " with --where")
    return found


def queries_of(features: FeatureSet, kind: str, name: str, vectors: Callable[[Rows], Vectors] | None) -> Queries:
    """Return samples as queries, each of which is among those that are sought unless the kind is ``dataset``."""
    own = np.full(len(features), -1) if kind == "dataset" else np.arange(len(features))
    groups = features.groups()
    none = np.full(len(features), None, object)
    contents = features.content
    return Queries(
        kind, name, features.sample_ids, features.labels, none if groups is None else groups, contents, own, vectors
    )


def one_sample(store: FeatureStore, samples: FeatureSet, sample_id: str) -> Queries | None:
    """Return a sample of the dataset as the query, whether a filter keeps it or not; none where there is no such id.

    Raises
    ------
    DataError
        If it has no vector.
    """
    record = samples.record
    place = pc.index(samples.samples.column("id"), sample_id).as_py()
    row = samples.samples.slice(place, 1) if place >= 0 else _left_out_sample(store, record.name, sample_id)
    if not len(row):
        return None
    tables = {table.name: table for table in store.feature_tables(record.name)}
    found = [read_vectors(store.database, tables[part.table], row) for part in samples.parts]
    if any(len(missing) for _, missing in found):
        raise DataError(
            f"The sample {sample_id!r} of {record.name!r} has no features {samples.address}.",
            next=f"See why with: histokit list problems {record.name}; or name another sample.",
        )
    vector = np.concatenate([each for each, _ in found], axis=1)
    one = FeatureSet(vector, row, record, samples.parts)
    check_finite(one, ": name another sample")
    asked = queries_of(one, "sample", sample_id, lambda rows: vector[rows])
    return Queries(**{**vars(asked), "own": np.array([place])})


def _left_out_sample(store: FeatureStore, dataset: str, sample_id: str) -> pa.Table:
    """Return the row of a sample that is not among those that are sought, or none; most names are no samples."""
    where = f"id = {quote(sample_id)}"
    found = store.samples(dataset, ["id"], where)
    return store.samples(dataset, where=where) if len(found) else found


def unknown_query(store: FeatureStore, samples: FeatureSet, query: str) -> UsageError:
    """Return the error of a query that is neither a sample, nor a file, nor a dataset."""
    ids = samples.sample_ids
    if len(ids) > _LISTED:
        ids = [each for each in ids if query.lower() in each.lower()][:_LISTED]
    known = [*ids, *(record.name for record in store.datasets())]
    return UsageError(
        f"--query {query} is no sample of {samples.record.name!r}, no file and no dataset.",
        next=f"{did_you_mean(query, known)}See: histokit list samples {samples.record.name}",
    )


def split_rounds(store: FeatureStore, samples: FeatureSet, split: str, notes: list[str]) -> tuple[str, list[Round]]:
    """Return the name of a split, and for each of its folds the test samples that seek among the training samples.

    Raises
    ------
    LeakageError
        If a group is on both sides of a fold.
    DataError
        If no fold has samples on both sides.
    """
    chosen = resolve_split(store, samples.record.name, split)
    place = {sample_id: row for row, sample_id in enumerate(samples.sample_ids)}
    column = chosen.group or samples.record.group
    groups = samples.groups(column) if column else None
    known = None if groups is None else {i: g for i, g in zip(samples.sample_ids, groups, strict=True) if g is not None}
    notes += [*chosen.params.get("notes", []), *check_groups(chosen, known, column)]
    contents = dict(zip(samples.sample_ids, samples.content, strict=True))
    notes += check_networks(store, [part.backbone for part in samples.parts], chosen, contents)
    rounds = []
    for fold in chosen.folds():
        test, train = (np.array([place[i] for i in ids if i in place], np.intp) for ids in (fold.test, fold.train))
        if len(test) and len(train):
            rounds.append(Round(np.sort(test), np.sort(train), fold.repeat, fold.fold))
    if not rounds:
        raise no_fold_left(chosen, place, known)
    return chosen.name, rounds


def bar_groups(samples: FeatureSet, queries: Queries, same_group: bool, notes: list[str]) -> tuple[Barred, str | None]:
    """Return which samples no query finds, and the column of the groups; itself alone with `same_group`."""
    column = samples.record.group
    nothing = np.full(len(samples), -1, np.intp)
    everyone = Barred(queries.own, np.full(len(queries), -1, np.intp), nothing)
    if same_group or queries.kind in ("split", "file"):
        return everyone, None
    if column is None:
        notes.append(f"{samples.record.name} names no group: neighbours may be of the query's own slide or patient")
        return everyone, None
    own, codes = _group_codes(samples, column)
    of_queries = np.array([-1 if g is None else codes.get(str(g), -1) for g in queries.groups], np.intp)
    unknown = sum(group is None for group in queries.groups)
    if unknown:
        has = counted(unknown, f"query has no {column}", f"queries have no {column}")
        notes.append(f"{has}: what is of their own is not known and may be found")
    name, alike = samples.record.name, int((of_queries >= 0).sum())
    if alike and queries.kind == "dataset" and queries.name != name:
        have = counted(alike, f"query has a {column}", f"queries have a {column}")
        notes.append(f"{have} that {name} names, too, and find no sample of it; if it is another one: --same-group")
    return Barred(queries.own, of_queries, own), column


def _group_codes(samples: FeatureSet, column: str) -> tuple[Rows, dict[str, int]]:
    """Return the number of each sample's group, -1 where it is not known, and the numbers by the names of groups."""
    values = pc.unique(samples.samples.column(column))
    names = [None if (value := known(each)) is None else str(value) for each in values.to_pylist()]
    codes = {name: code for code, name in enumerate(dict.fromkeys(name for name in names if name is not None))}
    by_value = np.array([-1 if name is None else codes[name] for name in names] or [-1], np.intp)
    return by_value[pc.index_in(samples.samples.column(column), value_set=values).to_numpy()], codes


def identical_rows(samples: FeatureSet, queries: Queries) -> dict[bytes, list[int]]:
    """Return content → rows of the samples, of contents that a query has."""
    column = samples.samples.column("content")
    wanted = pa.array({content for content in queries.contents if content is not None}, column.type)
    rows = np.flatnonzero(pc.is_in(column, value_set=wanted).to_numpy())
    found: dict[bytes, list[int]] = {}
    for row, content in zip(rows.tolist(), outline_of(samples, rows).content, strict=True):
        found.setdefault(content, []).append(row)
    return found


def outline_of(samples: FeatureSet, rows: Rows) -> FeatureSet:
    """Return some samples without their vectors: of many samples no more than these become Python objects."""
    nothing = np.empty((len(rows), 0), np.float32)
    return replace(samples, X=nothing, samples=samples.samples.take(pa.array(rows, pa.int64())), parts=())
