"""Bootstrap intervals and when they are to be relied on, against the distributions that they sample."""

import pytest
from scipy import stats

from histokit.compare.compare import compare
from histokit.compare.sheets import comparison_sheets
from histokit.evaluate.evaluate import evaluate
from histokit.features import FeatureStore
from tests.evaluate.made_up import DRAWS, save_groups, save_run
from tests.toy import make_samples, make_store


@pytest.fixture
def empty(tmp_path):
    return FeatureStore(tmp_path / "store")


def central(groups, right, level=0.95):
    """The quantiles of the share of right ones among as many groups, each right with the same probability."""
    edges = [(1 - level) / 2, (1 + level) / 2]
    return (stats.binom.ppf(edges, groups, right / groups) / groups).tolist()


# Of 35 groups 18 right: 93 % would end a step further in; of 20 groups 10 right: 96 % would end a step further out.
@pytest.mark.parametrize(("groups", "right", "other"), [(35, 18, 0.93), (20, 10, 0.96)])
def test_intervals_hold_95_percent_of_resamples_of_groups(empty, groups, right, other):
    expected = central(groups, right)
    narrower = central(groups, right, other)
    assert all(abs(a - b) > 0.9 / groups for a, b in zip(expected, narrower, strict=True)), "the data tell them apart"
    ids = [save_groups(empty, groups, groups - right), save_groups(empty, groups, 0, run_id="ffff", classifier="et")]
    (found,) = evaluate(empty, ids[0], bootstrap=DRAWS, by="slide:mean")
    assert found.intervals["metrics"]["accuracy"] == pytest.approx(expected)
    assert found.intervals["level"] == 0.95
    assert found.by["slide:mean"]["intervals"]["metrics"]["accuracy"] == pytest.approx(expected)
    compared = compare(empty, ids, bootstrap=DRAWS)
    rows = {row["run"]: row for row in compared.rows}
    cells = {method["method"]: method["cells"]["toy"] for method in compared.methods}
    assert rows["abcd12345678"]["interval"] == cells["svm"]["interval"] == pytest.approx(expected)
    assert rows["ffff"]["interval"] == cells["et"]["interval"] == [1, 1]
    # The other run is right everywhere: their difference is the share of wrong groups, or less than nothing.
    (pair,) = compared.pairs
    assert (pair["first"], pair["difference"]) == ("svm", pytest.approx(right / groups - 1))
    assert pair["interval"] == pytest.approx([bound - 1 for bound in expected])


def test_another_seed_draws_anew_and_the_same_one_does_not(empty):
    run = save_groups(empty, 12, 5)
    first, again, other = (evaluate(empty, run, bootstrap=7, seed=seed)[0].intervals for seed in (1, 1, 2))
    assert first == again
    assert first["metrics"] != other["metrics"]
    assert (first["seed"], other["seed"], first["resamples"]) == (1, 2, 7)


@pytest.mark.parametrize(("groups", "reliable"), [(9, False), (10, True), (11, True)])
def test_ten_groups_are_enough(empty, groups, reliable):
    ids = [save_groups(empty, groups, 2, run_id=name) for name in ("aaaa", "bbbb")]
    (found,) = evaluate(empty, ids[0], bootstrap=20, by="slide:mean")
    assert (found.intervals["groups"], found.intervals["reliable"]) == (groups, reliable)
    assert found.by["slide:mean"]["intervals"]["reliable"] == reliable
    assert any("unreliable: they resample 9 groups" in note for note in found.notes) != reliable
    compared = compare(empty, ids, bootstrap=20)
    assert {row["reliable"] for row in compared.rows} == {reliable}
    assert {method["cells"]["toy"]["reliable"] for method in compared.methods} == {reliable}
    assert compared.pairs[0]["reliable"] == reliable
    assert ("intervals of 9 groups are unreliable, they need 10" in compared.notes) != reliable
    scores, pairs = comparison_sheets(compared)
    assert all(("(unreliable: 9 groups)" in row[-1]) != reliable for row in scores.rows)
    assert (pairs.rows[0][-1] is None) != reliable, "no p of so few groups is shown"


def test_one_group_has_neither_interval_nor_p(empty):
    ids = [save_groups(empty, 1, wrong, size=4, run_id=name) for name, wrong in (("aaaa", 0), ("bbbb", 1))]
    (found,) = evaluate(empty, ids[0], bootstrap=20)
    assert set(found.intervals["metrics"].values()) == {None}
    compared = compare(empty, ids, bootstrap=20)
    (pair,) = compared.pairs
    assert (pair["difference"], pair["interval"], pair["p"]) == (1, None, None)
    assert {row["interval"] for row in compared.rows} == {None}
    assert {method["cells"]["toy"]["interval"] for method in compared.methods} == {None}


def test_where_a_group_is_unknown_samples_are_drawn(empty):
    rows = [(0, str(i), "ab"[i % 2], i % 3 - 1.0, f"P{i % 4}" if i else None) for i in range(12)]
    (found,) = evaluate(empty, save_run(empty, rows), bootstrap=10)
    assert (found.intervals["unit"], found.intervals["groups"], found.groups) == ("sample", 12, None)


def test_groups_count_by_their_samples(empty):
    # One group of nine samples, all right, and one of one, wrong: 0, 9/10 in half of the cases, or 1.
    rows = [(0, str(i), "b", 1.0, "P") for i in range(9)] + [(0, "9", "b", -1.0, "Q")]
    (found,) = evaluate(empty, save_run(empty, rows), bootstrap=400)
    assert found.intervals["metrics"]["accuracy"] == [0, 1]
    many = [(0, f"{k}.{i}", "b", r, f"P{k}") for k in range(30) for i, r in enumerate([1.0] * 9 if k % 2 else [-1.0])]
    (found,) = evaluate(empty, save_run(empty, many, run_id="eeee"), bootstrap=DRAWS)
    # k of 30 draws are of the large groups: 9 k / (9 k + 30 - k).
    low, high = stats.binom.ppf([0.025, 0.975], 30, 1 / 2)
    expected = [9 * k / (9 * k + 30 - k) for k in (low, high)]
    assert found.intervals["metrics"]["accuracy"] == pytest.approx(expected)


def test_intervals_of_medians_over_units_are_those_of_resampled_medians(empty):
    # Inside their slides 3, 3, 3 and 1 quarters are right: the median is 3/4 unless two or more of four draws are the
    # last one (3/4 and 1/4 have the median 1/2, three of the last one 1/4): 1 - .738 of the resamples.
    rows = []
    for slide, right in enumerate((3, 3, 3, 1)):
        rows += [(0, f"{slide}.{i}", "b", 1.0 if i < right else -1.0, f"P{slide}") for i in range(4)]
    (found,) = evaluate(empty, save_run(empty, rows), by="slide:median", bootstrap=2000)
    entry = found.by["slide:median"]
    assert entry["metrics"]["accuracy"] == 3 / 4
    # Three or four of the last one: 4 (1/4)³ 3/4 + (1/4)⁴ = .051 > .025.
    assert entry["intervals"]["metrics"]["accuracy"] == [1 / 4, 3 / 4]
    (found,) = evaluate(empty, "abcd", by="slide:mean", bootstrap=2000)
    # (3 (4 - k) + k) / 16 for k draws of the last one.
    expected = [(12 - 2 * k) / 16 for k in stats.binom.ppf([0.975, 0.025], 4, 1 / 4)]
    assert found.by["slide:mean"]["metrics"]["accuracy"] == pytest.approx(10 / 16)
    assert found.by["slide:mean"]["intervals"]["metrics"]["accuracy"] == pytest.approx(expected)


def test_units_of_a_level_are_resampled_by_the_runs_groups(empty):
    # Wells in pairs of one slide: twelve slides, so twelve draws and not twenty-four.
    rows = [(0, f"{w}", "b", 1.0 if w // 2 % 2 else -1.0, f"P{w // 2}", f"w{w}") for w in range(24)]
    (found,) = evaluate(empty, save_run(empty, rows, levels=("well",)), by="well:mean", bootstrap=DRAWS)
    intervals = found.by["well:mean"]["intervals"]
    assert (intervals["groups"], intervals["unit"]) == (12, "slide")
    assert intervals["metrics"]["accuracy"] == pytest.approx(central(12, 6))
    assert central(12, 6) != pytest.approx(central(24, 12))


def test_means_over_units_resample_the_groups_that_they_lie_in(tmp_path):
    # Two fields of each of twelve slides, of which both are right or both wrong: twelve draws and not twenty-four.
    samples, X = make_samples(n=24, slides=12, field=[f"field {i}" for i in range(24)])
    store = make_store(tmp_path / "store", samples, {"last": X})
    rows = [(0, f"s{i}", "b", 1.0 if i % 2 else -1.0, f"P{i % 12}") for i in range(24)]
    (found,) = evaluate(store, save_run(store, rows), by="field", bootstrap=DRAWS)
    intervals = found.by["field:mean"]["intervals"]
    assert (intervals["groups"], intervals["unit"]) == (12, "slide")
    assert intervals["metrics"]["accuracy"] == pytest.approx(central(12, 6))


def test_units_inside_groups_are_drawn_with_them_and_others_by_themselves(tmp_path):
    # Each plate holds samples of two slides, each field is of one: of slide 0 or 1 the even or odd ones.
    # Of the batches the first holds samples of both slides, the others of one.
    columns = {"plate": [f"plate {i // 6}" for i in range(24)], "field": [f"field {i % 8}" for i in range(24)]}
    columns["batch"] = [f"batch {i % 2 if i > 5 else 2}" for i in range(24)]
    samples, X = make_samples(n=24, slides=2, **columns)
    store = make_store(tmp_path / "store", samples, {"last": X})
    rows = [(0, f"s{i}", "ab"[i % 2], i % 3 - 1.0, f"P{i % 2}") for i in range(24)]
    (found,) = evaluate(store, save_run(store, rows), by="plate,field,slide,batch", bootstrap=50)
    drawn = {name: (entry["intervals"]["unit"], entry["intervals"]["groups"]) for name, entry in found.by.items()}
    assert drawn == {
        "plate:mean": ("plate", 4),
        "field:mean": ("slide", 2),
        "slide:mean": ("slide", 2),
        "batch:mean": ("batch", 3),
    }
    # All samples of one slide are of one class, and two of three are right in each.
    assert found.by["field:mean"]["units"] == 8
    assert found.by["slide:mean"]["metrics"]["accuracy"] == pytest.approx(found.metrics["accuracy"])


def test_resamples_without_a_class_are_told_of(empty):
    # The class c is in one of twelve groups: a resample misses it with the probability (11 / 12) ** 12.
    rows = [(0, str(i), "ab"[i % 2], [0.5, 0.4, 0.0], f"P{i % 12}") for i in range(48)]
    rows.append((0, "c", "c", [0.5, 0.4, 0.0], "P0"))
    (found,) = evaluate(empty, save_run(empty, rows, classes=("a", "b", "c")), bootstrap=DRAWS)
    lacking = found.intervals["lacking_resamples"]
    assert lacking / DRAWS == pytest.approx((11 / 12) ** 12, abs=0.02)
    assert any(note.startswith(f"{lacking} of {DRAWS} resamples lack samples of some class") for note in found.notes)
    # So it is in comparisons, by metrics that are means over classes.
    other = save_run(empty, rows[::-1], classes=("a", "b", "c"), run_id="eeee")
    for metric, told in (("balanced_accuracy", True), ("roc_auc", True), ("accuracy", False)):
        notes = compare(empty, [found.run, other], metric=metric, bootstrap=500).notes
        assert sum("of 500 resamples of toy lack samples of some class" in note for note in notes) == told
    # Each of ten groups has both classes.
    (whole,) = evaluate(empty, save_groups(empty, 10, 2), bootstrap=50)
    assert "lacking_resamples" not in whole.intervals
