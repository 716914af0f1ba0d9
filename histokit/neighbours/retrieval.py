"""What retrieval found: neighbours, and how good they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from histokit.features.feature_set import FeatureSet
from histokit.features.listing import image_path
from histokit.layout import Sheet, natural_items
from histokit.neighbours.exact import NearestRows
from histokit.neighbours.question import Queries, SearchQuestion, outline_of
from histokit.notebooks import InNotebooks
from histokit.protocol.metrics import is_shown


@dataclass(frozen=True, eq=False)
class Retrieval(InNotebooks):
    """The nearest samples of queries.

    Parameters
    ----------
    dataset, address, metric : str
    k : int
        How many neighbours each query has at most.
    split : str, optional
    group : str, optional
        The column whose own value no query finds.
    scores : dict, optional
        Of the queries that have a class; see `histokit.neighbours.retrieval_scores.retrieval_scores`.
    per_class : dict
    shown : str
        The dataset's own metric.
    index : dict, optional
        How neighbours were found by an index, and its recall; none where the search was exact.
    notes : list of str
    question : SearchQuestion
    asked : (queries of all rounds,) array of int
        The query of each row of what was found.
    folds : list of (repeat, fold)
        Of each row of what was found.
    found : NearestRows
    """

    dataset: str
    address: str
    metric: str
    k: int
    split: str | None
    group: str | None
    scores: dict[str, Any] | None
    per_class: dict[str, dict[str, Any]]
    shown: str
    index: dict[str, Any] | None
    notes: list[str]
    question: SearchQuestion
    asked: np.ndarray[Any, Any]
    folds: list[tuple[int, int]]
    found: NearestRows

    def __repr__(self) -> str:
        return f"Retrieval({self.dataset}: {self.k} neighbours of {len(self.asked)} queries by {self.address})"

    @property
    def samples(self) -> FeatureSet:
        """The samples that were sought among."""
        return self.question.samples

    @property
    def queries(self) -> Queries:
        """The queries."""
        return self.question.queries

    def same_class(self, row: int) -> list[bool | None]:
        """Return whether each neighbour of a row is of the query's class; none where either class is not known."""
        true = self.queries.labels[self.asked[row]]
        places = self.found.places[row]
        labels = iter(outline_of(self.samples, places[places >= 0]).labels)
        near = [next(labels) if place >= 0 else None for place in places]
        return [None if true is None or label is None else bool(label == true) for label in near]

    def table(self) -> pa.Table:
        """Return a row for each neighbour.

        Returns
        -------
        pyarrow.Table
            query, query_label, query_group, repeat, fold, rank (from 1), id, label, group, distance, identical (whether
            it holds byte for byte what the query does) and image (its path).
        """
        places = self.found.places
        there = places >= 0
        rows, ranks = np.nonzero(there)
        near, asked = places[there], self.asked[rows]
        samples, queries = outline_of(self.samples, near), self.queries
        groups = samples.groups()
        root = samples.record.root
        images = samples.samples.column("image").to_pylist()
        wanted = (queries.contents[query] for query in asked)
        alike = [one is not None and one == other for one, other in zip(wanted, samples.content, strict=True)]
        folds = [self.folds[row] for row in rows]
        columns = {
            "query": pa.array(np.array(queries.ids, object)[asked], pa.string()),
            "query_label": _texts(queries.labels[asked]),
            "query_group": _texts(queries.groups[asked]),
            "repeat": pa.array([repeat for repeat, _ in folds], pa.int16()),
            "fold": pa.array([fold for _, fold in folds], pa.int16()),
            "rank": pa.array(ranks + 1, pa.int32()),
            "id": pa.array(samples.sample_ids, pa.string()),
            "label": _texts(samples.labels),
            "group": _texts(np.full(len(near), None, object) if groups is None else groups),
            "distance": pa.array(self.found.distances[there], pa.float64()),
            "identical": pa.array(alike, pa.bool_()),
            "image": pa.array([image_path(root, image) for image in images], pa.string()),
        }
        return pa.table(columns)

    def sheets(self) -> list[Sheet]:
        """Return the scores, also by class, as tables for people; without scores, the neighbours."""
        if self.scores is None:
            return [self._neighbours()]
        at = self.scores["at"]
        voted = [n for n in at[0]["vote"] if is_shown(n, self.shown)]
        columns = ["k", "recall@k", "precision@k", *(f"vote: {name}" for name in voted)]
        rows = [[e["k"], e["recall"], e["precision"], *(e["vote"][n] for n in voted)] for e in at]
        found = [Sheet(self._title(), columns, rows)]
        last = at[-1]["k"]
        columns = ["true class", "queries", f"recall@{last}", f"precision@{last}", "vote", "average precision"]
        rows = [
            [
                *(name, own["queries"], own["at"][-1]["recall"], own["at"][-1]["precision"]),
                *(own["at"][-1]["vote"]["accuracy"], own["mean_average_precision"]),
            ]
            for name, own in natural_items(self.per_class)
        ]
        return [*found, *[Sheet("queries by class", columns, rows)] * (len(rows) > 1)]

    def _neighbours(self) -> Sheet:
        rows = self.table().to_pylist()
        names = ["rank", "id", "label", "group", "distance", "identical"]
        # Not by equality: a distance of 0 equals False.
        names = [name for name in names if any(row[name] is not None and row[name] is not False for row in rows)]
        several = len({row["query"] for row in rows}) > 1
        names = ["query"] * several + names
        one = [] if several else [rows[0][name] for name in ("query", "query_label", "query_group")]
        title = f"{'  '.join(filter(None, one))}  ({self.metric} distance of {self.address})" * (not several)
        return Sheet(title, names, [[row[name] for name in names] for row in rows])

    def _title(self) -> str:
        precision = (self.scores or {})["mean_average_precision"]
        of = f"split {self.split}" if self.split else f"other {self.group}" if self.group else "all others"
        facts = f"{self.dataset}  {self.address}  {self.metric}  ({len(self.asked):,} queries, {of})"
        return facts + ("" if precision is None else f"  mean average precision {precision:.4f}")

    def to_json(self) -> dict[str, Any]:
        """Return all but the neighbours as JSON-serialisable data."""
        return {
            "dataset": self.dataset,
            "features": self.address,
            "query": {"kind": self.queries.kind, "name": self.queries.name or None},
            "metric": self.metric,
            "k": self.k,
            "split": self.split,
            "group": self.group,
            "queries": len(self.asked),
            "samples": len(self.samples),
            "scores": self.scores,
            "per_class": self.per_class,
            "index": self.index,
            "notes": self.notes,
        }


def _texts(values: np.ndarray[Any, Any]) -> pa.Array:
    return pa.array([None if value is None else str(value) for value in values], pa.string())
