"""Fitting, scoring and storing classifiers by name."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.classifiers.row import VALUE
from histokit.classifiers.table import CLASSIFIERS, REGRESSORS, classifier
from histokit.errors import DataError
from histokit.late_imports import without
from histokit.named_objects import named_object

_MANY_CLASSES = "The number of unique classes is greater than 50"

#: Where models of earlier versions look for classes → where these are.
_MOVED = {
    "histokit.protocol.leaf_frequencies": "histokit.classifiers.leaf_frequencies",
    "histokit.protocol.solvers.nearest": "histokit.classifiers.solvers.nearest",
}

#: Of which estimators, by what their rows name, a model was stored.
_STORED: set[tuple[str, tuple[str, ...]]] = set()

_ARRAY_LIBRARIES = tuple(f"sklearn.externals.array_api_compat.{name}" for name in ("torch", "cupy", "dask"))


def fit(
    name: str,
    parameters: Mapping[str, Any],
    X: NDArray[np.floating],
    y: NDArray[Any],
    *,
    seed: int = 0,
    class_weight: str | None = None,
    numbers: bool | None = None,
) -> Any:
    """Fit scikit-learn's estimator.

    Parameters
    ----------
    name : str
    parameters : mapping
        One entry of `make_grid`. There are never more neighbours than samples, nor more features tried than columns.
    X : (n, d) array
    y : (n,) array
        Numbers of classes; where there is only one, it is always predicted. Or the numbers that are to be predicted.
    seed : int
    class_weight : str, optional
        ``balanced``.
    numbers : bool, optional
        As of `histokit.classifiers.table.classifier`.

    Returns
    -------
    A fitted scikit-learn estimator.
    """
    entry = classifier(name, numbers)
    if entry.kind != VALUE and len(np.unique(y)) == 1:
        from sklearn.dummy import DummyClassifier

        return DummyClassifier(strategy="most_frequent").fit(X, y)
    arguments = {**entry.fixed, **{entry.parameters[key].name: value for key, value in parameters.items()}}
    if entry.seeded:
        arguments["random_state"] = seed
    if class_weight:
        arguments["class_weight"] = class_weight
    sizes = dict(zip(("rows", "columns"), X.shape, strict=True))
    for key, limit in entry.limits.items():
        if isinstance(arguments.get(key), int):
            arguments[key] = min(arguments[key], sizes[limit])
    estimator = named_object(entry.estimator)(**arguments)
    expect_many_classes()
    with nullcontext() if entry.threaded else _quiet():
        return estimator.fit(X, y)


def expect_many_classes() -> None:
    """Keep scikit-learn from warning that classes of more than half as many as samples might be numbers."""
    # Not with catch_warnings, which other threads that fit at the same time would undo.
    if all(pattern is None or pattern.pattern != _MANY_CLASSES for _, pattern, *_ in warnings.filters):
        warnings.filterwarnings("ignore", _MANY_CLASSES, UserWarning)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence scikit-learn's warning on convergence; `converged` tells it instead."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def converged(name: str, estimator: Any, X: NDArray[np.floating], y: NDArray[Any], numbers: bool | None = None) -> bool:
    """Return whether a fitted estimator has reached its optimum, by its own word and by the gradient of its weights.

    Parameters
    ----------
    name : str
    estimator : fitted estimator
    X : (n, d) array
    y : (n,) array
        What it was fitted to.
    numbers : bool, optional
        As of `histokit.classifiers.table.classifier`.
    """
    from histokit.classifiers.solvers.gaps import is_optimum

    # Of a pipeline that scales, the last step.
    fitted = estimator[-1] if hasattr(estimator, "steps") else estimator
    if not classifier(name, numbers).must_converge or not hasattr(fitted, "n_iter_"):
        return True
    limit = getattr(fitted, "max_iter", None)
    if limit is not None and np.max(fitted.n_iter_) >= limit:
        return False
    return is_optimum(fitted, estimator[:-1].transform(X) if hasattr(estimator, "steps") else X, y)


def scores(
    name: str, estimator: Any, X: NDArray[np.floating], classes: int, numbers: bool | None = None
) -> NDArray[np.float64]:
    """Return the scores of samples for all classes, or the predicted values.

    Parameters
    ----------
    name : str
    estimator : fitted estimator
    X : (n, d) array
    classes : int
    numbers : bool, optional
        As of `histokit.classifiers.table.classifier`.

    Returns
    -------
    (n, classes) float64 array
        Decision values, ``[-s, s]`` for two classes, or probabilities. A class of which there was no
        training sample has the decision value -inf or the probability 0. Of numbers, one column of predicted values.
    """
    kind = classifier(name, numbers).kind
    if kind == VALUE:
        return np.asarray(estimator.predict(X), np.float64)[:, None]
    known = np.asarray(estimator.classes_, np.intp)
    if kind == "probability":
        found, absent = estimator.predict_proba(X), 0.0
    elif len(known) == 1:
        found, absent = np.zeros((len(X), 1)), -np.inf
    else:
        found, absent = np.asarray(estimator.decision_function(X)), -np.inf
        if found.ndim == 1:
            found = np.stack([-found, found], axis=1)
    full = np.full((len(X), classes), absent)
    full[:, known] = found
    return full


def _skops() -> Any:
    """Return skops.io. It imports all packages in scikit-learn, of which one would import torch for seconds."""
    with without(_ARRAY_LIBRARIES):
        return importlib.import_module("skops.io")


def dump(model: Mapping[str, Any]) -> bytes:
    """Return a model as bytes, without pickle.

    Raises
    ------
    TypeError
        If `load` would refuse it.
    """
    data: bytes = _skops().dumps(dict(model))
    if unnamed := set(_skops().get_untrusted_types(data=data)) - _trusted():
        held = ", ".join(sorted(unnamed))
        raise TypeError(f"the model holds {held}, which the row of its classifier is to name in stored_types")
    return data


def check_stored(name: str, numbers: bool | None = None) -> None:
    """Raise where models of a classifier could not be stored, before one is trained for long.

    One is fitted to a few made-up samples. Where it cannot be, or is trained on images, nothing is said yet.

    Parameters
    ----------
    name : str
    numbers : bool, optional
        As of `histokit.classifiers.table.classifier`.

    Raises
    ------
    TypeError
        As of `dump`.
    """
    entry = classifier(name, numbers)
    known = entry.estimator, entry.stored_types
    if known in _STORED or entry.pixels:
        return
    y = np.arange(8) % 2
    X = np.random.default_rng(0).normal(size=(8, 3)) + y[:, None]
    try:
        fitted = fit(name, {key: each.default[0] for key, each in entry.parameters.items()}, X, y, numbers=numbers)
    except Exception:
        # What is the matter is told of the samples that are trained on.
        return
    dump({"estimator": fitted})
    _STORED.add(known)


def _trusted() -> set[str]:
    return {name for table in (CLASSIFIERS, REGRESSORS) for row in table.values() for name in row.stored_types}


def load(data: bytes) -> dict[str, Any]:
    """Read what `dump` wrote.

    Raises
    ------
    DataError
        If it holds a type that is not on the fixed lists of classifiers, or is damaged.
    """
    io, again = _skops(), "Train it again with --force."
    trusted = _trusted()
    try:
        held = {name: _where_it_is(name) for name in io.get_untrusted_types(data=data)}
        unknown = sorted(name for name, now in held.items() if now not in trusted)
        model: dict[str, Any] = {} if unknown else io.loads(data, trusted=list(held))
    except Exception as error:
        # What was changed on disk may fail anywhere in skops.
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DataError(f"The stored model is damaged ({reason}).", next=again) from error
    if unknown:
        raise DataError(f"The stored model holds {', '.join(unknown)}.", next=again)
    return model


def _where_it_is(name: str) -> str:
    """Return the present name of a type; where it was in an earlier version, it can be loaded from now on."""
    module, _, attribute = name.rpartition(".")
    if module not in _MOVED:
        return name
    sys.modules[module] = importlib.import_module(_MOVED[module])
    return f"{_MOVED[module]}.{attribute}"
