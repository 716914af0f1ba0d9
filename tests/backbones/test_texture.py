"""Hand-crafted features: numbers worked out by hand, and images of every shape."""

import colorsys

import numpy as np
import pytest
import torch

from histokit.backbones.texture_columns import COLUMNS
from histokit.backbones.texture_network import TextureNetwork, binary_patterns, co_occurrences, stain_statistics
from histokit.errors import UsageError
from histokit.plugin.manager import registry
from histokit.plugin.testing import check_backbone


def column(family, vector, name):
    return vector[COLUMNS[family].index(name)]


def flat(colour, height=8, width=8):
    return np.full((height, width, 3), colour, dtype=np.uint8)


def stripes():
    image = np.zeros((6, 6, 3), dtype=np.uint8)
    image[:, ::2] = 255
    return image


def test_names_and_widths():
    assert [len(names) for names in COLUMNS.values()] == [66, 108, 36, 210]
    assert len(set(COLUMNS["joined"])) == 210
    found = registry().backbone("texture")
    network = found.build()
    batch = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for layer in found.layers[:-1]:
        assert network.get_submodule(layer.module)(batch).shape == (2, len(COLUMNS[layer.name]))
        assert network.get_submodule(layer.module).column_names == COLUMNS[layer.name]
    joined = torch.cat([network.stain(batch), network.lbp(batch), network.glcm(batch)], dim=1)
    assert torch.equal(network(batch), joined)


def test_statistics_of_one_colour():
    vector = stain_statistics(flat((255, 0, 51)))
    assert column("stain", vector, "red_mean") == 1
    assert column("stain", vector, "blue_q95") == pytest.approx(0.2)
    assert column("stain", vector, "saturation_median") == 1
    assert column("stain", vector, "red_std") == 0
    assert column("stain", vector, "red_skewness") == 0
    angle = 2 * np.pi * (1 - 0.2 / 6)
    assert column("stain", vector, "hue_cosine") == pytest.approx(np.cos(angle))
    assert column("stain", vector, "hue_sine") == pytest.approx(np.sin(angle))


def test_white_has_no_stain():
    vector = stain_statistics(flat(255))
    assert column("stain", vector, "haematoxylin_mean") == pytest.approx(0, abs=1e-9)


def test_skewness_of_one_bright_pixel_in_four():
    image = flat(0, 2, 2)
    image[0, 0] = 255
    # Values 1, 0, 0, 0: mean 1/4, variance 3/16, third moment 3/32.
    assert column("stain", stain_statistics(image), "red_skewness") == pytest.approx(2 / np.sqrt(3))


def test_statistics_of_an_image_are_those_of_its_pixels():
    image = np.random.default_rng(0).integers(0, 256, (7, 5, 3)).astype(np.uint8)
    vector = stain_statistics(image)
    green = image[..., 1].ravel() / 255
    for name, share in {"q05": 5, "q25": 25, "median": 50, "q75": 75, "q95": 95}.items():
        assert column("stain", vector, f"green_{name}") == pytest.approx(np.percentile(green, share))
    assert column("stain", vector, "green_std") == pytest.approx(green.std())
    # What is grey has no hue: each pixel counts by its saturation.
    hues = [colorsys.rgb_to_hsv(*pixel) for pixel in image.reshape(-1, 3) / 255]
    assert column("stain", vector, "hue_cosine") == pytest.approx(
        np.mean([s * np.cos(2 * np.pi * h) for h, s, _ in hues])
    )
    assert column("stain", vector, "value_mean") == pytest.approx(np.mean([v for *_, v in hues]))


def test_co_occurrences_are_counted_in_both_directions():
    # Greys 0, 8 and 16 are levels 0, 1 and 2. In a row of three, no neighbour lies along other directions.
    vector = co_occurrences(np.repeat(np.array([[[0], [8], [16]]], np.uint8), 3, axis=2))
    # Of the pairs (0, 1), (1, 2) and back each is a quarter: means 1, deviations of -1, 0 and 0, 1.
    assert column("glcm", vector, "grey_ASM_d1") == pytest.approx(4 / 16)
    assert column("glcm", vector, "grey_correlation_d1") == pytest.approx(0)
    assert column("glcm", vector, "grey_contrast_d1") == pytest.approx(1)
    assert column("glcm", vector, "grey_contrast_d2") == pytest.approx(4)
    # A red of 26 is a grey of 0.299 · 26 = 7.8, which is rounded to 8; one of blue is 3.
    colours = np.array([[[0, 0, 0], [26, 0, 0], [0, 0, 26]]], np.uint8)
    assert column("glcm", co_occurrences(colours), "grey_contrast_d1") == pytest.approx(1)
    assert column("glcm", co_occurrences(colours), "grey_contrast_d2") == pytest.approx(0)


def test_patterns_of_a_flat_image_are_all_alike():
    vector = binary_patterns(flat(128, 32, 32))
    # Every neighbour of an inner pixel is as bright as it: the pattern of eight ones.
    assert column("lbp", vector, "grey_lbp_r1_8") == pytest.approx(30 * 30 / 32**2, abs=0.15)
    assert vector.sum() == pytest.approx(6)


def test_co_occurrence_of_stripes():
    vector = co_occurrences(stripes())
    # At distance 1, neighbours differ by 31 levels along 0°, 45° and 135° and not along 90°.
    assert column("glcm", vector, "grey_contrast_d1") == pytest.approx(31**2 * 3 / 4)
    # At distance 2, the neighbours along 45° and 135° are rounded to one row and one column away.
    assert column("glcm", vector, "grey_dissimilarity_d2") == pytest.approx(31 * 2 / 4)
    assert column("glcm", vector, "grey_correlation_d2") == pytest.approx(0)


@pytest.mark.parametrize("shape", [(1, 1), (50, 1), (1, 50), (2, 3), (3, 64), (5, 5)])
@pytest.mark.parametrize("fill", ["black", "white", "noise"])
def test_slivers_give_numbers(shape, fill):
    generator = torch.Generator().manual_seed(0)
    batch = {
        "black": torch.zeros(2, 3, *shape),
        "white": torch.ones(2, 3, *shape),
        "noise": torch.rand(2, 3, *shape, generator=generator),
    }[fill]
    vectors = TextureNetwork()(batch)
    assert vectors.shape == (2, 210)
    assert vectors.dtype == torch.float32
    assert torch.isfinite(vectors).all()


def test_colour_moves_the_stains_and_texture_the_patterns():
    network = TextureNetwork()
    pink = torch.tensor([0.9, 0.6, 0.8]).reshape(1, 3, 1, 1).expand(1, 3, 16, 16)
    violet = torch.tensor([0.5, 0.3, 0.6]).reshape(1, 3, 1, 1).expand(1, 3, 16, 16)
    assert not torch.equal(network.stain(pink), network.stain(violet))
    assert torch.equal(network.lbp(pink)[:, :54], network.lbp(violet)[:, :54])


def test_it_has_no_weights():
    found = registry().backbone("texture")
    assert (found.weights, found.weights_file(), found.licence) == ("none", None, None)
    for weights in ("random", "x.pth"):
        with pytest.raises(UsageError, match="neither weights nor builder options") as refused:
            registry().backbone("texture", weights)
        assert "another network alone are --weights BACKBONE=WEIGHTS" in refused.value.next


def test_it_keeps_the_contract():
    check_backbone(registry().backbone("texture"))
