"""The figures of evaluate and compare, by the numbers on their axes."""

import re
from contextlib import nullcontext
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager, rc_context
from matplotlib.colors import to_hex

from histokit import cli
from histokit.compare.compare import compare, compare_scores
from histokit.errors import UsageError
from histokit.evaluate.evaluate import evaluate
from histokit.features import FeatureStore
from histokit.figures import sheet
from histokit.figures.ranks import draw_comparison, rank_figure
from histokit.figures.scores import draw_scores, scores_figure
from histokit.figures.sheet import sheet_bytes
from histokit.figures.threshold_curves import draw_roc
from tests.compare.made_up import ranked, with_scores
from tests.evaluate.made_up import make_record, save, save_run
from tests.evaluate.made_up_numbers import save_numbers


@pytest.fixture
def empty(tmp_path):
    return FeatureStore(tmp_path / "store")


#: True classes in rows; unlike its transpose, and with a class that is never predicted alone.
COUNTS = [[3, 1, 0], [0, 2, 0], [2, 0, 8]]


def save_counts(store, classes=("a", "b", "c"), **changes):
    """Save a run of three classes with these counts, the wrong ones all in the second of two folds."""
    rows = []
    for row, column in np.ndindex(3, 3):
        for _ in range(COUNTS[row][column]):
            # Half of the right ones are in each fold.
            fold = 1 if row != column else len(rows) % 2
            scores = [float(k == column) for k in range(3)]
            rows.append((fold, str(len(rows)), classes[row], scores, f"P{len(rows) % 4}"))
    return save_run(store, rows, classes=classes, **changes)


def _labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def shades(axis):
    return np.asarray(axis.images[0].get_array())


def levels(axis):
    """Label → height of each horizontal line."""
    return {line.get_label(): line.get_ydata()[0] for line in axis.lines if len(line.get_ydata())}


def test_true_classes_are_rows_and_predicted_ones_columns(empty):
    (axis, _) = draw_scores(evaluate(empty, save_counts(empty))).axes
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("predicted", "true")
    assert _labels(axis.xaxis) == _labels(axis.yaxis) == ["a", "b", "c"]
    assert (axis.get_xticks().tolist(), axis.get_yticks().tolist()) == ([0, 1, 2], [0, 1, 2])
    # Shares of the true class: the image's rows, the first one on top.
    shares = [[3 / 4, 1 / 4, 0], [0, 1, 0], [2 / 10, 0, 8 / 10]]
    assert shades(axis) == pytest.approx(np.array(shares))
    assert axis.images[0].get_clim() == (0, 1)
    assert axis.get_ylim()[0] > axis.get_ylim()[1]
    assert axis.get_xlim()[0] < axis.get_xlim()[1]
    written = {text.get_position(): text.get_text() for text in axis.texts}
    # A text stands at (x, y), so at (predicted, true).
    percent = {(j, i): f"{100 * shares[i][j]:.0f} %" for i in range(3) for j in range(3)}
    assert written == {(j, i): f"{COUNTS[i][j]}\n{percent[j, i]}" for i in range(3) for j in range(3)}
    # Dark cells have light digits.
    light = {text.get_position() for text in axis.texts if text.get_color() == "white"}
    assert light == {(0, 0), (1, 1), (2, 2)}


def test_a_class_without_samples_has_an_empty_row(empty):
    rows = [(0, "1", "a", -1.0, "P"), (0, "2", "a", 1.0, "Q"), (0, "3", "a", 1.0, "Q")]
    axis, _ = draw_scores(evaluate(empty, save_run(empty, rows))).axes
    assert shades(axis) == pytest.approx(np.array([[1 / 3, 2 / 3], [0, 0]]))
    assert axis.images[0].get_clim() == (0, 1), "the same shade for the same share, whatever the highest one is"


def test_each_fold_has_its_bar(empty):
    (found,) = evaluate(empty, save_counts(empty), bootstrap=50)
    _, axis = draw_scores(found).axes
    bars = axis.containers[0].patches
    # The rows above are numbered 0 to 15; right are 0 1 2, 4 5 and 8 to 15, of which 1 5 9 11 13 15 are in fold 1.
    assert [bar.get_height() for bar in bars] == pytest.approx([1, 6 / 9])
    assert [bar.get_x() + bar.get_width() / 2 for bar in bars] == pytest.approx([0, 1])
    assert levels(axis) == pytest.approx({"pooled 0.812": 13 / 16, "always c 0.625": 10 / 16})
    (band,) = [patch for patch in axis.patches if patch.get_label() == "95 % interval, unreliable"]
    low, high = found.intervals["metrics"]["accuracy"]
    assert low < 13 / 16 < high
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((low, high))
    assert axis.get_ylim() == pytest.approx((0, 1.02))
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("fold", "accuracy")
    assert [text.get_text() for text in axis.get_legend().get_texts()] == [
        "pooled 0.812",
        "95 % interval, unreliable",
        "always c 0.625",
    ]


def test_a_class_that_is_a_number_stands_apart_from_its_score(empty):
    rows = [(0, "1", "0", -1.0, "P"), (0, "2", "0", -1.0, "P"), (0, "3", "1", 1.0, "Q")]
    _, axis = draw_scores(evaluate(empty, save_run(empty, rows, classes=("0", "1")))).axes
    assert "always 0: 0.667" in levels(axis)


def test_the_metric_that_is_asked_for_is_drawn(empty):
    (found,) = evaluate(empty, save_counts(empty), metric="balanced_accuracy")
    _, axis = draw_scores(found).axes
    assert axis.get_ylabel() == "balanced accuracy"
    # Of fold 1: a is right in 1 of 2, b in 1 of 1, c in 4 of 6.
    assert [bar.get_height() for bar in axis.containers[0].patches] == pytest.approx([1, (1 / 2 + 1 + 4 / 6) / 3])
    assert levels(axis)["pooled 0.850"] == pytest.approx((3 / 4 + 1 + 8 / 10) / 3)
    assert levels(axis)["always c 0.333"] == pytest.approx(1 / 3)


def test_bars_are_called_by_their_folds(empty):
    rows = [(fold, f"s{i}", "ab"[i % 2], float(i), f"P{fold}") for fold in (1, 3) for i in range(4)]
    (_, once) = draw_scores(evaluate(empty, save_run(empty, rows, run_id="1" * 12))).axes
    assert (once.get_xlabel(), _labels(once.xaxis)) == ("fold", ["1", "3"])
    (_, twice) = draw_scores(evaluate(empty, save_run(empty, rows, run_id="2" * 12, repeats=[rows]))).axes
    assert (twice.get_xlabel(), _labels(twice.xaxis)) == ("repeat.fold", ["0.1", "0.3", "1.1", "1.3"])


def test_repeated_folds_predict_a_sample_several_times(empty):
    rows = [(i // 2, f"s{i}", "ab"[i % 2], float(i), f"P{i // 2}", f"P{i // 2}{'ab'[i % 2]}") for i in range(4)]
    (found,) = evaluate(empty, save_run(empty, rows, levels=("well",), repeats=[rows, rows]), by="well:mean")
    titles = [" ".join(axis.get_title().split()) for axis in draw_scores(found).axes[1::2]]
    assert [title.partition(": ")[2] for title in titles] == [
        "12 predictions of 2 groups",
        "12 predictions of 4 units of 2 groups",
    ]
    assert (found.by["well:mean"]["units"], found.by["well:mean"]["n"]) == (4, 12)


def test_only_none_and_all_of_a_class_are_0_and_100_percent(empty):
    rows = [(0, f"a{i}", "a", 1.0 if i == 5 else -1.0, "P") for i in range(300)]
    rows += [(0, f"b{i}", "b", 1.0, "Q") for i in range(300)]
    axis, _ = draw_scores(evaluate(empty, save_run(empty, rows))).axes
    assert [text.get_text() for text in axis.texts] == ["299\n>99 %", "1\n<1 %", "0\n0 %", "300\n100 %"]


def test_an_interval_below_0_is_drawn_whole(empty):
    # In two of twelve groups, predictions are far off.
    rows = [(0, f"s{i}", float(i % 5), float(i % 5) + 3 * (i < 4), f"P{i // 2}") for i in range(24)]
    (found,) = evaluate(empty, save_numbers(empty, rows), bootstrap=200)
    low, high = found.intervals["metrics"]["r2"]
    _, axis = draw_scores(found).axes
    assert low < 0 < found.metrics["r2"] < high
    assert axis.get_ylim()[0] == pytest.approx(1.05 * low)


def test_an_undefined_fold_has_no_height_and_an_undefined_score_no_line(empty):
    rows = [(0, "1", "a", -1.0, "P"), (0, "2", "b", 1.0, "P"), (1, "3", "a", -1.0, "Q")]
    _, axis = draw_scores(evaluate(empty, save_run(empty, rows), metric="roc_auc")).axes
    heights = [bar.get_height() for bar in axis.containers[0].patches]
    assert (heights[0], np.isnan(heights[1])) == (1, True)
    assert "undefined in 1 of 2 folds" in [text.get_text() for text in axis.get_legend().get_texts()]
    _, axis = draw_scores(evaluate(empty, save_run(empty, rows[2:], run_id="eeee"), metric="roc_auc")).axes
    assert levels(axis) == {}


def test_runs_are_drawn_below_each_other(empty):
    ids = [save_counts(empty, run_id=name, classifier=name) for name in ("aaaa", "bbbb")]
    sheet = draw_scores(evaluate(empty, ids))
    assert [axis.get_title() for axis in sheet.axes] == [
        "net/last · aaaa · cv",
        "toy, run aaaa: 16 predictions of 4 groups",
        "net/last · bbbb · cv",
        "toy, run bbbb: 16 predictions of 4 groups",
    ]
    assert len(draw_scores(evaluate(empty, ids[0])[0]).axes) == 2


def test_many_classes_have_no_digits(empty):
    names = tuple("abcdefghijklm")
    for count, digits in ((12, 144), (13, 0)):
        rows = [(0, str(k), names[k], [float(j == k) for j in range(count)], "P") for k in range(count)]
        run = save_run(empty, rows, classes=names[:count], run_id=f"{count}{count}")
        axis, _, *bar = draw_scores(evaluate(empty, run)).axes
        assert len(axis.texts) == digits
        assert [each.get_xlabel() for each in bar] == ["share of the true class"] * (count == 13)


@pytest.mark.parametrize(("count", "each"), [(57, 1), (100, 2), (601, 20)])
def test_a_matrix_of_many_classes_is_a_page_whose_names_have_room(empty, count, each):
    names = tuple(f"grade {k}" for k in range(count))
    # One sample of each class; that of the second is taken for the last.
    rows = [(0, str(k), names[k], [float(j == (k if k != 1 else count - 1)) for j in range(count)], "P")
            for k in range(count)]  # fmt: skip
    sheet = draw_scores(evaluate(empty, save_run(empty, rows, classes=names)))
    axis, _, bar = sheet.axes
    assert max(sheet.get_size_inches()) < 14, "whatever the classes"
    boxes = dict(_extents(sheet))
    assert _labels(axis.yaxis) == _labels(axis.xaxis) == list(names[::each])
    assert axis.get_yticks().tolist() == axis.get_xticks().tolist() == list(range(0, count, each))
    assert all(boxes[above].y0 >= boxes[below].y1 - 3 for above, below in pairwise(names[::each]))
    said = {1: "", 2: " (each second of 100 classes is named)", 20: " (each 20th of 601 classes is named)"}[each]
    assert axis.get_xlabel() == f"predicted{said}"
    # Of cells that share a pixel the darkest is drawn; where cells are small, few samples are seen, too.
    block = 2 if count > 600 else 1
    drawn = shades(axis)
    assert drawn.shape == (-(-count // block),) * 2
    assert drawn[0 if block == 2 else 1, -1] == 1
    assert axis.images[0].norm(0.04) == pytest.approx(0.04 if each == 1 else 0.2)
    assert bar.get_xlabel() == "share of the true class" + ", its square root as colour" * (each > 1)
    left, right, bottom, top = axis.images[0].get_extent()
    assert ((right - left) / drawn.shape[1], (bottom - top) / drawn.shape[0]) == (block, block)
    assert (axis.get_xlim(), axis.get_ylim()) == ((-0.5, count - 0.5), (count - 0.5, -0.5))


def test_the_command_draws_what_it_prints(empty, tmp_path):
    save_counts(empty)
    path = tmp_path / "scores.svg"
    assert cli.run(["--store", str(empty.uri), "evaluate", "abcd", "--bootstrap", "20", "--figure", str(path)]) == 0
    text = path.read_text()
    assert [f"<!-- {mark} -->" in text for mark in ("predicted", "true", "pooled 0.812", "fold")] == [True] * 4
    assert scores_figure(evaluate(empty, "abcd", bootstrap=20), tmp_path / "again.svg").read_text() == text
    with pytest.raises(UsageError, match="cannot be written"):
        scores_figure(evaluate(empty, "abcd"), tmp_path / "nowhere" / "f.png")


# -- ranks

#: Ranks 4, 3, 2, 1 on four datasets; on two et and knn change places.
SCORES = [[0.9, 0.8, 0.7, 0.6]] * 4 + [[0.9, 0.7, 0.8, 0.6]] * 2


def test_the_longest_bar_is_on_top_and_named(empty):
    # fc comes first in the runs and is the best here, so that the order of runs is not that of ranks.
    (axis,) = draw_comparison(ranked(empty, [row[::-1] for row in SCORES])).axes
    assert axis.get_yticks().tolist() == [0, 1, 2, 3]
    assert _labels(axis.yaxis) == ["fc", "knn", "et", "svm"]
    assert axis.get_ylim()[0] > axis.get_ylim()[1], "row 0 is on top"
    bars = axis.containers[0].patches
    assert [bar.get_y() + bar.get_height() / 2 for bar in bars] == pytest.approx([0, 1, 2, 3])
    assert [bar.get_x() for bar in bars] == [0] * 4
    assert [bar.get_width() for bar in bars] == pytest.approx([4, 16 / 6, 14 / 6, 1])
    digits = {text.get_position()[1]: text.get_text() for text in axis.texts if text.get_text()[0].isdigit()}
    assert digits == {0: "4.00", 1: "2.67", 2: "2.33", 3: "1.00"}
    assert axis.get_xlabel() == "average rank over 6 datasets (4 is the highest)"
    assert axis.get_xlim()[0] == 0
    assert axis.get_xlim()[1] > 4


def test_lines_join_what_is_not_told_apart(empty):
    (axis,) = draw_comparison(ranked(empty, SCORES)).axes
    difference, *joined = axis.lines
    # q is 2.569 for four methods (Demšar 2006): differences below 1.915 do not count, those of 3 do.
    width = 2.569 * np.sqrt(4 * 5 / (6 * 6))
    assert difference.get_xdata() == pytest.approx([1, 1 + width], abs=1e-3)
    assert len(set(difference.get_ydata())) == 1
    assert axis.get_ylim()[1] < difference.get_ydata()[0] < 0, "above the bars, and inside"
    assert [list(line.get_ydata()) for line in joined] == [[0, 2], [1, 3]]
    places = [line.get_xdata()[0] for line in joined]
    assert 4 < places[0] < places[1] < axis.get_xlim()[1], "beside the bars, and beside each other"
    assert all(line.get_xdata()[0] == line.get_xdata()[1] for line in joined)
    (text,) = [text.get_text() for text in axis.texts if "critical" in text.get_text()]
    assert f"{width:.2f};" in text


@pytest.mark.parametrize(("count", "drawn"), [(4, 4), (8, 8), (40, 10)])
def test_figures_of_many_runs_have_a_limit_and_tell_it(empty, count, drawn):
    (found,) = evaluate(empty, save_counts(empty), views=["roc"])
    sheet_of_scores = draw_scores([found] * count)
    titled = [axis for axis in sheet_of_scores.axes if axis.axison]
    assert len(titled) == 2 * drawn
    assert max(sheet_of_scores.get_size_inches()) <= 25.3
    told = f"The first {drawn} of {count} runs and levels are drawn; a figure of fewer runs shows the others."
    assert sheet_of_scores.get_supxlabel() == told * (drawn < count)
    if count <= 4:
        assert all(axis.get_gridspec().ncols == 2 for axis in titled), "one run a row"
    curves = draw_roc([found] * count)
    assert max(curves.get_size_inches()) <= 25.3
    assert bool(curves.get_supxlabel()) == (sum(axis.axison for axis in curves.axes) < count)


def test_nothing_of_many_runs_is_cut_or_overlaps(empty):
    (found,) = evaluate(empty, save_counts(empty))
    drawn = draw_scores([found] * 40)
    sheet_bytes(drawn, ".png")
    renderer, (width, height) = drawn.canvas.get_renderer(), drawn.bbox.size
    boxes = [axis.get_tightbbox(renderer) for axis in drawn.axes if axis.axison]
    assert all(b.x0 >= -1 and b.y0 >= -1 and b.x1 <= width + 1 and b.y1 <= height + 1 for b in boxes)
    assert not any(a.overlaps(b) for a, b in combinations([box.padded(-2) for box in boxes], 2))
    below = min(box.y0 for box in boxes)
    assert drawn._supxlabel.get_window_extent(renderer).y1 <= below + 1


def test_of_many_methods_the_best_are_drawn(empty):
    names = [f"method-{number:03d}" for number in range(86)]
    rows = [[1 - number / 200 for number in range(86)]] * 6
    (axis,) = draw_comparison(ranked(empty, rows, names)).axes
    assert axis.figure.get_size_inches()[1] <= 25
    labels = _labels(axis.yaxis)
    assert len(labels) < 86
    assert labels == names[: len(labels)]
    assert " ".join(axis.get_title().split()).endswith(f"; the best {len(labels)} of 86 methods")
    assert axis.get_xlabel() == "average rank over 6 datasets (86 is the highest)"
    assert axis.containers[0].patches[0].get_width() == 86
    # Lines beside the bars leave these most of the width, and end where the drawn methods do.
    joined = [line for line in axis.lines if line.get_xdata()[0] == line.get_xdata()[1]]
    assert joined
    assert all(max(line.get_ydata()) < len(labels) for line in joined)
    assert axis.get_xlim()[1] <= 140


def test_a_method_of_many_networks_takes_no_room_from_the_others(empty):
    joined = "+".join(f"network_{number}/last" for number in range(40))
    names = ["plain", f"{joined}+one", f"{joined}+two"]
    (axis,) = draw_comparison(ranked(empty, [[0.9, 0.8, 0.7], [0.9, 0.7, 0.8]] * 3, names)).axes
    short, *long = _labels(axis.yaxis)
    assert short == "plain"
    assert max(text.count("\n") for text in long) <= 3
    assert sorted(text[-3:] for text in long) == ["one", "two"]
    assert all(text.startswith("network_0/last") for text in long)


def test_ranks_without_a_test_have_no_lines(empty):
    (axis,) = draw_comparison(ranked(empty, SCORES[2:5])).axes
    assert len(axis.lines) == 0
    assert _labels(axis.yaxis) == ["svm", "et", "knn", "fc"]
    assert [bar.get_width() for bar in axis.containers[0].patches] == pytest.approx([4, 8 / 3, 7 / 3, 1])


def test_methods_without_ranks_are_not_drawn_among_them(empty):
    entries = [(make_record(d, c), s) for d in "AB" for c, s in (("svm", 0.8), ("et", 0.9))]
    entries.append((make_record("A", "fc"), 0.99))
    (axis,) = draw_comparison(compare_scores(with_scores(empty, entries))).axes
    assert _labels(axis.yaxis) == ["et", "svm"]


def test_bars_of_one_classifier_have_one_colour_that_the_legend_names(empty):
    scores = {("svm", "net/1"): 0.9, ("knn", "net/1"): 0.8, ("svm", "net/2"): 0.7, ("et", "net/2"): 0.6}
    entries = [(make_record(d, c, address), s) for d in "AB" for (c, address), s in scores.items()]
    (axis,) = draw_comparison(compare_scores(with_scores(empty, entries))).axes
    shown = {text.get_text(): patch.get_facecolor() for text, patch in _legend(axis)}
    bars = [bar.get_facecolor() for bar in axis.containers[0].patches]
    assert bars == [shown[classifier] for classifier in ("svm", "knn", "svm", "et")]
    assert len(set(shown.values())) == 3
    # What colours mean takes nothing from the bars, however long it is.
    long = [(make_record("A", c, f"net_{'of_a_long_name_' * 3}{n}/1"), 0.5) for c in ("svm", "knn") for n in range(5)]
    sheet = draw_comparison(compare_scores(with_scores(empty, long)))
    _extents(sheet)
    assert sheet.axes[0].get_legend().get_window_extent().x1 <= sheet.bbox.width
    assert sheet.axes[0].get_window_extent().width > 4.5 * sheet.dpi
    # As in the figures of Mormont et al. 2018.
    assert (to_hex(shown["svm"]), to_hex(shown["et"])) == ("#e08a2e", "#4f9a5b")


def _legend(axis):
    legend = axis.get_legend()
    return list(zip(legend.get_texts(), legend.get_patches(), strict=True))


def test_one_dataset_shows_scores_with_their_intervals(empty):
    ids = [save(empty, "A", 14), save(empty, "A", 18, "et"), save(empty, "A", 16, "knn")]
    found = compare(empty, ids, bootstrap=200)
    (axis,) = draw_comparison(found).axes
    assert _labels(axis.yaxis) == ["et", "knn", "svm"]
    assert axis.get_ylim()[0] > axis.get_ylim()[1]
    points = [line for line in axis.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in points] == pytest.approx([0.9, 0.8, 0.7])
    assert [line.get_ydata()[0] for line in points] == [0, 1, 2]
    spans = [line for line in axis.lines if line.get_marker() != "o"]
    intervals = [method["cells"]["A"]["interval"] for method in found.methods]
    assert [list(line.get_xdata()) for line in spans] == intervals
    assert [list(line.get_ydata()) for line in spans] == [[0, 0], [1, 1], [2, 2]]
    assert axis.get_xlabel() == "accuracy on A, 95 % intervals"
    assert axis.get_title() == "A · cv: 20 samples of 10 groups"
    assert axis.get_legend() is None


@pytest.mark.parametrize(
    ("aggregate", "units"), [("slide:mean,patient:max", "patients"), ("Patient (No)", "units"), (None, "samples")]
)
def test_units_that_samples_were_aggregated_to_are_not_called_samples(empty, aggregate, units):
    ids = [save(empty, "A", right, name, aggregate=aggregate) for right, name in ((14, "et"), (18, "knn"))]
    (axis,) = draw_comparison(compare(empty, ids, bootstrap=20)).axes
    assert axis.get_title() == f"A · cv: 20 {units} of 10 groups"


def test_without_ranks_each_column_has_axes(empty):
    ids = [save(empty, "A", right, name, split=split, digest=split) for name, split, right in
           (("svm", "cv", 14), ("et", "cv", 18), ("svm", "k2", 12), ("et", "k2", 10))]  # fmt: skip
    found = compare(empty, [*ids, save(empty, "B", 18, "knn")], bootstrap=20)
    axes = draw_comparison(found).axes
    assert [axis.get_title().partition(":")[0] for axis in axes] == ["A (cv) · cv", "A (k2) · k2", "B · cv"]
    assert [_labels(axis.yaxis) for axis in axes] == [["et", "svm"], ["svm", "et"], ["knn"]]
    names = [f"k{number}" for number in range(8)]
    many = compare(empty, [save(empty, "A", 14, "svm", split=name, digest=name) for name in names], bootstrap=20)
    first, *others = draw_comparison(many).axes
    assert " ".join(first.get_title().split()).endswith("(the first 6 of 8 columns)")
    assert len(others) == 5


def test_the_rank_plot_tells_what_it_is_of_in_drawn_letters_and_cuts_nothing(empty):
    address = "mobilenet_with_a_long_name/features.{0}+densenet121_too/last+resnet50/layer{0}"
    entries = [(make_record("$x$", "svm", address.format(k)), 0.8 + k / 20) for k in range(3)]
    sheet = draw_comparison(compare_scores(with_scores(empty, entries)))
    (axis,) = sheet.axes
    assert axis.get_title() == r"\$x\$ · cv: 10 groups"
    assert axis.get_xlabel() == r"accuracy on \$x\$, 95 % intervals"
    for drawn in (sheet, draw_comparison(ranked(empty, SCORES))):
        extents = _extents(drawn)
        extents += [(text.get_text(), text.get_window_extent()) for text in drawn.axes[0].texts]
        for text, box in extents:
            assert 0 <= box.x0 < box.x1 <= drawn.bbox.width, text
            assert 0 <= box.y0 < box.y1 <= drawn.bbox.height, text
    assert drawn.axes[0].get_title() == "D0 · cv; D1 · cv; D2 · cv; D3 · cv; D4 · cv; D5 · cv: 10 groups\neach"
    # The words on the difference take nothing from the bars.
    assert drawn.axes[0].get_window_extent().width > 4.5 * drawn.dpi


def test_an_undefined_score_has_no_point(empty):
    entries = [(make_record("A", "svm"), 0.8), (make_record("A", "et"), None), (make_record("A", "fc"), 0.9)]
    (axis,) = draw_comparison(compare_scores(with_scores(empty, entries))).axes
    assert _labels(axis.yaxis) == ["fc", "svm", "et"]
    points = [line for line in axis.lines if line.get_marker() == "o"]
    assert [line.get_ydata()[0] for line in points] == [0, 1]


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_rank_plot_is_the_same_bytes_twice(empty, tmp_path, ending):
    found = ranked(empty, SCORES)
    first, second = (rank_figure(found, tmp_path / f"{name}.{ending}").read_bytes() for name in "ab")
    assert first == second
    if ending == "svg":
        marks = re.findall(r"<!-- (.*?) -->", first.decode())
        assert [mark for mark in marks if mark in ("svm", "et", "knn", "fc")] == ["svm", "et", "knn", "fc"]


def test_a_figure_that_cannot_be_written(empty, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"cannot be written: .*nowhere does not exist") as caught:
        rank_figure(ranked(empty, SCORES), tmp_path / "nowhere" / "scores.png")
    assert "in a folder that exists" in caught.value.next
    if Path("/dev/full").exists():
        monkeypatch.setattr(sheet, "replaced", lambda _: nullcontext(Path("/dev/full")))
        with pytest.raises(UsageError, match=r"png cannot be written: No space left on device\.") as caught:
            rank_figure(ranked(empty, SCORES), tmp_path / "scores.png")
        assert "Free some space" in caught.value.next


# -- room


def _extents(sheet):
    """Text → its box in pixels, of all that is written to a file."""
    sheet_bytes(sheet, ".png")
    renderer = sheet.canvas.get_renderer()
    found = []
    for axis in sheet.axes:
        legend = axis.get_legend()
        texts = [axis.title, axis.xaxis.label, axis.yaxis.label, *(legend.get_texts() if legend else [])]
        # Numbers stand at ticks beyond the axis, too, where they are not drawn.
        texts += [t for t in (*axis.get_xticklabels(), *axis.get_yticklabels()) if not t.get_text()[:1].isdigit()]
        found += [(text.get_text(), text.get_window_extent(renderer)) for text in texts if text.get_text()]
    return found


_WITHOUT_BLANKS = 4 * "withoutanyblank" + "{}" + 60 * "x"
_LONG = "adenocarcinoma of the colon, moderately differentiated (grade 2), with {} invasion"


@pytest.mark.parametrize(
    ("count", "name"),
    [
        (2, "adenoma-with-high-grade-dysplasia-{}-of-40"),
        (3, _LONG),
        (7, _WITHOUT_BLANKS),
        (12, _LONG),
        (40, _LONG[15:60] + "{}"),
    ],
)
def test_long_names_are_inside_the_figure_and_do_not_overlap(empty, count, name):
    names = tuple(name.format(f"{k:02d}") for k in range(count))
    rows = [(0, str(k), names[k], [float(j == k) for j in range(count)], "P") for k in range(count)]
    address = "timm:mobilenetv2_100,pad_type=same/blocks.5.2+timm:mobilenetv2_100,pad_type=same/blocks.6.0"
    sheet = draw_scores(evaluate(empty, save_run(empty, rows, classes=names, address=address)))
    extents = _extents(sheet)
    width, height = sheet.get_size_inches() * sheet.dpi
    for text, box in extents:
        # Less than half of a pixel is not seen.
        assert box.x0 > -0.5 < box.y0, text
        assert box.x1 <= width, text
        assert box.y1 <= height, text
    confusion, folds = sheet.axes[:2]
    written = [label.replace("\n", "") for label in _labels(confusion.yaxis)]
    assert all(f"{k:02d}" in label for k, label in enumerate(written)), "each can be told from all others by its name"
    for axis, low, high in ((confusion.yaxis, "y0", "y1"), (confusion.xaxis, "x0", "x1")):
        boxes = sorted(
            (label.get_window_extent() for label in axis.get_ticklabels()), key=lambda box: getattr(box, low)
        )
        # Boxes hold the space of letters with tails; what is drawn is smaller.
        assert all(getattr(a, high) <= getattr(b, low) + 3 for a, b in pairwise(boxes))
    assert folds.get_legend().get_window_extent().y1 < folds.get_window_extent().y0, "the legend hides no bar"
    assert confusion.title.get_window_extent().x1 < folds.title.get_window_extent().x0
    # Names take neither from the matrix nor from the folds more than the sheet has for them.
    sides = [axis.get_window_extent() for axis in (confusion, folds)]
    assert sides[0].width >= 2.4 * sheet.dpi
    assert sides[1].width >= 3.5 * sheet.dpi


def test_names_are_drawn_as_they_are_written_or_as_escapes(empty, tmp_path):
    names = ("$x$", "café", "腺癌", "\x1b[31m")
    rows = [(0, str(k), names[k], [float(j == k) for j in range(4)], "P") for k in range(4)]
    found = evaluate(empty, save_run(empty, rows, classes=names))
    axis, _ = draw_scores(found).axes
    assert _labels(axis.yaxis) == [r"\$x\$", "café", r"\u817a\u764c", r"\x1b[31m"]
    scores_figure(found, tmp_path / "names.png")


def test_a_single_fold_is_a_bar_of_usual_width(empty):
    _, axis = draw_scores(evaluate(empty, save_run(empty, [(0, "1", "a", -1.0, "P"), (0, "2", "b", 1.0, "Q")]))).axes
    assert (list(axis.get_xticks()), [label.get_text() for label in axis.get_xticklabels()]) == ([0], ["0"])
    low, high = axis.get_xlim()
    assert high - low >= 4


def test_of_many_folds_some_have_a_number(empty):
    rows = [(f, f"{f}{t}", t, float("ab".index(t)), "P") for f in range(38) for t in "ab"]
    _, axis = draw_scores(evaluate(empty, save_run(empty, rows))).axes
    assert list(axis.get_xticks()) == list(range(0, 38, 4))


def test_folds_are_whole_numbers(empty):
    _, axis = draw_scores(evaluate(empty, save_counts(empty))).axes
    shown = [tick for tick in axis.get_xticks() if axis.get_xlim()[0] <= tick <= axis.get_xlim()[1]]
    assert shown == [0, 1]


def font_of(letters, path):
    """Write a font whose letters are boxes as wide as its size."""
    glyph = TTGlyphPen(None)
    for number, corner in enumerate([(100, 0), (100, 800), (900, 800), (900, 0)]):
        (glyph.lineTo if number else glyph.moveTo)(corner)
    glyph.closePath()
    names = [".notdef", *(f"letter{number}" for number in range(len(letters)))]
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(names)
    font.setupCharacterMap(dict(zip(map(ord, letters), names[1:], strict=True)))
    font.setupGlyf(dict.fromkeys(names, glyph.glyph()))
    font.setupHorizontalMetrics(dict.fromkeys(names, (1000, 100)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "Boxes", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(path)


def test_letters_of_further_fonts_are_drawn_and_have_room(empty, tmp_path):
    font_of("肿瘤", tmp_path / "boxes.ttf")
    font_manager.fontManager.addfont(tmp_path / "boxes.ttf")
    classes = ("肿瘤" * 12, "b", "好")
    run = save_counts(empty, classes)
    with rc_context({"font.family": ["DejaVu Sans", "Boxes"]}):
        drawn = draw_scores(evaluate(empty, run))
        sheet_bytes(drawn, ".png")
        axis, width = drawn.axes[0], drawn.bbox.width
        boxes = [label.get_window_extent() for label in axis.get_yticklabels()]
    assert {label.replace("\n", "") for label in _labels(axis.yaxis)} == {classes[0], "b", r"\u597d"}
    assert all(box.x0 >= 0 and box.x1 <= width for box in boxes)
    # Long names are broken, here between any two letters.
    assert max(box.width for box in boxes) < 0.9 * drawn.dpi
