"""ET-FL from ingestion to prediction: images read through the plugin of the dataset."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import histokit
from histokit import cli
from histokit.classifiers.leaf_frequencies import LeafFrequencySVM
from histokit.errors import DataError, StoreError, UsageError
from histokit.features import FeatureStore
from histokit.ingest.imports import import_features

OPTIONS = {"pattern": "{patient}/{label}/*.png", "group": "patient"}
GRID = {"windows": 480, "min_leaf": 20, "trees": 2, "k": 40, "colour": "hsv", "C": 1.0}


@pytest.fixture
def ingested(store: FeatureStore, images: Path) -> FeatureStore:
    histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    return store


def train(store: FeatureStore, **options):  # type: ignore[no-untyped-def]
    asked = {"split": "leave-one-group-out", "grid": GRID} | options
    return histokit.train(store, "d", asked.pop("features", "images"), asked.pop("classifier", "et-fl"), **asked)[0]


def test_a_run_like_any_other(ingested: FeatureStore) -> None:
    run = train(ingested)
    assert (run.address, run.classifier, len(run.folds)) == ("images", "et-fl", 4)
    assert run.features[0]["address"] == "images"
    assert run.folds[0]["facts"]["windows_per_image"] == 27
    (evaluation,) = histokit.evaluate(ingested, run.id)
    assert (evaluation.n, evaluation.metrics["accuracy"]) == (24, 1.0)
    scores = np.array(ingested.predictions(run.id)["scores"].to_pylist())
    np.testing.assert_array_equal(scores[:, 0], -scores[:, 1])


def test_what_is_to_be_known_of_the_images_is_among_the_notes(store: FeatureStore, images: Path) -> None:
    for path in list(images.rglob("*.png"))[:3]:
        deep = np.asarray(Image.open(path).convert("L")).astype(np.uint16) * 16
        Image.fromarray(deep).save(path)
    histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    for options in ({"split": "holdout"}, {"split": "leave-one-group-out", "allow_missing": True}):
        run = train(store, **options)
        (note,) = [note for note in run.notes if "quarter of its range" in note]
        assert note.startswith("3 images: each uses less than a quarter")
    assert note in histokit.predict(store, run.id, "d").notes


def test_trees_that_hardly_split_are_told(ingested: FeatureStore) -> None:
    assert not any("leaves" in note for note in train(ingested, split="holdout").notes)
    run = train(ingested, split="holdout", grid=GRID | {"min_leaf": 200})
    assert (
        "trees have 2 leaves at most: a lower min_leaf, or more windows, tells more (1 of 1 training sets)" in run.notes
    )


def test_a_repeat_reads_no_image(ingested: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(ingested)
    before = ingested.predictions(run.id)
    monkeypatch.setattr("histokit.features.images.lasting_results", None)
    assert train(ingested) == run
    monkeypatch.undo()
    assert train(ingested, force=True).id == run.id
    assert ingested.predictions(run.id) == before


def test_options_of_the_grid_make_other_runs(ingested: FeatureStore) -> None:
    runs = {train(ingested, split="holdout", grid=GRID | change).id for change in ({}, {"C": 2}, {"colour": "trgb"})}
    assert len(runs) == 3


def test_trees_are_grown_anew_in_each_fold_and_never_see_its_test_images(
    ingested: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    fit = LeafFrequencySVM.fit

    def spy(self, X, y):  # type: ignore[no-untyped-def]
        seen.append(set(X.ids))
        return fit(self, X, y)

    monkeypatch.setattr(LeafFrequencySVM, "fit", spy)
    run = train(ingested)
    folds = ingested.split("d", "leave-one-group-out").folds()
    assert len(seen) == len(folds) + 1
    for ids, fold in zip(seen, folds, strict=False):
        assert ids == set(fold.train)
    assert len(seen[-1]) == 24
    assert {fold["train"] for fold in run.folds} == {18}


def test_the_search_fits_inside_the_training_images(ingested: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    fit = LeafFrequencySVM.fit

    def spy(self, X, y):  # type: ignore[no-untyped-def]
        seen.append((self.colour, frozenset(X.ids)))
        return fit(self, X, y)

    monkeypatch.setattr(LeafFrequencySVM, "fit", spy)
    run = train(ingested, split="holdout", grid=GRID | {"colour": "trgb,hsv"}, inner_folds=3)
    (fold,) = ingested.split("d", "holdout").folds()
    assert len(seen) == 2 * 3 + 1
    assert all(ids < set(fold.train) for _, ids in seen[:-1])
    assert seen[-1] == (run.folds[0]["parameters"]["colour"], frozenset(fold.train))
    assert len(run.folds[0]["tuning"]["table"]) == 2
    # Brightness tells the classes; normalised colours do not show it.
    assert run.folds[0]["parameters"]["colour"] == "hsv"


def test_other_data_are_predicted_from_their_images(ingested: FeatureStore, images: Path) -> None:
    run = train(ingested)
    new = images.parent / "new"
    new.mkdir()
    shutil.copy(images / "p1" / "dark" / "0.png", new / "old.png")
    rng = np.random.default_rng(1)
    for name, level in (("night", 60), ("day", 180)):
        pixels = rng.normal(level, 25, (16, 16, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(new / f"{name}.png")
    histokit.ingest(ingested, "folder", new, name="new", options={"pattern": "*.png"})
    done = histokit.predict(ingested, run.id, "new")
    assert (done.kind, done.source_run, done.address) == ("predict", run.id, "images")
    found = {row["id"]: row["predicted"] for row in ingested.predictions(done.id).to_pylist()}
    assert found == {"night.png": "dark", "day.png": "bright", "old.png": "dark"}
    assert any("1 of 3 samples were in the training" in note for note in done.notes)
    assert histokit.predict(ingested, run.id, "new").id == done.id


def test_the_same_through_the_command_line(
    ingested: FeatureStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HISTOKIT_STORE", str(ingested.uri))
    asked = ["train", "d", "--features", "images", "--classifier", "et-fl", "--split", "holdout"]
    asked += [text for key, value in GRID.items() for text in ("--grid", f"{key}={value}")]
    assert cli.run(asked) == 0
    assert capsys.readouterr().out.split() == [train(ingested, split="holdout").id]
    assert cli.run(["train", "d", "--features", "images", "--split", "holdout"]) == 2
    assert "--classifier et-fl" in capsys.readouterr().err


def test_groups_of_one_image_are_told(store: FeatureStore, images: Path) -> None:
    options = {"pattern": "{patient}/{label}/{cell}.png", "group": "cell"}
    for number, path in enumerate(sorted(images.rglob("*.png"))):
        path.rename(path.with_name(f"{number}.png"))
    histokit.ingest(store, "folder", images, name="d", options=options)
    run = train(store, split="holdout")
    assert any("every cell has one sample: folds that keep them together are plain folds" in n for n in run.notes)


def test_an_image_that_cannot_be_read_is_named(ingested: FeatureStore, images: Path) -> None:
    broken = images / "p1" / "dark" / "0.png"
    broken.write_bytes(broken.read_bytes()[:60])
    histokit.ingest(ingested, "folder", images, name="d", options=OPTIONS)
    with pytest.raises(DataError, match=r"1 of 24 images cannot be read: p1/dark/0\.png") as caught:
        train(ingested)
    assert "--allow-missing" in caught.value.next
    (problem,) = ingested.problems("d").to_pylist()
    assert (problem["id"], problem["stage"]) == ("p1/dark/0.png", "images")
    run = train(ingested, allow_missing=True)
    assert "1 of 24 samples is left out: their images cannot be read" in run.notes
    assert len(ingested.predictions(run.id)) == 23
    with pytest.raises(DataError, match="cannot be read"):
        histokit.predict(ingested, run.id, "d")
    predicted = histokit.predict(ingested, run.id, "d", allow_missing=True)
    assert len(ingested.predictions(predicted.id)) == 23
    assert "1 of 24 samples has no prediction: their images cannot be read" in predicted.notes


def test_what_is_known_of_other_images_stays_where_some_are_read(ingested: FeatureStore, images: Path) -> None:
    for name in ("p1/dark/0.png", "p1/bright/0.png"):
        (images / name).write_bytes((images / name).read_bytes()[:60])
    histokit.ingest(ingested, "folder", images, name="d", options=OPTIONS)
    train(ingested, allow_missing=True)
    before = ingested.problems("d").sort_by("id").to_pylist()
    assert [problem["id"] for problem in before] == ["p1/bright/0.png", "p1/dark/0.png"]
    train(ingested, where="patient <> 'p1'")
    assert ingested.problems("d").sort_by("id").to_pylist() == before


def test_an_image_that_changed_since_ingestion_is_named(ingested: FeatureStore, images: Path) -> None:
    Image.new("RGB", (16, 16)).save(images / "p1" / "dark" / "0.png")
    with pytest.raises(DataError, match="changed since the dataset was ingested"):
        train(ingested)


def test_a_file_that_was_unreadable_at_ingestion(store: FeatureStore, images: Path) -> None:
    os.mkfifo(images / "p1" / "dark" / "9.png")
    assert histokit.ingest(store, "folder", images, name="d", options=OPTIONS).problems == 1
    with pytest.raises(StoreError, match="1 of 25 samples"):
        train(store)
    assert len(store.predictions(train(store, allow_missing=True).id)) == 24


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classifier": "svm", "grid": None}, "'images' stands for the pixels"),
        ({"features": "images+tiny/3"}, "not on the vectors of images"),
        ({"features": "tiny/3"}, "trained on images, not on the vectors of tiny/3"),
        ({"rfe": True}, "neither columns nor vectors"),
        ({"aggregate": "patient:mean"}, "neither columns nor vectors"),
        ({"scale": True}, "neither columns nor vectors"),
        ({"grid": GRID | {"min_leaf": 1000}}, "No tree can split"),
    ],
)
def test_what_does_not_go_together_is_refused(ingested: FeatureStore, options: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(UsageError, match=message) as caught:
        train(ingested, **options)
    assert caught.value.next


def test_nothing_else_works_on_the_address_of_images(ingested: FeatureStore) -> None:
    with pytest.raises(UsageError, match="stands for the pixels") as caught:
        ingested.features("d", "images")
    assert "--classifier et-fl" in caught.value.next
    with pytest.raises(UsageError, match="stands for the pixels"):
        histokit.select(ingested, "d", "images")


def test_images_of_other_channels_are_refused(ingested: FeatureStore, images: Path) -> None:
    run = train(ingested, split="holdout")
    record = ingested.dataset("d")
    assert run.features[0]["fingerprint"] == "images:" + ",".join(record.channels)


def test_a_dataset_of_vectors_has_no_images(tmp_path: Path, store: FeatureStore) -> None:
    table = tmp_path / "v.csv"
    table.write_text("id,label,a,b\n" + "".join(f"s{i},{'xy'[i % 2]},{i}.5,-{i}.5\n" for i in range(8)))
    import_features(store, "v", table, name="given", version="1", create=True, label="label")
    with pytest.raises(UsageError, match="made from vectors"):
        histokit.train(store, "v", "images", "et-fl")
