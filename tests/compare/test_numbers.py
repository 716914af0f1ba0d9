"""Comparisons of runs that predict numbers: of errors, the lower one is better everywhere."""

import numpy as np
import pytest

from histokit import compare
from histokit.compare.sheets import comparison_sheets
from histokit.errors import UsageError
from tests.evaluate.made_up import save, save_dataset
from tests.evaluate.made_up_numbers import save_numbers

RNG = np.random.default_rng(0)
TRUE = RNG.normal(50, 10, 24)
NOISE = RNG.normal(0, 1, 24)


def add(store, dataset, classifier, error, bias=0.0, unit=1.0, **changes):
    predicted = TRUE + error * NOISE + bias
    rows = [(i % 3, f"s{i}", unit * TRUE[i], unit * predicted[i], f"P{i % 12}") for i in range(24)]
    return save_numbers(store, rows, dataset=dataset, classifier=classifier, **changes)


def places(found, column):
    return {method["method"]: method["cells"][column]["place"] for method in found.methods}


@pytest.mark.parametrize("metric", ["mae", "rmse", "r2"])
def test_the_lower_error_is_the_best(store, metric):
    save_dataset(store, "one")
    runs = [add(store, "one", name, error) for name, error in (("ridge", 3.0), ("et", 1.0), ("knn", 2.0))]
    found = compare(store, runs, metric=metric, bootstrap=200)
    assert [method["method"] for method in found.methods] == ["et", "knn", "ridge"]
    assert places(found, "one") == {"et": 1, "knn": 2, "ridge": 3}
    assert [method["cells"]["one"]["mark"] for method in found.methods] == ["best", "second", None]
    pair = next(pair for pair in found.pairs if (pair["first"], pair["second"]) == ("ridge", "et"))
    sign = 1 if metric != "r2" else -1
    assert sign * pair["difference"] > 0
    assert sign * pair["interval"][0] > 0 or sign * pair["interval"][1] > 0
    if metric == "mae":
        assert pair["difference"] == pytest.approx(2 * np.abs(NOISE).mean())
        scores, paired = comparison_sheets(found)
        assert "lower is better" in scores.title
        assert "of mae the lower one is better" in paired.title


@pytest.mark.parametrize("unit", [1e-14, 1.0, 1e14])
def test_ranks_and_the_best_of_each_know_the_direction_in_any_unit(store, unit):
    for number, name in enumerate(("one", "two", "three")):
        save_dataset(store, name)
        for classifier, error in (("ridge", 3.0), ("et", 1.0), ("knn", 2.0)):
            add(store, name, classifier, error + 0.1 * number, unit=unit)
    found = compare(store, everything=True, metric="mae", bootstrap=20)
    assert found.ranking["methods"] == ["et", "knn", "ridge"]
    assert found.ranking["average_ranks"] == {"et": 3.0, "knn": 2.0, "ridge": 1.0}
    pair = next(p for p in found.ranking["tests"]["wilcoxon"] if {p["first"], p["second"]} == {"et", "ridge"})
    assert (pair["wins"] if pair["first"] == "et" else pair["losses"]) == 3
    assert abs(pair["median_difference"]) == pytest.approx(2 * unit * np.abs(NOISE).mean())
    assert places(found, "two") == {"et": 1, "knn": 2, "ridge": 3}
    (signed,) = [sheet for sheet in found.sheets() if "signed-rank" in sheet.title]
    assert signed.title.endswith("; errors are taken as negative: above 0, the first is better")
    first = dict(zip(signed.columns, signed.rows[0], strict=True))
    assert (first["first"], first["median difference"] > 0) == ("et", True)
    best = compare(store, everything=True, metric="mae", bootstrap=20, best_of="kind")
    assert {cell["chosen"] for cell in best.methods[0]["cells"].values()} == {"et"}


@pytest.mark.parametrize("units", [(1e-14, 1e-14), (1.0, 1.0), (1e14, 1e14), (1.0, 1e12), (1e12, 1.0)])
def test_errors_that_differ_by_rounding_are_equal_in_any_unit(store, units):
    for name, unit in zip(("one", "two"), units, strict=True):
        save_dataset(store, name)
        # As far off on the other side of the true values: sums have other terms.
        for classifier, error in (("ridge", 1.0), ("et", -1.0)):
            add(store, name, classifier, error, unit=unit)
    found = compare(store, everything=True, metric="mae", bootstrap=20)
    assert places(found, "one") == places(found, "two") == {"et": 1, "ridge": 1}
    assert set(found.ranking["average_ranks"].values()) == {1.5}
    (pair,) = found.ranking["tests"]["wilcoxon"]
    assert (pair["ties"], pair["p"], pair["median_difference"]) == (2, 1.0, 0.0)


def test_runs_of_classes_and_of_numbers_are_columns_of_their_own(store):
    save_dataset(store, "one")
    classes = [save(store, "one", right, classifier=name, target="age") for name, right in (("svm", 15), ("fc", 12))]
    numbers = [add(store, "one", name, error, digest="one-cv") for name, error in (("ridge", 2.0), ("et", 1.0))]
    found = compare(store, dataset="one", bootstrap=20)
    assert {column["column"]: column["metric"] for column in found.columns} == {
        "one of age": "accuracy", "one of age as numbers": "r2",
    }  # fmt: skip
    assert {(pair["first"], pair["second"]) for pair in found.pairs} == {("svm", "fc"), ("ridge", "et")}
    with pytest.raises(UsageError, match="The metric mae is for numbers") as caught:
        compare(store, dataset="one", metric="mae")
    assert "--where \"target_type = 'number'\"" in caught.value.next
    kept = compare(store, dataset="one", where="target_type = 'number'", metric="mae", bootstrap=20)
    assert {row["run"] for row in kept.rows} == set(numbers)
    without = compare(store, dataset="one", where="target_type IS NULL", bootstrap=20)
    assert {row["run"] for row in without.rows} == set(classes)


def test_differences_without_a_common_unit_are_told_of(store):
    # One is better on the sizes and worse on the doses: which difference is the larger one is a matter of units.
    found = {}
    for unit in (1.0, 1000.0):
        for name, target, scale, errors in (("size", "size", 1.0, (1.0, 3.0)), ("dose", "dose", unit, (2.0, 1.5))):
            save_dataset(store, f"{name}{unit:g}")
            for classifier, error in zip(("et", "knn"), errors, strict=True):
                add(store, f"{name}{unit:g}", classifier, error, unit=scale, target=target)
        datasets = [f"size{unit:g}", f"dose{unit:g}"]
        found[unit] = compare(store, dataset=datasets, metric="mae", bootstrap=5)
    first, other = (each.ranking["tests"]["wilcoxon"][0] for each in found.values())
    turned = 1 if first["first"] == other["first"] else -1
    assert turned * first["median_difference"] * other["median_difference"] < 0, "another unit turns it over"
    for each in found.values():
        (note,) = [note for note in each.notes if "in other units its p" in note]
        assert "weighs differences of mae in the units of size, dose against each other" in note
    same = compare(store, dataset=["size1", "size1000"], metric="mae", bootstrap=5)
    assert not any("in other units" in note for note in same.notes)
    assert not any("in other units" in note for note in compare(store, everything=True, metric="r2").notes)
