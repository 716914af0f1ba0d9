"""What is known of a run: its features, whatever their order or fingerprints, and its strategy."""

import pytest

from histokit.compare.compare import compare, compare_scores
from histokit.compare.feature_layers import shorten
from histokit.compare.run_facts import describe_runs
from histokit.features import FeatureStore
from histokit.store.records import SelectionRecord
from tests.compare.made_up import scores, with_scores
from tests.evaluate.made_up import make_record, save
from tests.toy import make_samples, make_store


@pytest.fixture
def empty(tmp_path):
    return FeatureStore(tmp_path / "store")


def facts_of(store, *args, **changes):
    return describe_runs(store, [make_record("A", *args, **changes)])[0]


@pytest.mark.parametrize(
    ("strategy", "address", "changes"),
    [
        ("last layer", "resnet50/last", {}),
        ("inner layer resnet50", "resnet50/layer3.5", {}),
        ("merged layers", "resnet50/layer3.5+resnet50/last", {}),
        ("merged layers", "resnet50/all", {}),
        ("merged networks", "resnet50/last+vgg16/last", {}),
        ("feature selection", "resnet50/last", {"rfe": True}),
        ("feature selection", "resnet50/last+vgg16/last", {"selection": "abcd"}),
        ("inner layer resnet50", "resnet50/layer4.2", {"choose": "inner", "candidates": ["resnet50/layer4.2"]}),
        ("inner layer resnet50", "resnet50/last", {"choose": "test"}),
        ("chosen features", "a/last", {"choose": "inner", "candidates": ["a/last", "b/last"]}),
        ("fine-tuning", "resnet50", {"kind": "finetune"}),
        ("fine-tuning", "run:0123456789ab/last", {}),
        ("from scratch", "resnet50", {"kind": "finetune", "from_scratch": True}),
        ("ET-FL", "images", {"classifier": "et-fl"}),
    ],
)
def test_strategies_follow_from_the_record(empty, strategy, address, changes):
    assert facts_of(empty, address=address, **changes)["strategy"] == strategy


def test_last_layers_and_whole_networks_are_known_from_the_feature_tables(tmp_path):
    samples, X = make_samples(n=6)
    store = make_store(tmp_path / "store", samples, {"first": X, "middle": X, "end": X}, name="A")
    tables = {table.layer: table for table in store.feature_tables("A")}

    def features(*layers):
        keys = ("address", "fingerprint", "backbone", "layer")
        parts = [{key: getattr(tables[layer], key) for key in keys} | {"table": "gone"} for layer in layers]
        return {"features": parts, "address": "+".join(part["address"] for part in parts)}

    assert facts_of(store, **features("end"))["features"] == "net/last"
    assert facts_of(store, **features("end"))["strategy"] == "last layer"
    assert facts_of(store, **features("first"))["strategy"] == "inner layer net"
    tables["end:max"] = store.create_feature_table(
        "A", {"backbone": "net", "layer": "end:max"}, 8, {"aliases": ["last:max"]}
    )
    assert facts_of(store, **features("end:max"))["strategy"] == "last layer", "however it is pooled"
    both = facts_of(store, **features("first", "end"))
    assert (both["features"], both["layer"], both["strategy"]) == ("net/first+net/last", "first+last", "merged layers")
    assert facts_of(store, **features("first", "middle", "end"))["features"] == "net/all"
    assert facts_of(store, **features("first", "middle", "end"), choose="inner")["features"] == "net/each"


def described(store, *records):
    return [facts["features"] for facts in describe_runs(store, list(records))]


def made(dataset, backbone, fingerprint, layer="last"):
    part = {"address": f"{backbone}/{layer}", "fingerprint": fingerprint, "backbone": backbone, "layer": layer}
    return make_record(dataset, address=part["address"], features=[{**part, "table": "t"}])


def test_fingerprints_and_options_count_only_where_runs_on_one_dataset_differ_in_them(empty):
    plain, padded = "timm:mobilenetv2_100", "timm:mobilenetv2_100,pad_type=same"
    assert described(empty, made("A", padded, "f1"), made("B", plain, "f2")) == [f"{plain}/last"] * 2
    assert described(empty, made("A", padded, "f1"), made("A", plain, "f2"), made("B", plain, "f2")) == [
        f"{padded}/last",
        f"{plain}/last",
        f"{plain}/last",
    ]
    assert described(empty, made("A", plain, "f1"), made("A", plain, "f2"), made("B", plain, "f1")) == [
        f"{plain}/last@f1",
        f"{plain}/last@f2",
        f"{plain}/last@f1",
    ]


def test_other_features_under_one_name_are_remarked(empty):
    entries = [(made("A", "net", "f1"), 0.8), (made("B", "net", "f2"), 0.8)]
    found = compare_scores(with_scores(empty, entries))
    assert any("not made in the same way on every dataset" in note for note in found.notes)
    same = [(made("A", "net", "f1"), 0.8), (made("B", "net", "f1"), 0.8)]
    # A network that was fine-tuned here is another one whenever it is tuned anew.
    tuned = [(made("A", "run:0123", "f1"), 0.8), (made("B", "run:0123", "f2"), 0.8)]
    for others in (same, tuned):
        notes = compare_scores(with_scores(empty, others)).notes
        assert not any("fingerprints differ" in note for note in notes)


def test_one_part_of_merged_features_that_was_made_otherwise_is_enough(empty):
    parts = {name: made("A", name, f"{name}1").features[0] for name in ("one", "two")}
    entries = [
        (make_record(dataset, address="one/last+two/last", features=[parts["one"], parts["two"] | changes]), 0.8)
        for dataset, changes in (("A", {}), ("B", {"fingerprint": "other"}))
    ]
    found = compare_scores(with_scores(empty, entries))
    assert any("features of one/last+two/last svm were not made in the same way" in note for note in found.notes)


def test_merged_networks_are_one_method_in_any_order(empty):
    one, other = make_record("A", address="b/last+a/last"), make_record("B", address="a/last+b/last")
    assert described(empty, one, other) == ["a/last+b/last"] * 2
    parts = [made("A", name, f"{name}1").features[0] for name in "ab"]
    turned = [make_record("A", address="merged", features=listed) for listed in (parts, parts[::-1])]
    assert described(empty, *turned) == ["a/last+b/last"] * 2


def test_fine_tuned_networks_have_the_name_of_what_they_were_made_of(empty):
    run = save(empty, "A", 15, "network", "resnet50", kind="finetune")
    assert facts_of(empty, address=f"run:{run}/last")["features"] == "fine-tuned resnet50/last"
    two = [save(empty, "A", 15, "network", "resnet50", kind="finetune", preset=p) for p in ("x", "y")]
    texts = described(empty, *(make_record("A", address=f"run:{r}/last") for r in two))
    assert len(set(texts)) == 2
    seeds = [save(empty, "A", 15, "network", "resnet50", kind="finetune", preset="x", seed=seed) for seed in (0, 1)]
    assert len(set(described(empty, *(make_record("A", address=f"run:{r}/last") for r in seeds)))) == 2


def test_networks_trained_on_several_datasets_are_one_network_each_by_how_it_was_trained(empty):
    pixels = {"address": "images", "table": "", "fingerprint": "images:R,G,B", "backbone": "images"}
    trained = {"address": "resnet50,drop=1/layer4.2", "features": [pixels | {"layer": "pixels", "columns": 0}]}

    def train(dataset, classifier="fine-tuning", **parameters):
        return save(empty, dataset, 15, classifier, kind="finetune", **trained, **parameters)

    both = [train(name, preset="x") for name in "AB"]
    assert (
        described(empty, *(make_record(d, address=f"run:{r}/last") for d, r in zip("AB", both, strict=True)))
        == ["fine-tuned resnet50/last"] * 2
    )
    others = [train(name, preset="y") for name in "AB"]
    four = [make_record(d, address=f"run:{r}/last") for d, r in zip("ABAB", [*both, *others], strict=True)]
    texts = described(empty, *four)
    assert texts[:2] != texts[2:]
    assert texts[0] == texts[1]
    assert texts[2] == texts[3]
    # A network that was trained does not tell its features, which were made in one way, apart from themselves.
    of_features = [made(name, "resnet50", "f1") for name in "AB"]
    beside = described(empty, *(empty.run(r) for r in both), *of_features)
    assert beside == ["resnet50,drop=1/layer4.2"] * 2 + ["resnet50/last"] * 2
    (facts,) = describe_runs(empty, [empty.run(both[0])])
    assert (facts["network"], facts["strategy"]) == ("resnet50", "fine-tuning")
    scratch = train("A", "from-scratch", preset="z")
    assert describe_runs(empty, [empty.run(scratch)])[0]["strategy"] == "from scratch"
    on_it = facts_of(empty, address=f"run:{scratch}/last")
    assert (on_it["strategy"], on_it["network"]) == ("from scratch", "from-scratch resnet50")


def test_parameters_of_a_stored_selection_are_facts_of_its_run(empty):
    def select(name, **parameters):
        facts = {
            "dataset": "A",
            "address": "net/last",
            "split": "cv",
            "split_digest": "d",
            "method": "rfe",
            "folds": [],
        }
        facts |= {"kept": None, "fitted_on": [], "features": [], "provenance": [], "seconds": 0.0, "created": ""}
        empty.save_selection(SelectionRecord(id=name, parameters={"step": 4, **parameters}, **facts))
        return name

    loose = facts_of(empty, selection=select("aaaa1111", tolerance=0.01, seed=3))
    assert (loose["selection"], loose["selection_tolerance"], loose["selection_seed"]) == ("stored", 0.01, 3)
    assert facts_of(empty, selection="bbbb2222")["selection"] == "stored", "also if it is gone"
    # Selections that differ in their seeds are repeats, of which none is left out for a newer one.
    other = select("cccc3333", tolerance=0.01, seed=4)
    runs = [(make_record("A", selection=name), score) for name, score in (("aaaa1111", 0.9), (other, 0.7))]
    found = compare_scores(with_scores(empty, [*runs, (make_record("A", "et"), 0.5)]))
    assert scores(found, "A") == pytest.approx({"svm": 0.8, "et": 0.5})


def test_addresses_of_many_parts_are_shortened():
    assert shorten("a/last+b/last") == "a/last+b/last"
    assert shorten("a/last+b/last+c/last+d/last") == "4 networks/last"
    assert shorten("a/1+a/2+b/last+c/last+d/last") == "4 networks/5 layers"
    assert shorten("a/1+a/2+a/3+a/4+b/last") == "a/4 layers+b/last"
    assert shorten("images") == "images"


def test_what_was_chosen_from_may_be_networks(empty):
    first = make_record("A", address="a/last", choose="inner", candidates=["b,x=1/last", "a/last@f1"])
    other = make_record("A", address="b/last", choose="inner", candidates=["a/1", "a/last"])
    assert described(empty, first, other) == ["a/last|b/last", "a/each"]


def test_images_are_features_without_a_network(empty):
    part = {"address": "images", "backbone": "images", "layer": "pixels", "fingerprint": "images:R,G", "table": ""}
    facts = facts_of(empty, "et-fl", "images", features=[part])
    assert (facts["features"], facts["strategy"], "network" in facts) == ("images", "ET-FL", False)


def test_strategies_of_stored_runs(empty):
    for dataset, rights in (("A", (12, 14, 16)), ("B", (17, 11, 12))):
        save(empty, dataset, rights[0], "svm", "net/last")
        save(empty, dataset, rights[1], "et", "net/last")
        save(empty, dataset, rights[2], "svm", "net/all")
    found = compare(empty, everything=True, best_of="strategy", bootstrap=5)
    assert {m["method"]: m["average_rank"] for m in found.methods} == {"last layer": 1.5, "merged layers": 1.5}
