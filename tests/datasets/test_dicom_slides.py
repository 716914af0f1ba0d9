"""Slides in DICOM: one for each series, whatever its files are called."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_slides import draw, halved, write_aperio, write_dicom, write_dicom_level
from pydicom import dcmread

import histokit
from histokit.datasets.whole_slides.digests import slide_digest
from histokit.datasets.whole_slides.opened import OpenSlides
from histokit.datasets.whole_slides.slides import Slides
from histokit.errors import DataError, UsageError
from histokit.plugin.testing import check_dataset

PIXELS = draw(256, 256, (128, 128, 128, 128))
TISSUE = [(x, y) for y in (128, 192) for x in (128, 192)]


def read(root: Path, **options: object) -> tuple[list[Any], Slides]:
    dataset = Slides.from_options(root, {name: str(value) for name, value in {"size": 64, **options}.items()})
    return list(dataset.samples()), dataset


def series(root: Path, folder: str, number: int, pixels: np.ndarray = PIXELS) -> Path:
    """Write a slide whose label, and whose lower levels, come before its first level by name."""
    path = write_dicom(root / folder / "z.dcm", pixels, 0.5, levels=2, series=f"1.2.3.{number}")
    path.with_stem("z-1").rename(path.with_stem("a"))
    write_dicom_level(
        path.with_stem("b"), np.zeros((500, 500, 3), np.uint8), 0.5, series=f"1.2.3.{number}", kind="LABEL"
    )
    return path


def test_a_series_is_one_slide_which_is_called_as_its_folder(tmp_path: Path) -> None:
    series(tmp_path, "p1/SM_1", 1)
    series(tmp_path, "p2/SM_2", 2)
    samples, dataset = read(tmp_path, pattern="{patient}/**", group="patient", min_tissue=0.95)
    assert [(s.image, s.box[:2]) for s in samples] == [
        ((f"p{n}/SM_{n}/z.dcm",), place) for n in (1, 2) for place in TISSUE
    ]
    assert samples[0].id == "p1/SM_1/z.dcm#xywh=128,128,64,64"
    assert {(s.metadata["slide"], s.metadata["patient"]) for s in samples} == {("p1/SM_1", "p1"), ("p2/SM_2", "p2")}
    assert dataset.warnings == []
    for sample in samples:
        x, y, *_ = sample.box
        np.testing.assert_array_equal(dataset.read(sample), PIXELS[y : y + 64, x : x + 64])
    (coarse,), dataset = read(tmp_path / "p1", mpp=1)
    assert coarse.box == (128, 128, 128, 128)
    np.testing.assert_array_equal(dataset.read(coarse), halved(PIXELS)[64:, 64:])


def test_a_series_that_lies_in_two_folders_is_two_slides(tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        series(tmp_path, f"{patient}/SM", 1)
    samples, _ = read(tmp_path, pattern="{patient}/**", min_tissue=0.95)
    assert [(s.image, s.box[:2]) for s in samples] == [((f"p{n}/SM/z.dcm",), place) for n in (1, 2) for place in TISSUE]


def test_another_series_in_its_folder_makes_no_other_slide(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "1.dcm", PIXELS, 0.5, levels=2, series="1.2.3.1")
    before = slide_digest(path)
    write_dicom(tmp_path / "2.dcm", PIXELS, 0.5, series="1.2.3.2")
    assert slide_digest(path) == before
    write_dicom_level(tmp_path / "3.dcm", PIXELS, 0.5, series="1.2.3.1", kind="LABEL")
    assert slide_digest(path) != before


def test_several_series_in_a_folder_are_called_as_their_files(tmp_path: Path) -> None:
    for number in (1, 2):
        write_dicom(tmp_path / "export" / f"{number}.dcm", PIXELS, 0.5, series=f"1.2.3.{number}")
    write_aperio(tmp_path / "scan.svs", PIXELS)
    samples, _ = read(tmp_path, min_tissue=0.95)
    assert sorted({s.metadata["slide"] for s in samples}) == ["export/1", "export/2", "scan"]
    assert len(samples) == 3 * len(TISSUE)


@pytest.mark.parametrize("key", ["SM_{0}", "p{0}/SM_{0}", "1.2.3.{0}", "p{0}/SM_{0}/z.dcm"])
def test_a_table_names_a_slide_by_its_folder_or_its_series(tmp_path: Path, key: str) -> None:
    for number, shade in ((1, 0), (2, 1)):
        series(tmp_path, f"p{number}/SM_{number}", number, PIXELS + np.uint8(shade))
    rows = "".join(f"{key.format(number)},{label}\n" for number, label in ((1, "normal"), (2, "tumour")))
    (tmp_path / "labels.csv").write_text(f"SeriesInstanceUID,label\n{rows}")
    samples, dataset = read(tmp_path, labels="labels.csv", on="SeriesInstanceUID")
    assert {(s.metadata["slide"], s.label) for s in samples} == {("p1/SM_1", "normal"), ("p2/SM_2", "tumour")}
    assert dataset.warnings == []


def test_what_is_no_slide_is_told_and_left_out(tmp_path: Path) -> None:
    other = dcmread(series(tmp_path, "ct", 7))
    shutil.rmtree(tmp_path / "ct")
    # Computed tomography.
    other.SOPClassUID = other.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    other.save_as(tmp_path / "1.dcm")
    (tmp_path / "2.dcm").write_bytes(b"x" * 200)
    told = "DICOM: 2 files are not of a slide, or damaged, for example '1.dcm'"
    with pytest.raises(DataError, match=rf"holds no slide \(2 other files\)\. {told}\."):
        read(tmp_path)
    series(tmp_path, "s", 1)
    samples, dataset = read(tmp_path)
    assert {s.image for s in samples} == {("s/z.dcm",)}
    assert dataset.warnings == [told]


@pytest.fixture
def alarm() -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError("it waits for a pipe, or reads a device")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("alarm")
@pytest.mark.parametrize("name", ["y.dcm", "notes", "notes.txt"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_slides_that_lie_beside_a_pipe_are_put_aside(tmp_path: Path, name: str, kind: str) -> None:
    """OpenSlide opens all that lies in their folder, and would wait for it."""
    series(tmp_path, "s1", 1)
    series(tmp_path, "s2", 2)
    whole = {sample.id for sample in read(tmp_path)[0] if sample.image[0].startswith("s2/")}
    odd = tmp_path / "s1" / name
    if kind == "pipe":
        os.mkfifo(odd)
    else:
        odd.symlink_to("/dev/zero")
    samples, dataset = read(tmp_path)
    assert {sample.id for sample in samples if not sample.id.startswith("s1")} == whole
    told = [text for text in dataset.warnings if f"{name!r}, which is opened with it, is a {kind}, no file" in text]
    assert len(told) == 1
    assert "z.dcm cannot be opened" in told[0]


@pytest.mark.usefixtures("alarm")
def test_a_pipe_that_came_later_is_told_when_a_tile_is_read(tmp_path: Path) -> None:
    series(tmp_path, "s", 1)
    (sample, *_), _ = read(tmp_path)
    os.mkfifo(tmp_path / "s" / "pipe")
    with pytest.raises(DataError, match="'pipe', which is opened with it, is a pipe"):
        read(tmp_path)[1].read(sample)
    slide_digest(tmp_path / "s" / "z.dcm")


@pytest.mark.usefixtures("alarm")
@pytest.mark.parametrize(("suffix", "beside"), [(".mrxs", "a/Data0000.dat"), (".vms", "b.jpg")])
def test_formats_of_several_files(tmp_path: Path, suffix: str, beside: str) -> None:
    (slide := tmp_path / f"a{suffix}").write_text("ImageFile = b.jpg\n")
    (tmp_path / "a").mkdir()
    os.mkfifo(tmp_path / beside)
    with pytest.raises(DataError, match=f"{Path(beside).name}', which is opened with it, is a pipe"):
        OpenSlides().open(slide)


def test_a_series_of_a_label_alone_gives_no_tile(tmp_path: Path) -> None:
    write_dicom_level(tmp_path / "a" / "1.dcm", PIXELS, 0.5, series="1.2.3", kind="LABEL")
    series(tmp_path, "b", 1)
    samples, dataset = read(tmp_path)
    assert {s.image for s in samples} == {("b/z.dcm",)}
    (warning,) = dataset.warnings
    assert warning.startswith("The slide a/1.dcm gives no tile: 1.dcm cannot be opened: ")


def test_vectors_are_made_anew_where_another_level_changed(tmp_path: Path) -> None:
    path, store = series(tmp_path / "slides", "s", 1), histokit.open_store(tmp_path / "store")

    def computed(pixels: np.ndarray | None) -> tuple[int, int]:
        if pixels is not None:
            write_dicom_level(path.with_stem("a"), pixels, 1, series="1.2.3.1")
        histokit.ingest(store, "slides", tmp_path / "slides", name="s", options={"size": "64", "mpp": "1"})
        (table, *_) = histokit.extract(store, "s", "texture", layers="stain").tables
        return table["computed"], table["cached"]

    assert computed(None) == (1, 0)
    assert computed(None) == (0, 1)
    assert computed(halved(PIXELS) // 2 + 64) == (1, 0)


def test_a_level_counts_though_its_name_says_nothing_of_dicom(tmp_path: Path) -> None:
    # As archives export them; OpenSlide finds it, and boxes are in its pixels.
    path, store = series(tmp_path / "slides", "s", 1), histokit.open_store(tmp_path / "store")
    finest = path.rename(path.with_suffix(""))

    def computed() -> tuple[int, int]:
        histokit.ingest(store, "slides", tmp_path / "slides", name="s", options={"size": "64", "min_tissue": "0.95"})
        (table, *_) = histokit.extract(store, "s", "texture", layers="stain").tables
        return table["computed"], table["cached"]

    assert computed() == (4, 0)
    write_dicom_level(finest, PIXELS + np.uint8(1), 0.5, series="1.2.3.1")
    assert computed() == (4, 0)


def test_a_series_is_one_slide_whatever_suffix_a_pattern_names(tmp_path: Path) -> None:
    for file in series(tmp_path, "s", 1).parent.iterdir():
        file.rename(file.with_suffix(".ima"))
    (tmp_path / "s" / "notes.ima").write_bytes(b"x" * 200)
    samples, dataset = read(tmp_path, pattern="{patient}/*.ima", min_tissue=0.95)
    assert [(s.image, s.box[:2]) for s in samples] == [(("s/z.ima",), place) for place in TISSUE]
    (warning,) = dataset.warnings
    assert warning.startswith("The slide s/notes.ima gives no tile: notes.ima cannot be opened: ")


def test_a_series_in_several_folders_is_told(tmp_path: Path) -> None:
    path = series(tmp_path, "1", 1)
    (tmp_path / "2").mkdir()
    path.with_stem("a").rename(tmp_path / "2" / "a.dcm")
    series(tmp_path, "3", 3)
    _, dataset = read(tmp_path, mpp=1)
    assert dataset.warnings == [
        "DICOM: 1 series lies in several folders, each of which is taken for a slide, for example 1/z.dcm, 2/a.dcm: "
        "where these are parts or copies of one slide, leave one folder with all of its files"
    ]


def test_a_folder_is_listed_anew_only_where_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        write_dicom(tmp_path / f"{number}.dcm", PIXELS, 0.5, levels=2, series=f"1.2.3.{number}")
    dataset, listed = Slides.from_options(tmp_path, {}), []
    plain = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: listed.append(path) or plain(path))
    for number in (0, 1, 2, 0, 1, 2):
        assert dataset.files_beside(tmp_path / f"{number}.dcm") == [tmp_path / f"{number}-1.dcm"]
    assert listed == [tmp_path]
    write_dicom_level(tmp_path / "more.dcm", PIXELS, 0.5, series="1.2.3.1", kind="LABEL")
    os.utime(tmp_path, ns=(0, 0))
    assert dataset.files_beside(tmp_path / "1.dcm") == [tmp_path / "1-1.dcm", tmp_path / "more.dcm"]
    # Written in place, which changes no folder.
    write_dicom_level(tmp_path / "more.dcm", PIXELS, 0.5, series="1.2.3.2222", kind="LABEL")
    assert dataset.files_beside(tmp_path / "1.dcm") == [tmp_path / "1-1.dcm"]


def test_tiles_that_a_file_cut_short_lacks_are_put_aside(tmp_path: Path) -> None:
    path, store = series(tmp_path / "slides", "s", 1), histokit.open_store(tmp_path / "store")
    whole = path.read_bytes()
    # Of 4 × 4 tiles, the last five are gone, and the end of the one before.
    path.write_bytes(whole[: -5 * 64 * 64 * 3 - 10])
    histokit.ingest(store, "slides", tmp_path / "slides", name="s", options={"size": "64", "tissue": "none"})
    extraction = histokit.extract(store, "s", "texture", layers="stain")
    (table, *_) = extraction.tables
    assert (table["computed"], table["unusable"]) == (10, 6)


def test_a_tile_is_read_although_another_of_the_slide_turned_out_damaged_meanwhile(tmp_path: Path) -> None:
    path = series(tmp_path, "s", 1)
    path.write_bytes(path.read_bytes()[: -64 * 64 * 3])
    samples, dataset = read(tmp_path, tissue="none")
    # As another thread does which has the same slide open: after that OpenSlide reads no other part of it.
    with pytest.raises(DataError, match=r"z\.dcm cannot be read at"):
        dataset._opener.get(path).tile(samples[-1].box, 64)
    for _ in range(2):
        np.testing.assert_array_equal(dataset.read(samples[0]), PIXELS[:64, :64])
    with pytest.raises(DataError, match=r"z\.dcm cannot be read at"):
        dataset.read(samples[-1])


def test_contract(tmp_path: Path) -> None:
    for number in (1, 2):
        series(tmp_path, f"s{number}", number, PIXELS + np.uint8(number))
    check_dataset(Slides, tmp_path, size=48, mpp=0.6)


def test_the_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series(tmp_path, "s", 1, PIXELS + np.uint8(3))
    monkeypatch.setitem(sys.modules, "pydicom.filereader", None)
    with pytest.raises(UsageError, match=r"(?s)DICOM slides need the package pydicom.*'histokit\[slides\]'"):
        read(tmp_path)
