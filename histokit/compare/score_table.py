"""The score of each method on each dataset, over its seeds, and the best of several methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.compare.methods import Methods, name_methods
from histokit.compare.ranks import marks, places
from histokit.compare.run_facts import Facts
from histokit.compare.scored import Floats, Scored
from histokit.compare.table_columns import Column, column_key
from histokit.evaluate.summary import ENOUGH_GROUPS, percentile_interval


@dataclass(frozen=True, eq=False)
class Cell:
    """The runs of a method on one column, several where they differ in their seeds.

    Parameters
    ----------
    runs : list of Scored
    score : float, optional
        Their mean; None where it is undefined for one of them.
    resampled : (B,) array
        The mean of their resamples.
    samples : str
        What they were all scored on; empty where they were scored on different samples.
    chosen : str
        The method, where it was chosen from several.
    """

    runs: list[Scored]
    score: float | None
    resampled: Floats
    samples: str
    chosen: str = ""

    @property
    def groups(self) -> int:
        """How many groups were resampled."""
        return min(entry.groups for entry in self.runs)

    @property
    def predicted(self) -> int:
        """How many samples were predicted, each once."""
        return min(entry.predicted for entry in self.runs)

    @property
    def right(self) -> NDArray[np.uint8] | None:
        """Which samples its run got right, see `Scored`; None of several runs."""
        return self.runs[0].right if len(self.runs) == 1 else None

    @property
    def facts(self) -> Facts:
        """The facts of its first run."""
        return self.runs[0].facts

    def interval(self) -> list[float] | None:
        """Return the 95 % interval of the score."""
        return percentile_interval(self.resampled) if self.groups > 1 and len(self.resampled) else None


#: Method → column → cell.
Table = dict[str, dict[Column, Cell]]


def make_table(methods: Methods, columns: Sequence[Column]) -> Table:
    """Return the cells of methods; a method that was not run on a column has none there."""
    by_key = {column.key: column for column in columns}
    table: Table = {}
    for name, entries in methods.items():
        listed: dict[Column, list[Scored]] = {}
        for entry in entries:
            listed.setdefault(by_key[column_key(entry.run)], []).append(entry)
        table[name] = {column: _cell(runs) for column, runs in listed.items()}
    return table


def _cell(runs: list[Scored]) -> Cell:
    known = [entry.score for entry in runs if entry.score is not None]
    same = len({entry.samples for entry in runs}) == 1
    resampled = np.mean([entry.resampled for entry in runs], axis=0) if same else np.empty(0)
    score = float(np.mean(known)) if len(known) == len(runs) else None
    return Cell(runs, score, resampled, runs[0].samples if same else "")


def best_of_each(table: Table, keys: Sequence[str]) -> Table:
    """Return, for each value of some facts and each column, the cell of the best method; of equal ones the first."""
    cells = [(method, column, cell) for method, row in table.items() for column, cell in row.items()]
    names = name_methods([{key: cell.facts.get(key) for key in keys} for _, _, cell in cells], keys)
    found: Table = {}
    for (method, column, cell), name in zip(cells, names, strict=True):
        held = found.setdefault(name, {}).get(column)
        if held is None or places(column.goodness([held.score, cell.score])) in ([2, 1], [None, 1]):
            found[name][column] = replace(cell, chosen=method)
    return found


def cell_documents(table: Table, column: Column) -> dict[str, dict[str, Any]]:
    """Return the cells of a column as JSON-serialisable data, with their places and marks."""
    present = {method: cells[column] for method, cells in table.items() if column in cells}
    scores = column.goodness([cell.score for cell in present.values()])
    found = {}
    for (method, cell), place, mark in zip(present.items(), places(scores), marks(scores), strict=True):
        known = [entry.score for entry in cell.runs if entry.score is not None]
        found[method] = {
            "column": column.name,
            "score": cell.score,
            "std_over_runs": float(np.std(known)) if len(known) > 1 else None,
            "interval": cell.interval(),
            "predicted": cell.predicted,
            "groups": cell.groups,
            "reliable": cell.groups >= ENOUGH_GROUPS,
            "place": place,
            "mark": mark,
            "rank": None,
            "runs": [entry.run.id for entry in cell.runs],
            "chosen": cell.chosen or None,
            "optimistic": bool(cell.chosen) or any(entry.peeked for entry in cell.runs),
        }
    return found


def point_facts(cell: dict[str, Any]) -> dict[str, Any]:
    """Return what a point of a curve tells of a document of `cell_documents`."""
    tested = {name: cell[name] for name in ("predicted", "groups")}
    return {**{name: cell[name] for name in ("score", "interval", "runs")}, "tested": tested}
