"""Samples as points of a plane, against scikit-learn and by hand."""

import csv
import json
from importlib import import_module

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.decomposition import PCA

from histokit import cli, scatter
from histokit.errors import DataError, UsageError
from histokit.figures.scatter import draw_scatter
from tests.extras import needs
from tests.toy import make_samples, make_store

module = import_module("histokit.neighbours.scatter")


@pytest.fixture
def toy(tmp_path):
    samples, X = make_samples(40, classes="abc")
    samples |= {"age": [None, *map(float, range(39))], "stain": [None if i % 5 == 0 else "HE" for i in range(40)]}
    samples["plate"] = [8 + i % 4 for i in range(40)]
    # A mean that is large beside the spread, which single precision would lose digits of.
    return make_store(tmp_path / "s", samples, {"last": X + 1000})


def same_up_to_signs(found, expected, atol=1e-6):
    for own, other in zip(found.T, expected.T, strict=True):
        sign = np.sign(own @ other)
        np.testing.assert_allclose(sign * own, other, atol=atol)


def test_points_are_the_principal_components(toy):
    found = scatter(toy, "toy", "net/last")
    X = toy.features("toy", "net/last").X.astype(float)
    centred = X - X.mean(0)
    _, spread, directions = np.linalg.svd(centred, full_matrices=False)
    same_up_to_signs(found.points, centred @ directions[:2].T)
    shares = spread**2 / (spread**2).sum()
    assert found.settings["explained_variance_ratio"] == pytest.approx(shares[:2])
    assert found.axes[0] == f"principal component 1 ({shares[0]:.1%} of the variance)"
    (sheet,) = found.sheets()
    labels = np.array(found.features.labels)
    row = next(row for row in sheet.rows if row[0] == "b")
    own = found.points[labels == "b"]
    assert row[1:] == pytest.approx([len(own), *own.mean(0), *own.std(0)])


def test_controls_normalise_that_a_filter_leaves_out(toy):
    """As in training and export: those of the filter alone are fewer, and give other points."""
    by = {"normalise": "standardise", "controls": "plate in (8, 9)"}
    found = scatter(toy, "toy", "net/last", where="plate = 9 or plate = 10", **by)
    features = toy.features("toy", "net/last")
    X, plate = features.X.astype(float), features.column("plate").astype(int)
    controls = X[plate < 10]
    X = ((X - controls.mean(0)) / controls.std(0))[(plate == 9) | (plate == 10)]
    same_up_to_signs(found.points, PCA(2).fit_transform(X), atol=1e-3)
    none = scatter(toy, "toy", "net/last", where="plate > 9", **by)
    assert len(none.points) == 20


def test_colours_of_lists_and_digests_are_texts(toy, tmp_path, capsys):
    command = ["scatter", "toy", "--features", "net/last", "--store", str(toy.uri)]
    command += [word for name in ("content", "image", "box") for word in ("--by", name)]
    for out in (tmp_path / "out.csv", tmp_path / "out.parquet"):
        assert cli.run([*command, "--out", str(out)]) == 0
    contents = [each.hex() for each in toy.features("toy", "net/last").content]
    rows = pq.read_table(tmp_path / "out.parquet")
    assert rows.column("content").to_pylist() == contents
    assert rows.column("image").to_pylist() == [f"s{i}.png" for i in range(40)]
    with (tmp_path / "out.csv").open(newline="") as file:
        assert [row["content"] for row in csv.DictReader(file)] == contents
    capsys.readouterr()
    assert cli.run([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["by"]["content"] == contents


def test_columns_that_are_called_as_points_are_are_written_too(tmp_path):
    samples, X = make_samples(12)
    samples |= {"x": [float(i) for i in range(12)], "y": list("uv" * 6)}
    found = scatter(make_store(tmp_path / "s", samples, {"last": X}), "toy", "net/last", by=["x", "y", "id"]).table()
    assert found.column_names == ["id", "x", "y", "sample_x", "sample_y"]
    assert found.column("sample_x").to_pylist() == list(range(12))
    assert found.column("sample_y").to_pylist() == list("uv" * 6)
    samples["sample_x"] = [float(-i) for i in range(12)]
    found = scatter(make_store(tmp_path / "t", samples, {"last": X}), "toy", "net/last", by=["x", "sample_x"]).table()
    assert found.column_names == ["id", "x", "y", "sample_sample_x", "sample_x"]
    assert found.column("sample_sample_x").to_pylist() == list(range(12))
    assert found.column("sample_x").to_pylist() == [-i for i in range(12)]


def test_scaled_columns_weigh_the_same(tmp_path):
    samples, X = make_samples(40)
    X[:, 5] *= 1000
    X[:, 6] = 3
    toy = make_store(tmp_path / "s", samples, {"last": X})
    raw = scatter(toy, "toy", "net/last")
    assert raw.settings["explained_variance_ratio"][0] > 0.99
    found = scatter(toy, "toy", "net/last", scale=True)
    columns = np.delete(X.astype(np.float32).astype(float), 6, axis=1)
    same_up_to_signs(found.points, PCA(2).fit_transform((columns - columns.mean(0)) / columns.std(0)), 1e-4)


def test_components_of_many_samples_are_those_of_drawn_ones(toy, monkeypatch):
    monkeypatch.setattr(module, "_FITTED", 25)
    found = scatter(toy, "toy", "net/last", seed=3)
    X = toy.features("toy", "net/last").X.astype(float)
    drawn = np.sort(np.random.default_rng(3).choice(40, 25, replace=False))
    same_up_to_signs(found.points, PCA(2).fit(X[drawn]).transform(X))
    assert any("25 samples drawn from 40" in note for note in found.notes)
    assert found.settings["fitted_on"] == 25


def test_columns_are_kinds_or_numbers(toy):
    found = scatter(toy, "toy", "net/last", by=["age", "stain", "slide", "plate"])
    assert found.values("age") == [None, *map(float, range(39))]
    assert set(found.values("stain")) == {None, "HE"}
    ages, stains, slides, _ = found.sheets()
    there = found.points[1:]
    assert ages.rows[0] == pytest.approx([np.corrcoef(there[:, i], np.arange(39))[0, 1] for i in (0, 1)])
    assert [row[:2] for row in stains.rows] == [["HE", 32], ["none", 8]]
    assert len(slides.rows) == 6
    figure = draw_scatter(found)
    legends = [axis.get_legend() for axis in figure.axes[:4]]
    assert [text.get_text() for text in legends[0].get_texts()] == ["none (1)"], "of numbers, too"
    places = [axis.get_position() for axis in figure.axes[:3]]
    assert places[0].y0 > places[2].y1, "two panels side by side, the third one below"
    assert [text.get_text() for text in legends[1].get_texts()] == ["HE (32)", "none (8)"]
    assert [text.get_text() for text in legends[3].get_texts()] == ["8 (10)", "9 (10)", "10 (10)", "11 (10)"]
    # Samples without a value are seen, too.
    none = min(figure.axes[1].collections, key=lambda points: len(points.get_offsets()))
    assert len(none.get_offsets()) == 8
    assert none.get_linewidths()[0] > 0.5
    drawn = sum(len(points.get_offsets()) for points in figure.axes[2].collections)
    assert drawn == 40


def test_many_kinds_have_colours_and_shapes_of_their_own(tmp_path):
    samples, X = make_samples(200, classes="ab")
    samples["site"] = [f"a site with a rather long name, number {i % 45:02d}" for i in range(200)]
    toy = make_store(tmp_path / "s", samples, {"last": X})
    figure = draw_scatter(scatter(toy, "toy", "net/last", by="site"))
    (axis,) = figure.axes
    looks = {
        (tuple(points.get_facecolor()[0]), tuple(map(tuple, points.get_paths()[0].vertices)))
        for points in axis.collections
    }
    assert len(looks) == len(axis.collections) == 41
    texts = [text.get_text() for text in axis.get_legend().get_texts()]
    assert texts[-1].startswith("5 others (")
    figure.draw_without_rendering()
    edges = [text.get_window_extent() for text in axis.get_legend().get_texts()]
    assert max(edge.x1 for edge in edges) <= figure.bbox.x1
    assert min(edge.y0 for edge in edges) >= 0


def test_samples_without_a_kind_are_named_beside_other_kinds(tmp_path):
    samples, X = make_samples(100, classes="ab")
    samples["site"] = [None if i < 5 else f"site {i % 43}" for i in range(100)]
    toy = make_store(tmp_path / "s", samples, {"last": X})
    (axis,) = draw_scatter(scatter(toy, "toy", "net/last", by="site")).axes
    assert axis.get_legend().get_texts()[-1].get_text() == "3 others and none (11)"


def test_names_with_numbers_stand_as_people_count(tmp_path):
    samples, X = make_samples(8)
    samples["label"] = ["c10", "c9", "c2", None] * 2
    found = scatter(make_store(tmp_path / "s", samples, {"last": X}), "toy", "net/last")
    (sheet,) = found.sheets()
    assert [row[0] for row in sheet.rows] == ["c2", "c9", "c10", "none"]
    (axis,) = draw_scatter(found).axes
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["c2 (2)", "c9 (2)", "c10 (2)", "none (2)"]


def test_samples_without_labels_are_of_one_kind(tmp_path):
    samples, X = make_samples(6)
    X[0] = np.nan
    store = make_store(tmp_path / "s", {**samples, "label": [None] * 6}, {"one": X[:, :1], "last": X})
    found = scatter(store, "toy", "net/last", allow_missing=True)
    (sheet,) = found.sheets()
    assert sheet.columns[:2] == ["label", "samples"]
    assert [row[:2] for row in sheet.rows] == [["none", 5]]
    assert any("1 of 6 samples is left out" in note for note in found.notes)
    with pytest.raises(DataError, match="more than 5 samples of 1 column"):
        scatter(store, "toy", "net/one", allow_missing=True)


def test_a_class_that_is_called_none_is_not_those_without_a_label(tmp_path):
    samples, X = make_samples(10)
    samples["label"] = ["none"] * 3 + [None] * 3 + ["b"] * 4
    found = scatter(make_store(tmp_path / "s", samples, {"last": X}), "toy", "net/last")
    (axis,) = draw_scatter(found).axes
    drawn = {tuple(dots.get_facecolor()[0]): len(dots.get_offsets()) for dots in axis.collections}
    assert sorted(drawn.values()) == [3, 3, 4]
    assert [text.get_text().strip() for text in axis.get_legend().get_texts()] == ["b (4)", "none (3)", "none (3)"]
    (sheet,) = found.sheets()
    assert [row[:2] for row in sheet.rows] == [["b", 4], ["none", 3], ["none", 3]], "the most frequent first"


def test_what_cannot_be_drawn_is_told(toy, tmp_path):
    with pytest.raises(UsageError, match="no method 'tsne'"):
        scatter(toy, "toy", "net/last", method="tsne")
    with pytest.raises(UsageError, match="no column 'slid'"):
        scatter(toy, "toy", "net/last", by="slid")
    for ids, size in (("'s1', 's2'", "2 samples"), ("'s1'", "1 sample")):
        with pytest.raises(DataError, match=f"^Points of a plane need more than {size} of 8 columns"):
            scatter(toy, "toy", "net/last", where=f"id IN ({ids})")
    with pytest.raises(UsageError, match="needs to know which samples are controls"):
        scatter(toy, "toy", "net/last", normalise="standardise")
    with pytest.raises(UsageError, match="--controls is for --normalise"):
        scatter(toy, "toy", "net/last", controls="plate = 8")
    with pytest.raises(UsageError, match="--per is for --normalise"):
        scatter(toy, "toy", "net/last", per="plate")
    samples, X = make_samples(10)
    same = make_store(tmp_path / "same", samples, {"last": np.ones_like(X)})
    with pytest.raises(DataError, match="same features"):
        scatter(same, "toy", "net/last")


def test_umap_that_is_not_installed_is_told(toy, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="umap-learn") as error:
        scatter(toy, "toy", "net/last", method="umap")
    assert "pip install umap-learn" in error.value.next


@needs("umap", "umap-learn")
@pytest.mark.filterwarnings("ignore::ImportWarning")
def test_umap_keeps_neighbours_near(tmp_path):
    samples, X = make_samples(60)
    X[:, 2] += 40 * (np.array(samples["label"]) == "b")
    toy = make_store(tmp_path / "s", samples, {"last": X})
    found, again = (scatter(toy, "toy", "net/last", method="umap", seed=1) for _ in range(2))
    np.testing.assert_array_equal(found.points, again.points)
    assert found.settings["metric"] == "cosine"
    labels = np.array(found.features.labels)
    far = np.linalg.norm(found.points[:, None] - found.points[None], axis=-1)
    np.fill_diagonal(far, np.inf)
    assert (labels[far.argmin(1)] == labels).mean() > 0.95


def test_the_command_prints_writes_and_draws(toy, capsys, monkeypatch, tmp_path):
    out, figure = tmp_path / "p.parquet", tmp_path / "f.svg"
    monkeypatch.setenv("HISTOKIT_STORE", str(toy.uri))
    arguments = ["scatter", "toy", "--features", "net/last"]
    assert cli.run([*arguments, "--by", "slide", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["x"]) == document["samples"] == 40
    assert document["groups"] == 6
    assert cli.run([*arguments, "--by", "label", "--by", "age", "--out", str(out), "--figure", str(figure)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    table = pq.read_table(out)
    assert table.column_names == ["id", "x", "y", "label", "age"]
    assert table.column("x").to_pylist() == pytest.approx(document["x"])
    assert figure.stat().st_size > 10_000
    assert cli.run(arguments) == 0
    shown = capsys.readouterr()
    assert "principal component 1" in shown.err
    assert "mean x" in shown.out
