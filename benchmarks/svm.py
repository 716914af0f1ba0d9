"""The grid of linear support vector machines over inner folds, with scikit-learn's ``GridSearchCV``."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from common import Contender, Stopwatch, Table, Timing, arguments, cores, publish, ratio_of_rounds, scratch, take_turns
from vectors import ADDRESSES, add_options, load, make

from histokit.classifiers.fitting import Fitting
from histokit.protocol.folds import inner_folds
from histokit.protocol.tuning import Problem, tune

_FOLDS = 10
_PENALTIES = [float(f"1e{e}") for e in range(-10, 2)]
_DRAWN = (5000, 2048, 8)

Work = Callable[[], tuple[float, dict[str, Any]]]
Data = tuple[npt.NDArray[np.float32], npt.NDArray[np.intp], npt.NDArray[Any]]


def drawn(folder: Path, columns: int) -> Data:
    """Return drawn vectors of eight classes: few factors, mixed, never negative, in 40 groups."""
    n, d, k = _DRAWN
    rng = np.random.default_rng(0)
    factors, mixing = rng.normal(size=(n, 24)), rng.normal(size=(24, d))
    X = np.maximum(0.3 * factors @ mixing + 0.5 * rng.normal(size=(n, d)) + 0.3, 0).astype(np.float32)
    y = (factors @ rng.normal(size=(24, k)) + 2.0 * rng.normal(size=(n, k))).argmax(1)
    return X, y, (np.arange(n) % 40).astype(str)


def library(folder: Path, columns: int, source: Callable[[Path, int], Data]) -> Work:
    """``GridSearchCV(LinearSVC)`` with a process for each core."""
    from sklearn.model_selection import GridSearchCV, PredefinedSplit
    from sklearn.svm import LinearSVC

    X, y, groups = source(folder, columns)
    fold, _ = inner_folds(y, groups, _FOLDS, 0)

    def search(penalties: Sequence[float]) -> Any:
        grid = GridSearchCV(LinearSVC(), {"C": list(penalties)}, cv=PredefinedSplit(fold), n_jobs=cores(), refit=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return grid.fit(X, y)

    def work() -> tuple[float, dict[str, Any]]:
        with Stopwatch() as watch:
            found = search(_PENALTIES)
        return watch.seconds, {"scores": found.cv_results_["mean_test_score"].tolist()}

    search(_PENALTIES[:1])
    return work


def histokit(folder: Path, columns: int, source: Callable[[Path, int], Data]) -> Work:
    """``tune`` as ``histokit train`` calls it for each training set."""
    X, y, groups = source(folder, columns)
    problem = Problem(X, y, groups, int(y.max()) + 1, None, "accuracy")
    grid, fitting = [{"C": penalty} for penalty in _PENALTIES], Fitting("svm")

    def work() -> tuple[float, dict[str, Any]]:
        with Stopwatch() as watch:
            found = tune(fitting, problem, np.arange(len(y)), grid, folds=_FOLDS)
        return watch.seconds, {"scores": [entry["mean"] for entry in found.table], "stopped": found.stopped}

    tune(fitting, problem, np.arange(len(y))[:: max(1, len(y) // 100)], grid[:2], folds=3)
    return work


def rows_of(timings: Sequence[Timing]) -> list[list[str]]:
    """Return a row for each of the two."""
    theirs = np.array(timings[0].facts[0]["scores"])
    rows = []
    for timing in timings:
        scores = np.array(timing.facts[0]["scores"])
        best = int(scores.argmax())
        rows.append(
            [
                timing.name,
                f"{timing.median:.2f}",
                f"{ratio_of_rounds(timing, timings[0]):.1f}",
                f"{scores[best]:.4f}",
                f"{_PENALTIES[best]:g}",
                f"{np.abs(scores - theirs).max():.4f}",
                timing.remark,
            ]
        )
    return rows


def main() -> None:
    """Run what the options say."""
    parser = arguments(__doc__ or "")
    choices = [*map(str, ADDRESSES), "drawn"]
    parser.add_argument("--columns", nargs="+", choices=choices, default=["1280", "4328"], help="or drawn: 8 classes")
    add_options(parser)
    options = parser.parse_args()
    timings: dict[str, list[Timing]] = {}
    with scratch() as folder:
        vectors, notes = make(folder, options) if options.columns != ["drawn"] else (folder, [])
        tables = [one(name, vectors, notes, options, timings) for name in options.columns]
    publish("svm", vars(options), tables, timings, options.json)


def one(
    name: str, vectors: Path, notes: list[str], options: argparse.Namespace, timings: dict[str, list[Timing]]
) -> Table:
    """Take turns at one matrix, and return the table."""
    source, columns = (drawn, _DRAWN[1]) if name == "drawn" else (load, int(name))
    given = {"folder": vectors, "columns": columns, "source": source}
    contenders = [Contender("GridSearchCV(LinearSVC)", library, given), Contender("histokit", histokit, given)]
    timings[name] = take_turns(contenders, options.rounds)
    what = f"{_DRAWN[0]:,} drawn vectors, {_DRAWN[2]} classes" if name == "drawn" else "two classes"
    head = ["contender", "seconds", "times as fast", "best accuracy", "at C", "largest difference", "remarks"]
    said = [
        f"{len(_PENALTIES)} values of C from 1e-10 to 10, {_FOLDS} group-wise folds, the same for both. Where "
        "liblinear stops before it converges, at large C, its scores differ.",
        *notes,
    ]
    return Table(f"{columns:,} columns, {what}", head, rows_of(timings[name]), said)


if __name__ == "__main__":
    main()
