"""What excites filters: one step by hand, the objective, and networks before and after a training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_plugin import TinyPlugin

import histokit
from histokit.errors import StoreError, UsageError
from histokit.explain import filters
from histokit.explain.activation_maximisation import FilterRecipe, contrasted, maximise, penalties, rmsprop_step
from histokit.explain.filters import filter_images, network_before
from histokit.explain.layer_maps import MapLayer
from histokit.features import FeatureStore
from histokit.figures.filters import draw_filters
from histokit.networks.trainable import NetworkDescription
from histokit.plugin.manager import registry
from histokit.store import RunRecord
from tests.trained_runs import a_network, a_trained_run

SHORT = {"iterations": 3, "jitter": 0.2}
#: What the network has trained on.
SEEN = ("p1/dark/0.png", "p1/dark/1.png", "p2/dark/0.png")


def test_the_published_values_are_the_default() -> None:
    recipe = FilterRecipe()
    assert (recipe.activation, recipe.norm, recipe.power, recipe.variation, recipe.beta) == (2, 6, 6, 1, 2)
    assert (recipe.iterations, recipe.decay, recipe.jitter, recipe.mean, recipe.std) == (200, 0.95, 0.05, 127.5, 12.75)


def test_penalties_by_hand() -> None:
    image = torch.tensor([[[[1.0, 2.0], [3.0, 5.0]]]])
    # The sixth root of 1 + 64 + 729 + 15625, and (2 - 1)² + (3 - 1)² at the one place that has both neighbours; each
    # by the four numbers of the image.
    expected = (6 * (1 + 64 + 729 + 15625) ** (1 / 6) + 5) / 4
    assert penalties(image, FilterRecipe()).item() == pytest.approx(expected, rel=1e-6)


def test_a_step_by_hand() -> None:
    """Of an image of 1 × 2 pixels whose filter is 3 x₁ + 4 x₂, without penalties: the gradient is (-6, -8)."""
    recipe = FilterRecipe(norm=0, variation=0, iterations=1, jitter=0, mean=100, std=10)
    weights = torch.tensor([3.0, 4.0]).view(1, 1, 1, 2)
    found = maximise(lambda images: (images * weights).sum((1, 2, 3)), [7], (1, 1, 2), recipe)
    # Noise of two numbers has its mean at 100 and both 10 away from it.
    first = np.array([110.0, 90.0]) if np.random.default_rng([0, 7]).random((1, 1, 2))[0, 0].argmax() == 0 else None
    first = np.array([90.0, 110.0]) if first is None else first
    # By its length the gradient is (-0.6, -0.8); its squares are kept to 5 %.
    unit = np.array([0.6, 0.8])
    expected = first + unit / np.sqrt(0.05 * unit**2 + 1e-7)
    np.testing.assert_allclose(found.images.flatten().numpy(), expected, rtol=1e-5)
    # The objective chose it before its step; what is told beside the image is of the image.
    assert found.objectives[0] == pytest.approx(-2 * (first @ [3, 4]), rel=1e-5)
    assert found.activations[0] == pytest.approx(expected @ [3, 4], rel=1e-5)


def test_steps_keep_the_squares_of_earlier_gradients() -> None:
    step, cache = rmsprop_step(torch.tensor([[[[3.0, 4.0]]]]), torch.tensor([[[[0.2, 0.0]]]]), 0.5)
    np.testing.assert_allclose(cache.flatten(), [0.1 + 0.5 * 0.36, 0.5 * 0.64], rtol=1e-6)
    np.testing.assert_allclose(step.flatten(), [-0.6 / 0.28**0.5, -0.8 / 0.32**0.5], rtol=1e-5)


def test_contrast() -> None:
    # Mean 2, deviation 1: a tenth of white above and below grey.
    assert contrasted(torch.tensor([[[[1.0, 3.0]]]])).flatten().tolist() == pytest.approx([102, 153], rel=1e-5)
    assert contrasted(torch.tensor([[[[1000.0] + [0.0] * 99]]]))[0, 0, 0, 0] == 255, "what is too bright is white"


def test_what_comes_of_a_filter_does_not_depend_on_others() -> None:
    weights = torch.arange(24.0).view(2, 3, 4) - 10

    def activations(images: torch.Tensor) -> torch.Tensor:
        return (images * weights).mean((1, 2, 3))

    recipe = FilterRecipe.of(SHORT)
    alone = maximise(activations, [5], (2, 3, 4), recipe, seed=3)
    both = maximise(activations, [2, 5], (2, 3, 4), recipe, seed=3)
    np.testing.assert_allclose(alone.images[0], both.images[1], rtol=1e-6)
    assert not np.allclose(both.images[0], both.images[1])
    assert not np.allclose(alone.images, maximise(activations, [5], (2, 3, 4), recipe, seed=4).images)


@pytest.fixture
def data(store: FeatureStore, images: Path, tiny: TinyPlugin) -> FeatureStore:
    pattern = {"pattern": "{patient}/{label}/*.png", "group": "patient"}
    histokit.ingest(store, "folder", images, name="d", options=pattern)
    return store


@pytest.fixture
def run(data: FeatureStore) -> RunRecord:
    network, described = a_network()
    run = a_trained_run(data, "d", {"final": (network, described, SEEN)})
    began = {"network": {"weights": "random:0"}, "weights": "random"}
    return data.save_run(replace(run, parameters=began), data.predictions(run.id), None, again=True)


def test_the_network_before_is_that_which_the_training_began_with(run: RunRecord, data: FeatureStore) -> None:
    described = NetworkDescription.from_json(data.networks.read(run, run.found["networks"][0]).document)
    network, notes = network_before(data, run, described)
    began = registry().backbone("tiny", "random:0").build().state_dict()
    assert notes == []
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, began[name])
    other = replace(run, parameters={"network": {"weights": "0" * 32}, "weights": "random:1"})
    with pytest.raises(StoreError, match="not those that the run"):
        network_before(data, other, described)


def test_images_of_filters_before_and_after(run: RunRecord, data: FeatureStore, tmp_path: Path) -> None:
    how: dict[str, Any] = {"filters": 3, "settings": SHORT, "layers": ["0", "3"]}
    found = filter_images(data, run.id, out=tmp_path / "out", **how)
    assert [image.layer for image in found.images] == ["0"] * 6 + ["3"] * 6
    assert [image.when for image in found.images] == ["before", "after"] * 6
    numbers = [image.filter for image in found.images if image.layer == "3"]
    assert numbers == sorted(numbers)
    # Of six channels.
    assert numbers[::2] == sorted(np.random.default_rng(0).permutation(6)[:3])
    (one, _) = filter_images(data, run.id, filters=1, settings={"iterations": 1}, layers=["3"], seed=5).images
    assert one.filter == np.random.default_rng(5).permutation(6)[0]
    assert all(image.image.shape == (16, 16, 3) for image in found.images)
    again = filter_images(data, run.id, **how)
    for one, two in zip(found.images, again.images, strict=True):
        np.testing.assert_array_equal(one.image, two.image)
    assert (tmp_path / "out" / f"3_{numbers[0]}_after.png").is_file()
    assert len((tmp_path / "out" / "filters.csv").read_text().splitlines()) == 13
    sheet = draw_filters(found)
    said = [text.get_text() for text in sheet.texts]
    assert "What excites filters of tiny" in said[0]
    assert "split cv · 3 images of 2 groups" in said[0].replace("\n", " ")
    assert "layer 0" in said
    first, second = found.images[:2]
    assert f"{first.filter}: {first.activation:.3g} → {second.activation:.3g}" in said
    assert len(sheet.axes) == 12


@pytest.mark.usefixtures("tiny")
def test_images_go_in_as_those_that_were_trained_on() -> None:
    network, described = a_network()
    images = 255 * torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = network.base.get_submodule("0")((images / 255 - 0.5) / 0.25)
    found = filters._maps(network, MapLayer(registry().backbone("tiny").layer("0"), 0), described, images)
    torch.testing.assert_close(found, expected)


def test_more_steps_excite_more(run: RunRecord, data: FeatureStore) -> None:
    few, many = (
        filter_images(data, run.id, filters=4, settings={"iterations": n, "jitter": 0}).images for n in ("1", "30")
    )
    assert all(b.objective <= a.objective for a, b in zip(few, many, strict=True))
    assert any(b.activation > a.activation for a, b in zip(few, many, strict=True))


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"layers": ["9"]}, "no layer '9'"),
        ({"settings": {"steps": "3"}}, "no option 'steps'"),
        ({"settings": {"decay": "1"}}, "decay=1.0 is not a number from 0 to"),
        ({"filters": 0}, "--filters 0 is not"),
    ],
)
def test_mistakes(run: RunRecord, data: FeatureStore, how: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        filter_images(data, run.id, **how)
