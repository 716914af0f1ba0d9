"""What changed is computed anew, and nothing else; what no network can have made is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_plugin import TinyPlugin

import histokit
from histokit.extract.extraction import Extraction
from histokit.features import FeatureStore
from histokit.plugin import Backbone, hookimpl
from histokit.plugin.testing import added_plugin
from tests.cli.command_line import CommandLine

OPTIONS = {"pattern": "{patient}/{label}/*.png", "group": "patient"}


def counts(extraction: Extraction) -> list[tuple[int, ...]]:
    return [(t["cached"], t["copied"], t["computed"], t["missing"]) for t in extraction.tables]


def draw(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    # Without compression, files of one size in pixels have one size in bytes.
    Image.fromarray(pixels).save(path, compress_level=0)


@pytest.mark.usefixtures("tiny")
def test_an_image_replaced_behind_its_size_and_date_is_computed_alone(
    store: FeatureStore, images: Path, tmp_path: Path
) -> None:
    path = images / "p2" / "dark" / "1.png"
    draw(path, 1)
    histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    histokit.extract(store, "d", "tiny")
    before = store.features("d", "tiny/all")
    status = path.stat()
    draw(path, 2)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    assert counts(histokit.extract(store, "d", "tiny")) == [(23, 0, 1, 0)] * 3
    after = store.features("d", "tiny/all")
    differ = (after.X != before.X).any(axis=1)
    assert [i for i, changed in zip(after.sample_ids, differ, strict=True) if changed] == ["p2/dark/1.png"]
    fresh = histokit.open_store(tmp_path / "fresh")
    histokit.ingest(fresh, "folder", images, name="d", options=OPTIONS)
    histokit.extract(fresh, "d", "tiny")
    np.testing.assert_array_equal(fresh.features("d", "tiny/all").X, after.X)


def test_labels_metadata_and_splits_cost_no_forward_pass(store: FeatureStore, images: Path, tiny: TinyPlugin) -> None:
    def ingest(table: str, **options: Any) -> None:
        (images / "patients.csv").write_text(table)
        given = {"pattern": "{patient}/**", "labels": "patients.csv", "on": "patient", **options}
        histokit.ingest(store, "folder", images, name="d", options=given)

    ingest("patient,label\np1,a\np2,a\np3,b\np4,b\n")
    assert counts(histokit.extract(store, "d", "tiny")) == [(0, 0, 24, 0)] * 3
    assert tiny.built == 1
    ingest("patient,label\np1,b\np2,a\np3,b\np4,c\n")
    assert counts(histokit.extract(store, "d", "tiny")) == [(24, 0, 0, 0)] * 3
    ingest("patient,label,age\np1,b,40\np2,a,50\np3,b,60\np4,a,\n", group="patient", positive="b")
    assert counts(histokit.extract(store, "d", "tiny")) == [(24, 0, 0, 0)] * 3
    for seed in (0, 1):
        split = histokit.make_split(store.samples("d"), store.dataset("d"), f"s{seed}", folds=2, seed=seed)
        store.save_split(split)
    assert counts(histokit.extract(store, "d", "tiny")) == [(24, 0, 0, 0)] * 3
    assert tiny.built == 1
    assert store.features("d", "tiny/0").y.tolist() == ["b"] * 6 + ["a"] * 6 + ["b"] * 6 + ["a"] * 6


class Spoilt(TinyPlugin):
    """The network ``spoilt``: its second convolution gives what `value` says for every image."""

    def __init__(self, value: float):
        self.value = value

    @hookimpl
    def register_backbones(self, register: Any) -> None:
        """Announce it."""
        register("spoilt", self.load)

    def load(self, request: Any) -> Backbone:
        """Return the tiny network with another bias."""
        import torch

        backbone = super().load(request)
        build = backbone.build

        def spoilt() -> Any:
            network = build()
            with torch.no_grad():
                network[2].bias[1] = self.value
            return network

        backbone.build = spoilt  # type: ignore[method-assign]
        return backbone


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_layer_that_gives_no_numbers_is_named_with_every_sample(
    store: FeatureStore, images: Path, capsys: pytest.CaptureFixture[str], value: float
) -> None:
    histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    command = CommandLine(capsys)
    with added_plugin(Spoilt(value), "spoilt"):
        for _ in range(2):
            result = command("extract", "d", "--backbone", "spoilt", "--store", store.uri)
            assert (result.code, result.out) == (4, "spoilt/0\nspoilt/1\nspoilt/3\n")
            assert "Samples that could not be used: 24 " in result.err
            assert "p1/bright/0.png: spoilt/3 gave NaN or infinity" in result.err
    rows = {table.address: store.database.count(table.name) for table in store.feature_tables()}
    assert rows == {"spoilt/0": 24, "spoilt/1": 24}, "a table is made with its first rows"
