"""What is drawn of ROC and precision-recall curves: lines, their meaning, and that all of it is inside."""

import pytest
from matplotlib.colors import to_hex

from histokit.errors import UsageError
from histokit.evaluate.evaluate import evaluate
from histokit.features import FeatureStore
from histokit.figures import precision_recall_figure, roc_figure
from histokit.figures.threshold_curves import draw_threshold_curves
from tests.evaluate.made_up import save_run
from tests.evaluate.test_threshold_curves import BOTH, made_rows


@pytest.fixture
def empty(tmp_path):
    return FeatureStore(tmp_path / "store")


def key(axis):
    """What each line of the legend means, on one line, and its colour and style."""
    legend = axis.get_legend()
    texts = [" ".join(text.get_text().split()) for text in legend.get_texts()]
    return dict(zip(texts, [(to_hex(h.get_color()), h.get_linestyle()) for h in legend.legend_handles], strict=True))


def lines_of(axis, look):
    return [line for line in axis.lines if (to_hex(line.get_color()), line.get_linestyle()) == look]


def test_two_classes_have_a_line_for_the_positive_one_and_for_each_fold(empty):
    (found,) = evaluate(empty, save_run(empty, made_rows(200, ("a", "b"), folds=3)), views=BOTH, bootstrap=30)
    (axis,) = draw_threshold_curves(found, "roc").axes
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("false positive rate", "true positive rate")
    assert (
        " ".join(axis.get_title().split()) == "net/last · svm · cv toy, run abcd12345678: 200 predictions of 10 groups"
    )
    meanings = key(axis)
    pooled, mean, each = meanings
    low, high = found.intervals["metrics"]["roc_auc"]
    positives = found.per_class["b"]["support"]
    area = f"AUC {found.metrics['roc_auc']:.3f} (95 % {low:.3f} to {high:.3f})"
    assert pooled == f"b ({positives} of 200), pooled: {area}"
    std = found.folds["std"]["roc_auc"]
    assert mean == f"mean of 3 folds: AUC {found.metrics['roc_auc_fold_mean']:.3f} ± {std:.3f}"
    assert each == "each fold"
    counts = [len(lines_of(axis, look)) for look in meanings.values()]
    assert counts == [1, 1, 3]
    (line,) = lines_of(axis, meanings[pooled])
    curve = found.views["roc"]["curves"][0]
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([0, *curve["x"]], [0, *curve["y"]])
    assert len(axis.collections) == 1, "the band"
    (axis,) = draw_threshold_curves(found, "precision-recall").axes
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("recall", "precision")
    assert f"share of the class: {positives / 200:.3f}" in key(axis)
    (line,) = lines_of(axis, key(axis)[next(iter(key(axis)))])
    assert line.get_drawstyle() == "steps-pre"
    # Curves of steps, unlike those from (0, 0), begin as high as the first one is.
    curves = [line for look in [*key(axis).values()][:3] for line in lines_of(axis, look)]
    assert len(curves) == 5
    assert all((line.get_xdata()[0], line.get_ydata()[0]) == (0, line.get_ydata()[1]) for line in curves)


def test_few_classes_have_a_colour_each_and_the_mean_is_black(empty):
    names = ("a", "b", "c", "d")
    rows = [row for row in made_rows(200, names, folds=2) if row[2] != "d"]
    (found,) = evaluate(empty, save_run(empty, rows, classes=names), views="roc")
    (axis,) = draw_threshold_curves(found, "roc").axes
    meanings = key(axis)
    assert [text.split()[0] for text in meanings] == ["a", "b", "c", "mean", "this", "no"]
    assert f"mean of 3 classes: AUC {found.metrics['roc_auc']:.3f}" in meanings
    assert f"AUC {found.metrics['roc_auc_fold_mean']:.3f}" in next(text for text in meanings if "this mean" in text)
    assert "no curve: d (no such sample)" in meanings
    assert len(set(meanings.values())) == 6
    assert len(axis.lines) == 3 + 3, "classes, their mean, that over folds, chance; of the folds themselves none"
    assert not axis.collections


def test_of_many_classes_the_worst_are_named(empty):
    names = tuple(f"a class whose name is long, number {k:02d} of 40" for k in range(40))
    (found,) = evaluate(empty, save_run(empty, made_rows(400, names), classes=names), views=BOTH)
    for view in BOTH:
        sheet = draw_threshold_curves(found, view)
        (axis,) = sheet.axes
        meanings = list(key(axis))
        values = {curve["class"]: curve["value"] for curve in found.views[view]["curves"]}
        worst = sorted(values, key=values.get)[:5]
        assert [text.partition(" (")[0] for text in meanings[:5]] == worst
        assert meanings[5].startswith("35 other classes: ")
        assert f"to {max(values.values()):.3f}" in meanings[5]
        assert [to_hex(line.get_color()) for line in axis.lines[1:36]] == ["#c8c8c8"] * 35, "below those with names"
        assert len(axis.lines) == 40 + 1 + (view == "roc") + (view != "roc"), "classes, mean, chance"
        sheet.canvas.draw()
        width, height = sheet.get_size_inches() * sheet.dpi
        assert height - axis.title.get_window_extent().y1 < 0.1 * sheet.dpi, "there is no blank strip above it"
        for text in (axis.title, axis.xaxis.label, *axis.get_legend().get_texts()):
            box = text.get_window_extent()
            assert box.x0 >= 0 <= box.y0, text.get_text()
            assert box.x1 <= width, text.get_text()
            assert box.y1 <= height, text.get_text()


def test_of_classes_without_a_curve_the_first_are_named(empty):
    names = tuple(f"grade {k}" for k in range(100))
    rows = [(0, str(k), names[k % 3], [float(j == k % 3) for j in range(100)], "P") for k in range(6)]
    (axis,) = draw_threshold_curves(evaluate(empty, save_run(empty, rows, classes=names), views=BOTH), "roc").axes
    (absent,) = [meaning for meaning in key(axis) if meaning.startswith("no curve")]
    assert absent == f"no curve: {', '.join(names[3:11])} and 89 more (no such sample)"
    assert axis.figure.get_size_inches()[1] < 6


def test_what_bounds_and_folds_are_worth_is_told(empty):
    rows = made_rows(200, ("a", "b"), groups=8)
    (found,) = evaluate(empty, save_run(empty, rows), views="roc", bootstrap=20)
    assert next(iter(key(draw_threshold_curves(found, "roc").axes[0]))).endswith(", unreliable)")
    rows = [(f, f"{f}{t}", t, float("ab".index(t)), f"P{f}") for f in range(60) for t in "ab"]
    rows += [(60, "60", "a", 0.5, "P60")]
    (found,) = evaluate(empty, save_run(empty, rows), views="roc")
    _, mean, each = key(draw_threshold_curves(found, "roc").axes[0])
    assert mean.endswith(" ± 0.000, undefined in 1")
    assert each == "each fold, 50 of them drawn"
    rows = [(f, str(f), "ab"[f], float(f), "P") for f in range(2)]
    (found,) = evaluate(empty, save_run(empty, rows), views="roc")
    assert "undefined in each of 2 folds" in key(draw_threshold_curves(found, "roc").axes[0])


def test_runs_and_their_levels_have_panels_of_their_own(empty):
    rows = [(*row, row[4]) for row in made_rows(60, ("a", "b"))]
    rows = [(*row[:2], "ab"[int(row[4][1:]) % 2], *row[3:]) for row in rows]
    ids = [save_run(empty, rows, levels=("slide",), run_id=name) for name in ("aaaa", "bbbb")]
    sheet = draw_threshold_curves(evaluate(empty, ids, by="slide:mean", views="roc"), "roc")
    titles = [" ".join(axis.get_title().split()) for axis in sheet.axes]
    assert titles == [
        f"net/last · svm · cv{level} toy, run {run}: {counts} of 10 groups"
        for run in ids
        for level, counts in (("", "60 predictions"), (" · slide:mean", "10 predictions of 10 units"))
    ]


def test_an_area_that_is_not_whole_is_not_called_whole(empty):
    # One of 60 × 60 pairs is in the wrong order: the area is 0.99972.
    rows = [(0, f"s{i}", "ab"[i % 2], float(i % 2) * 200 + i, f"P{i % 12}") for i in range(120)]
    rows[0] = (0, "s0", "a", 201.5, "P0")
    (found,) = evaluate(empty, save_run(empty, rows), views=BOTH)
    assert found.metrics["roc_auc"] == pytest.approx(1 - 1 / 3600)
    assert next(iter(key(draw_threshold_curves(found, "roc").axes[0]))).endswith(": AUC 0.9997")


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_same_bytes_twice(empty, tmp_path, ending):
    found = evaluate(empty, save_run(empty, made_rows(60, ("a", "$b$"), folds=2), classes=("a", "$b$")), views=BOTH)
    for draw in (roc_figure, precision_recall_figure):
        first, second = (draw(found, tmp_path / f"{name}.{ending}").read_bytes() for name in "ab")
        assert first == second


def test_an_evaluation_without_the_view_says_how_to_make_it(empty, tmp_path):
    (found,) = evaluate(empty, save_run(empty, made_rows(20, ("a", "b"))), views="roc")
    with pytest.raises(UsageError, match="without the view 'precision-recall'") as error:
        precision_recall_figure(found, tmp_path / "a.png")
    assert 'views=["precision-recall"]' in error.value.next
