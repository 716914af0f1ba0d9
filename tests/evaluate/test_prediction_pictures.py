"""Predictions in order, and as pictures of their samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import histokit
from histokit.errors import UsageError
from histokit.evaluate.listing import margins
from histokit.evaluate.prediction_pictures import MOST, prediction_sheet
from histokit.features import FeatureStore, open_store
from histokit.figures.contact import draw_contact
from tests.cli.command_line import CommandLine
from tests.study.small_study import draw
from tests.toy import make_samples, make_store


@pytest.fixture
def trained(tmp_path: Path, tiny: object) -> tuple[FeatureStore, str]:
    """A run on images of which those of one patient have each other's labels."""
    store, images = open_store(tmp_path / "store"), tmp_path / "images"
    draw(images, 0)
    for number in range(3):
        first, second = (images / "a" / kind / f"{number}.png" for kind in ("dark", "bright"))
        pixels = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(pixels)
    histokit.ingest(
        store, "folder", images, name="d", options={"pattern": "{patient}/{label}/*.png", "group": "patient"}
    )
    histokit.extract(store, "d", "tiny")
    (run,) = histokit.train(store, "d", "tiny/1", classifier="svm", grid={"C": [0.1]})
    return store, run.id


def test_predictions_are_put_in_order_by_how_sure_they_are(trained: tuple[FeatureStore, str]) -> None:
    store, run = trained
    every = histokit.predictions(store, run).to_pylist()
    above = {row["id"]: abs(row["score:dark"] - row["score:bright"]) for row in every}
    for order, sign in (("surest", -1), ("nearest", 1)):
        found = histokit.predictions(store, run, order=order).column("id").to_pylist()
        assert found == sorted(above, key=lambda i, sign=sign: sign * above[i])
    surest = histokit.predictions(store, run, wrong=True, order="surest", limit=2).to_pylist()
    assert all(row["true"] != row["predicted"] for row in surest)
    assert above[surest[0]["id"]] >= above[surest[1]["id"]]
    with pytest.raises(UsageError, match="no order 'sure'"):
        histokit.predictions(store, run, order="sure")


def test_margins_are_to_the_second_score() -> None:
    assert margins(np.empty((0, 3))).shape == (0,)
    assert margins(np.array([[0.1, 0.7, 0.2], [3.0, -1.0, 2.5]])).tolist() == pytest.approx([0.5, 0.5])
    assert margins(np.array([[0.5], [-2.0]])).tolist() == [0.5, -2.0]


def test_each_true_class_has_its_row_and_wrong_ones_their_sign(trained: tuple[FeatureStore, str]) -> None:
    store, run = trained
    found = histokit.predictions(store, run, order="surest")
    contact = prediction_sheet(store, run, found)
    by_class = {
        row["true"]: [r["id"] for r in found.to_pylist() if r["true"] == row["true"]] for row in found.to_pylist()
    }
    assert [[each.name for each in line] for line in contact.rows] == list(by_class.values())
    wrong = {row["id"] for row in found.to_pylist() if row["true"] != row["predicted"]}
    assert wrong
    assert {each.name for line in contact.rows for each in line if each.mark == "wrong"} == wrong
    assert all(isinstance(each.pixels, np.ndarray) for line in contact.rows for each in line)
    assert "24 predictions" in contact.title
    assert draw_contact(contact).axes


def test_the_command_draws_what_it_lists(
    trained: tuple[FeatureStore, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, run = trained
    line = CommandLine(capsys)
    asked = ["--store", store.uri, "predictions", run, "--wrong", "--order", "nearest", "--figure", tmp_path / "w.png"]
    done = line.ok(*asked)
    assert f"Drawn: {tmp_path / 'w.png'}" in done.err
    assert (tmp_path / "w.png").stat().st_size > 1000


def test_what_has_no_images_is_told(tmp_path: Path) -> None:
    samples, X = make_samples(n=90)
    store = make_store(tmp_path / "store", samples, {"a": X}, plugin="import-features")
    (run,) = histokit.train(store, "toy", "net/a", classifier="knn", grid={"k": [1]})
    found = histokit.predictions(store, run.id)
    assert len(found) > MOST
    with pytest.raises(UsageError, match="samples without images"):
        prediction_sheet(store, run.id, found)
