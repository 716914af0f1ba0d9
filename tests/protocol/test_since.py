"""Runs whose dataset was ingested again since, and copies of a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import histokit
from histokit import cli
from histokit.features import FeatureStore


def draw(root: Path, seed: int, count: int = 16) -> None:
    generator = np.random.default_rng(seed)
    for number in range(count):
        label = "ab"[number % 2]
        path = root / f"p{number % 4}" / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 120, (16, 16, 3)) + 100 * (label == "b")
        Image.fromarray(pixels.astype(np.uint8)).save(path)


def ingest(store: FeatureStore, root: Path, name: str = "d") -> None:
    options = {"pattern": "{patient}/{label}/*.png", "group": "patient"}
    histokit.ingest(store, "folder", root, name=name, options=options)
    histokit.extract(store, name, "texture", layers="stain")


@pytest.fixture
def trained(tmp_path: Path) -> tuple[FeatureStore, str]:
    draw(tmp_path / "images", 0)
    store = histokit.open_store(tmp_path / "store")
    ingest(store, tmp_path / "images")
    (run,) = histokit.train(store, "d", "texture/stain", "knn", grid={"k": 1}, split="leave-one-group-out")
    return store, run.id


def said(store: FeatureStore, capsys: Any, *command: str) -> str:
    assert cli.run([*command, "--store", str(store.uri)]) == 0
    return " ".join(capsys.readouterr().err.split())


def test_other_images_under_the_same_ids_are_told(
    trained: tuple[FeatureStore, str], tmp_path: Path, capsys: Any
) -> None:
    store, run = trained
    for command in ("evaluate", "predictions"):
        assert "ingested again" not in said(store, capsys, command, run)
    before = store.predictions(run)
    draw(tmp_path / "images", 1, 6)
    ingest(store, tmp_path / "images")
    for command in ("evaluate", "predictions"):
        assert "'d' was ingested again since" in (text := said(store, capsys, command, run))
        assert "other images stand under the same ids" in text
    assert store.predictions(run).equals(before)


def test_a_comparison_tells_which_runs_are_of_other_data(
    trained: tuple[FeatureStore, str], tmp_path: Path, capsys: Any
) -> None:
    store, run = trained
    (other,) = histokit.train(store, "d", "texture/stain", "knn", grid={"k": 3}, split="leave-one-group-out")
    assert "ingested again" not in said(store, capsys, "compare", "--all")
    draw(tmp_path / "images", 1, 6)
    ingest(store, tmp_path / "images")
    (new,) = histokit.train(store, "d", "texture/stain", "knn", grid={"k": 5}, split="leave-one-group-out")
    text = said(store, capsys, "compare", "--all", "--bootstrap", "20")
    (told,) = [part for part in text.split("warning: ") if "ingested again" in part]
    assert told.startswith("'d' was ingested again since the runs ")
    assert "and other images stand under the same ids: labels and predictions are those of then" in told
    assert run in told
    assert other.id in told
    assert new.id not in told


def test_a_report_of_several_runs_tells_once_of_other_data(
    trained: tuple[FeatureStore, str], tmp_path: Path, capsys: Any
) -> None:
    store, run = trained
    (other,) = histokit.train(store, "d", "texture/stain", "knn", grid={"k": 3}, split="leave-one-group-out")
    draw(tmp_path / "images", 1, 6)
    ingest(store, tmp_path / "images")
    for runs in ([run], [run, other.id]):
        made = histokit.report(store, runs, out=tmp_path / "r.html", bootstrap=5)
        (told,) = [note for note in made.notes if "ingested again" in note]
        assert all(each in told for each in runs)


def test_a_comparison_tells_the_units_of_each_run_apart(
    trained: tuple[FeatureStore, str], tmp_path: Path, capsys: Any
) -> None:
    store, _ = trained
    wells = [f"w{number // 4}" for number in range(16)]
    options = {"pattern": "{of}/{kind}/{number}.png", "labels": "t.csv", "on": "number", "levels": "well"}
    options |= {"group": "patient"}
    runs = []
    for k in (1, 3):
        wells[3] = f"w{k}"
        rows = [f"{n},{'ab'[n % 2]},p{n % 4},{wells[n]}" for n in range(16)]
        (tmp_path / "images" / "t.csv").write_text("\n".join(["number,label,patient,well", *rows]))
        histokit.ingest(store, "folder", tmp_path / "images", name="d", options=options, replace=True)
        runs += histokit.train(store, "d", "texture/stain", "knn", grid={"k": k}, split="leave-one-group-out", seed=k)
    old, new = (run.id for run in runs)
    for order in ([old, new], [new, old]):
        text = said(store, capsys, "compare", *order, "--bootstrap", "5")
        (told,) = [part for part in text.split("warning: ") if "ingested again" in part]
        assert f"since the run {old}, and 1 of its samples has another well now" in told


def test_other_classes_and_groups_of_the_same_images_are_told(
    trained: tuple[FeatureStore, str], tmp_path: Path, capsys: Any
) -> None:
    store, run = trained
    rows = [f"{number},{'ab'[number % 2]},p{number % 4}" for number in range(16)]
    table = {"pattern": "{of}/{kind}/{number}.png", "labels": "t.csv", "on": "number", "group": "patient"}
    for row, text, told in (
        (0, "0,a,p0", []),
        (0, "0,b,p0", ["1 of its samples has another label now"]),
        (1, "1,b,p3", ["1 of its samples has another label now", "1 of its samples has another patient now"]),
    ):
        rows[row] = text
        (tmp_path / "images" / "t.csv").write_text("\n".join(["number,label,patient", *rows]))
        histokit.ingest(store, "folder", tmp_path / "images", name="d", options=table, replace=True)
        text = said(store, capsys, "evaluate", run)
        assert [part.split(": labels and predictions")[0] for part in text.split(f"{run}, and ")[1:]] == told


def test_lost_samples_are_told_and_added_ones_are_not(
    trained: tuple[FeatureStore, str], tmp_path: Path, capsys: Any
) -> None:
    store, run = trained
    draw(tmp_path / "more", 5, 20)
    for number in range(16, 20):
        (source,) = (tmp_path / "more").rglob(f"{number}.png")
        target = tmp_path / "images" / source.relative_to(tmp_path / "more")
        source.rename(target)
    ingest(store, tmp_path / "images")
    assert "ingested again" not in said(store, capsys, "evaluate", run)
    for number in range(3):
        next((tmp_path / "images").rglob(f"{number}.png")).unlink()
    ingest(store, tmp_path / "images")
    assert "3 of its samples are gone" in said(store, capsys, "evaluate", run)


def test_a_copy_of_a_dataset_has_runs_of_its_own(trained: tuple[FeatureStore, str], tmp_path: Path) -> None:
    store, run = trained
    ingest(store, tmp_path / "images", "copy")
    (other,) = histokit.train(store, "copy", "texture/stain", "knn", grid={"k": 1}, split="leave-one-group-out")
    assert other.id != run
    assert [found.id for found in store.runs("copy")] == [other.id]
    assert [found.id for found in store.runs("d")] == [run]
    mine, theirs = (store.predictions(i).drop_columns("run") for i in (run, other.id))
    assert mine.equals(theirs)


def test_other_units_and_numbers_of_the_same_images_are_told_and_force_mends_it(
    trained: tuple[FeatureStore, str], tmp_path: Path, capsys: Any
) -> None:
    store, _ = trained
    wells = [f"w{number // 4}" for number in range(16)]
    doses = [number / 2 for number in range(16)]
    options = {"pattern": "{of}/{kind}/{number}.png", "labels": "t.csv", "on": "number"}
    options |= {"group": "patient", "levels": "well"}

    def ingested() -> None:
        rows = [f"{n},{'ab'[n % 2]},p{n % 4},{wells[n]},{doses[n]}" for n in range(16)]
        (tmp_path / "images" / "t.csv").write_text("\n".join(["number,label,patient,well,dose", *rows]))
        histokit.ingest(store, "folder", tmp_path / "images", name="d", options=options, replace=True)

    ingested()
    how: dict[str, Any] = {"grid": {"k": 3}, "split": "leave-one-group-out"}
    (classes,) = histokit.train(store, "d", "texture/stain", "knn", **how)
    (numbers,) = histokit.train(store, "d", "texture/stain", "knn", **how, target="dose", target_type="number")
    for run in (classes, numbers):
        assert "ingested again" not in said(store, capsys, "evaluate", run.id)
    wells[3], doses[5] = "w1", 9.0
    ingested()
    # The answer is the stored one, whose units are those of then.
    assert histokit.train(store, "d", "texture/stain", "knn", **how)[0].created == classes.created
    for command in ("evaluate", "predictions"):
        text = said(store, capsys, command, classes.id)
        assert "1 of its samples has another well now: labels and predictions are those of then" in text
        assert "train or predict again with --force" in text
        text = said(store, capsys, command, numbers.id)
        assert "1 of its samples has another well now" in text
        assert "1 of its samples has another dose now" in text
    histokit.train(store, "d", "texture/stain", "knn", **how, force=True)
    assert "ingested again" not in said(store, capsys, "evaluate", classes.id)


def test_whole_numbers_that_are_kept_as_the_nearest_fraction_are_no_others(
    trained: tuple[FeatureStore, str], tmp_path: Path, capsys: Any
) -> None:
    store, _ = trained
    nanoseconds = [100_000_000_000_000_000 * (number + 1) + 1 for number in range(16)]
    options = {"pattern": "{of}/{kind}/{number}.png", "labels": "t.csv", "on": "number"}

    def ingested() -> None:
        rows = [f"{n},{'ab'[n % 2]},{nanoseconds[n]}" for n in range(16)]
        (tmp_path / "images" / "t.csv").write_text("\n".join(["number,label,time", *rows]))
        histokit.ingest(store, "folder", tmp_path / "images", name="d", options=options, replace=True)

    ingested()
    how: dict[str, Any] = {"target": "time", "target_type": "number", "grid": {"k": 3}}
    (run,) = histokit.train(store, "d", "texture/stain", "knn", **how)
    assert "ingested again" not in said(store, capsys, "evaluate", run.id)
    nanoseconds[3] += 1_000_000_000
    ingested()
    assert "1 of its samples has another time now" in said(store, capsys, "evaluate", run.id)
