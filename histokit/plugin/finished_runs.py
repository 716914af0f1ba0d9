"""Runs that are finished, as plugins are told of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histokit import streams
from histokit.errors import HistokitError
from histokit.plugin.calls import plugin_call


@dataclass(frozen=True)
class FinishedRun:
    """A run that was just stored, as plain data of its own: nothing that is done to it changes what is stored.

    Parameters
    ----------
    id : str
    dataset : str
    kind : str
        ``train``, ``finetune``, or ``predict``, which has neither folds nor scores.
    address, classifier : str
        What was trained on, and how.
    split : str
    metric : str
        What was tuned by, or chose the epoch.
    classes : tuple of str
        Empty where numbers are predicted.
    asked : dict
        What was asked for: parameters, seed and recipe, as ``histokit list runs --json`` has them.
    folds : tuple of dict
        Of each outer fold ``repeat``, ``fold``, ``scores`` (name → number or none), ``parameters`` (what was chosen)
        and more, see ``histokit list runs --json``.
    curves : tuple of dict
        What was recorded while networks were trained: ``repeat``, ``fold`` (none: on all training samples), ``series``
        (``train``, ``val`` or ``test``), ``stage``, ``epoch`` (whole at the ends of epochs), ``iteration``, ``loss``
        and ``metric`` (or none), ``lr`` and ``seconds``.
    notes : tuple of str
    versions : dict
        Library → version.
    seconds : float
    created : str
        In ISO 8601, in UTC.
    store : Path
        Where more is to be read: ``histokit.open_store(run.store).predictions(run.id)``, or
        ``histokit.evaluate(run.store, run.id)``.
    """

    id: str
    dataset: str
    kind: str
    address: str
    classifier: str
    split: str
    metric: str
    classes: tuple[str, ...]
    asked: dict[str, Any]
    folds: tuple[dict[str, Any], ...]
    curves: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]
    versions: dict[str, str]
    seconds: float
    created: str
    store: Path

    @property
    def scores(self) -> dict[str, float | None]:
        """Name → mean over the folds in which the score is defined; none where it is so in no fold."""
        return mean_scores(self.folds)


def mean_scores(folds: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """Return the mean of each score over the folds in which it is defined; none where it is so in no fold."""
    found: dict[str, list[float]] = {}
    for fold in folds:
        for name, value in fold["scores"].items():
            found.setdefault(name, []).extend([] if value is None else [value])
    return {name: sum(values) / len(values) if values else None for name, values in found.items()}


@dataclass(frozen=True)
class Listener:
    """A plugin that is told of finished runs.

    Parameters
    ----------
    module, distribution : str
    hear : callable
        Its hook, ``hear(run=…)``.
    """

    module: str
    distribution: str
    hear: Callable[..., Any]


def tell_of_run(listeners: list[Listener], describe: Callable[[], FinishedRun]) -> None:
    """Tell plugins of a finished run; of one that fails a warning is given, and the others are told all the same.

    Parameters
    ----------
    listeners : list of Listener
    describe : callable
        Returns the run, anew for each.
    """
    for listener in listeners:
        owner = f"Plugin {listener.module!r} of {listener.distribution}"
        run = describe()
        try:
            with plugin_call(owner, "on_run_finished()", f"the run {run.id}"):
                listener.hear(run=run)
        except HistokitError as error:
            whose = "" if owner in error.message else f"{owner} failed in on_run_finished() for the run {run.id}: "
            streams.write("stderr", f"warning: {whose}{error.message} The run is stored. {error.next}\n")
