from __future__ import annotations

import os
import re
import runpy
import shutil
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import histokit
from histokit.datasets.folder import Folder
from histokit.errors import DataError, PluginError, UsageError
from histokit.features import FeatureStore
from histokit.plugin import Dataset, PublishedSplit, Sample
from histokit.plugin.manager import added_plugin
from tests.lab_plugin import Plugin

OPTIONS = {"pattern": "{patient}/{label}/*.png", "group": "patient"}


class Cells(Dataset):
    """Three patches of one image, with what a test wants changed."""

    name = "cells"
    columns: Mapping[str, type] = {"slide": str, "size": int}
    group = "slide"

    def __init__(self, root: str | Path, *, rows: list[dict[str, Any]] | None = None) -> None:
        super().__init__(root)
        self.rows = rows or [{}]

    def samples(self) -> Iterator[Sample]:
        for number, row in enumerate(self.rows):
            metadata = {"slide": "s", "size": number}
            yield Sample(**{"id": str(number), "image": ("a.png",), "label": "x", "metadata": metadata, **row})


@pytest.fixture
def one_image(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(root / "a.png")
    return root


def digests(store: FeatureStore, name: str = "d") -> dict[str, bytes]:
    rows = store.samples(name, ["id", "content"])
    return dict(zip(rows.column("id").to_pylist(), rows.column("content").to_pylist(), strict=True))


def test_samples_labels_and_groups_are_kept(store: FeatureStore, images: Path) -> None:
    record = histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    assert (record.count, record.labels) == (24, {"bright": 12, "dark": 12})
    assert (record.classes, record.positive, record.group) == (("bright", "dark"), "dark", "patient")
    row = store.samples("d", where="id = 'p2/dark/1.png'").to_pylist()[0]
    assert (row["image"], row["label"], row["patient"]) == (["p2/dark/1.png"], "dark", "p2")
    assert store.dataset("d").root == str(images)


def test_only_changed_files_are_read_again(store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    file_digest = Dataset.file_digest
    monkeypatch.setattr(Dataset, "file_digest", lambda self, path: (read.append(path.name), file_digest(self, path))[1])
    histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    before = digests(store)
    assert len(read) == 24
    changed = images / "p1" / "dark" / "0.png"
    status = changed.stat()
    data = changed.read_bytes()
    changed.write_bytes(data[:-20] + bytes(20))
    read.clear()
    histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    assert read == ["0.png"]
    assert {i for i, d in digests(store).items() if d != before[i]} == {"p1/dark/0.png"}
    # The old bytes come back with the size and date of the new ones.
    spoofed = changed.stat()
    changed.write_bytes(data)
    assert changed.stat().st_size == status.st_size
    os.utime(changed, ns=(spoofed.st_atime_ns, spoofed.st_mtime_ns))
    read.clear()
    histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    assert read == ["0.png"]
    assert digests(store) == before
    histokit.ingest(store, "folder", images, name="d", options=OPTIONS, rehash=True)
    assert len(read) == 25


def test_a_path_that_leaves_the_root_is_put_aside(store: FeatureStore, one_image: Path) -> None:
    (one_image.parent / "secret.png").write_bytes((one_image / "a.png").read_bytes())
    rows = [{}, {"image": ("../secret.png",)}, {"image": ("absent.png",)}]
    record = histokit.ingest(store, Cells(one_image, rows=rows), name="d")
    assert record.problems == 2
    reasons = {p["id"]: p["reason"] for p in store.problems("d").to_pylist()}
    assert "lies outside the dataset's root" in reasons["1"]
    assert "absent.png cannot be read" in reasons["2"]
    assert digests(store)["1"] is None


def test_what_is_no_file_is_not_waited_for(store: FeatureStore, one_image: Path) -> None:
    os.mkfifo(one_image / "pipe.png")
    (one_image / "folder.png").mkdir()
    rows = [{}, {"image": ("pipe.png",)}, {"image": ("folder.png",)}, {"image": ("a\0.png",)}]
    assert histokit.ingest(store, Cells(one_image, rows=rows), name="d").problems == 3
    reasons = {p["id"]: p["reason"] for p in store.problems("d").to_pylist()}
    assert reasons == {
        "1": "pipe.png cannot be read: it is a pipe, no file",
        "2": "folder.png cannot be read: Is a directory",
        "3": "a\0.png cannot be read: no file has a null character in its name",
    }


def test_links_are_followed(store: FeatureStore, one_image: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.png").write_bytes((one_image / "a.png").read_bytes())
    (one_image / "link.png").symlink_to(tmp_path / "elsewhere.png")
    rows = [{}, {"image": ("link.png",)}]
    assert histokit.ingest(store, Cells(one_image, rows=rows), name="d").problems == 0
    contents = digests(store)
    assert contents["0"] == contents["1"]


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        ([{}, {"id": "0"}], DataError, "'0' comes twice"),
        ([{"metadata": {"slide": None, "size": 1}}], DataError, "has no slide"),
        ([{"metadata": {"slide": "s", "sise": 1}}], PluginError, "metadata 'sise'"),
        ([{"metadata": {"slide": "s", "size": "big"}}], PluginError, "declared types"),
    ],
)
def test_what_breaks_the_contract_is_named(
    store: FeatureStore, one_image: Path, rows: list[dict[str, Any]], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        histokit.ingest(store, Cells(one_image, rows=rows), name="d")
    assert store.datasets() == []


def test_unknown_labels_and_no_samples_are_errors(store: FeatureStore, one_image: Path) -> None:
    dataset = Cells(one_image)
    dataset.classes = ("y", "z")
    with pytest.raises(DataError, match="unknown label 'x'"):
        histokit.ingest(store, dataset, name="d")
    dataset.classes = ("y", "xs")
    dataset.options = {"classes": ("y", "xs")}
    with pytest.raises(DataError, match="unknown label 'x'") as caught:
        histokit.ingest(store, dataset, name="d")
    named = "Name all of them in -o classes=, or leave it out; --where of later commands leaves samples out."
    assert caught.value.next == f"Did you mean 'xs'? The classes are: y, xs. {named}"
    dataset.classes = ("11", "2")
    dataset.rows = [{"label": "1"}]
    with pytest.raises(DataError, match="unknown label '1'") as caught:
        histokit.ingest(store, dataset, name="d")
    assert "Did you mean" not in caught.value.next
    empty = Cells(one_image)
    empty.rows = []
    with pytest.raises(DataError, match="has no samples"):
        histokit.ingest(store, empty, name="d")


@pytest.mark.parametrize("name", ["", "a b", "a/b", "-a", "a.b", "x" * 65])
def test_names_that_no_table_can_have_are_refused(store: FeatureStore, one_image: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is not allowed"):
        histokit.ingest(store, Cells(one_image), name=name)


def test_published_splits_are_kept_with_what_leaks(store: FeatureStore, one_image: Path) -> None:
    class Split(Cells):
        def splits(self) -> Mapping[str, PublishedSplit]:
            return {
                "paper": PublishedSplit.holdout(["0"], ["1"], leaks="one slide"),
                "own": PublishedSplit([(0, 0, "0", "train"), (0, 0, "1", "test")], notes=["drawn by hand"]),
            }

    histokit.ingest(store, Split(one_image, rows=[{}, {}]), name="d")
    paper, own = store.split("d", "paper"), store.split("d", "own")
    assert (paper.source, paper.leaks, paper.group, paper.params) == ("published", "one slide", None, {"order": 0})
    assert (own.leaks, own.group, own.folds()[0].test) == (None, "slide", ["1"])
    assert own.params == {"order": 1, "notes": ["drawn by hand"]}


def test_content_moves_with_the_reader_but_not_with_labels(store: FeatureStore, one_image: Path) -> None:
    class Inverted(Cells):
        def read(self, sample: Sample) -> Any:
            return 255 - super().read(sample)

    histokit.ingest(store, Cells(one_image, rows=[{}]), name="d")
    plain = digests(store)
    histokit.ingest(store, Cells(one_image, rows=[{"label": "other", "metadata": {"slide": "t", "size": 9}}]), name="d")
    assert digests(store) == plain
    histokit.ingest(store, Cells(one_image, rows=[{"box": (0, 0, 4, 4)}]), name="d")
    boxed = digests(store)
    histokit.ingest(store, Inverted(one_image, rows=[{}]), name="d")
    assert len({plain["0"], boxed["0"], digests(store)["0"]}) == 3


def test_images_that_the_plugin_of_the_name_would_read_otherwise_are_refused(store: FeatureStore, images: Path) -> None:
    class Inverted(Folder):
        def read(self, sample: Sample) -> Any:
            return 255 - super().read(sample)

    class Deep(Folder):
        channels = ("r", "g", "b")

    class Fewer(Folder):
        def samples(self) -> Iterator[Sample]:
            return islice(super().samples(), 1)

    told = Folder(images, **OPTIONS)
    told.bits = 12
    for dataset, what in (
        (Inverted(images, **OPTIONS), "read()"),
        (Deep(images, **OPTIONS), "channels"),
        (told, "bits"),
    ):
        message = (
            f"The images of this {type(dataset).__name__!r} would be read by the dataset plugin 'folder', which has"
        )
        with pytest.raises(PluginError, match=re.escape(f"{message} another {what}.")):
            histokit.ingest(store, dataset, name="d")
    assert histokit.ingest(store, Fewer(images, **OPTIONS), name="d").count == 1
    told.bits, told.channels = None, list(told.channels)
    assert histokit.ingest(store, told, name="d").count > 1


def test_a_dataset_whose_file_was_loaded_twice_is_read_by_the_same_lines(
    store: FeatureStore, images: Path, tmp_path: Path
) -> None:
    (tmp_path / "lab.py").write_text(
        "from histokit.datasets.folder import Folder\n"
        "class Mine(Folder):\n"
        '    """Images of a lab."""\n'
        '    name = "lab"\n'
        "    def read(self, sample):\n"
        "        return super().read(sample)\n"
    )
    first, again = (runpy.run_path(str(tmp_path / "lab.py"))["Mine"] for _ in range(2))
    with added_plugin(Plugin(first), "labplugin"):
        assert histokit.ingest(store, again(images, **OPTIONS), name="d").count > 1
        (tmp_path / "lab.py").write_text((tmp_path / "lab.py").read_text().replace("return ", "return 255 - "))
        with pytest.raises(PluginError, match=re.escape("another read().")):
            histokit.ingest(store, runpy.run_path(str(tmp_path / "lab.py"))["Mine"](images, **OPTIONS), name="d")


def test_a_dataset_ingested_again_loses_no_splits(store: FeatureStore, images: Path) -> None:
    record = histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    store.save_split(histokit.make_split(store.samples("d"), record, "mine", folds=2))
    histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    assert [s.name for s in store.splits("d")] == ["mine"]


def test_digests_of_another_folder_are_not_taken_over(store: FeatureStore, images: Path, tmp_path: Path) -> None:
    histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    before = digests(store)
    other = tmp_path / "other"
    shutil.copytree(images, other)
    image = other / "p1" / "dark" / "0.png"
    status = image.stat()
    image.write_bytes(image.read_bytes()[:-1] + b"x")
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))
    histokit.ingest(store, "folder", other, name="d", options=OPTIONS)
    assert {i for i, d in digests(store).items() if d != before[i]} == {"p1/dark/0.png"}


@pytest.mark.parametrize("mpp", [0.0, -0.5, float("nan"), float("inf")])
def test_an_impossible_scale_is_named(store: FeatureStore, one_image: Path, mpp: float) -> None:
    with pytest.raises(DataError, match="micrometres per pixel"):
        histokit.ingest(store, Cells(one_image, rows=[{"mpp": mpp}]), name="d")


def test_a_folder_whose_name_is_no_text_is_refused_before_anything_is_written(
    store: FeatureStore, one_image: Path
) -> None:
    strange = os.fsdecode(os.fsencode(one_image.parent) + b"/Pr\xe4parate")
    try:
        os.rename(one_image, strange)
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    with pytest.raises(DataError, match=r"Pr\\\\xe4parate' is not valid UTF-8"):
        histokit.ingest(store, "folder", strange, name="d", options={"pattern": "*.png", "group": "none"})
    assert not store.uri.exists()


def test_a_folder_that_cannot_be_reached_is_named(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = os.stat

    def closed(path: Any, **options: Any) -> os.stat_result:
        if str(path).endswith("inside"):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", closed)
    with pytest.raises(DataError, match="inside' cannot be reached, for want of permission"):
        histokit.ingest(store, "folder", tmp_path / "inside", name="d", options={"pattern": "*.png", "group": "none"})
