"""What the lists show: a store that is there, samples, scores, and one name for the id of a run."""

import json
import time
from collections import Counter
from datetime import UTC, datetime
from itertools import count
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

import histokit as library
from histokit.errors import ExitCode
from histokit.evaluate.pooled import pooled_scores
from histokit.store.change_digests import column_digests
from histokit.store.records import PREDICTION_SCHEMA
from histokit.store.results import Results
from histokit.store.tables import Tables
from tests.evaluate.made_up import make_record
from tests.toy import make_samples, make_store

LISTS = ["datasets", "splits", "features", "selections", "runs", "problems toy", "samples toy"]
LOOKS = [f"list {what}" for what in LISTS] + ["store verify", "store compact", "store gc", "compare --all"]
WORK = [
    "train toy --features net/last",
    "extract toy --backbone texture",
    "predict abcd toy",
    "select compare abcd abce",
]
FAST = ["--classifier", "knn", "--grid", "k=1,3", "--inner-folds", 2, "--split", "leave-one-group-out"]


@pytest.mark.parametrize("command", [*LOOKS, *WORK, "evaluate abcd", "predictions abcd"])
def test_a_store_that_is_not_there_is_told(histokit, tmp_path, command):
    (tmp_path / "storage" / "datasets.lance").mkdir(parents=True)
    result = histokit.fails(*command.split(), code=ExitCode.STORE)
    assert f"There is no store {tmp_path / 'store'}." in result.err
    assert "Did you mean 'storage'? Name another with --store or HISTOKIT_STORE" in result.err
    assert "histokit ingest PLUGIN ROOT --name NAME" in result.err
    assert not (tmp_path / "store").exists()


@pytest.fixture
def toy(histokit, tmp_path):
    samples, X = make_samples(n=40, slides=4)
    samples |= {"age": [None if i % 5 == 0 else i for i in range(40)]}
    make_store(tmp_path / "store", samples, {"first": X[:, :4], "last": X}, root="/data")
    return histokit


def test_samples_are_listed(toy):
    result = toy.ok("list", "samples", "toy", "--where", "slide = 'P1' AND age > 10", "--limit", 2)
    lines = [line.split() for line in result.out.splitlines()]
    assert lines[0] == ["id", "label", "slide", "image"]
    assert [line[:1] + line[2:] for line in lines[2:]] == [
        ["s13", "P1", "/data/s13.png"],
        ["s17", "P1", "/data/s17.png"],
    ]
    assert result.err == "2 of 6 samples are shown\n"
    document = toy.ok("list", "samples", "toy", "--where", "slide = 'P1' AND age > 10", "--limit", 2, "--json").document
    assert (document["dataset"], document["group"], document["count"]) == ("toy", "slide", 6)
    assert [sample["id"] for sample in document["samples"]] == ["s13", "s17"]
    assert document["samples"][0] | {"label": None} == {
        **{"id": "s13", "image": "/data/s13.png", "part": None, "box": None, "label": None, "mpp": None},
        **{"slide": "P1", "age": 13},
    }
    everything = toy.ok("list", "samples", "toy", "--json").document
    assert (everything["count"], len(everything["samples"])) == (40, 40)
    assert "No samples of toy that the filter keeps" in toy.ok("list", "samples", "toy", "--where", "age < 0").err
    assert toy.ok("list", "samples", "toy", "--limit", 0, "--json").document["samples"] == []
    assert "slid" in toy.fails("list", "samples", "toy", "--where", "slid = 'x'", code=ExitCode.USAGE).err
    assert "'--limit'" in toy.fails("list", "samples", "toy", "--limit", -1, code=ExitCode.USAGE).err
    assert "Did you mean 'toy'" in toy.fails("list", "samples", "tiy", code=ExitCode.STORE).err


def test_boxes_and_parts_are_shown_where_there_are_some(histokit, tmp_path):
    samples = {"id": ["a", "b"], "label": ["x", "y"], "box": [[1, 2, 3, 4], None], "part": [None, "page 2"]}
    samples |= {"image": [["r.png", "g.png"], ["b.tif"]]}
    make_store(tmp_path / "store", samples, {}, root="/data")
    result = histokit.ok("list", "samples", "toy")
    assert result.out.splitlines()[0].split() == ["id", "label", "part", "box", "image"]
    assert "1,2,3,4" in result.out
    assert "/data/r.png;/data/g.png" in result.out
    assert "page 2" in result.out


def ids_in(value, names):
    """All keys of a document under which one of some ids stands."""
    if isinstance(value, dict):
        found = {key for key, inner in value.items() if isinstance(inner, str) and inner in names}
        return found.union(*(ids_in(inner, names) for inner in value.values()))
    return set().union(*(ids_in(inner, names) for inner in value)) if isinstance(value, list) else set()


def test_sets_of_folds_are_counted_by_group_and_class(histokit, tmp_path):
    labels = ["10", "2", "2", None, "10", "2", "2", "10"]
    samples = {"id": [f"s{i}" for i in range(8)], "label": labels, "slide": list("AABBCCDD")}
    make_store(tmp_path / "store", samples, {})
    (tmp_path / "own.csv").write_text(
        "id,role,fold\ns0,train,0\ns1,train,0\ns2,train,0\ns3,train,0\ns4,val,0\ns6,test,0\ns7,test,0\n"
        "s6,train,1\ns7,train,1\ns0,test,1\ns1,test,1\n"
    )
    histokit.ok("split", "toy", "--name", "own", "--from", tmp_path / "own.csv")
    (split,) = histokit.ok("list", "splits", "toy", "--folds", "--json").document["splits"]
    assert [tuple(each.values()) for each in split["sets"]] == [
        (0, 0, "train", 3, 2, {"10": 1, "2": 2}),
        (0, 0, "val", 1, 1, {"10": 1}),
        (0, 0, "test", 2, 1, {"10": 1, "2": 1}),
        (0, 1, "train", 2, 1, {"10": 1, "2": 1}),
        (0, 1, "test", 2, 1, {"10": 1, "2": 1}),
    ]
    assert split["folds"] == 2
    shown = histokit.ok("list", "splits", "--folds").out.splitlines()
    assert shown[0].split() == ["dataset", "split", "fold", "set", "samples", "groups", "classes"]
    assert shown[4].split() == ["toy", "own", "0", "test", "2", "1", "2:", "1,", "10:", "1"]
    assert shown[2].endswith("2: 2, 10: 1")
    assert "sets" not in histokit.ok("list", "splits", "--json").document["splits"][0]


def test_a_run_and_a_selection_have_one_name_in_every_document(toy, tmp_path):
    selection = toy.ok("select", "toy", "--features", "net/last", "--step", 0.7, "--inner-folds", 2).out.strip()
    options = ["toy", "--features", "net/last", "--features", "net/first", *FAST]
    runs = toy.ok("train", *options, "--choose", "inner", "--json").document
    names = [entry["run"] for entry in runs["runs"]]
    used = toy.ok("train", "toy", "--features", "net/last", "--selection", selection, *FAST[:-1], "cv").out.strip()
    names.append(used)
    documents = {
        "train": runs,
        "list runs": toy.ok("list", "runs", "--json").document,
        "evaluate": toy.ok("evaluate", *names, "--json").document,
        "predictions": toy.ok("predictions", used, "--json").document,
        "compare": toy.ok("compare", "--all", "--bootstrap", 2, "--json").document,
    }
    for command, document in documents.items():
        assert ids_in(document, names) <= {"run", "source_run"}, command
    assert {entry["run"] for entry in documents["list runs"]["runs"]} == set(names)
    listed = toy.ok("list", "selections", "--json").document
    assert ids_in([documents, listed], [selection]) == {"selection"}
    head, row = toy.ok("list", "selections").out.splitlines()[::2]
    assert head.split() == ["selection", "dataset", "address", "split", "method", "kept", "of", "created"]
    kept_columns = str(listed["selections"][0]["kept"]["k_min"])
    (width,) = (
        feature["width"]
        for feature in toy.ok("list", "features", "toy", "--json").document["features"]
        if feature["address"] == "net/last"
    )
    assert row.split()[:7] == [selection, "toy", "net/last", "cv", "rfe", kept_columns, str(width)]


# -- scores


def test_runs_are_listed_with_their_scores(toy):
    run = toy.ok("train", "toy", "--features", "net/last", *FAST).out.strip()
    accuracy = toy.ok("evaluate", run, "--json").document["runs"][0]["metrics"]["accuracy"]
    (entry,) = toy.ok("list", "runs", "--json").document["runs"]
    assert (entry["run"], entry["score"], entry["scored_by"]) == (run, accuracy, "accuracy")
    head, _, row = toy.ok("list", "runs").out.splitlines()
    assert "accuracy" in head.split()
    assert "differs" not in head
    assert f"{accuracy:.4f}" in row.split()
    usual = ("train", "toy", "--features", "net/last", *FAST)
    others = [toy.ok(*usual, *more).out.strip() for more in (["--seed", 1], ["--scale"], ["--scale", "--seed", 1])]
    result = toy.ok("list", "runs")
    assert "differs in" in result.out
    lines = {line.split()[0]: line for line in result.out.splitlines()[2:]}
    told = dict(zip(others, ("seed 1", "scale", "seed 1, scale"), strict=True))
    assert not any(word in lines[run] for word in ("seed", "scale"))
    assert all(f"  {text}  " in lines[other] for other, text in told.items())
    order = [entry["run"] for entry in toy.ok("list", "runs", "--json").document["runs"]]
    newest = toy.ok("list", "runs", "--limit", 1)
    assert order[-1] in newest.out
    assert order[0] not in newest.out
    assert "The newest 1 of 4 runs are shown" in newest.err
    document = toy.ok("list", "runs", "--limit", 2, "--json").document
    assert (document["count"], [entry["run"] for entry in document["runs"]]) == (4, order[2:])


def test_a_dataset_in_the_place_of_a_run_is_told_and_a_run_in_that_of_a_dataset(toy):
    run = toy.ok("train", "toy", "--features", "net/last", *FAST).out.strip()
    for command in (
        ["evaluate", "toy"],
        ["compare", run, "toy"],
        ["predictions", "toy"],
        ["report", "toy", "--out", "x.html"],
    ):
        told = toy.fails(*command, code=ExitCode.STORE).err
        assert "'toy' is a dataset, where a run is asked for.\nGive the id of one: histokit list runs toy. " in told
        assert "--dataset toy in compare and report" in told
    for name in (run, run[:4]):
        told = toy.fails("list", "samples", name, code=ExitCode.STORE).err
        assert f"'{name}' is a run, where a dataset is asked for.\nGive a dataset, such as its own: toy." in told
    assert "There is no dataset 'abcd'" in toy.fails("list", "samples", "abcd", code=ExitCode.STORE).err


def test_runs_of_one_second_are_listed_in_the_order_in_which_they_were_made(toy, monkeypatch):
    moments = (datetime(2026, 5, 4, 3, 2, 1, 1000 * n, tzinfo=UTC) for n in count())
    clock = SimpleNamespace(now=lambda _: next(moments), fromisoformat=datetime.fromisoformat)
    monkeypatch.setattr("histokit.protocol.run_origin.datetime", clock)
    how = {"split": "leave-one-group-out"}
    made = [
        library.train(library.open_store(), "toy", "net/last", "knn", grid={"k": k}, **how)[0].id for k in range(1, 7)
    ]
    assert made != sorted(made)
    listed = toy.ok("list", "runs", "--json").document["runs"]
    assert [entry["run"] for entry in listed] == made
    newest = toy.ok("list", "runs", "--limit", 3, "--json").document["runs"]
    assert [entry["run"] for entry in newest] == made[-3:]


def predictions(run, classes, n, seed, positive=None, folds=3):
    """Predictions as a run stores them, not sorted, some without a label; and what the labelled ones say."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, len(classes), n)
    scores = rng.normal(size=(n, len(classes))).round(1) + np.eye(len(classes))[true]
    predicted = scores.argmax(1)
    labelled = rng.random(n) > 0.1
    columns = {
        "run": [run] * n,
        "repeat": [0] * n,
        "fold": rng.integers(0, folds, n).tolist(),
        "role": ["test"] * n,
        "id": [f"s{i}" for i in range(n)],
        "true": [classes[k] if known else None for k, known in zip(true, labelled, strict=True)],
        "predicted": [classes[k] for k in predicted],
        "scores": scores.tolist(),
        "kind": ["decision"] * n,
        "group": [None] * n,
        "levels": [[]] * n,
    }
    return pa.table(columns, schema=PREDICTION_SCHEMA), true[labelled], predicted[labelled], scores[labelled]


@pytest.mark.parametrize(
    ("metric", "by_sklearn"),
    [
        ("accuracy", lambda true, predicted, scores: (true == predicted).mean()),
        ("balanced_accuracy", lambda true, predicted, scores: balanced_accuracy_score(true, predicted)),
        ("f1_macro", lambda true, predicted, scores: f1_score(true, predicted, average="macro")),
        ("roc_auc", None),
    ],
)
def test_scores_of_a_list_are_those_of_scikit_learn(store, metric, by_sklearn):
    make_store(store.uri, {"id": ["a"], "label": ["a"]}, {}, metric=metric)
    expected, runs = {}, []
    for seed, classes in enumerate(("ab", "abc", "ab")):
        run = make_record("toy", run_id=f"r{seed}", classes=tuple(classes), positive="a" if seed == 2 else None)
        table, true, predicted, scores = predictions(run.id, classes, 90, seed)
        runs.append(store.save_run(run, table, None))
        if by_sklearn:
            expected[run.id] = by_sklearn(true, predicted, scores)
        elif len(classes) == 2:
            positive = 0 if seed == 2 else 1
            expected[run.id] = roc_auc_score(true == positive, scores[:, positive])
        else:
            expected[run.id] = np.mean([roc_auc_score(true == k, scores[:, k]) for k in range(3)])
    found = pooled_scores(store, runs, pytest.fail)
    assert {name: by for name, (by, _) in found.items()} == dict.fromkeys(expected, metric)
    assert {name: score for name, (_, score) in found.items()} == pytest.approx(expected)
    for run in runs:
        assert found[run.id][1] == pytest.approx(library.evaluate(store, run.id)[0].metrics[metric])


def test_what_has_no_score_is_listed_without(store):
    make_store(store.uri, {"id": ["a"], "label": ["a"]}, {})
    runs = [make_record("toy", run_id=f"r{i}", classes=("a", "b")) for i in range(4)]
    table = predictions("r0", "ab", 20, 0)[0]
    names = table.column_names
    unlabelled = table.set_column(names.index("true"), "true", pa.array([None] * 20, pa.string()))
    foreign = table.set_column(names.index("true"), "true", pa.array(["z"] * 20))
    partly = table.set_column(names.index("true"), "true", pa.array(["a"] * 10 + ["z"] * 10))
    partly = partly.set_column(names.index("predicted"), "predicted", pa.array(["a"] * 5 + ["b"] * 15))
    runs = [
        store.save_run(run, rows, None) for run, rows in zip(runs, (table, unlabelled, foreign, partly), strict=True)
    ]
    found = pooled_scores(store, runs, pytest.fail)
    assert found["r0"][1] is not None
    assert found["r1"] == found["r2"] == ("accuracy", None)
    assert found["r3"] == ("accuracy", 0.25), "a class that the model does not know is never right"
    assert pooled_scores(store, [], pytest.fail) == {}


def test_predictions_of_runs_that_lie_mixed_are_told_apart(store):
    make_store(store.uri, {"id": ["a"], "label": ["a"]}, {})
    tables = {name: predictions(name, "ab", 30, seed)[0] for seed, name in enumerate("pq")}
    mixed = pa.concat_tables([tables["p"].slice(0, 10), tables["q"], tables["p"].slice(10)])
    store.database.append("predictions", mixed)
    found = store.predictions_of([make_record("toy", run_id=name) for name in ("q", "none", "p")])
    assert list(found) == ["q", "none", "p"]
    assert found["p"].equals(tables["p"])
    assert found["q"].equals(tables["q"])
    assert len(found["none"]) == 0


def test_damaged_predictions_do_not_keep_runs_from_being_listed(toy, tmp_path):
    run = toy.ok("train", "toy", "--features", "net/last", *FAST).out.strip()
    for file in (tmp_path / "store" / "predictions.lance" / "data").iterdir():
        file.write_bytes(b"")
    result = toy("list", "runs", "--json")
    assert result.code == 5
    (entry,) = json.loads(result.out)["error"]["details"]["runs"]
    assert (entry["run"], entry["score"]) == (run, None)
    assert "histokit store verify" in result.err


def test_runs_of_a_former_version_that_have_no_digests_are_read_many_at_once(store, monkeypatch):
    make_store(store.uri, {"id": ["a"], "label": ["a"]}, {})
    table = predictions("r", "abcd", 20, 0)[0]
    runs = [make_record("toy", run_id=f"r{i}", classes=tuple("abcd")) for i in range(130)]
    parts = [table.set_column(0, "run", pa.array([run.id] * len(table))) for run in runs]
    store.database.append("predictions", pa.concat_tables(parts))
    reads, rows = [], Results.rows
    monkeypatch.setattr(Results, "rows", lambda self, *given: reads.append(len(given[0])) or rows(self, *given))
    assert len({score for _, score in pooled_scores(store, runs, pytest.fail).values()}) == 1
    assert reads == [64, 64, 2]


def test_five_hundred_runs_are_listed_at_once(store):
    make_store(store.uri, {"id": ["a"], "label": ["a"]}, {})
    table = predictions("r", "abcd", 1_000, 0)[0]
    digests = column_digests(table.drop_columns("run"))
    parts, runs = [], [make_record("toy", run_id=f"r{i}", classes=tuple("abcd"), digests=digests) for i in range(500)]
    for run in runs:
        parts.append(table.set_column(0, "run", pa.array([run.id] * len(table))))
    store.database.append("predictions", pa.concat_tables(parts))
    began = time.process_time()
    found = pooled_scores(store, runs, pytest.fail)
    assert len({score for _, score in found.values()}) == 1
    assert time.process_time() - began < 5


@pytest.mark.parametrize("what", ["datasets", "features", "splits"])
def test_records_of_many_datasets_are_read_once_for_all(histokit, tmp_path, monkeypatch, what):
    samples, X = make_samples(n=8, slides=4)
    for number in range(16):
        store = make_store(tmp_path / "store", samples, {"last": X}, name=f"d{number}")
        library.split(store, f"d{number}", "two", folds=2)
    reads, looks = Counter(), Counter()
    read, is_there = Tables.read, Tables._is_there

    def counted_read(self, name, *given):
        reads[name] += 1
        return read(self, name, *given)

    def counted_look(self, name):
        looks[name] += 1
        return is_there(self, name)

    monkeypatch.setattr(Tables, "read", counted_read)
    monkeypatch.setattr(Tables, "_is_there", counted_look)
    listed = histokit.ok("list", what, "--json").document[what]
    assert len(listed) == 16
    assert max(reads["datasets"], reads["splits"]) <= 2
    assert max([count for name, count in looks.items() if name.startswith("features.")], default=0) <= 8
