"""Training curves: loss and metric of the networks of runs, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from histokit.errors import StoreError, UsageError, did_you_mean
from histokit.evaluate.curve_sheets import AGAINST, curve_sheets
from histokit.evaluate.network_curve import LOSS, SERIES, NetworkCurve, network_curves
from histokit.features.feature_store import StoreLike, open_store
from histokit.layout import Sheet
from histokit.notebooks import InNotebooks
from histokit.protocol.scorers import spread
from histokit.store import RunRecord, Store


@dataclass(frozen=True, eq=False)
class RunCurves(InNotebooks):
    """The curves of the networks of a run.

    Parameters
    ----------
    run, dataset, address, classifier, split, metric : str
    target : str, optional
        The column that is predicted; none where it is the label.
    name : str
        What tells the run apart from those beside it.
    against : str
        ``epoch`` or ``iteration``.
    loss : str
        What the losses are, with the unit of what is no matter of classes.
    chosen_by : str
        What the epoch was chosen by: ``validation``, ``last`` or ``test``.
    tested : dict
        How many test samples (``predicted``) of how many ``groups`` the networks were tested on.
    networks : int
        How many networks the means are over: one for each repeat and fold of the split.
    epochs : list of dict
        ``epoch``, ``stage``, ``iteration`` (the mean, of those that ended before as if they had gone on), ``lr``,
        ``networks`` (that have come so far), ``chosen`` (those of which this epoch was chosen), and for each of
        ``train``, ``val`` and ``test`` what was recorded: ``loss`` and the metric, each with ``mean``, ``std`` (none of
        fewer than two) and ``networks``. The loss of ``train`` is the mean over the batches of the epoch, as they were
        when they were trained on.
    chosen : list of dict
        ``repeat``, ``fold`` and ``epoch`` of each network.
    final : dict, optional
        The same of the network of all training samples, which is in no mean.
    steps : list of dict
        ``epoch``, ``iteration`` and ``loss`` of training within the epochs, where there is one network.
    points : pyarrow.Table
        All that was recorded, of `histokit.store.records.CURVE_SCHEMA`, with ``chosen``: whether it is of the end of
        the epoch that was chosen.
    notes : list of str
    """

    run: str
    dataset: str
    address: str
    classifier: str
    split: str
    metric: str
    target: str | None
    name: str
    against: str
    loss: str
    chosen_by: str
    tested: dict[str, int]
    networks: int
    epochs: list[dict[str, Any]]
    chosen: list[dict[str, Any]]
    final: dict[str, Any] | None
    steps: list[dict[str, Any]]
    points: pa.Table
    notes: list[str]

    def __repr__(self) -> str:
        return f"RunCurves({self.run}: {len(self.epochs)} epochs of {self.networks} networks on {self.dataset})"

    def to_json(self) -> dict[str, Any]:
        """Return the curves as JSON-serialisable data."""
        return {name: value for name, value in vars(self).items() if name != "points"}

    def sheets(self) -> list[Sheet]:
        """Return the epochs as a table for people."""
        return curve_sheets(self)[:1]

    @property
    def measures(self) -> list[tuple[str, str]]:
        """What was recorded, ``("train", "loss")`` and so on, in order."""
        pairs = [(series, measure) for series in SERIES for measure in (LOSS, self.metric)]
        return [(series, measure) for series, measure in pairs if any(measure in e[series] for e in self.epochs)]


def curves(
    store: StoreLike, runs: str | Sequence[str], *, against: str = "epoch", metric: str | None = None
) -> list[RunCurves]:
    """Return what was recorded while the networks of runs were trained.

    Parameters
    ----------
    store : FeatureStore or path
    runs : str or sequence of str
        Ids, or their beginnings, of runs of `histokit.finetune`.
    against : str
        ``epoch`` or ``iteration``: what a figure shows them against.
    metric : str, optional
        ``loss``, or the metric that the epoch was chosen by; both where not given.

    Returns
    -------
    list of RunCurves

    Raises
    ------
    StoreError
        If a run is unknown or has no curves.
    UsageError
        If the metric was not recorded.
    """
    if against not in AGAINST:
        raise UsageError(
            f"Curves against {against!r} are unknown.",
            next=f"{did_you_mean(against, AGAINST)}Use one of {', '.join(AGAINST)}.",
        )
    store = open_store(store)
    ids = [runs] if isinstance(runs, str) else list(runs)
    records = list({record.id: record for record in map(store.run, ids)}.values())
    tables = [_recorded(store, record) for record in records]
    for record in records:
        if metric not in (None, LOSS, record.metric):
            raise UsageError(
                f"Of the run {record.id} {LOSS} and {record.metric} were recorded, not {metric}.",
                next=f"Use one of these, or train with: histokit finetune … --metric {metric}",
            )
    tested = store.predictions_of(records, ["run", "id", "group"])
    named = zip(records, tables, _names(records), strict=True)
    return [
        _curves_of(record, table, name, _tested(tested[record.id]), against, metric) for record, table, name in named
    ]


def _tested(predictions: pa.Table) -> dict[str, int]:
    ids, groups = (predictions.column(name).drop_null().unique() for name in ("id", "group"))
    return {"predicted": len(ids), "groups": len(groups)}


def _recorded(store: Store, run: RunRecord) -> pa.Table:
    if run.curve_digests:
        return store.curves(run.id)
    source = f" Those of the run whose network predicted: histokit curves {run.source_run}." if run.source_run else ""
    raise StoreError(
        f"The run {run.id} ({run.kind}, {run.classifier}) has no curves: no network was trained in it.",
        next=f"Curves are of runs of histokit finetune; see: histokit list runs.{source}",
    )


def _names(runs: Sequence[RunRecord]) -> list[str]:
    """Return what tells runs apart: what is trained on what, and how, where that differs; else more of it."""
    facts = [_facts(run) for run in runs]
    differing = [name for name in facts[0] if len({known[name] for known in facts}) > 1] if facts else []
    for count in range(len(differing) + 1):
        shown = [*(name for name in differing[:count]), *(n for n in differing[count:] if n in _ALWAYS)]
        names = [" ".join(known[name] for name in shown if known[name]) for known in facts]
        if len(set(names)) == len(runs):
            break
    for fact in [fact for fact in reversed(shown) if fact not in (*_ALWAYS, "preset")] if runs else []:
        fewer = [name for name in shown if name != fact]
        without = [" ".join(known[name] for name in fewer if known[name]) for known in facts]
        # What tells nothing apart that the rest does not, such as digests beside names of weights, is left out.
        shown, names = (fewer, without) if len(set(without)) == len(runs) else (shown, names)
    return [name or run.id for name, run in zip(names, runs, strict=True)] if runs else []


_ALWAYS = ("dataset", "address", "classifier")


def _facts(run: RunRecord) -> dict[str, str]:
    asked = run.parameters
    recipe, network = asked.get("recipe", {}), asked.get("network", {})
    return {
        **{name: getattr(run, name) for name in _ALWAYS},
        "preset": str(recipe.get("name", "")),
        "settings": " ".join(f"{name}={value}" for name, value in (asked.get("settings") or {}).items()),
        "weights": Path(str(asked.get("weights") or "")).name * (not asked.get("from_scratch")),
        "digest": str(network.get("weights", "")),
        "split": run.split,
        "target": str(asked.get("target") or ""),
        "seed": f"seed {asked.get('seed', 0)}",
        "run": run.id,
    }


def _curves_of(
    run: RunRecord, points: pa.Table, name: str, tested: dict[str, int], against: str, metric: str | None
) -> RunCurves:
    chosen = {(fold["repeat"], fold["fold"]): fold["parameters"]["epoch"] for fold in run.folds}
    every = network_curves(points, run.metric, metric)
    of_folds = {place: curve for place, curve in every.items() if place[1] >= 0} or every
    final = run.found.get("final", {}).get("parameters", {}).get("epoch")
    epoch_of = {place: chosen.get(place, final) for place in every}
    (alone,) = of_folds.values() if len(of_folds) == 1 else (None,)
    return RunCurves(
        run=run.id,
        **{field: getattr(run, field) for field in ("dataset", "address", "classifier", "split", "metric")},
        target=run.parameters.get("target"),
        name=name,
        against=against,
        loss=_loss_of(run),
        chosen_by=str(run.parameters.get("recipe", {}).get("choose_epoch", "")),
        tested=tested,
        networks=len(of_folds),
        epochs=_epochs(list(of_folds.values()), [epoch_of[place] for place in of_folds]),
        chosen=[{"repeat": r, "fold": f, "epoch": epoch_of[r, f]} for r, f in of_folds],
        final={"epoch": final} if len(of_folds) < len(every) else None,
        steps=alone.steps if alone is not None and metric in (None, LOSS) else [],
        points=_marked(points, epoch_of),
        notes=list(run.notes),
    )


def _loss_of(run: RunRecord) -> str:
    name = str(run.parameters.get("recipe", {}).get("loss", ""))
    return f"{name}, of the standardised target" if run.numbers else name


def _epochs(networks: Sequence[NetworkCurve], chosen: Sequence[int | None]) -> list[dict[str, Any]]:
    """Return the means over networks, epoch by epoch."""
    found = []
    for epoch in sorted({epoch for network in networks for epoch in network.epochs}):
        there = [network.epochs[epoch] for network in networks if epoch in network.epochs]
        entry: dict[str, Any] = {"epoch": epoch, "stage": min(e.stage for e in there)}
        entry |= {"iteration": float(np.mean([_iteration(n, epoch) for n in networks])), "lr": there[0].lr}
        entry |= {"networks": len(there), "chosen": sum(one == epoch for one in chosen)}
        for series in SERIES:
            values = [e.values.get(series, {}) for e in there]
            measures = dict.fromkeys(measure for known in values for measure in known)
            entry[series] = {name: _mean([known[name] for known in values if name in known]) for name in measures}
        found.append(entry)
    return found


def _iteration(network: NetworkCurve, epoch: int) -> float:
    """Return the iteration at which an epoch ends, or would end for a network whose training ended before."""
    last = max(network.epochs)
    return network.epochs[epoch].iteration if epoch in network.epochs else network.epochs[last].iteration * epoch / last


def _mean(values: Sequence[float]) -> dict[str, Any]:
    array = np.array(values, float)
    return {"mean": float(array.mean()), "std": spread(array), "networks": len(array)}


def _marked(points: pa.Table, chosen: dict[tuple[int, int], int | None]) -> pa.Table:
    """Return points with a column that says whether they end the epoch that was chosen."""
    columns = (points.column(name).to_pylist() for name in ("repeat", "fold", "epoch"))
    marks = [math.isclose(e, chosen[r, f] or math.nan) for r, f, e in zip(*columns, strict=True)]
    return points.append_column("chosen", pa.array(marks, pa.bool_()))
