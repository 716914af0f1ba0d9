"""The commands select, train, evaluate, predictions and compare, through the command line."""

import json

import pytest

from histokit import cli
from histokit.train.question import identify
from tests.toy import make_samples, make_store

pytestmark = pytest.mark.usefixtures("few_trees")

SMALL = ["--grid", "C=0.01,1", "--inner-folds", "2"]


@pytest.fixture
def call(tmp_path, capsys, monkeypatch):
    samples, X = make_samples()
    X[:, 2] += 1.5 * X[:, 3]
    make_store(tmp_path / "store", samples, {"first": X[:, :4], "last": X})
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "store"))

    def run(*arguments):
        code = cli.run([str(a) for a in arguments])
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


def test_stdout_of_train_is_the_run_ids(call):
    code, out, err = call("train", "toy", "--features", "net/each", *SMALL)
    ids = out.split()
    assert (code, len(ids)) == (0, 2)
    assert all(len(run_id) == 12 for run_id in ids)
    assert "6 folds instead of 10" in err
    assert call("train", "toy", "--features", "net/first", "--features", "net/last", *SMALL)[1].split() == ids


def test_what_is_so_of_many_layers_is_told_once(call, tmp_path):
    samples, X = make_samples()
    layers = {layer: X[:, :4] * [1, 1, 1, factor] for layer, factor in (("first", 500), ("mid", 1), ("last", 3000))}
    make_store(tmp_path / "spread", samples, layers)
    command = ["--store", tmp_path / "spread", "train", "toy", "--features", "net/each", "--split", "holdout"]
    _, out, err = call(*command, "--grid", "C=1")
    told = [line for line in err.splitlines() if "the spread of" in line]
    (shown,) = told
    assert shown.startswith("warning: the spread of 'net/first[3]'")
    assert shown.endswith("(likewise, with other numbers, for 1 other run)")
    first, middle, last = out.split()
    assert "'net/last[3]'" in call("--store", tmp_path / "spread", "evaluate", last)[2]
    assert "the spread of" not in call("--store", tmp_path / "spread", "evaluate", middle)[2]
    assert call("--store", tmp_path / "spread", "evaluate", first, last)[2].count("the spread of") == 1


def test_tuning_and_comparing_by_the_metrics_of_kimia_path24(call):
    out = call("train", "toy", "--features", "net/each", "--metric", "eta_total", *SMALL, "--json")[1]
    run = json.loads(out)["runs"][0]
    assert (run["metric"], run["folds"][0]["tuning"]["metric"]) == ("eta_total", "eta_total")
    ids = [run["run"] for run in json.loads(out)["runs"]]
    found = json.loads(call("evaluate", ids[1], "--json")[1])["runs"][0]["metrics"]
    assert 1 > found["eta_total"] == pytest.approx(found["accuracy"] * found["balanced_accuracy"])
    compared = json.loads(call("compare", *ids, "--metric", "eta_total", "--json")[1])
    assert compared["methods"][1]["cells"]["toy"]["score"] == pytest.approx(found["eta_total"])


def test_people_read_the_mean_of_each_address_and_scripts_the_chosen_run(call):
    command = ["train", "toy", "--features", "net/each", "--choose", "test", *SMALL]
    code, out, err = call(*command)
    document = json.loads(call(*command, "--json")[1])["runs"]
    assert (code, out) == (0, f"{document[-1]['run']}\n")
    lines = [line.split() for line in err.splitlines()]
    assert ["run", "address", "classifier", "split", "folds", "metric", "mean", "over", "folds", "seconds"] in lines
    best = document[-1]["folds"][0]["address"]
    assert f"Chosen: {best} in 6 of 6 folds; on all training samples {best}" in err
    for run, address in zip(document, ("net/first", "net/last", "net/each"), strict=True):
        scores = [fold["scores"]["accuracy"] for fold in run["folds"]]
        mean = f"{sum(scores) / 6:.4f}"
        assert [run["run"], address, "svm", "cv", "6", "accuracy", mean] in [line[:7] for line in lines]
        assert f"{run['mean_over_folds']:.4f}" == mean


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"seed": 4, "inner_folds": 2, "metric": "roc_auc", "class_weight": "balanced", "solver": "sklearn"},
        {"aggregate": "slide:max", "target": "site", "where": "slide <> 'P0'", "split": "holdout"},
    ],
)
def test_the_command_asks_what_the_function_asks(tmp_path, call, changed):
    samples, X = make_samples(slides=12, site=["near", "far"] * 30)
    store = make_store(tmp_path / "store", samples, {"last": X}, name="sites")
    options = [text for name, value in changed.items() for text in (f"--{name.replace('_', '-')}", value)]
    command = ["train", "sites", "--features", "net/last", "--grid", "C=0.01", *options]
    (expected,) = identify(store, "sites", "net/last", grid={"C": "0.01"}, **changed)
    assert call(*command)[1].split() == [expected]
    (expected,) = identify(store, "sites", "net/last", grid={"C": "0.01"}, scale=True, **changed)
    assert call(*command, "--scale")[1].split() == [expected]


def test_missing_features_are_left_out_only_where_it_is_said(tmp_path, call):
    samples, X = make_samples()
    X[3] = float("nan")
    make_store(tmp_path / "store", samples, {"last": X}, name="holes")
    command = ["train", "holes", "--features", "net/last", "--split", "holdout", *SMALL]
    code, out, err = call(*command)
    assert (code, out) == (5, "")
    assert "missing for 1 of 60 samples" in err
    assert call(*command, "--allow-missing")[0] == 0


def test_every_step_prints_one_json_document(call, tmp_path):
    def document(*arguments):
        code, out, _ = call(*arguments, "--json")
        assert code == 0
        return json.loads(out)

    selection = document("select", "toy", "--features", "net/last", "--split", "holdout", "--step", "0.7")["selection"]
    options = ["--features", "net/last", "--split", "holdout", *SMALL]
    (first,) = document("train", "toy", *options)["runs"]
    (second,) = document("train", "toy", *options, "--selection", selection)["runs"]
    assert first["mean_over_folds"] == first["folds"][0]["scores"]["accuracy"]
    runs = [first["run"], second["run"]]
    found = document("evaluate", *runs, "--by", "slide:mean", "--bootstrap", "50")["runs"]
    assert [entry["run"] for entry in found] == runs
    expected = {"metrics", "per_class", "confusion", "folds", "by", "intervals", "notes", "n", "groups", "split"}
    assert expected <= set(found[0])
    listed = document("predictions", runs[0], "--wrong")
    assert listed["count"] == len(listed["predictions"])
    assert len(document("compare", *runs)["pairs"]) == 1
    out = tmp_path / "p.csv"
    assert document("predictions", runs[0], "--out", out)["file"] == str(out)
    assert out.read_text().startswith('"id","image"')


def test_tables_for_people(call):
    _, run, _ = call("train", "toy", "--features", "net/last", *SMALL)
    code, out, err = call("evaluate", run.strip(), "--by", "slide", "--bootstrap", "20")
    assert code == 0
    assert "95 % interval" in out
    assert "metric inside each unit, 6 units" in out
    assert "unreliable" in err
    assert "score:a" in call("predictions", run.strip())[1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "toy", "--features", "net/last", "--classifier", "smv"], 2, "Did you mean 'svm'"),
        (["train", "toy", "--features", "net/last", "--split", "cvv"], 5, "Did you mean 'cv'"),
        (["train", "toy", "--features", "net/last", "--grid", "D=1"], 2, "no parameter 'D'"),
        (["train", "toy", "--features", "net/last", "--rfe", "--selection", "abcd"], 2, "--selection and --rfe"),
        (["evaluate", "ffff"], 5, "no run 'ffff'"),
        (["select", "toy", "--features", "net/each"], 5, "stands for several"),
    ],
)
def test_mistakes_have_a_code_and_a_next_step(call, arguments, code, message):
    found, out, err = call(*arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert "Traceback" not in err
    found, out, _ = call(*arguments, "--json")
    assert json.loads(out)["error"]["code"] == code


def test_fewer_folds_than_asked_for_are_told(call):
    code, out, err = call("split", "toy", "--name", "many", "--folds", "50")
    assert (code, out) == (0, "many\n")
    assert "6 folds instead of 50" in err


def test_a_leaking_file_split_is_exit_code_6(call, tmp_path):
    path = tmp_path / "split.csv"
    path.write_text("id,role\ns0,train\ns1,train\ns6,test\n")
    code, _, err = call("split", "toy", "--name", "mine", "--from", path)
    assert code == 6
    assert "slide P0 is in training and in test" in err


def test_by_and_figure_and_out_are_checked(call, tmp_path):
    run = call("train", "toy", "--features", "net/last", *SMALL)[1].strip()
    for arguments, says in (
        (["evaluate", run, "--by", "slide:"], "COLUMN[:mean|median|vote]"),
        (["evaluate", run, "--by", "patient"], "no column 'patient'"),
        (["evaluate", run, "--figure", tmp_path / "x.xyz"], "Choose a path ending in one of .png"),
        (["evaluate", run, "--figure", tmp_path / "none" / "x.png"], "in a folder that exists"),
        (["predictions", run, "--out", tmp_path / "p.txt"], "its suffix is none of .csv, .parquet"),
        (["compare", run], "two runs or more"),
        (["train", "toy", "--features", "net/last", "--where", "slid = 'P0'"], "there is no column 'slid'"),
    ):
        code, out, err = call(*arguments)
        assert (code, out) == (2, "")
        assert says in err


def test_many_classes_leave_the_confusion_out_of_the_table(tmp_path, capsys, monkeypatch):
    samples, X = make_samples(n=130, slides=5, classes="abcdefghijklm")
    make_store(tmp_path / "many", samples, {"last": X})
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "many"))
    assert cli.run(["train", "toy", "--features", "net/last", "--classifier", "knn", "--grid", "k=1"]) == 0
    run = capsys.readouterr().out.strip()
    assert cli.run(["evaluate", run]) == 0
    out = capsys.readouterr().out
    assert "most frequent confusions of samples" in out
    assert "as a" not in out


def test_what_leaking_folds_would_claim_is_marked_wherever_it_is_shown(call):
    code, out, err = call("split", "toy", "--name", "random", "--folds", "5", "--ignore-groups")
    assert (code, out) == (0, "random\n")
    assert "the split random leaks: it was drawn without regard to slide" in err
    code, first, err = call("train", "toy", "--features", "net/last", "--split", "random", *SMALL)
    assert code == 0
    assert "split random: it was drawn without regard to slide: one slide trains and tests" in err
    second = call("train", "toy", "--features", "net/first", "--split", "random", *SMALL)[1]
    assert "the split random of toy leaks" in call("compare", first.strip(), second.strip())[2]


def test_one_fold_has_no_deviation(call):
    run = call("train", "toy", "--features", "net/last", *SMALL, "--split", "holdout")[1].strip()
    other = call("train", "toy", "--features", "net/first", *SMALL, "--split", "holdout")[1].strip()
    document = json.loads(call("evaluate", run, "--json")[1])["runs"][0]["folds"]
    assert document["count"] == 1
    assert set(document["std"].values()) == {None}
    line = next(line for line in call("evaluate", run)[1].splitlines() if line.split()[:1] == ["accuracy"])
    assert line.split()[3] == "–"
    listed = json.loads(call("compare", run, other, "--json")[1])["rows"]
    assert [entry["fold_std"] for entry in listed] == [None, None]
