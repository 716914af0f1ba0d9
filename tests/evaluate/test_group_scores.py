"""The score inside each group of a run, the worst first, and how it is drawn."""

from itertools import pairwise

import pytest

from histokit.errors import DataError
from histokit.evaluate.evaluate import evaluate
from histokit.features import FeatureStore
from histokit.figures import groups_figure
from histokit.figures.groups import draw_groups
from histokit.figures.sheet import sheet_bytes
from tests.evaluate.made_up import save_run
from tests.evaluate.made_up_numbers import save_numbers


@pytest.fixture
def empty(tmp_path):
    return FeatureStore(tmp_path / "store")


def sample(number, true, predicted, group, fold=0):
    return (fold, str(number), true, [float(name == predicted) for name in "abc"], group)


ROWS = [
    *(sample(i, "a", "a", "good") for i in range(3)),
    *(sample(10 + i, "b", p, "bad", 1) for i, p in enumerate("aacb")),
    *(sample(20 + i, t, p, "half", 1) for i, (t, p) in enumerate(["ab", "cc"])),
    *(sample(30 + i, t, p, "half too", 1) for i, (t, p) in enumerate(["ab", "cc", "ca", "bb"])),
]


def test_the_worst_group_comes_first(empty):
    (found,) = evaluate(empty, save_run(empty, ROWS, classes=("a", "b", "c")), views="groups")
    view = found.views["groups"]
    assert [(entry["group"], entry["n"], entry["score"]) for entry in view["groups"]] == [
        ("bad", 4, 0.25),
        ("half too", 4, 0.5),
        ("half", 2, 0.5),
        ("good", 3, 1.0),
    ]
    bad, _, half, good = view["groups"]
    assert (bad["classes"], bad["mistakes"], bad["folds"]) == ({"b": 4}, {"true": "b", "predicted": "a", "n": 2}, [1])
    assert half["classes"] == {"a": 1, "c": 1}
    assert (good["mistakes"], good["folds"]) == (None, [0])
    assert (view["column"], view["measure"], view["left_out"]) == ("slide", "accuracy", 0)
    assert view["pooled"] == found.metrics["accuracy"] == 7 / 13


def test_of_mistakes_that_are_as_frequent_the_first_classes_are_told(empty):
    rows = [sample(i, t, p, "bad") for i, (t, p) in enumerate(["ca", "bc", "ba", "bc", "ba"])]
    (found,) = evaluate(empty, save_run(empty, rows, classes=("a", "b", "c")), views="groups")
    assert found.views["groups"]["groups"][0]["mistakes"] == {"true": "b", "predicted": "a", "n": 2}


def test_of_numbers_the_largest_error_comes_first(empty):
    rows = [
        (0, "1", 1.0, 1.5, "near"),
        (0, "2", 2.0, 1.5, "near"),
        (0, "3", 1.0, 4.0, "far"),
        (0, "4", 2.0, 3.0, "far"),
    ]
    (found,) = evaluate(empty, save_numbers(empty, rows), views="groups")
    view = found.views["groups"]
    assert [(entry["group"], entry["score"], entry["bias"]) for entry in view["groups"]] == [
        ("far", 2.0, 2.0),
        ("near", 0.5, 0.0),
    ]
    assert (view["measure"], view["pooled"]) == ("mae", found.metrics["mae"])
    scores, samples = axes_of(found)
    assert (scores.get_xlabel(), samples.get_xlabel()) == ("mean absolute error", "predictions")
    assert [bar.get_width() for bar in samples.patches] == [2, 2]


def test_predictions_without_groups_are_told_or_left_out(empty):
    rows = [sample(1, "a", "a", None), sample(2, "b", "a", None)]
    with pytest.raises(DataError, match="run abcd12345678 have no groups"):
        evaluate(empty, save_run(empty, rows, classes=("a", "b", "c")), views="groups")
    (found,) = evaluate(empty, save_run(empty, [*rows, *ROWS], classes=("a", "b", "c"), run_id="eeee"), views="groups")
    assert (found.views["groups"]["left_out"], len(found.views["groups"]["groups"])) == (2, 4)
    assert found.views["groups"]["pooled"] == found.metrics["accuracy"] == 8 / 15
    assert "2 predictions are of no group" in draw_groups(found).subfigs[0].get_suptitle()


def test_the_groups_of_many_runs_have_a_limit_and_tell_it(empty):
    (found,) = evaluate(empty, save_run(empty, ROWS, classes=("a", "b", "c")), views="groups")
    sheet = draw_groups([found] * 40)
    drawn = len([part for part in sheet.subfigs if part.axes])
    assert max(sheet.get_size_inches()) <= 25.3
    assert sheet.get_supxlabel().startswith(f"The first {drawn} of 40 runs and levels are drawn;")


def test_classes_with_numbers_stand_as_people_count(empty):
    rows = [sample(i, true, "a", "xxy"[i]) for i, true in enumerate(["c10", "c2", "c9"])]
    (found,) = evaluate(empty, save_run(empty, rows, classes=("c10", "c2", "c9")), views="groups")
    assert [text.get_text() for text in axes_of(found)[1].get_legend().get_texts()] == ["c2", "c9", "c10"]


def axes_of(found):
    return draw_groups(found).subfigs[0].axes


def test_only_a_group_without_a_mistake_has_the_score_1(empty):
    rows = [sample(i, "a", "b" if i == 7 else "a", "large") for i in range(2500)] + [sample(3000, "b", "b", "small")]
    (found,) = evaluate(empty, save_run(empty, rows, classes=("a", "b", "c")), views="groups")
    scores, _ = axes_of(found)
    assert [text.get_text() for text in scores.texts] == ["0.9996", "1.000"]


def test_bars_are_scores_and_samples_of_each_class(empty, tmp_path):
    (found,) = evaluate(empty, save_run(empty, ROWS, classes=("a", "b", "c")), views="groups")
    scores, samples = axes_of(found)
    assert [label.get_text() for label in scores.get_yticklabels()] == ["bad", "half too", "half", "good"]
    assert scores.get_ylim()[0] > scores.get_ylim()[1], "the worst is on top"
    assert [bar.get_width() for bar in scores.patches] == [0.25, 0.5, 0.5, 1]
    assert [text.get_text() for text in scores.texts] == ["0.250", "0.500", "0.500", "1.000"]
    assert [line.get_xdata()[0] for line in scores.lines] == [7 / 13]
    assert all(float(tick).is_integer() for tick in samples.get_xticks())
    widths = {bars.get_label(): [bar.get_width() for bar in bars] for bars in samples.containers}
    assert widths == {"a": [0, 1, 1, 3], "b": [4, 1, 0, 0], "c": [0, 2, 1, 0]}
    lefts = [bar.get_x() for bar in samples.containers[2]]
    assert lefts == [4, 2, 1, 3]
    first, second = (groups_figure(found, tmp_path / f"{name}.svg").read_bytes() for name in "ab")
    assert first == second


def test_of_many_groups_the_worst_are_drawn_and_the_others_told(empty):
    rows = [sample(100 * g + i, "a", "ab"[i >= g], f"{'slide ' * 12}{g:03d}") for g in range(70) for i in range(70)]
    (found,) = evaluate(empty, save_run(empty, rows, classes=("a", "b", "c")), views="groups")
    sheet = draw_groups(found)
    (part,) = sheet.subfigs
    scores, _ = part.axes
    names = [label.get_text() for label in scores.get_yticklabels()]
    assert (len(names), names[0], len(scores.patches)) == (60, "slide slide s…ide slide 000", 60)
    assert all(name.endswith(f"{g:03d}") for g, name in enumerate(names))
    assert "the worst 60; not drawn: 10 groups of 0.857 to 0.986" in part.get_suptitle()
    sheet.canvas.draw()
    boxes = [label.get_window_extent() for label in scores.get_yticklabels()]
    assert min(box.x0 for box in boxes) >= 0
    assert all(upper.y0 >= lower.y1 - 3 for upper, lower in pairwise(boxes))


def test_the_meaning_of_colours_is_whole_below_few_groups(empty):
    classes = tuple("abcdefghijklm")
    rows = [(0, f"{n}", true, [float(c == true) for c in classes], f"P{n % 2}") for n, true in enumerate(classes * 2)]
    sheet = draw_groups(evaluate(empty, save_run(empty, rows, classes=classes), views="groups"))
    sheet_bytes(sheet, ".png")
    for axis in sheet.axes:
        assert axis.get_legend().get_window_extent().y0 >= 0
        assert axis.get_legend().get_window_extent().y1 <= axis.xaxis.label.get_window_extent().y0


def test_other_classes_are_counted_that_occur(empty):
    classes = tuple("abcdefghijklm")
    true = "aabbccddeeffgghij"
    rows = [(0, f"{n}", name, [float(c == name) for c in classes], f"P{n % 2}") for n, name in enumerate(true)]
    (found,) = evaluate(empty, save_run(empty, rows, classes=classes), views="groups")
    assert axes_of(found)[1].get_legend().get_texts()[-1].get_text() == "3 other classes"
