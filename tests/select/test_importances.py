import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier

from histokit.errors import UsageError
from histokit.figures import importance_figure
from histokit.select import importance_shares
from histokit.select.importances import bands_of
from tests.toy import make_samples, make_store


@pytest.fixture
def store(tmp_path):
    samples, X = make_samples()
    make_store(tmp_path / "store", samples, {"first": X[:, :3], "last": X})
    samples, X = make_samples(seed=1)
    return make_store(tmp_path / "store", samples, {"first": X[:, :3], "last": X}, name="other")


def library(store, dataset, rows=slice(None), **options):
    features = store.features(dataset, "net/all")
    trees = ExtraTreesClassifier(20, **{"random_state": 0, **options}).fit(features.X[rows], features.y[rows])
    return trees.feature_importances_


def test_bands_by_hand():
    # Sorted: .4 .3 .15 .1 .05; cumulative before each: 0 .4 .7 .85 .95.
    assert bands_of(np.array([0.1, 0.4, 0.05, 0.3, 0.15])).tolist() == [3, 0, 3, 2, 3]
    # Ten equal columns: the first brings 10 %, two more would bring 30 %, the next ones 50 %.
    assert bands_of(np.full(10, 0.1)).tolist() == [0, 1, 1, 2, 2, 3, 3, 3, 3, 3]
    # Before each: 0 .095 | .1675 .24 | .3125 .385 .4575 | .53 and more, close below the edges .10, .25 and .50.
    close = np.array([0.095, *[0.0725] * 12, 0.035])
    assert bands_of(close).tolist() == [0, 0, 1, 1, 2, 2, 2, *[3] * 7]
    assert bands_of(np.array([0.0, 1.0, 0.0])).tolist() == [3, 0, 3], "what brings nothing is in the last band"
    # Before the third one 0.3 + 0.2 is the edge, of which floating point makes a hair less.
    assert bands_of(np.array([0.3, 0.2, 0.2, 0.15, 0.15])).tolist() == [0, 2, 3, 3, 3]
    # A column that crosses an edge counts to the more informative band.
    assert bands_of(np.array([0.09, 0.9, 0.01])).tolist() == [3, 0, 3]


def test_shares_are_sums_of_the_librarys_importances(store):
    found = importance_shares(store, ["toy"], "net/all", trees=20)
    values = library(store, "toy")
    assert [row["importance"] for row in found.layers] == pytest.approx([values[:3].sum(), values[3:].sum()])
    assert [row["columns"] for row in found.layers] == [3, 8]
    assert [row["share_of_columns"] for row in found.layers] == pytest.approx([3 / 11, 8 / 11])
    (network,) = found.networks
    assert (network["network"], network["importance"], network["std"]) == ("net", pytest.approx(1.0), None)
    # All bands together hold what their edges say, but for the column that crosses each edge.
    assert sum(network["bands"]) == pytest.approx(1.0)
    assert sum(network["columns_in_bands"]) == 11
    order = np.sort(values)[::-1]
    first = int(np.searchsorted(np.cumsum(order), 0.10)) + 1
    assert network["columns_in_bands"][0] == first
    assert network["bands"][0] == pytest.approx(order[:first].sum())
    for entry, inside in ((network, range(11)), (found.layers[0], range(3)), (found.layers[1], range(3, 11))):
        sums, counts = by_hand(values, inside)
        assert entry["bands"] == pytest.approx(sums)
        assert entry["columns_in_bands"] == counts


def by_hand(values, inside):
    """How much of the importance of some columns comes from each band, and from how many of them."""
    sums, counts, before = [0.0] * 4, [0] * 4, 0.0
    for column in sorted(range(len(values)), key=lambda column: -values[column]):
        band = sum(before >= edge for edge in (0.1, 0.25, 0.5))
        before += values[column]
        if column in inside:
            sums[band] += values[column]
            counts[band] += 1
    return sums, counts


def test_shares_are_averaged_over_datasets(store):
    calls = []
    found = importance_shares(store, ["toy", "other"], "net/all", trees=20, progress=lambda *given: calls.append(given))
    # Twenty trees of each are told as they grow, and their end.
    assert [call[0] for call in calls] == [*range(5, 101, 5), 100, *range(105, 201, 5), 200]
    assert {call[1:] for call in calls} == {(200, "toy"), (200, "other")}
    assert found.bands == [0.1, 0.25, 0.5, 1.0]
    both = np.array([library(store, name) for name in ("toy", "other")])
    last = both[:, 3:].sum(1)
    assert found.layers[1]["importance"] == pytest.approx(last.mean())
    assert found.layers[1]["std"] == pytest.approx(last.std())
    assert [entry["layers"][1]["importance"] for entry in found.datasets] == pytest.approx(last)
    assert sum(row["importance"] for row in found.layers) == pytest.approx(1.0)
    assert [entry["samples"] for entry in found.datasets] == [60, 60]
    each = np.array([by_hand(values, range(3, 11)) for values in both])
    assert found.layers[1]["bands"] == pytest.approx(each[:, 0].mean(0))
    assert found.layers[1]["columns_in_bands"] == pytest.approx(each[:, 1].mean(0))
    assert found.networks[0]["columns"] == 11


def test_test_samples_are_not_looked_at(store):
    found = importance_shares(store, ["toy"], "net/all", split="holdout", trees=20)
    (fold,) = store.split("toy", "holdout").folds()
    ids = store.features("toy", "net/all").sample_ids
    rows = [ids.index(i) for i in sorted([*fold.train, *fold.val], key=ids.index)]
    assert found.layers[0]["importance"] == pytest.approx(library(store, "toy", rows)[:3].sum())
    assert (found.datasets[0]["samples"], found.datasets[0]["groups"]) == (len(rows), len({row % 6 for row in rows}))
    assert len(rows) < 60
    assert found.notes == []
    (note,) = [n for n in importance_shares(store, ["toy"], "net/all", trees=1).notes if "tested" in n]
    assert note.startswith("toy: samples that train in one fold of 'cv' are tested in another")


@pytest.mark.parametrize(("text", "value"), [("n/2", 0.5), ("n", 1.0), ("1", 1), ("99", 11)])
def test_max_features(store, text, value):
    found = importance_shares(store, ["toy"], "net/all", trees=20, max_features=text)
    expected = library(store, "toy", max_features=value)[:3].sum()
    assert found.layers[0]["importance"] == pytest.approx(expected)
    assert found.parameters == {"max_features": text, "trees": 20, "seed": 0}


def test_another_seed_and_a_filter(store):
    found = importance_shares(store, ["toy"], "net/all", trees=20, seed=3, where="slide != 'P1'")
    rows = np.flatnonzero(store.features("toy", "net/all").column("slide") != "P1")
    expected = library(store, "toy", rows, random_state=3)[:3].sum()
    assert found.layers[0]["importance"] == pytest.approx(expected)
    assert found.datasets[0]["samples"] == 50


def test_wrong_use(store, tmp_path):
    for datasets in ([], ["toy", "toy"]):
        with pytest.raises(UsageError, match="one dataset or more"):
            importance_shares(store, datasets, "net/all")
    with pytest.raises(UsageError, match="max_features of et cannot be 'many'"):
        importance_shares(store, ["toy"], "net/all", max_features="many")
    samples, X = make_samples()
    make_store(tmp_path / "store", samples, {"first": X[:, :3]}, name="third")
    with pytest.raises(UsageError, match="'third' has other features than 'toy': net/last"):
        importance_shares(store, ["toy", "third"], "net/all", trees=1)


def test_the_shares_are_drawn(store, tmp_path):
    found = importance_shares(store, ["toy", "other"], "net/all", trees=5)
    text = importance_figure(found, tmp_path / "shares.svg").read_text()
    for mark in (
        "net/first",
        "net/last",
        "share of columns",
        "importance, of the best columns first: 0 to 10 % of all",
        "share of importance",
    ):
        assert f"<!-- {mark}" in text
    assert importance_figure(found, tmp_path / "again.svg").read_text() == text
    with pytest.raises(UsageError, match="cannot be written"):
        importance_figure(found, tmp_path / "no" / "shares.svg")
