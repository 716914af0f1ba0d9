"""Recursive feature elimination, with scikit-learn's ``RFECV`` on the same folds: seconds, sizes and scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from common import (
    Contender,
    Stopwatch,
    Table,
    Timing,
    arguments,
    cores,
    publish,
    ratio_of_rounds,
    scratch,
    set_threads,
    take_turns,
)
from vectors import ADDRESSES, add_options, load, make

from histokit.protocol.elimination import eliminate
from histokit.protocol.folds import inner_folds
from histokit.protocol.tuning import Problem

_TOLERANCE = 0.005
_STEP = 4
_FOLDS = 5
#: Where RFECV would take too long it goes in steps that are so many times larger.
_PART = 16
_WANTED = {1280: 8.0, 4328: 20.0}

Work = Callable[[], tuple[float, dict[str, Any]]]


def rfecv(folder: Path, columns: int, seed: int, step: int, trees: int) -> Work:
    """``RFECV`` of extremely randomised trees, its folds in processes."""
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.feature_selection import RFECV

    set_threads(1)
    X, y, groups = load(folder, columns)
    fold, _ = inner_folds(y, groups, _FOLDS, seed)
    places = [(np.flatnonzero(fold != n), np.flatnonzero(fold == n)) for n in range(_FOLDS)]
    estimator = ExtraTreesClassifier(trees, random_state=seed)

    def work() -> tuple[float, dict[str, Any]]:
        library = RFECV(estimator, step=step, cv=places, scoring="accuracy", n_jobs=cores())
        with Stopwatch() as watch:
            library.fit(X, y)
        found = library.cv_results_
        return watch.seconds, _facts(found["n_features"][::-1], found["mean_test_score"][::-1])

    RFECV(estimator, step=4, cv=places, scoring="accuracy", n_jobs=cores()).fit(X[:, :4], y)
    return work


def histokit(folder: Path, columns: int, seed: int, trees: int) -> Work:
    """``eliminate`` as ``histokit select`` calls it for each training set."""
    from histokit.protocol import elimination

    set_threads(1)
    X, y, groups = load(folder, columns)
    elimination._TREES["trees"] = trees
    problem = Problem(X, y, groups, int(y.max()) + 1, None, "accuracy", seed)

    def work() -> tuple[float, dict[str, Any]]:
        with Stopwatch() as watch:
            found = eliminate(problem, np.arange(len(y)), tolerance=_TOLERANCE, folds=_FOLDS)
        sizes, means, _ = np.array(found.curve).T
        return watch.seconds, _facts(sizes.astype(int), means)

    eliminate(Problem(X[:, :4], y, groups, problem.classes, None, "accuracy", seed), np.arange(len(y)), folds=2)
    return work


def _facts(sizes: npt.NDArray[np.intp], means: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Return the curve, from large to small, and what is read off it in the same way for both."""
    best = float(means.max())
    least = int(np.flatnonzero(means >= best - _TOLERANCE)[-1])
    curve = [[int(size), float(mean)] for size, mean in zip(sizes, means, strict=True)]
    return {"curve": curve, "best": best, "k_min": int(sizes[least]), "score": float(means[least])}


def compare(folder: Path, columns: int, seed: int, exact: bool, trees: int, rounds: int) -> list[Timing]:
    """Take turns at one problem; both get the same folds and seeds."""
    given = {"folder": folder, "columns": columns, "seed": seed, "trees": trees}
    step = _STEP if exact else _STEP * _PART
    return take_turns(
        [
            Contender(f"RFECV, step {step}", rfecv, {**given, "step": step}),
            Contender("histokit", histokit, given),
        ],
        rounds,
    )


def row_of(columns: int, seed: int, timings: Sequence[Timing]) -> list[str]:
    """Return a row for a problem on which both went through the whole curve."""
    library, ours = timings
    theirs, mine = library.facts[0], ours.facts[0]
    scores = dict(map(tuple, theirs["curve"]))
    return [
        f"{columns:,}",
        str(seed),
        f"{library.median:.1f}",
        f"{ours.median:.1f}",
        f"{ratio_of_rounds(ours, library):.1f}",
        f"{theirs['k_min']:,}",
        f"{theirs['score']:.4f}",
        f"{mine['k_min']:,}",
        f"{mine['score']:.4f}",
        f"{scores[mine['k_min']]:.4f}",
    ]


def part_of(columns: int, seed: int, timings: Sequence[Timing]) -> list[str]:
    """Return a row for a problem on which RFECV went in larger steps."""
    library, ours = timings
    mine = ours.facts[0]
    whole = library.median * _PART
    figures = [f"{library.median:.1f}", f"{whole:,.0f}", f"{ours.median:.1f}", f"{whole / ours.median:.1f}"]
    return [f"{columns:,}", str(seed), *figures, f"{mine['k_min']:,}", f"{mine['score']:.4f}"]


def main() -> None:
    """Run what the options say."""
    parser = arguments(__doc__ or "", rounds=3)
    parser.add_argument("--columns", type=int, nargs="+", choices=list(ADDRESSES), default=list(ADDRESSES))
    parser.add_argument("--exact", type=int, default=320, help="RFECV goes in steps of 4 up to so many columns")
    parser.add_argument("--seeds", type=int, default=1, help="folds and trees of so many seeds")
    parser.add_argument("--trees", type=int, default=100)
    add_options(parser)
    options = parser.parse_args()
    timings: dict[str, list[Timing]] = {}
    exact, parts = [], []
    with scratch() as folder:
        vectors, notes = make(folder, options)
        for columns in options.columns:
            whole = columns <= options.exact
            for seed in range(options.seeds):
                done = compare(vectors, columns, seed, whole, options.trees, options.rounds)
                timings[f"{columns} columns, seed {seed}"] = done
                (exact if whole else parts).append((row_of if whole else part_of)(columns, seed, done))
    publish("elimination", vars(options), tables(exact, parts, options.trees, notes), timings, options.json)


def tables(exact: list[list[str]], parts: list[list[str]], trees: int, notes: list[str]) -> list[Table]:
    """Return the tables that have rows."""
    wanted = ", ".join(f"{ratio:g} × on {columns:,} columns" for columns, ratio in _WANTED.items())
    common = [
        f"{_FOLDS} patient-wise folds, the same for both; "
        f"RFECV(ExtraTreesClassifier({trees}), step, n_jobs={cores()}).",
        f"k_min is the smallest subset within {_TOLERANCE} of the best of its own curve. Wanted: {wanted}.",
        *notes,
    ]
    begin = ["columns", "seed"]
    scores = ["k_min", "score", "k_min, histokit", "score, histokit", "score there by RFECV"]
    first = Table("RFECV with step 4, whole", [*begin, "RFECV s", "histokit s", "ratio", *scores], exact, common)
    columns = ["RFECV s", f"times {_PART}", "histokit s", "ratio", "k_min, histokit", "score, histokit"]
    said = f"Extrapolated: RFECV was timed with step {_STEP * _PART}, so on every {_PART}th of its sizes."
    second = Table(f"RFECV with step {_STEP * _PART}", [*begin, *columns], parts, [said, *common])
    return [table for table in (first, second) if table.rows]


if __name__ == "__main__":
    main()
