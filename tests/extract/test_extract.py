from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_plugin import TinyPlugin

import histokit
from histokit.backbones.texture_columns import COLUMNS
from histokit.errors import PluginError, StoreError, UsageError
from histokit.extract.extraction import Extraction
from histokit.extract.writer import Writer
from histokit.features import FeatureStore
from histokit.networks.cut_network import CutNetwork
from histokit.plugin import read_image
from histokit.plugin.digests import digest_file
from histokit.plugin.guarded_backbone import GuardedBackbone
from histokit.plugin.weights import seeded
from histokit.store.database import Database

OPTIONS = {"pattern": "{patient}/{label}/*.png", "group": "patient"}


def ingest(store: FeatureStore, root: Path, name: str = "d", **options: Any) -> None:
    histokit.ingest(store, "folder", root, name=name, options={**OPTIONS, **options})


def counts(extraction: Extraction) -> list[tuple[int, int, int, int]]:
    return [(t["cached"], t["copied"], t["computed"], t["missing"]) for t in extraction.tables]


def by_hand(root: Path, sample_id: str) -> dict[str, np.ndarray]:
    """The two pooled maps of the network ``tiny``, convolution by convolution, without histokit's engine."""
    return maps(read_image(root / sample_id).astype(np.float32) / 255)


def maps(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """The pooled maps of the network ``tiny`` for (16, 16, 3) intensities from 0 to 1."""
    import torch
    from torch.nn import functional

    with torch.random.fork_rng():
        torch.manual_seed(0)
        first = torch.nn.Conv2d(3, 4, 3, stride=2)
        second = torch.nn.Conv2d(4, 6, 3)
    batch = torch.from_numpy((pixels - 0.5) / 0.5).float().permute(2, 0, 1)[None]
    with torch.inference_mode():
        before = functional.conv2d(batch, first.weight, first.bias, stride=2)
        after = functional.relu(before)
        last = functional.relu(functional.conv2d(after, second.weight, second.bias))
    return {"0": before.mean((2, 3))[0].numpy(), "1": after.mean((2, 3))[0].numpy(), "3": last.mean((2, 3))[0].numpy()}


@pytest.mark.usefixtures("tiny")
def test_features_equal_those_worked_out_by_hand(store: FeatureStore, images: Path) -> None:
    ingest(store, images)
    extraction = histokit.extract(store, "d", "tiny")
    assert extraction.addresses == ("tiny/0", "tiny/1", "tiny/3")
    for layer in ("0", "1", "3"):
        features = store.features("d", f"tiny/{layer}")
        expected = np.stack([by_hand(images, sample_id)[layer] for sample_id in features.sample_ids])
        np.testing.assert_allclose(features.X, expected, atol=1e-5)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("damaged", [1, 24])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_vector_that_is_damaged_is_not_copied_as_if_it_were_right(
    store: FeatureStore, images: Path, damaged: int, dtype: str
) -> None:
    ingest(store, images)
    how = {"layers": "last", "store_dtype": dtype}
    histokit.extract(store, "d", "tiny", **how)
    vectors = store.features("d", "tiny/last").X
    (file,) = (store.uri / f"{store.feature_tables()[0].name}.lance" / "data").iterdir()
    content = bytearray(file.read_bytes())
    for vector in vectors.astype(dtype)[:damaged]:
        content[content.index(vector.tobytes())] ^= 1
    file.write_bytes(content)
    ingest(store, images, name="other")
    assert counts(histokit.extract(store, "other", "tiny", **how)) == [(0, 24 - damaged, damaged, 0)]
    np.testing.assert_allclose(store.features("other", "tiny/last").X, vectors, rtol=1e-3)


def test_only_what_is_missing_is_computed(store: FeatureStore, images: Path, tiny: TinyPlugin) -> None:
    ingest(store, images)
    assert counts(histokit.extract(store, "d", "tiny", layers="last")) == [(0, 0, 24, 0)]
    assert counts(histokit.extract(store, "d", "tiny", layers="last")) == [(24, 0, 0, 0)]
    assert tiny.built == 1
    assert counts(histokit.extract(store, "d", "tiny", layers=["0", " 3", ""])) == [(0, 0, 24, 0), (24, 0, 0, 0)]
    assert counts(histokit.extract(store, "d", "tiny", layers=["all", "0"], dry_run=True)) == [
        (24, 0, 0, 0),
        (0, 0, 0, 24),
        (24, 0, 0, 0),
    ]
    pixels = np.full((16, 16, 3), 7, dtype=np.uint8)
    Image.fromarray(pixels).save(images / "p1" / "dark" / "0.png")
    ingest(store, images)
    assert counts(histokit.extract(store, "d", "tiny", layers="0")) == [(23, 0, 1, 0)]


def test_relabelling_and_renaming_cost_no_forward_pass(
    store: FeatureStore, images: Path, tiny: TinyPlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("histokit.extract.ledger._COPIED_AT_ONCE", 7)
    ingest(store, images)
    histokit.extract(store, "d", "tiny", layers="last")
    shutil.move(images / "p1" / "dark", images / "p1" / "dim")
    ingest(store, images)
    # What would be copied is told, and nothing is written.
    for _ in range(2):
        planned = histokit.extract(store, "d", "tiny", layers="last", dry_run=True)
        assert counts(planned) == [(21, 3, 0, 0)]
        assert planned.estimated_seconds == 0
    assert counts(histokit.extract(store, "d", "tiny", layers="last")) == [(21, 3, 0, 0)]
    copied = images.parent / "copied"
    shutil.copytree(images, copied)
    ingest(store, copied, name="other")
    planned = histokit.extract(store, "other", "tiny", layers="all", dry_run=True)
    assert counts(planned) == [(0, 0, 0, 24), (0, 0, 0, 24), (0, 24, 0, 0)]
    assert store.feature_tables("other") == []
    assert counts(histokit.extract(store, "other", "tiny", layers="last")) == [(0, 24, 0, 0)]
    assert tiny.built == 1
    renamed = dict(zip(store.features("d", "tiny/last").sample_ids, store.features("d", "tiny/last").X, strict=True))
    other = store.features("other", "tiny/last")
    assert all((renamed[i] == row).all() for i, row in zip(other.sample_ids, other.X, strict=True))


def test_copied_vectors_keep_the_names_of_their_columns(store: FeatureStore, images: Path) -> None:
    for name in ("d", "other"):
        ingest(store, images / "p1", name, pattern="{label}/*.png", group="none")
        extraction = histokit.extract(store, name, "texture", layers="glcm")
    assert counts(extraction) == [(0, 6, 0, 0)]
    assert [store.feature_tables(name)[0].columns for name in ("d", "other")] == [list(COLUMNS["glcm"])] * 2


def test_identical_images_go_through_once(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch, tiny: TinyPlugin
) -> None:
    for patient in ("p1", "p2"):
        shutil.copy(images / "p3" / "dark" / "0.png", images / patient / "dark" / "copy.png")
    ingest(store, images)
    seen: list[int] = []
    add = Writer.add
    monkeypatch.setattr(Writer, "add", lambda s, p, contents, v: (seen.append(len(contents)), add(s, p, contents, v)))
    extraction = histokit.extract(store, "d", "tiny", layers="last")
    assert counts(extraction) == [(0, 0, 26, 0)]
    assert sum(seen) == 24
    assert tiny.built == 1


@pytest.mark.usefixtures("tiny")
def test_batches_are_no_larger_than_the_dataset(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(store, images)
    rows, forward = [], CutNetwork.forward
    monkeypatch.setattr(CutNetwork, "forward", lambda self, batch: (rows.append(len(batch)), forward(self, batch))[1])
    extraction = histokit.extract(store, "d", "tiny", layers="last", batch_size=60_000)
    assert rows == [24]
    assert "d has 24 images: batches are of 24 rows, not 60000" in extraction.notes
    assert histokit.extract(store, "d", "tiny", layers="0", batch_size=24).notes == ()


@pytest.mark.usefixtures("tiny")
def test_the_only_image_is_in_a_batch_of_two(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row alone would give other bits than it gives among others."""
    histokit.ingest(store, "folder", images / "p1" / "dark", name="one", options={"pattern": "0.png"})
    rows, forward = [], CutNetwork.forward
    monkeypatch.setattr(CutNetwork, "forward", lambda self, batch: (rows.append(len(batch)), forward(self, batch))[1])
    extraction = histokit.extract(store, "one", "tiny", layers="last", batch_size=8)
    assert extraction.notes == ("one has 1 image: batches are of 2 rows, not 8",)
    assert histokit.extract(store, "one", "tiny", layers="0", batch_size=2).notes == ()
    assert rows == [2, 2]


@pytest.mark.usefixtures("tiny")
def test_a_size_that_would_change_nothing_is_refused(store: FeatureStore, images: Path) -> None:
    ingest(store, images)
    with pytest.raises(UsageError, match="texture takes images as they are: size=64 would change nothing") as caught:
        histokit.extract(store, "d", "texture", preprocess=["size=64"])
    assert "resize=squash" in caught.value.next
    assert "--preprocess BACKBONE/size=64" in caught.value.next
    histokit.extract(store, "d", "texture", layers="glcm", preprocess=["size=8", "resize=squash"])


@pytest.mark.usefixtures("tiny")
def test_companions_in_a_batch_and_order_change_no_bit(store: FeatureStore, images: Path, tmp_path: Path) -> None:
    ingest(store, images)
    histokit.extract(store, "d", "tiny", batch_size=5)
    whole = store.features("d", "tiny/all").X
    other = histokit.open_store(tmp_path / "other")
    for patient in ("p1", "p3"):
        ingest(other, images / patient, name=f"{patient}x", pattern="{label}/*.png", group="none")
        histokit.extract(other, f"{patient}x", "tiny", batch_size=5)
    assert (whole[:6] == other.features("p1x", "tiny/all").X).all()
    assert (whole[12:18] == other.features("p3x", "tiny/all").X).all()


@pytest.mark.usefixtures("tiny")
def test_bad_images_are_put_aside_and_tried_again_on_request(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Found by their ids, a few samples at a time.
    monkeypatch.setattr("histokit.extract.samples._WINDOW", 5)
    bad = images / "p2" / "dark" / "1.png"
    good = bad.read_bytes()
    bad.write_bytes(good[:60])
    ingest(store, images)
    for cached in (0, 23):
        extraction = histokit.extract(store, "d", "tiny", layers="last")
        assert [p["id"] for p in extraction.problems] == ["p2/dark/1.png"]
        assert (extraction.tables[0]["unusable"], extraction.tables[0]["missing"]) == (1, 0)
        assert extraction.tables[0]["cached"] == cached
    assert len(store.features("d", "tiny/last", allow_missing=True)) == 23
    with pytest.raises(StoreError, match="missing for 1 of 24 samples") as caught:
        store.features("d", "tiny/last")
    assert "--allow-missing" in caught.value.next
    bad.write_bytes(good)
    ingest(store, images)
    assert histokit.extract(store, "d", "tiny", layers="last").problems == ()
    assert len(store.features("d", "tiny/last")) == 24


def test_nan_is_a_problem_of_one_layer_only(
    store: FeatureStore, images: Path, tiny: TinyPlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(store, images)
    add = Writer.add

    def spoil(writer: Writer, plan: Any, contents: Any, vectors: Any) -> None:
        vectors = {name: v.copy() for name, v in vectors.items()}
        vectors["3"][contents.index(store.samples("d").column("content")[4].as_py()), 0] = np.nan
        add(writer, plan, contents, vectors)

    monkeypatch.setattr(Writer, "add", spoil)
    extraction = histokit.extract(store, "d", "tiny", layers=["0", "3"], batch_size=24)
    assert [(p["id"], p["reason"]) for p in extraction.problems] == [
        (store.samples("d").column("id")[4].as_py(), "tiny/3 gave NaN or infinity")
    ]
    assert [t["computed"] for t in extraction.tables] == [24, 23]
    monkeypatch.undo()
    assert counts(histokit.extract(store, "d", "tiny", layers=["0", "3"])) == [(24, 0, 0, 0), (23, 0, 0, 0)]
    assert [counts(histokit.extract(store, "d", "tiny", layers="3", dry_run=True, retry=r)) for r in (False, True)] == [
        [(23, 0, 0, 0)],
        [(23, 0, 0, 1)],
    ]
    with pytest.raises(PluginError, match="tyni"):
        histokit.extract(store, "d", ["tiny", "tyni"], layers="3", retry=True)
    assert len(store.problems("d")) == 1, "nothing was tried"
    assert counts(histokit.extract(store, "d", "tiny", layers="3", retry=True)) == [(23, 0, 1, 0)]
    assert len(store.problems("d")) == 0
    assert tiny.built == 2


@pytest.mark.usefixtures("tiny")
def test_vectors_are_stored_as_float16_on_request(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(store, images)
    whole = histokit.extract(store, "d", "tiny", layers="last").tables[0]
    first = store.samples("d").column("id")[0].as_py()
    add = Writer.add

    def enlarge(writer: Writer, plan: Any, contents: Any, vectors: Any) -> None:
        vectors["3"][contents.index(store.samples("d").column("content")[0].as_py()), 0] = 65_520
        add(writer, plan, contents, vectors)

    monkeypatch.setattr(Writer, "add", enlarge)
    half = histokit.extract(store, "d", "tiny", layers="last", store_dtype="float16", batch_size=24)
    assert half.tables[0]["differences"] == [f"@{whole['fingerprint']}: store_dtype: default → float16"]
    address = half.addresses[0]
    assert [(p["id"], p["reason"]) for p in half.problems] == [(first, f"{address} gave numbers too large for float16")]
    rounded = store.features("d", f"tiny/3@{whole['fingerprint']}").X.astype(np.float16)
    assert (rounded[1:] == store.features("d", address, allow_missing=True).X).all()
    monkeypatch.undo()
    assert counts(histokit.extract(store, "d", "tiny", layers="last", store_dtype="float32")) == [(24, 0, 0, 0)]
    stored = {t.fingerprint: t.spec.get("store_dtype") for t in store.feature_tables("d")}
    assert stored == {whole["fingerprint"]: None, half.tables[0]["fingerprint"]: "float16"}


@pytest.mark.usefixtures("tiny")
def test_other_preprocessing_or_weights_make_another_table(store: FeatureStore, images: Path) -> None:
    ingest(store, images)
    first = histokit.extract(store, "d", "tiny", layers="last").tables[0]
    second = histokit.extract(store, "d", "tiny", layers="last", preprocess=["size=12"]).tables[0]
    third = histokit.extract(store, "d", "tiny", layers="last", weights="random:5").tables[0]
    assert len({t["fingerprint"] for t in (first, second, third)}) == 3
    assert second["differences"] == [f"@{first['fingerprint']}: preprocess.size: 16 → 12"]
    assert second["address"] == f"tiny/3@{second['fingerprint']}"
    with pytest.raises(StoreError, match="is ambiguous") as caught:
        store.features("d", "tiny/last")
    assert len(caught.value.details["candidates"]) == 3
    assert store.features("d", f"tiny/last@{third['fingerprint'][:5]}").parts[0].fingerprint == third["fingerprint"]


@pytest.mark.usefixtures("tiny")
def test_other_micrometres_per_pixel_are_computed_anew(store: FeatureStore, images: Path) -> None:
    request: dict[str, Any] = {"layers": "last", "preprocess": ["target_mpp=0.5", "resize=none"]}
    vectors = []
    for mpp in (0.5, 0.25):
        ingest(store, images, mpp=mpp)
        assert counts(histokit.extract(store, "d", "tiny", **request)) == [(0, 0, 24, 0)]
        vectors.append(store.features("d", "tiny/last").X)
    assert not np.allclose(vectors[0], vectors[1], atol=1e-4)


@pytest.mark.usefixtures("tiny")
def test_the_scale_at_which_images_go_in_is_told_where_it_is_not_what_was_asked_for(
    store: FeatureStore, images: Path
) -> None:
    """Images of 16 pixels, as the network takes them."""

    def told(mpp: float, *changes: str) -> list[str]:
        ingest(store, images, mpp=mpp)
        return [note for note in histokit.extract(store, "d", "tiny", preprocess=changes).notes if "µm" in note]

    # Of 0.25 µm, they become 8 pixels of 0.5 µm, and 16 again.
    (note,) = told(0.25, "target_mpp=0.5")
    assert "went in at 0.25 µm per pixel, not at target_mpp=0.5: squash brings them to 16 pixels after it" in note
    assert "images that are 8 µm wide" in note
    (note,) = told(0.5, "target_mpp=1", "resize=shortest-crop", "size=12")
    assert "went in at 0.667 µm per pixel, not at target_mpp=1: shortest-crop" in note
    assert told(0.25, "target_mpp=0.5", "resize=none") == []
    assert told(0.5, "target_mpp=0.5") == told(0.5) == []


NET = "torchvision:squeezenet1_1"


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of weights, which ``pretrained`` is looked for in first, and two files to put there."""
    import torchvision
    from safetensors.torch import save_file

    for seed in (1, 2):
        with seeded(seed):
            save_file(torchvision.models.squeezenet1_1().state_dict(), tmp_path / f"{seed}.safetensors")
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv("HISTOKIT_WEIGHTS", str(folder))
    return folder


def fingerprint(store: FeatureStore, **options: Any) -> str:
    found = histokit.extract(store, "d", NET, layers="last", preprocess=["size=32"], dry_run=True, **options)
    return str(found.tables[0]["fingerprint"])


def test_whatever_decides_on_weights_and_preprocessing_is_noticed(
    store: FeatureStore, images: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(store, images / "p1", pattern="{label}/*.png", group="none")
    file = weights / "torchvision.squeezenet1_1.IMAGENET1K_V1.safetensors"
    shutil.copy(weights.parent / "1.safetensors", file)
    seen = [fingerprint(store)]
    file.with_suffix(".json").write_text('{"mean": [0.5, 0.5, 0.5]}')
    seen.append(fingerprint(store))
    file.with_suffix(".json").write_text('{"mean": [0.4, 0.4, 0.4]}')
    seen.append(fingerprint(store))
    # Found before the one with a tag.
    shutil.copy(weights.parent / "2.safetensors", weights / "torchvision.squeezenet1_1.safetensors")
    seen.append(fingerprint(store))
    # Another file of the same size and date.
    status = (weights / "torchvision.squeezenet1_1.safetensors").stat()
    shutil.copy(weights.parent / "1.safetensors", weights / "torchvision.squeezenet1_1.safetensors")
    os.utime(weights / "torchvision.squeezenet1_1.safetensors", ns=(status.st_atime_ns, status.st_mtime_ns))
    seen.append(fingerprint(store))
    assert len(set(seen)) == 4
    assert seen[4] == seen[0]
    monkeypatch.chdir(weights.parent)
    relative = fingerprint(store, weights="1.safetensors")
    monkeypatch.chdir("/")
    assert relative == fingerprint(store, weights=str(weights.parent / "1.safetensors")) == seen[4]


def test_weights_are_read_once_and_beside_a_look_at_their_network(
    store: FeatureStore, images: Path, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, began, read = weights.parent / "1.safetensors", threading.Event(), []
    layers = GuardedBackbone.layers

    def digest(path: Path) -> bytes:
        began.set()
        read.append(path)
        return digest_file(path)

    def found(backbone: GuardedBackbone) -> Any:
        assert began.wait(20), "the weights are read first, or last"
        return layers(backbone)

    monkeypatch.setattr("histokit.networks.resolve.digest_file", digest)
    monkeypatch.setattr(GuardedBackbone, "layers", found)
    other = FeatureStore(tmp_path / "other")
    for each in (store, other):
        ingest(each, images / "p1", pattern="{label}/*.png", group="none")
    first = fingerprint(store, weights=str(file))
    assert fingerprint(other, weights=str(file)) == first
    assert read == [file]
    shutil.copy(weights.parent / "2.safetensors", file)
    assert fingerprint(other, weights=str(file)) != first
    assert read == [file] * 2


@pytest.mark.usefixtures("tiny")
def test_tables_of_several_layers_are_written_at_once(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(store, images)
    both, add_on = threading.Barrier(2), Database.add_on

    def meeting(*given: Any) -> Any:
        both.wait(20)
        return add_on(*given)

    monkeypatch.setattr("histokit.extract.writer.cores", lambda: 2)
    monkeypatch.setattr(Database, "add_on", meeting)
    assert counts(histokit.extract(store, "d", "tiny", layers=["0", "3"])) == [(0, 0, 24, 0)] * 2
    assert np.isfinite(store.features("d", "tiny/0+tiny/3").X).all()


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(("limit", "number"), [("LATE", 2), ("HELD_BYTES", 150)])
def test_a_slow_disk_is_waited_for_before_memory_fills(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch, limit: str, number: int
) -> None:
    """Of four rows a batch, of 24 bytes each: twice as many may wait for the first write, or two batches."""
    ingest(store, images)
    add, add_on = Writer.add, Database.add_on
    pushed: list[int] = []
    meanwhile: list[int] = []

    def slow(*given: Any) -> Any:
        time.sleep(0.0 if meanwhile else 0.3)
        meanwhile.append(len(pushed))
        return add_on(*given)

    monkeypatch.setattr(Writer, "add", lambda *given: (pushed.append(1), add(*given)))
    monkeypatch.setattr(Database, "add_on", slow)
    monkeypatch.setattr("histokit.extract.writer.FLUSH_ROWS", 4)
    monkeypatch.setattr(f"histokit.extract.writer.{limit}", number)
    assert counts(histokit.extract(store, "d", "tiny", layers="last", batch_size=4)) == [(0, 0, 24, 0)]
    assert meanwhile[0] <= 3


def test_weights_that_are_found_elsewhere_meanwhile_make_another_table(
    store: FeatureStore, images: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(store, images / "p1", pattern="{label}/*.png", group="none")
    cache = weights.parent / "cache"
    cache.mkdir()
    first, second = (Path(shutil.copy(weights.parent / f"{n}.safetensors", cache)) for n in (1, 2))
    monkeypatch.setattr("histokit.plugin.weights.in_cache", lambda _source: first)
    before = fingerprint(store)
    # As after a new revision was downloaded: the first file is still there and the same.
    monkeypatch.setattr("histokit.plugin.weights.in_cache", lambda _source: second)
    made = histokit.extract(store, "d", NET, layers="last", preprocess=["size=32"]).tables[0]["fingerprint"]
    assert made == fingerprint(store) != before


@pytest.mark.usefixtures("tiny")
def test_dry_run_writes_nothing(store: FeatureStore, images: Path) -> None:
    ingest(store, images)
    assert counts(histokit.extract(store, "d", "tiny", layers="last", dry_run=True)) == [(0, 0, 0, 24)]
    assert store.feature_tables("d") == []


@pytest.mark.usefixtures("tiny")
def test_interruption_loses_at_most_what_was_not_flushed(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ingest(store, images)
    run = histokit.extract
    calls = 0

    def interrupted(done: int, total: int, *_: Any) -> None:
        nonlocal calls
        calls += 1
        raise KeyboardInterrupt

    monkeypatch.setattr("histokit.reading.chunks.CHUNK", 8)
    with pytest.raises(KeyboardInterrupt):
        run(store, "d", "tiny", batch_size=4, progress=interrupted)
    assert calls == 1
    resumed = run(store, "d", "tiny", batch_size=4)
    assert counts(resumed) == [(8, 0, 16, 0)] * 3
    ingest(other := histokit.open_store(tmp_path / "other"), images)
    run(other, "d", "tiny", batch_size=4)
    assert (other.features("d", "tiny/all").X == store.features("d", "tiny/all").X).all()


@pytest.mark.usefixtures("tiny")
def test_a_disk_that_takes_no_more_is_an_error_after_which_extraction_resumes(
    store: FeatureStore, images: Path
) -> None:
    ingest(store, images)
    histokit.extract(store, "d", "tiny", layers="0")
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, unlimited[1]))
    try:
        with pytest.raises(StoreError, match="cannot be written: File too large") as caught:
            histokit.extract(store, "d", "tiny")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert "run the same command again" in caught.value.next
    assert len(store.features("d", "tiny/0")) == 24
    assert counts(histokit.extract(store, "d", "tiny")) == [(24, 0, 0, 0), (0, 0, 24, 0), (0, 0, 24, 0)]


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"backbones": "tinny"}, PluginError, "Did you mean 'tiny'"),
        ({"backbones": "tiny", "layers": "33"}, UsageError, "Its layers are: last, 0, 1, 3"),
        ({"backbones": "tiny", "layers": "3:avgg"}, UsageError, "Did you mean 'avg'"),
        ({"backbones": "tiny", "preprocess": ["sise=3"]}, UsageError, "Did you mean 'size'"),
        ({"backbones": "tiny", "preprocess": ["size=x"]}, UsageError, "Give size as a whole number"),
        ({"backbones": "tiny", "precision": "float8"}, UsageError, "float16"),
        ({"backbones": "tiny", "preprocess": ["mean=nan,0,0"]}, UsageError, "positive std"),
        ({"backbones": "tiny", "preprocess": ["std=inf,1,1"]}, UsageError, "positive std"),
        ({"backbones": "tiny", "preprocess": ["target_mpp=0"]}, UsageError, "positive target_mpp"),
        ({"backbones": "tiny", "preprocess": ["size=2"]}, UsageError, "size=N"),
        ({"backbones": "tiny", "weights": "tiny="}, UsageError, "a file"),
        ({"backbones": "tiny", "layers": ["", " "]}, UsageError, "--layers last"),
        ({"backbones": "tiny", "device": "cuda:x"}, UsageError, "cpu"),
        ({"backbones": "tiny", "device": "cuda:99"}, UsageError, "cpu"),
        ({"backbones": "tiny", "device": "meta"}, UsageError, "cpu"),
        ({"backbones": [], "layers": "all"}, UsageError, "--backbone NAME"),
        ({"backbones": "tiny", "store_dtype": "flot16"}, UsageError, "Did you mean 'float16'"),
    ],
)
def test_mistakes_are_named(
    store: FeatureStore, images: Path, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    ingest(store, images)
    with pytest.raises(error) as caught:
        histokit.extract(store, "d", **arguments)
    assert words in caught.value.next  # type: ignore[attr-defined]


_CACHED = """
import sys
import histokit
from histokit.plugin.testing import added_plugin
sys.path.insert(0, sys.argv[2])
from tiny_plugin import TinyPlugin
with added_plugin(TinyPlugin(), "tinyplugin"):
    extraction = histokit.extract(histokit.open_store(sys.argv[1]), "d", "tiny")
    planned = histokit.extract(histokit.open_store(sys.argv[1]), "d", "tiny", preprocess=["size=12"], dry_run=True)
assert [t["cached"] for t in extraction.tables] == [24, 24, 24]
assert [t["missing"] for t in planned.tables] == [24, 24, 24]
print(*(m for m in ("torch", "timm", "sklearn", "torchvision", "lancedb") if m in sys.modules))
"""


@pytest.mark.usefixtures("tiny")
def test_cached_extraction_imports_no_torch(store: FeatureStore, images: Path) -> None:
    ingest(store, images)
    histokit.extract(store, "d", "tiny")
    tests = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", _CACHED, str(store.uri), tests]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=True)
    assert done.stdout.strip() == ""


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("workers", [0, 2])
def test_16_bits_reach_the_network_beside_8(store: FeatureStore, tmp_path: Path, workers: int) -> None:
    generator = np.random.default_rng(0)
    for number in range(4):
        (tmp_path / "data" / "a").mkdir(parents=True, exist_ok=True)
        # Of 4,096 levels a network of 8 bits sees 16.
        deep = generator.integers(0, 4096, (16, 16), dtype=np.uint16)
        Image.fromarray(deep).save(tmp_path / "data" / "a" / f"{number}.png")
    Image.fromarray((deep >> 8).astype(np.uint8)).save(tmp_path / "data" / "a" / "8.png")
    histokit.ingest(store, "folder", tmp_path / "data", name="d")
    histokit.extract(store, "d", "tiny", layers=["0"], workers=workers)
    features = store.features("d", "tiny/0")
    with pytest.warns(UserWarning, match="less than a quarter"):
        scaled = {
            name: read_image(tmp_path / "data" / name, deep=True) / (65535 if name != "a/8.png" else 255)
            for name in features.sample_ids
        }
    for sample_id, vector in zip(features.sample_ids, features.X, strict=True):
        np.testing.assert_allclose(vector, maps(scaled[sample_id])["0"], atol=1e-5)
    assert abs(features.X[1] - features.X[0]).max() > 1e-4
