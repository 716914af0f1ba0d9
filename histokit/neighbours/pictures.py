"""Queries and their neighbours as pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.compute as pc

from histokit.errors import counted, counted_values
from histokit.figures.contact import ContactSheet, Mark, Thumbnail
from histokit.layout import number_text
from histokit.neighbours.question import outline_of
from histokit.neighbours.retrieval import Retrieval
from histokit.reading.thumbnails import Square, as_square, read_squares, squares_by_id
from histokit.store import Store

#: Of more queries, so many are drawn: evenly taken.
QUERIES = 8
#: Of more neighbours, so many are drawn: a line of each of several queries, or some lines of one.
_OF_SEVERAL, _OF_ONE = 6, 24
#: Distances from here on are told without four decimals.
_WIDE = 100


def contact_sheet(store: Store, found: Retrieval, queries: int = QUERIES) -> ContactSheet:
    """Return what is drawn of neighbours: each query with its nearest samples, as they are before preprocessing.

    Parameters
    ----------
    store : Store
    found : Retrieval
    queries : int
        At most so many, which are taken evenly.
    """
    count = len(found.asked)
    rows = np.unique(np.linspace(0, count - 1, min(count, queries)).astype(int)).tolist()
    neighbours = _OF_ONE if len(rows) == 1 else _OF_SEVERAL
    places = {row: [p for p in found.found.places[row, :neighbours].tolist() if p >= 0] for row in rows}
    near = sorted({place for listed in places.values() for place in listed})
    samples = outline_of(found.samples, np.array(near, np.intp))
    squares = read_squares(store, samples.record, samples.samples.to_pylist())
    picture: dict[int, Square | None] = dict(zip(near, squares, strict=True))
    ids, labels = (dict(zip(near, values, strict=True)) for values in (samples.sample_ids, samples.labels))
    leads = _leads(store, found, rows)
    drawn = []
    for row, lead in zip(rows, leads, strict=True):
        same = found.same_class(row)
        line = [_query(found, row, lead)]
        for rank, place in enumerate(places[row]):
            mark: Mark = "" if same[rank] is None else "right" if same[rank] else "wrong"
            line.append(
                Thumbnail(
                    picture[place],
                    _text(labels[place]),
                    ids[place],
                    f"{rank + 1}: {_distance(float(found.found.distances[row, rank]))}",
                    mark,
                )
            )
        drawn.append(line)
    marks = {each.mark for line in drawn for each in line}
    legend = "✓ and a solid frame: of the query's class; ✗ and a dashed frame: of another one. " * bool(
        marks & {"right", "wrong"}
    )
    return ContactSheet(
        _title(found, len(rows), min(neighbours, found.k)), drawn, f"{legend}Below each: class, id, rank and distance."
    )


def _query(found: Retrieval, row: int, square: Square | None) -> Thumbnail:
    query = int(found.asked[row])
    return Thumbnail(square, _text(found.queries.labels[query]), found.queries.ids[query], "query", "lead")


def _leads(store: Store, found: Retrieval, rows: list[int]) -> list[Square | None]:
    """Return the pictures of queries."""
    queries = found.queries
    if queries.pixels is not None:
        return [as_square(queries.pixels)]
    record = store.dataset(queries.name) if queries.kind == "dataset" else found.samples.record
    wanted = [queries.ids[int(found.asked[row])] for row in rows]
    squares = squares_by_id(store, record, wanted)
    return [squares[each] for each in wanted]


def _distance(value: float) -> str:
    return number_text(value) if value < _WIDE else f"{value:.4g}"


def _text(label: Any) -> str:
    return "" if label is None else str(label)


def _title(found: Retrieval, drawn: int, neighbours: int) -> str:
    count = len(found.asked)
    queries = counted(count, "query", "queries")
    queries = queries if drawn == count else f"{drawn} of {queries}, evenly taken"
    of = f"split {found.split}" if found.split else f"own {found.group} left out" if found.group else ""
    column = found.samples.record.group
    sought = f"among {len(found.samples):,} samples"
    if column is not None:
        sought += f" of {counted_values(pc.count_distinct(found.samples.samples.column(column)).as_py(), column)}"
    nearest = f"{neighbours} of {found.k} neighbours" if neighbours < found.k else ""
    facts = (found.dataset, found.address, f"{found.metric} distance", queries, nearest, sought, of)
    return " · ".join(fact for fact in facts if fact)
