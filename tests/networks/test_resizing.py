"""What is resized in floating point, as on GPUs, has the grey levels of the processor's bytes, and those of PIL."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from photographs import photographs
from PIL import Image
from torch import Tensor

from histokit.networks.resizing import resized, resized_in_floats
from histokit.networks.transform import Transform
from histokit.plugin import Preprocess

#: Of what PIL gives, whose weights have more digits: the share of bytes that may differ, and by how many grey levels.
SHARE, LEVELS = 0.03, 2

SHAPES = [
    ((50, 50), (224, 224)),
    ((1000, 1000), (224, 224)),
    ((97, 333), (111, 111)),
    ((17, 60), (32, 45)),
    ((301, 201), (223, 225)),
    # Half of all bytes lie in the middle of two levels.
    ((112, 112), (224, 224)),
    ((256, 256), (224, 224)),
    ((224, 50), (224, 224)),
    ((50, 224), (224, 224)),
]


def batch_of(height: int, width: int) -> Tensor:
    return torch.from_numpy(np.stack(photographs(height, width))).permute(0, 3, 1, 2)


def transform(resize: Any, device: torch.device) -> Transform:
    return Transform(Preprocess(size=64, resize=resize, interpolation="bicubic"), ("R", "G", "B"), device)


def assert_alike(found: Tensor, expected: Tensor, share: float = 0.001, levels: int = 1) -> None:
    difference = (found.int() - expected.int()).abs()
    assert difference.max() <= levels
    assert (difference > 0).double().mean() < share


@pytest.mark.parametrize(("before", "after"), SHAPES)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_floats_are_rounded_as_bytes_are(before: tuple[int, int], after: tuple[int, int], interpolation: str) -> None:
    batch = batch_of(*before)
    found = resized_in_floats(batch, after, interpolation)
    assert (found.shape, found.dtype) == ((3, 3, *after), torch.uint8)
    assert_alike(found, resized(batch, after, interpolation))


# Where one side grows and the other shrinks, PIL begins with the rows.
@pytest.mark.parametrize(("before", "after"), [pair for pair in SHAPES if pair[0] != (301, 201)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_floats_are_rounded_as_pil_does(before: tuple[int, int], after: tuple[int, int], interpolation: str) -> None:
    size, way = after[::-1], Image.Resampling[interpolation.upper()]
    pils = [np.asarray(Image.fromarray(image).resize(size, way)) for image in photographs(*before)]
    found = resized_in_floats(batch_of(*before), after, interpolation)
    assert_alike(found, torch.from_numpy(np.stack(pils)).permute(0, 3, 1, 2), SHARE, LEVELS)


def test_overshooting_columns_are_cut_to_bytes_before_the_rows_follow() -> None:
    """A white column between black ones: bicubic interpolation goes below 0 and above 255 along both directions."""
    batch = torch.zeros(1, 1, 9, 9, dtype=torch.uint8)
    batch[..., 4] = batch[..., 4, :] = 255
    found = resized_in_floats(batch, (40, 40), "bicubic")
    assert_alike(found, resized(batch, (40, 40), "bicubic"))
    assert (found.min(), found.max()) == (0, 255)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_any_number_of_channels_is_resized_alike(channels: int) -> None:
    batch = batch_of(90, 70).repeat(1, 2, 1, 1)[:, :channels]
    assert_alike(resized_in_floats(batch, (33, 128), "bicubic"), resized(batch, (33, 128), "bicubic"))


def test_long_sums_stay_whole_numbers() -> None:
    """A bright tile of 5,000 pixels is brought to 10: the sums of 1,000 columns go far beyond what float32 counts."""
    generator = np.random.default_rng(0)
    batch = torch.from_numpy(generator.integers(200, 256, (1, 1, 5_000, 60), dtype=np.uint8))
    assert_alike(resized_in_floats(batch, (10, 60), "bilinear"), resized(batch, (10, 60), "bilinear"))
    across = batch.mT
    assert_alike(resized_in_floats(across, (60, 10), "bicubic"), resized(across, (60, 10), "bicubic"), levels=1)


def test_the_nearest_pixel_and_an_equal_size_change_nothing() -> None:
    batch = batch_of(20, 30)
    assert torch.equal(resized_in_floats(batch, (20, 30), "bicubic"), batch)
    assert torch.equal(resized(batch, (10, 15), "nearest"), batch[..., 1::2, 1::2])


@pytest.mark.parametrize("resize", ["squash", "center-square", "shortest-crop", "none"])
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_cuda_gives_the_grey_levels_of_the_processor(resize: str) -> None:
    images = photographs(123, 77)
    on_gpu = transform(resize, torch.device("cuda"))
    expected = transform(resize, torch.device("cpu")).resize(images, None)
    assert_alike(on_gpu.resize(images, None).cpu(), expected)


@pytest.mark.parametrize("resize", ["squash", "center-square", "shortest-crop", "none"])
def test_all_ways_to_fit_go_through_it(resize: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images, known = photographs(123, 77), transform(resize, torch.device("cpu"))
    expected = known.resize(images, None)
    monkeypatch.setattr("histokit.networks.transform.resized", resized_in_floats)
    assert_alike(known.resize(images, None), expected)
