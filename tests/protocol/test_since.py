"""Runs whose dataset was ingested again since, and copies of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
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


LABELS, PATIENTS = ["ab"[number % 2] for number in range(16)], [f"p{number % 4}" for number in range(16)]


def ingest_table(store: FeatureStore, root: Path, **columns: Sequence[object]) -> None:
    """Ingest the images as they are, with a table that says the columns of each by its number."""
    columns = {"label": LABELS, **columns}
    rows = zip(range(16), *columns.values(), strict=True)
    (root / "t.csv").write_text("\n".join(",".join(map(str, row)) for row in [("number", *columns), *rows]))
    options = {"pattern": "{of}/{kind}/{number}.png", "labels": "t.csv", "on": "number"}
    options |= {name: column for name, column in (("group", "patient"), ("levels", "well")) if column in columns}
    histokit.ingest(store, "folder", root, name="d", options=options, replace=True)


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
    runs = []
    for k in (1, 3):
        wells[3] = f"w{k}"
        ingest_table(store, tmp_path / "images", patient=PATIENTS, well=wells)
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
    labels, patients = [*LABELS], [*PATIENTS]
    for label, patient, told in (
        ("a", "p1", []),
        ("b", "p1", ["1 of its samples has another label now"]),
        ("b", "p3", ["1 of its samples has another label now", "1 of its samples has another patient now"]),
    ):
        labels[0], patients[1] = label, patient
        ingest_table(store, tmp_path / "images", label=labels, patient=patients)
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
    for number, lost in enumerate(["1 of its samples is gone", "2 of its samples are gone"]):
        next((tmp_path / "images").rglob(f"{number}.png")).unlink()
        ingest(store, tmp_path / "images")
        assert lost in said(store, capsys, "evaluate", run)


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
    ingest_table(store, tmp_path / "images", patient=PATIENTS, well=wells, dose=doses)
    how: dict[str, Any] = {"grid": {"k": 3}, "split": "leave-one-group-out"}
    (classes,) = histokit.train(store, "d", "texture/stain", "knn", **how)
    (numbers,) = histokit.train(store, "d", "texture/stain", "knn", **how, target="dose", target_type="number")
    for run in (classes, numbers):
        assert "ingested again" not in said(store, capsys, "evaluate", run.id)
    wells[3], doses[5] = "w1", 9.0
    ingest_table(store, tmp_path / "images", patient=PATIENTS, well=wells, dose=doses)
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
    ingest_table(store, tmp_path / "images", time=nanoseconds)
    how: dict[str, Any] = {"target": "time", "target_type": "number", "grid": {"k": 3}}
    (run,) = histokit.train(store, "d", "texture/stain", "knn", **how)
    assert "ingested again" not in said(store, capsys, "evaluate", run.id)
    nanoseconds[3] += 1_000_000_000
    ingest_table(store, tmp_path / "images", time=nanoseconds)
    assert "1 of its samples has another time now" in said(store, capsys, "evaluate", run.id)
