"""What is asked of a step is declared once, and kept apart from what it found."""

import inspect
from dataclasses import dataclass, fields, replace

import pytest

from histokit.compare.compare import compare
from histokit.compare.compare_options import CompareOptions
from histokit.errors import UsageError
from histokit.evaluate.evaluate import evaluate
from histokit.evaluate.evaluate_options import EvaluateOptions
from histokit.protocol.step_options import PartOf, option
from histokit.select.select import select
from histokit.select.select_options import SelectOptions
from histokit.store.records import RunRecord, SelectionRecord
from histokit.train.question import ask
from histokit.train.train import train
from histokit.train.train_options import TrainOptions
from tests.toy import make_samples, make_store

pytestmark = pytest.mark.usefixtures("few_trees")

#: What is no option: on what, and how the call itself goes.
BESIDE = {"store", "dataset", "features", "runs", "force", "progress"}
#: What a record keeps beside the options: what follows from them and the data.
FOLLOWS = {"positive", "scored"}


@pytest.fixture
def toy(tmp_path):
    samples, X = make_samples(n=40, slides=4)
    return make_store(tmp_path / "store", samples, {"early": X[:, :4], "last": X})


@pytest.mark.parametrize(
    ("function", "options"),
    [(train, TrainOptions), (select, SelectOptions), (evaluate, EvaluateOptions), (compare, CompareOptions)],
)
def test_a_function_takes_the_options_that_are_declared(function, options):
    taken = inspect.signature(function).parameters
    declared = {each.name: each.default for each in fields(options)}
    assert declared == {name: p.default for name, p in taken.items() if name not in BESIDE - declared.keys()}


@pytest.mark.parametrize(
    ("options", "given", "told"),
    [
        (TrainOptions, {"inner_folds": 1}, "--inner-folds 1 is not"),
        (TrainOptions, {"seed": -1}, "--seed -1 is not"),
        (TrainOptions, {"rfe": True, "selection": "abcd"}, "Both a stored selection"),
        (CompareOptions, {"bootstrap": 0}, "--bootstrap 0 is not"),
        (SelectOptions, {"tolerance": 2}, "--tolerance 2 is not"),
        (SelectOptions, {"method": "rfee"}, "There is no selection method"),
    ],
)
def test_options_are_checked_where_they_are_made(options, given, told):
    with pytest.raises(UsageError, match=told):
        options(**given)


def test_a_record_keeps_what_was_asked_and_what_was_found_apart(toy):
    chosen = select(toy, "toy", "net/last", step=0.7, inner_folds=2)
    runs = train(toy, "toy", ["net/early", "net/last"], "knn", grid={"k": 1}, inner_folds=2, choose="inner")
    parts = (PartOf.METHOD, PartOf.TASK, PartOf.REPEAT)
    asked = {*TrainOptions.names(*parts)} - {"split"}
    # What came later is kept where it is asked for.
    asked -= {"normalise", "controls", "per", "target_type", "fold_networks"}
    for run in runs[:-1]:
        assert run.asked.keys() == (asked - {"choose"}) | FOLLOWS
        assert run.found.keys() == {"final"}
    assert runs[-1].asked.keys() == asked | FOLLOWS | {"candidates"}
    assert runs[-1].found.keys() == {"final", "candidate_runs"}
    later = {"target_type", "normalise", "controls", "per"}
    assert chosen.asked.keys() == {*SelectOptions.names(*parts)} - {"split", *later}
    assert chosen.found.keys() == {"notes"}


def test_records_of_before_are_read_and_people_see_them_as_ever(toy):
    chosen = select(toy, "toy", "net/last", step=0.7, inner_folds=2)
    (run,) = train(toy, "toy", "net/last", "knn", grid={"k": 1}, inner_folds=2)
    for record, kind in ((run, RunRecord), (chosen, SelectionRecord)):
        before = record.stored()
        before["parameters"] |= before.pop("found")
        assert kind.from_json(before) == kind.from_json(record.stored()) == record
        assert record.to_json()["parameters"] == before["parameters"]
        assert "found" not in record.to_json()


def test_ids_hash_what_is_part_of_a_method_and_keep_when_an_option_is_added(toy):
    @dataclass(frozen=True, kw_only=True)
    class More(TrainOptions):
        shuffled: bool = option(False, PartOf.METHOD, later=True)
        threads: int = option(1, PartOf.HANDLING)

    question = ask(toy, "toy", "net/last", TrainOptions(inner_folds=2))
    experiment = question.prepare(toy, "net/last")

    def id_of(**given):
        return replace(question, options=More(inner_folds=2, **given)).run_id(toy, experiment)

    before = question.run_id(toy, experiment)
    assert id_of() == id_of(threads=8) == before
    assert id_of(shuffled=True) != before
    assert id_of(seed=1) != before
    assert id_of(allow_missing=True) == before
