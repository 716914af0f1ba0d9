"""Samples of a run as pictures: those that it got wrong most surely, and those that it nearly decided otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from histokit.errors import HistokitError
from histokit.evaluate.listing import NEAREST, RESIDUAL, SUREST, chosen_predictions, described_predictions
from histokit.features import FeatureStore
from histokit.reading.thumbnails import Square, squares_by_id
from histokit.report.page import Block, Notes, ShownSample, Thumbnails
from histokit.report.pictures import image_address
from histokit.store import RunRecord
from histokit.store.records import IMPORT_PLUGIN


class Showing(NamedTuple):
    """How many samples of each kind are shown, and how large.

    Parameters
    ----------
    samples : int
        None where 0.
    side : int
        Pixels of the longer side.
    """

    samples: int = 12
    side: int = 112


def sample_blocks(store: FeatureStore, run: RunRecord, showing: Showing) -> Iterator[Block]:
    """Yield the pictures of a run's samples; nothing where it predicted units, or samples without images."""
    record = store.find_dataset(run.dataset)
    if not showing.samples or record is None or run.parameters.get("aggregate") or record.plugin == IMPORT_PLUGIN:
        return
    chosen = {title: rows for title, rows in _chosen(store, run, showing.samples).items() if rows}
    ids = list(dict.fromkeys(row["id"] for rows in chosen.values() for row in rows))
    try:
        views = squares_by_id(store, record, ids, showing.side)
    except HistokitError as error:
        yield Notes([f"The images cannot be shown: {error.message}"], "note")
        return
    for title, rows in chosen.items():
        yield Thumbnails(title, [_shown(row, views.get(row["id"])) for row in rows])


def _chosen(store: FeatureStore, run: RunRecord, count: int) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """Return the predictions that are shown, by what they are."""
    if run.numbers:
        largest, total = _first(store, run, count, wrong=True)
        return {f"Largest errors ({len(largest)} of {total:,})": largest}
    surest, wrong = _first(store, run, count, wrong=True, order=SUREST)
    nearest, total = _first(store, run, count, order=NEAREST)
    return {
        f"Wrong, the surest first ({len(surest)} of {wrong:,})": surest,
        f"Nearest to another decision ({len(nearest)} of {total:,})": nearest,
    }


def _first(store: FeatureStore, run: RunRecord, count: int, **which: Any) -> tuple[list[dict[str, Any]], int]:
    """Return the first of some predictions, and how many there are."""
    every, _ = chosen_predictions(store, run, **which)
    return described_predictions(store, run, every.slice(0, count)).to_pylist(), len(every)


def _shown(row: Mapping[str, Any], view: Square | None) -> ShownSample:
    true, predicted = row["true"], row["predicted"]
    if RESIDUAL in row:
        lines = [row["id"], f"true {true:.4g}", f"predicted {predicted:.4g}"]
        wrong = None
    else:
        lines = [row["id"], f"true {'unknown' if true is None else true}", f"predicted {predicted}"]
        wrong = None if true is None else true != predicted
    if row["group"] is not None and row["group"] not in row["id"]:
        lines.append(f"of {row['group']}")
    said = ", ".join(lines)
    if view is None:
        return ShownSample(None, "the image cannot be read", lines, wrong)
    return ShownSample(image_address(view), said, lines, wrong)
