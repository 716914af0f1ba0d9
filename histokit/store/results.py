"""Runs, their predictions and their models: each run is seen whole, or as it was before, whatever happens meanwhile."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from histokit.errors import StoreError
from histokit.plugin.digests import digest_bytes
from histokit.store.change_digests import changed_columns, column_digests
from histokit.store.database import RESTORE, quote
from histokit.store.documents import Documents
from histokit.store.records import CURVE_SCHEMA, RunRecord
from histokit.store.tables import stretches

_MODEL_SCHEMA = pa.schema([("run", pa.string()), ("format", pa.string()), ("data", pa.large_binary())])
_TABLES = ("predictions", "models", "curves")
_KEY = "run"
#: Runs that are read together where a pass over all of them cannot tell one from the next.
_TOGETHER = 64


class Results:
    """Reads and writes what runs left.

    The rows of a run stand under a key that its record names. A run that is done again writes under a new key, and
    its record changes over to it in one step.

    Parameters
    ----------
    documents : Documents
    """

    def __init__(self, documents: Documents):
        self.documents = documents
        self.database = documents.database

    def find(self, run_id: str) -> RunRecord | None:
        """Return the run of exactly this id, if there is one."""
        found = self.documents.find("runs", f"id = {quote(run_id)}", key="id")
        return RunRecord.from_json(found[0]) if found else None

    def save(
        self, run: RunRecord, predictions: pa.Table, model: bytes | None, again: bool, curves: pa.Table | None = None
    ) -> tuple[RunRecord, bool]:
        """Write a run, unless it is there; return the one that is there in the end, and whether it was written.

        Parameters
        ----------
        again : bool
            Whether to take the place of the one that is there.
        curves : pyarrow.Table, optional
            Of `CURVE_SCHEMA`.
        """
        with self.database.committing():
            known = self.find(run.id)
            if known is not None and not again:
                return known, False
            key = f"{run.id}.{secrets.token_hex(4)}"
            rows = predictions.select(run.schema.names).cast(run.schema).drop_columns(_KEY)
            run = replace(run, rows=key, digests=column_digests(rows))
            self._append("predictions", rows, key)
            if curves is not None:
                points = curves.select(CURVE_SCHEMA.names).cast(CURVE_SCHEMA).drop_columns(_KEY)
                run = replace(run, curve_digests=column_digests(points))
                self._append("curves", points, key)
            if model is not None:
                run = replace(run, model_digest=digest_bytes(model).hex())
                self.database.append("models", pa.table([[key], ["skops"], [model]], schema=_MODEL_SCHEMA))
            self.documents.save("runs", {"id": run.id, "dataset": run.dataset}, run.stored(), on=["id"])
            if known is not None:
                of_run = f"({_KEY} = {quote(run.id)} OR {_KEY} LIKE {quote(run.id + '.%')})"
                for table in _TABLES:
                    self.database.delete(table, f"{of_run} AND {_KEY} <> {quote(key)}")
            # Each run adds a piece to each of them.
            if self.database.tidy("runs"):
                for table in _TABLES:
                    self.database.tidy(table)
            return run, True

    def _append(self, table: str, rows: pa.Table, key: str) -> None:
        """Add rows of a run; predictions to those that are there: of classes, of numbers, or of both."""
        rows = rows.add_column(0, _KEY, pa.array([key] * len(rows), pa.string()))
        there = self.database.schema(table) if self.database.exists(table) else rows.schema
        for field in rows.schema:
            if field.name not in there.names:
                self.database.add_column(table, field)
        for field in there:
            if field.name not in rows.column_names:
                rows = rows.append_column(field.name, pa.nulls(len(rows), field.type))
        self.database.append(table, rows)

    def curves(self, run: RunRecord) -> pa.Table:
        """Return what was recorded while the networks of a run were trained, in order.

        Raises
        ------
        StoreError
            If the run has no curves, or they are not what was written.
        """
        if not run.curve_digests:
            raise StoreError(
                f"The run {run.id} has no curves: no network was trained in it.", next="See: histokit list runs"
            )
        with self.database.reading("curves"):
            rows = self.database.read("curves", CURVE_SCHEMA.names, f"{_KEY} = {quote(run.key)}")
        if not len(rows) and (now := self._done_again(run)):
            return self.curves(now)
        changed = changed_columns(run.curve_digests, column_digests(rows.drop_columns(_KEY)))
        if changed:
            raise StoreError(
                f"The curves of the run {run.id} are damaged: {', '.join(changed)} changed on disk.",
                next=f"Do it again with --force. {RESTORE}",
            )
        place = rows.schema.get_field_index(_KEY)
        return rows.set_column(place, _KEY, pa.array([run.id] * len(rows), pa.string()))

    def predictions(self, runs: Sequence[RunRecord], columns: Sequence[str] | None = None) -> dict[str, pa.Table]:
        """Return the predictions of runs by their ids, in the order in which they were made, in one pass.

        Parameters
        ----------
        runs : sequence of RunRecord
        columns : sequence of str, optional
            ``run`` among them; those of `RunRecord.schema` where not given.

        Raises
        ------
        StoreError
            If they are not those that were written.
        """
        found = self.rows(runs, columns)
        for run in runs:
            try:
                self.check(run, found[run.id])
            except StoreError:
                now = self._done_again(run)
                if now is None:
                    raise
                found.update(self.predictions([now], columns))
        return found

    def one_by_one(
        self, runs: Sequence[RunRecord], columns: Sequence[str] | None = None
    ) -> Iterator[tuple[RunRecord, pa.Table | StoreError]]:
        """Yield each run with its predictions, or with why they cannot be read, in one pass that holds those of one.

        They come in the order in which they were written; `columns` as in `predictions`.
        """
        waiting = {run.key: run for run in runs}
        # Those that the pass leaves, damaged or scattered ones among them, are read by themselves.
        with suppress(StoreError):
            for key, rows in self._stretches(runs, columns, f"{_KEY} IN ({', '.join(map(quote, waiting))})"):
                run = waiting.get(key)
                # Where no digests are known, rows that stand elsewhere would not be missed.
                if run is not None and run.digests:
                    # Runs that predict numbers have more columns than those of classes beside them.
                    own = rows.select(columns or run.schema.names)
                    if not _changed(run, own):
                        del waiting[key]
                        yield run, _of_run(run, own, columns)
        left = list(waiting.values())
        for start in range(0, len(left), _TOGETHER):
            yield from self._together(left[start : start + _TOGETHER], columns)

    def _together(
        self, runs: Sequence[RunRecord], columns: Sequence[str] | None
    ) -> Iterator[tuple[RunRecord, pa.Table | StoreError]]:
        found: dict[str, pa.Table] = {}
        with suppress(StoreError):
            found = self.predictions(runs, columns)
        for run in runs:
            try:
                yield run, found[run.id] if found else self.predictions([run], columns)[run.id]
            except StoreError as error:
                yield run, error

    def _done_again(self, run: RunRecord) -> RunRecord | None:
        """Return the record that another process has put in the place of one that was read before, if it has."""
        now = self.find(run.id)
        return None if now is None or now.key == run.key else now

    def done_again(self, runs: Sequence[RunRecord]) -> dict[str, RunRecord]:
        """Return by id, of records that were read before, those that another process has put in their place since."""
        known = {run.id: run.key for run in runs}
        listed = f"id IN ({', '.join(map(quote, known))})"
        found = [RunRecord.from_json(d) for _, d in self.documents.sound("runs", listed)] if known else []
        return {run.id: run for run in found if run.key != known[run.id]}

    def rows(self, runs: Sequence[RunRecord], columns: Sequence[str] | None = None) -> dict[str, pa.Table]:
        """Return the predictions of runs as they are, whether they are what was written or not."""
        runs = list({run.id: run for run in runs}.values())
        if not runs or not self.database.exists("predictions"):
            return {run.id: run.schema.empty_table().select(columns or run.schema.names) for run in runs}
        listed = ", ".join(quote(run.key) for run in runs)
        wanted = columns or max((run.schema.names for run in runs), key=len)
        with self.database.reading("predictions"):
            rows = self.database.read("predictions", wanted, f"{_KEY} IN ({listed})")
            found = _split_by_run(rows, [run.key for run in runs])
        return {run.id: _of_run(run, found[run.key], columns) for run in runs}

    def stretches(self, runs: Sequence[RunRecord]) -> Iterator[tuple[str, pa.Table]]:
        """Yield the predictions of all runs in one pass, as they are: a run's key, and rows that stand together.

        Those of a run were written together, so that a key that comes again is a sign of damage; `runs` tell which
        columns are read.
        """
        return self._stretches(runs)

    def _stretches(
        self, runs: Sequence[RunRecord], columns: Sequence[str] | None = None, where: str | None = None
    ) -> Iterator[tuple[str, pa.Table]]:
        if runs and self.database.exists("predictions"):
            wanted = columns or max((run.schema.names for run in runs), key=len)
            for (key,), rows in stretches(self.database.scan("predictions", wanted, where), [_KEY]):
                yield key, rows

    def check(self, run: RunRecord, rows: pa.Table) -> None:
        """Raise unless predictions are those that were written.

        Raises
        ------
        StoreError
        """
        if changed := _changed(run, rows):
            raise StoreError(
                f"The predictions of the run {run.id} are damaged: {', '.join(changed)} changed on disk.",
                next=f"Do it again with --force. {RESTORE}",
            )

    def model(self, run: RunRecord) -> bytes:
        """Return the serialised model of a run.

        Raises
        ------
        StoreError
            If the run has none, or it is not what was written.
        """
        where = f"{_KEY} = {quote(run.key)}"
        found = self.database.read("models", ["data"], where).column("data") if self.database.exists("models") else []
        if not len(found) and (now := self._done_again(run)):
            return self.model(now)
        data = bytes(found[0].as_py()) if len(found) else None
        self.check_model(run, data)
        assert data is not None
        return data

    def models(self) -> Iterator[tuple[str, bytes]]:
        """Yield the key and the serialised model of all runs in one pass, as they are."""
        if self.database.exists("models"):
            for batch in self.database.scan("models", [_KEY, "data"]):
                for key, data in zip(batch.column(_KEY), batch.column("data"), strict=True):
                    yield key.as_py(), data.as_py() or b""

    def check_model(self, run: RunRecord, data: bytes | None) -> None:
        """Raise unless a model is the one that was written.

        Raises
        ------
        StoreError
        """
        if data is None:
            raise StoreError(f"The run {run.id} has no model.", next="Train it again with --force.")
        if run.model_digest not in (None, digest_bytes(data).hex()):
            raise StoreError(
                f"The model of the run {run.id} is damaged: it changed on disk.", next="Train it again with --force."
            )

    def remove_unnamed(self, dry_run: bool) -> dict[str, int]:
        """Remove the rows that no record of a run names, as processes that were killed leave them.

        Returns
        -------
        dict
            Table → number of rows.
        """
        with self.database.committing():
            keys = [RunRecord.from_json(document).key for document in self.documents.find("runs", key="id")]
            found = {}
            for table in _TABLES:
                unnamed = f"{_KEY} NOT IN ({', '.join(map(quote, keys))})" if keys else "true"
                found[table] = self.database.count(table, unnamed)
                if found[table] and not dry_run:
                    self.database.delete(table, unnamed)
        return found


def _changed(run: RunRecord, rows: pa.Table) -> list[str]:
    """Return the columns of a run's predictions that are not what was written."""
    return changed_columns(run.digests, column_digests(rows.drop_columns(_KEY)))


def _of_run(run: RunRecord, rows: pa.Table, columns: Sequence[str] | None) -> pa.Table:
    """Return rows of a run with its id in place of its key."""
    ids = pa.array([run.id] * len(rows), pa.string())
    return rows.set_column(rows.schema.get_field_index(_KEY), _KEY, ids).select(columns or run.schema.names)


def _split_by_run(rows: pa.Table, run_ids: Sequence[str]) -> dict[str, pa.Table]:
    """Return the predictions of each run, in their order."""
    numbers = pc.index_in(rows.column("run"), value_set=pa.array(run_ids)).to_numpy()
    # Those of a run were written together.
    if (np.diff(numbers) != 0).sum() >= len(np.unique(numbers)):
        order = np.argsort(numbers, kind="stable")
        rows, numbers = rows.take(order), numbers[order]
    starts = {int(numbers[at]): at for at in np.flatnonzero(np.diff(numbers, prepend=-1))}
    counts = np.bincount(numbers, minlength=len(run_ids))
    return {name: rows.slice(starts.get(i, 0), int(counts[i])) for i, name in enumerate(run_ids)}
