"""What notebooks show of objects: tables with what they hold, whatever names are made of."""

from __future__ import annotations

import pickle
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pytest
from matplotlib.image import imread

import histokit
from histokit.features import FeatureStore
from histokit.figures.scatter import draw_scatter
from histokit.layout import Sheet
from histokit.notebooks import sheet_html
from tests.evaluate.made_up_curves import ONE, save_curves
from tests.toy import make_samples, make_store


class Tables(HTMLParser):
    """The cells of each table, row by row, by its caption."""

    def __init__(self, text: str):
        super().__init__()
        self.found: dict[str, list[list[str]]] = {}
        self.tags: list[str] = []
        self._text, self._caption = "", ""
        self.feed(text)
        assert self.tags == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._text = ""
        if tag == "tr":
            self.found[self._caption].append([])

    def handle_endtag(self, tag: str) -> None:
        assert self.tags.pop() == tag
        if tag == "caption":
            self._caption = self._text
            self.found[self._caption] = []
        elif tag in ("th", "td"):
            self.found[self._caption][-1].append(self._text)

    def handle_data(self, data: str) -> None:
        self._text += data


@pytest.fixture
def toy(tmp_path: Path) -> FeatureStore:
    samples, X = make_samples(classes=("<b>a</b>", "b & c"))
    return make_store(tmp_path / "store", samples, {"a": X, "b": X[:, :3]})


def shown(thing: object) -> dict[str, list[list[str]]]:
    return Tables(thing._repr_html_()).found  # type: ignore[attr-defined]


def test_an_evaluation_and_a_comparison(toy: FeatureStore) -> None:
    runs = [histokit.train(toy, "toy", "net/a", name, grid={"k": [1]} if name == "knn" else {"C": [1.0]})[0].id
            for name in ("knn", "svm")]  # fmt: skip
    (found,) = histokit.evaluate(toy, runs[0], bootstrap=20)
    scores, classes = shown(found).values()
    assert scores[0][:2] == ["metric", "pooled"]
    assert ["accuracy", f"{found.metrics['accuracy']:.4f}"] in [row[:2] for row in scores]
    assert {row[0] for row in classes[1:]} == {"<b>a</b>", "b & c"}
    assert not [row[0] for row in scores if row[0].startswith("eta")], "those of Kimia Path24 are of no use elsewhere"
    path24 = replace(found, metric="eta_total")
    assert "eta_p" in [row[0] for row in next(iter(shown(path24).values()))]
    never = {name: {**values, "undefined": {"f1": "why"}} for name, values in found.per_class.items()}
    assert shown(replace(found, per_class={**found.per_class, **dict([never.popitem()])})) == shown(found)
    compared = shown(histokit.compare(toy, runs, bootstrap=20))
    assert next(iter(compared)).startswith("toy, cv, accuracy")
    assert sorted(row[1] for row in next(iter(compared.values()))[1:]) == sorted(runs)


def test_a_figure_is_shown_though_pyplot_has_drawn_none(toy: FeatureStore) -> None:
    sheet = draw_scatter(histokit.scatter(toy, "toy", "net/a"))
    image = imread(BytesIO(sheet._repr_png_()))
    assert image.shape[:2] == tuple((sheet.get_size_inches() * 120).astype(int)[::-1])
    copied = pickle.loads(pickle.dumps(sheet))
    assert copied._repr_png_() == sheet._repr_png_()


def test_features_a_selection_and_a_store(toy: FeatureStore) -> None:
    features = toy.features("toy", "net/a+net/b")
    parts, classes = shown(features).values()
    assert [row[:2] for row in parts[1:]] == [["net/a", "8"], ["net/b", "3"]]
    assert sum(int(row[1]) for row in classes[1:]) == 60
    selection = histokit.select(toy, "toy", "net/a", inner_folds=2, step=4, split="holdout")
    (folds,) = shown(selection).values()
    assert folds[0] == ["fold", "columns", "best size", "smallest as good"]
    assert folds[1][:2] == ["0/0", "8"]
    ((title, datasets),) = shown(toy).items()
    assert str(toy.uri) in title
    assert datasets[1] == ["toy", "60", "2", "slide", "2", "0"]


def test_neighbours_shares_of_importance_and_curves(toy: FeatureStore) -> None:
    found = histokit.neighbours(toy, "toy", "net/a", k=3)
    scores, classes = shown(found).values()
    assert [row[:2] for row in scores] == [["k", "recall@k"], *([str(e["k"]), f"{e['recall']:.4f}"]
                                                              for e in found.scores["at"])]  # fmt: skip
    assert [row[0] for row in classes] == ["true class", "<b>a</b>", "b & c"]
    ((title, near),) = shown(histokit.neighbours(toy, "toy", "net/a", query="s0", k=2)).items()
    assert title.startswith("s0  ")
    assert [row[0] for row in near] == ["rank", "1", "2"]
    shares = histokit.select.importance_shares(toy, ["toy"], "net/a+net/b", trees=5)
    networks, layers = shown(shares).values()
    assert [row[:2] for row in networks[1:]] == [["net", "11"]]
    assert [row[:3] for row in layers[1:]] == [["net", "a", "8"], ["net", "b", "3"]]
    ((title, epochs),) = shown(histokit.curves(toy, save_curves(toy, ONE))[0]).items()
    assert "nuclei" in title
    assert [row[0] for row in epochs] == ["epoch", "1", "2"]


def test_long_tables_are_cut_and_say_so() -> None:
    ((_, rows),) = Tables(sheet_html(Sheet("t", ["n"], [[number] for number in range(34)]))).found.items()
    assert len(rows) == 32
    assert rows[-1] == ["… and 4 more"]


def test_features_of_samples_without_labels_are_shown(tmp_path):
    samples, X = make_samples(12)
    samples["label"][0] = None
    toy = make_store(tmp_path / "s", samples, {"last": X})
    assert "no label" in toy.features("toy", "net/last")._repr_html_()
