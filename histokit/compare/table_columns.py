"""What runs are scored on: a dataset, with its split; each is a column of the comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from histokit.compare.scored import Scored
from histokit.protocol.number_metrics import direction, scale_of
from histokit.store import RunRecord

#: Dataset, target, filter, and ``number`` where numbers are predicted.
Task = tuple[str, str | None, str | None, str | None]


@dataclass(frozen=True)
class Column:
    """A dataset as some runs were scored on it.

    Parameters
    ----------
    name : str
        The dataset, and more where it occurs several times.
    task : tuple
        Dataset, target, filter and type of the target.
    split, split_digest : str
        Empty for predictions of data that no split was made of.
    metric : str
    aggregate : str, optional
        What samples were aggregated to before training.
    """

    name: str
    task: Task
    split: str
    split_digest: str
    metric: str
    aggregate: str | None = None

    @property
    def direction(self) -> int:
        """1 where higher scores are better, -1 where lower ones are."""
        return direction(self.metric)

    def scale(self, scores: Sequence[float | None]) -> float:
        """Return by what scores are divided to be without units."""
        return scale_of(self.metric, np.array([score for score in scores if score is not None], float))

    def goodness(self, scores: Sequence[float | None]) -> list[float | None]:
        """Return scores without units, of which higher ones are better: rounding tells which are equal."""
        scale = self.direction * self.scale(scores)
        return [None if score is None else score / scale for score in scores]

    @property
    def key(self) -> tuple[Task, str]:
        """What runs of the column share."""
        return self.task, _folds(self.split_digest, self.aggregate)


def column_key(run: RunRecord) -> tuple[Task, str]:
    """Return what runs share that are scored on the same."""
    # A run that predicts names the filter that its model was trained with; all samples were predicted.
    where = run.parameters.get("where") if run.kind != "predict" else None
    task = (run.dataset, run.parameters.get("target"), where, run.parameters.get("target_type"))
    return task, _folds(run.split_digest, run.parameters.get("aggregate"))


def _folds(digest: str, aggregate: str | None) -> str:
    return f"{digest} {aggregate}" if aggregate else digest


def make_columns(scored: Sequence[Scored]) -> list[Column]:
    """Return the columns of runs, in the order in which they first occur."""
    first: dict[tuple[Task, str], Scored] = {}
    for entry in scored:
        first.setdefault(column_key(entry.run), entry)
    return [
        Column(
            _name(key, entry, list(first.items())),
            key[0],
            entry.run.split,
            entry.run.split_digest,
            entry.metric,
            entry.run.parameters.get("aggregate"),
        )
        for key, entry in first.items()
    ]


def _name(key: tuple[Task, str], entry: Scored, every: Sequence[tuple[tuple[Task, str], Scored]]) -> str:
    task, digest = key
    dataset, target, where, kind = task
    same_dataset = {other for (other, _), _ in every if other[0] == dataset}
    same_task = [(other, run.run.split) for (other_task, other), run in every if other_task == task]
    words = [dataset]
    if len(same_dataset) > 1:
        words += [f"of {target}"] * bool(target) + [f"where {where}"] * bool(where)
        twice = len({other[3] for other in same_dataset if other[:3] == task[:3]}) > 1
        words += [f"as {kind}s"] * (kind is not None and twice)
    if len(same_task) > 1:
        split = entry.run.split or "predicted"
        of = entry.run.parameters.get("aggregate")
        again = len({run.run.split_digest for (other, _), run in every if other == task and run.run.split == split}) > 1
        words.append(f"({split}{f' {digest[:4]}' * again}{f', {of}' * bool(of)})")
    return " ".join(words)


def rankable(columns: Sequence[Column]) -> bool:
    """Return whether no dataset occurs with several splits."""
    return len({column.task for column in columns}) == len(columns)
