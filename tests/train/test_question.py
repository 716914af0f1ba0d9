"""The id of a run is known before it is trained, without reading what it is trained on."""

from pathlib import Path

import numpy as np
import pytest

import histokit
from histokit.errors import DataError, StoreError
from histokit.features import feature_store
from histokit.select.select import identify as identify_selection
from histokit.select.select import select
from histokit.train.question import identify
from histokit.train.train import train
from tests.toy import make_samples, make_store

SVM = {"grid": {"C": "1e-2,1"}, "inner_folds": 3}


@pytest.fixture
def toy(tmp_path):
    samples, X = make_samples(n=60, slides=6)
    X[3, :4] = np.nan
    return make_store(tmp_path / "store", samples, {"early": X[:, :4], "last": X[:, 4:]})


@pytest.fixture
def unread(monkeypatch):
    """Reading a vector is an error until this is called."""
    real = feature_store.copy_vectors

    def refuse(*_):
        raise AssertionError("a vector was read")

    monkeypatch.setattr(feature_store, "copy_vectors", refuse)
    return lambda: monkeypatch.setattr(feature_store, "copy_vectors", real)


@pytest.mark.parametrize(
    ("address", "options"),
    [
        ("net/last", SVM),
        ("net/last", {"classifier": "knn", "grid": {"k": "3"}, "seed": 3, "scale": True}),
        ("net/each", {**SVM, "allow_missing": True}),
        ("net/last", {**SVM, "where": "slide <> 'P1'", "metric": "roc_auc"}),
        ("net/last", {**SVM, "aggregate": "slide", "split": "leave-one-group-out"}),
    ],
)
def test_the_id_is_that_of_the_run(tmp_path, unread, address, options):
    samples, X = make_samples(n=60, slides=12)
    samples["label"] = ["ab"[int(slide[1:]) % 2] for slide in samples["slide"]]
    toy = make_store(tmp_path / "store", samples, {"early": X[:, :4], "last": X[:, 4:]})
    ids = identify(toy, "toy", address, **options)
    assert not any(map(toy.has_run, ids))
    unread()
    assert [run.id for run in train(toy, "toy", address, **options)] == ids


def test_the_id_of_a_chosen_run_follows_from_those_it_is_chosen_from(tmp_path, unread):
    samples, X = make_samples(n=60, slides=6)
    stores = [make_store(tmp_path / name, samples, {"early": X[:, :4], "last": X[:, 4:]}) for name in "ab"]
    ids = identify(stores[0], "toy", "net/each", choose="inner", **SVM)
    unread()
    for store in stores:
        assert [run.id for run in train(store, "toy", "net/each", choose="inner", **SVM)] == ids
    assert identify(stores[0], "toy", "net/each", choose="test", **SVM)[:-1] == ids[:-1]
    assert identify(stores[0], "toy", "net/each", choose="test", **SVM)[-1] not in ids


def test_the_id_of_a_selection_and_of_a_run_on_it(tmp_path, unread, few_trees):
    samples, X = make_samples()
    toy = make_store(tmp_path / "store", samples, {"last": X})
    question = {"inner_folds": 2, "seed": 1}
    found = identify_selection(toy, "toy", "net/last", step=4, **question)
    with pytest.raises(StoreError, match="no selection"):
        identify(toy, "toy", "net/last", selection=found, **SVM)
    unread()
    assert select(toy, "toy", "net/last", step=4, **question).id == found
    assert identify_selection(toy, "toy", "net/last", step=4.0, **question) == found
    assert identify_selection(toy, "toy", "net/last", **question) != found
    (run_id,) = identify(toy, "toy", "net/last", selection=found, **SVM)
    assert train(toy, "toy", "net/last", selection=found, **SVM)[0].id == run_id


def test_missing_vectors_are_missed_without_reading_the_others(toy, unread):
    with pytest.raises(StoreError, match="missing for 1 of 60 samples"):
        identify(toy, "toy", "net/early", **SVM)
    (alone,) = identify(toy, "toy", "net/early", allow_missing=True, **SVM)
    unread()
    assert train(toy, "toy", "net/early", allow_missing=True, **SVM)[0].id == alone


def test_an_outline_has_the_shape_and_takes_no_memory(toy, unread):
    found = toy.features("toy", "net/last", outline=True)
    assert found.X.shape == (60, 4)
    assert found.X.strides == (0, 0)
    assert found.parts[0].address == "net/last"
    assert len(found.labels) == 60


def test_images_are_not_read_for_the_id(tmp_path: Path, images: Path, monkeypatch):
    store = histokit.open_store(tmp_path / "store")
    options = {"pattern": "{patient}/{label}/*.png", "group": "patient"}
    histokit.ingest(store, "folder", images, name="d", options=options)
    bad = images / "p1" / "dark" / "0.png"
    content = bad.read_bytes()
    bad.write_bytes(b"no image")
    histokit.ingest(store, "folder", images, name="d", options=options)
    forest = {"classifier": "et-fl", "grid": {"windows": "240", "min_leaf": "10", "trees": "2", "k": "4"}}
    asked = {"split": "holdout", **forest}
    with pytest.raises(DataError, match="cannot be read"):
        train(store, "d", "images", **asked)
    with monkeypatch.context() as unreadable:
        unreadable.setattr("histokit.features.images.lasting_results", None)
        (without,) = identify(store, "d", "images", allow_missing=True, **asked)
    assert train(store, "d", "images", allow_missing=True, **asked)[0].id == without
    bad.write_bytes(content)
    histokit.ingest(store, "folder", images, name="d", options=options)
    bad.unlink()
    (whole,) = identify(store, "d", "images", **asked)
    assert whole != without
    bad.write_bytes(content)
    assert train(store, "d", "images", **asked)[0].id == whole


def test_ids_are_those_of_earlier_versions(tmp_path):
    # What is stored is found again by these ids: whoever changes them raises a version, and says so to users.
    samples = {"id": [f"s{i}" for i in range(12)], "slide": [f"P{i // 3}" for i in range(12)]}
    samples["label"] = list("aabbab") * 2
    X = np.arange(36.0).reshape(12, 3)
    store = make_store(tmp_path / "store", samples, {"early": X[:, :1], "last": X})
    by_group = {"split": "leave-one-group-out"}
    found = {
        "svm": identify(store, "toy", "net/last", **by_group),
        "several": identify(store, "toy", "net/each", "et", choose="inner", seed=3, metric="roc_auc", **by_group),
        "selection": [identify_selection(store, "toy", "net/early+net/last", **by_group)],
    }
    assert found == {
        "svm": ["1f6d8d5a29bf"],
        "several": ["18ff0e0048f4", "c5b1a7950ec6", "c14332108df0"],
        "selection": ["8efa2f7f0053"],
    }
