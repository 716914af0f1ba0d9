from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histokit.errors import PluginError, StoreError, UsageError
from histokit.features import FeatureStore
from histokit.features.addresses import Address, parse_address
from histokit.store.vectors import FeatureTable
from tests.toy import insert_vectors, make_samples, make_store

LAYERS = ["conv", "block", "joined"]


@pytest.fixture
def toy(tmp_path: Path) -> FeatureStore:
    """Four samples without features."""
    samples, _ = make_samples(n=4)
    return make_store(tmp_path / "store", samples, {})


def add(store: FeatureStore, backbone: str, layer: str, value: float = 0.0, **spec: Any) -> FeatureTable:
    """Fill a table of width 2 of a network whose layers are LAYERS; ``joined`` is made of the others."""
    info: dict[str, Any] = {"layers": LAYERS, "merged": LAYERS[:2]}
    if layer in LAYERS:
        info["index"] = LAYERS.index(layer)
    if layer.partition(":")[0] == "joined":
        info["aliases"] = ["last" + layer.removeprefix("joined")]
    table = store.create_feature_table("toy", {"backbone": backbone, "layer": layer, "weights": "w", **spec}, 2, info)
    rows = store.samples("toy")
    ids, contents = rows.column("id").to_pylist(), rows.column("content").to_pylist()
    insert_vectors(store.database, table, ids, contents, np.full((len(ids), 2), value, np.float32))
    return table


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("vgg16/last", [Address("vgg16", "last")]),
        ("a/1+b/2", [Address("a", "1"), Address("b", "2")]),
        ("timm:hf-hub:MahmoodLab/uni/blocks.3:cls-mean", [Address("timm:hf-hub:MahmoodLab/uni", "blocks.3:cls-mean")]),
        ("timm:hf-hub:lab/net@v2/last@0a1b", [Address("timm:hf-hub:lab/net@v2", "last", "0a1b")]),
        ("net,b=2,a=1/last", [Address("net,a=1,b=2", "last")]),
    ],
)
def test_an_address_is_split_at_the_last_slash(text: str, parts: list[Address]) -> None:
    assert parse_address(text) == parts


@pytest.mark.parametrize("text", ["vgg16", "", "vgg16/", "/last", "a/last+", "a/last+b", "vgg16/@0a1b"])
def test_a_part_without_layer(text: str) -> None:
    with pytest.raises(UsageError, match="names no layer") as caught:
        parse_address(text)
    assert "/last." in caught.value.next


def test_images_have_no_table_of_vectors() -> None:
    with pytest.raises(UsageError, match="stands for the pixels themselves") as caught:
        parse_address("images")
    assert "--classifier et-fl" in caught.value.next


def test_a_malformed_option() -> None:
    with pytest.raises(PluginError, match="not of the form KEY=VALUE"):
        parse_address("net,a/last")


def test_last_is_an_alias_that_is_resolved(toy: FeatureStore) -> None:
    for layer in LAYERS:
        add(toy, "net", layer)
    assert toy.addresses("toy", "net/last") == ["net/joined"]
    assert toy.features("toy", "net/last").address == "net/joined"
    add(toy, "net", "joined:max")
    assert toy.addresses("toy", "net/last:max") == ["net/joined:max"]


def test_all_merges_the_layers_that_are_not_made_of_others_in_depth_order(toy: FeatureStore) -> None:
    for value, layer in enumerate(reversed(LAYERS)):
        add(toy, "net", layer, value)
    add(toy, "net", "inner.3", 9)
    merged = toy.features("toy", "net/all")
    assert merged.address == "net/conv+net/block"
    assert merged.X[0].tolist() == [2, 2, 1, 1]


def test_all_names_the_layers_that_are_missing(toy: FeatureStore) -> None:
    add(toy, "net", "conv")
    with pytest.raises(StoreError, match="missing: block") as caught:
        toy.features("toy", "net/all")
    assert "--layers all" in caught.value.next


def test_each_stands_for_every_layer_on_its_own(toy: FeatureStore) -> None:
    for backbone in ("net", "web"):
        for layer in LAYERS:
            add(toy, backbone, layer)
    assert toy.addresses("toy", "net/each") == ["net/conv", "net/block", "net/joined"]
    assert toy.addresses("toy", "web/conv+net/each") == [f"web/conv+net/{layer}" for layer in LAYERS]
    assert len(toy.addresses("toy", "net/each+web/each")) == 9
    with pytest.raises(StoreError, match="stands for several: net/conv, net/block, net/joined") as several:
        toy.features("toy", "net/each")
    assert several.value.next == "Give one of them; with all in the place of each, layers are merged."
    assert len(toy.addresses("toy", "net/all")) == 1


@pytest.mark.parametrize("text", ["net/conv + net/block", " net/conv+net/block", "net/conv+net/block "])
def test_blanks_around_parts_are_refused_with_the_address_without_them(toy: FeatureStore, text: str) -> None:
    for layer in LAYERS:
        add(toy, "net", layer)
    with pytest.raises(UsageError, match="Blanks stand around a part") as refused:
        toy.features("toy", text)
    assert toy.addresses("toy", refused.value.next.removeprefix("Write it as ")) == ["net/conv+net/block"]


def test_a_table_that_is_named_twice_comes_once(toy: FeatureStore) -> None:
    for layer in LAYERS:
        add(toy, "net", layer)
    assert toy.addresses("toy", "net/all+net/block") == ["net/conv+net/block"]
    assert toy.addresses("toy", "net/each+net/last") == ["net/conv+net/joined", "net/block+net/joined", "net/joined"]


def test_two_specs_are_ambiguous_until_one_is_named(toy: FeatureStore) -> None:
    small = add(toy, "net", "conv", 1, preprocess={"size": 224})
    large = add(toy, "net", "conv", 2, preprocess={"size": 299})
    with pytest.raises(StoreError, match="is ambiguous") as caught:
        toy.features("toy", "net/conv")
    first, second = sorted([small, large], key=lambda t: t.fingerprint)
    assert caught.value.details["candidates"] == [f"net/conv@{t.fingerprint}" for t in (first, second)]
    sizes = [t.spec["preprocess"]["size"] for t in (first, second)]
    assert f"preprocess.size: {sizes[0]} → {sizes[1]}" in caught.value.message
    assert toy.features("toy", f"net/conv@{large.fingerprint}").X[0, 0] == 2
    assert toy.features("toy", f"net/conv@{small.fingerprint[:4]}").X[0, 0] == 1
    assert toy.addresses("toy", f"net/conv@{small.fingerprint}") == [f"net/conv@{small.fingerprint}"]


def test_both_specs_of_a_layer_can_be_merged_and_told_apart(toy: FeatureStore) -> None:
    marks = [add(toy, "net", "conv", weights=w).fingerprint for w in ("v", "w")]
    merged = toy.features("toy", "+".join(f"net/conv@{mark}" for mark in marks))
    assert merged.column_names == [f"net/conv@{mark}[{i}]" for mark in marks for i in "01"]


def test_a_fingerprint_chooses_the_variant_of_all_layers(toy: FeatureStore) -> None:
    for weights, value in (("v", 1.0), ("w", 2.0)):
        marks = [add(toy, "net", layer, value, weights=weights).fingerprint for layer in LAYERS]
    with pytest.raises(StoreError, match="is ambiguous"):
        toy.features("toy", "net/all")
    assert toy.features("toy", f"net/all@{marks[0]}").X[0].tolist() == [2, 2, 2, 2]
    assert len(toy.addresses("toy", f"net/each@{marks[0]}")) == 3


def test_a_fingerprint_that_is_not_there(toy: FeatureStore) -> None:
    table = add(toy, "net", "conv")
    with pytest.raises(StoreError, match="begins with 'zz'") as caught:
        toy.features("toy", "net/conv@zz")
    assert table.fingerprint in caught.value.next


def test_an_alias_of_two_layers_is_ambiguous(toy: FeatureStore) -> None:
    add(toy, "net", "joined")
    toy.create_feature_table("toy", {"backbone": "net", "layer": "mine"}, 2, {"aliases": ["last"]})
    with pytest.raises(StoreError, match="is ambiguous") as caught:
        toy.addresses("toy", "net/last")
    assert {c.partition("@")[0] for c in caught.value.details["candidates"]} == {"net/joined", "net/mine"}


@pytest.mark.parametrize(
    ("address", "message", "hint"),
    [
        ("net/blok", "no layer 'blok' of 'net'; it has block, joined", "Did you mean 'block'?"),
        ("net/lats", "no layer 'lats'", "Did you mean 'last'?"),
        ("nett/last", "no features of 'nett'. It has features of: net", "Did you mean 'net'?"),
        ("other/last", "no features of 'other'", "histokit extract toy --backbone other"),
    ],
)
def test_unknown_names_have_hints(toy: FeatureStore, address: str, message: str, hint: str) -> None:
    add(toy, "net", "block")
    add(toy, "net", "joined")
    with pytest.raises(StoreError) as caught:
        toy.addresses("toy", address)
    assert message in caught.value.message
    assert hint in caught.value.next


def test_a_layer_that_a_named_table_is_not_of_is_told_as_a_layer(toy: FeatureStore) -> None:
    table = add(toy, "net", "block")
    with pytest.raises(StoreError, match="no layer 'joined' of 'net'; it has block"):
        toy.addresses("toy", f"net/joined@{table.fingerprint}")
    with pytest.raises(StoreError, match="No table of 'net' has a fingerprint that begins with 'zz'") as caught:
        toy.addresses("toy", "net/block@zz")
    assert f"@{table.fingerprint} (block)" in caught.value.next


def test_a_dataset_without_features(toy: FeatureStore) -> None:
    with pytest.raises(StoreError, match="It has no features yet"):
        toy.addresses("toy", "net/last")
    with pytest.raises(StoreError, match="no dataset 'toi'"):
        toy.addresses("toi", "net/last")


def test_options_may_come_in_any_order(toy: FeatureStore) -> None:
    add(toy, "net,a=1,b=2", "joined")
    assert toy.addresses("toy", "net,b=2,a=1/last") == ["net,a=1,b=2/joined"]


def test_all_and_each_are_the_curated_layers_of_a_toy_network(tmp_path):
    samples, X = make_samples()
    layers = {"first": X[:, :2], "inner.3": X[:, :3], "last": X}
    store = make_store(tmp_path / "store", samples, layers, curated=["first", "last"])
    assert store.features("toy", "net/all").X.shape == (60, 10)
    assert store.addresses("toy", "net/each") == ["net/first", "net/last"]
    assert store.features("toy", "net/inner.3").X.shape == (60, 3)
    store = make_store(tmp_path / "other", samples, layers, curated=["first", "middle", "last"])
    with pytest.raises(StoreError, match="Not all layers of net are in the store for 'toy'; missing: middle"):
        store.features("toy", "net/all")
