"""Runs side by side: scores of methods on datasets, paired differences, ranks and tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from histokit.compare.caveats import cell_remarks, column_remarks, leak_remarks, run_remarks
from histokit.compare.compare_options import CompareOptions
from histokit.compare.methods import by_run, group_methods, parse_keys, same_twice
from histokit.compare.paired_differences import PairedDifferences, pair_differences
from histokit.compare.ranking import rank_methods
from histokit.compare.run_facts import Facts, describe_runs
from histokit.compare.score_table import Cell, Table, best_of_each, cell_documents, make_table
from histokit.compare.scored import Scored, score_runs
from histokit.compare.sheets import comparison_sheets
from histokit.compare.table_columns import Column, column_key, make_columns
from histokit.compare.views import VIEWS, WHY_UNKNOWN
from histokit.compare.which_runs import check_enough, pick_runs
from histokit.errors import shortened, some
from histokit.evaluate.pooled import usual_metrics
from histokit.evaluate.summary import ENOUGH_GROUPS, percentile_interval
from histokit.evaluate.views import check_views
from histokit.features.feature_store import StoreLike, open_store
from histokit.layout import Sheet
from histokit.notebooks import InNotebooks
from histokit.protocol.scorers import check_metric
from histokit.protocol.targets import check_kind, target_of
from histokit.store import RunRecord, Store
from histokit.store.records import NUMBER


@dataclass(frozen=True)
class Comparison(InNotebooks):
    """Methods on datasets.

    Parameters
    ----------
    metric : str, optional
        None where datasets have different ones.
    columns : list of dict
        Of each dataset and split: ``column`` (its name), ``dataset``, ``target``, ``target_type``, ``where``,
        ``split``, ``split_digest``, ``metric`` and ``aggregate`` (what samples were aggregated to before training).
    methods : list of dict
        Of each method, the best first: ``method`` (its name), ``facts``, ``average_rank`` and ``cells``: on each column
        the mean score over its runs with a 95 % ``interval``, the ``place`` (1 is the best), the ``mark`` (best,
        second), the ``rank`` (the best of k ranked methods has k) and whether it is ``optimistic``.
    rows : list of dict
        Of each run: its method, score, mean over folds and interval.
    pairs : sequence of dict
        Of each two methods on one column: the difference of their scores, with a paired bootstrap interval and p,
        worked out when they are looked at. Of errors (``mae``, ``rmse``), that of the better method is the lower one.
    ranking : dict, optional
        See `histokit.compare.ranking.rank_methods`; None with one dataset.
    best_of : list of str
        The facts by whose values the best method was taken on each column; if there are any, the choice was made on
        the test samples.
    notes : list of str
    views : dict
        View → its document, of those that were asked for.
    """

    metric: str | None
    columns: list[dict[str, Any]]
    methods: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    pairs: PairedDifferences
    ranking: dict[str, Any] | None
    best_of: list[str]
    notes: list[str]
    views: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        named = ", ".join(column["column"] for column in self.columns)
        return f"Comparison({len(self.methods)} methods, {len(self.rows)} runs on {shortened(named)})"

    def sheets(self) -> list[Sheet]:
        """Return scores, runs, differences, ranks and tests as tables for people."""
        return list(comparison_sheets(self))

    def to_json(self, *, pairs: bool = True) -> dict[str, Any]:
        """Return the comparison as JSON-serialisable data, with views where there are any.

        Parameters
        ----------
        pairs : bool
            Whether to give the paired differences, too, of which many methods have very many.
        """
        document = asdict(replace(self, pairs=PairedDifferences()))
        document["pairs"] = list(self.pairs) if pairs else []
        if not self.views:
            del document["views"]
        return document


def compare(
    store: StoreLike,
    runs: str | Sequence[str] = (),
    *,
    dataset: str | Sequence[str] = (),
    where: str | None = None,
    everything: bool = False,
    metric: str | Mapping[str, str] | None = None,
    by: str | Sequence[str] | None = None,
    best_of: str | Sequence[str] | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    views: str | Sequence[str] = (),
    progress: Callable[..., None] | None = None,
) -> Comparison:
    """Compare runs on one dataset or several.

    Runs that differ in nothing but dataset, split and seed are of one method; on each dataset its score is the mean
    over its runs.

    Parameters
    ----------
    store : FeatureStore or path
    runs : str or sequence of str
        Ids, or their beginnings; all stored runs that the other parameters keep where not given.
    dataset : str or sequence of str
        Only runs on these.
    where : str, optional
        SQL over what is known of runs (`histokit.compare.run_facts.describe_runs`), such as ``classifier = 'svm'``.
    everything : bool
        Take all stored runs.
    metric : str or mapping of dataset to str, optional
        That of each dataset where not given. The ROC AUC of runs over folds is compared by its mean over folds.
    by : str or sequence of str, optional
        The facts that make a method, in place of all.
    best_of : str or sequence of str, optional
        Facts, such as ``strategy``: on each dataset only the best method of each value is shown. This choice is made
        on the test samples, and optimistic.
    bootstrap : int
        Resamples of groups for intervals; the same draws for both methods of a pair.
    seed : int
    views : str or sequence of str
        What else is to be made of the scores: ``labels``, against the groups that were trained on, or ``layers``,
        against the depth of layers. Figures of the same names draw them.
    progress : callable, optional
        ``progress(done, total, detail)``.

    Returns
    -------
    Comparison

    Raises
    ------
    UsageError, StoreError, DataError
    """
    options = CompareOptions.of({**locals(), "views": check_views(views, VIEWS)})
    store = open_store(store)
    named = [runs] if isinstance(runs, str) else list(runs)
    records = pick_runs(store, named, options)
    check_enough(records, where)
    facts = describe_runs(store, records)
    scored, notes = score_runs(
        store,
        records,
        {entry["run"]: entry for entry in facts},
        _metrics(store, records, metric),
        bootstrap=options.bootstrap,
        seed=options.seed,
        unlabelled_too=bool(named),
        progress=progress,
    )
    check_enough([entry.run for entry in scored], where)
    found = compare_scores(scored, by=by, best_of=best_of, by_hand=bool(named))
    found.notes[:0] = [*notes, *leak_remarks(store, make_columns(scored))]
    made = {name: VIEWS[name](store, found.columns, found.methods) for name in options.views}
    for name, view in made.items():
        if view["unknown"]:
            unknown = some(list(dict.fromkeys(view["unknown"])))
            found.notes.append(f"the view {name} does not show {unknown}: {WHY_UNKNOWN[name]}")
    return replace(found, views=made)


def _metrics(store: Store, runs: Sequence[RunRecord], metric: str | Mapping[str, str] | None) -> dict[str, str]:
    """Return the metric of each run: that which is asked for, else that of its dataset."""
    asked = dict.fromkeys((run.dataset for run in runs), metric) if isinstance(metric, str) else dict(metric or {})
    for name in asked.values():
        check_metric(name)
    usual = usual_metrics(store, runs)
    return {run.id: _asked_of(run, asked[run.dataset]) if run.dataset in asked else usual[run.id] for run in runs}


def _asked_of(run: RunRecord, metric: str) -> str:
    kept = 'Numbers alone are kept by --where "target_type = \'number\'", classes by --where "target_type IS NULL"'
    target = target_of(NUMBER if run.numbers else None)
    return check_kind(target, metric, f"What the run {run.id} predicts", f"{kept}.")


def compare_scores(
    scored: Sequence[Scored],
    *,
    by: str | Sequence[str] | None = None,
    best_of: str | Sequence[str] | None = None,
    by_hand: bool = False,
) -> Comparison:
    """Compare runs whose scores are known.

    Parameters
    ----------
    scored : sequence of Scored
    by, best_of : str or sequence of str, optional
    by_hand : bool
        Whether the runs were named one by one, so that none is left out for a newer one.

    Returns
    -------
    Comparison

    Raises
    ------
    UsageError
        If no run has such a fact.
    """
    keys = parse_keys(by, [entry.facts for entry in scored], "--by")
    best = parse_keys(best_of, [entry.facts for entry in scored], "--best-of")
    kept, apart, notes = same_twice(scored, lambda entry: column_key(entry.run), by_hand)
    columns = make_columns(kept)
    methods = group_methods(kept, keys, apart)
    if len(methods) == 1 and len(columns) == 1 and not keys:
        notes.append("the runs are repeats of one method: they are shown one by one")
        methods = by_run(kept)
    table = make_table(methods, columns)
    notes += [*column_remarks(columns), *cell_remarks(table)]
    name_of = {entry.run.id: name for name, entries in methods.items() for entry in entries}
    if best:
        table = best_of_each(table, best)
        notes.append(f"the best of each {', '.join(best)} is chosen on the test samples: these scores are optimistic")
    pairs, unpaired = pair_differences(table, columns)
    ranking, unranked = rank_methods(table, columns)
    notes += [*unpaired, *unranked, *run_remarks(kept)]
    metrics = {column.metric for column in columns}
    return Comparison(
        metric=metrics.pop() if len(metrics) == 1 else None,
        columns=[_column(column) for column in columns],
        methods=_documents(table, columns, ranking),
        rows=[_row(entry, name_of[entry.run.id], columns) for entry in kept],
        pairs=pairs,
        ranking=ranking,
        best_of=best,
        notes=list(dict.fromkeys(notes)),
    )


def _column(column: Column) -> dict[str, Any]:
    dataset, target, where, kind = column.task
    place = {"column": column.name, "dataset": dataset, "target": target, "target_type": kind, "where": where}
    return {
        **place,
        "split": column.split,
        "split_digest": column.split_digest,
        "metric": column.metric,
        "aggregate": column.aggregate,
    }


def _documents(table: Table, columns: Sequence[Column], ranking: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return what is known of each method, the best ranked or, on one column, the best scored first."""
    found: dict[str, dict[str, Any]] = {
        method: {"method": method, "average_rank": None, "facts": shared_facts(cells), "cells": {}}
        for method, cells in table.items()
    }
    for column in columns:
        for method, document in cell_documents(table, column).items():
            found[method]["cells"][column.name] = document
    order = list(found)
    if ranking:
        for method, ranks in ranking["ranks"].items():
            found[method]["average_rank"] = ranking["average_ranks"][method]
            for name, rank in zip(ranking["columns"], ranks, strict=True):
                found[method]["cells"][name]["rank"] = rank
        order = [*ranking["methods"], *(method for method in order if method not in ranking["methods"])]
    elif len(columns) == 1:
        place = {method: found[method]["cells"][columns[0].name]["place"] for method in order}
        order = sorted(order, key=lambda method: place[method] or len(place) + 1)
    return [found[method] for method in order]


def shared_facts(cells: dict[Column, Cell]) -> Facts:
    """Return the facts that all runs of a method share."""
    every = [entry.facts for cell in cells.values() for entry in cell.runs]
    return {name: value for name, value in every[0].items() if all(facts.get(name) == value for facts in every)}


def _row(entry: Scored, method: str, columns: Sequence[Column]) -> dict[str, Any]:
    run = entry.run
    place = next(column.name for column in columns if column.key == column_key(run))
    return {
        "run": run.id,
        "method": method,
        "column": place,
        "dataset": run.dataset,
        "address": run.address,
        "classifier": run.classifier,
        "split": run.split,
        "strategy": entry.facts.get("strategy"),
        "seed": entry.facts.get("seed"),
        "metric": entry.metric,
        "score": entry.score,
        "fold_mean": entry.fold_mean,
        "fold_std": entry.fold_std,
        "interval": percentile_interval(entry.resampled) if entry.groups > 1 else None,
        "groups": entry.groups,
        "reliable": entry.groups >= ENOUGH_GROUPS,
        "selected": bool(run.parameters.get("selection") or run.parameters.get("rfe")),
        "seconds": run.seconds,
    }
