"""Maps of linear classifiers add up to their decision values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tiny_plugin import TinyBackbone

import histokit
from histokit.classifiers.estimators import load
from histokit.errors import PluginError, StoreError, UsageError
from histokit.explain.explanation import Explanation
from histokit.features import FeatureStore
from histokit.figures.heat_maps import over_image
from histokit.store import RunRecord

pytestmark = pytest.mark.usefixtures("tiny")

PATTERN = {"pattern": "{patient}/{label}/*.png", "group": "patient"}
GRIDS: dict[str, dict[str, Any]] = {
    "svm": {"C": 0.01},
    "logreg": {"C": 0.1},
    "ridge": {"alpha": 1},
    "fc": {"iterations": 50, "lr": 0.01},
}


@pytest.fixture
def data(store: FeatureStore, images: Path) -> FeatureStore:
    histokit.ingest(store, "folder", images, name="d", options=PATTERN)
    histokit.split(store, "d", name="half", test=0.5, seed=1)
    return store


def a_run(store: FeatureStore, features: str = "tiny/3", name: str = "svm", **how: Any) -> RunRecord:
    histokit.extract(store, "d", "tiny", **how.pop("extraction", {}))
    how = {"split": "half", "grid": GRIDS.get(name), **how}
    (run,) = histokit.train(store, "d", features, name, **how)
    return run


def expected(store: FeatureStore, run: RunRecord, found: Explanation) -> NDArray[np.float64]:
    """The decision values of the second class, by the stored features and scikit-learn."""
    model = load(store.model(run.id))
    features = store.features("d", run.address)
    rows = [features.sample_ids.index(sample.id) for sample in found.samples]
    X = features.X[rows] if model["columns"] is None else features.X[np.ix_(rows, model["columns"])]
    estimator = model["estimator"]
    if hasattr(estimator, "decision_function"):
        values: NDArray[np.float64] = estimator.decision_function(X)
        return values
    if run.numbers:
        return np.asarray(estimator.predict(X))
    second = estimator.predict_proba(X)[:, 1]
    return np.log(second / (1 - second))


@pytest.mark.parametrize(
    ("forward", "said"),
    [
        (lambda batch: batch.numpy(), "failed in forward(): "),
        (lambda batch: {}["map"], "failed in forward(): KeyError: 'map'"),
        (lambda batch: batch.repeat(1, 2, 1, 1)[:1], "gave 1 vectors for "),
        (lambda batch: batch[:, :1], "gave vectors of 1 features in the layer '3', after 6"),
    ],
)
def test_what_a_network_gives_wrongly_by_now_is_the_plugins(
    data: FeatureStore, monkeypatch: pytest.MonkeyPatch, forward: Callable[[Any], Any], said: str
) -> None:
    """Of one channel or one image, the same would be added to all."""
    run = a_run(data)
    build = TinyBackbone.build

    def wrong(self: TinyBackbone) -> Any:
        network = build(self)
        network[3].forward = forward
        return network

    monkeypatch.setattr(TinyBackbone, "build", wrong)
    with pytest.raises(PluginError) as raised:
        histokit.explain(data, run.id, per_class=3)
    assert "The backbone 'tiny' of tinyplugin 0" in raised.value.message
    assert said in raised.value.message


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize(("layer", "scale"), [("tiny/3", False), ("tiny/0", True)])
def test_the_mean_of_a_map_and_the_intercept_are_the_decision_value(
    data: FeatureStore, name: str, layer: str, scale: bool
) -> None:
    run = a_run(data, layer, name, scale=scale)
    found = histokit.explain(data, run.id, per_class=3, target="dark")
    assert (found.method, found.signed, found.kind) == ("class-activation map", True, "decision")
    assert len(found.samples) == 6
    np.testing.assert_allclose([s.score for s in found.samples], expected(data, run, found), rtol=1e-3, atol=1e-4)
    for sample in found.samples:
        assert sample.intercept is not None
        assert sample.map.mean() + sample.intercept == pytest.approx(sample.score, rel=1e-4, abs=1e-5)
        assert np.abs(sample.heat).max() == 1
        assert np.sign(sample.heat[0, 0]) == np.sign(sample.map[0, 0])
    other = histokit.explain(data, run.id, per_class=3, target="bright")
    np.testing.assert_allclose(other.samples[0].map, -found.samples[0].map, rtol=1e-6)
    assert found.notes == []


@pytest.mark.parametrize(
    "how", [{"precision": "bfloat16"}, {"store_dtype": "float16"}, {"precision": "bfloat16", "store_dtype": "float16"}]
)
def test_features_of_less_precision_are_told(data: FeatureStore, how: dict[str, str]) -> None:
    """Their decision values are not exactly what maps add up to."""
    run = a_run(data, extraction=how)
    found = histokit.explain(data, run.id, per_class=2, target="dark")
    kind = next(iter(how.values()))
    assert found.notes == [
        f"the features are of {kind}, maps are of float32: scores differ from decision values by rounding"
    ]
    np.testing.assert_allclose([s.score for s in found.samples], expected(data, run, found), atol=0.1)


def test_selected_columns(data: FeatureStore) -> None:
    histokit.extract(data, "d", "tiny")
    selection = histokit.select(data, "d", "tiny/3", split="half", step=0.5, tolerance=0.3)
    run = a_run(data, selection=selection.id)
    assert len(load(data.model(run.id))["columns"]) < 6
    found = histokit.explain(data, run.id, target="dark")
    np.testing.assert_allclose([s.score for s in found.samples], expected(data, run, found), rtol=1e-4, atol=1e-5)


def test_channels_that_go_in_on_their_own(data: FeatureStore) -> None:
    run = a_run(data, extraction={"channels": "each"})
    assert run.features[0]["columns"] == 18
    found = histokit.explain(data, run.id, target="dark")
    np.testing.assert_allclose([s.score for s in found.samples], expected(data, run, found), rtol=1e-4, atol=1e-5)


def test_numbers(data: FeatureStore, images: Path, tmp_path: Path) -> None:
    files = sorted(path.relative_to(images).as_posix() for path in images.rglob("*.png"))
    rows = [f"{file},{file[:2]},{number + 0.5}" for number, file in enumerate(files)]
    (images / "t.csv").write_text("\n".join(["image,patient,age", *rows]))
    histokit.ingest(data, "table", images, name="n", options={"table": "t.csv", "group": "patient"})
    histokit.extract(data, "n", "tiny")
    (run,) = histokit.train(data, "n", "tiny/3", "ridge", split="cv", target="age", grid={"alpha": 1})
    found = histokit.explain(data, run.id, limit=5)
    model, features = load(data.model(run.id)), data.features("n", run.address)
    wanted = model["estimator"].predict(features.X[[features.sample_ids.index(s.id) for s in found.samples]])
    np.testing.assert_allclose([sample.score for sample in found.samples], wanted, rtol=1e-4)
    assert [sample.true for sample in found.samples] == sorted(sample.true for sample in found.samples)
    assert (found.samples[0].true, found.samples[-1].true, found.kind) == (0.5, 23.5, "value")
    assert "the model of all training samples is kept" in found.notes[0]
    assert found.notes[1] == "ridge on tiny/3 was trained on 5 of the 5 images shown: it knows them"
    worst = histokit.explain(data, run.id, wrong=True, limit=2)
    errors = np.abs(
        np.subtract(*(data.predictions(run.id).column(name).to_numpy() for name in ("true_value", "predicted_value")))
    )
    assert abs(worst.samples[0].true - worst.samples[0].predicted) == pytest.approx(errors.max())
    for options in ({"per_class": 1}, {"target": "true"}):
        with pytest.raises(UsageError, match="predicts numbers"):
            histokit.explain(data, run.id, **options)


@pytest.mark.parametrize(
    "how",
    [
        {"normalise": "standardise", "per": "patient"},
        # Neither is trained on what has no label, nor on what a filter leaves out.
        {"normalise": "sphering:0.1", "where": "id <> 'p1/dark/2.png'"},
    ],
)
def test_features_normalised_by_controls(data: FeatureStore, images: Path, how: dict[str, str]) -> None:
    files = sorted(path.relative_to(images).as_posix() for path in images.rglob("*.png"))
    labels = ["" if file == "p1/dark/1.png" and "where" in how else file.split("/")[1] for file in files]
    roles = ["control" if "0." in file else "other" for file in files]
    rows = [f"{file},{label},{file[:2]},{role}" for file, label, role in zip(files, labels, roles, strict=True)]
    (images / "c.csv").write_text("\n".join(["image,label,patient,role", *rows]))
    histokit.ingest(data, "table", images, name="c", options={"table": "c.csv", "group": "patient"})
    histokit.extract(data, "c", "tiny")
    asked = {**how, "controls": "role = 'control'"}
    (run,) = histokit.train(data, "c", "tiny/3", "svm", split="cv", grid={"C": 0.1}, scale=True, **asked)
    found = histokit.explain(data, run.id, target=run.classes[1])
    normalised = data.features("c", "tiny/3").normalise(how["normalise"], asked["controls"], how.get("per"))
    chosen = [normalised.sample_ids.index(sample.id) for sample in found.samples]
    expected = load(data.model(run.id))["estimator"].decision_function(normalised.X[chosen])
    np.testing.assert_allclose([sample.score for sample in found.samples], expected, rtol=1e-3, atol=1e-4)
    assert found.samples[0].intercept is not None
    assert found.samples[0].map.mean() + found.samples[0].intercept == pytest.approx(found.samples[0].score, abs=1e-3)
    predicted = histokit.predict(data, run.id, "c", device="cpu")
    again = histokit.explain(data, predicted.id, samples=[sample.id for sample in found.samples], target=run.classes[1])
    np.testing.assert_allclose([s.score for s in again.samples], [s.score for s in found.samples], rtol=1e-6)
    assert not any("over folds" in note for note in again.notes), "it is this model that predicted"
    (images / "c.csv").write_text("\n".join(["image,label,patient,role", *rows[:-1]]))
    histokit.ingest(data, "table", images, name="c", options={"table": "c.csv", "group": "patient"})
    with pytest.raises(StoreError, match="or their controls, are not those"):
        histokit.explain(data, run.id)


def test_a_chosen_layer_that_was_normalised_is_explained_as_the_run_that_it_was_chosen_from(
    data: FeatureStore, images: Path
) -> None:
    histokit.extract(data, "d", "tiny", layers="all")
    asked = {"normalise": "standardise", "controls": "id LIKE '%0.png'", "split": "half", "grid": {"C": 0.1}}
    *runs, chosen = histokit.train(data, "d", ["tiny/1", "tiny/3"], "svm", choose="inner", **asked)
    (same,) = (run for run in runs if run.address == chosen.found["final"]["address"])
    found, expected = (histokit.explain(data, run.id) for run in (chosen, same))
    assert [sample.score for sample in found.samples] == [sample.score for sample in expected.samples]
    assert found.backbone == "tiny"


REFUSED = {
    "neighbours": ({"name": "knn"}, "knn is not linear"),
    "layers": ({"features": "tiny/0+tiny/3"}, "of 2 layers"),
    "maximum": ({"features": "tiny/3:max", "extraction": {"layers": "3:max"}}, "pooled by 'max'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_such_map_is_refused(data: FeatureStore, name: str) -> None:
    options, says = REFUSED[name]
    with pytest.raises(UsageError) as raised:
        histokit.explain(data, a_run(data, **options).id)
    assert says in raised.value.message
    assert "What can be are linear classifiers (svm, logreg, fc, ridge; svr) on one layer" in raised.value.message


def test_maps_with_signs_are_drawn_so_and_other_images_under_the_same_ids_are_told(
    data: FeatureStore, images: Path, tmp_path: Path
) -> None:
    run = a_run(data)
    found = histokit.explain(data, run.id, per_class=1, out=tmp_path / "maps")
    for sample in found.samples:
        drawn = Image.open(tmp_path / "maps" / sample.id.replace("/", "_"))
        np.testing.assert_array_equal(np.asarray(drawn), over_image(sample.image, sample.heat, True))
    assert not any("ingested again" in note for note in found.notes)
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(images / found.samples[0].id)
    histokit.ingest(data, "folder", images, name="d", options=PATTERN)
    notes = histokit.explain(data, run.id, per_class=1).notes
    assert any("other images stand under the same ids" in note for note in notes)


def test_another_layer_than_that_of_the_features(data: FeatureStore) -> None:
    run = a_run(data)
    with pytest.raises(UsageError, match="sees the layer '3' only"):
        histokit.explain(data, run.id, layer="0")
    assert len(histokit.explain(data, run.id, layer="3").samples) == 4


def test_a_layer_of_one_position_has_no_map_and_no_other_layer_is_advised(data: FeatureStore) -> None:
    name = "timm:test_efficientnet"
    histokit.extract(data, "d", name, weights="random:0", layers="last", preprocess={"size": 16})
    (run,) = histokit.train(data, "d", f"{name}/last", "svm", split="half", grid=GRIDS["svm"])
    with pytest.raises(UsageError, match="it has no map") as raised:
        histokit.explain(data, run.id)
    assert "The classifier sees this layer only" in raised.value.next


def test_vectors_that_were_computed_elsewhere_have_no_map(data: FeatureStore, tmp_path: Path) -> None:
    ids = data.samples("d", ["id"]).column("id").to_pylist()
    (tmp_path / "v.csv").write_text("\n".join(["id,0,1", *(f"{name},{n % 5},{n % 3}" for n, name in enumerate(ids))]))
    histokit.import_features(data, "d", tmp_path / "v.csv", name="mine", version="1")
    (run,) = histokit.train(data, "d", "mine/imported", "svm", split="half", grid=GRIDS["svm"])
    with pytest.raises(UsageError, match="its features were computed elsewhere"):
        histokit.explain(data, run.id)


def test_texture_has_no_map(data: FeatureStore) -> None:
    histokit.extract(data, "d", "texture", layers="stain")
    (run,) = histokit.train(data, "d", "texture/stain", "svm", split="half", grid=GRIDS["svm"])
    with pytest.raises(UsageError, match="pooled by 'none'"):
        histokit.explain(data, run.id)
