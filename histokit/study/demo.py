"""The main job on drawn images: ingest → extract → select → train → evaluate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histokit.errors import unwritten_output
from histokit.evaluate.evaluate import Evaluation, evaluate
from histokit.extract.extract import extract
from histokit.features import FeatureStore, open_store
from histokit.features.feature_store import StoreLike
from histokit.figures.scores import scores_figure
from histokit.ingest.ingest import ingest
from histokit.protocol.splits import make_split
from histokit.select.select import select
from histokit.train.train import train

NAME = "drawn-tissue"
OPTIONS = {"slides": "12", "per_slide": "40", "size": "64"}
SPLIT = "slide-wise"
_FOLDS = 4
_STEP = 0.5
_BOOTSTRAP = 1000


@dataclass(frozen=True)
class Demo:
    """What the demonstration made.

    Parameters
    ----------
    rows : list of dict
        One for each run, with its scores.
    figure, store : Path
    """

    rows: list[dict[str, Any]]
    figure: Path
    store: Path


def demo(
    out: Path,
    *,
    store: StoreLike | None = None,
    say: Callable[[str], None] = lambda _: None,
    progress: Callable[..., None] = lambda *_: None,
) -> Demo:
    """Run all steps; running it again answers from the store.

    Parameters
    ----------
    out : Path
        Folder for the figure and, where none is given, the store.
    store : FeatureStore or path, optional
    say : callable, optional
        Told what is being done.
    progress : callable, optional
        Called with (done, total) while features are extracted.

    Raises
    ------
    UsageError
        If the folder cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritten_output(out, error) from error
    store = open_store(out / "store" if store is None else store)
    say(f"ingest: drawing patches of {OPTIONS['slides']} slides, each with its own stain")
    record = ingest(store, "synthetic", out, name=NAME, options=OPTIONS)
    before = store.split_digest(NAME, SPLIT)
    store.save_split(make_split(store.samples(NAME), record, SPLIT, folds=_FOLDS), before)
    say("extract: colour, local binary patterns and co-occurrence; no network, no weights")
    extract(store, NAME, "texture", progress=progress)
    say("train: a linear SVM on each, tuned inside slide-wise folds")
    runs = [run.id for run in train(store, NAME, "texture/each", "svm", split=SPLIT)]
    say("train: the same on folds that cut through slides")
    runs += [run.id for run in train(store, NAME, "texture/last", "svm", split="random")]
    say("select: eliminating columns inside each fold")
    selection = select(store, NAME, "texture/last", split=SPLIT, step=_STEP)
    runs += [run.id for run in train(store, NAME, "texture/last", "svm", split=SPLIT, selection=selection.id)]
    say("evaluate: intervals from resampled slides")
    evaluations = evaluate(store, runs, bootstrap=_BOOTSTRAP)
    kept = {runs[-1]: selection.kept["k_min"] if selection.kept else None}
    drawn = scores_figure([evaluations[-3], evaluations[-2]], out / "demo.png")
    return Demo([_row(store, e, kept.get(e.run)) for e in evaluations], drawn, store.uri)


def _row(store: FeatureStore, evaluation: Evaluation, kept: int | None) -> dict[str, Any]:
    low, high = (evaluation.intervals or {})["metrics"]["accuracy"]
    width = sum(part["columns"] for part in store.run(evaluation.run).features)
    return {
        "features": evaluation.address + (", selected" if kept else ""),
        "folds": evaluation.split,
        "accuracy": evaluation.metrics["accuracy"],
        "95 % interval": f"{low:.3f} to {high:.3f}",
        "balanced accuracy": evaluation.metrics["balanced_accuracy"],
        "columns": kept or width,
        "run": evaluation.run,
    }
