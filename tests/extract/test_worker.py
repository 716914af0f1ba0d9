"""Batches form after resizing, across sizes, and always have the same number of rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_plugin import TinyPlugin

from histokit import extract, ingest
from histokit.features import FeatureStore
from histokit.networks.cut_network import CutNetwork
from histokit.networks.image_batches import ImageBatches, InputImage
from histokit.networks.image_queue import ImageQueue
from histokit.networks.transform import Transform
from histokit.plugin import Preprocess


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of all batches that go through a network."""
    seen: list[tuple[int, ...]] = []
    forward = CutNetwork.forward

    def counted(self: CutNetwork, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        seen.append(tuple(batch.shape))
        return forward(self, batch)

    monkeypatch.setattr(CutNetwork, "forward", counted)
    return seen


def test_images_of_all_sizes_share_batches(
    store: FeatureStore, images: Path, tiny: TinyPlugin, passes: list[tuple[int, ...]]
) -> None:
    generator = np.random.default_rng(1)
    for index in range(20):
        pixels = generator.integers(0, 255, (9 + index, 30 - index, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / "p1" / "dark" / f"odd{index}.png")
    ingest(store, "folder", images, name="cells", options={"pattern": "{patient}/{label}/*.png", "group": "patient"})
    extract(store, "cells", "tiny", batch_size=8)
    assert passes == [(8, 3, 16, 16)] * 6  # 24 + 20 images, the last batch padded
    store.features("cells", "tiny/all")


def test_the_pass_that_is_padded_changes_no_vector(
    store: FeatureStore, images: Path, tiny: TinyPlugin, tmp_path: Path
) -> None:
    ingest(store, "folder", images, name="cells", options={"pattern": "{patient}/{label}/*.png", "group": "patient"})
    extract(store, "cells", "tiny", batch_size=16)
    other = FeatureStore(tmp_path / "other")
    keep = sorted(images.rglob("*.png"))[::3]
    for path in images.rglob("*.png"):
        if path not in keep:
            path.unlink()
    ingest(other, "folder", images, name="cells", options={"pattern": "{patient}/{label}/*.png", "group": "patient"})
    extract(other, "cells", "tiny", batch_size=16)
    few, all_ = other.features("cells", "tiny/all"), store.features("cells", "tiny/all")
    rows = [list(all_.sample_ids).index(sample) for sample in few.sample_ids]
    assert np.array_equal(few.X, all_.X[rows])


def test_images_that_all_differ_in_size_do_not_wait_for_the_last(
    store: FeatureStore,
    images: Path,
    tiny: TinyPlugin,
    passes: list[tuple[int, ...]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Of 8 rows of 16 × 16 pixels, four batches are 24,576 bytes: about 30 of these images may wait."""
    generator = np.random.default_rng(1)
    for index in range(200):
        pixels = generator.integers(0, 255, (10 + index % 10, 10 + index // 10, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / "p1" / "dark" / f"odd{index}.png")
    other, before = FeatureStore(tmp_path / "other"), len(passes)
    waiting: list[int] = []
    finish = ImageBatches.finish

    def finished(self: ImageBatches) -> None:
        waiting.append(sum(len(queue.keys) for queue in self._queues.values()))
        finish(self)

    monkeypatch.setattr(ImageBatches, "finish", finished)
    for place, most in ((store, 1 << 28), (other, 1 << 10)):
        monkeypatch.setattr("histokit.networks.image_batches._WAITING", most)
        options = {"pattern": "{patient}/{label}/*.png", "group": "patient"}
        ingest(place, "folder", images, name="cells", options=options)
        extract(place, "cells", "tiny", batch_size=8, preprocess=["resize=none"], workers=0)
    # The 24 of one size fill batches, the others are 200 sizes.
    assert waiting[0] == 200
    assert waiting[1] < 60
    assert {shape[0] for shape in passes[before:]} == {8}
    one, two = (place.features("cells", "tiny/all") for place in (store, other))
    assert np.array_equal(one.X, two.X)


def test_of_several_sizes_the_one_that_fits_the_fewest_times_is_told() -> None:
    taken: list[int] = []

    def run(batch: torch.Tensor) -> torch.Tensor:
        if batch.numel() > 2000:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return batch

    known = Transform(Preprocess(resize="none"), ("R", "G", "B"), torch.device("cpu"))
    batches: ImageBatches[int, torch.Tensor] = ImageBatches(
        known, "net", 16, lambda *_: 1, run, lambda keys, _: taken.extend(keys), lambda *_: None
    )
    for key in range(32):
        side = 16 if key % 2 else 8
        batches.add([InputImage(key, np.zeros((side, side, 3), np.uint8))])
    batches.finish()
    assert sorted(taken) == list(range(32))
    (note,) = batches.notes
    assert note.endswith("too little memory for 16 inputs of 3 × 16 × 16: it went on with 2; --batch-size 2 fits")


def numbered(first: int, count: int, side: int = 16) -> torch.Tensor:
    """Return images whose bytes are their number, an (n, 3, side, side) Tensor."""
    return torch.arange(first, first + count).byte().view(-1, 1, 1, 1).expand(-1, 3, side, side).contiguous()


def test_batches_of_a_queue_are_its_images_in_order_however_they_came() -> None:
    """Of blocks smaller and larger than a batch, asked for twice, as after one that took too much memory."""
    queue: ImageQueue[int] = ImageQueue()
    first, seen = 0, []
    for count in (3, 1, 20, 7, 2, 2):
        queue.put(range(first, first + count), numbered(first, count))
        first += count
        while len(queue.keys) >= 6:
            keys = queue.keys[:6]
            assert queue.first(12)[:6, 2, 5, 5].tolist() == keys
            assert queue.first(6)[:, 0, 0, 0].tolist() == keys
            queue.drop(6)
            seen += keys
        assert queue.nbytes == len(queue.keys) * 768
    assert queue.keys == [30, 31, 32, 33, 34]
    assert queue.first(8)[:, 0, 0, 0].tolist() == [30, 31, 32, 33, 34, 34, 34, 34]
    queue.drop(8)
    assert (seen, queue.keys, queue.nbytes) == (list(range(30)), [], 0)


@pytest.mark.parametrize("rows", [6, 48])
def test_images_that_wait_take_no_more_than_is_counted(rows: int) -> None:
    """However many come at once: what was read together with them, and was run, is let go of."""
    known = Transform(Preprocess(resize="none"), ("R", "G", "B"), torch.device("cpu"))
    sizes: list[int] = []
    taken: list[int] = []
    batches: ImageBatches[int, int] = ImageBatches(
        known,
        "net",
        rows,
        lambda *_: 1,
        lambda batch: sizes.append(len(batch)) or 0,
        lambda k, _: taken.extend(k),
        print,
    )
    first = 0
    for count in (64, 5, 31, 1, 64):
        numbers = np.full((16, 16, 3), 1, np.uint8)
        batches.add([InputImage(key, numbers * (key % 255)) for key in range(first, first + count)])
        first += count
        for queue in batches._queues.values():
            assert queue.nbytes == 768 * len(queue.keys)
            assert sum(block.untyped_storage().nbytes() for block in queue._blocks) == queue.nbytes
    assert batches._queues
    batches.finish()
    assert taken == list(range(first))
    assert set(sizes) == {rows}
