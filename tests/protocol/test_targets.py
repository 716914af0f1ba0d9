"""Which targets are numbers, and how these are spread over folds."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from histokit.errors import DataError, UsageError
from histokit.protocol.splits import make_split
from histokit.protocol.targets import ClassTarget, NumberTarget, choose_metric, find_type, read_numbers
from tests.toy import make_samples, make_store

SCHEMA = pa.schema(
    {"label": pa.string(), "age": pa.float64(), "grade": pa.int64(), "small": pa.float32(), "er": pa.bool_()}
)


@pytest.mark.parametrize(
    ("target", "asked", "found"),
    [
        ("age", None, "number"),
        ("small", None, "number"),
        ("age", "class", "class"),
        ("grade", None, None),
        ("grade", "number", "number"),
        ("er", None, None),
        (None, None, None),
        ("unknown", None, None),
    ],
)
def test_fractions_are_numbers_and_all_else_is_asked_for(
    target: str | None, asked: str | None, found: str | None
) -> None:
    assert find_type(SCHEMA, target, asked) == found


def test_what_is_no_number_cannot_be_one() -> None:
    with pytest.raises(UsageError, match="label holds texts, not numbers") as caught:
        find_type(SCHEMA, None, "number")
    assert "Columns of numbers are: age, grade, small" in caught.value.next
    with pytest.raises(UsageError, match="er holds truth values"):
        find_type(SCHEMA, "er", "number")
    with pytest.raises(UsageError, match="no type of target 'numbr'") as caught:
        find_type(SCHEMA, "age", "numbr")
    assert "Did you mean 'number'" in caught.value.next


def test_infinite_values_are_refused_by_name() -> None:
    assert read_numbers([1, None, np.nan, 2.5], list("abcd"), "age")[[0, 3]].tolist() == [1.0, 2.5]
    with pytest.raises(DataError, match="1 sample has an infinite value of 'age': b"):
        read_numbers([1.0, -np.inf], ["a", "b"], "age")


def test_the_metric_of_the_data_counts_where_it_is_of_the_kind() -> None:
    assert choose_metric(NumberTarget(), None, "roc_auc") == "r2"
    assert choose_metric(NumberTarget(), None, "mae") == "mae"
    assert choose_metric(ClassTarget(), None, "mae") == "accuracy"
    with pytest.raises(UsageError, match="The metric f1_macro is for classes"):
        choose_metric(NumberTarget(), "f1_macro")


def test_folds_hold_all_quintiles_as_far_as_groups_allow(tmp_path) -> None:
    # Groups of one sample each, skewed: without strata some folds would get the largest values, others none.
    samples, X = make_samples(n=50, slides=50)
    samples["age"] = [float(2 ** (i / 4)) for i in np.random.default_rng(0).permutation(50)]
    samples["label"] = [None] * 50
    store = make_store(tmp_path, samples, {"last": X})
    how = {"folds": 5, "target": "age"}
    splits = [make_split(store.samples("toy"), store.dataset("toy"), name, **how) for name in ("one", "two")]
    assert splits[0].digest == splits[1].digest
    assert splits[0].params["target_type"] == "number"
    assert "notes" not in splits[0].params
    rank = dict(zip(samples["id"], np.argsort(np.argsort(samples["age"])) // 10, strict=True))
    for fold in splits[0].folds():
        assert np.bincount([rank[i] for i in fold.test]).tolist() == [2, 2, 2, 2, 2]


def test_few_samples_and_equal_values_still_make_folds() -> None:
    target = NumberTarget()
    assert set(target.strata(np.arange(8.0), 5)) == {0}
    assert len(set(target.strata(np.array([0.0] * 30 + [1.0, 2.0, 3.0]), 5))) <= 2
    assert set(target.strata(np.array([np.inf, 1.0, 2.0, 3.0] * 5), 2)) >= {0}


def test_numbers_bar_batches_without_a_class_to_train_on(tmp_path) -> None:
    samples, X = make_samples(n=24, slides=4)
    samples |= {"age": [float(i) for i in range(24)], "batch": [f"B{i % 2}" for i in range(24)]}
    store = make_store(tmp_path, samples, {"last": X})
    split = make_split(
        store.samples("toy"), store.dataset("toy"), "bar", leave_one_group_out=True, bar="batch", target="age"
    )
    assert sum(len(fold.test) for fold in split.folds()) == 24
