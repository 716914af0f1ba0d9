"""Ways of fitting a classifier, and a whole grid of its settings over folds."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.classifiers.estimators import converged, expect_many_classes, fit, scores
from histokit.classifiers.row import Classifier
from histokit.classifiers.table import classifier
from histokit.cores import cores

_SOLVERS = "histokit.classifiers.solvers"
#: Below this many numbers to be read by all fits, starting processes costs more than it saves.
_WORTH_PROCESSES = 100_000_000


@dataclass(frozen=True)
class Fitting:
    """How a classifier is fitted, apart from its parameters.

    Parameters
    ----------
    classifier : str
    class_weight : str, optional
        ``balanced``.
    solver : str
        ``auto`` or ``sklearn``.
    scale : bool
        Whether columns are standardised by the mean and the deviation of the training samples.
    seed : int
    numbers : bool
        Whether numbers are predicted in place of classes.
    """

    classifier: str
    class_weight: str | None = None
    solver: str = "auto"
    scale: bool = False
    seed: int = 0
    numbers: bool = False

    @property
    def row(self) -> Classifier:
        """What is known of the classifier."""
        return classifier(self.classifier, self.numbers)

    @property
    def module(self) -> Any:
        """Our own solver, or none."""
        name = self.row.solver
        return importlib.import_module(f"{_SOLVERS}.{name}") if name and self.solver == "auto" else None


def fit_classifier(fitting: Fitting, parameters: Mapping[str, Any], X: NDArray[np.floating], y: NDArray[Any]) -> Any:
    """Fit a classifier; with `Fitting.scale` the estimator is a pipeline.

    Parameters
    ----------
    fitting : Fitting
    parameters : mapping
        One entry of `make_grid`.
    X : (n, d) array
    y : (n,) array of int, or of float64 where numbers are predicted

    Returns
    -------
    A fitted scikit-learn estimator.
    """
    options: dict[str, Any] = {"seed": fitting.seed, "class_weight": fitting.class_weight}
    if not fitting.scale:
        return _fit(fitting, parameters, X, y, options)
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(X)
    return make_pipeline(scaler, _fit(fitting, parameters, scaler.transform(X), y, options))


def _fit(
    fitting: Fitting,
    parameters: Mapping[str, Any],
    X: NDArray[np.floating],
    y: NDArray[Any],
    options: dict[str, Any],
) -> Any:
    own = fitting.module
    if own is None or (not fitting.numbers and len(np.unique(y)) == 1):
        return fit(fitting.classifier, parameters, X, y, numbers=fitting.numbers, **options)
    expect_many_classes()
    return own.fit(X, y, parameters, **options)


def cross_scores(
    fitting: Fitting,
    X: NDArray[np.floating],
    y: NDArray[Any],
    folds: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]],
    grid: Sequence[Mapping[str, Any]],
    classes: int,
) -> Iterator[tuple[int, int, NDArray[np.float64], bool]]:
    """Fit all settings of a grid on the training rows of all folds, and score their test rows.

    Parameters
    ----------
    fitting : Fitting
    X : (n, d) array
    y : (n,) array of int, or of float64 where numbers are predicted
    folds : sequence of (training rows, test rows)
    grid : sequence of dict
    classes : int
        K; 1 where numbers are predicted.

    Yields
    ------
    fold, setting : int
        Their numbers; each pair comes once.
    scores : (test rows, K) array
        As from `scores`.
    converged : bool
    """
    own, options = fitting.module, {"seed": fitting.seed, "class_weight": fitting.class_weight}
    if own is not None and not fitting.scale:
        yield from own.cross_scores(X, y, folds, grid, classes, **options)
    elif own is not None:
        from sklearn.preprocessing import StandardScaler

        for number, (train, test) in enumerate(folds):
            scaled = StandardScaler().fit(X[train]).transform(X)
            for _, *rest in own.cross_scores(scaled, y, [(train, test)], grid, classes, **options):
                yield number, *rest
    else:
        # The costliest settings first: none is left alone at the end.
        tasks = [(fold, setting) for fold in range(len(folds)) for setting in reversed(range(len(grid)))]
        work = ((fitting, grid[setting], X, y, *folds[fold], classes) for fold, setting in tasks)
        threaded = fitting.row.threaded
        with parallel(_fit_and_score, work, threaded, X.size * len(tasks)) as results:
            for task, found in zip(tasks, results, strict=True):
                yield *task, *found


def _fit_and_score(
    fitting: Fitting,
    parameters: Mapping[str, Any],
    X: NDArray[np.floating],
    y: NDArray[Any],
    train: NDArray[np.intp],
    test: NDArray[np.intp],
    classes: int,
) -> tuple[NDArray[np.float64], bool]:
    estimator = fit_classifier(fitting, parameters, X[train], y[train])
    reached = converged(fitting.classifier, estimator, X[train], y[train], fitting.numbers)
    return scores(fitting.classifier, estimator, X[test], classes, fitting.numbers), reached


@contextmanager
def parallel(
    function: Callable[..., Any], work: Iterable[tuple[Any, ...]], threaded: bool, size: int
) -> Iterator[Iterator[Any]]:
    """Call a function on many arguments, on all cores where that is worth it, and iterate over results in order.

    What is left to do when the context ends, as by an interruption, is left undone.

    Parameters
    ----------
    function : callable
    work : iterable of tuple
    threaded : bool
        Whether the function lets other threads run.
    size : int
        How many numbers all calls read, which tells whether processes are worth their start.
    """
    count = cores()
    if count == 1 or not (threaded or size > _WORTH_PROCESSES):
        yield (function(*arguments) for arguments in work)
    elif threaded:
        pool = ThreadPoolExecutor(count)
        with _kept_filters():
            try:
                yield pool.map(lambda arguments: function(*arguments), work)
            finally:
                pool.shutdown(cancel_futures=True)
    else:
        from sklearn.utils.parallel import Parallel, delayed

        results = Parallel(n_jobs=count, return_as="generator")(delayed(function)(*arguments) for arguments in work)
        try:
            yield results
        finally:
            # joblib warns of what it leaves undone.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                results.close()


@contextmanager
def _kept_filters() -> Iterator[None]:
    """Keep what is warned of while forests grow in threads.

    Each of scikit-learn's resets the filters of the whole process for a while. Of two at once, one may find those that
    the other has reset, which it warns of, and put these back in the end.
    """
    with warnings.catch_warnings():
        show = warnings.showwarning

        def shown(message: Warning | str, *place: Any, **more: Any) -> None:
            if "sklearn.utils.parallel" not in str(message):
                show(message, *place, **more)

        warnings.showwarning = shown
        yield
