"""What the features of a network are known by: an edited plugin is not answered from the cache of the old one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import histokit
from histokit.errors import PluginError, StoreError, UsageError
from histokit.features import FeatureStore
from histokit.networks.resolved import ResolvedBackbone
from histokit.plugin import Backbone, Layer, Preprocess, hookimpl
from histokit.plugin import manager as plugins
from histokit.plugin.testing import added_plugin

OPTIONS = {"pattern": "{patient}/{label}/*.png", "group": "patient"}


class Edited(Backbone):
    """A network as its author edits it."""

    width, fill = 4, 0.1

    def build(self) -> Any:
        net = nn.Sequential(nn.Conv2d(3, self.width, 3), nn.ReLU(), nn.Conv2d(self.width, 2, 3))
        for parameter in net.parameters():
            nn.init.constant_(parameter, self.fill)
        return net.eval()


class Plugin:
    def __init__(self, cls: type[Edited], layers: tuple[Layer, ...], version: str = "1"):
        self.cls, self.layers, self.version = cls, layers, version

    @hookimpl
    def register_backbones(self, register: Any) -> None:
        register("mine", self.load)

    def load(self, request: Any) -> Backbone:
        preprocess = Preprocess(size=16, mean=(0.5,) * 3, std=(0.5,) * 3)
        return self.cls(request.name, self.layers, preprocess, "none", version=self.version)


LAYERS = (Layer("a", "0"), Layer("b", "2"))


@contextmanager
def installed(
    cls: type[Edited] = Edited, layers: tuple[Layer, ...] = LAYERS, version: str = "1", distribution: str = "mine 1.0"
) -> Iterator[None]:
    with added_plugin(Plugin(cls, layers, version)), pytest.MonkeyPatch.context() as patch:
        (entry,) = plugins.registry().backbones["mine"]
        patch.setitem(plugins.registry().backbones, "mine", [type(entry)("mine", entry.load, "mine", distribution)])
        yield


def ingest(store: FeatureStore, root: Path) -> None:
    histokit.ingest(store, "folder", root, name="d", options=OPTIONS)


def computed(store: FeatureStore, **options: Any) -> list[int]:
    return [table["computed"] for table in histokit.extract(store, "d", "mine", **options).tables]


def changed(**attributes: Any) -> type[Edited]:
    return type("Edited", (Edited,), attributes)


@pytest.mark.parametrize(
    "edit",
    [
        {"version": "2"},
        {"distribution": "mine 1.1"},
        {"layers": (Layer("a", "1"), Layer("b", "2", "max"))},
    ],
)
def test_an_edited_backbone_is_extracted_anew(store: FeatureStore, images: Path, edit: dict[str, Any]) -> None:
    ingest(store, images)
    with installed():
        assert computed(store) == [24, 24]
        assert computed(store) == [0, 0]
    with installed(changed(fill=0.2), **edit):
        assert computed(store) == [24, 24]
    with installed():
        assert computed(store) == [0, 0]


def test_layers_that_were_added_or_left_out_are_noticed(store: FeatureStore, images: Path) -> None:
    ingest(store, images)
    with installed():
        histokit.extract(store, "d", "mine")
    with installed(layers=(LAYERS[1],)):
        assert histokit.extract(store, "d", "mine").addresses == ("mine/b",)
    with installed(layers=(*LAYERS[:1], Layer("relu", "1"), LAYERS[1])):
        assert histokit.extract(store, "d", "mine").addresses == ("mine/a", "mine/relu", "mine/b")


def test_version_and_plugin_are_in_the_spec_of_third_parties(store: FeatureStore, images: Path) -> None:
    ingest(store, images)
    with installed(version="3"):
        histokit.extract(store, "d", "mine", layers="last")
    (table,) = store.feature_tables("d")
    assert (table.spec["version"], table.spec["plugin"]) == ("3", "mine 1.0")


#: As the first version of histokit gave them: their tables are found again.
KEPT = {
    ("timm:test_resnet", "random:0", "last", "float32"): "2b6bd599a9f8",
    ("texture", "pretrained", "stain", "float32"): "8260561cc361",
    ("torchvision:squeezenet1_1", "random:1", "last", "float16"): "e119e4b20a1c",
}


@pytest.mark.parametrize("asked", KEPT)
def test_built_in_backbones_keep_their_fingerprints(
    store: FeatureStore, images: Path, asked: tuple[str, str, str, str]
) -> None:
    ingest(store, images)
    name, weights, layer, dtype = asked
    changes = ["size=32"] if name.startswith("timm:") else []
    found = histokit.extract(
        store, "d", name, weights=weights, layers=layer, store_dtype=dtype, preprocess=changes, dry_run=True
    )
    assert found.tables[0]["fingerprint"] == KEPT[asked]


def test_another_width_is_an_error_before_anything_is_written(store: FeatureStore, images: Path) -> None:
    ingest(store, images)
    with installed():
        histokit.extract(store, "d", "mine", layers="a")
    before = store.features("d", "mine/a").X
    Image.fromarray(np.full((16, 16, 3), 7, dtype=np.uint8)).save(images / "p1" / "dark" / "new.png")
    ingest(store, images)
    said = r"vectors of 5 numbers for mine/a; those in the store have 4"
    with installed(changed(width=5)), pytest.raises(StoreError, match=said) as caught:
        histokit.extract(store, "d", "mine", layers=["b", "a"])
    assert "Raise `version`" in caught.value.next
    assert [table.layer for table in store.feature_tables("d")] == ["a"]
    np.testing.assert_array_equal(store.features("d", "mine/a", allow_missing=True).X, before)


def test_an_extraction_that_fails_leaves_no_table(store: FeatureStore, images: Path) -> None:
    ingest(store, images)

    class Failing(nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("not made for this")

    broken = changed(build=lambda _self: nn.Sequential(nn.Conv2d(3, 4, 3), Failing()).eval())
    with installed(broken, (LAYERS[0], Layer("b", "1"))), pytest.raises(PluginError, match="not made for this"):
        histokit.extract(store, "d", "mine")
    assert store.feature_tables("d") == []
    assert not list(store.database.names("features."))


def test_vectors_that_are_all_bad_make_no_table_and_are_not_tried_again(store: FeatureStore, images: Path) -> None:
    ingest(store, images)
    with installed(changed(fill=float("nan"))):
        found = histokit.extract(store, "d", "mine", layers="a")
        assert (found.tables[0]["unusable"], len(found.problems)) == (24, 24)
        assert store.feature_tables("d") == []
        again = histokit.extract(store, "d", "mine", layers="a")
    assert (again.tables[0]["unusable"], again.tables[0]["computed"]) == (24, 0)


def test_edited_code_under_the_same_version_is_told(store: FeatureStore, images: Path, tmp_path: Path) -> None:
    ingest(store, images)
    module = tmp_path / "written.py"
    text = "from tests.extract.test_identity import Edited as Base\nclass Edited(Base):\n    fill = {}\n"

    def extracted(fill: float) -> tuple[str, ...]:
        module.write_text(text.format(fill))
        sys.modules.pop("written", None)
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(tmp_path))
            from written import Edited as Written  # type: ignore[import-not-found]

            with installed(Written):
                return histokit.extract(store, "d", "mine", layers="a").warnings

    assert extracted(0.1) == extracted(0.1) == ()
    (warning,) = extracted(0.25)
    assert "The code of mine 1.0 is not the one that made mine/a" in warning
    assert "raise `version`" in warning
    extra = next(images.rglob("*.png"))
    Image.open(extra).rotate(90).save(extra.with_name("more.png"))
    ingest(store, images)
    with pytest.raises(PluginError, match="vectors of two networks would stand in one table") as caught:
        extracted(0.25)
    assert "Raise `version`" in caught.value.next
    assert extracted(0.1) == ()


def test_a_batch_that_memory_cannot_hold(store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest(store, images)
    # 1,000 inputs of 3 × 16 × 16 numbers, held four times in four bytes, are 12,288,000 bytes.
    monkeypatch.setattr("histokit.extract.extract.machine_memory", lambda: 12_287_999)
    with installed():
        for dry_run in (True, False):
            with pytest.raises(UsageError, match=r"A batch of 1,000 inputs of 3 × 16 × 16 numbers") as caught:
                histokit.extract(store, "d", "mine", batch_size=1000, dry_run=dry_run)
            assert "--batch-size below" in caught.value.next
        monkeypatch.setattr("histokit.extract.extract.machine_memory", lambda: 12_288_000)
        assert computed(store, layers="a", batch_size=1000) == [24]
    assert len(store.feature_tables("d")) == 1


@pytest.mark.usefixtures("tiny")
def test_vectors_that_cuda_made_otherwise_before_are_told(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def notes(device: str, *changes: str) -> list[str]:
        found = histokit.extract(store, "d", "tiny", preprocess=changes, device=device, dry_run=True).notes
        return [note for note in found if "an earlier version" in note]

    ingest(store, images)
    with monkeypatch.context() as earlier:
        earlier.setattr(ResolvedBackbone, "info", lambda *_: {})
        histokit.extract(store, "d", "tiny")
        histokit.extract(store, "d", "tiny", preprocess=["resize=none"])
    assert notes("cuda") == []  # all is there: nothing is added
    Image.new("RGB", (16, 16)).save(images / "p1" / "dark" / "new.png")
    ingest(store, images)
    (told,) = notes("cuda")
    assert told.startswith("tiny/0@")
    assert notes("cpu") == notes("cuda", "resize=none") == notes("cuda", "size=24") == []
    histokit.extract(store, "d", "tiny", preprocess=["size=24"])
    Image.new("RGB", (16, 16), "red").save(images / "p1" / "dark" / "newer.png")
    ingest(store, images)
    assert notes("cuda", "size=24") == []
