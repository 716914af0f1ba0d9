"""The figures of selections and importances, by the numbers on their axes."""

import numpy as np
import pytest

from histokit.figures.numbers import COLOURS
from histokit.figures.selections import draw_curve, draw_curves, draw_importances
from histokit.select.importances import ImportanceShares
from histokit.select.overlap import Overlap
from histokit.store.records import SelectionRecord

CURVE = [[8, 0.7, 0.02], [4, 0.8, 0.03], [2, 0.796, 0.01], [1, 0.6, 0.05]]


def part(curve, columns, fold=None):
    facts = {"repeat": None if fold is None else 0, "fold": fold, "k_best": 4, "k_min": 2, "metric": "f1_macro"}
    return {**facts, "curve": curve, "columns": columns, "ranking": list(range(1, 9))}


def selection(folds, kept, fitted_on=()):
    facts = {
        "address": "net/last",
        "split": "cv",
        "split_digest": "",
        "method": "rfe",
        "fitted_on": list(fitted_on),
        "features": [],
    }
    facts |= {"provenance": [], "seconds": 0.0, "created": "", "parameters": {"tolerance": 0.01}}
    return SelectionRecord(id="abcd", dataset="toy", folds=folds, kept=kept, **facts)


def named(axis):
    """Label → line, of those that the legend names."""
    return {line.get_label(): line for line in axis.lines if not line.get_label().startswith("_")}


def test_the_curve_and_its_marks():
    (axis,) = draw_curve(selection([part(CURVE, [0, 1], 0)], part(CURVE, [0, 1]))).axes
    (curve,) = [line for line in axis.lines if len(line.get_xdata()) == 4 and line.get_marker() == "o"]
    assert curve.get_xdata().tolist() == [8, 4, 2, 1]
    assert curve.get_ydata().tolist() == [0.7, 0.8, 0.796, 0.6]
    (bars,) = axis.collections
    spans = [[tuple(point) for point in bar] for bar in bars.get_segments()]
    expected = [((8, 0.68), (8, 0.72)), ((4, 0.77), (4, 0.83)), ((2, 0.786), (2, 0.806)), ((1, 0.55), (1, 0.65))]
    assert np.array(spans) == pytest.approx(np.array(expected))
    marks = {name: line for name, line in named(axis).items() if name.startswith("k_")}
    assert {name: set(line.get_xdata()) for name, line in marks.items()} == {
        "k_best 4: 0.8000": {4},
        "k_min 2: 0.7960": {2},
    }
    # What is within the tolerance of the best is at or above the dotted line.
    limit = named(axis)["the best less 0.01"]
    assert list(limit.get_ydata()) == pytest.approx([0.79, 0.79])
    assert (axis.get_xlabel(), axis.get_ylabel(), axis.get_xscale()) == ("columns", "f1 macro", "log")
    assert axis.get_xlim()[0] < axis.get_xlim()[1]
    assert axis.get_title() == "toy · net/last · cv"


def test_a_best_subset_that_is_the_smallest_is_one_line_and_samples_are_counted():
    kept = {**part(CURVE, [0, 1]), "k_min": 4}
    fitted = [{"repeat": 0, "fold": 0, "ids": ["a", "b"]}, {"repeat": None, "fold": None, "ids": ["a", "b", "c"]}]
    (axis,) = draw_curve(selection([part(CURVE, [0, 1], 0)], kept, fitted)).axes
    assert [name for name in named(axis) if name.startswith("k_")] == ["k_best and k_min 4: 0.8000"]
    assert axis.get_title() == "toy · net/last · cv · 3 training samples"


def test_the_outer_folds_are_drawn_thinly_and_named_once():
    other = [[8, 0.5, 0.1], [4, 0.55, 0.1], [2, 0.6, 0.1], [1, 0.4, 0.1]]
    folds = [part(other, [0, 1], 0), part(CURVE, [2, 3], 1), part(CURVE, [0, 1], 2)]
    (axis,) = draw_curve(selection(folds, part(CURVE, [0, 1]))).axes
    thin = [line for line in axis.lines if len(line.get_xdata()) == 4 and line.get_linewidth() < 1]
    # The third fold kept the same columns by the same curve: there is nothing of its own to show.
    assert [line.get_ydata().tolist() for line in thin] == [[0.5, 0.55, 0.6, 0.4], [0.7, 0.8, 0.796, 0.6]]
    assert [line.get_xdata().tolist() for line in thin] == [[8, 4, 2, 1]] * 2
    assert [text.get_text() for text in axis.get_legend().get_texts() if "outer" in text.get_text()] == [
        "in the 2 outer folds"
    ]


def test_without_a_selection_in_all_samples_the_first_fold_is_drawn():
    other = [[8, 0.5, 0.1], [4, 0.55, 0.1], [2, 0.6, 0.1], [1, 0.4, 0.1]]
    (axis,) = draw_curve(selection([part(CURVE, [0, 1], 0), part(other, [0, 1], 1)], None)).axes
    (curve,) = [line for line in axis.lines if len(line.get_xdata()) == 4 and line.get_marker() == "o"]
    assert curve.get_ydata().tolist() == [0.7, 0.8, 0.796, 0.6]
    assert "k_best 4: 0.8000" in named(axis)


# -- several selections


def overlap(*selections):
    listed = [{"selection": f"s{n}", "address": "net/last", "k_best": 4, "k_min": 2, **facts}
              for n, facts in enumerate(selections)]  # fmt: skip
    return Overlap(listed, 8, [], [], {})


def test_curves_of_several_selections_are_in_one_panel_for_each_metric():
    other = [[8, 0.5, 0.1], [4, 0.6, 0.1], [2, 0.7, 0.1], [1, 0.4, 0.1]]
    found = overlap(
        {"dataset": "lung", "metric": "roc_auc", "curve": CURVE},
        {"dataset": "breast", "metric": "accuracy", "curve": other, "k_min": 1},
        {"dataset": "cells", "metric": "roc_auc", "curve": other},
    )
    areas, shares = draw_curves(found).axes
    drawn = [(line.get_xdata().tolist(), line.get_ydata().tolist(), line.get_color()) for line in areas.lines]
    first, second = COLOURS[:2]
    assert drawn == [
        ([8, 4, 2, 1], [0.7, 0.8, 0.796, 0.6], first),
        ([2], [0.796], first),
        ([8, 4, 2, 1], [0.5, 0.6, 0.7, 0.4], second),
        ([2], [0.7], second),
    ]
    assert [line.get_xdata().tolist() for line in shares.lines] == [[8, 4, 2, 1], [1]]
    names = [[text.get_text() for text in axis.get_legend().get_texts()] for axis in (areas, shares)]
    assert names == [["lung: 2 columns, 0.7960", "cells: 2 columns, 0.7000"], ["breast: 1 column, 0.4000"]]
    assert [axis.get_xscale() for axis in (areas, shares)] == ["log", "log"]
    labels = [axis.get_ylabel() for axis in (areas, shares)]
    assert labels == ["roc auc, mean of the inner folds", "accuracy, mean of the inner folds"]
    assert [axis.get_title() for axis in (areas, shares)] == ["net/last"] * 2


def test_selections_of_one_dataset_are_told_apart():
    facts = {"dataset": "lung", "metric": "accuracy", "curve": CURVE}
    (axis,) = draw_curves(overlap(facts, {**facts, "address": "net/x"}, {**facts, "dataset": "breast"})).axes
    names = [text.get_text().partition(":")[0] for text in axis.get_legend().get_texts()]
    assert names == ["lung (s0)", "lung (s1)", "breast"]
    assert axis.get_title() == "3 selections"


# -- importances


def row(network, share, bands, layer=None, std=0.05):
    facts = {"network": network, "share_of_columns": share, "bands": bands, "importance": sum(bands), "std": std}
    return facts | ({"layer": layer} if layer else {})


NETWORKS = [row("vgg", 0.25, [0.05, 0.1, 0.2, 0.05], std=0.03), row("resnet", 0.75, [0.1, 0.05, 0.0, 0.45], std=0.07)]
LAYERS = [
    row("vgg", 0.25, [0.05, 0.1, 0.2, 0.05], "last"),
    row("resnet", 0.5, [0.1, 0.0, 0.0, 0.3], "layer3"),
    row("resnet", 0.25, [0.0, 0.05, 0.0, 0.15], "layer4"),
]


def shares(networks, layers, datasets=("A", "B")):
    listed = [{"dataset": name, "split": "cv", "samples": 40, "groups": 5} for name in datasets]
    return ImportanceShares(listed, networks, layers, [0.1, 0.25, 0.5, 1.0], {}, [])


def bars(container):
    return [(bar.get_y() + bar.get_height() / 2, bar.get_x(), bar.get_width()) for bar in container.patches]


def check_panel(axis, rows, names):
    columns, *bands = [c for c in axis.containers if len(c) == len(rows) and hasattr(c, "patches")]
    assert bars(columns) == [(pytest.approx(k - 0.2), 0, entry["share_of_columns"]) for k, entry in enumerate(rows)]
    assert len(bands) == 4
    for k, entry in enumerate(rows):
        # The most important columns first, each band beginning where the one before it ends.
        begins = np.cumsum([0, *entry["bands"]])
        for band, container in enumerate(bands):
            expected = (k + 0.2, begins[band], entry["bands"][band])
            assert bars(container)[k] == pytest.approx(expected), (k, band)
    bands_of_all = ["0 to 10 % of all", "10 to 25 % of all", "25 to 50 % of all", "50 to 100 % of all"]
    labels = ["share of columns", f"importance, of the best columns first: {bands_of_all[0]}", *bands_of_all[1:]]
    assert [c.get_label() for c in (columns, *bands)] == labels
    colours = [container.patches[0].get_facecolor() for container in (columns, *bands)]
    assert len(set(colours)) == 5
    assert axis.get_yticks().tolist() == list(range(len(rows)))
    assert [label.get_text() for label in axis.get_yticklabels()] == names
    assert axis.get_ylim()[0] > axis.get_ylim()[1], "row 0 is on top"
    assert axis.get_xlabel() == "share of importance"


def test_networks_and_layers_with_their_bands():
    sheet = draw_importances(shares(NETWORKS, LAYERS))
    above, below = sheet.axes
    check_panel(above, NETWORKS, ["vgg", "resnet"])
    check_panel(below, LAYERS, ["vgg/last", "resnet/layer3", "resnet/layer4"])
    assert [text.get_text() for text in above.get_legend().get_texts()][:2] == [
        "share of columns",
        "importance, of the best columns first: 0 to 10 % of all",
    ]
    assert sheet.get_suptitle().splitlines() == [f"{name} · cv · 40 training samples of 5 groups" for name in "AB"]
    # The spread over datasets, at the end of the bands.
    (spread,) = above.collections
    ends = [((0.4 - 0.03, 0.2), (0.4 + 0.03, 0.2)), ((0.6 - 0.07, 1.2), (0.6 + 0.07, 1.2))]
    assert np.array(spread.get_segments()) == pytest.approx(np.array(ends))


def test_one_dataset_has_no_spread():
    above, below = draw_importances(shares(NETWORKS, LAYERS, ["A"])).axes
    assert (len(above.collections), len(below.collections)) == (0, 0)


def test_one_network_shows_its_layers_and_networks_of_one_layer_themselves():
    (axis,) = draw_importances(shares(NETWORKS[1:], LAYERS[1:])).axes
    check_panel(axis, LAYERS[1:], ["resnet/layer3", "resnet/layer4"])
    (axis,) = draw_importances(shares(NETWORKS, LAYERS[:2])).axes
    check_panel(axis, NETWORKS, ["vgg", "resnet"])
    (axis,) = draw_importances(shares(NETWORKS[:1], LAYERS[:1])).axes
    check_panel(axis, LAYERS[:1], ["vgg/last"])


def test_of_more_layers_than_have_room_those_of_the_largest_importance_are_drawn():
    # All but the last 50 bring nothing.
    every = [row("net", 1 / 150, [0.0, 0.0, 0.0, 0.02 * (k >= 100)], f"l{k}") for k in range(150)]
    sheet = draw_importances(shares(NETWORKS[:1], every, ["A"]))
    (axis,) = sheet.axes
    assert sheet.get_size_inches()[1] < 26
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert names == [f"net/l{k}" for k in (*range(len(names) - 50), *range(100, 150))]
    assert axis.get_xlabel() == f"share of importance (drawn: the {len(names)} of 150 of the largest)"
