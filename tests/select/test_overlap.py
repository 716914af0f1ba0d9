import tracemalloc
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from histokit import completion
from histokit.errors import StoreError, UsageError
from histokit.select import compare_selections
from histokit.store import documents
from histokit.store.records import SelectionRecord
from tests.cli.command_line import CommandLine
from tests.toy import make_samples, make_store


def make_selection(name, dataset, ranking, k_min, importances=None, features=None):
    """A selection of two layers, of two and four columns."""
    ranking = np.array(ranking)
    columns = [int(column) for column in np.flatnonzero(ranking <= k_min)]
    kept = {"repeat": None, "fold": None, "columns": columns, "ranking": ranking.tolist(), "k_min": k_min}
    kept |= {"importances": importances or (1 / (ranking + 1.0)).tolist()}
    parts = features or [("net/first", "f1", 2), ("net/last", "f2", 4)]
    listed = [
        {"address": a, "table": f"{dataset}.{f}", "fingerprint": f, "backbone": "net", "layer": a, "columns": n}
        for a, f, n in parts
    ]
    facts = {"address": "+".join(a for a, _, _ in parts), "split": "cv", "split_digest": "", "method": "rfe"}
    facts |= {"parameters": {}, "folds": [], "fitted_on": [], "provenance": [], "seconds": 0, "created": ""}
    return SelectionRecord(id=name, dataset=dataset, kept=kept, features=listed, **facts)


@pytest.fixture
def store(tmp_path):
    samples, X = make_samples()
    store = make_store(tmp_path / "store", samples, {"first": X[:, :2], "last": X[:, :4]})
    rankings = {"aaaa": [1, 2, 3, 4, 5, 6], "bbbb": [6, 1, 2, 3, 5, 4], "cccc": [5, 6, 4, 1, 2, 3]}
    for name, ranking in rankings.items():
        store.save_selection(make_selection(name, f"data-{name}", ranking, 3))
    return store


def test_pairs_by_hand(store):
    found = compare_selections(store, ["aaaa", "bbbb", "cccc"])
    # a keeps 0 1 2, b keeps 1 2 3, c keeps 3 4 5; two random threes of six have 1.5 in common on average.
    facts = [(p["first"], p["second"], p["common"], p["expected"], p["jaccard"]) for p in found.pairs]
    assert facts == [("aaaa", "bbbb", 2, 1.5, 0.5), ("aaaa", "cccc", 0, 1.5, 0), ("bbbb", "cccc", 1, 1.5, 0.2)]
    assert found.pairs[1]["datasets"] == ["data-aaaa", "data-cccc"]
    assert [s["kept"] for s in found.selections] == [3, 3, 3]
    assert (found.columns, found.common) == (6, [])
    assert compare_selections(store, ["aaaa", "bbbb"]).common == ["net/first[1]", "net/last[0]"]


def test_the_smallest_size_with_a_common_column_by_hand(store):
    # The worst ranks are 6, 6, 4, 4, 5, 6: with four columns each has 2 and 3.
    found = compare_selections(store, ["aaaa", "bbbb", "cccc"]).smallest
    expected = {"size": 4, "share": pytest.approx(4 / 6), "names": ["net/last[0]", "net/last[1]"]}
    assert found == {"importances": expected, "elimination": expected}


def test_importances_rank_otherwise_than_elimination(store):
    # By importance column 5 is first, then 0 and 1, which are equal.
    store.save_selection(make_selection("dddd", "other", [1, 2, 3, 4, 5, 6], 1, [0.2, 0.2, 0.1, 0.1, 0.1, 0.3]))
    found = compare_selections(store, ["aaaa", "dddd"]).smallest
    assert found["elimination"] == {"size": 1, "share": pytest.approx(1 / 6), "names": ["net/first[0]"]}
    assert found["importances"] == {"size": 2, "share": pytest.approx(1 / 3), "names": ["net/first[0]"]}


def test_random_rankings_agree_with_counting(store):
    rng = np.random.default_rng(0)
    rankings = [rng.permutation(6) + 1 for _ in range(4)]
    for name, ranking in zip("pqrs", rankings, strict=True):
        store.save_selection(make_selection(4 * name, name, ranking, 2))
    found = compare_selections(store, [4 * name for name in "pqrs"]).smallest["elimination"]
    counted = next(k for k in range(1, 7) if set.intersection(*(set(np.flatnonzero(r <= k)) for r in rankings)))
    assert found["size"] == counted


def test_the_same_layers_in_another_order_are_aligned(store):
    turned = [("net/last", "f2", 4), ("net/first", "f1", 2)]
    # Keeps 4 and 5 of this order, which are the columns of net/first.
    store.save_selection(make_selection("dddd", "other", [3, 4, 5, 6, 1, 2], 2, features=turned))
    found = compare_selections(store, ["aaaa", "dddd"])
    (pair,) = found.pairs
    assert (pair["common"], pair["jaccard"]) == (2, pytest.approx(2 / 3))
    assert found.common == ["net/first[0]", "net/first[1]"]
    # Of both the first column is net/first[0], by rank as by importance.
    assert found.smallest["elimination"]["names"] == found.smallest["importances"]["names"] == ["net/first[0]"]


def test_older_selections_have_no_importances(store):
    old = make_selection("dddd", "other", [1, 2, 3, 4, 5, 6], 2)
    store.save_selection(replace(old, kept={k: v for k, v in old.kept.items() if k != "importances"}))
    found = compare_selections(store, ["aaaa", "dddd"]).smallest
    assert found["importances"] is None
    assert found["elimination"]["size"] == 1


def test_other_columns_are_refused(store):
    other = [("net/first", "f1", 2), ("net/last", "f9", 4)]
    store.save_selection(make_selection("dddd", "other", [1, 2, 3, 4, 5, 6], 3, features=other))
    with pytest.raises(UsageError, match="different columns: net/last@f2 and net/last@f9"):
        compare_selections(store, ["aaaa", "dddd"])
    fewer = [("net/first", "f1", 2)]
    store.save_selection(make_selection("eeee", "other", [1, 2], 1, features=fewer))
    with pytest.raises(UsageError, match="net/last is only in aaaa"):
        compare_selections(store, ["aaaa", "eeee"])


def test_wrong_use(store):
    for names in ([], ["aaaa"], ["aaaa", "aaaa"]):
        with pytest.raises(UsageError, match="two different selections"):
            compare_selections(store, names)
    with pytest.raises(StoreError, match="no selection 'nope'"):
        compare_selections(store, ["aaaa", "nope"])


def test_importances_of_the_same_layers_in_another_order_are_aligned(store):
    turned = [("net/last", "f2", 4), ("net/first", "f1", 2)]
    # In the order of eeee: 0.3 0.05, 0.1 0.25 0.2 0.15, so the ranks are 1 6 5 2 3 4; those of eeee are 6 5 3 1 2 4.
    # The worst are 6 6 5 2 3 4: with two columns both have net/last[1]. Unaligned it would be net/last[2].
    there = [0.1, 0.25, 0.2, 0.15, 0.3, 0.05]
    store.save_selection(make_selection("dddd", "other", [3, 4, 5, 6, 1, 2], 2, there, features=turned))
    here = [0.05, 0.1, 0.2, 0.3, 0.25, 0.15]
    store.save_selection(make_selection("eeee", "third", [1, 2, 3, 4, 5, 6], 2, here))
    found = compare_selections(store, ["eeee", "dddd"]).smallest["importances"]
    assert found == {"size": 2, "share": pytest.approx(1 / 3), "names": ["net/last[1]"]}


def test_selections_on_many_samples_are_listed_one_by_one(tmp_path, monkeypatch, capsys):
    samples, X = make_samples(n=8, slides=4)
    store = make_store(tmp_path / "store", samples, {"last": X}, name="A")
    monkeypatch.setenv("HISTOKIT_STORE", str(store.uri))
    digests = {f"sample {i:05}": f"{i:032x}" for i in range(4_000)}
    fitted = [{"repeat": None, "fold": None, "ids": [*digests]}]

    def add(numbers):
        for number in numbers:
            made = make_selection(f"{number:04}aaaa", "A", [1, 2, 3, 4, 5, 6], 3)
            store.save_selection(replace(made, contents=digests, vectors=digests, fitted_on=fitted, folds=[made.kept]))

    def peak(*command):
        tracemalloc.start()
        CommandLine(capsys).ok(*command)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    commands = [("list", "selections"), ("store", "remove", "0001aaaa"), ("store", "verify")]

    def replaced(seed):
        return peak("split", "A", "--name", "s", "--folds", 2, "--seed", seed)

    replaced(0)
    add(range(2))
    few, of_split = [peak(*command) for command in commands], replaced(1)
    add(range(2, 20))
    assert replaced(2) < 2 * of_split
    for command, before in zip(commands, few, strict=True):
        assert peak(*command) < 2 * before, command
    assert len(CommandLine(capsys).ok("list", "selections").out.splitlines()) == 2 + 20
    parsed = []
    parse = documents.parse
    monkeypatch.setattr(documents, "parse", lambda row: parsed.append(row) or parse(row))
    context = SimpleNamespace(params={"store_": str(tmp_path / "store")}, parent=None)
    assert completion.selections(context, "001") == [f"{number:04}aaaa" for number in range(10, 20)]
    assert not parsed
