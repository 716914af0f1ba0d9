from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageOps
from tiny_plugin import TinyPlugin
from torch.utils.flop_counter import FlopCounterMode

import histokit
from histokit import cli
from histokit.cores import cores
from histokit.extract import rates
from histokit.extract.extract_options import ExtractOptions
from histokit.extract.ledger_opening import ExtractionContext
from histokit.extract.samples import Samples
from histokit.features import FeatureStore
from histokit.networks.resolve import resolve_backbone
from histokit.networks.resolved import ResolvedBackbone
from histokit.plugin.manager import registry

OPTIONS = {"pattern": "{patient}/{label}/*.png", "group": "patient"}


@pytest.fixture
def ingested(store: FeatureStore, images: Path, tiny: TinyPlugin) -> FeatureStore:
    histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    return store


def dry(store: FeatureStore, **options: Any) -> dict[str, Any]:
    document = histokit.extract(store, "d", options.pop("backbone", "tiny"), dry_run=True, **options).to_json()
    return {
        "total": document["estimated_seconds"],
        "tables": [(table["missing"], table["seconds"], table["estimate"]) for table in document["tables"]],
    }


def test_what_never_ran_and_is_in_no_table_is_not_known(ingested: FeatureStore) -> None:
    assert dry(ingested, layers="last") == {"total": None, "tables": [(24, None, None)]}


def resolved(store: FeatureStore, backbone: str, layer: str, **changes: Any) -> ResolvedBackbone:
    return resolve_backbone(store, backbone, "random", changes, [layer])


def remember(store: FeatureStore, layer: str, images: int, seconds: float) -> None:
    """Remember how long some images took of the pass that gives a layer."""
    record = store.dataset("d")
    context = ExtractionContext(store, record, Samples(store, record), [], ExtractOptions())
    ledger = context.ledger(resolved(store, "tiny", layer), "torch")
    ledger.tables[0].open = True
    ledger.pushed, ledger.seconds = images, seconds
    rates.remember_rates(store, [ledger], "auto", "cpu", "float32")


def test_a_pass_that_layers_share_is_counted_once_and_as_fast_as_before(ingested: FeatureStore, images: Path) -> None:
    for layer in ("0", "last"):
        histokit.extract(ingested, "d", "tiny", layers=layer)
        tiny = resolved(ingested, "tiny", layer)
        for device in ("auto", "cpu"):
            found = rates.estimate(ingested, tiny, device, "float32")
            assert found is not None
            assert found.source == "measured"
            assert 0 < found.seconds < 1
        assert rates.estimate(ingested, tiny, "cuda", "float32") is None
        assert rates.estimate(ingested, tiny, "auto", "bfloat16") is None
    remember(ingested, "last", 24, 48.0)
    remember(ingested, "last", 15, 0.1)
    dark = images / "p1" / "dark"
    with Image.open(dark / "0.png") as image:
        other = ImageOps.invert(image)
    for name in ("0", "1"):
        other.save(dark / f"{name}.png")
    (dark / "2.png").write_bytes((images / "p4" / "dark" / "0.png").read_bytes())
    histokit.ingest(ingested, "folder", images, name="d", options=OPTIONS)
    # Of one sample the vectors are there under another id; all have 22 contents, of which one is new.
    assert dry(ingested, layers=["0", "1", "3"]) == {
        "total": 44.0,
        "tables": [(2, 2.0, "measured"), (24, 44.0, "measured"), (2, 2.0, "measured")],
    }
    histokit.extract(ingested, "d", "tiny")
    assert dry(ingested) == {"total": 0.0, "tables": [(0, 0.0, None)] * 3}


def test_a_rate_of_fewer_than_a_tenth_of_the_images_changes_nothing(ingested: FeatureStore) -> None:
    tiny = resolved(ingested, "tiny", "last")
    known = []
    for pushed, seconds in ((15, 1.0), (200, 400.0), (19, 1.0), (20, 10.0)):
        remember(ingested, "last", pushed, seconds)
        known.append(rates.estimate(ingested, tiny, "auto", "float32"))
    assert known == [None, (2.0, "measured"), (2.0, "measured"), (0.5, "measured")]


def test_the_command_tells_people_and_scripts(ingested: FeatureStore, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "extract",
        "d",
        "--store",
        str(ingested.uri),
        "--backbone",
        "tiny",
        "--layers",
        "last",
        "--device",
        "cpu",
    ]
    assert cli.run([*command, "--dry-run", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["estimated_seconds"] is None
    assert "How long it takes is not known: tiny did not run here before." in err
    remember(ingested, "last", 24, 48.0)
    assert cli.run([*command, "--dry-run", "--json"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["estimated_seconds"] == document["tables"][0]["seconds"] == 48.0
    assert document["tables"][0]["estimate"] == "measured"
    assert "about 48 s (as fast as before on this machine)" in err
    assert err.splitlines()[-2].split()[-2:] == ["48", "measured"]
    both = [*command[:-3], "all", "--backbone", "texture", "--dry-run"]
    assert cli.run(both) == 0
    shown = capsys.readouterr().err
    assert "seconds alone" in shown
    assert "How long all takes together is not known: texture did not run here before." in shown
    assert cli.run([*both[:-3], "--dry-run"]) == 0
    # Three tables of 48 s each, if they were made alone.
    told = "about 48 s (as fast as before on this machine; one pass through a network fills all its tables)"
    assert told in " ".join(capsys.readouterr().err.split())
    assert cli.run([*command, "--json"]) == 0
    assert "estimated_seconds" not in json.loads(capsys.readouterr().out)


def test_a_curated_network_is_estimated_by_its_operations(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "cores", lambda: 4)
    whole = rates.estimate(store, resolved(store, "resnet50", "last"), "cpu", "float32")
    assert whole == (pytest.approx(4.09 / 60), "typical")
    small = rates.estimate(store, resolved(store, "resnet50", "last", size="112"), "cpu", "float32")
    assert small == (pytest.approx(4.09 / 60 / 4), "typical")
    assert rates.estimate(store, resolved(store, "resnet50", "last"), "cuda:1", "float32") == (4.09 / 3000, "typical")


def test_the_operations_are_those_of_the_networks() -> None:
    for name in ("mobilenet_v1", "squeezenet1_1", "lunit-s8"):
        backbone = registry().backbone(name, "random")
        assert backbone.operations is not None
        operations, side = backbone.operations
        assert side == backbone.preprocess.size
        with torch.device("meta"):
            network = backbone.build().eval().to("meta")
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            network(torch.zeros(1, 3, side, side, device="meta"))
        assert counter.get_total_flops() / 2e9 == pytest.approx(operations, rel=0.02)


def test_what_to_expect_before_there_are_samples(store: FeatureStore, ingested: FeatureStore) -> None:
    backbone = resolve_backbone(store, "squeezenet1_1", "random", {"size": "448"}, ["all"])
    found = rates.estimate(store, backbone, "cpu", "float32")
    operations = 0.35
    assert found == (pytest.approx(4 * operations / (rates._EACH_CORE * cores())), "typical")
    tiny = resolve_backbone(store, "tiny", "random", {}, ["0", "3"])
    assert rates.estimate(store, tiny, "auto", "float32") is None
    histokit.extract(store, "d", "tiny", layers=["0", "3"])
    measured = rates.estimate(store, tiny, "auto", "float32")
    assert measured is not None
    assert measured.source == "measured"
