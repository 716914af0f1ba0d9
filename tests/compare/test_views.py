"""Scores against labels and against depth: as data, as figures, and what is said where there are none."""

import json

import numpy as np
import pyarrow as pa
import pytest

import histokit
from histokit.compare.compare import compare
from histokit.errors import UsageError
from histokit.features import FeatureStore
from histokit.figures.score_curves import draw_labels, draw_layers, labels_figure
from histokit.plugin.guarded_backbone import GuardedBackbone
from histokit.plugin.manager import registry
from histokit.store.records import FILE_SCHEMA, SAMPLE_FIELDS, DatasetRecord
from histokit.store.split_records import Split, split_rows
from tests.cli.command_line import CommandLine
from tests.evaluate.made_up import COUNT, save
from tests.toy import insert_vectors, make_samples, make_store

IDS = [f"s{i}" for i in range(COUNT)]
NETWORK = "squeezenet1_1"


@pytest.fixture
def empty(tmp_path):
    return FeatureStore(tmp_path / "store")


def save_slides(store, name="A"):
    """A dataset whose samples are of slides of two."""
    facts = {"plugin": "toy", "plugin_version": "1", "distribution": "histokit", "root": "/", "options": {}}
    facts |= {"classes": ("a", "b"), "positive": "b", "channels": (), "columns": {}, "group": "slide", "levels": ()}
    schema = pa.schema([*SAMPLE_FIELDS, pa.field("slide", pa.string())])
    columns = {field.name: pa.nulls(COUNT, field.type) for field in schema}
    columns |= {"id": pa.array(IDS), "slide": pa.array([f"P{i // 2}" for i in range(COUNT)])}
    columns["label"] = pa.array([*"ab" * (COUNT // 2 - 1), "a", None])
    record = DatasetRecord(name=name, metric="accuracy", state=None, count=COUNT, created="2026-01-01", **facts)
    store.save_dataset(record, pa.table(columns, schema=schema), FILE_SCHEMA.empty_table())


def save_split(store, name, trained, group="slide", leaks=None, **params):
    """Two folds, which train on the first samples, and on two more; the second also on the last one, to validate."""
    rows = [(0, 0, i, "train") for i in IDS[:trained]] + [(0, 0, IDS[-2], "test")]
    rows += [(0, 1, i, "train") for i in IDS[: trained + 2]] + [(0, 1, IDS[-1], "val"), (0, 1, IDS[-3], "test")]
    split = Split("A", name, split_rows(rows), group, leaks=leaks, params=params)
    store.save_split(split)
    return {"split": name, "digest": split.digest}


def test_labels_are_the_groups_that_folds_train_on(empty):
    save_slides(empty)
    many, few = save_split(empty, "many", 8), save_split(empty, "few", 2)
    runs = [
        save(empty, "A", right, c, **how) for c, how, right in (("svm", many, 18), ("svm", few, 12), ("et", few, 14))
    ]
    found = compare(empty, runs, views="labels", bootstrap=20)
    (panel,) = found.views["labels"]["panels"]
    assert (panel["dataset"], panel["metric"], panel["unit"], found.views["labels"]["unknown"]) == (
        "A", "accuracy", "slide", []
    )  # fmt: skip
    # The method with a single split has no curve. The folds of the first train on 1 and on 2 slides; the last sample,
    # by which the second one validates, has no label.
    (curve,) = panel["curves"]
    facts = [[p["split"], p["groups"], p["samples"], p["score"], p["runs"]] for p in curve["points"]]
    assert facts == [["few", 1.5, 3.0, 0.6, [runs[1]]], ["many", 4.5, 9.0, 0.9, [runs[0]]]]
    low, high = curve["points"][0]["interval"]
    assert low <= 0.6 <= high
    (axis,) = draw_labels(found).axes
    line = axis.lines[0]
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1.5, 4.5], [0.6, 0.9])
    assert axis.get_xlabel() == "training groups (slide), mean over folds"
    assert axis.get_title() == "A\ntested on 20 samples of 10 groups"
    assert [text.get_text() for text in axis.get_legend().get_texts()] == [curve["method"]]
    assert "views" not in compare(empty, runs, bootstrap=20).to_json()


def test_samples_that_validate_count_as_trained_on(empty):
    save_slides(empty)
    runs = []
    for name, trained in (("few", 2), ("many", 8)):
        roles = {**dict.fromkeys(IDS[:trained], "train"), **dict.fromkeys(IDS[10:12], "val"), IDS[-2]: "test"}
        split = Split("A", name, split_rows((0, 0, i, role) for i, role in roles.items()), "slide")
        empty.save_split(split)
        runs.append(save(empty, "A", 18, split=name, digest=split.digest))
    (panel,) = compare(empty, runs, views="labels", bootstrap=20).views["labels"]["panels"]
    points = [(point["split"], point["groups"], point["samples"]) for point in panel["curves"][0]["points"]]
    assert points == [("few", 2.0, 4.0), ("many", 5.0, 10.0)]


def test_samples_that_are_aggregated_are_not_said_to_be_what_is_trained_on(empty):
    save_slides(empty)
    splits = [save_split(empty, name, trained, group=None) for name, trained in (("few", 2), ("many", 8))]
    for aggregate, label in (
        (None, "training samples"),
        ("slide:mean", "training samples (then aggregated: slide:mean)"),
    ):
        runs = [save(empty, "A", 18, aggregate=aggregate, **how) for how in splits]
        (axis,) = draw_labels(compare(empty, runs, views="labels", bootstrap=20)).axes
        assert axis.get_xlabel() == f"{label}, mean over folds"
        assert axis.get_title() == f"A\ntested on 20 {'slides' if aggregate else 'samples'} of 10 groups"


def test_controls_are_not_trained_on(empty):
    save_slides(empty)
    splits = [save_split(empty, "many", 8), save_split(empty, "few", 2)]
    runs = [save(empty, "A", 18, **how) for how in splits]
    how = {"normalise": "standardise", "controls": "id IN ('s0', 's4', 's5')"}
    runs += [save(empty, "A", 18, **how, **split) for split in splits]
    (panel,) = compare(empty, runs, views="labels", bootstrap=20).views["labels"]["panels"]
    assert [[(point["groups"], point["samples"]) for point in curve["points"]] for curve in panel["curves"]] == [
        [(1.5, 3.0), (4.5, 9.0)],
        [(1.5, 2.0), (3.5, 6.0)],
    ]


def test_what_a_filter_leaves_out_is_not_trained_on(empty):
    save_slides(empty)
    splits = [save_split(empty, "many", 8), save_split(empty, "few", 2)]
    runs = [save(empty, "A", 18, where="id NOT IN ('s0', 's4', 's5')", **how) for how in splits]
    (panel,) = compare(empty, runs, views="labels", bootstrap=20).views["labels"]["panels"]
    points = [(point["split"], point["groups"], point["samples"]) for point in panel["curves"][0]["points"]]
    assert points == [("few", 1.5, 2.0), ("many", 3.5, 6.0)]
    # Beside runs on all samples each filter has a panel of its own.
    both = compare(empty, [*runs, *(save(empty, "A", 18, **how) for how in splits)], views="labels", bootstrap=20)
    drawn = {panel["where"]: panel["curves"][0]["points"] for panel in both.views["labels"]["panels"]}
    assert {where: [point["samples"] for point in found] for where, found in drawn.items()} == {
        "id NOT IN ('s0', 's4', 's5')": [2.0, 6.0],
        None: [3.0, 9.0],
    }
    gone = [save(empty, "A", 18, where="was = 1", **how) for how in splits]
    with pytest.raises(UsageError, match="the split is gone or another one by now"):
        compare(empty, gone, views="labels", bootstrap=20)
    # Ingested anew without the column of the target.
    gone = [save(empty, "A", 18, target="grade", **how) for how in splits]
    with pytest.raises(UsageError, match="or a column of its samples is gone"):
        compare(empty, gone, views="labels", bootstrap=20)
    with pytest.raises(UsageError, match="'A' has no column 'slid'") as error:
        empty.samples("A", ["id", "slid"])
    assert "Did you mean 'slide'" in error.value.next


@pytest.mark.parametrize("count", [16, 40])
def test_of_many_curves_those_of_the_best_scores_stand_out(empty, count):
    save_slides(empty)
    splits = [save_split(empty, name, trained) for name, trained in (("many", 8), ("few", 2))]
    found = compare(empty, [save(empty, "A", 18, **how) for how in splits], views="labels", bootstrap=20)
    (panel,) = found.views["labels"]["panels"]
    (curve,) = panel["curves"]
    # The later, the better.
    panel["curves"] = [
        {"method": f"m{n}", "points": [{**point, "score": n / 100, "interval": None} for point in curve["points"]]}
        for n in range(count)
    ]
    (axis,) = draw_labels(found).axes
    looks = [(line.get_color(), line.get_linestyle()) for line in axis.lines]
    assert len(set(looks[-16:])) == 16
    assert not set(looks[-16:]) & set(looks[:-16])
    names = [f"m{n}" for n in range(count - 16, count)]
    rest = ["24 more methods, none of a better score"] * (count == 40)
    assert [text.get_text() for text in axis.get_legend().get_texts()] == names + rest


def test_without_groups_it_is_samples(empty):
    save_slides(empty)
    splits = [save_split(empty, name, trained, None) for name, trained in (("many", 8), ("few", 2))]
    runs = [save(empty, "A", 18, **how) for how in splits]
    found = compare(empty, runs, views="labels", bootstrap=20)
    (panel,) = found.views["labels"]["panels"]
    assert (panel["unit"], [point["groups"] for point in panel["curves"][0]["points"]]) == (None, [None, None])
    (axis,) = draw_labels(found).axes
    assert axis.get_xlabel() == "training samples, mean over folds"
    low, high = axis.get_xticks()
    # Numbers that would stand on each other are left out, but for their marks.
    first, last = panel["curves"][0]["points"]
    panel["curves"][0]["points"] = [first, {**last, "samples": high - 0.5}, last]
    (axis,) = draw_labels(found).axes
    assert (list(axis.get_xticks()), list(axis.get_xticks(minor=True))) == ([low, high - 0.5], [high])


def test_drawn_samples_are_counted_though_there_are_groups(empty):
    save_slides(empty)
    splits = [save_split(empty, "many", 8), save_split(empty, "few", 2, train_per_class=1)]
    runs = [save(empty, "A", right, **how) for how, right in zip(splits, (18, 12), strict=True)]
    found = compare(empty, runs, views="labels", bootstrap=20)
    (panel,) = found.views["labels"]["panels"]
    assert (panel["unit"], panel["groupings"]) == (None, ["slide"])
    assert [point["samples"] for point in panel["curves"][0]["points"]] == [3.0, 9.0]
    (axis,) = draw_labels(found).axes
    assert axis.get_xlabel() == "training samples, mean over folds"
    assert "not all splits" not in axis.get_title()


def test_splits_that_are_made_otherwise_are_told_above(empty):
    save_slides(empty)
    splits = [save_split(empty, "many", 8), save_split(empty, "few", 2, None, leaks="one slide trains and tests")]
    runs = [save(empty, "A", 18, **how) for how in splits]
    found = compare(empty, runs, views="labels", bootstrap=20)
    (panel,) = found.views["labels"]["panels"]
    assert (panel["unit"], panel["groupings"]) == (None, ["slide", None])
    assert panel["leaks"] == {"few": "one slide trains and tests"}
    (axis,) = draw_labels(found).axes
    told = " ".join(axis.get_title().split())
    assert "1 split leaks: few by samples, since not all splits keep the same together (slide or nothing)" in told


def test_undefined_scores_are_no_points(empty):
    save_slides(empty)
    splits = [save_split(empty, name, trained) for name, trained in (("few", 2), ("some", 4), ("many", 8))]
    values = [[(-1.0) ** (i + 1) for i in range(COUNT)] for _ in splits]
    values[1][3] = np.nan
    first, second = [layer.name for layer in GuardedBackbone(registry().backbone(NETWORK), NETWORK).layers()][:2]
    runs = [
        save(empty, "A", 0, address=f"{NETWORK}/{layer}", scores=scores, **how)
        for how, scores in zip(splits, values, strict=True)
        for layer in (first, second)
    ]
    found = compare(empty, runs, metric="roc_auc", views=["labels", "layers"], bootstrap=20)
    (panel,) = found.views["labels"]["panels"]
    assert [[point["split"] for point in curve["points"]] for curve in panel["curves"]] == [["few", "many"]] * 2
    assert {panel["split"] for panel in found.views["layers"]["panels"]} == {"few", "many"}


def test_splits_of_as_many_training_groups_make_no_curve(empty):
    save_slides(empty)
    runs = []
    for name, start in (("one", 0), ("other", 4)):
        rows = [*((0, 0, i, "train") for i in IDS[start : start + 4]), (0, 0, IDS[-3], "test")]
        split = Split("A", name, split_rows(rows), "slide")
        empty.save_split(split)
        runs.append(save(empty, "A", 18, split=name, digest=split.digest))
    with pytest.raises(UsageError, match="with other numbers of training groups"):
        compare(empty, runs, views="labels", bootstrap=20)


def test_splits_that_are_gone_are_named(empty):
    save_slides(empty)
    many = save_split(empty, "many", 8)
    runs = [save(empty, "A", 18, **many), save(empty, "A", 12, split="lost", digest="other")]
    with pytest.raises(UsageError, match="other numbers of training groups") as error:
        compare(empty, runs, views="labels", bootstrap=20)
    assert "(lost)" in error.value.message
    few = save_split(empty, "few", 2)
    # A split of this name is there, and is not the one that the run was scored on.
    with pytest.raises(UsageError, match=r"Of A \(few\), the split is gone or another one by now"):
        compare(empty, [runs[0], save(empty, "A", 14, **{**few, "digest": "before"})], views="labels", bootstrap=20)
    runs.append(save(empty, "A", 14, **few))
    found = compare(empty, runs, views="labels", bootstrap=20)
    (told,) = (note for note in found.notes if note.startswith("the view labels does not show A (lost)"))
    assert "they have no split any more, it is another one by now" in told
    assert "--train-groups" in error.value.next


def test_layers_stand_in_the_order_of_the_network(empty):
    name = "squeezenet1_1"
    order = [layer.name for layer in GuardedBackbone(registry().backbone(name), name).layers()]
    scores = {"last": 17, order[0]: 12, order[2]: 15, order[1]: 14, "no.such": 16, f"{order[0]}+{name}/{order[1]}": 19}
    runs = [save(empty, "A", right, address=f"{name}/{layer}") for layer, right in scores.items()]
    runs += [save(empty, "A", right, "et", address=f"{name}/{order[k]}") for k, right in ((1, 11), (0, 13))]
    found = compare(empty, runs, views="layers", bootstrap=20)
    assert found.views["layers"]["unknown"] == [f"{name}/no.such"]
    told = f"the view layers does not show {name}/no.such: where these layers stand in their networks is not known here"
    assert told in found.notes
    (panel,) = found.views["layers"]["panels"]
    curves = {
        curve["method"]: [(p["layer"], p["place"], p["score"]) for p in curve["points"]] for curve in panel["curves"]
    }
    count = len(order)
    assert sorted(curves.values(), key=len) == [
        [(order[0], 1, 0.65), (order[1], 2, 0.55)],
        [(order[0], 1, 0.6), (order[1], 2, 0.7), (order[2], 3, 0.75), (order[-1], count, 0.85)],
    ]
    assert panel["curves"][0]["points"][0]["depth"] == 1 / count
    sheet = draw_layers(found)
    (axis,) = sheet.axes
    assert [label.get_text() for label in axis.get_xticklabels()] == [*order[:3], order[-1]]
    assert list(axis.get_xticks()) == [1, 2, 3, count]
    sheet.canvas.draw()
    legend = axis.get_legend().get_window_extent()
    assert legend.y0 >= 0, "what the lines mean is inside"
    assert legend.y1 <= axis.xaxis.label.get_window_extent().y0


def test_features_of_a_network_that_were_made_otherwise_have_curves_of_their_own(tmp_path):
    name = "squeezenet1_1"
    first, second = [layer.name for layer in GuardedBackbone(registry().backbone(name), name).layers()][:2]
    samples, X = make_samples(24)
    store = make_store(tmp_path / "store", samples, {})
    contents = store.samples("toy", ["content"]).column("content").to_pylist()
    made = [("w0", {}, ""), ("w0", {"size": 32}, ""), ("random:1", {}, ""), ("w0", {}, ":mean")]
    for weights, preprocess, pool in made:
        for layer in (first, second):
            header = {"backbone": name, "layer": layer + pool, "module": layer, "pool": pool or "avg"}
            header |= {"weights": weights, "preprocess": preprocess}
            table = store.create_feature_table("toy", header, 8, {})
            insert_vectors(store.database, table, samples["id"], contents, X.astype(np.float32))
            histokit.train(store, "toy", f"{name}/{layer}{pool}@{table.fingerprint}", "knn", grid={"k": [1]})
    found = compare(store, everything=True, views="layers", bootstrap=20)
    (panel,) = found.views["layers"]["panels"]
    assert all([point["layer"] for point in curve["points"]] == [first, second] for curve in panel["curves"])
    assert sorted(curve["method"] for curve in panel["curves"]) == sorted(
        f"{name} knn {how}"
        for how in (
            "weights=w0 pool=default size=default",
            "weights=w0 pool=mean size=default",
            "weights=w0 pool=default size=32",
            "weights=random:1 pool=default size=default",
        )
    )


def test_a_single_layer_is_no_curve(empty):
    runs = [save(empty, "A", 12, name) for name in ("svm", "et")]
    with pytest.raises(UsageError, match="No network has scores on two of its layers"):
        compare(empty, runs, views=["layers"], bootstrap=20)
    with pytest.raises(UsageError, match="no view 'layer'"):
        compare(empty, runs, views=["layer"])


def test_the_command_draws_it_and_json_holds_it(empty, tmp_path, capsys):
    histokit = CommandLine(capsys)
    save_slides(empty)
    runs = [save(empty, "A", 18, **save_split(empty, name, size)) for name, size in (("many", 8), ("few", 2))]
    call = ["--store", empty.uri, "compare", *runs, "--bootstrap", 20]
    files = ["--figure", f"labels:{tmp_path / 'l.svg'}", "--figure", tmp_path / "ranks.svg"]
    found = histokit.ok(*call, *files, "--json")
    assert list(found.document["views"]) == ["labels"]
    assert (tmp_path / "ranks.svg").exists()
    made = compare(empty, runs, views="labels", bootstrap=20)
    assert json.loads(json.dumps(made.to_json())) == found.document
    assert labels_figure(made, tmp_path / "again.svg").read_bytes() == (tmp_path / "l.svg").read_bytes()
    with pytest.raises(UsageError, match="without the view 'labels'"):
        labels_figure(compare(empty, runs, bootstrap=20), tmp_path / "no.svg")
