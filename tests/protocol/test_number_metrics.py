"""Metrics of predicted numbers, as scikit-learn and scipy define them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from histokit.protocol.number_metrics import NUMBER_METRICS, NumberScorer, direction, undefined_reasons


def reference(true: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    return {
        "r2": metrics.r2_score(true, predicted),
        "pearson": stats.pearsonr(true, predicted).statistic,
        "spearman": stats.spearmanr(true, predicted).statistic,
        "mae": metrics.mean_absolute_error(true, predicted),
        "rmse": metrics.root_mean_squared_error(true, predicted),
    }


@pytest.fixture
def numbers() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    # Far from zero, with ties in both, and with predictions of another scale.
    true = np.round(1e6 + 10 * rng.normal(size=40), 0)
    return true, np.round(1e6 + 0.4 * (true - 1e6) + 5 * rng.normal(size=40), 0)


def test_they_are_those_of_other_libraries(numbers: tuple[np.ndarray, np.ndarray]) -> None:
    found = NumberScorer(*numbers).values()
    assert list(found) == list(NUMBER_METRICS)
    assert found == pytest.approx(reference(*numbers), rel=1e-9)


def test_a_resample_counts_each_sample_as_often_as_its_group_was_drawn(numbers: tuple[np.ndarray, np.ndarray]) -> None:
    true, predicted = numbers
    units = np.arange(40) % 7
    weights = np.random.default_rng(0).multinomial(7, np.full(7, 1 / 7), size=6).astype(float)
    found = NumberScorer(true, predicted, units).resample(weights)
    for row, drawn in enumerate(weights):
        again = np.repeat(np.arange(40), drawn[units].astype(int))
        expected = reference(true[again], predicted[again])
        assert {name: values[row] for name, values in found.items()} == pytest.approx(expected, rel=1e-9)


def test_what_is_undefined_is_told() -> None:
    # The mean of three times 0.1 is a hair beside 0.1.
    true, predicted = np.full(3, 0.1), np.array([0.2, 0.1, 0.3])
    found = NumberScorer(true, predicted).values()
    assert [name for name, value in found.items() if np.isnan(value)] == ["r2", "pearson", "spearman"]
    assert found["mae"] == pytest.approx(0.1)
    assert undefined_reasons(found, true, predicted)["r2"] == "all true values are 0.1"
    turned = NumberScorer(predicted, true).values()
    assert [name for name, value in turned.items() if np.isnan(value)] == ["pearson", "spearman"]
    assert undefined_reasons(turned, predicted, true)["pearson"] == "all predictions are 0.1"
    assert NumberScorer(predicted, np.nextafter(true, 1.0 * (np.arange(len(true)) % 2))).values() == pytest.approx(
        turned, nan_ok=True
    ), "what rounding leaves is no order"
    alone = NumberScorer(true[:1], predicted[:1]).values()
    assert undefined_reasons(alone, true[:1], predicted[:1])["r2"] == "there is a single sample"


def test_a_resample_of_equal_numbers_is_undefined_whatever_was_not_drawn() -> None:
    # The mean of three times 0.1 is a hair beside 0.1.
    true, predicted, weights = np.array([0.1, 5.0]), np.array([0.2, 4.0]), np.array([[3.0, 0.0]])
    found = NumberScorer(true, predicted).resample(weights)
    assert [name for name, value in found.items() if np.isnan(value[0])] == ["r2", "pearson", "spearman"]
    assert found["mae"][0] == pytest.approx(0.1)


def test_errors_alone_are_lower_for_better_predictions() -> None:
    assert {name: direction(name) for name in NUMBER_METRICS} == {
        "r2": 1, "pearson": 1, "spearman": 1, "mae": -1, "rmse": -1,
    }  # fmt: skip
    assert direction("accuracy") == direction("roc_auc_fold_mean") == 1
