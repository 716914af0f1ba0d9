"""Whole grids of classifiers over folds: the perceptron's with scikit-learn's, 100 settings, and cost against size."""

from __future__ import annotations

import importlib
import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from vectors import add_options, load, make

from histokit.classifiers.estimators import fit, scores
from histokit.classifiers.grids import make_grid
from histokit.classifiers.table import CLASSIFIERS
from histokit.protocol.folds import inner_folds

#: Classifier → its solver.
SOLVERS = {name: entry.solver for name, entry in CLASSIFIERS.items() if entry.solver}
#: 25 settings of each, from simple to complex; of the neighbours' 26 the last 25.
GRIDS: dict[str, dict[str, Any]] = {
    "svm": {"C": [float(c) for c in np.logspace(-10, 1, 25)]},
    "logreg": {"C": [float(c) for c in np.logspace(-5, 2, 25)]},
    "ridge": {"alpha": [float(a) for a in np.logspace(5, -3, 25)]},
    "knn": {"k": [49, 37, 29, 23, 19, 15, 13, 11, 9, 7, 5, 3, 1], "metric": ["cosine", "euclidean"]},
}
_HUNDRED = 25
_RATES = (1e-4, 1e-3, 1e-2, 1e-1)
_WANTED_RATIO, _WANTED_POINTS, _WANTED_SECONDS = 10.0, 1.0, 120.0
_FITS = 3
#: What the cost is measured at, and what is changed, one at a time.
BASE = {"rows": 1_000, "columns": 512, "classes": 2, "folds": 5}
FACTORS = {"rows": (2, 4), "columns": (2, 4), "classes": (2, 4), "folds": (2, 4)}
_EPOCHS = 10

Matrix = npt.NDArray[np.float32]
Codes = npt.NDArray[np.intp]
Places = list[tuple[Codes, Codes]]
Work = Callable[[], tuple[float, dict[str, Any]]]


def drawn(rows: int, columns: int, classes: int) -> tuple[Matrix, Codes]:
    """Return features such as a network's last layer gives: not negative, correlated, with classes that overlap."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, rows)
    width = min(columns, 256)
    hidden = rng.normal(size=(rows, width)) * (1 + np.arange(width)) ** -0.5
    hidden[:, 2 : 2 + classes] += np.eye(classes)[y]
    X = hidden @ rng.normal(size=(width, columns)) + 0.3 * rng.normal(size=(rows, columns))
    return np.maximum(X, 0).astype(np.float32), y


def places(y: Codes, groups: npt.NDArray[Any] | None, folds: int) -> Places:
    """Return the training and the test rows of folds."""
    fold, _ = inner_folds(y, groups, folds, 0)
    return [(np.flatnonzero(fold != n), np.flatnonzero(fold == n)) for n in range(int(fold.max()) + 1)]


def solved(name: str, X: Matrix, y: Codes, folds: Places, grid: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.float64]:
    """Return the accuracies of a whole grid, (settings, folds), by histokit's solver."""
    solver = importlib.import_module(f"histokit.classifiers.solvers.{SOLVERS[name]}")
    found = np.empty((len(grid), len(folds)))
    for fold, setting, one, _ in solver.cross_scores(X, y, folds, grid, int(y.max()) + 1):
        found[setting, fold] = (one.argmax(1) == y[folds[fold][1]]).mean()
    return found


def grid_search(vectors: Path, columns: int, folds: int, iterations: Sequence[int]) -> Work:
    """``GridSearchCV`` of ``MLPClassifier``, its fits in processes."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import GridSearchCV
    from sklearn.neural_network import MLPClassifier

    X, y, groups = load(vectors, columns)
    grid = {"max_iter": list(iterations), "learning_rate_init": list(_RATES)}
    there = places(y, groups, folds)
    estimator = MLPClassifier(**CLASSIFIERS["fc"].fixed, random_state=0)

    def work() -> tuple[float, dict[str, Any]]:
        search = GridSearchCV(estimator, grid, cv=there, n_jobs=cores(), refit=False)
        with Stopwatch() as watch:
            search.fit(X, y)
        found = search.cv_results_
        tried = zip(found["params"], found["mean_test_score"].tolist(), strict=True)
        return watch.seconds, {"means": [[p["max_iter"], p["learning_rate_init"], mean] for p, mean in tried]}

    warnings.simplefilter("ignore", ConvergenceWarning)
    few = {"max_iter": [1], "learning_rate_init": [0.1]}
    GridSearchCV(estimator, few, cv=there, n_jobs=cores(), refit=False).fit(X[:, :8], y)
    return work


def together(vectors: Path, columns: int, folds: int, iterations: Sequence[int]) -> Work:
    """The same grid by histokit's solver."""
    X, y, groups = load(vectors, columns)
    there = places(y, groups, folds)
    grid = [{"iterations": i, "lr": lr} for i in iterations for lr in _RATES]

    def work() -> tuple[float, dict[str, Any]]:
        with Stopwatch() as watch:
            found = solved("fc", X, y, there, grid)
        means = zip(grid, found.mean(1).tolist(), strict=True)
        return watch.seconds, {"means": [[s["iterations"], s["lr"], mean] for s, mean in means]}

    solved("fc", X[:, :8], y, there, [{"iterations": 1, "lr": 0.1}])
    return work


def perceptron(
    vectors: Path, columns: int, folds: int, iterations: Sequence[int], rounds: int, notes: list[str]
) -> Any:
    """Time the perceptron's grid against scikit-learn's, fit by fit."""
    given = {"vectors": vectors, "columns": columns, "folds": folds, "iterations": list(iterations)}
    fits = len(_RATES) * len(iterations) * folds
    library = f"MLPClassifier, {fits} fits"
    timings = take_turns(
        [Contender(library, grid_search, given, fits), Contender("histokit", together, given, fits)], rounds
    )
    theirs, ours = ({(i, lr): mean for i, lr, mean in timing.facts[0]["means"]} for timing in timings)
    apart = [100 * (ours[key] - theirs[key]) for key in theirs]
    best = 100 * (max(ours.values()) - max(theirs.values()))
    rows = [
        [t.name, f"{t.median:.2f}", f"{ratio_of_rounds(t, timings[0]):.1f}", f"{max(s.values()):.4f}"]
        for t, s in zip(timings, (theirs, ours), strict=True)
    ]
    said = [
        f"Learning rates {', '.join(f'{r:g}' for r in _RATES)}; read off after {', '.join(map(str, iterations))} "
        f"epochs; {folds} patient-wise folds; GridSearchCV(n_jobs={cores()}).",
        f"The best score differs by {best:+.2f} points, those of all settings by {np.mean(apart):+.2f} on average and "
        f"{max(apart, key=abs):+.2f} at most. Wanted: {_WANTED_RATIO:g} ×, and {_WANTED_POINTS:g} point or less.",
        *notes,
    ]
    title = f"The perceptron's grid on {columns:,} columns"
    return Table(title, ["contender", "seconds", "times as fast", "best accuracy"], rows, said), timings


def quarter(name: str, rows: int, columns: int, classes: int, folds: int) -> Work:
    """Return the rounds of 25 settings of a classifier."""
    X, y = drawn(rows, columns, classes)
    there, grid = places(y, None, folds), make_grid(name, GRIDS[name])[-_HUNDRED:]

    def work() -> tuple[float, dict[str, Any]]:
        with Stopwatch() as watch:
            found = solved(name, X, y, there, grid)
        return watch.seconds, {"best": float(found.mean(1).max())}

    solved(name, X[:200, :8], y[:200], places(y[:200], None, 2), grid)
    return work


def library_fits(name: str, rows: int, columns: int, classes: int, folds: int) -> Work:
    """Return the rounds of a few of scikit-learn's own fits, evenly over the grid, each in one fold."""
    X, y = drawn(rows, columns, classes)
    there, grid = places(y, None, folds), make_grid(name, GRIDS[name])[-_HUNDRED:]
    chosen = [grid[n] for n in np.linspace(0, len(grid) - 1, _FITS).round().astype(int)]

    def work() -> tuple[float, dict[str, Any]]:
        with Stopwatch() as watch:
            for (train, test), setting in zip(itertools.cycle(there), chosen):
                scores(name, fit(name, setting, X[train], y[train]), X[test], classes)
        return watch.seconds, {"settings": chosen}

    return work


def hundred(shape: Mapping[str, int], rounds: int, compared: bool) -> tuple[Table, list[Timing]]:
    """Time 25 settings of each of four classifiers."""
    fits = _HUNDRED * shape["folds"]
    contenders = [Contender(name, quarter, {"name": name, **shape}, fits) for name in GRIDS]
    if compared:
        contenders += [Contender(_library(n), library_fits, {"name": n, **shape}, _FITS) for n in GRIDS]
    timings = take_turns(contenders, rounds)
    by_name = {timing.name: timing for timing in timings}
    rows = []
    for name in GRIDS:
        own, library = by_name[name], by_name.get(_library(name))
        whole = library.median / _FITS * fits if library else None
        figures = [f"{own.median:.1f}", f"{own.facts[0]['best']:.4f}"]
        rows.append([name, *figures, *([f"{whole:,.0f}", f"{whole / own.median:.0f}"] if whole else ["", ""])])
    total = sum(by_name[name].median for name in GRIDS)
    rows.append(["together", f"{total:.1f}", "", "", ""])
    title = (
        f"{len(GRIDS) * _HUNDRED} settings on {shape['rows']:,} × {shape['columns']:,} drawn features, "
        f"{shape['classes']} classes, {shape['folds']} folds"
    )
    notes = [
        f"Wanted: {_WANTED_SECONDS:g} s together.",
        f"scikit-learn: {_FITS} fits timed, evenly over the grid and one after the other, times {fits} / {_FITS}.",
    ]
    columns = ["classifier", "seconds", "best accuracy", "scikit-learn s, extrapolated", "times as fast"]
    return Table(title, columns, rows, notes), timings


def _library(name: str) -> str:
    return f"scikit-learn, {_FITS} fits of {name}"


def shapes(base: Mapping[str, int]) -> Iterator[tuple[str, dict[str, int]]]:
    """Give what is changed, and the shape of each problem whose cost is measured."""
    yield "", dict(base)
    for name, factors in FACTORS.items():
        for factor in factors:
            yield name, {**base, name: base[name] * factor}


def costs(name: str, base: Mapping[str, int]) -> Work:
    """Return the rounds of a classifier's default grid on problems of many shapes."""
    given = {"iterations": _EPOCHS} if name == "fc" else {}
    grid = make_grid(name, given)

    def once(shape: Mapping[str, int]) -> float:
        X, y = drawn(shape["rows"], shape["columns"], shape["classes"])
        there = places(y, None, shape["folds"])
        with Stopwatch() as watch:
            solved(name, X, y, there, grid)
        return watch.seconds

    def work() -> tuple[float, dict[str, Any]]:
        points = [{"changed": changed, **shape, "seconds": once(shape)} for changed, shape in shapes(base)]
        return sum(point["seconds"] for point in points), {"points": points}

    once({**base, "rows": 100, "columns": 8})
    return work


def growth(base: Mapping[str, int], rounds: int, figure: Path | None) -> tuple[Table, list[Timing]]:
    """Time all classifiers on problems of many shapes."""
    timings = take_turns([Contender(name, costs, {"name": name, "base": dict(base)}) for name in SOLVERS], rounds)
    seconds = {
        timing.name: np.median([[p["seconds"] for p in facts["points"]] for facts in timing.facts], axis=0)
        for timing in timings
    }
    rows = []
    for place, (changed, shape) in enumerate(shapes(base)):
        label = f"{shape[changed]:,} {changed}" if changed else ", ".join(f"{v:,} {k}" for k, v in shape.items())
        rows.append([label, *(f"{line[place]:.2f}" for line in seconds.values())])
    if figure is not None:
        draw(base, seconds, figure)
    notes = [
        f"Default grids, without refitting; fc: {_EPOCHS} epochs. Each line but the first changes one figure of that."
    ]
    return Table("Seconds against size, drawn features", ["", *seconds], rows, notes), timings


def draw(base: Mapping[str, int], seconds: Mapping[str, npt.NDArray[np.float64]], file: Path) -> None:
    """Draw the cost against each figure that was changed."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.2), layout="constrained")
    listed = list(shapes(base))
    for axes, name in zip(figure.subplots(1, len(FACTORS), sharey=True), FACTORS, strict=True):
        at = [place for place, (changed, _) in enumerate(listed) if changed in ("", name)]
        for classifier, line in seconds.items():
            axes.loglog([listed[place][1][name] for place in at], line[at], marker="o", label=classifier, base=2)
        axes.set_xlabel(name)
    figure.axes[0].set_ylabel("seconds")
    figure.axes[-1].legend()
    file.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})


def main() -> None:
    """Run what the options say."""
    parser = arguments(__doc__ or "", rounds=3)
    parser.add_argument("--columns", type=int, default=1280, help="of the perceptron (default: %(default)s)")
    parser.add_argument("--folds", type=int, default=5, help="of the perceptron (default: %(default)s)")
    parser.add_argument("--epochs", default="1000,2500,5000,10000", help="where it is read off (default: %(default)s)")
    parser.add_argument("--shape", default="5000,2048,2,5", help="rows, columns, classes, folds of the 100 settings")
    parser.add_argument(
        "--base", default=",".join(map(str, BASE.values())), help="likewise, where the cost is measured"
    )
    parser.add_argument("--no-library", action="store_true", help="time no fits of scikit-learn's for the 100 settings")
    add_options(parser)
    options = parser.parse_args()
    set_threads(cores())
    shape, base = (dict(zip(BASE, map(int, text.split(",")), strict=True)) for text in (options.shape, options.base))
    epochs = [int(count) for count in options.epochs.split(",")]
    figure = options.json.with_suffix(".svg") if options.json else None
    timings: dict[str, Sequence[Timing]] = {}
    with scratch() as folder:
        vectors, notes = make(folder, options)
        first, timings["perceptron"] = perceptron(
            vectors, options.columns, options.folds, epochs, options.rounds, notes
        )
    second, timings["100 settings"] = hundred(shape, options.rounds, not options.no_library)
    third, timings["cost"] = growth(base, options.rounds, figure)
    publish("classifiers", vars(options), [first, second, third], timings, options.json)


if __name__ == "__main__":
    main()
