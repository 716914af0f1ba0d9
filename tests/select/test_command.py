"""``histokit select`` and the commands beside it."""

import json
from dataclasses import replace

import pytest

from histokit.errors import ExitCode
from histokit.features import open_store
from histokit.select.select import identify, select
from tests.cli.command_line import CommandLine
from tests.toy import make_samples, make_store

QUICK = ["--step", 0.5, "--inner-folds", 2]


@pytest.fixture
def histokit(tmp_path, capsys, monkeypatch, few_trees):
    """The command line, on a store of two datasets with the same two layers."""
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "store"))
    for seed, name in enumerate(("one", "two")):
        samples, X = make_samples(seed=seed, grade=["low", "high", "high"] * 20)
        make_store(tmp_path / "store", samples, {"first": X[:, :3], "last": X}, name=name)
    return CommandLine(capsys)


def test_the_kept_columns_are_told_by_network_and_layer(histokit, tmp_path):
    figure = tmp_path / "curve.png"
    select = ["select", "one", "--features", "net/all", *QUICK, "--figure", figure]
    result = histokit.ok(*select)
    lines = [line.split() for line in result.err.splitlines()]
    document = histokit.ok(*select, "--json").document
    assert result.out.strip() == document["selection"]
    assert ["network", "layer", "columns", "kept"] in lines
    for part in [*document["folds"], document["kept"]]:
        name = ["all", "training", "samples"] if part["fold"] is None else [f"{part['repeat']}/{part['fold']}"]
        (score,) = [mean for size, mean, _ in part["curve"] if size == part["k_min"]]
        assert [*name, "11", str(part["k_best"]), str(part["k_min"]), f"{score:.4f}"] in lines
    assert ["fold", "columns", "k_best", "k_min", "accuracy"] in lines
    layers = {layer["layer"]: layer for layer in document["layers"]}
    for name, columns in (("first", 3), ("last", 8)):
        assert ["net", name, str(columns), str(layers[name]["kept"])] in lines
    assert [name for layer in document["layers"] for name in layer["names"]] == document["provenance"]
    assert document["figure"] == str(figure)
    assert figure.stat().st_size > 5_000


def test_options_may_stand_before_the_dataset(histokit):
    plain = histokit.ok("select", "one", "--features", "net/last", *QUICK).out
    assert histokit.ok("select", "--features", "net/last", *QUICK, "one").out == plain
    assert histokit.ok("select", "--json", "one", "--features", "net/last", *QUICK).document["selection"] in plain


def test_the_command_asks_what_the_functions_ask_by_default(histokit, tmp_path):
    store = open_store(tmp_path / "store")
    question = ("one", "net/first"), {"split": "holdout"}
    asked = identify(store, *question[0], **question[1])
    assert histokit.ok("select", "one", "--features", "net/first", "--split", "holdout").out.strip() == asked
    assert select(store, *question[0], **question[1]).id == asked
    changed = {"tolerance": 0.02, "step": 2, "inner_folds": 2, "seed": 3, "metric": "roc_auc"}
    changed |= {"where": "slide <> 'P0'", "target": "grade"}
    options = [text for name, value in changed.items() for text in (f"--{name.replace('_', '-')}", value)]
    other = histokit.ok("select", "one", "--features", "net/first", "--split", "holdout", *options).out.strip()
    assert other == identify(store, *question[0], **question[1], **changed)


def test_missing_features_are_left_out_only_where_it_is_said(histokit, tmp_path):
    samples, X = make_samples()
    X[3] = float("nan")
    make_store(tmp_path / "store", samples, {"last": X[:, :3]}, name="holes")
    for command, more in ((["select", "holes"], QUICK), (["select", "importances", "holes"], ["--trees", 2])):
        asked = [*command, "--features", "net/last", "--split", "holdout", *more]
        assert "missing for 1 of 60 samples" in histokit.fails(*asked, code=ExitCode.STORE).err
        assert "1 of 60 samples is left out" in histokit.ok(*asked, "--allow-missing").err


def test_mistakes_name_the_command_that_was_meant(histokit):
    assert "See: histokit select --help" in histokit.fails("select", code=ExitCode.USAGE).err
    missing = histokit.fails("select", "nothing", "--features", "net/last", code=ExitCode.STORE)
    assert "no dataset 'nothing'" in missing.err
    assert "Missing argument 'SELECTION'" in histokit.fails("select", "compare", code=ExitCode.USAGE).err
    assert "Missing option '--features'" in histokit.fails("select", "importances", "one", code=ExitCode.USAGE).err
    wrong = histokit.fails("select", "one", "--features", "net/last", "--step", "some", code=ExitCode.USAGE)
    assert "--step auto" in wrong.err


def test_selections_are_compared(histokit, tmp_path):
    ids = [histokit.ok("select", name, "--features", "net/last", *QUICK).out.strip() for name in ("one", "two")]
    figure = tmp_path / "sizes.svg"
    document = histokit.ok("select", "compare", *ids, "--json", "--figure", figure).document
    assert document["figure"] == str(figure)
    assert figure.stat().st_size > 5_000
    store = open_store(tmp_path / "store")
    for entry, record in zip(document["selections"], map(store.selection, ids), strict=True):
        assert entry["curve"] == record.kept["curve"]
        assert [entry[name] for name in ("k_best", "k_min")] == [record.kept[name] for name in ("k_best", "k_min")]
        assert (entry["address"], entry["metric"]) == ("net/last", "accuracy")
    assert document["columns"] == 8
    (pair,) = document["pairs"]
    assert pair["datasets"] == ["one", "two"]
    # Column 2 is the informative one in both.
    assert document["common"] == ["net/last[2]"]
    assert document["smallest"]["elimination"] == {"size": 1, "share": 0.125, "names": ["net/last[2]"]}
    text = histokit.ok("select", "compare", *ids).out
    assert "columns of 8 that both kept" in text
    assert "one and two" in text
    assert "first columns by importances until one is in all" in text
    old = store.selection(ids[1])
    store.save_selection(replace(old, id="old", kept={k: v for k, v in old.kept.items() if k != "importances"}))
    text = histokit.ok("select", "compare", ids[0], "old").out
    assert "first columns by elimination until one is in all" in text
    assert "by importances" not in text
    other = histokit.ok("select", "two", "--features", "net/first", *QUICK).out.strip()
    assert "net/last is only in" in histokit.fails("select", "compare", ids[0], other, code=ExitCode.USAGE).err


def test_importances_are_told(histokit, tmp_path):
    figure = tmp_path / "shares.svg"
    command = ["select", "importances", "one", "two", "--features", "net/all", "--trees", 10, "--figure", figure]
    document = histokit.ok(*command, "--json").document
    assert [row["layer"] for row in document["layers"]] == ["first", "last"]
    assert sum(row["importance"] for row in document["layers"]) == pytest.approx(1)
    assert json.loads(json.dumps(document)) == document
    result = histokit.ok(*command)
    assert "0 to 10 %" in result.out
    lines = [line.split() for line in result.out.splitlines()]
    for row in document["layers"]:
        numbers = [row["share_of_columns"], row["importance"], row["std"], *row["bands"]]
        assert ["net", row["layer"], str(row["columns"]), *(f"{value:.4f}" for value in numbers)] in lines
    assert "tested in another" in result.err
    assert figure.stat().st_size > 5_000
