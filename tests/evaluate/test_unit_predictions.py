"""Predictions listed by unit: those of slides, from those of their tiles."""

import csv

import pytest
from numpy.testing import assert_allclose

import histokit
from histokit.errors import DataError, ExitCode, UsageError
from tests.cli.command_line import CommandLine
from tests.evaluate.made_up import save_run
from tests.evaluate.made_up_numbers import save_numbers
from tests.toy import make_store

#: Slide, patient, true label and score of b of each tile; of the third slide none is labelled.
TILES = [
    ("s1", "p1", "a", 3.0),
    ("s1", "p1", "a", -1.0),
    ("s1", "p1", "a", -1.0),
    ("s2", "p1", "b", 2.0),
    ("s3", "p2", None, -4.0),
    ("s3", "p2", None, 1.0),
]


@pytest.fixture
def store(tmp_path):
    """A store with a dataset that has slides of patients, of which the site is known; and predictions of it."""
    columns = {"slide": "str", "patient": "str", "site": "int"}
    samples = {"id": [str(n) for n in range(6)], "label": [tile[2] for tile in TILES]}
    samples |= {"slide": [t[0] for t in TILES], "patient": [t[1] for t in TILES], "site": [1, 1, 1, 1, 2, 2]}
    store = make_store(
        tmp_path / "toy", samples, {"last": [[0.0]] * 6}, group="patient", columns=columns, classes=("a", "b")
    )
    save(store)
    return store


def save(store, tiles=TILES, **changes):
    rows = [(int(t[1][1:]), str(n), t[2], t[3], t[1], t[0], t[1]) for n, t in enumerate(tiles)]
    return save_run(store, rows, levels=("slide", "patient"), **changes)


def listed(found, *names):
    return list(zip(*(found.column(name).to_pylist() for name in names), strict=True))


def test_slides_with_labels_and_without(store):
    found = histokit.predictions(store, "abcd", by="slide")
    names = ["id", "samples", "repeat", "fold", "group", "true", "predicted", "score:a", "score:b"]
    assert found.column_names == names
    assert listed(found, *names[:-2]) == [
        ("s1", 3, 0, 1, "p1", "a", "b"),
        ("s2", 1, 0, 1, "p1", "b", "b"),
        ("s3", 2, 0, 2, "p2", None, "a"),
    ]
    assert_allclose(found.column("score:b"), [1 / 3, 2, -1.5])
    assert_allclose(found.column("score:a"), [-1 / 3, -2, 1.5])
    # Two of the three tiles of s1 are of a; those of s3 are one each, and the mean decides.
    assert listed(histokit.predictions(store, "abcd", by="slide:vote"), "id", "predicted", "score:b") == [
        ("s1", "a", 1 / 3),
        ("s2", "b", 1.0),
        ("s3", "a", 0.5),
    ]
    assert listed(histokit.predictions(store, "abcd", by="slide:median"), "score:b") == [(-1.0,), (2.0,), (-1.5,)]


def test_they_are_those_that_evaluate_scores(store):
    (scored,) = histokit.evaluate(store, "abcd", by="slide:median")
    assert scored.by["slide:median"]["metrics"]["accuracy"] == 1
    found = histokit.predictions(store, "abcd", by="slide:median")
    assert [true == predicted for true, predicted in listed(found, "true", "predicted")] == [True, True, False]
    assert listed(histokit.predictions(store, "abcd", by="slide", wrong=True), "id") == [("s1",)]
    assert listed(histokit.predictions(store, "abcd", by="slide", order="surest"), "id") == [("s2",), ("s3",), ("s1",)]
    assert listed(histokit.predictions(store, "abcd", by="slide", order="nearest", limit=1), "id") == [("s1",)]
    assert listed(histokit.predictions(store, "abcd", by="slide", where="site = 2"), "id") == [("s3",)]


def test_levels_one_after_the_other_and_columns_that_are_none(store):
    # The patient's slides have 1/3 and 2, its tiles 3, -1, -1 and 2.
    found = histokit.predictions(store, "abcd", by="slide,patient")
    assert listed(found, "id", "samples", "true") == [("p1", 4, None), ("p2", 2, None)]
    assert_allclose(found.column("score:b"), [7 / 6, -1.5])
    assert_allclose(histokit.predictions(store, "abcd", by="patient").column("score:b"), [0.75, -1.5])
    assert listed(histokit.predictions(store, "abcd", by="site"), "id", "group") == [("1", "p1"), ("2", "p2")]


def test_each_repeat_has_its_own_and_folds_that_differ_are_none(store):
    again = [(1 - n % 2, str(n), t[2], -t[3], t[1], t[0], t[1]) for n, t in enumerate(TILES)]
    save(store, repeats=[again])
    found = histokit.predictions(store, "abcd", by="slide")
    assert listed(found, "id", "repeat", "fold", "predicted") == [
        ("s1", 0, 1, "b"),
        ("s2", 0, 1, "b"),
        ("s3", 0, 2, "a"),
        ("s1", 1, None, "a"),
        ("s2", 1, 0, "a"),
        ("s3", 1, None, "b"),
    ]


def test_numbers(store):
    values = [(1.0, 2.0), (1.0, 4.0), (1.0, 9.0), (7.0, 5.0), (None, 1.0), (None, 2.0)]
    rows = [(0, str(n), *values[n], t[1], t[0], t[1]) for n, t in enumerate(TILES)]
    run = save_numbers(store, rows, levels=("slide", "patient"))
    found = histokit.predictions(store, run, by="slide:median")
    names = ("id", "samples", "true", "predicted", "residual")
    assert listed(found, *names) == [("s1", 3, 1.0, 4.0, -3.0), ("s2", 1, 7.0, 5.0, 2.0), ("s3", 2, None, 1.5, None)]
    assert listed(histokit.predictions(store, run, by="slide", wrong=True), "id") == [("s1",), ("s2",)]
    with pytest.raises(UsageError, match="Numbers cannot vote"):
        histokit.predictions(store, run, by="slide:vote")


def test_units_of_which_evaluate_leaves_samples_out_are_told(store, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "toy"))
    tool = CommandLine(capsys)
    note = "1 unit holds samples with and without a label: here all count, in `evaluate` those with one"
    assert "with and without" not in tool.ok("predictions", "abcd", "--by", "slide").err
    save(store, [("s1", "p1", "a", 3.0), ("s1", "p1", None, -4.0), *TILES[3:]])
    # Of s1, the tile with a label alone is b, both are a.
    assert histokit.evaluate(store, "abcd", by="slide")[0].by["slide:mean"]["metrics"]["accuracy"] == 0.5
    assert listed(histokit.predictions(store, "abcd", by="slide"), "predicted") == [("a",), ("b",), ("a",)]
    assert note in tool.ok("predictions", "abcd", "--by", "slide").err


def test_what_has_no_units(store):
    with pytest.raises(UsageError, match="no column 'slid'"):
        histokit.predictions(store, "abcd", by="slid")
    with pytest.raises(UsageError, match="level slide is finer than patient"):
        histokit.predictions(store, "abcd", by="patient,slide")
    with pytest.raises(DataError, match="no predictions of such samples"):
        histokit.predictions(store, "abcd", by="slide", where="site = 3")
    save(store, [*TILES[:-1], (None, "p2", None, 1.0)])
    with pytest.raises(DataError, match=r"^1 prediction has no slide, such as that of '5'"):
        histokit.predictions(store, "abcd", by="slide")


def test_on_the_command_line(store, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "toy"))
    tool = CommandLine(capsys)
    told = tool.ok("predictions", "abcd", "--by", "patient", "--json")
    assert told.document["by"] == "patient"
    (first, second) = told.document["predictions"]
    assert (first["id"], first["true"], first["score:b"], second["samples"]) == ("p1", None, 0.75, 2)
    assert "1 unit holds samples of several true labels: none is given as the true one" in told.err
    assert "s3" in tool.ok("predictions", "abcd", "--by", "slide:vote").out
    out = tmp_path / "slides.csv"
    tool.ok("predictions", "abcd", "--by", "slide", "--out", str(out))
    with out.open() as file:
        assert [(row["id"], row["samples"], row["true"]) for row in csv.DictReader(file)] == [
            ("s1", "3", "a"),
            ("s2", "1", "b"),
            ("s3", "2", ""),
        ]
    for name in ("x.geojson", "x/"):
        asked = ("predictions", "abcd", "--by", "slide", "--out", f"{tmp_path}/{name}")
        assert "units have none" in tool.fails(*asked, code=ExitCode.USAGE).err
    asked = ("predictions", "abcd", "--by", "slide", "--figure", tmp_path / "x.png")
    assert "Units have no image to draw" in tool.fails(*asked, code=ExitCode.USAGE).err
