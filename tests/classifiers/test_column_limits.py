"""Spreads of columns are those of all samples."""

import numpy as np
import pytest

from histokit.classifiers.column_limits import check_columns
from histokit.errors import DataError


def test_spreads_are_those_of_all_samples_however_many_there_are():
    X = np.random.default_rng(0).normal(5, 1, (2_500, 3))
    X[:, 2] = 1e9
    # What makes them unlike is in the last of them alone.
    X[2_400:, 1] *= 2_000
    ratio = X[:, 1].std() / X[:, 0].std()
    assert check_columns("knn", X[:2_400], ["a", "b", "c"]) == []
    (note,) = check_columns("knn", X, ["a", "b", "c"])
    assert note.startswith(f"the spread of 'b' is {float(f'{ratio:.2g}'):,.0f} times that of 'a'")


def test_numbers_too_large_to_be_squared_are_refused_where_they_are_squared():
    X = np.column_stack([np.arange(10.0), np.full(10, 1e16)])
    for name in ("svm", "logreg"):
        # What all samples have in common is taken away first, but for those of scikit-learn.
        assert check_columns(name, X, ["a", "b"]) == []
        with pytest.raises(DataError, match=rf"The column 'b' has numbers as large as 1.0e\+16: {name} cannot"):
            check_columns(name, X, ["a", "b"], solver="sklearn")
    X[0, 1] = 0
    with pytest.raises(DataError, match="The column 'b' has numbers as large"):
        check_columns("logreg", X, ["a", "b"])
    assert check_columns("logreg", X, ["a", "b"], scale=True) == []


def test_a_spread_that_is_too_large_to_be_written_out_is_a_power():
    X = np.column_stack([np.arange(10) * 1e-5, np.arange(10) * 2.0, np.ones(10)])
    (note,) = check_columns("logreg", X, ["a", "b", "c"])
    assert note.startswith("the spread of 'b' is 200,000 times that of 'a'")
    X[:, 1] *= 1e3
    assert check_columns("logreg", X, ["a", "b", "c"])[0].startswith("the spread of 'b' is 2e+08 times that of 'a'")
