"""What compare prints: each number under its head, and the same as in the document."""

from dataclasses import replace

import numpy as np
import pytest

from histokit.compare.compare import compare, compare_scores
from histokit.compare.sheets import comparison_sheets
from histokit.features import FeatureStore
from tests.compare.made_up import ranked, with_scores
from tests.evaluate.made_up import make_record, save, save_run


@pytest.fixture
def empty(tmp_path):
    return FeatureStore(tmp_path / "store")


def by_head(sheet):
    """Return rows as head → value, the pieces of a cell in one line."""
    whole = [[" ".join(cell) if isinstance(cell, tuple) else cell for cell in row] for row in sheet.rows]
    return [dict(zip(sheet.columns, row, strict=True)) for row in whole]


def sheets(found):
    return {sheet.title.partition(" ")[0]: sheet for sheet in comparison_sheets(found)}


def test_scores_of_one_dataset(empty):
    ids = [save(empty, "A", 14, folds=2), save(empty, "A", 17, "et", folds=2)]
    found = compare(empty, ids, bootstrap=60)
    rows = by_head(sheets(found)["A,"])
    for row, method, run in zip(rows, ("et", "svm"), ids[::-1], strict=True):
        cell = next(m for m in found.methods if m["method"] == method)["cells"]["A"]
        entry = next(r for r in found.rows if r["run"] == run)
        assert (row["method"], row["run"]) == (method, run)
        assert (row["fold_mean"], row["fold_std"]) == (entry["fold_mean"], entry["fold_std"])
        assert row["95 % interval"] == "{:.4f} to {:.4f}".format(*cell["interval"])
    assert [row["score"] for row in rows] == ["0.8500 (1)", "0.7000 (2)"]
    (pair,) = by_head(sheets(found)["paired"])
    (document,) = found.pairs
    assert (pair["first"], pair["second"], pair["difference"]) == ("svm", "et", pytest.approx(-0.15))
    assert pair["95 % interval"] == "{:.4f} to {:.4f}".format(*document["interval"])
    assert pair["p"] == document["p"]


def test_seeds_have_their_spread_in_place_of_the_folds(empty):
    runs = [save(empty, "A", right, seed=seed) for seed, right in enumerate((14, 18))] + [save(empty, "A", 10, "et")]
    rows = by_head(sheets(compare(empty, runs, bootstrap=5))["A,"])
    assert [row["std over runs"] for row in rows] == [pytest.approx(0.1), None]
    assert rows[0]["run"] == ", ".join(runs[:2])


def test_ranks_over_many_datasets_have_a_table_of_their_own(empty):
    few = ranked(empty, [[0.9, 0.8, 0.7]] * 8)
    assert "ranks" not in sheets(few)
    # svm is best on six datasets and third on three, et second on nine, knn best on three and third on six.
    many = ranked(FeatureStore(empty.uri / "many"), [[0.9, 0.8, 0.7]] * 6 + [[0.7, 0.8, 0.9]] * 3)
    sheet = sheets(many)["ranks"]
    assert sheet.title == "ranks over 9 columns of scores: 3 is the highest"
    assert sheet.rows == [["svm", (6 * 3 + 3) / 9, 6, 0], ["et", 2.0, 0, 9], ["knn", (3 * 3 + 6) / 9, 3, 0]]


def test_wilcoxon_and_the_omnibus_tests(empty):
    rows = np.array(
        [[0.9, 0.8, 0.7], [0.8, 0.7, 0.9], [0.95, 0.6, 0.6], [0.7, 0.65, 0.5], [0.9, 0.7, 0.8], [0.6, 0.7, 0.5]]
    )
    found = ranked(empty, rows.tolist())
    listed = sheets(found)
    for row, pair in zip(by_head(listed["Wilcoxon's"]), found.ranking["tests"]["wilcoxon"], strict=True):
        assert (row["first"], row["second"]) == (pair["first"], pair["second"])
        one, other = (rows[:, ("svm", "et", "knn").index(pair[side])] for side in ("first", "second"))
        assert (row["wins"], row["losses"], row["ties"]) == (
            (one > other).sum(),
            (one < other).sum(),
            (one == other).sum(),
        )
        assert row["median difference"] == pytest.approx(np.median(one - other))
        assert (row["statistic"], row["p"], row["p (Holm)"]) == (pair["statistic"], pair["p"], pair["p_holm"])
    tests = found.ranking["tests"]
    friedman, second = by_head(listed["do"])
    assert (friedman["statistic"], friedman["degrees of freedom"], friedman["p"]) == (
        tests["friedman"]["statistic"],
        "2",
        tests["friedman"]["p"],
    )
    iman = tests["friedman"]["iman_davenport"]
    assert (second["statistic"], second["degrees of freedom"], second["p"]) == (iman["statistic"], "2, 10", iman["p"])
    assert f"differ from {tests['nemenyi']['critical_difference']:.4f} on (alpha 0.05)" in listed["Nemenyi:"].title
    scores = by_head(listed["scores:"])
    assert [row["average rank"] for row in scores] == pytest.approx(
        [found.ranking["average_ranks"][row["method"]] for row in scores]
    )
    assert "ranks: 3 is the highest" in listed["scores:"].title
    # The best on each dataset is marked, and of two equal second ones both.
    svm = next(row for row in scores if row["method"] == "svm")
    assert [svm[f"D{number}: accuracy"].strip() for number in range(6)] == [
        "0.9000 (1)",
        "0.8000 (2)",
        "0.9500 (1)",
        "0.7000 (1)",
        "0.9000 (1)",
        "0.6000 (2)",
    ]
    assert [row["D2: accuracy"].strip() for row in scores if row["method"] != "svm"] == ["0.6000 (2)"] * 2


def test_of_many_pairs_those_of_the_best_are_shown_turned_to_it(empty):
    # With seven samples of made-up resamples each difference has an interval of its own.
    entries = [(make_record("A", address=f"net/layer{i}"), 0.5 + 0.01 * i) for i in range(9)]
    scored = with_scores(empty, entries)
    rng = np.random.default_rng(0)
    scored = [
        replace(
            entry,
            resampled=rng.normal(entry.score, 0.1, 50),
            right=np.packbits(np.arange(16) < (3 if number == 8 else number)),
        )
        for number, entry in enumerate(scored)
    ]
    found = compare_scores(scored)
    shown = by_head(sheet := sheets(found)["paired"])
    assert sheet.title.endswith("; p of each alone, not corrected for their number") == found.pairs[0]["reliable"]
    assert [row["first"] for row in shown] == ["net/layer8"] * 8
    for row in shown:
        (pair,) = [p for p in found.pairs if {p["first"], p["second"]} == {"net/layer8", row["second"]}]
        assert pair["first"] == row["second"], "the best comes second here, and is turned"
        assert row["difference"] == pytest.approx(-pair["difference"])
        assert row["95 % interval"] == "{:.4f} to {:.4f}".format(-pair["interval"][1], -pair["interval"][0])
        assert row["p"] == pair["p"]
        # The first so many samples are right: three of the best, and of layer i the first i.
        others = int(row["second"].removeprefix("net/layer"))
        assert row["right alone"] == f"{max(0, 3 - others)} : {max(0, others - 3)}"
        assert row["McNemar's p"] == pair["mcnemar"]["p"]


def test_a_p_below_a_ten_thousandth_is_said_to_be_so(empty):
    good, bad = [1.0, -1.0], [-1.0, 1.0]
    ids = []
    for name, scores in (("aaaa", good), ("bbbb", bad)):
        rows = [(0, str(i), "ba"[i % 2], scores[i % 2], f"P{i % 12}") for i in range(24)]
        ids.append(save_run(empty, rows, run_id=name))
    (row,) = by_head(one := sheets(compare(empty, ids, bootstrap=19_999))["paired"])
    assert row["p"] == 1e-4
    assert one.title == "paired differences"
    (row,) = by_head(sheets(compare(empty, ids, bootstrap=20_001))["paired"])
    assert row["p"] == "<0.0001"


def many(store, count, columns=1):
    """A comparison of many methods, each better than the one before it, on as many columns."""
    entries = [
        (make_record(f"D{column}", address=f"net/layer{i:03}"), 0.1 + 0.8 * i / count)
        for column in range(columns)
        for i in range(count)
    ]
    return compare_scores(with_scores(store, entries))


def test_of_very_many_methods_the_best_are_shown_and_told_of(empty):
    listed = sheets(many(empty, 101))
    assert listed["D0,"].title.endswith("; the best 50 of 101 methods (all: --json)")
    assert [row["method"] for row in by_head(listed["D0,"])] == [f"net/layer{i:03}" for i in range(100, 50, -1)]
    assert "from the best method (all 5,050: --json)" in listed["paired"].title
    assert [row["second"] for row in by_head(listed["paired"])] == [f"net/layer{i:03}" for i in range(51, 100)]
    assert {row["first"] for row in by_head(listed["paired"])} == {"net/layer100"}
    # On two splits, which have no ranks, they are those whose best place is the best.
    entries = [
        (make_record("D", address=f"net/layer{i:03}", split=split, digest=split), i / 200)
        for split in ("cv", "random")
        for i in range(101)
    ]
    rows = by_head(sheets(compare_scores(with_scores(empty, entries)))["scores:"])
    assert [row["method"] for row in rows] == [f"net/layer{i:03}" for i in range(51, 101)]
    few = sheets(many(FeatureStore(empty.uri / "few"), 100))
    assert len(few["D0,"].rows) == 100
    assert "methods" not in few["D0,"].title


def test_the_best_method_of_a_column_is_shown_whatever_its_rank(empty):
    # The best on the second column is the worst on all others; that of the third has no score on these.
    entries = [
        (make_record(f"D{column}", address=f"net/layer{i:03}"), 0.95 if (i, column) == (0, 1) else 0.1 + 0.8 * i / 110)
        for column in range(3)
        for i in range(110)
    ]
    entries.append((make_record("D2", address="net/alone"), 0.99))
    listed = sheets(compare_scores(with_scores(empty, entries)))
    assert "; the best 52 of 111 methods (all: --json)" in listed["scores:"].title
    rows = by_head(listed["scores:"])
    best = [[row["method"] for row in rows if "(1)" in str(row[head])] for head in list(rows[0])[1:4]]
    assert best == [["net/layer109"], ["net/layer000"], ["net/alone"]]


def test_of_many_methods_that_are_not_told_apart_the_ends_are_named(empty):
    found = many(empty, 30, columns=6)
    (nemenyi,) = [sheet for sheet in comparison_sheets(found) if sheet.title.startswith("Nemenyi")]
    groups = found.ranking["tests"]["nemenyi"]["not_apart"]
    assert len(groups[0]) > 12
    assert (
        str(nemenyi.rows[0][0]) == f"{groups[0][0]}; {len(groups[0]) - 2} more in the order of ranks; {groups[0][-1]}"
    )


def test_differences_are_found_by_their_place_and_by_a_method(empty):
    # Two of the five methods were scored on other samples than the others.
    entries = [(make_record("A", address=f"net/layer{i}"), 0.5 + 0.1 * i) for i in range(5)]
    scored = with_scores(empty, entries)
    scored = [replace(entry, samples="other" if i in (1, 3) else "same") for i, entry in enumerate(scored)]
    found = compare_scores(scored)
    pairs = [(pair["first"][-1], pair["second"][-1]) for pair in found.pairs]
    assert pairs == [("0", "2"), ("0", "4"), ("1", "3"), ("2", "4")]
    assert len(found.pairs) == 4
    assert [found.pairs[place] for place in range(-4, 4)] == [*found.pairs, *found.pairs]
    assert found.pairs[1:3] == list(found.pairs)[1:3]
    assert found.pairs == list(found.pairs)
    with pytest.raises(IndexError):
        found.pairs[4]
    assert list(found.pairs.of({"A": "net/layer4"})) == [found.pairs[1], found.pairs[3]]
    (note,) = [note for note in found.notes if "not paired" in note]
    assert note.startswith("6 pairs of methods, such as net/layer0 and net/layer1, are not paired on A")
    assert found.to_json()["pairs"] == list(found.pairs)
    assert found.to_json(pairs=False)["pairs"] == []
