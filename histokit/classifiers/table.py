"""The classifiers of `--classifier` as a table of data: all that is known of one is in its row."""

from __future__ import annotations

from dataclasses import replace

from histokit.classifiers.row import (
    VALUE,
    Classifier,
    Condition,
    Cost,
    Parameter,
    fraction,
    max_features,
    named,
    not_negative,
    positive,
    whole,
)
from histokit.errors import UsageError, did_you_mean

#: Who fits: a solver of ours where there is one, or scikit-learn's estimator one setting at a time.
SOLVERS = ("auto", "sklearn")

#: Iterations after which most perceptrons have learnt what they can.
_LEARNT = 1000
#: The cost of a split of a tree by the columns tried at it, relative to all.
_COLUMNS_TRIED = {"1": 0.05, "sqrt": 0.1, "0.5": 0.5, "1.0": 1.0}
#: The distances between neighbours, and what else some of them are called.
DISTANCES = ("cosine", "euclidean", "manhattan", "chebyshev", "correlation", "braycurtis", "canberra")
_SYNONYMS = {"cityblock": "manhattan", "taxicab": "manhattan", "l1": "manhattan", "l2": "euclidean"}


def _powers(*exponents: int) -> tuple[float, ...]:
    return tuple(float(f"1e{e}") for e in exponents)


#: Defaults are those of Mormont et al. 2018, and scikit-learn's where they give none; colours as in its figures.
CLASSIFIERS: dict[str, Classifier] = {
    "svm": Classifier(
        "linear support vector machine: squared hinge, penalised intercept, one-versus-rest",
        "sklearn.svm:LinearSVC",
        {"loss": "squared_hinge", "dual": "auto", "max_iter": 1000},
        {"C": Parameter("C", positive, _powers(*range(-10, 2)), complex="large")},
        Cost(5.0, rows=0.5, columns=0.7, classes=1.0),
        kind="decision",
        must_converge=True,
        any_size=True,
        solver="svm",
        colour="#e08a2e",
    ),
    "et": Classifier(
        "100 extremely randomised trees, fully grown",
        "sklearn.ensemble:ExtraTreesClassifier",
        {},
        {
            "max_features": Parameter("max_features", max_features, (1, "sqrt", 0.5, 1.0)),
            "trees": Parameter("n_estimators", whole, (100,)),
        },
        Cost(
            100.0,
            rows=1.1,
            columns=0.7,
            classes=0.2,
            of_setting=lambda setting: setting["trees"] * _COLUMNS_TRIED.get(str(setting["max_features"]), 0.5),
        ),
        threaded=True,
        limits={"max_features": "columns"},
        by_scale=False,
        stored_types=("sklearn.tree._tree.Tree",),
        colour="#4f9a5b",
    ),
    "fc": Classifier(
        "single-layer softmax perceptron: Adam, L2 penalty 1e-4, batches of 200, until the loss stays",
        "sklearn.neural_network:MLPClassifier",
        {"hidden_layer_sizes": (), "alpha": 1e-4, "batch_size": 200, "n_iter_no_change": 10},
        {
            "iterations": Parameter("max_iter", whole, (1000, 2500, 5000, 10000)),
            "lr": Parameter("learning_rate_init", positive, (1e-4, 1e-3, 1e-2, 1e-1)),
        },
        Cost(16.0, rows=0.7, columns=0.8, classes=0.7, of_setting=lambda setting: min(setting["iterations"], _LEARNT)),
        weighted=False,
        limits={"batch_size": "rows"},
        solver="perceptron",
        stored_types=("sklearn.neural_network._stochastic_optimizers.AdamOptimizer",),
        colour="#b8453c",
    ),
    "logreg": Classifier(
        "logistic regression with an L2 penalty",
        "sklearn.linear_model:LogisticRegression",
        {"max_iter": 1000},
        {"C": Parameter("C", positive, _powers(*range(-5, 3)), complex="large")},
        Cost(5.0, rows=0.7, columns=0.7, classes=1.0),
        must_converge=True,
        centred=True,
        solver="logistic",
    ),
    "ridge": Classifier(
        "ridge classification: squared error to -1 and 1, L2 penalty",
        "sklearn.linear_model:RidgeClassifier",
        {},
        {"alpha": Parameter("alpha", positive, _powers(*range(5, -4, -1)), complex="small")},
        Cost(1.0, rows=0.5, columns=1.0, classes=0.0),
        kind="decision",
        seeded=False,
        must_converge=True,
        any_size=True,
        solver="ridge",
    ),
    "knn": Classifier(
        "nearest neighbours by cosine or Euclidean distance",
        "histokit.classifiers.solvers.nearest:NearestNeighbours",
        {},
        {
            "k": Parameter("n_neighbors", whole, (25, 15, 5, 1)),
            "metric": named("metric", DISTANCES, ("cosine", "euclidean"), _SYNONYMS),
        },
        Cost(0.4, rows=1.5, columns=0.7, classes=0.0),
        weighted=False,
        seeded=False,
        threaded=True,
        limits={"n_neighbors": "rows"},
        any_size=True,
        solver="neighbours",
        stored_types=("histokit.classifiers.solvers.nearest.NearestNeighbours",),
    ),
    # Sizes and colour were tuned in Mormont et al. 2018; the defaults are those chosen for most of its eight datasets.
    "et-fl": Classifier(
        "images: random subwindows, extremely randomised trees, leaf frequencies, linear support vector machine",
        "histokit.classifiers.leaf_frequencies:LeafFrequencySVM",
        {},
        {
            "w_min": Parameter("w_min", fraction, (0.25,)),
            "w_max": Parameter("w_max", fraction, (0.5,)),
            "colour": named("colour", ("trgb", "hsv"), ("hsv",)),
            "trees": Parameter("trees", whole, (20,)),
            "min_leaf": Parameter("min_leaf", whole, (1000,)),
            "k": Parameter("k", whole, (384,)),
            "C": Parameter("C", positive, (0.01,), complex="large"),
            "windows": Parameter("windows", whole, (1_000_000,)),
            "frequencies": named("frequencies", ("scaled", "raw"), ("scaled",)),
        },
        Cost(900.0, rows=0.0, columns=0.0, classes=0.2, of_setting=lambda setting: setting["windows"]),
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
        condition=Condition(
            lambda setting: setting["w_min"] < setting["w_max"],
            "With w_min={w_min} and w_max={w_max} there is no setting of et-fl where w_min is below w_max.",
            "Give both, for instance --grid w_min=0.25,0.5 --grid w_max=0.75",
        ),
        stored_types=("histokit.classifiers.leaf_frequencies.LeafFrequencySVM", "sklearn.tree._tree.Tree"),
    ),
}


#: Those that predict numbers; the cost of each is that of a training set of 2,000 rows and 1,000 columns.
REGRESSORS: dict[str, Classifier] = {
    "ridge": Classifier(
        "ridge regression: squared error, L2 penalty",
        "sklearn.linear_model:Ridge",
        {},
        {"alpha": Parameter("alpha", positive, _powers(*range(5, -4, -1)), complex="small")},
        Cost(1.0, rows=0.5, columns=1.0, classes=0.0),
        kind=VALUE,
        weighted=False,
        seeded=False,
        any_size=True,
        solver="ridge_regression",
    ),
    "svr": Classifier(
        "linear support vector regression: squared epsilon-insensitive loss, penalised intercept, target standardised",
        "histokit.classifiers.standardised:StandardisedSVR",
        {},
        {
            "C": Parameter("C", positive, _powers(*range(-8, 2)), complex="large"),
            "epsilon": Parameter("epsilon", not_negative, (0.1,)),
        },
        Cost(5.0, rows=0.5, columns=0.7, classes=0.0),
        kind=VALUE,
        weighted=False,
        must_converge=True,
        stored_types=("histokit.classifiers.standardised.StandardisedSVR",),
    ),
    "et": replace(
        CLASSIFIERS["et"],
        estimator="histokit.classifiers.standardised:UnitFreeTrees",
        kind=VALUE,
        weighted=False,
        stored_types=("sklearn.tree._tree.Tree", "histokit.classifiers.standardised.UnitFreeTrees"),
        colour="",
    ),
    "knn": replace(
        CLASSIFIERS["knn"],
        summary="the mean of the nearest neighbours by cosine or Euclidean distance",
        estimator="histokit.classifiers.solvers.nearest:NearestMeans",
        kind=VALUE,
        solver="neighbour_means",
        stored_types=("histokit.classifiers.solvers.nearest.NearestMeans",),
    ),
}


def names() -> list[str]:
    """Return all that `--classifier` can be."""
    return list(dict.fromkeys([*CLASSIFIERS, *REGRESSORS]))


def classifier(name: str, numbers: bool | None = None) -> Classifier:
    """Return a classifier by name, or what predicts numbers under this name.

    Parameters
    ----------
    name : str
    numbers : bool, optional
        Whether it is to predict numbers in place of classes; where not given, it is the classifier if there is one.

    Raises
    ------
    UsageError
        If there is none of this name, or it predicts the other kind.
    """
    if name not in names():
        hint = did_you_mean(name, CLASSIFIERS) or did_you_mean(name, REGRESSORS)
        raise UsageError(
            f"There is no classifier {name!r}.",
            next=f"{hint}Use one of {', '.join(CLASSIFIERS)}; for numbers one of {', '.join(REGRESSORS)}.",
        )
    if numbers and name not in REGRESSORS:
        raise UsageError(
            f"The classifier {name} predicts classes, and the target is a number.",
            next=f"Use --classifier {', '.join(REGRESSORS)}; or, if each value is a class, --target-type class.",
        )
    if numbers is False and name not in CLASSIFIERS:
        raise UsageError(
            f"{name} predicts numbers, and the target is a class.",
            next=f"Use one of {', '.join(CLASSIFIERS)}; or name a column of numbers with --target COL "
            "--target-type number.",
        )
    return REGRESSORS[name] if numbers or name not in CLASSIFIERS else CLASSIFIERS[name]


def on_images() -> str:
    """Return the names of the classifiers that are trained on images."""
    return ", ".join(name for name, entry in CLASSIFIERS.items() if entry.pixels)


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


def check_class_weight(name: str, class_weight: str | None, numbers: bool | None = None) -> str | None:
    """Return the class weighting that scikit-learn takes: ``balanced`` or none.

    Raises
    ------
    UsageError
        If it is unknown, or the classifier takes none, as none does that predicts `numbers`.
    """
    if class_weight in (None, "none"):
        return None
    if class_weight != "balanced":
        raise UsageError(f"There is no class weight {class_weight!r}.", next="Use --class-weight none or balanced.")
    if numbers:
        raise UsageError("Numbers have no classes that could weigh more.", next="Leave out --class-weight.")
    if not classifier(name).weighted:
        able = ", ".join(key for key, entry in CLASSIFIERS.items() if entry.weighted)
        raise UsageError(f"The classifier {name} takes no class weights.", next=f"Use one of {able}.")
    return class_weight
