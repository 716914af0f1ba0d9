"""One run out of several: the best features in each outer fold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histokit.errors import DataError, UsageError, counted, did_you_mean
from histokit.plugin.digests import digest_json
from histokit.protocol.number_metrics import direction, scale_of
from histokit.protocol.run_origin import creation_time
from histokit.protocol.scorers import first_best
from histokit.protocol.tuning import comparable, mean_of
from histokit.store import RunRecord, Store

INNER, TEST = "inner", "test"
_OPTIMISTIC = "the features were chosen by their scores on the test samples: these scores are optimistic"


def check(choose: str | None) -> None:
    """Refuse an unknown way of choosing.

    Raises
    ------
    UsageError
    """
    if choose not in (None, INNER, TEST):
        raise UsageError(
            f"There is no way {choose!r} of choosing.",
            next=f"{did_you_mean(str(choose), (INNER, TEST))}Use --choose inner, or --choose test for the optimum on "
            "the test samples.",
        )


def chosen(store: Store, runs: Sequence[RunRecord], choose: str, force: bool = False) -> RunRecord:
    """Return the run that takes the best of several in each outer fold.

    Parameters
    ----------
    store : Store
    runs : sequence of RunRecord
        One for each address, on one split; of equally good ones the first is taken.
    choose : str
        ``inner``: in each outer fold that with the best mean over its inner folds, and for the model of all training
        samples likewise. ``test``: that with the best mean over the test samples of all folds.
    force : bool
        Do it again even if it is stored.

    Returns
    -------
    RunRecord
        As stored.

    Raises
    ------
    DataError
        If the runs are not on the same folds, because some lack samples.
    """
    runs = list({run.id: run for run in runs}.values())
    run_id = chosen_id(choose, [run.id for run in runs])
    if store.has_run(run_id) and not force:
        return store.run(run_id)
    places = [[(fold["repeat"], fold["fold"], fold["train"], fold["test"]) for fold in run.folds] for run in runs]
    # Of as many samples, others may lack; runs of the first version do not tell.
    tested = {run.predicted for run in runs} - {None}
    if any(other != places[0] for other in places) or len(tested) > 1:
        raise DataError(
            f"The features {', '.join(run.address for run in runs)} are not there for the same samples.",
            next="Extract what is missing, or leave out --choose.",
        )
    if choose == INNER:
        winners = [_best([run.folds[number] for run in runs], runs[0]) for number in range(len(places[0]))]
        last = _best([run.found["final"] for run in runs], runs[0])
    else:
        last = first_best(_test_scores(runs))
        winners = [last] * len(places[0])
    record = _record(run_id, runs, choose, winners, runs[last])
    return store.save_run(
        record, _predictions(store, record.id, runs, winners), store.model(runs[last].id), again=force
    )


def chosen_id(choose: str, runs: Sequence[str]) -> str:
    """Return the id of the run that is chosen out of some."""
    return digest_json(["choose", choose, list(dict.fromkeys(runs))]).hex()[:12]


def chosen_addresses(run: RunRecord) -> str:
    """Return in words which addresses a run took that chose among several, the most frequent first."""
    counts = Counter(fold["address"] for fold in run.folds)
    folds = ", ".join(f"{address} in {count}" for address, count in counts.most_common())
    of = counted(len(run.folds), "fold", "folds")
    return f"Chosen: {folds} of {of}; on all training samples {run.found['final']['address']}"


def _best(fitted: Sequence[dict[str, Any]], run: RunRecord) -> int:
    """Return which of the same fold of several runs, such as `run`, was best over its inner folds.

    One whose metric was undefined, so that another decided, is not compared with those where it was not.
    """
    tuned = [entry.get("tuning") or {} for entry in fitted]
    metrics = [entry.get("metric", run.metric) for entry in tuned]
    decided = run.metric if run.metric in metrics else metrics[0]
    scores = {
        place: next(row["scores"] for row in entry["table"] if row["parameters"] == fitted[place]["parameters"])
        for place, (entry, metric) in enumerate(zip(tuned, metrics, strict=True))
        if metric == decided and "table" in entry
    }
    means = np.full(len(fitted), np.nan)
    if scores:
        means[list(scores)] = mean_of(comparable(np.array(list(scores.values()), float)))
    return first_best(direction(decided) * means / scale_of(decided, means))


def _test_scores(runs: Sequence[RunRecord]) -> NDArray[np.float64]:
    """Return the mean over folds of each run's metric, negative where lower ones are better, NaN where undefined."""
    metric = runs[0].metric
    found = np.array([[fold["scores"][metric] for fold in run.folds] for run in runs], float)
    means = np.full(len(runs), np.nan)
    defined = ~np.isnan(found).all(axis=1)
    if defined.any():
        means[defined] = direction(metric) * mean_of(comparable(found[defined]))
        means /= scale_of(metric, np.abs(means))
    return means


def _record(run_id: str, runs: Sequence[RunRecord], choose: str, winners: Sequence[int], last: RunRecord) -> RunRecord:
    folds = [{**runs[winner].folds[number], "address": runs[winner].address} for number, winner in enumerate(winners)]
    used = [run for number, run in enumerate(runs) if number in winners or run is last]
    notes = list(dict.fromkeys(note for run in used for note in run.notes))
    return replace(
        last,
        id=run_id,
        address=_common([run.address for run in runs]),
        folds=folds,
        notes=[*notes, *[_OPTIMISTIC] * (choose == TEST)],
        seconds=round(sum(run.seconds for run in runs), 3),
        created=creation_time(),
        parameters={
            **last.asked,
            "choose": choose,
            "candidates": [run.address for run in runs],
        },
        found={
            # What was done to its features before is that of its model.
            **{name: value for name, value in last.found.items() if name == "steps"},
            "candidate_runs": [run.id for run in runs],
            "final": {**last.found["final"], "address": last.address},
        },
    )


def _predictions(store: Store, run_id: str, runs: Sequence[RunRecord], winners: Sequence[int]) -> pa.Table:
    stored = {winner: store.predictions(runs[winner].id) for winner in set(winners)}
    parts = []
    for number, winner in enumerate(winners):
        table, fold = stored[winner], runs[winner].folds[number]
        here = pc.and_(pc.equal(table["repeat"], fold["repeat"]), pc.equal(table["fold"], fold["fold"]))
        parts.append(table.filter(here))
    found = pa.concat_tables(parts)
    position = found.schema.get_field_index("run")
    return found.set_column(position, found.schema.field("run"), pa.array([run_id] * len(found), pa.string()))


def _common(addresses: Sequence[str]) -> str:
    """Return ``network/each`` for several layers of one network, else all addresses."""
    networks = {address.rpartition("/")[0] for address in addresses}
    return f"{networks.pop()}/each" if len(networks) == 1 and "+" not in addresses[0] else " ".join(addresses)
