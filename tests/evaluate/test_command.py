"""What the command evaluate prints: each number under its head, and the same as in the document."""

import json

import numpy as np
import pytest

import histokit
from histokit import cli
from histokit.features import FeatureStore
from histokit.figures.scores import draw_scores
from tests.cli.command_line import CommandLine
from tests.cli.screens import on_a_terminal
from tests.evaluate.made_up import save, save_dataset, save_run
from tests.toy import make_samples, make_store


@pytest.fixture
def empty(tmp_path):
    return FeatureStore(tmp_path / "store")


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "store"))

    def run(*arguments):
        code = cli.run([str(a) for a in arguments])
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


def test_the_name_of_the_largest_class_goes_on_in_the_next_line(empty, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    name = "adenocarcinoma of low differentiation with a mucinous component of any extent"
    save_run(empty, [(0, str(i), name, -1.0, f"P{i}") for i in range(4)], classes=(name, "other"))
    lines = on_a_terminal(80, "--store", empty.uri, "evaluate", "abcd").lines
    (start,) = [i for i, line in enumerate(lines) if line.startswith(" accuracy, always adenocarcinoma of")]
    assert lines[start].split()[-3:] == ["1.0000", "–", "–"]
    assert [line.split() for line in lines if line.startswith(" accuracy ")] == [["accuracy", "1.0000", "1.0000", "–"]]


def test_predictions_of_repeated_folds_are_not_called_samples(empty, capsys):
    rows = [(i // 2, f"s{i}", "ab"[i % 2], float(i), f"P{i // 2}", f"P{i // 2}{'ab'[i % 2]}") for i in range(4)]
    save_run(empty, rows, levels=("well",), repeats=[rows])
    lines = CommandLine(capsys).ok("--store", empty.uri, "evaluate", "abcd", "--by", "well:mean").out.splitlines()
    assert "by well:mean: scores of units, 4 units, 8 predictions" in lines
    assert [line for line in lines if "by class" in line] == [
        "predictions of well:mean by class, and confusion",
        "predictions by class, and confusion",
    ]


def test_the_command_prints_pooled_values_then_folds_then_intervals(empty, capsys):
    histokit = CommandLine(capsys)
    # Of a 1/2 and 2/2 are right in the folds, of b 0/0 and 1/2.
    rows = [(0, "1", "a", -1.0, "P"), (0, "2", "a", 1.0, "Q"), (1, "3", "a", -1.0, "P"), (1, "4", "a", -2.0, "R")]
    rows += [(1, "5", "b", 1.0, "R"), (1, "6", "b", -1.0, "Q")]
    save_run(empty, rows)
    found = histokit.ok("--store", empty.uri, "evaluate", "abcd", "--bootstrap", 30, "--json").document["runs"][0]
    low, high = found["intervals"]["metrics"]["accuracy"]
    lines = [
        line.split()
        for line in histokit.ok("--store", empty.uri, "evaluate", "abcd", "--bootstrap", 30).out.splitlines()
    ]
    titles = [" ".join(line) for line in lines]
    assert "abcd12345678 toy net/last svm cv (6 predictions, 3 groups, 2 folds)" in titles
    assert "samples by class, and confusion" in titles
    # 4 of 6 are right, 1/2 and 3/4 in the folds, whose spread is 1/8.
    assert ["accuracy", "0.6667", "0.6250", "0.1250", f"{low:.4f}", "to", f"{high:.4f}", "(unreliable)"] in lines
    assert ["accuracy,", "always", "a", "0.6667"] in [line[:4] for line in lines]
    assert ["balanced_accuracy,", "always", "a", "0.5000"] in [line[:4] for line in lines]
    # Three of the four taken for a are, and three of four are taken for it; of b it is one of two.
    table = {line[0]: line[1:] for line in lines if line and line[0] in ("a", "b")}
    assert table["a"][:3] == ["0.7500", "0.7500", "0.7500"]
    assert table["b"][:3] == ["0.5000", "0.5000", "0.5000"]
    assert (table["a"][-3:], table["b"][-3:]) == (["4", "3", "1"], ["2", "1", "1"])


def test_of_many_classes_the_worst_and_the_best_are_printed(empty, capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    histokit, count = CommandLine(capsys), 60
    names = tuple(f"grade {k}" for k in range(count))
    # Of ten samples each, so many of the first ten classes are right as their numbers say: the others are taken for
    # the last class, of whose predictions 10 of 10 + 55 are right.
    said = [(k, k if k >= 10 or n < k else count - 1) for k in range(count) for n in range(10)]
    rows = [(0, str(i), names[k], [float(j == p) for j in range(count)], "P") for i, (k, p) in enumerate(said)]
    save_run(empty, rows, classes=names)
    command = ("--store", empty.uri, "evaluate", "abcd")
    lines = histokit.ok(*command).out.splitlines()
    start, end = (next(i for i, line in enumerate(lines) if part in line) for part in ("lowest f1", "highest f1"))
    assert lines[start] == "samples by class: the 20 of 60 with the lowest f1 (all: --json)"
    assert lines[end] == "samples by class: the 5 with the highest f1"
    listed = [[line.split()[1] for line in lines[i:] if line.startswith(" grade")] for i in (start, end)]
    lowest = [0, 1, 59, *range(2, 10), *range(10, 19)]
    assert listed[0][:25] == [str(k) for k in [*lowest, *range(54, 59)]]
    assert listed[1][:5] == [str(k) for k in range(54, 59)]
    assert f"{2 * 10 / (10 + 65):.4f}" in lines[start + 5]
    assert list(histokit.ok(*command, "--json").document["runs"][0]["per_class"]) == list(names)
    screen = on_a_terminal(80, *command)
    assert len(screen.lines) < 90
    assert max(map(len, screen.lines)) <= 80
    # Of fifty all are printed.
    few = [(i, (k, p)) for i, (k, p) in enumerate(said) if k < 50]
    rows = [(0, str(i), names[k], [float(j == min(p, 49)) for j in range(50)], "P") for i, (k, p) in few]
    save_run(empty, rows, classes=names[:50], run_id="bbbb12345678")
    shown = histokit.ok("--store", empty.uri, "evaluate", "bbbb").out
    assert "samples by class\n" in shown
    assert all(f"\n {name} " in shown for name in names[:50])


def test_evaluate_prints_one_metric_alone(empty, call):
    save(empty, "A", 18, run_id="svmA000")
    code, out, _ = call("evaluate", "svmA", "--metric", "roc_auc")
    assert code == 0
    assert "roc_auc" in out
    assert "accuracy" not in out
    assert "true class" not in out
    code, out, _ = call("evaluate", "svmA", "--metric", "accuracy", "--json")
    assert json.loads(out)["runs"][0]["metric"] == "accuracy"
    assert call("evaluate", "svmA", "--metric", "auc")[0] == 2


def test_the_metrics_of_one_field_are_shown_where_one_of_them_counts(empty, call):
    rows = [
        (0, "1", "a", [3.0, 1, 0]),
        (0, "2", "a", [3.0, 1, 0]),
        (0, "3", "b", [3.0, 1, 0]),
        (0, "4", "c", [0, 3.0, 1]),
    ]
    rows += [(0, "5", "b", [0.0, 2, 1])]
    save_run(empty, [(*row, "P") for row in rows], classes=("a", "b", "c"))
    out = call("evaluate", "abcd")[1]
    assert "balanced_accuracy" in out
    assert "eta" not in out
    save_run(empty, [(*row, "P") for row in rows], classes=("a", "b", "c"), run_id="ef0123456789", metric="eta_total")
    lines = [line.split() for line in call("evaluate", "ef01")[1].splitlines()]
    # Three of five are right; of a 2/2, of b 1/2, of c none, which is never predicted.
    values = {line[0]: line[1] for line in lines if len(line) > 1 and line[0].startswith("eta")}
    assert values == {"eta_p": "0.6000", "eta_w": "0.5000", "eta_total": "0.3000", "eta_w_precision": "0.3889"}


def test_the_command_gives_what_the_function_gives_by_default(empty, call):
    save_dataset(empty, "A")
    save(empty, "A", 18, run_id="svmA000")
    for options, chosen in (([], {}), (["--by", "slide", "--bootstrap", 30], {"by": "slide", "bootstrap": 30})):
        (found,) = histokit.evaluate(empty, ["svmA"], **chosen)
        assert json.loads(call("evaluate", "svmA", *options, "--json")[1]) == {"runs": [found.to_json()]}


def test_numbered_classes_are_shown_in_the_order_of_their_numbers(tmp_path, call):
    names = [f"class {number}" for number in range(1, 12)]
    samples, X = make_samples(110, slides=5, classes=names)
    store = make_store(tmp_path / "store", samples, {"last": X})
    (run,) = histokit.train(store, "toy", "net/last", "knn", grid={"k": 1})
    assert list(run.classes) == sorted(names), "what is stored is not touched"
    _, out, _ = call("evaluate", run.id)
    shown = [line.split("  ")[0].strip() for line in out.partition("samples by class")[2].splitlines()]
    assert [name for name in shown if name in names][:11] == names
    (evaluation,) = json.loads(call("evaluate", run.id, "--json")[1])["runs"]
    assert evaluation["confusion"]["classes"] == sorted(names)
    assert list(evaluation["per_class"]) == sorted(names)
    sheet = draw_scores(histokit.evaluate(store, run.id))
    assert [label.get_text().replace("\n", " ") for label in sheet.axes[0].get_yticklabels()] == names
    order = [sorted(names).index(name) for name in names]
    counts = np.array(evaluation["confusion"]["counts"])[np.ix_(order, order)]
    shares = counts / counts.sum(1, keepdims=True)
    np.testing.assert_allclose(sheet.axes[0].images[0].get_array(), shares)
    (by_class,) = (sheet for sheet in histokit.evaluate(store, run.id)[0].sheets() if sheet.title == "by true class")
    assert [row[0] for row in by_class.rows] == names
