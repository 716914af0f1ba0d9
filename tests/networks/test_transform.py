"""Preprocessing gives what PIL and numpy give, image by image, in a fraction of the time."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from photographs import photographs
from PIL import Image, ImageOps

from histokit.errors import UsageError
from histokit.networks.transform import Transform
from histokit.plugin import Preprocess

RGB = ("R", "G", "B")
CPU = torch.device("cpu")


def transform(given: tuple[str, ...] = RGB, **fields: Any) -> Transform:
    return Transform(Preprocess(**{"size": 32, "mean": (0.5,) * 3, "std": (0.5,) * 3} | fields), given, CPU)


def rows(batch: torch.Tensor) -> npt.NDArray[np.int64]:
    """Return an (n, C, H, W) tensor as an (n, H, W, C) array."""
    return batch.permute(0, 2, 3, 1).numpy().astype(np.int64)


@pytest.mark.parametrize("shape", [(50, 50), (17, 60), (32, 32), (300, 200)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_squashing_is_that_of_pil(shape: tuple[int, int], interpolation: str) -> None:
    images = photographs(*shape)
    resample = Image.Resampling[interpolation.upper()]
    expected = [np.asarray(Image.fromarray(image).resize((32, 32), resample), np.int64) for image in images]
    difference = np.abs(rows(transform(interpolation=interpolation).resize(images, None)) - expected)
    assert difference.max() <= 2
    assert difference.mean() < 0.02


@pytest.mark.parametrize("shape", [(40, 90), (90, 40), (20, 24)])
def test_the_other_ways_to_fit(shape: tuple[int, int]) -> None:
    images = photographs(*shape)
    side = min(shape)
    top, left = (shape[0] - side) // 2, (shape[1] - side) // 2
    squares = [Image.fromarray(image[top : top + side, left : left + side]) for image in images]
    expected = [np.asarray(square.resize((32, 32), Image.Resampling.BICUBIC), np.int64) for square in squares]
    found = rows(transform(interpolation="bicubic", resize="center-square").resize(images, None))
    assert np.abs(found - expected).max() <= 2
    wide, high = (max(32, round(length * 32 / side)) for length in (shape[1], shape[0]))
    box = ((wide - 32) // 2, (high - 32) // 2, (wide - 32) // 2 + 32, (high - 32) // 2 + 32)
    whole = [Image.fromarray(image).resize((wide, high), Image.Resampling.BICUBIC).crop(box) for image in images]
    found = rows(transform(interpolation="bicubic", resize="shortest-crop").resize(images, None))
    assert np.abs(found - [np.asarray(image, np.int64) for image in whole]).max() <= 2
    untouched = rows(transform(resize="none").resize(images, None))
    assert np.array_equal(untouched, images)


def test_pixels_are_brought_to_a_size_in_micrometres() -> None:
    images = photographs(40, 60)
    found = transform(resize="none", target_mpp=0.5).resize(images, 0.25)
    assert found.shape == (3, 3, 20, 30)
    # 40 · 0.24 / 0.5 = 19.2, and 60 times as much 28.8.
    assert transform(resize="none", target_mpp=0.5).resize(images, 0.24).shape == (3, 3, 19, 29)
    assert transform(target_mpp=0.5).resize(images, 0.25).shape == (3, 3, 32, 32)
    with pytest.raises(UsageError, match="no micrometres per pixel"):
        transform(target_mpp=0.5).resize(images, None)
    with pytest.raises(UsageError, match="resizing would make an image"):
        transform(target_mpp=1e-9).resize(images, 1e300)


def test_the_scales_at_which_images_went_in_are_told() -> None:
    def told(*sizes: tuple[int, int], mpp: float = 0.5, **fields: Any) -> list[str]:
        known = transform(target_mpp=0.5, **{"size": 16} | fields)
        for size in sizes:
            known.resize(photographs(*size), mpp)
        return known.notes

    assert told((16, 16)) == []
    # Each side has its own scale where images are squashed, and each size that came.
    (note,) = told((32, 64))
    assert note.startswith("images went in at 1 to 2 µm per pixel, not at target_mpp=0.5: squash brings them to 16")
    (note,) = told((8, 8), (16, 16), (32, 64), (16, 16))
    assert note.startswith("images went in at 0.25 to 2 µm per pixel, ")
    (note,) = told((16, 16), (32, 32))
    assert note.startswith("images went in at 0.5 to 1 µm per pixel, ")
    (note,) = told((32, 64), resize="center-square")
    assert note.startswith("images went in at 1 µm per pixel, ")
    (note,) = told((32, 64), resize="shortest-crop", resize_size=20)
    assert note.startswith("images went in at 0.8 µm per pixel, not at target_mpp=0.5: shortest-crop brings them to 20")
    assert note.endswith("images that are 10 µm wide")


def test_images_larger_than_any_that_is_made_may_be_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("histokit.networks.transform.LARGEST_SIZE", 8)
    assert transform(size=12).resize(photographs(16, 16), None).shape == (3, 3, 12, 12)
    with pytest.raises(UsageError, match="resizing would make an image"):
        transform(size=20).resize(photographs(16, 16), None)


def test_channels_are_chosen_by_name() -> None:
    images = photographs(20, 20)
    stack = [np.concatenate([image, image[..., :1] // 2], axis=2) for image in images]
    names = ("DNA", "ER", "RNA", "AGP")
    chosen = transform(names, channels=("AGP", "DNA", "RNA"), resize="none").resize(stack, None)
    assert np.array_equal(rows(chosen), np.stack(stack)[..., [3, 0, 2]])
    one = transform(names, channels=("ER",), resize="none")
    batch = one.normalise(one.resize(stack, None))
    assert batch.shape == (3, 3, 20, 20)
    expected = np.stack(stack)[..., 1] / 255 / 0.5 - 1
    for plane in range(3):
        np.testing.assert_allclose(batch[:, plane], expected, atol=1e-6)
    with pytest.raises(UsageError, match="no channel"):
        transform(names, channels=("DNA", "ERR", "RNA"))
    with pytest.raises(UsageError, match="3 channels; 4 go in"):
        transform(names)


def test_normalised_pixels_are_torchvisions() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    images = photographs(32, 32)
    known = transform(mean=mean, std=std)
    batch = known.normalise(known.resize(images, None))
    expected = (np.stack(images) / 255 - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(batch.permute(0, 2, 3, 1), expected, atol=2e-6)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)
    # Another size of image after it, as with `resize=none`.
    assert known.normalise(torch.zeros(2, 3, 5, 7, dtype=torch.uint8)).shape == (2, 3, 5, 7)


def test_operations_on_pixels_are_those_of_pil() -> None:
    images = photographs(20, 30)
    grey = rows(transform(resize="none", transforms=(("greyscale", {}),)).resize(images, None))
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L").convert("RGB"), np.int64) for image in images])
    assert np.abs(grey - expected).max() <= 1
    inverted = rows(transform(resize="none", transforms=(("invert", {}),)).resize(images, None))
    assert np.array_equal(inverted, [np.asarray(ImageOps.invert(Image.fromarray(image))) for image in images])
    with pytest.raises(UsageError, match="no pixel operation 'inverse'"):
        transform(transforms=(("inverse", {}),))


def test_grey_images_stay_as_they_are_and_four_channels_have_no_luminance() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    asked = Preprocess(resize="none", transforms=(("greyscale", {}),))
    found = Transform(asked, ["ink"], CPU).resize([grey], None)
    assert rows(found)[0].tolist() == grey.tolist()
    inks = Transform(replace(asked, adapter="each"), list("abcd"), CPU)
    with pytest.raises(UsageError, match="takes red, green and blue; 4 channels go in") as told:
        inks.resize([grey.repeat(4, 2)], None)
    assert "--channels" in told.value.next


def test_a_size_that_no_memory_holds_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> torch.Tensor:
        raise RuntimeError("can't allocate memory: you tried to allocate 1505280000000 bytes\nat here")

    monkeypatch.setattr(torch.nn.functional, "interpolate", full)
    with pytest.raises(
        UsageError, match=r"An image of 20 × 30 pixels cannot be resized .*: can't .* bytes\."
    ) as caught:
        transform().resize(photographs(20, 30), None)
    assert "size=N" in caught.value.next


def test_large_tiles_take_less_time_than_with_pil() -> None:
    images = photographs(1000, 1000, count=4)
    pictures = [Image.fromarray(image) for image in images]
    known = transform(size=224, interpolation="bicubic")

    def seconds(work: Any) -> float:
        before = time.process_time()
        work()
        return time.process_time() - before

    ours = min(seconds(lambda: known.resize(images, None)) for _ in range(5))
    pils = min(seconds(lambda: [p.resize((224, 224), Image.Resampling.BICUBIC) for p in pictures]) for _ in range(5))
    # Of all cores together; it is about a quarter, and a copy of the channels one by one makes it three times as much.
    assert ours < pils


def test_luminance_is_rounded_and_operations_come_in_their_order() -> None:
    # 0.299 R + 0.587 G + 0.114 B: 0.299 * 255 = 76.245, 0.587 * 255 = 149.685, 0.114 * 255 = 29.07.
    image = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], dtype=np.uint8)
    grey = transform(resize="none", transforms=(("greyscale", {}),)).resize([image], None)
    assert rows(grey)[0, 0, :, 0].tolist() == [76, 150, 29]
    both = (("greyscale", {}), ("invert", {}))
    assert rows(transform(resize="none", transforms=both).resize([image], None))[0, 0, :, 0].tolist() == [179, 105, 226]
    reds = np.zeros((1, 256, 3), dtype=np.uint8)
    reds[0, :, 0] = np.arange(256)
    found = rows(transform(resize="none", transforms=both[:1]).resize([reds], None))[0, 0, :, 0]
    assert found.tolist() == [(299 * red + 500) // 1000 for red in range(256)]


def test_the_nearest_pixel_is_the_one_under_the_middle() -> None:
    image = np.arange(5, dtype=np.uint8)[None, :, None].repeat(5, 0).repeat(3, 2)
    # The middles of two halves of five pixels lie at 1.25 and 3.75: in the pixels 1 and 3.
    found = rows(transform(size=2, interpolation="nearest").resize([image], None))
    assert found[0, :, :, 0].tolist() == [[1, 3]] * 2


def test_an_odd_rest_is_cut_off_at_the_end() -> None:
    image = np.arange(35, dtype=np.uint8).reshape(5, 7, 1).repeat(3, 2)
    wide = rows(transform(size=4, resize="center-square").resize([image[:4]], None))
    # Of seven columns, four from the second on; of seven rows likewise.
    assert wide[0, :, :, 0].tolist() == image[:4, 1:5, 0].tolist()
    high = rows(transform(size=4, resize="center-square").resize([image[:4].transpose(1, 0, 2)], None))
    assert high[0, :, :, 0].tolist() == image[:4, 1:5, 0].T.tolist()


def test_a_sliver_keeps_a_pixel() -> None:
    assert transform(resize="none", target_mpp=1.0).resize([np.zeros((1, 40, 3), np.uint8)], 0.25).shape[-2:] == (1, 10)


def test_two_channels_for_a_network_of_three_are_refused() -> None:
    with pytest.raises(UsageError, match="mean and std are given for 3 channels; 2 go in: DNA, ER"):
        transform(given=("DNA", "ER"))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("shape", [(40, 60), (8, 11)])
def test_16_bits_are_resized_as_numbers_and_rounded_nowhere(shape: tuple[int, int], interpolation: str) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (2, *shape, 3), dtype=np.uint16)
    how = transform(size=16, resize="squash", interpolation=interpolation)
    found = how.resize(list(deep), None)
    assert found.dtype == torch.float32
    kind = getattr(Image.Resampling, interpolation.upper())
    for image, resized in zip(deep, found, strict=True):
        for channel in range(3):
            plane = Image.fromarray((image[..., channel] / 257).astype(np.float32))
            wanted = np.asarray(plane.resize((16, 16), kind)).clip(0, 255)
            np.testing.assert_allclose(resized[channel].numpy(), wanted, atol=2e-3)
    # What differs by less than one of 256 levels reaches the network as different.
    close = np.stack([np.full((16, 16, 3), 1000, np.uint16), np.full((16, 16, 3), 1020, np.uint16)])
    inputs = how.normalise(how.resize(list(close), None))
    mean, std = how.preprocess.mean[0], how.preprocess.std[0]
    assert float(inputs[1, 0, 0, 0]) == pytest.approx((1020 / 65535 - mean) / std, abs=1e-5)
    assert float(inputs[0, 0, 0, 0]) < float(inputs[1, 0, 0, 0])


def test_operations_on_16_bits_are_those_on_8() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    how = transform(size=16, transforms=(("greyscale", {}), ("invert", {})))
    of_8 = how.resize(list(pixels), None).float()
    of_16 = how.resize(list(pixels.astype(np.uint16) * 257), None)
    assert float((of_8 - of_16).abs().max()) <= 0.5 + 1e-4
    assert float((of_8 - of_16).abs().max()) > 0
