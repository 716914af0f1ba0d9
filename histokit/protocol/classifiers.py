"""The classifiers of `--classifier` as a table of data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from histokit.errors import UsageError, did_you_mean
from histokit.protocol.solvers.distances import DISTANCES, SYNONYMS


def _max_features(text: str) -> int | float | str:
    named: dict[str, int | float | str] = {"sqrt": "sqrt", "log2": "log2", "n/2": 0.5, "n": 1.0}
    if text in named:
        return named[text]
    return _share(text) if "." in text else _whole(text)


def _share(text: str) -> float:
    number = float(text)
    if not 0 < number <= 1:
        raise ValueError(text)
    return number


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise ValueError(text)
    return number


def _whole(text: str) -> int:
    number = int(float(text))
    if number < 1 or number != float(text):
        raise ValueError(text)
    return number


def _fraction(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise ValueError(text)
    return number


@dataclass(frozen=True)
class Parameter:
    """A parameter that `--grid` may set.

    Parameters
    ----------
    name : str
        Its name in scikit-learn.
    convert : callable
        From text.
    default : tuple
        The values tried by default, from simple to complex: the first of equally good ones is taken.
    names : tuple of str
        All that it may be, where it is a name.
    synonyms : mapping of str to str
        What other libraries call some of the names, for messages.
    """

    name: str
    convert: Callable[[str], Any]
    default: tuple[Any, ...]
    names: tuple[str, ...] = ()
    synonyms: Mapping[str, str] = field(default_factory=dict)


def _named(
    name: str, names: tuple[str, ...], default: tuple[str, ...], synonyms: Mapping[str, str] | None = None
) -> Parameter:
    return Parameter(name, lambda text: names[names.index(text.lower())], default, names, synonyms or {})


@dataclass(frozen=True)
class Classifier:
    """A classifier of `--classifier`.

    Parameters
    ----------
    summary : str
    estimator : str
        ``module:class``.
    fixed : mapping
        Arguments that are always given.
    parameters : mapping of str to Parameter
    kind : str
        ``decision`` or ``probability``.
    weighted : bool
        Whether it takes class weights.
    seeded : bool
        Whether it draws random numbers.
    must_converge : bool
        Whether reaching the last iteration is worth a note.
    threaded : bool
        Whether fits run at the same time in threads; else they hold Python's lock and need processes.
    by_scale : bool
        Whether it matters what columns are measured in.
    any_size : bool
        Whether our own fit computes with numbers of any size.
    centred : bool
        Whether what all samples have in common is taken away first.
    solver : str
        The module of `histokit.protocol.solvers` that finds the same optimum for a whole grid at once.
    pixels : bool
        Whether it is trained on images in place of features.
    searches : mapping
        Name → the values of parameters that a published search went through: ``--grid search=NAME``.
    possible : callable
        Whether a setting makes sense; others are left out of the grid.
    """

    summary: str
    estimator: str
    fixed: Mapping[str, Any]
    parameters: Mapping[str, Parameter]
    kind: str = "probability"
    weighted: bool = True
    seeded: bool = True
    must_converge: bool = False
    threaded: bool = False
    by_scale: bool = True
    any_size: bool = False
    centred: bool = False
    solver: str = ""
    pixels: bool = False
    searches: Mapping[str, Mapping[str, tuple[Any, ...]]] = field(default_factory=dict)
    possible: Callable[[Mapping[str, Any]], bool] = lambda setting: True


#: Who fits: a solver of ours where there is one, or scikit-learn's estimator one setting at a time.
SOLVERS = ("auto", "sklearn")

#: Defaults are those of Mormont et al. 2018, and scikit-learn's where they give none.
CLASSIFIERS: dict[str, Classifier] = {
    "svm": Classifier(
        "linear support vector machine: squared hinge, penalised intercept, one-versus-rest",
        "sklearn.svm:LinearSVC",
        {"loss": "squared_hinge", "dual": "auto", "max_iter": 1000},
        {"C": Parameter("C", _positive, tuple(float(f"1e{e}") for e in range(-10, 2)))},
        kind="decision",
        must_converge=True,
        any_size=True,
        solver="svm",
    ),
    "et": Classifier(
        "100 extremely randomised trees, fully grown",
        "sklearn.ensemble:ExtraTreesClassifier",
        {},
        {
            "max_features": Parameter("max_features", _max_features, (1, "sqrt", 0.5, 1.0)),
            "trees": Parameter("n_estimators", _whole, (100,)),
        },
        threaded=True,
        by_scale=False,
    ),
    "fc": Classifier(
        "single-layer softmax perceptron: Adam, L2 penalty 1e-4, batches of 200, until the loss stays",
        "sklearn.neural_network:MLPClassifier",
        {"hidden_layer_sizes": (), "alpha": 1e-4, "batch_size": 200, "n_iter_no_change": 10},
        {
            "iterations": Parameter("max_iter", _whole, (1000, 2500, 5000, 10000)),
            "lr": Parameter("learning_rate_init", _positive, (1e-4, 1e-3, 1e-2, 1e-1)),
        },
        weighted=False,
        solver="perceptron",
    ),
    "logreg": Classifier(
        "logistic regression with an L2 penalty",
        "sklearn.linear_model:LogisticRegression",
        {"max_iter": 1000},
        {"C": Parameter("C", _positive, tuple(float(f"1e{e}") for e in range(-5, 3)))},
        must_converge=True,
        centred=True,
        solver="logistic",
    ),
    "ridge": Classifier(
        "ridge classification: squared error to -1 and 1, L2 penalty",
        "sklearn.linear_model:RidgeClassifier",
        {},
        {"alpha": Parameter("alpha", _positive, tuple(float(f"1e{e}") for e in range(5, -4, -1)))},
        kind="decision",
        seeded=False,
        must_converge=True,
        any_size=True,
        solver="ridge",
    ),
    "knn": Classifier(
        "nearest neighbours by cosine or Euclidean distance",
        "histokit.protocol.solvers.nearest:NearestNeighbours",
        {},
        {
            "k": Parameter("n_neighbors", _whole, (25, 15, 5, 1)),
            "metric": _named("metric", DISTANCES, ("cosine", "euclidean"), SYNONYMS),
        },
        weighted=False,
        seeded=False,
        threaded=True,
        any_size=True,
        solver="neighbours",
    ),
    # Sizes and colour were tuned in Mormont et al. 2018; the defaults are those chosen for most of its eight datasets.
    "et-fl": Classifier(
        "images: random subwindows, extremely randomised trees, leaf frequencies, linear support vector machine",
        "histokit.protocol.leaf_frequencies:LeafFrequencySVM",
        {},
        {
            "w_min": Parameter("w_min", _fraction, (0.25,)),
            "w_max": Parameter("w_max", _fraction, (0.5,)),
            "colour": _named("colour", ("trgb", "hsv"), ("hsv",)),
            "trees": Parameter("trees", _whole, (20,)),
            "min_leaf": Parameter("min_leaf", _whole, (1000,)),
            "k": Parameter("k", _whole, (384,)),
            "C": Parameter("C", _positive, (0.01,)),
            "windows": Parameter("windows", _whole, (1_000_000,)),
            "frequencies": _named("frequencies", ("scaled", "raw"), ("scaled",)),
        },
        kind="decision",
        must_converge=True,
        by_scale=False,
        pixels=True,
        searches={
            "published": {
                "w_min": (0.0, 0.25, 0.5, 0.75),
                "w_max": (0.25, 0.5, 0.75, 1.0),
                "colour": ("trgb", "hsv"),
            }
        },
        possible=lambda setting: setting["w_min"] < setting["w_max"],
    ),
}


def classifier(name: str) -> Classifier:
    """Return a classifier by name.

    Raises
    ------
    UsageError
    """
    if name not in CLASSIFIERS:
        raise UsageError(
            f"There is no classifier {name!r}.",
            next=f"{did_you_mean(name, CLASSIFIERS)}Use one of {', '.join(CLASSIFIERS)}.",
        )
    return CLASSIFIERS[name]


def check_solver(solver: str) -> str:
    """Return a solver's name.

    Raises
    ------
    UsageError
        If it is unknown.
    """
    if solver not in SOLVERS:
        raise UsageError(
            f"There is no solver {solver!r}.",
            next=f"{did_you_mean(solver, SOLVERS)}Use --solver {' or --solver '.join(SOLVERS)}.",
        )
    return solver


def check_class_weight(name: str, class_weight: str | None) -> str | None:
    """Return the class weighting that scikit-learn takes: ``balanced`` or none.

    Raises
    ------
    UsageError
        If it is unknown, or the classifier takes none.
    """
    if class_weight in (None, "none"):
        return None
    if class_weight != "balanced":
        raise UsageError(f"There is no class weight {class_weight!r}.", next="Use --class-weight none or balanced.")
    if not classifier(name).weighted:
        able = ", ".join(key for key, entry in CLASSIFIERS.items() if entry.weighted)
        raise UsageError(f"The classifier {name} takes no class weights.", next=f"Use one of {able}.")
    return class_weight
