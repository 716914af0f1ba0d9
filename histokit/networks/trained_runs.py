"""Which network of which run a name such as ``run:ID.FOLD`` stands for; no deep learning library is imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histokit.errors import StoreError, UsageError, counted, did_you_mean
from histokit.plugin.weights import TRAINED
from histokit.store import RunRecord, Store
from histokit.store.networks import FINAL, Networks, entries, final_part
from histokit.store.repeat_commands import run_command


@dataclass(frozen=True)
class TrainedNetwork:
    """A network of a run.

    Parameters
    ----------
    store : Store
    run : RunRecord
    entry : dict
        As the run has it.
    """

    store: Store
    run: RunRecord
    entry: dict[str, Any]

    @property
    def name(self) -> str:
        """Its whole name as a backbone."""
        return f"{TRAINED}{self.run.id}{_suffix(self.run, str(self.entry['part']))}"

    @property
    def networks(self) -> Networks:
        """What reads it."""
        return Networks(self.store.uri)


def find_trained(store: Store | str | None, name: str) -> TrainedNetwork:
    """Return the network of a name.

    Parameters
    ----------
    store : Store or path, optional
    name : str
        ``run:ID``, ``run:ID.FOLD`` or ``run:ID.REPEAT.FOLD``, of an id or the beginning of one.

    Raises
    ------
    StoreError
        If there is no store, no such run, or no such network of it.
    """
    if store is None:
        raise StoreError(
            f"{name} is a network of a run in a store, and no store is named.", next="Name the store with --store."
        )
    opened = store if isinstance(store, Store) else Store(Path(store))
    opened.database.require()
    run_id, *place = name.removeprefix(TRAINED).split(",")[0].split(".")
    if "," in name:
        raise UsageError(f"{name} has options, but a trained network is as it is.", next=f"Write {TRAINED}{run_id}.")
    run = opened.run(run_id)
    return TrainedNetwork(opened, run, network_of(run, _part(run, place)))


def folds_without(run: RunRecord) -> list[str]:
    """Return the parts of a run that are folds, and whose networks were not kept."""
    known = {entry["part"] for entry in entries(run)}
    return [part for fold in run.folds if (part := f"{fold['repeat']}.{fold['fold']}") not in known]


def keep_all(run: RunRecord) -> str:
    """Return the command that trains a run again and keeps the networks of all folds."""
    return f"{run_command(run)} --keep all --force"


def unkept_notes(run: RunRecord) -> list[str]:
    """Say how many networks of folds a run was told not to keep."""
    lacking = len(folds_without(run))
    if not lacking:
        return []
    said = counted(lacking, "network of a fold was", "networks of folds were")
    return [f"the run {run.id} is stored, but {said} not kept then; to train and keep all: {keep_all(run)}"]


def network_of(run: RunRecord, part: str) -> dict[str, Any]:
    """Return the entry of a run's network.

    Raises
    ------
    StoreError
        If the run has no such network.
    """
    known = {entry["part"]: entry for entry in entries(run)}
    if not known:
        raise StoreError(
            f"The run {run.id} is of the kind {run.kind!r}, and has no network.",
            next=f"Its features are --features {run.address}; or name a run of histokit finetune: "
            f"histokit list runs {run.dataset}",
        )
    if part not in known:
        if part in folds_without(run):
            repeat, _, fold = part.partition(".")
            raise StoreError(
                f"The run {run.id} has not kept the network of fold {fold} of repeat {repeat}.", next=keep_all(run)
            )
        hint = f"{did_you_mean(part, known)}It has: {', '.join(map(str, known))}."
        raise StoreError(f"The run {run.id} has no network {part!r}.", next=hint)
    return known[part]


def network_of_fold(store: Store, run: RunRecord, repeat: int, fold: int) -> TrainedNetwork:
    """Return the network that a run trained in a fold.

    Raises
    ------
    StoreError
        If it has none: it was not kept.
    """
    return TrainedNetwork(store, run, network_of(run, _part(run, [str(repeat), str(fold)])))


def _part(run: RunRecord, place: list[str]) -> str:
    if not place:
        return final_part(run)
    part = ".".join(place if len(place) > 1 else ["0", *place])
    return final_part(run) if part == "0.0" and _is_single(run) else part


def _is_single(run: RunRecord) -> bool:
    """Return whether the network of all training samples is that of the only fold."""
    return [entry["part"] for entry in entries(run)] in (["0.0"], [FINAL]) and len(run.folds) == 1


def _suffix(run: RunRecord, part: str) -> str:
    if part == final_part(run):
        return ""
    repeats = {entry["part"].partition(".")[0] for entry in entries(run)} - {FINAL}
    return f".{part}" if len(repeats) > 1 else f".{part.rpartition('.')[2]}"


def names_of(store: str | None) -> list[str]:
    """Return what stands behind ``run:`` for the networks of a store, the newest run first."""
    if store is None or not Path(store).is_dir():
        return []
    opened = Store(Path(store))
    return [
        f"{run.id}{_suffix(run, entry['part'])}"
        for run in reversed(opened.runs())
        for entry in sorted(entries(run), key=lambda entry: entry["part"] != final_part(run))
    ]
