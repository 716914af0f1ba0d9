"""Numbers out of range are mistakes of the user, at every option of every command and in every function."""

import math
from typing import get_args, get_type_hints

import numpy as np
import pytest

import histokit as package
from histokit.errors import ExitCode, UsageError
from histokit.features.listing import list_samples
from histokit.protocol.splits import make_split
from histokit.ranges import RANGES, SEEDS, check_range
from histokit.select import importance_shares
from histokit.store.care import collect_garbage
from tests.cli.test_every_command import LEAVES
from tests.toy import make_samples, make_store

#: Options that take a number among other things.
OTHERS = {
    ("select",): ["--step"],
    ("select", "importances"): ["--max-features"],
    ("train",): ["--grid C=", "--grid C=1,"],
}

#: How each command that takes numbers is called otherwise.
CALLS = {
    ("train",): ["toy", "--features", "net/last"],
    ("finetune",): ["toy", "--backbone", "squeezenet1_1", "--weights", "random"],
    ("select",): ["toy", "--features", "net/last"],
    ("select", "importances"): ["toy", "--features", "net/last"],
    ("split",): ["toy", "--name", "mine", "--folds", "3"],
    ("evaluate",): ["RUN"],
    ("compare",): ["RUN", "RUN"],
    ("extract",): ["toy", "--backbone", "texture"],
    ("predict",): ["RUN", "toy"],
    ("show",): ["toy"],
    ("study", "run"): ["STUDY"],
    ("study", "plan"): ["STUDY"],
    ("list", "samples"): ["toy"],
    ("list", "runs"): [],
    ("predictions",): ["RUN"],
    ("explain",): ["RUN"],
    ("explain", "filters"): ["RUN"],
    ("explain", "columns"): ["SELECTION"],
    ("report",): ["RUN"],
    ("neighbours",): ["toy", "--features", "net/last"],
    ("scatter",): ["toy", "--features", "net/last"],
    ("store", "gc"): [],
}

LARGE = ["1e300", "9" * 30]
WRONG = ["-1", "nan", "inf", "-inf", "1e400", *LARGE, "-0.5", "0x10", ""]


#: A list may end with a comma, and counts of columns as large as they like: there are no more than all.
ALLOWED = {("--grid C=1,", ""), *((option, value) for option in ("--step", "--max-features") for value in LARGE),
           *((option, value) for option in ("--grid C=", "--grid C=1,") for value in LARGE)}  # fmt: skip


@pytest.fixture
def toy(tmp_path, monkeypatch):
    samples, X = make_samples()
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "store"))
    return make_store(tmp_path / "store", samples, {"last": X})


def numbers(path):
    """Return the options of a command that take a number."""
    hints = get_type_hints(LEAVES[path].callback)
    kinds = {name: {hint, *get_args(hint)} for name, hint in hints.items()}
    return [p.opts[0] for p in LEAVES[path].params if {int, float} & kinds.get(p.name, set())]


def test_no_command_with_numbers_is_left_out():
    assert {path for path in LEAVES if numbers(path)} == set(CALLS)


@pytest.mark.parametrize("path", CALLS, ids=" ".join)
def test_numbers_out_of_range_are_usage_errors(path, toy, histokit, tmp_path):
    study = tmp_path / "study.toml"
    study.write_text('datasets = ["toy"]\nbackbones = ["texture"]\nstrategies = ["last layer"]\n')
    run = package.train(toy, "toy", "net/last", "knn", split="holdout", grid={"k": "1"})[0].id
    arguments = [{"RUN": run, "STUDY": study}.get(text, text) for text in CALLS[path]]
    for option in [*numbers(path), *OTHERS.get(path, [])]:
        rest = arguments[:-2] if option == "--test" else arguments
        for value in WRONG:
            given = f"{option}{value}".split(" ", 1) if option.endswith(("=", ",")) else [f"{option}={value}"]
            if (option, value) in ALLOWED:
                continue
            result = histokit(*path, *rest, *given)
            assert result.code == ExitCode.USAGE, (given, result)
            assert "Traceback" not in result.err


def test_the_help_shows_the_range(histokit):
    for command in ("train", "select", "split", "evaluate", "compare"):
        assert "0<=x<=4294967295" in "".join(histokit.ok(command, "--help").out.split())


def test_messages_name_the_range(toy, histokit):
    for arguments, says in (
        (["split", "toy", "--name", "s", "--test", "nan"], "--test nan is not a number between 0 and 1"),
        (["split", "toy", "--name", "s", "--test", "1"], "--test 1.0 is not a number between 0 and 1"),
        (["select", "toy", "--features", "net/last", "--tolerance", "nan"], "--tolerance': Input should be"),
    ):
        assert says in histokit.fails(*arguments, code=ExitCode.USAGE).err
    for arguments, says in (
        (["split", "toy", "--name", "s", "--folds", "3", "--repeats", "40000"], "less than or equal to 1000"),
        (["split", "toy", "--name", "s", "--folds", "1"], "greater than or equal to 2"),
        (["train", "toy", "--features", "net/last", "--seed", SEEDS], "less than or equal to 4294967295"),
    ):
        assert says in histokit.fails(*arguments, code=ExitCode.USAGE).err


FUNCTIONS = {
    "seed": [
        lambda toy, run, v: package.train(toy, "toy", "net/last", "knn", seed=v),
        lambda toy, run, v: package.select(toy, "toy", "net/last", seed=v),
        lambda toy, run, v: importance_shares(toy, ["toy"], "net/last", seed=v),
        lambda toy, run, v: package.evaluate(toy, run, bootstrap=5, seed=v),
        lambda toy, run, v: package.compare(toy, [run, run], seed=v),
        lambda toy, run, v: package.report(toy, run, out="r.html", seed=v),
        lambda toy, run, v: package.scatter(toy, "toy", "net/last", seed=v),
        lambda toy, run, v: split(toy, folds=3, seed=v),
    ],
    "inner_folds": [
        lambda toy, run, v: package.train(toy, "toy", "net/last", "knn", inner_folds=v),
        lambda toy, run, v: package.select(toy, "toy", "net/last", inner_folds=v),
    ],
    "tolerance": [lambda toy, run, v: package.select(toy, "toy", "net/last", tolerance=v)],
    "trees": [lambda toy, run, v: importance_shares(toy, ["toy"], "net/last", trees=v)],
    "bootstrap": [
        lambda toy, run, v: package.evaluate(toy, run, bootstrap=v),
        lambda toy, run, v: package.compare(toy, [run, run], bootstrap=v),
        lambda toy, run, v: package.report(toy, run, out="r.html", bootstrap=v),
    ],
    "folds": [lambda toy, run, v: split(toy, folds=v)],
    "repeats": [lambda toy, run, v: split(toy, folds=3, repeats=v)],
    "train_groups": [lambda toy, run, v: split(toy, folds=3, train_groups=v)],
    "train_per_class": [lambda toy, run, v: split(toy, folds=3, train_per_class=v)],
    "test": [lambda toy, run, v: split(toy, test=v)],
    "batch_size": [lambda toy, run, v: package.extract(toy, "toy", "texture", batch_size=v)],
    "micro_batch": [lambda toy, run, v: package.finetune(toy, "toy", "squeezenet1_1", micro_batch=v)],
    "workers": [lambda toy, run, v: package.extract(toy, "toy", "texture", workers=v)],
    "per_class": [lambda toy, run, v: package.explain(toy, run, per_class=v)],
    "samples": [lambda toy, run, v: package.report(toy, run, out="r.html", samples=v)],
    "k": [lambda toy, run, v: package.neighbours(toy, "toy", "net/last", k=v)],
    "filters": [lambda toy, run, v: package.explain.filter_images(toy, run, filters=v)],
    "columns": [lambda toy, run, v: package.explain.kept_columns(toy, run, columns=v)],
    "per_column": [lambda toy, run, v: package.explain.kept_columns(toy, run, per_column=v)],
    "limit": [lambda toy, run, v: list_samples(toy, "toy", limit=v)],
    "older_than": [lambda toy, run, v: collect_garbage(toy, older_than=v)],
}


def split(toy, **how):
    return make_split(toy.samples("toy"), toy.dataset("toy"), "mine", **how)


@pytest.mark.parametrize("name", RANGES)
def test_functions_refuse_what_the_command_line_refuses(name, toy):
    run = package.train(toy, "toy", "net/last", "knn", split="holdout", grid={"k": "1"})[0].id
    allowed = RANGES[name]
    wrong = [-1, math.nan, math.inf, 10**30, "2", allowed.low - 1, allowed.high + 1]
    wrong += [2.5] * allowed.whole + [allowed.low, allowed.high] * allowed.between
    for call in FUNCTIONS[name]:
        for value in wrong:
            with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} .* is not a"):
                call(toy, run, value)


def test_the_ends_of_a_range_are_in_it(toy):
    for name, allowed in RANGES.items():
        if not allowed.between:
            assert check_range(name, allowed.low) == allowed.low
            assert check_range(name, allowed.high) == allowed.high
    for seed in (0, SEEDS - 1, np.int64(3), np.uint32(7)):
        (run,) = package.train(toy, "toy", "net/last", "et", split="holdout", grid={"trees": "2"}, seed=seed)
        assert run.parameters["seed"] == seed
    last = split(toy, folds=3, seed=SEEDS - 1, repeats=2)
    assert len(last.folds()) == 6
    assert len(package.evaluate(toy, run.id, bootstrap=3, seed=SEEDS - 1)) == 1


def test_nothing_to_look_at_is_not_asked_for_but_a_list_may_be_cut_to_its_count(toy, histokit, tmp_path):
    figure = tmp_path / "none.png"
    told = histokit.fails("show", "toy", "--limit", 0, "--figure", figure, code=2).err
    assert "'--limit'" in told
    assert not figure.exists()
    with pytest.raises(UsageError, match="--limit 0 is not a whole number from 1 "):
        package.show(toy, "toy", limit=0)
    told = histokit("explain", "absent", "--limit", 0)
    assert (told.code, "'--limit'" in told.err) == (2, True)
    assert histokit.ok("list", "samples", "toy", "--limit", 0, "--json").document["samples"] == []
