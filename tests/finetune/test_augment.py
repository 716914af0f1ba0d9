"""What is done to the images of training batches: exact effects, and how often they come."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from histokit.errors import UsageError
from histokit.finetune.augment import Augmenter
from histokit.finetune.recipe import Augment
from histokit.networks.devices import one_thread


def augmented(images: Any, size: int, seed: int = 0, **fields: Any) -> Tensor:
    augmenter = Augmenter(Augment(**fields), size, images[0].shape[0])
    return augmenter(images, torch.Generator().manual_seed(seed))


def noise_images(count: int, side: int = 16, channels: int = 3, seed: int = 1) -> Tensor:
    drawn = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, channels, side, side), dtype=torch.uint8, generator=drawn)


def within(found: int, count: int, share: float) -> bool:
    """Whether a share of as many lies within five standard deviations of what is expected."""
    return abs(found - count * share) < 5 * (count * share * (1 - share)) ** 0.5


def drawn_symmetries(count: int, **fields: Any) -> Counter[tuple[int, ...]]:
    square = torch.tensor([[[1, 2], [3, 4]]], dtype=torch.uint8)
    found = augmented([square] * count, 2, **fields)
    return Counter(tuple(image.flatten().tolist()) for image in found)


SQUARE = np.array([[1, 2], [3, 4]])


def symmetries(flips: list[Any], turns: list[int]) -> set[tuple[int, ...]]:
    return {tuple(np.rot90(flip(SQUARE), turn).ravel().tolist()) for flip in flips for turn in turns}


def same(image: Any) -> Any:
    return image


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, symmetries([same], [0])),
        ({"flip": "horizontal"}, symmetries([same, np.fliplr], [0])),
        ({"flip": "both"}, symmetries([same, np.fliplr], [0, 2]) | symmetries([np.flipud], [0])),
        ({"rotate": True}, symmetries([same], [0, 1, 2, 3])),
        ({"flip": "horizontal", "rotate": True}, symmetries([same, np.fliplr], [0, 1, 2, 3])),
        ({"flip": "both", "rotate": True}, symmetries([same, np.fliplr], [0, 1, 2, 3])),
    ],
)
def test_each_symmetry_comes_as_often(fields: dict[str, Any], expected: set[tuple[int, ...]]) -> None:
    found = drawn_symmetries(4000, **fields)
    assert found.keys() == expected
    assert all(
        count == 4000 if len(expected) == 1 else within(count, 4000, 1 / len(expected)) for count in found.values()
    )


def test_quarter_turns_and_flips_are_of_all_channels() -> None:
    images = noise_images(64, side=5)
    found = augmented(images, 5, flip="both", rotate=True)
    assert found.dtype == torch.uint8
    seen = set()
    for before, after in zip(images.numpy(), found.numpy(), strict=True):
        ways = [np.rot90(np.flip(before, -1) if flip else before, turn, (1, 2)) for flip in (0, 1) for turn in range(4)]
        (way,) = [number for number, image in enumerate(ways) if np.array_equal(image, after)]
        seen.add(way)
    assert seen == set(range(8))


def test_places_of_crops_are_uniform() -> None:
    # Each pixel says where it is: 5 × 8 pixels leave 3 × 6 places for 3 × 3.
    image = torch.arange(40, dtype=torch.uint8).view(1, 5, 8)
    found = augmented([image] * 9000, 3, crop="random")
    corners = Counter(found[:, 0, 0, 0].tolist())
    assert corners.keys() == {8 * y + x for y in range(3) for x in range(6)}
    assert all(within(count, 9000, 1 / 18) for count in corners.values())
    offsets = torch.tensor([[0, 1, 2], [8, 9, 10], [16, 17, 18]])
    assert torch.equal(found[:, 0].long(), found[:, 0, :1, :1].long() + offsets)


def test_crops_of_images_of_several_shapes() -> None:
    shapes = [(5, 8), (3, 3), (9, 4), (3, 70)]
    images = [torch.arange(h * w, dtype=torch.float32).view(1, h, w) for h, w in shapes]
    for seed in range(20):
        for image, cut in zip(images, augmented(images, 3, seed, crop="random"), strict=True):
            row, column = divmod(int(cut[0, 0, 0]), image.shape[-1])
            assert torch.equal(cut, image[:, row : row + 3, column : column + 3])
    centre = augmented(images, 3)
    assert torch.equal(centre[0], images[0][:, 1:4, 2:5])
    assert torch.equal(centre[2], images[2][:, 3:6, 0:3])


def test_a_batch_is_cut_as_its_images_are() -> None:
    images = noise_images(8, side=9)
    fields: dict[str, Any] = {"crop": "random", "flip": "both", "rotate": True, "noise": 9.0}
    assert torch.equal(augmented(images, 6, **fields), augmented(list(images), 6, **fields))
    last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(augmented(images, 6, **fields), augmented(last, 6, **fields))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_without_augmentation_images_stay(dtype: torch.dtype) -> None:
    images = noise_images(4, side=7, channels=5).to(dtype)
    found = augmented(images, 7)
    assert torch.equal(found, images)
    assert found.dtype == dtype
    assert torch.equal(augmented(images, 4), images[:, :, 1:5, 1:5])


def test_what_goes_in_is_not_changed() -> None:
    images = noise_images(32).float()
    before = images.clone()
    fields: dict[str, Any] = {"flip": "both", "rotate": True, "shading": (0.5,), "blur": 1.0, "noise": 50.0}
    for given in (images, list(images)):
        augmented(given, 16, stain=0.2, **fields)
        assert torch.equal(images, before)


def test_shading_multiplies_each_channel_by_one_of_the_factors() -> None:
    levels = torch.tensor([40.0, 100.0, 240.0])
    images = levels.view(1, 3, 1, 1).expand(3000, 3, 4, 4).to(torch.uint8)
    found = augmented(images, 4, shading=(1.0, 1.0, 0.75, 1.25))
    assert found.dtype == torch.float32
    assert torch.equal(found, found[..., :1, :1].expand_as(found))
    # 240 times 1.25 is 300, which is clipped.
    for channel, expected in enumerate([{30: 1, 40: 2, 50: 1}, {75: 1, 100: 2, 125: 1}, {180: 1, 240: 2, 255: 1}]):
        seen = Counter(found[:, channel, 0, 0].tolist())
        assert seen.keys() == expected.keys()
        assert all(within(seen[level], 3000, quarters / 4) for level, quarters in expected.items())
    # Channels are drawn apart: all 27 products of three levels occur.
    assert len({tuple(image[:, 0, 0].tolist()) for image in found}) == 27


def test_blur_is_a_box_whose_border_mirrors() -> None:
    images = noise_images(600, side=6)
    found = augmented(images, 6, blur=0.25).numpy()
    blurred = 0
    for before, after in zip(images.numpy().astype(np.float64), found, strict=True):
        box = ndimage.uniform_filter(before, size=(1, 3, 3), mode="mirror")
        if not np.array_equal(before, after):
            np.testing.assert_allclose(after, box, atol=1e-3)
            blurred += 1
    assert within(blurred, 600, 0.25)
    assert np.abs(augmented(images, 6, blur=1.0).numpy() - images.numpy()).reshape(600, -1).any(1).all()


def test_noise_has_the_variance_asked_for() -> None:
    images = torch.full((400, 3, 16, 16), 128, dtype=torch.uint8)
    found = augmented(images, 16, noise=50.0, noise_probability=0.75)
    noisy = found[(found != 128).flatten(1).any(1)]
    assert within(len(noisy), 400, 0.75)
    noise = (noisy - 128).double()
    assert float(noise.var()) == pytest.approx(50, rel=0.02)
    assert float(noise.mean()) == pytest.approx(0, abs=0.1)
    # Fourth moment of a normal distribution; of a uniform one it would be 1.8.
    assert float((noise**4).mean() / noise.var() ** 2) == pytest.approx(3, rel=0.03)
    # Neither shared by images nor by channels.
    rows = noise.view(-1, 256)[:600]
    correlations = torch.corrcoef(rows) - torch.eye(len(rows), dtype=torch.float64)
    assert float(correlations.abs().max()) < 0.45
    assert torch.equal(augmented(images, 16, noise=50.0, noise_probability=0.0), images)


def test_values_stay_between_black_and_white() -> None:
    images = torch.cat([torch.zeros(8, 3, 8, 8), torch.full((8, 3, 8, 8), 255.0)])
    found = augmented(images, 8, noise=400.0, noise_probability=1.0)
    assert float(found.min()) == 0
    assert float(found.max()) == 255
    # Half of the noise on black and on white is cut off.
    assert 0.45 < float(((found == 0) | (found == 255)).float().mean()) < 0.55


def test_the_order_is_shading_blur_noise() -> None:
    # Nine times white, a ninth of which is white again: were it clipped before, less would be left.
    images = torch.zeros(1, 1, 5, 5)
    images[0, 0, 2, 2] = 255
    found = augmented(images, 5, shading=(9.0,), blur=1.0)
    assert found[0, 0, 1:4, 1:4].flatten().tolist() == pytest.approx([255.0] * 9)
    noisy = augmented(images.expand(200, 1, 5, 5), 5, shading=(0.5,), blur=1.0, noise=4.0, noise_probability=1.0)
    middles = noisy[:, 0, 1:4, 1:4].double()
    assert float(middles.mean()) == pytest.approx(255 / 2 / 9, abs=0.3)
    assert float(middles.var()) == pytest.approx(4, rel=0.15)


def test_one_seed_gives_one_batch() -> None:
    images = noise_images(16)
    fields: dict[str, Any] = {
        "flip": "both",
        "rotate": True,
        "shading": (1.0, 0.75, 1.25),
        "blur": 0.5,
        "noise": 50.0,
        "stain": 0.1,
    }
    one, again, other = (augmented(images, 16, seed, **fields) for seed in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    # The same draws go on from one batch to the next.
    augmenter, generator = Augmenter(Augment(**fields), 16, 3), torch.Generator().manual_seed(3)
    assert torch.equal(augmenter(images, generator), one)
    assert not torch.equal(augmenter(images, generator), one)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_what_the_processor_gives() -> None:
    images = noise_images(32, side=20)
    fields: dict[str, Any] = {"crop": "random", "flip": "both", "rotate": True}
    assert torch.equal(augmented(images.cuda(), 16, **fields).cpu(), augmented(images, 16, **fields))
    fields |= {"shading": (1.0, 0.75), "blur": 0.5, "noise": 50.0, "stain": 0.1}
    on_gpu, expected = augmented(images.cuda(), 16, **fields), augmented(images, 16, **fields)
    assert on_gpu.is_cuda
    torch.testing.assert_close(on_gpu.cpu(), expected, atol=2e-2, rtol=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"crop": "center"}, "crop='center' is unknown"),
        ({"flip": "vertical"}, "flip='vertical' is unknown"),
        ({"blur": 1.5}, "blur=1.5 is impossible"),
        ({"noise": -1.0}, r"noise=-1\.0 is impossible"),
        ({"noise_probability": float("nan")}, "noise_probability=nan is impossible"),
        ({"stain": 2.0}, r"stain=2\.0 is impossible"),
        ({"shading": (1.0, -0.5)}, r"shading=-0\.5 is impossible"),
    ],
)
def test_impossible_changes_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Augmenter(Augment(**fields), 16, 3)


def test_images_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="of 15 × 20 pixels is smaller than the 16 × 16"):
        augmented([torch.zeros(3, 16, 16), torch.zeros(3, 15, 20)], 16, crop="random")
    for channels in (1, 5):
        with pytest.raises(UsageError, match=f"these have {channels} channel"):
            Augmenter(Augment(stain=0.05), 16, channels)
    Augmenter(Augment(), 16, 5)


def test_it_takes_a_small_part_of_a_training_step() -> None:
    from torchvision.models import squeezenet1_1

    images, labels = noise_images(16, side=128), torch.arange(16) % 4
    network = squeezenet1_1(num_classes=4).to(memory_format=torch.channels_last)
    inputs = images.float().contiguous(memory_format=torch.channels_last)
    augmenter = Augmenter(
        Augment(flip="both", rotate=True, shading=(1.0, 1.0, 0.75, 1.25), blur=0.5, noise=50.0), 128, 3
    )
    generator = torch.Generator().manual_seed(0)

    def seconds(work: Any) -> float:
        before = time.process_time()
        work()
        return time.process_time() - before

    with one_thread():
        step = min(seconds(lambda: nn.functional.cross_entropy(network(inputs), labels).backward()) for _ in range(3))
        ours = min(seconds(lambda: augmenter(images, generator)) for _ in range(5))
    # Measured: 0.03.
    assert ours < 0.1 * step
