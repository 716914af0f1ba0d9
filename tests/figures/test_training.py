"""The figure of training curves, by the numbers on its axes."""

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.colors import to_hex

from histokit.evaluate.curves import curves
from histokit.features import FeatureStore
from histokit.figures.training import draw_training, training_figure
from histokit.store.records import PREDICTION_SCHEMA
from tests.evaluate.made_up_curves import ONE, TWO, save_curves


@pytest.fixture
def empty(tmp_path):
    return FeatureStore(tmp_path / "store")


def lines(axis, colour=None):
    """(line style, x, y) of each curve."""
    return [
        (line.get_linestyle(), np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist())
        for line in axis.lines
        if colour is None or to_hex(line.get_color()) == colour
    ]


def words(legend):
    return [text.get_text() for text in legend.get_texts()]


def discs(axis):
    """(x, y) → area of each chosen epoch."""
    (found,) = [c for c in axis.collections if len(c.get_offsets()) == len(c.get_sizes()) > 0]
    return {tuple(place): size for place, size in zip(found.get_offsets().tolist(), found.get_sizes(), strict=True)}


def test_each_part_has_its_line_and_the_chosen_epoch_a_disc(empty):
    loss, accuracy = draw_training(curves(empty, save_curves(empty, ONE))).axes
    within, train, val, test = lines(loss)
    assert within[1:] == ([0.5, 1.0, 1.5, 2.0], [3.0, 2.0, 1.5, 0.5])
    # Two batches of 3.0 and one of 2.0; then one of 1.5 and two of 0.5.
    assert train == (":", [1, 2], pytest.approx([8 / 3, 2.5 / 3]))
    assert val == ("-", [1, 2], [2.5, 2.0])
    assert test == ("--", [1, 2], [2.75, 2.25])
    assert lines(accuracy) == [("-", [1, 2], [0.5, 0.75]), ("--", [1, 2], [0.25, 1.0])]
    assert list(discs(loss)) == [(2, 2.0)]
    assert list(discs(accuracy)) == [(2, 0.75)]
    assert (loss.get_ylabel(), accuracy.get_ylabel(), loss.get_xlabel()) == ("loss", "accuracy", "epoch")
    assert words(loss.get_legend()) == ["train", "val", "test", "train, within epochs", "chosen by validation"]


def test_iterations_are_below_where_they_are_asked_for(empty):
    loss, _ = draw_training(curves(empty, save_curves(empty, ONE), against="iteration")).axes
    within, train, *_ = lines(loss)
    assert within[1] == [2, 3, 4, 6]
    assert train[1] == [3, 6]
    assert loss.get_xlabel() == "iteration"


def test_an_epoch_chosen_by_the_test_samples_is_marked_on_their_line(empty):
    found = curves(empty, save_curves(empty, ONE, recipe={"choose_epoch": "test"}))
    loss, accuracy = draw_training(found).axes
    assert list(discs(accuracy)) == [(2, 1.0)]
    assert "chosen by test" in words(loss.get_legend())


def test_several_networks_are_a_mean_with_a_band_and_discs_by_their_number(empty):
    loss, accuracy = draw_training(curves(empty, save_curves(empty, TWO))).axes
    # The second network has one epoch only: what comes then is of the first one, and pale.
    whole, of_one = lines(accuracy)
    assert whole == ("-", [1], [pytest.approx(0.6)])
    assert of_one == ("-", [1, 2], [pytest.approx(0.6), 0.75])
    assert [line.get_alpha() for line in accuracy.lines] == [None, 0.35]
    assert "of those that had not ended" in words(loss.get_legend())
    band = accuracy.collections[0].get_paths()[0].vertices
    assert (band[band[:, 0] == 1][:, 1].min(), band[:, 1].max()) == pytest.approx((0.5, 0.7))
    (first, size), (second, other) = discs(accuracy).items()
    assert (first, second) == (pytest.approx((1, 0.6)), (2, 0.75))
    assert size == other == pytest.approx(10 + 70 / 2), "each was chosen of one of two networks"
    assert "train, within epochs" not in words(loss.get_legend())
    assert "mean and std of 2 networks" in loss.figure.get_suptitle()


def test_the_figure_tells_what_networks_were_tested_on(empty):
    record = empty.run(save_curves(empty, ONE))
    rows = [{"run": record.id, "id": str(k % 9), "role": "test", "group": f"s{k % 3}", "true": "a"} for k in range(18)]
    rows = [{**row, "repeat": 0, "fold": 0, "predicted": "a", "scores": [1.0], "kind": "sample"} for row in rows]
    predictions = pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA)
    empty.save_run(record, predictions, None, again=True, curves=empty.curves(record.id))
    (found,) = curves(empty, record.id)
    assert found.tested == {"predicted": 9, "groups": 3}
    assert "· tested on 9 samples of 3 groups" in draw_training(found).get_suptitle()
    found.steps[2:] = []
    assert "train, within epochs" not in words(draw_training(found).axes[0].get_legend())


def test_each_run_has_its_colour_and_the_names_tell_them_apart(empty):
    first = save_curves(empty, ONE)
    second = save_curves(empty, [point for point in ONE if point[2] != "test"], classifier="from scratch")
    sheet = draw_training(curves(empty, [first, second]))
    loss, accuracy = sheet.axes
    (legend,) = sheet.legends
    assert words(legend) == ["fine-tuning", "from scratch"]
    colours = [to_hex(line.get_color()) for line in legend.get_lines()]
    assert [len(lines(accuracy, colour)) for colour in colours] == [2, 1]
    assert sheet.get_suptitle() == "nuclei · net/last · cv"
    numbers = curves(empty, save_curves(empty, ONE, dataset="cells", target="dose"))
    assert draw_training(numbers).get_suptitle().startswith("cells · target dose · net/last")
    assert all("within" not in word for word in words(loss.get_legend()))


def test_more_runs_than_colours_are_grey_and_counted(empty):
    ids = [save_curves(empty, ONE, settings={"lr": f"{number}"}) for number in range(11)]
    sheet = draw_training(curves(empty, ids))
    (legend,) = sheet.legends
    assert words(legend) == [*(f"lr={number}" for number in range(8)), "3 more runs"]
    colours = [to_hex(line.get_color()) for line in legend.get_lines()]
    assert len(set(colours)) == 9
    # Of validation and test each.
    assert [len(lines(sheet.axes[1], colour)) for colour in colours] == [2] * 8 + [6]
    few = draw_training(curves(empty, ids[:8]))
    assert words(few.legends[0]) == [f"lr={number}" for number in range(8)]


def test_what_was_not_recorded_has_no_axes(empty):
    without = [(*point[:6], None) for point in ONE]
    (axis,) = draw_training(curves(empty, save_curves(empty, without))).axes
    assert axis.get_ylabel() == "loss"
    (axis,) = draw_training(curves(empty, save_curves(empty, ONE), metric="accuracy")).axes
    assert axis.get_ylabel() == "accuracy"


def test_stages_are_parted_by_a_line(empty):
    staged = [(r, f, series, epoch, *rest) for r, f, series, epoch, *rest in ONE]
    run = save_curves(empty, staged, stage_of=lambda epoch: 1 if epoch <= 1 else 2)
    loss, accuracy = draw_training(curves(empty, run)).axes
    assert lines(accuracy)[-1][1] == [1, 1]
    assert words(loss.get_legend())[-1] == "end of a stage"


def test_stages_of_several_runs_are_not_parted(empty):
    ids = [
        save_curves(empty, ONE, settings={"lr": f"{last}"}, stage_of=lambda epoch, last=last: 1 + (epoch > last))
        for last in (1, 0.5)
    ]
    loss, accuracy = draw_training(curves(empty, ids)).axes
    assert len(lines(accuracy)) == 4, "validation and test of each"
    assert "end of a stage" not in words(loss.get_legend())


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_files_of_the_same_curves_are_the_same(empty, tmp_path, suffix):
    found = curves(empty, save_curves(empty, TWO))
    first, second = (training_figure(found, tmp_path / f"{name}.{suffix}") for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_losses_are_named_and_those_of_several_kinds_one_by_one(empty):
    runs = [
        save_curves(empty, ONE, recipe={"choose_epoch": "validation", "name": name, "loss": loss})
        for name, loss in (("a", "cross-entropy"), ("b", "huber"))
    ]
    (alone,) = curves(empty, runs[0])
    assert draw_training(alone).axes[0].get_ylabel() == "loss (cross-entropy)"
    label = draw_training(curves(empty, runs)).axes[0].get_ylabel()
    assert " ".join(label.replace("-\n", "-").split()) == "loss, of several kinds: cross-entropy; huber"


def test_weights_of_a_file_are_called_as_it_is(empty):
    runs = [save_curves(empty, ONE, weights=f"/data/{name}.safetensors", network={"weights": name}) for name in "ab"]
    assert [found.name for found in curves(empty, runs)] == ["a.safetensors", "b.safetensors"]
