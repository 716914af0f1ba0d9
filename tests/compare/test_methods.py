"""Which runs are of one method, and what it is called."""

import pytest

from histokit.compare.methods import group_methods
from histokit.features import FeatureStore
from tests.compare.made_up import with_scores
from tests.evaluate.made_up import make_record
from tests.toy import make_samples, make_store


@pytest.fixture
def empty(tmp_path):
    return FeatureStore(tmp_path / "store")


def names(store, *records):
    scored = with_scores(store, [(record, 0.5) for record in records])
    return list(group_methods(scored, [], set()))


def test_names_are_as_short_as_they_may(empty):
    svm, et = make_record("A"), make_record("A", "et")
    assert names(empty, svm) == ["net/last svm"]
    assert names(empty, svm, et) == ["svm", "et"]
    assert names(empty, svm, make_record("A", address="net/first")) == ["net/last", "net/first"]
    assert names(empty, svm, et, make_record("A", address="net/first")) == [
        "net/last svm",
        "net/last et",
        "net/first svm",
    ]
    grid = [{"C": c} for c in (1, 2)]
    assert names(empty, svm, make_record("A", "et", grid=grid)) == ["svm", "et"], "the classifier tells them apart"
    assert names(empty, svm, make_record("A", grid=grid), et) == ["svm", "svm grid=C=1|C=2", "et"]
    assert names(empty, svm, make_record("A", rfe=True)) == ["svm", "svm rfe"]
    weights = [make_record("A", class_weight=w, scale=s) for w, s in ((None, True), ("balanced", True), (None, False))]
    assert names(empty, *weights) == ["svm scale", "svm scale class_weight=balanced", "svm"]


def test_a_network_that_was_trained_is_told_from_classifiers_on_layers(empty):
    tuned = [
        make_record("A", how, address="net/features.12", kind="finetune") for how in ("fine-tuning", "from-scratch")
    ]
    assert names(empty, make_record("A"), tuned[0]) == ["net/last", "net/features.12 fine-tuning"]
    assert names(empty, make_record("A"), *tuned) == [
        "net/last svm",
        "net/features.12 fine-tuning",
        "net/features.12 from-scratch",
    ]
    other = make_record("A", "fine-tuning", address="net/fc", kind="finetune")
    assert names(empty, tuned[0], other) == ["net/features.12", "net/fc"]


def test_long_values_are_shortened_unless_that_makes_two_names_one(empty):
    many = [[{"C": 10.0**k} for k in range(start, 12)] for start in (0, 1)]
    assert names(empty, make_record("A", grid=many[0]), make_record("A", grid=many[1])) == [
        "svm grid=12 settings",
        "svm grid=11 settings",
    ]
    other = [{"C": 3.0**k} for k in range(12)]
    first, second = names(empty, make_record("A", grid=many[0]), make_record("A", grid=other))
    assert first != second
    assert first.startswith("svm grid=C=1|C=10|")


def test_addresses_are_named_without_their_libraries_however_long(empty):
    addresses = ("timm:mobilenetv2_100.ra_in1k/blocks.6.0", "torchvision:resnet50/layer3")
    records = [make_record("A", address=address) for address in addresses]
    assert names(empty, *records) == ["mobilenetv2_100.ra_in1k/blocks.6.0", "resnet50/layer3"]


def test_parameters_that_are_off_are_as_if_they_were_absent(empty):
    old = make_record("A")
    new = make_record("B", scale=False, class_weight=None, rfe=False, solver="none", candidates=[])
    assert names(empty, old, new) == ["net/last svm"]


def test_a_metric_of_its_own_to_tune_by_makes_another_method(tmp_path):
    samples, X = make_samples(n=6)
    store = make_store(tmp_path / "store", samples, {"last": X}, name="A")
    tuned = [make_record("A"), make_record("A", metric="roc_auc")]
    assert names(store, *tuned) == ["svm", "svm tuned_by=roc_auc"]


def test_a_run_that_chose_its_layer_is_one_method_whatever_it_chose(empty):
    layers = ["net/first@f1", "net/last@f2"]
    one = make_record("A", address="net/first", choose="inner", candidates=layers)
    other = make_record("B", address="net/last", choose="inner", candidates=[text[:-3] for text in layers])
    best = make_record("A", address="net/last", choose="test", candidates=layers)
    assert names(empty, one, other) == ["net/each svm"]
    assert names(empty, one, best) == ["svm choose=inner", "svm choose=test"]


def test_what_a_run_found_is_no_part_of_its_method(empty):
    found = [{"final": {"parameters": {"C": c}, "seconds": c}, "candidate_runs": [c], "loss": c} for c in (1, 2)]
    runs = [make_record(d, found=f, scored=len(f) > 1) for d, f in zip("AB", found, strict=True)]
    assert names(empty, *runs) == ["net/last svm"]


def test_only_options_that_are_declared_so_are_part_of_a_method(empty):
    odd = [make_record("A", never_heard_of=c) for c in (1, 2)]
    assert names(empty, *odd) == ["net/last svm"]
    assert names(empty, *(make_record("A", inner_folds=n) for n in (3, 5))) == [
        "svm inner_folds=3",
        "svm inner_folds=5",
    ]
