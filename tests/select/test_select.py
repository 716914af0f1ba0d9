import pytest

from histokit.errors import StoreError, UsageError
from histokit.protocol import elimination
from histokit.select.select import select
from tests.toy import make_samples, make_store

FAST = {"step": 0.5, "inner_folds": 2}


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    """Five trees in place of a hundred."""
    monkeypatch.setitem(elimination._TREES, "trees", 5)


@pytest.fixture
def toy(tmp_path):
    samples, X = make_samples()
    return make_store(tmp_path / "store", samples, {"first": X[:, :4], "last": X})


def test_one_selection_for_each_fold_and_one_for_all(toy):
    calls = []
    found = select(toy, "toy", "net/first+net/last", **FAST, progress=lambda *a: calls.append(a))
    assert [f["fold"] for f in found.folds] == [0, 1, 2, 3, 4, 5]
    assert found.kept["fold"] is None
    # Column 2 of each layer is the informative one.
    assert any(column in found.kept["columns"] for column in (2, 6))
    names = [f"net/first[{c}]" for c in range(4)] + [f"net/last[{c}]" for c in range(8)]
    assert found.provenance == [names[c] for c in found.kept["columns"]]
    assert len(found.kept["ranking"]) == 12
    assert calls[-1][0] == calls[-1][1]
    assert toy.selection(found.id) == found


def test_test_samples_are_never_used(toy):
    found = select(toy, "toy", "net/last", **FAST)
    used = {(u["repeat"], u["fold"]): set(u["ids"]) for u in found.fitted_on}
    for fold in toy.split("toy", "cv").folds():
        assert used[fold.repeat, fold.fold] == set(fold.train)
        assert used[fold.repeat, fold.fold].isdisjoint(fold.test)
    assert len(used[None, None]) == 60


def test_a_holdout_is_selected_once(toy):
    found = select(toy, "toy", "net/last", split="holdout", **FAST)
    assert found.kept["columns"] == found.folds[0]["columns"]
    (fold,) = toy.split("toy", "holdout").folds()
    assert set(found.fitted_on[-1]["ids"]) == set(fold.train)


def test_a_repeat_answers_from_the_store(toy):
    found = select(toy, "toy", "net/last", **FAST)
    assert select(toy, "toy", "net/last", **FAST) == found
    assert select(toy, "toy", "net/last", **FAST, seed=1).id != found.id


def test_wrong_use(toy):
    with pytest.raises(UsageError, match="no selection method"):
        select(toy, "toy", "net/last", method="rfa")
    with pytest.raises(StoreError, match="stands for several"):
        select(toy, "toy", "net/each")
