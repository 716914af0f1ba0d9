"""A store that also opens features by address."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Self, TypeAlias

import numpy as np

from histokit.errors import StoreError, UsageError, counted
from histokit.features.addresses import parse_address, resolve
from histokit.features.feature_set import FeatureSet, Part
from histokit.layout import Sheet
from histokit.notebooks import InNotebooks
from histokit.store import Store
from histokit.store.commits import Made
from histokit.store.networks import Networks
from histokit.store.records import REMARK_STAGE
from histokit.store.repeat_commands import make_again
from histokit.store.tables import again_or_without
from histokit.store.vectors import FeatureTable, copy_vectors, find_vectors

DEFAULT_URI = "histokit-store"


class FeatureStore(Store, InNotebooks):
    """A `Store` whose features are opened by address."""

    def sheets(self) -> list[Sheet]:
        """Return the datasets and how much there is of each, as a table for people."""
        tables, runs = self.feature_tables(), self.runs()
        rows = [
            [
                record.name,
                record.count,
                len(record.classes),
                record.group or "–",
                sum(table.dataset == record.name for table in tables),
                sum(run.dataset == record.name for run in runs),
            ]
            for record in self.datasets()
        ]
        return [Sheet(str(self), ["dataset", "samples", "classes", "group", "feature tables", "runs"], rows)]

    def __repr__(self) -> str:
        return f"FeatureStore({str(self.uri)!r})"

    @property
    def networks(self) -> Networks:
        """The networks that were trained."""
        return Networks(self.uri)

    def anchored(self) -> Self:
        """Return the store by its absolute path.

        A notebook, or a plugin, may go to another folder, in which a relative path would name another store.
        """
        return type(self)(self.uri.absolute())

    def addresses(self, dataset: str, address: str) -> list[str]:
        """Return the canonical addresses of an address; several only where it says ``each``.

        Raises
        ------
        StoreError
            If nothing is there, or it is ambiguous.
        UsageError
            If the address names no layer.
        """
        tables = self.feature_tables(dataset)
        choices = self._choices(dataset, address, tables)
        return ["+".join(t.address + _mark(t, tables) for t in chosen) for chosen in choices]

    def features(
        self,
        dataset: str,
        address: str,
        *,
        where: str | None = None,
        allow_missing: bool = False,
        outline: bool = False,
    ) -> FeatureSet:
        """Open features as one matrix.

        Parameters
        ----------
        dataset : str
        address : str
            ``backbone/layer``, joined by ``+``; ``all`` merges the layers of a network. A table that is named
            twice comes once.
        where : str, optional
            SQL over the columns of the samples.
        allow_missing : bool
            Leave out samples whose vector is missing, instead of raising.
        outline : bool
            Read no vector: ``X`` has its shape and holds zeros, in no memory.

        Raises
        ------
        StoreError
            If features are absent, ambiguous or incomplete.
        """
        choices = self._choices(dataset, address, self.feature_tables(dataset))
        if len(choices) > 1:
            listed = ", ".join("+".join(t.address for t in chosen) for chosen in choices)
            raise StoreError(
                f"The address {address!r} stands for several: {listed}.",
                next="Give one of them; with all in the place of each, layers are merged.",
            )
        return self._assemble(dataset, choices[0], where, allow_missing, outline)

    def _choices(self, dataset: str, address: str, tables: Sequence[FeatureTable]) -> list[list[FeatureTable]]:
        self.dataset(dataset)
        choices: list[list[FeatureTable]] = [[]]
        for part in parse_address(address):
            found = resolve(part, tables, dataset, self)
            if part.layer == "each":
                self._check_whole(dataset, found[0].backbone)
                choices = [[*chosen, table] for chosen in choices for table in found]
            else:
                choices = [[*chosen, *found] for chosen in choices]
        return [list({table.name: table for table in chosen}.values()) for chosen in choices]

    def _check_whole(self, dataset: str, backbone: str) -> None:
        """Raise where a layer of a network is gone: what is asked of each is not answered for the others alone."""
        for lost in self.lost_features(dataset):
            if lost.address.rpartition("/")[0] == backbone:
                raise StoreError(
                    f"The features {lost.address} of {dataset!r} were in the store, and are gone.",
                    next=again_or_without(lost.again),
                )

    def lost_features(self, dataset: str) -> list[Made]:
        """Return what is known of feature tables of a dataset that were made, and are gone."""
        return list(self.database.lost_features(dataset).values())

    def _assemble(
        self, dataset: str, tables: Sequence[FeatureTable], where: str | None, allow_missing: bool, outline: bool
    ) -> FeatureSet:
        record = self.dataset(dataset)
        samples = self.samples(dataset, where=where)
        found = [find_vectors(self.database, table, samples) for table in tables]
        complete = np.ones(len(samples), dtype=bool)
        for table, vectors in zip(tables, found, strict=True):
            missing = int((~vectors.present).sum())
            if missing and not allow_missing:
                raise self._incomplete(dataset, table, missing, len(samples))
            complete &= vectors.present
        shape = int(complete.sum()), sum(table.width for table in tables)
        rows = samples if complete.all() else samples.filter(complete)
        parts = tuple(_part(table) for table in tables)
        if outline:
            return FeatureSet(np.broadcast_to(np.float32(0), shape), rows, record, parts)
        matrix = np.empty(shape, dtype=np.float32)
        start = 0
        for table, vectors in zip(tables, found, strict=True):
            copy_vectors(self.database, table, vectors, complete, matrix[:, start : start + table.width])
            start += table.width
        return FeatureSet(matrix, rows, record, parts)

    def _incomplete(self, dataset: str, table: FeatureTable, missing: int, total: int) -> StoreError:
        rows = self.problems(dataset).select(["id", "stage"]).to_pylist()
        # Where a network was trained on the images as well, a sample is there twice.
        bad = len({row["id"] for row in rows if not row["stage"].startswith(REMARK_STAGE)})
        samples = counted(bad, "sample is", "samples are")
        known = f" ({samples} known to be unreadable: histokit list problems {dataset})" if bad else ""
        make = f"{make_again(table)}{' --retry' if bad else ''}"
        return StoreError(
            f"{table.address} is missing for {missing} of {total} samples of {dataset!r}{known}.",
            next=f"Go on without them with --allow-missing; or mend the files, ingest them again, and: {make}"
            if bad >= missing
            else f"Make them with: {make}; or go on without them with --allow-missing.",
            details={"missing": missing, "total": total},
        )


def _part(table: FeatureTable) -> Part:
    names = tuple(table.columns)
    filters = np.arange(table.width, dtype=np.intp)
    return Part(table.address, table.name, table.fingerprint, table.backbone, table.layer, filters, names)


def _mark(table: FeatureTable, tables: Sequence[FeatureTable]) -> str:
    same = [t for t in tables if t.address == table.address]
    return f"@{table.fingerprint}" if len(same) > 1 else ""


def open_store(uri: StoreLike | None = None) -> FeatureStore:
    """Open a store.

    Parameters
    ----------
    uri : path, optional
        A local folder; ``HISTOKIT_STORE`` or ``./histokit-store`` where not given. Made on the first write, and the
        same folder from whatever working folder it is used later. An open store is returned as it is.
    """
    if isinstance(uri, FeatureStore):
        return uri
    return FeatureStore(named_store(uri) or DEFAULT_URI).anchored()


def named_store(uri: str | Path | None) -> str | Path | None:
    """Return the path of a store that is given, or that of ``HISTOKIT_STORE``; None where there is neither.

    A variable that is empty is not set, as everywhere.

    Raises
    ------
    UsageError
        If what is given is empty: an empty name is not answered with another store.
    """
    if uri is None:
        return os.environ.get("HISTOKIT_STORE") or None
    if not os.fspath(uri):
        raise UsageError("The path of the store is empty.", next=f"Name a folder, or none at all for ./{DEFAULT_URI}.")
    return uri


#: What functions take as a store: an open one, or its path.
StoreLike: TypeAlias = FeatureStore | str | Path
