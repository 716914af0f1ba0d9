"""The command compare."""

import json

import pytest

import histokit
from histokit import cli
from histokit.features import FeatureStore
from tests.evaluate.made_up import save, save_dataset


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "store"))
    made = FeatureStore(tmp_path / "store")
    for name, rights in (("A", (18, 16)), ("B", (12, 14))):
        save_dataset(made, name)
        for classifier, right in zip(("svm", "et"), rights, strict=True):
            save(made, name, right, classifier, run_id=f"{classifier}{name}000")
    return made


@pytest.fixture
def call(store, capsys):
    def run(*arguments):
        code = cli.run([str(a) for a in arguments])
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


def test_scores_marks_and_ranks_for_people(call, tmp_path):
    code, out, err = call("compare", "--all", "--bootstrap", 20, "--figure", tmp_path / "ranks.svg")
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "method A: accuracy B: accuracy average rank" in lines
    assert "svm 0.9000 (1) 0.6000 (2) 1.5000" in lines
    assert "et 0.8000 (2) 0.7000 (1) 1.5000" in lines
    assert "Wilcoxon's signed-rank test over 2 datasets, with Holm's correction" in lines
    assert "warning: 2 datasets are few: no p of the signed-rank test can be smaller than 0.5" in err
    assert "Drawn: " in err
    assert "average rank over 2 datasets" in (tmp_path / "ranks.svg").read_text()


def test_one_document(call):
    code, out, _ = call("compare", "--where", "dataset = 'A'", "--json", "--bootstrap", 20)
    document = json.loads(out)
    assert code == 0
    assert [m["method"] for m in document["methods"]] == ["svm", "et"]
    cell = document["methods"][0]["cells"]["A"]
    assert (cell["mark"], cell["place"], cell["rank"], cell["runs"]) == ("best", 1, None, ["svmA000"])
    assert document["ranking"] is None
    assert len(document["pairs"]) == 1
    code, out, _ = call("compare", "--dataset", "A", "--dataset", "B", "--json", "--bootstrap", 20)
    assert json.loads(out)["ranking"]["average_ranks"] == {"svm": 1.5, "et": 1.5}


def test_the_best_of_each_says_that_it_is_optimistic(call):
    code, out, err = call("compare", "--all", "--best-of", "strategy", "--bootstrap", 5)
    assert code == 0
    assert "chosen on the test samples: optimistic" in out
    assert "last layer" in out
    assert "these scores are optimistic" in err


def test_runs_that_no_table_shows_are_counted(call, store):
    for seed in range(1, 20):
        save(store, "A", 12, seed=seed)
    code, out, err = call("compare", "--dataset", "A", "--dataset", "B", "--bootstrap", 5)
    assert code == 0
    assert "runs\n" not in out
    assert "23 runs are not shown: --json" in err.splitlines()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "Give run ids (histokit list runs), --dataset D, --where EXPR or --all"),
        (["svmA"], 2, "two runs or more"),
        (["--dataset", "C"], 5, "no dataset 'C'"),
        (["--where", "clasifier = 'svm'"], 2, "there is no column 'clasifier'"),
        (["--all", "--by", "stragety"], 2, "Did you mean 'strategy'"),
        (["--all", "--best-of", "nothing"], 2, "which --best-of names"),
        (["--all", "--metric", "auc"], 2, "no metric 'auc'"),
        (["ffff", "svmA"], 5, "no run 'ffff'"),
        (["--all", "--figure", "ranks.xyz"], 2, "Choose a path ending in one of .png"),
    ],
)
def test_mistakes(call, arguments, code, message):
    found, out, err = call("compare", *arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert "Traceback" not in err


def test_the_function_of_the_same_name(store):
    found = histokit.compare(store, dataset="A", bootstrap=5)
    assert [method["method"] for method in found.methods] == ["svm", "et"]


def test_the_command_gives_what_the_function_gives_by_default(store, call):
    def document(*arguments):
        return json.loads(call(*arguments, "--json")[1])

    assert document("compare", "--all") == histokit.compare(store, everything=True).to_json()
    given = document("compare", "--all", "--seed", 1, "--bootstrap", 30, "--metric", "f1_macro", "--by", "classifier")
    asked = {"seed": 1, "bootstrap": 30, "metric": "f1_macro", "by": "classifier"}
    assert given == histokit.compare(store, everything=True, **asked).to_json()
