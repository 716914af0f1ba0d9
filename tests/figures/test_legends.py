"""What legends of figures name."""

import warnings

import numpy as np

import histokit
from histokit.figures import draw_groups, draw_roc, draw_scatter, draw_scores
from tests.toy import make_store


def named(sheet):
    legends = [axis.get_legend() for part in (sheet, *sheet.subfigs) for axis in part.axes]
    return {text.get_text().strip().partition(" ")[0] for legend in legends if legend for text in legend.get_texts()}


def test_names_that_begin_with_an_underscore_are_in_legends(tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 3))
    labels = [("_a", "b", "_c")[n % 3] for n in range(60)]
    samples = {"id": [f"s{n}" for n in range(60)], "label": labels, "slide": [f"_{n % 4}" for n in range(60)]}
    store = make_store(tmp_path, {**samples, "number": X[:, 0] * 2.5}, {"last": X}, group="slide")
    assert named(draw_scatter(histokit.scatter(store, "toy", "net/last"))) == {"_a", "b", "_c"}
    (run,) = histokit.train(store, "toy", "net/last", "logreg")
    (found,) = histokit.evaluate(store, [run.id], views=["groups", "roc"], bootstrap=0)
    assert named(draw_groups(found)) >= {"_a", "b", "_c"}
    assert named(draw_roc(found)) >= {"_a", "b", "_c"}
    (numbers,) = histokit.train(store, "toy", "net/last", "ridge", target="number")
    (found,) = histokit.evaluate(store, [numbers.id], bootstrap=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert named(draw_scores(found)) >= {"_0", "_1", "_2", "_3"}
