"""Files that change around an extraction: no pixels are ever kept under the content of others."""

from __future__ import annotations

import errno
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from tiny_plugin import TinyPlugin

import histokit
from histokit.datasets.arrays import Arrays
from histokit.datasets.folder import Folder
from histokit.errors import DataError, StoreError
from histokit.extract.samples import Samples
from histokit.features import FeatureStore
from histokit.plugin import Dataset, Sample
from histokit.reading import chunks
from histokit.store.database import Database
from histokit.store.removal import remove
from tests.extract.test_extract import OPTIONS, by_hand, counts, ingest

REASON = "p1/dark/0.png changed since the dataset was ingested: ingest it again"


def repaint(images: Path) -> None:
    """Replace the first image by a grey one."""
    Image.fromarray(np.full((16, 16, 3), 7, dtype=np.uint8)).save(images / "p1" / "dark" / "0.png")


def test_a_file_that_changed_since_ingestion_is_not_stored_under_its_old_content(
    store: FeatureStore, images: Path, tiny: TinyPlugin
) -> None:
    ingest(store, images)
    repaint(images)
    os.utime(images / "p2" / "dark" / "0.png", ns=(0, 0))
    extraction = histokit.extract(store, "d", "tiny", layers="last")
    assert [(p["id"], p["reason"]) for p in extraction.problems] == [("p1/dark/0.png", REASON)]
    ingest(store, images)
    assert counts(histokit.extract(store, "d", "tiny", layers="last")) == [(23, 0, 1, 0)]
    assert tiny.built == 2


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("mounted", ["as an empty folder", "not at all"])
def test_a_drive_that_is_away_makes_no_sample_bad(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch, mounted: str
) -> None:
    ingest(store, images)
    away = images.with_name("away")
    monkeypatch.setattr(chunks, "CHUNK", 4)

    def leave(done: int, total: int, *_: Any) -> None:
        if images.exists():
            images.rename(away)
            if mounted != "not at all":
                images.mkdir()

    # In the middle, and before.
    for progress in (leave, lambda *_: None):
        with pytest.raises(DataError, match=r"The root .* (is empty|cannot be reached: No such file)") as caught:
            histokit.extract(store, "d", "tiny", layers="last", batch_size=4, workers=0, progress=progress)
        again = "histokit ingest folder ROOT --name d -o 'pattern={patient}/{label}/*.png' -o group=patient"
        assert caught.value.next == f"Mount its drive, or ingest it from the ROOT where it is now: {again}"
    for look in (histokit.show, partial(histokit.train, features="images", classifier="et-fl", split="holdout")):
        with pytest.raises(DataError, match=r"The root .* (is empty|cannot be reached: No such file)"):
            look(store, "d")
    assert not store.problems("d").num_rows
    if images.exists():
        images.rmdir()
    away.rename(images)
    ((cached, _, computed, missing),) = counts(histokit.extract(store, "d", "tiny", layers="last"))
    assert (cached, computed, missing) == (4, 20, 0)


@pytest.mark.usefixtures("tiny")
def test_an_ingestion_that_is_cut_off_leaves_no_new_files_beside_old_samples(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(store, images)
    repaint(images)
    overwrite = Database.overwrite
    written: list[str] = []

    def cut_off(database: Database, name: str, rows: pa.Table) -> None:
        if written:
            raise StoreError("The disk is full.", next="Free some space.")
        written.append(name)
        overwrite(database, name, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Database, "overwrite", cut_off)
        with pytest.raises(StoreError, match="The disk is full"):
            ingest(store, images)
    assert len(written) == 1
    extraction = histokit.extract(store, "d", "tiny", layers="last")
    assert [(p["id"], p["reason"]) for p in extraction.problems] == [("p1/dark/0.png", REASON)]


@pytest.mark.usefixtures("tiny")
def test_an_ingestion_meanwhile_gives_no_old_content_new_pixels(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(store, images)
    locate = Samples.locate

    def slow(samples: Samples, ids: Any) -> Any:
        monkeypatch.setattr(Samples, "locate", locate)
        repaint(images)
        ingest(store, images)
        return locate(samples, ids)

    monkeypatch.setattr(Samples, "locate", slow)
    extraction = histokit.extract(store, "d", "tiny", layers="last")
    assert [(p["id"], p["reason"]) for p in extraction.problems] == [("p1/dark/0.png", REASON)]
    again = histokit.extract(store, "d", "tiny", layers="last")
    assert (counts(again), again.problems) == ([(23, 0, 1, 0)], ())


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("gone", [True, False])
def test_a_dataset_that_is_removed_or_another_one_meanwhile_is_told(
    store: FeatureStore, images: Path, tmp_path: Path, gone: bool
) -> None:
    folder = tmp_path / "two words"
    shutil.copytree(images, folder)
    histokit.ingest(store, "folder", folder, name="d", options=OPTIONS)
    done: list[bool] = []

    def meanwhile(*_: Any) -> None:
        if not done:
            done.append(True)
            if gone:
                remove(store, ["d"])
            else:
                shutil.rmtree(folder / "p1")
                histokit.ingest(store, "folder", folder, name="d", options=OPTIONS)

    how: dict[str, Any] = {"layers": "last", "batch_size": 4, "workers": 0}
    if not gone:
        told = "d was ingested again meanwhile, and is another one now: run the same command again"
        assert told in histokit.extract(store, "d", "tiny", **how, progress=meanwhile).notes
        assert told not in histokit.extract(store, "d", "tiny", **how).notes
        return
    with pytest.raises(StoreError, match="'d' was removed from the store while its features were") as caught:
        histokit.extract(store, "d", "tiny", **how, progress=meanwhile)
    assert f"Bring it back: histokit ingest folder '{folder}' --name d -o" in caught.value.next


@pytest.mark.usefixtures("tiny")
def test_of_equal_files_one_that_is_still_there_is_enough(store: FeatureStore, images: Path, tmp_path: Path) -> None:
    first, second = images / "p1" / "dark" / "0.png", images / "p3" / "bright" / "copy.png"
    shutil.copy(first, second)
    ingest(store, images)
    expected = histokit.open_store(tmp_path / "other")
    ingest(expected, images)
    histokit.extract(expected, "d", "tiny", layers="last")
    first.unlink()
    extraction = histokit.extract(store, "d", "tiny", layers="last")
    assert (counts(extraction), extraction.problems) == ([(0, 0, 25, 0)], ())
    assert np.array_equal(store.features("d", "tiny/last").X, expected.features("d", "tiny/last").X)
    second.unlink()
    gone = histokit.extract(store, "d", "tiny", layers="0")
    assert {p["id"] for p in gone.problems} == {"p1/dark/0.png", "p3/bright/copy.png"}


@pytest.mark.usefixtures("tiny")
def test_an_image_of_a_size_that_the_network_refuses_stops_no_other(store: FeatureStore, images: Path) -> None:
    for number, side in enumerate((3, 16, 20)):
        Image.new("RGB", (side, side), (number, 0, 0)).save(images / "p1" / "dark" / f"new{number}.png")
    ingest(store, images)
    extraction = histokit.extract(store, "d", "tiny", preprocess=["resize=none"])
    (problem,) = {(p["id"], p["reason"].partition(":")[0]) for p in extraction.problems}
    assert problem == ("p1/dark/new0.png", "tiny of tinyplugin 0 cannot run on 16 inputs of 3 × 3 × 3")
    assert counts(extraction) == [(0, 0, 26, 0)] * 3
    with pytest.raises(histokit.errors.UsageError, match="3 × 2 × 2"):
        histokit.extract(store, "d", "tiny", preprocess=["size=2"])


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("prefix", ["samples", "features"])
def test_a_table_that_lost_its_data_is_named(store: FeatureStore, images: Path, prefix: str) -> None:
    ingest(store, images)
    histokit.extract(store, "d", "tiny", layers="last")
    for file in store.uri.glob(f"{prefix}.*.lance/data/*"):
        file.unlink()
    with pytest.raises(StoreError, match=rf"The table '{prefix}\.d.* cannot be read") as caught:
        histokit.extract(store, "d", "tiny", layers="all")
    assert "store verify" in caught.value.next


def test_each_of_several_equal_files_is_named_itself(store: FeatureStore, images: Path, tiny: TinyPlugin) -> None:
    equal = [images / patient / "dark" / "equal.png" for patient in ("p1", "p2", "p3")]
    for path in equal:
        path.write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    ingest(store, images)
    histokit.extract(store, "d", "tiny", layers="last")
    reasons = {row["id"]: row["reason"] for row in store.problems("d").to_pylist()}
    assert len(reasons) == 3
    for sample_id, reason in reasons.items():
        assert str(images / sample_id) in reason, "its own path"


def flat(path: Path, grey: int) -> None:
    """Draw an image whose file has one size whatever it shows."""
    Image.fromarray(np.full((16, 16, 3), grey, dtype=np.uint8)).save(path, compress_level=0)


def swap(path: Path, other: Path, how: str) -> None:
    """Put other bytes in the place of a file, with its size and time."""
    status = path.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    if how == "written":
        path.write_bytes(other.read_bytes())
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif how == "moved":
        os.replace(other, path)
    else:
        os.rename(path.parent, other.parent.with_name("away"))
        os.rename(other.parent, path.parent)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(("how", "workers"), [("written", 0), ("moved", 1), ("folders", 0)])
def test_another_file_of_the_same_size_and_time_is_found_out(
    store: FeatureStore, tmp_path: Path, how: str, workers: int
) -> None:
    root = tmp_path / "root"
    for folder, grey in (("a", 10), ("b", 20)):
        (root / folder).mkdir(parents=True)
        flat(root / folder / "0.png", grey)
    other = tmp_path / "elsewhere" / "0.png"
    other.parent.mkdir()
    flat(other, 200)
    histokit.ingest(store, "folder", root, name="d")
    before = (root / "a" / "0.png").read_bytes()
    swap(root / "a" / "0.png", other, how)
    extraction = histokit.extract(store, "d", "tiny", layers="last", workers=workers)
    assert [p["reason"].partition(":")[0] for p in extraction.problems] == [
        "a/0.png changed since the dataset was ingested"
    ]
    (root / "a" / "0.png").write_bytes(before)
    histokit.ingest(store, "folder", root, name="d")
    assert counts(histokit.extract(store, "d", "tiny", layers="last", workers=workers)) == [(1, 0, 1, 0)]
    fresh = histokit.open_store(tmp_path / "fresh")
    histokit.ingest(fresh, "folder", root, name="d")
    histokit.extract(fresh, "d", "tiny", layers="last")
    np.testing.assert_array_equal(store.features("d", "tiny/last").X, fresh.features("d", "tiny/last").X)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("workers", [0, 1])
def test_files_that_were_only_touched_are_looked_at_once(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    ingest(store, images)
    first, second = images / "p1" / "dark" / "0.png", images / "p1" / "dark" / "1.png"
    first.chmod(0o600)
    shutil.copy2(second, images / "copy")
    os.replace(images / "copy", second)
    looked: list[str] = []
    digest = Dataset.file_digest
    monkeypatch.setattr(Dataset, "file_digest", lambda self, path: (looked.append(path.name), digest(self, path))[1])
    extraction = histokit.extract(store, "d", "tiny", layers="last", workers=workers)
    assert (counts(extraction), extraction.problems) == ([(0, 0, 24, 0)], ())
    assert sorted(looked) == ["0.png", "1.png"]


@pytest.mark.usefixtures("tiny")
def test_a_store_of_before_knows_files_by_size_and_time(store: FeatureStore, images: Path) -> None:
    ingest(store, images)
    known = store.files("d").drop_columns(["inode_ctime"])
    store.save_dataset(store.dataset("d"), store.samples("d"), known)
    (images / "p1" / "dark" / "0.png").chmod(0o600)
    repaint(images)
    extraction = histokit.extract(store, "d", "tiny", layers="last")
    assert [p["reason"] for p in extraction.problems] == [REASON]
    told: list[str] = []
    histokit.ingest(
        store, "folder", images, name="d", options=OPTIONS, progress=lambda *done: told.append(str(done[-1]))
    )
    assert told == ["samples, 1 file read"]
    assert all(number > 0 for number in store.files("d").column("inode_ctime").to_pylist())


@pytest.mark.usefixtures("tiny")
def test_vectors_are_computed_anew_where_that_is_asked_for(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(store, images)
    with monkeypatch.context() as patch:
        # Vectors of other pixels, as a version made them that did not notice a file of the same size and time.
        read = Dataset.read
        patch.setattr(Dataset, "read", lambda self, sample: 255 - read(self, sample))
        histokit.extract(store, "d", "tiny", layers="last")
        histokit.ingest(store, "folder", images, name="twin", options=OPTIONS)
        assert counts(histokit.extract(store, "twin", "tiny", layers="last")) == [(0, 24, 0, 0)]
    wrong = store.features("d", "tiny/last").X
    assert counts(histokit.extract(store, "d", "tiny", layers="last")) == [(24, 0, 0, 0)]
    dry = histokit.extract(store, "d", "tiny", layers="last", force=True, dry_run=True)
    assert counts(dry) == [(0, 0, 0, 24)]
    np.testing.assert_array_equal(store.features("d", "tiny/last").X, wrong)
    assert counts(histokit.extract(store, "d", "tiny", layers="last", force=True)) == [(0, 0, 24, 0)]
    right = store.features("d", "tiny/last").X
    assert (right != wrong).any(axis=1).all()
    for row, sample_id in enumerate(store.features("d", "tiny/last").sample_ids[:2]):
        np.testing.assert_allclose(right[row], by_hand(images, sample_id)["3"], rtol=1e-4, atol=1e-5)


def spoil(file: Path, kind: int) -> None:
    """Put a part of its file, another file, a folder or a pipe in the place of an image."""
    if kind == 0:
        file.write_bytes(file.read_bytes()[:40])
    elif kind == 1:
        file.write_text("no image")
    else:
        file.unlink()
        file.mkdir() if kind == 2 else os.mkfifo(file)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("workers", [0, 2])
def test_files_that_were_spoilt_for_a_while_are_read_once_they_are_back(
    store: FeatureStore, images: Path, tmp_path: Path, workers: int
) -> None:
    ingest(store, images)
    shutil.copytree(images / "p1", tmp_path / "whole")
    files = sorted(images.glob("p1/*/*.png"))[:4]
    for kind, file in enumerate(files):
        spoil(file, kind)
    extraction = histokit.extract(store, "d", "tiny", layers="last", workers=workers)
    assert [problem["id"] for problem in extraction.problems] == [str(file.relative_to(images)) for file in files]
    for problem in extraction.problems:
        assert problem["reason"].startswith(
            f"{problem['id']} changed since the dataset was ingested: ingest it again. "
        )
    shutil.rmtree(images / "p1")
    shutil.copytree(tmp_path / "whole", images / "p1")
    ingest(store, images)
    assert not store.problems("d").num_rows
    again = histokit.extract(store, "d", "tiny", layers="last", workers=0)
    assert (counts(again), again.problems) == ([(20, 0, 4, 0)], ())


@pytest.mark.usefixtures("tiny")
def test_what_the_system_says_of_a_file_is_forgotten_by_the_next_ingestion(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(store, images)

    def read(self: Dataset, sample: Sample) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "read", read)
        problems = histokit.extract(store, "d", "tiny", layers="last", workers=0).problems
    assert {problem["reason"].partition("Too many")[0] for problem in problems} == {"OSError: [Errno 24] "}
    ingest(store, images)
    assert not store.problems("d").num_rows
    assert counts(histokit.extract(store, "d", "tiny", layers="last")) == [(0, 0, 24, 0)]


@pytest.mark.usefixtures("tiny")
def test_a_problem_goes_with_its_image(store: FeatureStore, images: Path) -> None:
    first, second = (images / "p1" / "dark" / f"{number}.png" for number in range(2))
    for file in (first, second):
        file.write_bytes(file.read_bytes()[:40] + file.name.encode())
    ingest(store, images)
    assert len(histokit.extract(store, "d", "tiny", layers="last").problems) == 2
    ingest(store, images)
    assert store.problems("d").num_rows == 2
    first.unlink()
    Image.fromarray(np.full((16, 16, 3), 9, dtype=np.uint8)).save(second)
    ingest(store, images)
    assert not store.problems("d").num_rows


@pytest.mark.usefixtures("tiny")
def test_containers_that_were_spoilt_or_replaced_for_a_while_are_read_once_they_are_back(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "arrays"
    root.mkdir()
    file, pixels = root / "a.npz", np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    np.savez(file, images=pixels, labels=np.arange(6) % 2)
    whole = file.read_bytes()
    np.savez(tmp_path / "b.npz", images=pixels[::-1], labels=np.arange(6) % 2)
    digested: list[Path] = []
    real = Arrays.file_digest

    def file_digest(self: Arrays, path: Path) -> bytes:
        digested.append(path)
        return real(self, path)

    monkeypatch.setattr(Arrays, "file_digest", file_digest)
    for spoilt, says in ((whole[: len(whole) // 2], "cannot be read"), ((tmp_path / "b.npz").read_bytes(), "")):
        histokit.ingest(store, "arrays", root, name="a")
        file.write_bytes(spoilt)
        digested.clear()
        problems = histokit.extract(store, "a", "tiny", layers="last", workers=0).problems
        assert len(problems) == 6
        for problem in problems:
            assert problem["reason"].startswith("a.npz changed since the dataset was ingested: ingest it again")
            assert says in problem["reason"]
        # Once, not for each of its images.
        assert len(digested) == 1
        file.write_bytes(whole)
        histokit.ingest(store, "arrays", root, name="a")
        assert not store.problems("a").num_rows
    assert counts(histokit.extract(store, "a", "tiny", layers="last")) == [(0, 0, 6, 0)]
