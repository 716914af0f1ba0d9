"""A network that a run trained is a backbone, whose features know what it has seen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from tiny_plugin import TinyPlugin

import histokit
from histokit import cli
from histokit.errors import LeakageError, StoreError, UsageError
from histokit.features import FeatureStore
from histokit.networks.trained_backbone import TrainedBackbone
from histokit.networks.trained_runs import find_trained
from histokit.plugin.manager import registry
from histokit.protocol.networks_seen import seen_by
from histokit.store import RunRecord
from tests.trained_runs import a_network, a_trained_run

OPTIONS = {"pattern": "{patient}/{label}/*.png", "group": "patient"}
RUN = "run:fe0123456789"


@pytest.fixture
def run(store: FeatureStore, images: Path, tiny: TinyPlugin) -> RunRecord:
    """Of the patients p1 to p3; the network of fold 0 has not seen p1, and is cut at an inner layer."""
    histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    ids = [i for i in store.samples("d").column("id").to_pylist() if not i.startswith("p4")]
    inner = a_network(layer="1", seed=4)
    trained = {"final": (*a_network(seed=3), ids), "0.0": (*inner, [i for i in ids if not i.startswith("p1")])}
    return a_trained_run(store, "d", trained)


def held_out(store: FeatureStore, test: str, name: str) -> str:
    ids = store.samples("d").column("id").to_pylist()
    file = store.uri.parent / f"{name}.csv"
    rows = [f"{i},{'test' if i.startswith(test) else 'train'}" for i in ids]
    file.write_text("\n".join(["id,role", *rows]))
    return histokit.split(store, "d", name, from_file=file).name


def test_features_are_those_of_the_trained_network(store: FeatureStore, images: Path, run: RunRecord) -> None:
    done = histokit.extract(store, "d", "run:fe01", layers="all")
    assert done.addresses == (f"{RUN}/0", f"{RUN}/1", f"{RUN}/3")
    histokit.extract(store, "d", "tiny", layers="last", preprocess={"std": "0.25,0.25,0.25"})
    found = store.features("d", "run:fe01/last+tiny/last")
    network = a_network(seed=3)[0].eval()
    pixels = np.stack([np.asarray(Image.open(images / i)) for i in found.sample_ids]).astype(np.float32)
    batch = (torch.tensor(pixels).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    expected = network.vectors(batch).detach().numpy()
    np.testing.assert_allclose(found.X[:, :6], expected, atol=1e-5)
    assert np.abs(found.X[:, 6:] - expected).max() > 0.01


def test_a_network_ends_where_it_was_cut(store: FeatureStore, run: RunRecord) -> None:
    backbone = registry().backbone(f"{RUN}.0", store=str(store.uri))
    assert [layer.name for layer in backbone.layers] == ["0", "1"]
    assert backbone.layer("last").name == "1"
    assert backbone.licence == "MIT (fine-tuned on d)"
    with pytest.raises(UsageError, match="lies behind it"):
        backbone.layer("2")
    assert {bool(p.isnan().all()) for p in backbone.build()[2].parameters()} == {True}
    assert histokit.extract(store, "d", f"{RUN}.0").addresses == (f"{RUN}.0/0", f"{RUN}.0/1")


def test_what_is_cached_builds_no_network(store: FeatureStore, run: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    histokit.extract(store, "d", RUN)
    monkeypatch.setattr(TrainedBackbone, "_stored", None)
    monkeypatch.delattr(TrainedBackbone, "build")
    assert [table["cached"] for table in histokit.extract(store, "d", RUN).tables] == [24] * 3


def test_names_are_listed_and_mistakes_told(
    store: FeatureStore, run: RunRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--store", str(store.uri)]
    assert cli.run(["list", "backbones", "run:", *place]) == 0
    assert capsys.readouterr().out.split() == [RUN, f"{RUN}.0"]
    assert cli.run(["list", "layers", "run:fe01", *place]) == 0
    extract = ["extract", "d", *place, "--backbone"]
    for arguments, code, what in (
        ([*extract, RUN, "--weights", "random"], 2, "takes no others"),
        ([*extract, "run:abcdef"], 5, "There is no run 'abcdef'"),
        ([*extract, f"{RUN}.7"], 5, "has no network '0.7'"),
        (["list", "layers", RUN, "--store", str(store.uri / "no")], 5, "There is no store"),
    ):
        assert cli.run(arguments) == code, arguments
        assert what in capsys.readouterr().err
    with pytest.raises(StoreError, match="no store is named"):
        registry().backbone(RUN)
    path = find_trained(store, RUN).networks.path(find_trained(store, RUN).entry)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert cli.run([*extract, RUN]) == 5
    assert "changed on disk" in capsys.readouterr().err


def test_no_test_image_is_one_that_the_network_saw(store: FeatureStore, images: Path, run: RunRecord) -> None:
    histokit.extract(store, "d", [RUN, f"{RUN}.0"])
    unseen, seen = held_out(store, "p4", "unseen"), held_out(store, "p1", "seen")
    train = {"classifier": "knn", "grid": {"k": "1"}, "inner_folds": 2}
    (good,) = histokit.train(store, "d", f"{RUN}/last", split=unseen, **train)
    assert any("trained on 18 of the 18 training samples" in note for note in good.notes)
    for name in (seen, "cv"):
        with pytest.raises(LeakageError, match=r"has seen .* test samples of fold"):
            histokit.train(store, "d", f"{RUN}/last", split=name, **train)
    with pytest.raises(LeakageError):
        histokit.select(store, "d", f"{RUN}/last", split=seen)
    # What the network of the fold has not seen.
    histokit.train(store, "d", f"{RUN}.0/last", split=seen, **train)
    # Under another name, of another dataset.
    histokit.ingest(store, "folder", images / "p1", name="again", options={"pattern": "{label}/*.png"})
    histokit.extract(store, "again", RUN)
    with pytest.raises(LeakageError):
        histokit.train(store, "again", f"{RUN}/last", **train)
    told = histokit.predict(store, good.id, "again").notes
    assert any(f"6 of 6 samples were in the training of the network {RUN}" in note for note in told)


def test_what_a_network_was_trained_from_counts(store: FeatureStore, run: RunRecord) -> None:
    ids = store.samples("d").column("id").to_pylist()
    network, described = a_network(seed=5)
    later = a_trained_run(store, "d", {"final": (network, described, ids[-2:])}, "ab0123456789")
    assert len(seen_by(store, "run:ab01")) == 2
    from dataclasses import replace

    store.save_run(replace(later, address=f"{RUN}/3"), store.predictions(later.id), None, again=True)
    assert len(seen_by(store, "run:ab01")) == 20
    assert seen_by(store, "tiny") == set()


@pytest.mark.parametrize(
    ("model", "arguments", "side"),
    [
        ("test_resnet", {"act_layer": "silu", "output_stride": 8}, None),
        ("test_vit", {}, 32),
        # Takes images of any size, and has positions for those that it is built for.
        ("crossvit_tiny_240", {"embed_dim": [8, 16], "depth": [[1, 1, 0]], "num_heads": [2, 2]}, 120),
    ],
    ids=["options", "input", "another input"],
)
def test_a_network_is_built_again_as_the_file_beside_its_first_weights_said(
    store: FeatureStore, images: Path, tmp_path: Path, model: str, arguments: dict[str, Any], side: int | None
) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    torch.manual_seed(0)
    built_for = {"img_size": side, "global_pool": "avg"} if side else {}
    save_file(timm.create_model(model, **arguments, **built_for).state_dict(), folder / "model.safetensors")
    told = {"pretrained_cfg": {"input_size": [3, side, side]}} if side else {}
    trained_with = {"global_pool": "avg", **arguments}
    document = {
        "architecture": model,
        "model_args": arguments,
        "global_pool": "avg",
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        **told,
    }
    (folder / "config.json").write_text(json.dumps(document))
    histokit.ingest(store, "folder", images, name="cells", options={"pattern": "{patient}/{label}/*.png"})
    how = {"weights": str(folder), "preprocess": {"size": 32}, "split": "holdout", "workers": 0}
    (trained,) = histokit.finetune(store, "cells", f"timm:{model}", settings={"epochs": 1, "patience": 0}, **how)
    shutil.rmtree(folder)
    done = histokit.predict(store, trained.id, "cells", workers=0)
    found = {row["id"]: row["scores"] for row in store.predictions(done.id).to_pylist()}
    for row in store.predictions(trained.id).to_pylist():
        assert found[row["id"]] == pytest.approx(row["scores"], abs=1e-5)
    histokit.extract(store, "cells", [f"run:{trained.id}"], layers="last", workers=0)
    (table,) = store.feature_tables("cells")
    assert table.spec["arguments"] == trained_with
    head = store.networks.read(trained, trained.found["networks"][-1]).tensors
    X = torch.tensor(store.features("cells", f"run:{trained.id}/last").X)
    scores = (X @ head["head.output.weight"].T + head["head.output.bias"]).softmax(1)
    ids = store.samples("cells").column("id").to_pylist()
    np.testing.assert_allclose(scores.numpy(), [found[i] for i in ids], atol=1e-5)
    how = {"split": "holdout", "settings": {"epochs": 1, "patience": 0}, "workers": 0}
    (further,) = histokit.finetune(store, "cells", f"run:{trained.id}", **how)
    again = histokit.predict(store, further.id, "cells", workers=0)
    expected = {row["id"]: row["scores"] for row in store.predictions(again.id).to_pylist()}
    histokit.export_model(store, further.id, tmp_path / "model")
    alone = histokit.load_model(tmp_path / "model").predict_proba([str(images / i) for i in ids])
    np.testing.assert_allclose(alone, [expected[i] for i in ids], atol=1e-5)
