"""Training curves: means over networks, epoch by epoch, and what the command makes of them."""

import csv
import json

import pyarrow.parquet as pq
import pytest

import histokit
from histokit.errors import StoreError, UsageError
from histokit.features import FeatureStore
from tests.cli.command_line import CommandLine
from tests.cli.screens import on_a_terminal
from tests.evaluate.made_up import save
from tests.evaluate.made_up_curves import ONE, TWO, save_curves


@pytest.fixture
def empty(tmp_path, monkeypatch):
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "store"))
    return FeatureStore(tmp_path / "store")


@pytest.fixture
def command(capsys):
    return CommandLine(capsys)


def alone(mean):
    return {"mean": pytest.approx(mean), "std": None, "networks": 1}


def test_the_loss_of_an_epoch_is_the_mean_over_its_batches(empty):
    (found,) = histokit.curves(empty, save_curves(empty, ONE))
    first, second = found.epochs
    # The point at the end of an epoch is only the mean since the point before it.
    assert first["train"] == {"loss": alone((2 * 3.0 + 1 * 2.0) / 3)}
    assert second["train"] == {"loss": alone((1 * 1.5 + 2 * 0.5) / 3)}
    assert first["val"] == {"loss": alone(2.5), "accuracy": alone(0.5)}
    assert second["test"] == {"loss": alone(2.25), "accuracy": alone(1.0)}
    assert [(e["epoch"], e["iteration"], e["chosen"]) for e in found.epochs] == [(1, 3, 0), (2, 6, 1)]
    assert found.chosen == [{"repeat": 0, "fold": 0, "epoch": 2}]
    assert found.final is None
    assert [step["loss"] for step in found.steps] == [3.0, 2.0, 1.5, 0.5]


def test_means_are_over_repeats_and_folds_without_the_network_of_all_samples(empty):
    (found,) = histokit.curves(empty, save_curves(empty, TWO))
    first, second = found.epochs
    assert first["val"]["accuracy"] == {"mean": pytest.approx(0.6), "std": pytest.approx(0.1), "networks": 2}
    assert first["train"]["loss"]["mean"] == pytest.approx((8 / 3 + 1.0) / 2)
    # The second network's epochs are of five iterations: its second one would have ended at the tenth.
    assert (first["iteration"], second["iteration"]) == (4, 8)
    assert second["val"]["accuracy"] == alone(0.75)
    assert [(e["networks"], e["chosen"]) for e in found.epochs] == [(2, 1), (1, 1)]
    assert (found.networks, found.final, found.steps) == (2, {"epoch": 1}, [])


@pytest.mark.parametrize("undefined", [None, float("nan"), float("inf")])
def test_a_metric_that_is_undefined_is_in_no_mean(empty, undefined):
    points = [(*p[:6], undefined) if p[:3] == (1, 0, "val") else p for p in TWO]
    (found,) = histokit.curves(empty, save_curves(empty, points))
    assert found.epochs[0]["val"]["accuracy"] == alone(0.5)
    assert found.epochs[0]["val"]["loss"]["networks"] == 2
    (found,) = histokit.curves(empty, save_curves(empty, [(*p[:6], undefined) for p in TWO]))
    assert found.measures == [("train", "loss"), ("val", "loss")]
    json.dumps(found.to_json(), allow_nan=False)


def test_one_measure_can_be_had_alone_and_one_that_was_not_recorded_is_refused(empty):
    run = save_curves(empty, ONE)
    (found,) = histokit.curves(empty, run, metric="loss")
    assert found.measures == [("train", "loss"), ("val", "loss"), ("test", "loss")]
    (found,) = histokit.curves(empty, run, metric="accuracy")
    assert found.measures == [("val", "accuracy"), ("test", "accuracy")]
    assert found.steps == [], "of the loss"
    with pytest.raises(UsageError, match=f"Of the run {run} loss and accuracy were recorded, not roc_auc"):
        histokit.curves(empty, run, metric="roc_auc")
    with pytest.raises(UsageError, match="against 'epochs' are unknown"):
        histokit.curves(empty, run, against="epochs")


def test_a_run_in_which_no_network_was_trained_has_no_curves(empty, command):
    run = save(empty, "nuclei", 12, "et")
    failed = command.fails("curves", run, code=5)
    assert f"The run {run} (train, et) has no curves: no network was trained in it." in failed.err
    assert "histokit list runs" in failed.err
    predicted = save(empty, "nuclei", 12, kind="predict", source_run="aaaa")
    with pytest.raises(StoreError) as error:
        histokit.curves(empty, predicted)
    assert "histokit curves aaaa" in error.value.next


def test_names_are_what_tells_runs_apart(empty):
    def names(*runs):
        return [found.name for found in histokit.curves(empty, runs)]

    tuned, scratch = save_curves(empty, ONE), save_curves(empty, ONE, classifier="from scratch")
    assert names(tuned, scratch) == ["fine-tuning", "from scratch"]
    other = save_curves(empty, ONE, address="vgg16/last", classifier="from scratch")
    assert names(tuned, other) == ["net/last fine-tuning", "vgg16/last from scratch"]
    seeded = save_curves(empty, ONE, seed=1)
    assert names(tuned, seeded) == ["seed 0", "seed 1"]
    slow = save_curves(empty, ONE, lr="slow")
    assert names(tuned, slow) == [tuned, slow]
    assert names(tuned, tuned) == [tuned]
    how = [{"settings": {"epochs": epochs}, "from_scratch": True, "network": {"weights": epochs}} for epochs in "28"]
    assert names(*(save_curves(empty, ONE, **asked) for asked in how)) == ["epochs=2", "epochs=8"]


def test_the_table_has_an_epoch_a_row_and_marks_the_chosen_one(empty, command):
    run = save_curves(empty, ONE)
    shown = command.ok("curves", run[:6]).out.splitlines()
    assert shown[0] == f"{run}  nuclei  net/last  fine-tuning  cv  (epoch chosen by validation)"
    assert [line.split() for line in shown[3:5]] == [
        ["1", "3", "0.001", "2.6667", "2.5000", "0.5000", "2.7500", "0.2500"],
        ["2", "6", "0.001", "0.8333", "2.0000", "0.7500", "2.2500", "1.0000", "yes"],
    ]
    heads = command.ok("curves", run, "--against", "iteration", "--metric", "accuracy").out.splitlines()[1]
    assert heads.split("  ")[0].strip() == "iteration"
    assert "loss" not in heads


def test_eighty_columns_hold_means_and_say_what_is_left_out(empty):
    run = save_curves(empty, [*TWO, *((2, 0, *point[2:]) for point in ONE)])
    screen = on_a_terminal(80, "curves", run)
    lines = screen.text.replace("\r", "").splitlines()
    assert all(len(line) < 80 for line in lines)
    assert f"{run}  nuclei  net/last  fine-tuning  cv  (3 networks, epochs chosen by" in lines[0]
    assert "of all training samples: epoch 1" in screen.text
    rows = [line.split() for line in lines if line.strip()[:1] in ("1", "2")]
    # Loss and accuracy of val: of the three networks, then of the two that have a second epoch.
    assert [row[-1] for row in rows] == ["1", "2"], "of so many networks it was chosen"
    assert "2.1667" in rows[0]
    assert "0.5667" in rows[0]
    assert "Not shown: " in screen.text


def test_documents_and_files_hold_all(empty, command, tmp_path):
    run = save_curves(empty, TWO)
    (document,) = command.ok("curves", run, "--json").document["runs"]
    (found,) = histokit.curves(empty, run)
    assert document == found.to_json()
    assert (document["run"], document["final"]) == (run, {"epoch": 1})
    file = tmp_path / "c.csv"
    assert command.ok("curves", run, "--out", file).out == f"{file}\n"
    with file.open() as opened:
        rows = list(csv.DictReader(opened))
    assert len(rows) == len(TWO)
    marked = {(row["repeat"], row["fold"], row["series"], row["epoch"]) for row in rows if row["chosen"] == "true"}
    assert marked == {
        *(("0", "0", series, "2") for series in ("train", "val")),
        *(("1", "0", series, "1") for series in ("train", "val")),
        *(("-1", "-1", series, "1") for series in ("train", "val")),
    }
    command.ok("curves", run, "--out", tmp_path / "c.parquet")
    assert pq.read_table(tmp_path / "c.parquet").column("loss").to_pylist() == [point[5] for point in TWO]
    command.fails("curves", run, "--out", tmp_path / "c.txt", code=2)


def test_the_command_draws_and_refuses_before_it_reads(empty, command, tmp_path):
    run = save_curves(empty, ONE)
    assert f"Drawn: {tmp_path / 'a.svg'}" in command.ok("curves", run, "--figure", tmp_path / "a.svg").err
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()
    command.fails("curves", "nothing", "--figure", tmp_path / "a.bmp", code=2)
