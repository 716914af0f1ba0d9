"""The part of a store that is about runs: their records, predictions, curves and models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pyarrow as pa

from histokit.errors import StoreError, shortened
from histokit.plugin.digests import canonical_json
from histokit.plugin.finished_runs import FinishedRun, tell_of_run
from histokit.store.database import Database, quote
from histokit.store.documents import Documents
from histokit.store.records import RunRecord
from histokit.store.results import Results


class StoredRuns:
    """Reads and writes the runs of a store."""

    database: Database
    _documents: Documents
    _results: Results

    def runs(self, dataset: str | None = None) -> list[RunRecord]:
        """Return the runs, oldest first."""
        where = None if dataset is None else f"dataset = {quote(dataset)}"
        documents = self._documents.find("runs", where, key="id")
        return sorted((RunRecord.from_json(d) for d in documents), key=lambda r: r.created)

    def run(self, run_id: str) -> RunRecord:
        """Return a run by its id or the beginning of it."""
        return RunRecord.from_json(self._documents.by_id("runs", run_id, "run"))

    def named_runs(self, names: Sequence[str]) -> list[RunRecord]:
        """Return the run of each id or beginning of one; those of whole ids are looked up together."""
        known = self.stored_runs(names) if len(names) > 1 else {}
        return [known.get(name) or self.run(name) for name in names]

    def stored_runs(self, ids: Sequence[str]) -> dict[str, RunRecord]:
        """Return those of runs that are there, by their whole ids; they are looked up together."""
        found = self._documents.find("runs", f"id IN ({', '.join(map(quote, ids))})", key="id")
        return {document["id"]: RunRecord.from_json(document) for document in found}

    def has_run(self, run_id: str) -> bool:
        """Return whether there is a run of exactly this id."""
        return self._documents.dataset_of("runs", run_id) is not None

    def save_run(
        self,
        run: RunRecord,
        predictions: pa.Table,
        model: bytes | None,
        *,
        again: bool = False,
        curves: pa.Table | None = None,
    ) -> RunRecord:
        """Write a run, unless another process has written it meanwhile; return what is there in the end.

        Plugins are told of it, see `histokit.plugin.hookspecs.on_run_finished`.

        Parameters
        ----------
        run : RunRecord
        predictions : pyarrow.Table
            Of `RunRecord.schema`: that of classes, or that of numbers.
        model : bytes, optional
        again : bool
            Take the place of the one that is there.
        curves : pyarrow.Table, optional
            Of `CURVE_SCHEMA`.
        """
        saved, written = self._results.save(run, predictions, model, again, curves)
        if written:
            from histokit.plugin.manager import registry

            points = [] if curves is None else curves.drop_columns("run").to_pylist()
            tell_of_run(registry().listeners, lambda: _as_told(saved, points, self.database.uri.absolute()))
        return saved

    def curves(self, run_id: str) -> pa.Table:
        """Return what was recorded while the networks of a run were trained, of `CURVE_SCHEMA`, in order.

        Raises
        ------
        StoreError
            If the run has none, or they are not what was written.
        """
        return self._results.curves(self.run(run_id))

    def predictions(self, run_id: str) -> pa.Table:
        """Return the predictions of a run in the order in which they were made.

        Raises
        ------
        StoreError
            If they are not those that were written.
        """
        run = self.run(run_id)
        return self._results.predictions([run])[run.id]

    def predictions_of(self, runs: Sequence[RunRecord], columns: Sequence[str] | None = None) -> dict[str, pa.Table]:
        """Return the predictions of several runs by their ids, in one pass; ``run`` is among the columns."""
        return self._results.predictions(runs, columns)

    def predictions_one_by_one(
        self, runs: Sequence[RunRecord], columns: Sequence[str] | None = None
    ) -> Iterator[tuple[RunRecord, pa.Table | StoreError]]:
        """Yield runs with their predictions, or with why they cannot be read, in one pass that holds those of one.

        They come in the order in which they were written.
        """
        return self._results.one_by_one(runs, columns)

    def model(self, run_id: str) -> bytes:
        """Return the serialised model of a run.

        Raises
        ------
        StoreError
            If the run has none, or it is damaged.
        """
        return self._results.model(self.run(run_id))


def _as_told(run: RunRecord, points: Sequence[Mapping[str, Any]], store: Path) -> FinishedRun:
    """Return what plugins are told of a run; `points` are of `CURVE_SCHEMA`."""
    names = ("id", "dataset", "kind", "address", "classifier", "split", "metric", "classes", "seconds", "created")
    return FinishedRun(
        **{name: getattr(run, name) for name in names},
        asked=deepcopy(run.asked),
        folds=tuple(deepcopy(run.folds)),
        curves=tuple({**point, "fold": None if point["fold"] < 0 else point["fold"]} for point in points),
        notes=tuple(run.notes),
        versions=dict(run.versions),
        store=store,
    )


def told_apart(runs: Sequence[RunRecord]) -> list[list[str]]:
    """Return of each run in what it differs from most runs of its dataset, kind, address, classifier and split.

    Examples
    --------
    ``[[], ["seed 1"], ["scale", "seed 1"]]`` of three runs: the first is as most of them are.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for place, run in enumerate(runs):
        groups.setdefault((run.dataset, run.kind, run.address, run.classifier, run.split), []).append(place)
    found: list[list[str]] = [[] for _ in runs]
    for members in groups.values():
        asked = [{**runs[place].asked, "model of": runs[place].source_run} for place in members]
        for name in dict.fromkeys(name for each in asked for name in each):
            # What is off is as what an earlier version did not know of.
            values = [None if each.get(name) is False else each.get(name) for each in asked]
            texts = [canonical_json(value) for value in values]
            ((usual, _),) = Counter(texts).most_common(1)
            for place, value, text in zip(members, values, texts, strict=True):
                if text != usual:
                    found[place].append(_asked_text(name, value))
    return found


def _asked_text(name: str, value: Any) -> str:
    if value is None or value is True:
        return name if value else f"no {name}"
    if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        settings = {key: dict.fromkeys(str(each.get(key)) for each in value) for key in value[0]}
        value = " ".join(f"{key}={','.join(values)}" for key, values in settings.items())
    return f"{name} {shortened(str(value), 40)}"
