"""Images are brought to one side and their centre is cut out, as torchvision does it; training cuts elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from photographs import photographs
from PIL import Image
from torch import nn
from torchvision import transforms

from histokit.networks.transform import Transform
from histokit.plugin import Preprocess

CPU = torch.device("cpu")


def transform(**fields: Any) -> Transform:
    return Transform(Preprocess(**{"size": 28, "interpolation": "bicubic"} | fields), ("R", "G", "B"), CPU)


# Sides whose rest is odd, and those where the longer side is no whole multiple.
@pytest.mark.parametrize("shape", [(40, 90), (91, 40), (33, 47), (300, 200), (32, 32), (28, 30), (20, 55)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_shorter_side_and_the_centre_are_torchvisions(shape: tuple[int, int], interpolation: str) -> None:
    images = photographs(*shape)
    mode = transforms.InterpolationMode(interpolation)
    theirs = transforms.Compose([transforms.Resize(32, interpolation=mode), transforms.CenterCrop(28)])
    expected = np.stack([np.asarray(theirs(Image.fromarray(image)), np.int64) for image in images])
    ours = transform(resize="shortest-crop", resize_size=32, interpolation=interpolation).resize(images, None)
    difference = np.abs(ours.permute(0, 2, 3, 1).numpy().astype(np.int64) - expected)
    assert difference.max() <= 2
    assert difference.mean() < 0.3


@pytest.mark.parametrize("resize", ["squash", "center-square"])
def test_squares_are_cut_down(resize: Any) -> None:
    images = photographs(50, 70)
    pictures = [Image.fromarray(i if resize == "squash" else i[:, 10:60]) for i in images]
    large = [picture.resize((33, 33), Image.Resampling.BICUBIC) for picture in pictures]
    # A rest of five: two before, as half of it is rounded to the even number.
    expected = np.stack([np.asarray(picture.crop((2, 2, 30, 30)), np.int64) for picture in large])
    found = transform(resize=resize, resize_size=33).resize(images, None)
    assert np.abs(found.permute(0, 2, 3, 1).numpy().astype(np.int64) - expected).max() <= 2


@pytest.mark.parametrize(
    ("fields", "sides"),
    [
        ({"resize": "squash"}, (28, 28)),
        ({"resize": "squash", "resize_size": 40}, (40, 40)),
        ({"resize": "center-square", "resize_size": 40}, (40, 40)),
        ({"resize": "shortest-crop"}, (28, 41)),
        ({"resize": "shortest-crop", "resize_size": 40}, (40, 58)),
        ({"resize": "none"}, (50, 73)),
        ({"resize": "none", "target_mpp": 1.0}, (25, 36)),
    ],
)
@pytest.mark.parametrize("deep", [False, True])
def test_what_is_loaded_for_training_is_cut_in_extraction(
    fields: dict[str, Any], sides: tuple[int, int], deep: bool
) -> None:
    images = [image.astype(np.uint16) * 257 if deep else image for image in photographs(50, 73)]
    known = transform(**fields)
    loaded = known.load(images, 0.5)
    assert loaded.shape == (3, 3, *sides)
    assert loaded.dtype == (torch.float32 if deep else torch.uint8)
    assert torch.equal(known.centre(loaded), known.resize(images, 0.5))
    assert torch.equal(known.centre(loaded[1]), known.resize(images, 0.5)[1])
    if fields["resize"] != "none":
        assert known.centre(loaded).shape == (3, 3, 28, 28)


def test_without_it_the_rest_is_cut_as_ever() -> None:
    # 28 × 41: a rest of 13, six of it before; torchvision too; 28 × 43: seven before, of which torchvision has eight.
    for wide, left in ((41, 6), (43, 7)):
        images = photographs(28, wide)
        found = transform(resize="shortest-crop").resize(images, None)
        assert np.array_equal(found.permute(0, 2, 3, 1), np.stack(images)[:, :, left : left + 28])
    found = transform(resize="shortest-crop", resize_size=28).resize(images, None)
    assert np.array_equal(found.permute(0, 2, 3, 1), np.stack(images)[:, :, 8:36])


def test_images_are_loaded_in_pieces_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    images = photographs(40, 30, count=5)
    known = transform(resize="shortest-crop", resize_size=35)
    expected, interpolate = known.load(images, None), nn.functional.interpolate

    def short(batch: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        if len(batch) > 2:
            raise RuntimeError("can't allocate memory: you tried to allocate 1505280000000 bytes")
        return interpolate(batch, *arguments, **options)

    monkeypatch.setattr(nn.functional, "interpolate", short)
    assert torch.equal(known.load(images, None), expected)
