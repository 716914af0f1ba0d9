"""Grad-CAM of trained networks, against captum and by hand; which images are explained by which network."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam
from PIL import Image
from pyarrow import csv
from torch import nn

import histokit
from histokit.errors import DataError, StoreError, UsageError
from histokit.explain.chosen import ExplainOptions, choose_samples
from histokit.explain.explanation import Explanation
from histokit.explain.layer_maps import MapLayer, area_of, grad_cam, shares
from histokit.explain.pictures import as_picture, pictures_note
from histokit.features import FeatureStore
from histokit.figures.heat_maps import draw_heat_maps, over_image
from histokit.networks.trainable import NetworkDescription
from histokit.networks.trained_backbone import rebuild_stored
from histokit.plugin import Layer, Preprocess
from histokit.plugin.manager import registry
from histokit.store import RunRecord
from histokit.store.networks import entries
from tests.trained_runs import a_network, a_trained_run

pytestmark = pytest.mark.usefixtures("tiny")

PATTERN = {"pattern": "{patient}/{label}/*.png", "group": "patient"}


@pytest.fixture
def data(store: FeatureStore, images: Path) -> FeatureStore:
    histokit.ingest(store, "folder", images, name="d", options=PATTERN)
    return store


@pytest.fixture
def run(data: FeatureStore) -> RunRecord:
    """Tests all images in fold 0 by a network that has seen none of them."""
    network, described = a_network()
    return a_trained_run(data, "d", {"0.0": (network, described, [])})


def rebuilt(store: FeatureStore, run: RunRecord) -> Any:
    stored = store.networks.read(run, entries(run)[0])
    return rebuild_stored(NetworkDescription.from_json(stored.document), stored.tensors, str(store.uri))


def inputs(store: FeatureStore, found: Explanation) -> torch.Tensor:
    """The images as the network takes them: 16 × 16 as they are, mean 0.5 and std 0.25."""
    root = Path(store.dataset("d").root)
    pixels = np.stack([np.asarray(Image.open(root / sample.id)) for sample in found.samples])
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25


@pytest.mark.parametrize("layer", [None, "0", "1", "2"])
def test_maps_are_those_of_captum(run: RunRecord, data: FeatureStore, layer: str | None) -> None:
    found = histokit.explain(data, run.id, per_class=3, layer=layer, target="bright")
    network, batch = rebuilt(data, run), inputs(data, found)
    # Of the last layer the output is meant; captum's own hooks come behind ours that cuts there.
    module = nn.Identity() if layer is None else network.base.get_submodule(layer)
    whole = whole_network(network, module) if layer is None else network
    maps = LayerGradCam(whole, module).attribute(batch, target=1, relu_attributions=True)
    expected = LayerAttribution.interpolate(maps, (16, 16), "bilinear")[:, 0].detach().numpy()
    assert len(found.samples) == 6
    for sample, small, wanted in zip(found.samples, maps[:, 0].detach().numpy(), expected, strict=True):
        np.testing.assert_allclose(sample.map, small, atol=1e-5)
        assert sample.constant == (np.ptp(wanted) == 0)
        np.testing.assert_allclose(sample.heat, (wanted - wanted.min()) / (np.ptp(wanted) or 1), atol=1e-5)
        half = (wanted >= wanted.max() / 2).mean() if np.ptp(wanted) else 0
        assert sample.area == pytest.approx(half, abs=0.02)
    assert not all(sample.constant for sample in found.samples)
    blank = any(sample.constant for sample in found.samples)
    assert any("are the same everywhere, and drawn as 0" in note for note in found.notes) == blank


def whole_network(network: Any, tap: nn.Module) -> nn.Module:
    """The same network without cuts, its last map going through a module that captum can look at."""
    network.uncut()

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base, self.tap, self.head = network.base, tap, network.head

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return self.head(self.tap(self.base(batch)).mean((2, 3)))

    return Whole()


def test_the_formula_by_hand() -> None:
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [0.0, 5.0]]]])
    gradients = torch.tensor([[[[1.0, 3.0], [0.0, 0.0]], [[-2.0, 0.0], [0.0, -2.0]]]])
    # Channels weigh 1 and -1: 1 - 0, 2 - 1, 3 - 0, and 4 - 5 is below 0.
    assert grad_cam(maps, gradients).tolist() == [[[1, 1], [3, 0]]]
    heat, constant = shares(np.array([[1, 1], [3, 0]], np.float32), signed=False)
    assert not constant
    np.testing.assert_allclose(heat, [[1 / 3, 1 / 3], [1, 0]], rtol=1e-6)
    assert shares(np.full((2, 2), 7, np.float32), signed=False)[1]
    # Of what speaks for and against, the largest of either side is 1, and nothing stays nothing.
    assert shares(np.array([[-4, 2], [1, 0]], np.float32), signed=True)[0].tolist() == [[-1, 0.5], [0.25, 0]]
    assert shares(np.array([[-1, 2], [0, 4]], np.float32), signed=True)[0].tolist() == [[-0.25, 0.5], [0, 1]]


@pytest.mark.parametrize(
    ("heat", "area"), [([[2, 2], [3, 3]], 1), ([[1, 0], [2, 0.5]], 0.5), ([[-4, 1], [3, -2]], 0.75), ([[7, 7]], 0)]
)
def test_the_area_is_what_has_half_of_the_largest_value(heat: list[list[float]], area: float) -> None:
    """Of a map that is high everywhere, as it is, and not of its contrast."""
    assert area_of(np.array(heat, np.float32)) == area


def test_tokens_lie_row_by_row_behind_those_without_a_place() -> None:
    layer = MapLayer(Layer("blocks.0", "blocks.0", "cls"), prefix_tokens=1)
    tokens = torch.arange(17.0).reshape(1, 17, 1)
    rows = [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15, 16]]
    assert layer.maps(tokens, 16, 16).tolist() == [[rows]]
    assert layer.maps(tokens, 8, 32).tolist() == [[[rows[0] + rows[1], rows[2] + rows[3]]]]
    for count in (9, 13):
        with pytest.raises(UsageError, match="has no map"):
            layer.maps(tokens[:, :count], 16, 16)


def test_scores_are_those_of_the_softmax_and_images_are_as_they_are(run: RunRecord, data: FeatureStore) -> None:
    found = histokit.explain(data, run.id, samples=["p2/bright/1.png", "p1/dark/0.png"])
    assert [sample.id for sample in found.samples] == ["p2/bright/1.png", "p1/dark/0.png"]
    # The run predicts dark for all, see `a_trained_run`.
    assert [(s.true, s.predicted, s.explained) for s in found.samples] == [("bright", "dark", "dark"), ("dark",) * 3]
    wanted = rebuilt(data, run)(inputs(data, found)).double().softmax(1)[:, 0].tolist()
    assert [sample.score for sample in found.samples] == pytest.approx(wanted, rel=1e-5)
    root = Path(data.dataset("d").root)
    np.testing.assert_array_equal(found.samples[0].image, np.asarray(Image.open(root / "p2/bright/1.png")))


def test_of_folds_the_network_is_asked_that_tested_the_image(data: FeatureStore) -> None:
    first, described = a_network(seed=1)
    second, _ = a_network(seed=2)
    ids = data.samples("d").column("id").to_pylist()
    a_trained_run(
        data, "d", {"0.0": (first, described, []), "0.1": (second, described, []), "final": (first, described, ids)}
    )
    run = data.run("fe0123456789")
    rows = data.predictions(run.id)
    folds = pa.array([place % 2 for place in range(len(rows))], rows.schema.field("fold").type)
    data.save_run(run, rows.set_column(rows.column_names.index("fold"), "fold", folds), None, again=True)
    found = histokit.explain(data, run.id, samples=ids[:2])
    assert [(s.network, s.seen) for s in found.samples] == [(f"run:{run.id}.0", False), (f"run:{run.id}.1", False)]
    assert found.notes == []
    wanted = [
        network(inputs(data, found)).double().softmax(1)[place, 0].item()
        for place, network in enumerate((first.eval(), second.eval()))
    ]
    assert [sample.score for sample in found.samples] == pytest.approx(wanted, rel=1e-5)


def test_images_that_a_network_has_trained_on_are_told(data: FeatureStore) -> None:
    network, described = a_network()
    ids = data.samples("d").column("id").to_pylist()
    run = a_trained_run(data, "d", {"final": (network, described, ids[:4])})
    found = histokit.explain(data, run.id, samples=ids[3:6])
    assert [sample.seen for sample in found.samples] == [True, False, False]
    told = f"run:{run.id} was trained on 1 of the 3 images shown: it knows them"
    assert found.notes == [told]
    folds = [{"repeat": 0, "fold": fold} for fold in (0, 1)]
    data.save_run(replace(run, folds=folds), data.predictions(run.id), None, again=True)
    found = histokit.explain(data, run.id, samples=ids[3:6])
    assert found.notes[0].startswith("the networks of the folds were not kept: that of all training samples is ex")
    assert found.notes[1:] == [told]


def test_which_images_are_drawn(run: RunRecord, data: FeatureStore) -> None:
    def drawn(**how: Any) -> list[str]:
        return [sample.id for sample in histokit.explain(data, run.id, **how).samples]

    # The classes of the run come in their order, dark before bright; the seed decides which images.
    both = drawn(per_class=3)
    assert [("dark" in name, "bright" in name) for name in both] == [(True, False)] * 3 + [(False, True)] * 3
    assert both == drawn(per_class=3) != drawn(per_class=3, seed=1)
    assert len(drawn()) == 4
    assert drawn(limit=3) == drawn()[:3]
    assert all("bright" in name for name in drawn(wrong=True)), "the run predicts dark for all"
    assert {name.split("/")[:2][-1] for name in drawn(where="label = 'bright'", per_class=3)} == {"bright"}
    assert len(drawn(where="label = 'bright'", per_class=3)) == 3


def test_predictions_that_are_not_explained_take_little_room(run: RunRecord, data: FeatureStore) -> None:
    rows = data.predictions(run.id)
    many = pa.concat_tables([rows.slice(0, 1)] * 20_000)
    ids = pa.array([f"{place:05}" for place in range(20_000)])
    data.save_run(run, many.set_column(many.column_names.index("id"), "id", ids), None, again=True)
    choose_samples(data, run, ExplainOptions())
    tracemalloc.start()
    chosen, _ = choose_samples(data, run, ExplainOptions(per_class=1))
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(chosen) == 1
    assert taken < 150 * 20_000, "as rows of Python they take 600 bytes each"


def test_a_folder_of_maps(run: RunRecord, data: FeatureStore, tmp_path: Path) -> None:
    found = histokit.explain(data, run.id, per_class=1, out=tmp_path / "maps")
    table = csv.read_csv(tmp_path / "maps" / "explained.csv").to_pylist()
    assert [row["id"] for row in table] == [sample.id for sample in found.samples]
    for row, sample in zip(table, found.samples, strict=True):
        assert row["arrays"] == sample.id.replace("/", "_").replace(".png", ".npz")
        with np.load(tmp_path / "maps" / row["arrays"]) as arrays:
            for name in ("map", "heat", "image"):
                np.testing.assert_array_equal(arrays[name], getattr(sample, name))
        drawn = np.asarray(Image.open(tmp_path / "maps" / row["picture"]))
        np.testing.assert_array_equal(drawn, over_image(sample.image, sample.heat, False))


def test_images_that_cannot_be_read_are_left_out_and_named(run: RunRecord, data: FeatureStore) -> None:
    root = Path(data.dataset("d").root)
    (root / "p1/dark/0.png").write_bytes(b"no image")
    found = histokit.explain(data, run.id, samples=["p1/dark/0.png", "p1/dark/1.png"])
    assert [sample.id for sample in found.samples] == ["p1/dark/1.png"]
    assert found.notes[-1].startswith("1 of the images cannot be read, and is left out: 'p1/dark/0.png' (")
    with pytest.raises(DataError, match=r"None of the images can be read: .*p1/dark/0\.png"):
        histokit.explain(data, run.id, samples=["p1/dark/0.png"])


MISTAKES = {
    "no such class": ({"target": "brigth"}, UsageError, "no class 'brigth'", "Did you mean 'bright'"),
    "no such layer": (
        {"layer": "l"},
        UsageError,
        "no layer 'l'",
        "Its layers with a map are: 0, 1, 3; or any",
    ),
    "never tested": ({"samples": ["p1/dark/9.png"]}, StoreError, "did not test 'p1/dark/9.png'", "Did you mean"),
    "two choices": ({"samples": ["p1/dark/0.png"], "wrong": True}, UsageError, "--wrong chooses others", "Leave out"),
    "none asked for": ({"limit": 0}, UsageError, "--limit 0 is not a whole number from 1", "Give --limit"),
    "none left": ({"where": "patient = 'p9'"}, DataError, "is left of those", "histokit predictions"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(run: RunRecord, data: FeatureStore, name: str) -> None:
    options, kind, says, advice = MISTAKES[name]
    with pytest.raises(kind) as raised:
        histokit.explain(data, run.id, **options)
    assert says in raised.value.message
    assert advice in raised.value.next


def test_the_run_of_a_prediction_is_explained_by_the_network_that_predicted(
    run: RunRecord, data: FeatureStore, images: Path
) -> None:
    network, described = a_network()
    ids = data.samples("d").column("id").to_pylist()
    trained = a_trained_run(data, "d", {"final": (network, described, ids[:4])}, run_id="ab0123456789")
    histokit.ingest(data, "folder", images, name="new", options={"pattern": "*/*/*.png"})
    predicted = histokit.predict(data, trained.id, "new", device="cpu")
    found = histokit.explain(data, predicted.id, samples=ids[3:5])
    assert [(s.true, s.seen) for s in found.samples] == [(None, True), (None, False)]
    assert {s.network for s in found.samples} == {f"run:{trained.id}"}
    rows = {row["id"]: row for row in data.predictions(predicted.id).to_pylist()}
    assert [s.explained for s in found.samples] == [rows[s.id]["predicted"] for s in found.samples]
    assert [s.score for s in found.samples] == pytest.approx([max(rows[s.id]["scores"]) for s in found.samples])
    with pytest.raises(DataError, match="no true class"):
        histokit.explain(data, predicted.id, target="true")


def test_of_a_transformer_that_reads_its_class_token_what_goes_into_the_last_block(data: FeatureStore) -> None:
    preprocess = Preprocess(size=32, mean=(0.5,) * 3, std=(0.25,) * 3)
    # Of twelve blocks not all are among the layers that are listed.
    name = "timm:test_vit,depth=12,img_size=32"
    assert "blocks.10" not in {layer.name for layer in registry().backbone(name, "random:0").layers}
    network, described = a_network(name, "last:cls", preprocess=preprocess)
    run = a_trained_run(data, "d", {"0.0": (network, described, [])})
    found = histokit.explain(data, run.id, samples=["p1/dark/0.png"])
    assert found.layer == "blocks.10"
    # 32 pixels in patches of 16.
    assert found.samples[0].map.shape == (2, 2)


def test_a_layer_of_one_position_has_no_map(data: FeatureStore) -> None:
    preprocess = Preprocess(size=32, mean=(0.5,) * 3, std=(0.25,) * 3)
    network, described = a_network("timm:test_efficientnet", "last", preprocess=preprocess)
    run = a_trained_run(data, "d", {"0.0": (network, described, [])})
    gate = next(name for name, _ in network.base.named_modules() if name.endswith("conv_reduce"))
    with pytest.raises(UsageError, match="× 1 × 1 numbers: it has no map") as raised:
        histokit.explain(data, run.id, layer=gate)
    assert raised.value.next.startswith("Its layers with a map are: ")
    assert "blocks.0, " in raised.value.next


def test_windows_of_an_image_are_no_map_of_it() -> None:
    layer = MapLayer(Layer("attn", "attn", "avg"), prefix_tokens=0)
    # Of 16 x 16 places, filled up to 21 x 21, a Swin transformer makes nine windows of 7 x 7.
    assert layer.is_spatial(torch.zeros(1, 49, 3), 64, 64)
    assert not layer.is_spatial(torch.zeros(9, 49, 3), 64, 64)


def test_of_numbers_what_raises_the_predicted_one(data: FeatureStore, images: Path) -> None:
    files = sorted(path.relative_to(images).as_posix() for path in images.rglob("*.png"))
    rows = [f"{file},{file[:2]},{number + 0.5}" for number, file in enumerate(files)]
    (images / "t.csv").write_text("\n".join(["image,patient,age", *rows]))
    histokit.ingest(data, "table", images, name="n", options={"table": "t.csv", "group": "patient"})
    histokit.split(data, "n", name="half", test=0.5, seed=1, target="age")
    settings = {"stages.1.epochs": 1, "stages.2.epochs": 1, "batch_size": 5}
    how = {"preset": "head-first", "settings": settings, "weights": "random", "target": "age", "workers": 0}
    (trained,) = histokit.finetune(data, "n", "tiny", split="half", device="cpu", **how)
    found = histokit.explain(data, trained.id, limit=3)
    predicted = {row["id"]: row["predicted_value"] for row in data.predictions(trained.id).to_pylist()}
    assert (found.kind, found.target, len(found.samples)) == ("value", "age", 3)
    assert "age as predicted" in draw_heat_maps(found).texts[0].get_text()
    assert [s.score for s in found.samples] == pytest.approx([predicted[s.id] for s in found.samples], rel=1e-5)
    assert [s.true for s in found.samples] == sorted(s.true for s in found.samples)
    assert all(s.explained is None and s.intercept is None for s in found.samples)


@pytest.mark.parametrize(("channels", "colours"), [(1, [7, 7, 7]), (2, [7, 8, 0]), (3, [7, 8, 9]), (5, [11, 11, 11])])
def test_images_of_any_channels_are_shown_in_colours(channels: int, colours: list[int]) -> None:
    pixels = torch.arange(7.0, 7 + channels).view(channels, 1, 1).expand(channels, 2, 3)
    assert as_picture(pixels).shape == (2, 3, 3)
    assert as_picture(pixels)[1, 2].tolist() == colours
    assert bool(pictures_note(channels)) == (channels == 5)
