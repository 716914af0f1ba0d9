"""The predictions of a run, one sample a row, for people and for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from histokit.errors import UsageError, did_you_mean
from histokit.evaluate.frame import score_matrix
from histokit.evaluate.qupath import SUFFIX, check_geojson, is_folder, write_geojson
from histokit.evaluate.unit_predictions import SAMPLES, unit_predictions
from histokit.features.feature_store import FeatureStore, StoreLike, open_store
from histokit.features.listing import box_text, image_path, tested_where
from histokit.features.written_tables import SUFFIXES, write_table
from histokit.files import check_output
from histokit.ranges import check_ranges
from histokit.store import RunRecord

#: Of predicted numbers: the true one less the predicted one.
RESIDUAL = "residual"
_SAMPLE_COLUMNS = ("image", "part", "box")

#: How predictions of classes can be put in order: by how far the highest score is above the second.
SUREST, NEAREST = "surest", "nearest"


def predictions(
    store: StoreLike,
    run_id: str,
    *,
    wrong: bool = False,
    order: str | None = None,
    where: str | None = None,
    by: str | None = None,
    limit: int | None = None,
) -> pa.Table:
    """Return the predictions of a run with the image of each sample, or those of units such as slides.

    Parameters
    ----------
    store : FeatureStore or path
    run_id : str
    wrong : bool
        Only samples whose predicted label is not the true one; of numbers those with a true value, the largest errors
        first.
    order : str, optional
        ``surest``: where the highest score is furthest above the second, first; ``nearest``: where it is least above.
    where : str, optional
        A filter over the columns of the samples.
    by : str, optional
        ``COLUMN[:mean|median|vote],...``: the units of a level in place of samples, see `unit_predictions`.
    limit : int, optional
        Only the first of them.

    Raises
    ------
    UsageError
        If numbers are predicted and an order of classes is asked for, the filter is no condition over the columns, or
        there is no column of such units.
    DataError
        If samples lie in no unit, or in two.

    Returns
    -------
    pyarrow.Table
        id, image (path), part, box (``x,y,width,height``), repeat, fold, group, true, predicted, and
        ``score:CLASS`` for each class; of numbers the ``residual``, true less predicted. Of units there is the number
        of ``samples`` in place of image, part and box.
    """
    check_ranges(limit=limit)
    store = open_store(store)
    run = store.run(run_id)
    rows, _ = chosen_predictions(store, run, wrong=wrong, order=order, where=where, by=by)
    return described_predictions(store, run, rows.slice(0, limit))


def chosen_predictions(
    store: FeatureStore,
    run: RunRecord,
    *,
    wrong: bool = False,
    order: str | None = None,
    where: str | None = None,
    by: str | None = None,
) -> tuple[pa.Table, list[str]]:
    """Return rows of a run's predictions as they are stored, of which `described_predictions` tells more, and notes.

    Parameters
    ----------
    store : FeatureStore
    run : RunRecord
    wrong, order, where, by
        As of `predictions`.

    Raises
    ------
    UsageError
    """
    rows = store.predictions(run.id)
    if where is not None:
        kept = pa.array(sorted(tested_where(store, run, where)), pa.string())
        rows = rows.filter(pc.is_in(rows.column("id"), value_set=kept))
    rows, notes = (rows, []) if by is None else unit_predictions(store, run, rows, by)
    rows = _with_values(rows) if run.numbers else rows
    if wrong:
        rows = _wrong_ones(rows)
    return rows if order is None else _ordered(run, rows, order), notes


def described_predictions(store: FeatureStore, run: RunRecord, rows: pa.Table) -> pa.Table:
    """Return rows of `chosen_predictions`, as many as are wanted, as `predictions` does."""
    columns: dict[str, Any] = {"id": rows.column("id")}
    columns |= {SAMPLES: rows.column(SAMPLES)} if SAMPLES in rows.column_names else _images(store, run, rows)
    columns |= {name: rows.column(name) for name in ("repeat", "fold", "group", "true", "predicted")}
    if run.numbers:
        return pa.table({**columns, RESIDUAL: rows.column(RESIDUAL)})
    scores = score_matrix(rows, len(run.classes), len(run.classes))
    for name, values in zip(run.classes, np.ascontiguousarray(scores.T), strict=True):
        columns[f"score:{name}"] = pa.array(values, pa.float64())
    return pa.table(columns)


def _images(store: FeatureStore, run: RunRecord, rows: pa.Table) -> dict[str, Any]:
    """Return where the image of each prediction lies, and which part of it."""
    root = store.dataset(run.dataset).root
    samples = store.samples(run.dataset, ["id", *_SAMPLE_COLUMNS])
    samples = samples.filter(pc.is_in(samples.column("id"), value_set=rows.column("id").combine_chunks()))
    place = {sample["id"]: sample for sample in samples.to_pylist()}
    found = [place.get(sample_id, {}) for sample_id in rows.column("id").to_pylist()]
    return {
        "image": pa.array([image_path(root, sample.get("image")) for sample in found], pa.string()),
        "part": pa.array([sample.get("part") for sample in found], pa.string()),
        "box": pa.array([box_text(sample.get("box")) for sample in found], pa.string()),
    }


def _ordered(run: RunRecord, rows: pa.Table, order: str) -> pa.Table:
    if order not in (SUREST, NEAREST):
        raise UsageError(
            f"There is no order {order!r}.",
            next=f"{did_you_mean(order, (SUREST, NEAREST))}Use one of {SUREST}, {NEAREST}.",
        )
    if run.numbers:
        raise UsageError(
            f"The run {run.id} predicts numbers, which no score puts in order.",
            next="Leave --order out: --wrong has the largest errors first.",
        )
    above = margins(score_matrix(rows, len(run.classes), len(run.classes)))
    return rows.take(np.argsort(-above if order == SUREST else above, kind="stable"))


def margins(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return how far the highest of the (n, K) scores is above the second; of one class the score itself."""
    if scores.shape[1] < 2:
        return scores[:, 0]
    highest = np.partition(scores, -2, axis=1)[:, -2:]
    above: npt.NDArray[np.float64] = highest[:, 1] - highest[:, 0]
    return above


def _with_values(rows: pa.Table) -> pa.Table:
    """Return predictions of numbers with these in the place of labels, and with the residuals."""
    true, predicted = rows.column("true_value"), rows.column("predicted_value")
    for name, values in {"true": true, "predicted": predicted}.items():
        rows = rows.set_column(rows.column_names.index(name), name, values)
    return rows.append_column(RESIDUAL, pc.subtract(true, predicted))


def _wrong_ones(rows: pa.Table) -> pa.Table:
    if RESIDUAL not in rows.column_names:
        return rows.filter(pc.fill_null(pc.not_equal(rows.column("true"), rows.column("predicted")), False))
    rows = rows.filter(pc.is_valid(rows.column(RESIDUAL)))
    return rows.take(np.argsort(-np.abs(rows.column(RESIDUAL).to_numpy()), kind="stable"))


def write_predictions(found: pa.Table, run_id: str, path: str | Path, *, raw: bool = False) -> None:
    """Write what `predictions` gives as CSV, Parquet or GeoJSON, by the ending of the path; a folder is for GeoJSON.

    Raises
    ------
    UsageError
        If the ending is another, the path cannot be written, or GeoJSON is asked for and samples have no box.
    """
    if _is_geojson(path):
        write_geojson(found, run_id, path)
    else:
        write_table(found, path, raw=raw)


def check_predictions(path: str | Path, by: str | None = None) -> Path:
    """Return the path that predictions are to be written to, of units if `by` is given.

    Raises
    ------
    UsageError
        If it cannot be.
    """
    if by is not None and _is_geojson(path):
        raise UsageError("GeoJSON is of samples with boxes; units have none.", next="Write to a .csv or .parquet file.")
    return check_geojson(path) if _is_geojson(path) else check_output(path, (*SUFFIXES, SUFFIX))


def _is_geojson(path: str | Path) -> bool:
    return is_folder(path) or Path(path).suffix.lower() == SUFFIX
