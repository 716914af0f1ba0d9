"""Networks on CUDA, by a device that is pretended where there is none: nothing is mixed up, waited for or lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pretended_cuda import PretendedDevice, pretended_cuda
from torch.nn.modules.module import register_module_forward_hook

import histokit
from histokit.errors import UsageError
from histokit.explain.filters import filter_images
from histokit.extract.in_flight import IN_FLIGHT
from histokit.features import FeatureStore
from histokit.finetune.pixels import TrainingImages
from histokit.study.doctor import examine

pytestmark = pytest.mark.usefixtures("tiny")

PATTERN = {"pattern": "{patient}/{label}/*.png", "group": "patient"}
VIT = "timm:test_vit"


@pytest.fixture
def gpu() -> Iterator[PretendedDevice]:
    with pretended_cuda() as device:
        yield device


@pytest.fixture
def data(store: FeatureStore, images: Path) -> FeatureStore:
    return ingested(store, images)


def ingested(store: FeatureStore, images: Path) -> FeatureStore:
    histokit.ingest(store, "folder", images, name="cells", options=PATTERN)
    return store


def test_the_device_is_one_of_its_own(gpu: PretendedDevice) -> None:
    there, here = torch.arange(6.0).reshape(2, 3).to("cuda"), torch.ones(3)
    weights = torch.nn.Linear(3, 2).to("cuda", torch.bfloat16).weight
    assert [each.device.type for each in (weights, there @ weights.float().T, there[0])] == ["cuda"] * 3
    assert ((there * 2).sum().item(), there.cpu().numpy().sum()) == (30, 15)
    for wrong in (lambda: there + here, lambda: here.add_(there[0]), lambda: torch.stack([there[0], here])):
        with pytest.raises(RuntimeError, match="same device"):
            wrong()
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()
    buffer = torch.empty(2, 3, pin_memory=True).copy_(there, non_blocking=True)
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream())
    assert buffer.isnan().all()
    event.synchronize()
    assert buffer.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("backbone", ["tiny", VIT])
def test_vectors_are_those_of_the_processor(gpu: PretendedDevice, images: Path, tmp_path: Path, backbone: str) -> None:
    # More batches than are on their way at once, of images of two sizes.
    Image.open(images / "p1/dark/0.png").resize((20, 30)).save(images / "p1/dark/large.png")
    data, other = (ingested(histokit.open_store(tmp_path / name), images) for name in ("gpu", "other"))
    asked: dict[str, Any] = {"weights": "random", "batch_size": 2, "workers": 0}
    (first, *_) = histokit.extract(data, "cells", backbone, **asked).tables
    assert (first["computed"], first["missing"]) == (25, 0)
    assert gpu.copies >= 2 * IN_FLIGHT
    assert gpu.waits == 0
    histokit.extract(other, "cells", backbone, device="cpu", **asked)
    found, expected = (each.features("cells", f"{backbone}/all") for each in (data, other))
    assert list(found.sample_ids) == list(expected.sample_ids)
    np.testing.assert_allclose(found.X, expected.X, rtol=1e-5, atol=1e-6)


def test_what_the_device_has_done_outlives_an_interruption(
    gpu: PretendedDevice, data: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("histokit.reading.chunks.CHUNK", 8)
    with pytest.raises(KeyboardInterrupt):
        histokit.extract(data, "cells", "tiny", batch_size=4, workers=0, progress=interrupt)
    (first, *_) = histokit.extract(data, "cells", "tiny", batch_size=4, workers=0).tables
    assert (first["cached"], first["computed"]) == (8, 16)


def test_batches_are_halved_where_its_memory_is_short(data: FeatureStore) -> None:
    with pretended_cuda(largest_batch=5):
        extraction = histokit.extract(data, "cells", "tiny", batch_size=16, workers=0)
    (note,) = extraction.notes
    assert note.startswith("tiny: the device cuda has too little memory for 16 inputs of 3 × 16 × 16")
    assert note.endswith("it went on with 4; --batch-size 4 fits")
    assert [(t["computed"], t["missing"]) for t in extraction.tables] == [(24, 0)] * 3
    assert np.isfinite(data.features("cells", "tiny/all").X).all()


def test_a_device_that_emulates_bfloat16_is_told_of_once(data: FeatureStore) -> None:
    histokit.split(data, "cells", name="half", test=0.25, seed=1)
    text = "this GPU emulates bfloat16: --precision float16 or float32 may be faster"
    for major, notes in ((7, [text]), (8, [])):
        with pretended_cuda(major=major):
            (line,) = [each for each in examine() if each.name == "cuda:0"]
            assert line.value.endswith("bfloat16 emulated" if notes else "bfloat16 native")
            asked = {"device": "cuda", "precision": "bfloat16", "workers": 0}
            found = histokit.extract(data, "cells", "tiny", **asked)
            assert [note for note in found.notes if "emulates" in note] == notes
            plain = histokit.extract(data, "cells", "tiny", layers="last", device="cuda", workers=0)
            assert not any("emulates" in note for note in plain.notes)
            run = trained(data, force=True)
            assert [note for note in run.notes if "emulates" in note] == notes


def test_a_device_that_nobody_can_use_is_told_of(
    gpu: PretendedDevice, data: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable\nCUDA kernel errors might be")

    monkeypatch.setattr(torch, "zeros", busy)
    monkeypatch.setattr(torch.cuda, "get_device_properties", busy)
    told = [(each.name, each.value, each.ok) for each in examine() if each.topic == "device"]
    text = "The CUDA device 'cuda:0' cannot be used: CUDA error: CUDA-capable device(s) is/are busy or unavailable."
    assert told[1:] == [("cuda:0", text, False)]
    for device in ("auto", "cuda"):
        with pytest.raises(UsageError, match=r"'cuda' cannot be used: CUDA error: .* busy or unavailable\.") as raised:
            histokit.extract(data, "cells", "tiny", device=device)
        assert "--device cpu" in raised.value.next


SETTINGS = {
    "stages.1.epochs": 1, "stages.2.epochs": 1, "batch_size": 7, "clip": 1.0, "ema": 0.9, "head.dropout": 0.5,
    "mixup": 0.2, "label_smoothing": 0.1, "augment.flip": "both", "augment.rotate": True,
    "augment.noise": 10, "augment.blur": 0.5, "augment.shading": "0.5,0.75", "augment.stain": 0.05,
}  # fmt: skip


def trained(data: FeatureStore, device: str = "auto", **changes: Any) -> Any:
    known = {"preset": "head-first", "weights": "random", "split": "half", "settings": SETTINGS, "workers": 0}
    (run,) = histokit.finetune(data, "cells", "tiny", device=device, **known | changes)
    return run


def scores(data: FeatureStore, run: Any) -> Any:
    return np.array([row["scores"] for row in data.predictions(run.id).to_pylist()])


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_training_is_that_of_the_processor(gpu: PretendedDevice, data: FeatureStore, precision: str) -> None:
    histokit.split(data, "cells", name="half", test=0.25, seed=1)
    found = scores(data, trained(data, precision=precision))
    assert gpu.convolutions
    before, expected = gpu.convolutions, scores(data, trained(data, "cpu", precision=precision, force=True))
    assert gpu.convolutions == before
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_images_are_kept_in_what_others_left_of_its_memory(
    gpu: PretendedDevice, data: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = {"now": 4 * 5 * (3 * 16 * 16)}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (free["now"], 80 << 30))
    # What torch keeps of a training that is done is no memory of others.
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: free.update(now=4 * 5 * (3 * 16 * 16)))
    kept: list[int] = []
    hold = TrainingImages.hold

    def held(images: TrainingImages, *rest: Any) -> None:
        hold(images, *rest)
        kept.append(len(images._held))
        free.update(now=0)

    monkeypatch.setattr(TrainingImages, "hold", held)
    histokit.split(data, "cells", name="half", test=0.25, seed=1)
    trained(data)
    trained(data, seed=1)
    assert kept == [5, 5]


@pytest.mark.usefixtures("rounding")
def test_training_in_float32_rounds_nowhere(gpu: PretendedDevice, data: FeatureStore) -> None:
    switches = (torch.backends.cuda.matmul, torch.backends.cudnn)
    rounded: list[list[bool]] = []

    def note(_: Any, inputs: tuple[Any, ...], __: Any) -> None:
        if inputs[0].device.type == "cuda":
            rounded.append([each.allow_tf32 for each in switches])

    histokit.split(data, "cells", name="half", test=0.25, seed=1)
    with register_module_forward_hook(note):
        trained(data, precision="float32")
    assert len(rounded) > 20
    assert max(rounded) == [False, False]
    assert [each.allow_tf32 for each in switches] == [True, True]


def test_a_run_tells_in_what_it_was_computed(data: FeatureStore) -> None:
    histokit.split(data, "cells", folds=2, name="halves")
    settings = SETTINGS | {"choose_epoch": "last"}
    parts: list[str] = []

    def interrupt(done: int, total: int, detail: str = "") -> None:
        parts.append(detail)
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(data, split="halves", settings=settings, progress=interrupt)
    with pretended_cuda():
        run = trained(data, split="halves", settings=settings)
    assert run.folds[0]["computed_in"] == ["float32 on cpu"]
    assert run.found["final"]["computed_in"] == ["bfloat16 on cuda"]
    assert run.notes[-1] == "interrupted in between: it was trained in float32 on cpu and in bfloat16 on cuda"


def test_what_was_trained_predicts_and_is_explained_as_on_the_processor(
    gpu: PretendedDevice, data: FeatureStore, images: Path, tmp_path: Path
) -> None:
    histokit.split(data, "cells", name="half", test=0.25, seed=1)
    run = trained(data)
    histokit.export_model(data, run.id, out=tmp_path / "model")
    files = sorted(images.glob("*/*/*.png"))
    found: list[list[Any]] = []
    calls = []
    for device in ("auto", "cpu"):
        before = gpu.convolutions
        scores = histokit.load_model(tmp_path / "model", device=device).scores(files)
        maps = [sample.map for sample in histokit.explain(data, run.id, per_class=2, device=device).samples]
        excited = filter_images(data, run.id, filters=2, settings={"iterations": 3}, device=device).images
        found.append([scores, *maps, *(image.activation for image in excited)])
        calls.append(gpu.convolutions - before)
    assert calls[0]
    assert not calls[1]
    assert len(found[0]) >= 1 + 2 + 2
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
