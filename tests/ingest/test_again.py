"""Ingesting under a name that is taken: the same data again, moved ones, or others."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import histokit
from histokit import cli
from histokit.errors import StoreError, UsageError
from histokit.features import FeatureStore
from histokit.ingest.imports import import_features
from histokit.plugin import Dataset, Sample
from histokit.store.records import PROBLEM_SCHEMA
from histokit.store.verify import verify

OPTIONS = {"pattern": "{patient}/{label}/*.png", "group": "patient"}


def ingest(store: FeatureStore, root: Path, plugin: str | Dataset = "folder", **more: Any) -> Any:
    options = {} if isinstance(plugin, Dataset) else {"options": OPTIONS}
    return histokit.ingest(store, plugin, root, **{"name": "d", **options, **more})


def extract(store: FeatureStore, **more: Any) -> list[tuple[str, str]]:
    return [(p["id"], p["reason"]) for p in histokit.extract(store, "d", "tiny", layers="last", **more).problems]


def draw(root: Path, seed: int, count: int = 4) -> Path:
    for number in range(count):
        path = root / "p" / "x" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(100 * seed + number).integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return root


def move_all(root: Path, to: Path) -> Path:
    """Move the images of a folder, which stays and is not empty, as that of a drive that is not mounted would be."""
    to.mkdir(exist_ok=True)
    for entry in list(root.iterdir()):
        entry.rename(to / entry.name)
    (root / "moved.txt").write_text(str(to))
    return to


@pytest.mark.usefixtures("tiny")
def test_data_that_moved_are_found_again(store: FeatureStore, images: Path) -> None:
    ingest(store, images)
    moved = move_all(images, images.with_name("elsewhere"))
    assert len(extract(store)) == 24
    assert len(extract(store)) == 24
    ingest(store, moved)
    assert extract(store) == []
    assert len(store.features("d", "tiny/last")) == 24


@pytest.mark.parametrize("lost", ["data", "_versions", ""])
def test_what_was_known_of_files_is_made_again_where_it_is_damaged(
    store: FeatureStore, images: Path, lost: str
) -> None:
    ingest(store, images)
    before = store.files("d")
    shutil.rmtree(store.uri / "files.d.lance" / lost)
    again = histokit.open_store(store.uri)
    assert not verify(again).ok
    ingest(again, images)
    assert again.files("d").equals(before)
    assert verify(again).ok


@pytest.mark.parametrize("kind", ["samples", "files"])
@pytest.mark.parametrize("lost", ["_versions", ""])
def test_what_is_advised_on_lost_tables_of_ingestion_makes_them_again(
    store: FeatureStore, images: Path, kind: str, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(store, images.rename(images.with_name("my images")))
    before = store.files("d")
    shutil.rmtree(store.uri / f"{kind}.d.lance" / lost)
    (advice,) = {finding.next for finding in verify(histokit.open_store(store.uri)).findings}
    monkeypatch.setenv("HISTOKIT_STORE", str(store.uri))
    assert cli.run(shlex.split(advice.removeprefix("Make it again: histokit "))) == 0
    again = histokit.open_store(store.uri)
    assert verify(again).ok
    assert again.files("d").equals(before)
    assert len(again.samples("d")) == 24


@pytest.mark.usefixtures("tiny")
def test_files_that_were_away_for_a_while_are_found_again(store: FeatureStore, images: Path) -> None:
    ingest(store, images)
    away = move_all(images, images.with_name("elsewhere"))
    assert len(extract(store)) == 24
    move_all(away, images)
    assert len(extract(store)) == 24
    ingest(store, images)
    assert extract(store) == []


@pytest.mark.usefixtures("tiny")
def test_a_broken_image_is_not_tried_again_by_that(store: FeatureStore, images: Path) -> None:
    (images / "p1/dark/0.png").write_bytes(b"no image")
    ingest(store, images)
    assert [i for i, _ in extract(store)] == ["p1/dark/0.png"]
    ingest(store, images)
    assert [row["id"] for row in store.problems("d").to_pylist()] == ["p1/dark/0.png"]
    ingest(store, images.rename(images.with_name("elsewhere")))
    assert store.problems("d").to_pylist() == []
    assert [i for i, _ in extract(store)] == ["p1/dark/0.png"]


@pytest.mark.usefixtures("tiny")
def test_retry_keeps_what_ingestion_could_not_read(store: FeatureStore, images: Path) -> None:
    os.mkfifo(images / "p1/dark/pipe.png")
    (images / "p2/dark/0.png").write_bytes(b"no image")
    assert ingest(store, images).problems == 1
    for _ in range(2):
        assert [i for i, _ in extract(store, retry=True)] == ["p1/dark/pipe.png", "p2/dark/0.png"]
        stages = {(row["id"], row["stage"]) for row in store.problems("d").to_pylist()}
        assert stages == {("p1/dark/pipe.png", "ingest"), ("p2/dark/0.png", "extract")}
    with pytest.raises(StoreError, match="missing for 2 of 25"):
        store.features("d", "tiny/last")


class Some(Dataset):
    """Three files, one of which is absent and one of which is broken."""

    name = "some"
    version = "1"

    def samples(self) -> Iterator[Sample]:
        for path in ("p1/bright/0.png", "p2/dark/0.png", "gone.png"):
            yield Sample(path, (path,), label="Bright" if "bright" in path else "bright")


def test_other_data_need_replace(store: FeatureStore, tmp_path: Path) -> None:
    first, second = draw(tmp_path / "first", 1), draw(tmp_path / "second", 2)
    ingest(store, first)
    with pytest.raises(
        UsageError, match=r"4 samples of the plugin 'folder' in .*first. Of its 4 images, 0 are"
    ) as caught:
        ingest(store, second)
    assert "--replace" in caught.value.next
    assert store.dataset("d").root == str(first)
    ingest(store, second, replace=True)
    assert store.dataset("d").root == str(second)


@pytest.mark.parametrize(("kept", "moved"), [(4, True), (2, True), (1, False)])
def test_half_of_the_images_are_the_same_data(store: FeatureStore, tmp_path: Path, kept: int, moved: bool) -> None:
    """However often one of them is there."""
    first, second = draw(tmp_path / "first", 1), draw(tmp_path / "second", 2)
    for number in range(kept):
        shutil.copy(first / f"p/x/{number}.png", second / f"p/x/{number}.png")
    for number in range(4):
        shutil.copy(first / "p/x/0.png", second / f"p/x/again{number}.png")
    ingest(store, first)
    if moved:
        assert ingest(store, second).root == str(second)
    else:
        with pytest.raises(UsageError, match="1 are in"):
            ingest(store, second)


def test_the_same_root_takes_up_whatever_changed(store: FeatureStore, tmp_path: Path) -> None:
    root = draw(tmp_path / "root", 1)
    ingest(store, root)
    draw(root, 2)
    assert ingest(store, root).count == 4


def test_another_plugin_needs_replace(store: FeatureStore, tmp_path: Path, images: Path) -> None:
    ingest(store, images)
    with pytest.raises(UsageError, match="replaced by data of the plugin 'some'"):
        ingest(store, images, Some(images))
    assert ingest(store, images, Some(images), replace=True).plugin == "some"
    (tmp_path / "v.csv").write_text("id,f\na,1\n")
    import_features(store, "vectors", tmp_path / "v.csv", name="mine", version="1", create=True)
    with pytest.raises(UsageError, match="1 sample of the plugin 'import-features'"):
        ingest(store, images, name="vectors")


def test_data_that_are_drawn_have_no_place(store: FeatureStore, tmp_path: Path) -> None:
    options = {"slides": 2, "per_slide": 3, "size": 16}
    histokit.ingest(store, "synthetic", tmp_path, name="d", options=options)
    again = histokit.ingest(store, "synthetic", tmp_path / "x", name="d", options={**options, "seed": 5})
    assert again.count == 6


def test_nothing_is_lost_where_nothing_could_be_read(store: FeatureStore, tmp_path: Path) -> None:
    class Gone(Some):
        def samples(self) -> Iterator[Sample]:
            yield Sample("a", ("a.png",))

    for name in ("one", "one", "two"):
        (tmp_path / name).mkdir(exist_ok=True)
        assert histokit.ingest(store, Gone(tmp_path / name), tmp_path, name="d").problems == 1


def test_the_metric_is_one_that_there_is(store: FeatureStore, images: Path) -> None:
    with pytest.raises(UsageError, match="no metric 'accuraccy'") as caught:
        ingest(store, images, options={**OPTIONS, "metric": "accuraccy"})
    assert "Did you mean 'accuracy'" in caught.value.next
    assert store.datasets() == []
    assert ingest(store, images, options={**OPTIONS, "metric": "roc_auc"}).metric == "roc_auc"


def test_classes_that_are_nearly_the_same_are_said_for_any_plugin(store: FeatureStore, images: Path) -> None:
    record = histokit.ingest(store, Some(images), images, name="d")
    assert any("'Bright' (1) and 'bright' (2)" in warning for warning in record.warnings)


def test_groups_that_are_nearly_the_same_are_said(store: FeatureStore, tmp_path: Path) -> None:
    root = draw(tmp_path / "root", 1)
    shutil.copytree(root / "p", root / "P")
    record = ingest(store, root)
    assert any("Values of patient differ" in w and "'P' (4) and 'p' (4)" in w for w in record.warnings)
    options = {"pattern": "{well}/{label}/{patient}.png", "group": "patient", "levels": "well"}
    record = ingest(store, root, name="units", options=options)
    assert any("Values of well differ" in w and "'P' (4) and 'p' (4)" in w for w in record.warnings)


def test_the_command_asks_for_replace(
    store: FeatureStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTOKIT_STORE", str(store.uri))
    first, second = draw(tmp_path / "first", 1), draw(tmp_path / "second", 2)
    command = ["ingest", "folder", str(first), "--name", "d"]
    assert cli.run(command) == 0
    command[2] = str(second)
    assert cli.run(command) == 2
    assert "--replace" in capsys.readouterr().err
    assert cli.run([*command, "--replace"]) == 0


def test_one_dataset_that_cannot_be_read_hides_no_other(
    store: FeatureStore, images: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTOKIT_STORE", str(store.uri))
    for name in ("broken", "whole"):
        record = ingest(store, images, name=name)
        store.save_split(histokit.make_split(store.samples(name), record, "half", test=0.5))
    for table in ("samples", "splits"):
        for path in (store.uri / f"{table}.broken.lance" / "data").iterdir():
            path.write_bytes(path.read_bytes()[:50])
    for what in ("datasets", "splits", "features"):
        damaged = what != "features"
        assert cli.run(["list", what]) == (5 if damaged else 0)
        captured = capsys.readouterr()
        assert ("whole" in captured.out) == damaged
        assert ("broken' of the store" in captured.err) == damaged


def test_problems_of_other_samples_stay(store: FeatureStore, images: Path) -> None:
    import pyarrow as pa

    ingest(store, images)
    rows = [
        {"dataset": "d", "id": "a", "content": None, "stage": "images", "reason": "a.png does not exist."},
        {"dataset": "d", "id": "b", "content": None, "stage": "features.x", "reason": "x gave NaN, does not exist"},
        {"dataset": "d", "id": "c", "content": None, "stage": "extract", "reason": "is no image"},
        {"dataset": "e", "id": "a", "content": None, "stage": "extract", "reason": "a.png does not exist."},
    ]
    for row in rows:
        store.replace_problems(row["dataset"], row["stage"], pa.Table.from_pylist([row], schema=PROBLEM_SCHEMA))
    ingest(store, images)
    assert {row["id"] for row in store.problems("d").to_pylist()} == {"b", "c"}
    assert {row["id"] for row in store.problems("e").to_pylist()} == {"a"}


@pytest.mark.usefixtures("tiny")
def test_runs_on_a_published_split_that_is_another_one_now_are_told(store: FeatureStore, images: Path) -> None:
    for patient, part in (("p1", "train"), ("p2", "train"), ("p3", "train"), ("p4", "test")):
        shutil.move(images / patient, images / part / patient)
    options = {"pattern": "{split}/{patient}/{label}/*.png", "group": "patient"}
    assert not [text for text in ingest(store, images, options=options).warnings if "place" in text]
    extract(store)
    how: dict[str, Any] = {"classifier": "knn", "grid": {"k": 1}}
    (run,) = histokit.train(store, "d", "tiny/last", **how)
    assert not [text for text in ingest(store, images, options=options).warnings if "place" in text], "it is the same"
    shutil.move(images / "train" / "p3", images / "test" / "p3")
    (images / "test" / "p4" / "Bright").mkdir()
    shutil.move(images / "test" / "p4" / "bright" / "0.png", images / "test" / "p4" / "Bright")
    warnings = ingest(store, images, options=options).warnings
    assert any("'Bright' (1) and 'bright' (11)" in text for text in warnings), "beside what else is told"
    (told,) = [text for text in warnings if "took the place" in text]
    assert f"{run.split!r} took the place of another one, whose folds 1 run ({run.id}) of it keep" in told
    assert "under another --name" in told
    assert not [text for text in store.dataset("d").warnings if "took the place" in text]
