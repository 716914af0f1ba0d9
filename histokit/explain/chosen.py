"""Which of a run's predictions are explained, and for which class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from histokit.errors import DataError, StoreError, UsageError, counted, did_you_mean, some
from histokit.features.listing import tested_where
from histokit.store import RunRecord, Store
from histokit.store.records import NUMBER_PREDICTION_SCHEMA

#: Images of each class where nothing is asked for, and images in all where numbers are predicted.
PER_CLASS = 2
OF_NUMBERS = 8

#: As many maps fit into memory.
MOST = 1000

PREDICTED, TRUE = "predicted", "true"
_COLUMNS = ["run", "id", "repeat", "fold", "group", "true", "predicted"]
_VALUES = ["true_value", "predicted_value"]


@dataclass(frozen=True)
class ExplainOptions:
    """Which images are explained, and what of them.

    Parameters
    ----------
    samples : tuple of str
        Ids; those that are drawn where empty.
    wrong : bool
        Only where the predicted class is not the true one; of numbers, the largest errors first.
    per_class : int, optional
        How many images of each true class are drawn.
    limit : int, optional
    seed : int
        By which they are drawn.
    target : str
        ``predicted``, ``true``, or a class; ``=NAME`` for a class that is called like one of these words.
    where : str, optional
        A filter over the columns of the samples, from which images are drawn.
    """

    samples: tuple[str, ...] = ()
    wrong: bool = False
    per_class: int | None = None
    limit: int | None = None
    seed: int = 0
    target: str = PREDICTED
    where: str | None = None


@dataclass(frozen=True)
class ChosenSample:
    """A prediction that is to be explained.

    Parameters
    ----------
    id : str
    true, predicted : str or float
    part : str
        ``REPEAT.FOLD`` in which it was tested.
    output : int
        The number of the class that is explained; 0 where a number is.
    explained : str, optional
        That class.
    group : str, optional
        Such as its slide.
    """

    id: str
    true: Any
    predicted: Any
    part: str
    output: int
    explained: str | None
    group: str | None = None


def choose_samples(store: Store, run: RunRecord, asked: ExplainOptions) -> tuple[list[ChosenSample], list[str]]:
    """Return the predictions to be explained, class by class, and what is to be known of the choice.

    Raises
    ------
    UsageError
        If the class is none of the run's, or options exclude each other.
    StoreError
        If the run never tested a sample that is named.
    DataError
        If nothing is left.
    """
    _check(run, asked)
    rows = _predictions(store, run)
    if asked.where is not None:
        kept = pa.array(tested_where(store, run, asked.where), pa.string())
        rows = rows.filter(pc.is_in(rows.column("id"), value_set=kept))
    if asked.samples:
        picked = _named(run, rows, asked.samples)
    else:
        picked = _numbers(rows, asked) if run.numbers else _drawn(run, rows, asked)
    picked = picked[: asked.limit]
    if not picked:
        what = "was predicted wrongly" if asked.wrong else "is left"
        what += f" of those that the filter {asked.where!r} keeps" if asked.where is not None else ""
        raise DataError(f"No sample of the run {run.id} {what}.", next=f"See: histokit predictions {run.id}")
    if len(picked) > MOST:
        raise UsageError(
            f"{len(picked):,} samples are to be explained; at most {MOST:,} are at once.",
            next=f"Give --limit {MOST}, or fewer --per-class.",
        )
    outputs, notes = _outputs(run, picked, asked.target)
    names = run.classes or (None,)
    found = [
        ChosenSample(
            row["id"],
            row["true"],
            row["predicted"],
            f"{row['repeat']}.{row['fold']}",
            output,
            names[output],
            row["group"],
        )
        for row, output in zip(picked, outputs, strict=True)
    ]
    return found, notes


def _check(run: RunRecord, asked: ExplainOptions) -> None:
    others = {"--wrong": asked.wrong, "--per-class": asked.per_class is not None, "--where": asked.where is not None}
    other = next((name for name, given in others.items() if given), None)
    if asked.samples and other:
        raise UsageError(f"--sample names the images: {other} chooses others.", next=f"Leave out {other}.")
    if run.numbers and asked.per_class is not None:
        raise UsageError(
            f"The run {run.id} predicts numbers: there are no classes to take images of.", next="Give --limit N."
        )
    if run.numbers and asked.target != PREDICTED:
        raise UsageError(
            f"The run {run.id} predicts numbers: what is explained is the predicted number.", next="Leave out --class."
        )


def _predictions(store: Store, run: RunRecord) -> pa.Table:
    """Return the predictions by which each sample was tested first, sorted by their ids."""
    columns = [*_COLUMNS, *(_VALUES if run.schema == NUMBER_PREDICTION_SCHEMA else [])]
    rows = store.predictions_of([run], columns)[run.id]
    if run.numbers:
        rows = rows.drop_columns(["true", "predicted"]).rename_columns(
            dict(zip(_VALUES, [TRUE, PREDICTED], strict=True))
        )
    rows = rows.append_column("place", pa.array(np.arange(len(rows))))
    rows = rows.sort_by([(name, "ascending") for name in ("id", "repeat", "fold", "place")])
    ids = rows.column("id").combine_chunks()
    first = np.ones(len(rows), bool)
    first[1:] = pc.not_equal(ids[1:], ids[:-1]) if len(rows) else ()
    return rows.filter(pa.array(first))


def _named(run: RunRecord, rows: pa.Table, ids: Sequence[str]) -> list[Any]:
    wanted = list(dict.fromkeys(ids))
    places = pc.index_in(pa.array(wanted, pa.string()), value_set=rows.column("id").combine_chunks()).to_pylist()
    absent = [name for name, place in zip(wanted, places, strict=True) if place is None]
    if absent:
        hint = did_you_mean(absent[0], rows.column("id").to_pylist())
        raise StoreError(
            f"The run {run.id} did not test {some([repr(name) for name in absent])}: no network of it can tell what it "
            "would make of an image that it has not trained on.",
            next=f"{hint}Choose what it tested: histokit predictions {run.id}; or predict a dataset that has it, and "
            f"explain that run: histokit predict {run.id} DATASET",
        )
    return rows.take(pa.array(places, pa.int64())).to_pylist()


def _drawn(run: RunRecord, rows: pa.Table, asked: ExplainOptions) -> list[Any]:
    """Return some samples of each class, drawn: what looks best is not what is typical."""
    if asked.wrong:
        # Unknown, which is not kept, where there is no true class.
        rows = rows.filter(pc.not_equal(rows.column(TRUE), rows.column(PREDICTED)))
    of_class = pc.coalesce(rows.column(TRUE), rows.column(PREDICTED))
    count = PER_CLASS if asked.per_class is None else asked.per_class
    found: list[int] = []
    for number, name in enumerate(dict.fromkeys([*run.classes, *pc.unique(of_class).to_pylist()])):
        members = np.flatnonzero(pc.equal(of_class, name))
        order = np.random.default_rng([asked.seed, number]).permutation(len(members))
        found += members[np.sort(order[:count])].tolist()
    return rows.take(pa.array(found, pa.int64())).to_pylist()


def _numbers(rows: pa.Table, asked: ExplainOptions) -> list[Any]:
    """Return samples from the smallest true number to the largest, evenly; or those of the largest errors."""
    count = OF_NUMBERS if asked.limit is None else asked.limit
    if asked.wrong:
        rows = rows.filter(pc.is_valid(rows.column(TRUE)))
        errors = pc.abs(pc.subtract(rows.column(TRUE), rows.column(PREDICTED))).to_numpy()
        return rows.take(np.argsort(-errors, kind="stable")[:count]).to_pylist()
    order = np.argsort(pc.coalesce(rows.column(TRUE), rows.column(PREDICTED)).to_numpy(), kind="stable")
    places = np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int))
    return rows.take(order[places]).to_pylist()


def _outputs(run: RunRecord, rows: Sequence[Mapping[str, Any]], target: str) -> tuple[list[int], list[str]]:
    """Return the number of the class that is explained of each row."""
    if run.numbers:
        return [0] * len(rows), []
    if target in (PREDICTED, TRUE):
        notes = [f"{target} stands for the {target} class; the class of this name is ={target}"]
        strange = [row["id"] for row in rows if row[target] not in run.classes]
        if strange:
            raise DataError(
                f"{counted(len(strange), 'sample has', 'samples have')} no true class that the model knows: "
                f"{some(strange)}.",
                next="Name a class with --class, or leave it out for the predicted one.",
            )
        return [run.classes.index(row[target]) for row in rows], notes if target in run.classes else []
    name = target.removeprefix("=") if target not in run.classes else target
    if name not in run.classes:
        raise UsageError(
            f"The run {run.id} has no class {name!r}.",
            next=f"{did_you_mean(name, run.classes)}Use predicted, true, or one of {some(run.classes, 40)}.",
        )
    return [run.classes.index(name)] * len(rows), []
