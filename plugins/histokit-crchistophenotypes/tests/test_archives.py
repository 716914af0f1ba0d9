"""The data in the archive as it was downloaded, and the centres for the detection."""

from __future__ import annotations

import json
import pickle
import re
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np
import pytest
from histokit_crchistophenotypes.dataset import CRCHistoPhenotypes
from histokit_crchistophenotypes.files import Archive
from PIL import Image
from scipy.io import savemat

import histokit
from histokit import cli
from histokit.ingest.ingest import ingested_as
from histokit.plugin import DataError, UsageError
from histokit.plugin.testing import check_dataset

TOP = "CRCHistoPhenotypes_2016_04_28"
SIDE = 60


def bmp(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file := BytesIO(), "BMP")
    return file.getvalue()


def mat(centres: list) -> bytes:
    empty = np.zeros((0, 2), dtype=np.uint8)
    savemat(file := BytesIO(), {"detection": np.array(centres, dtype=float) if centres else empty})
    return file.getvalue()


def published(images: int = 6) -> dict[str, bytes]:
    """The files of a small copy by name; every image holds nuclei of three classes and one that has none."""
    files = {}
    for n in range(1, images + 1):
        centres = {
            "epithelial": [[3.2, 4.7 + n], [30.0, 30.5]],
            "fibroblast": [],
            "inflammatory": [[50.5, 9.0], [np.nan, np.nan]],
            "others": [[3.2, 4.7 + n]],
        }
        every = [*centres["epithelial"], centres["inflammatory"][0], [58.0, 58.0]]
        for folder in ("Classification", "Detection"):
            files[f"{folder}/img{n}/img{n}.bmp"] = bmp(n)
        for kind, values in centres.items():
            files[f"Classification/img{n}/img{n}_{kind}.mat"] = mat(values)
        files[f"Detection/img{n}/img{n}_detection.mat"] = mat(every)
    return files


def zipped(files: dict[str, bytes], method: int = ZIP_DEFLATED) -> bytes:
    with ZipFile(file := BytesIO(), "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def under(files: dict[str, bytes], folder: str) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if name.startswith(folder)}


def unpack(files: dict[str, bytes], root: Path) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def by_image(files: dict[str, bytes], kind: str) -> dict[str, dict[str, bytes]]:
    """The files of each image, in a folder of its name."""
    images: dict[str, dict[str, bytes]] = {}
    for name, content in under(files, kind).items():
        images.setdefault(name.split("/")[1], {})[name.partition("/")[2]] = content
    return images


def archives(files: dict[str, bytes]) -> dict[str, bytes]:
    """The ways in which an archive may hold archives and folders."""
    inner = {kind: zipped(under(files, kind)) for kind in ("Classification", "Detection")}
    short = {kind: {n.partition("/")[2]: c for n, c in under(files, kind).items()} for kind in inner}
    return {
        "folders": zipped({f"{TOP}/{name}": content for name, content in files.items()}),
        "archives": zipped({f"{TOP}/{kind}.zip": content for kind, content in inner.items()}),
        "stored": zipped({f"{kind}.zip": content for kind, content in inner.items()}, ZIP_STORED),
        "without folder": zipped({f"{TOP}/{kind}.zip": zipped(members) for kind, members in short.items()}),
        "an archive for each image": zipped(
            {
                f"{kind}.zip": zipped({f"{kind}/{n}.zip": zipped(m) for n, m in by_image(files, kind).items()})
                for kind in inner
            }
        ),
        "an archive for each image, without folders": zipped(
            {
                f"{TOP}/{kind}/{image}.zip": zipped({name.rpartition("/")[2]: c for name, c in members.items()})
                for kind in inner
                for image, members in by_image(files, kind).items()
            }
        ),
        "macOS": zipped(
            {
                "__MACOSX/Classification/img1/._img1.bmp": b"?",
                "__MACOSX/Classification/img1/img1_others.mat": b"?",
                "Readme.pdf": b"%PDF",
                **{f"{TOP}.zip": zipped(files)},
            }
        ),
    }


@pytest.mark.parametrize("kind", list(archives({})))
@pytest.mark.parametrize("detection", [False, True])
def test_an_archive_gives_what_the_folder_gives(tmp_path, kind, detection):
    files = published(2)
    folder = CRCHistoPhenotypes(unpack(files, tmp_path / TOP), size=8, detection=detection)
    path = tmp_path / "downloaded.zip"
    path.write_bytes(archives(files)[kind])
    archive = CRCHistoPhenotypes(path, size=8, detection=detection)
    here, there = list(folder.samples()), list(archive.samples())
    assert len(here) == (8 if detection else 6)
    assert [(s.id, s.box, s.label, s.metadata) for s in here] == [(s.id, s.box, s.label, s.metadata) for s in there]
    assert {s.image for s in there} == {("downloaded.zip",)}
    for one, other in zip(here, there, strict=True):
        assert np.array_equal(folder.read(one), archive.read(other))
    short = [[re.sub(r"^\S*/(?=img)", "", text) for text in dataset.warnings] for dataset in (folder, archive)]
    assert len(short[0]) == (0 if detection else 2)
    assert short[0] == short[1]


@pytest.mark.parametrize("border", ["reflect", "shift", "drop"])
def test_contract(tmp_path, border):
    path = tmp_path / f"{TOP}.zip"
    path.write_bytes(archives(published())["archives"])
    check_dataset(CRCHistoPhenotypes, path, size="8", border=border)
    check_dataset(CRCHistoPhenotypes, tmp_path, size="8", border=border, others="true")
    check_dataset(CRCHistoPhenotypes, path, size="8", border=border, detection="true")


def test_the_folder_with_the_archive_will_do(tmp_path):
    files = published(2)
    (tmp_path / f"{TOP}.zip").write_bytes(archives(files)["archives"])
    (tmp_path / "another.zip").write_bytes(zipped({"notes.txt": b"-"}))
    packed = list(CRCHistoPhenotypes(tmp_path).samples())
    assert packed[0].image == (f"{TOP}.zip",)
    assert packed[0].part == f"{TOP}/Classification.zip/Classification/img1/img1.bmp"
    # What is unpacked goes before what is not.
    unpack(files, tmp_path)
    assert [s.id for s in CRCHistoPhenotypes(tmp_path).samples()] == [s.id for s in packed]
    assert next(CRCHistoPhenotypes(tmp_path).samples()).image == ("Classification/img1/img1.bmp",)


def test_two_archives_of_the_data(tmp_path):
    for name in ("a.zip", "b.zip"):
        (tmp_path / name).write_bytes(archives(published(1))["folders"])
    with pytest.raises(DataError, match=r"more than once: img1 is in .*a\.zip/.*/img1 and .*b\.zip/.*/img1\."):
        next(CRCHistoPhenotypes(tmp_path).samples())
    for name in ("a.zip", "b.zip", "c.zip", "d.zip"):
        (tmp_path / name).write_bytes(archives(published(3))["an archive for each image"])
    with pytest.raises(DataError, match=r"img1 is in .*a\.zip.*b\.zip.*c\.zip\S* \(3 images in all\)\."):
        next(CRCHistoPhenotypes(tmp_path).samples())


def test_parts_of_the_data_in_several_archives(tmp_path):
    files = published(3)
    wanted = [(s.id, s.box) for s in CRCHistoPhenotypes(unpack(files, tmp_path / "unpacked")).samples()]
    for image, members in by_image(files, "Classification").items():
        (tmp_path / f"{image}.zip").write_bytes(zipped(members))
    dataset = CRCHistoPhenotypes(tmp_path)
    samples = list(dataset.samples())
    assert [(s.id, s.box) for s in samples] == wanted
    assert [s.image[0] for s in samples[::3]] == ["img1.zip", "img2.zip", "img3.zip"]
    assert dataset.read(samples[-1]).shape == (32, 32, 3)


@pytest.mark.parametrize("folders", [True, False])
@pytest.mark.parametrize("above", [True, False])
def test_a_folder_of_an_archive_for_each_image(tmp_path, folders, above):
    files = published(3)
    wanted = [(s.id, s.box, s.label) for s in CRCHistoPhenotypes(unpack(files, tmp_path / "unpacked")).samples()]
    for image, members in by_image(files, "Classification").items():
        path = tmp_path / "data" / "Classification" / f"{image}.zip"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(zipped(members if folders else {name.rpartition("/")[2]: c for name, c in members.items()}))
    root = tmp_path / "data" if above else tmp_path / "data" / "Classification"
    dataset = CRCHistoPhenotypes(root)
    samples = list(dataset.samples())
    assert [(s.id, s.box, s.label) for s in samples] == wanted
    assert samples[0].image == (("Classification/" if above else "") + "img1.zip",)
    assert dataset.read(samples[0]).shape == (32, 32, 3)
    record = histokit.ingest(histokit.open_store(tmp_path / "store"), "crchistophenotypes", root, name="crc")
    assert (record.count, record.problems) == (len(wanted), 0)


def test_an_archive_of_one_image_that_lacks_its_centres(tmp_path):
    files = published(2)
    images = by_image({n: c for n, c in files.items() if "img2_" not in n}, "Classification")
    (path := tmp_path / "data.zip").write_bytes(zipped({f"C/{n}.zip": zipped(m) for n, m in images.items()}))
    dataset = CRCHistoPhenotypes(path)
    assert len(list(dataset.samples())) == 3
    told = "C/img2.zip/img2/img2_epithelial.mat and 2 more files do not exist; their nuclei are missing"
    assert told in dataset.warnings


def test_centres_have_no_label(tmp_path):
    dataset = CRCHistoPhenotypes(unpack(published(2), tmp_path), detection=True)
    samples = list(dataset.samples())
    assert [s.id for s in samples[:4]] == [f"img1/detection/{row}" for row in (1, 2, 3, 4)]
    assert {s.label for s in samples} == {None}
    assert dataset.splits() == {}
    assert dataset.expected == {"samples": 29_756, "image_id": 100}
    inner = CRCHistoPhenotypes(tmp_path / "Detection", detection=True)
    assert [s.id for s in inner.samples()] == [s.id for s in samples]


@pytest.mark.parametrize("packed", [False, True])
def test_centres_whose_images_are_those_of_the_labelled_nuclei(tmp_path, packed):
    files = published(2)
    whole = CRCHistoPhenotypes(unpack(files, tmp_path / "whole"), detection=True, size=8)
    lean = {name: content for name, content in files.items() if not name.startswith("Detection") or "mat" in name}
    root = tmp_path / "lean.zip"
    if packed:
        root.write_bytes(zipped(lean))
    else:
        unpack(lean, root := tmp_path / "lean")
    dataset = CRCHistoPhenotypes(root, detection=True, size=8)
    pairs = list(zip(whole.samples(), dataset.samples(), strict=True))
    assert len(pairs) == 8
    assert all((whole.read(one) == dataset.read(other)).all() for one, other in pairs)


def test_centres_are_of_no_class(tmp_path):
    with pytest.raises(UsageError, match="no class"):
        CRCHistoPhenotypes(tmp_path, detection=True, others=True)
    unpack(under(published(1), "Classification"), tmp_path)
    with pytest.raises(DataError, match="does not hold the centres for the detection") as caught:
        next(CRCHistoPhenotypes(tmp_path, detection=True).samples())
    assert "Detection" in caught.value.next


def contents(store: Path, archive: Path) -> dict[str, bytes]:
    histokit.ingest(store, "crchistophenotypes", archive, name="crc", options={"size": 8})
    rows = histokit.open_store(store).samples("crc", ["id", "content"]).to_pylist()
    return {row["id"]: row["content"] for row in rows}


def is_ingested(store: Path, archive: Path) -> bool:
    """Whether a study would take the dataset as it is in the store."""
    return ingested_as(histokit.open_store(store), "crc", CRCHistoPhenotypes(archive, size=8))


def test_what_changes_in_an_archive_is_one_image(tmp_path):
    files, path = published(3), tmp_path / "data.zip"
    path.write_bytes(zipped(files))
    before = contents(tmp_path / "store", path)
    # Packed anew, with other compression and one more file.
    path.write_bytes(zipped({"more.txt": b"-", **files}, ZIP_STORED))
    assert contents(tmp_path / "store", path) == before
    assert is_ingested(tmp_path / "store", path)
    path.write_bytes(zipped(files | {"Classification/img2/img2.bmp": bmp(99)}))
    assert not is_ingested(tmp_path / "store", path)
    after = contents(tmp_path / "store", path)
    assert {i.split("/")[0] for i in before if before[i] != after[i]} == {"img2"}


def test_an_archive_that_changes_after_ingestion_is_noticed(tmp_path):
    files, path = published(2), tmp_path / "data.zip"
    path.write_bytes(zipped(files))
    dataset = CRCHistoPhenotypes(path)
    first = next(dataset.samples())
    digest, pixels = dataset.file_digest(path), dataset.read(first)
    path.write_bytes(zipped(files, ZIP_STORED))
    assert dataset.file_digest(path) == digest
    path.write_bytes(zipped(files | {"Classification/img1/img1.bmp": bmp(99)}))
    assert dataset.file_digest(path) != digest
    assert not np.array_equal(dataset.read(first), pixels)


def test_what_was_ingested_from_a_folder_keeps_its_content(tmp_path):
    dataset = CRCHistoPhenotypes(unpack(published(1), tmp_path))
    assert {(dataset.pixel_key(s), dataset.part_digest(s)) for s in dataset.samples()} == {(b"", None)}


def test_an_image_is_opened_once(tmp_path, monkeypatch):
    (path := tmp_path / "data.zip").write_bytes(zipped(published(3)))
    dataset, read = CRCHistoPhenotypes(path), []
    samples = list(dataset.samples())
    before = Archive.read
    monkeypatch.setattr(Archive, "read", lambda self, name: read.append(name) or before(self, name))
    for sample in samples:
        dataset.read(sample)
    assert read == [f"Classification/img{n}/img{n}.bmp" for n in (1, 2, 3)]
    assert np.array_equal(pickle.loads(pickle.dumps(dataset)).read(samples[0]), dataset.read(samples[0]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no archive", "cannot be read"),
        (zipped(published(1))[:-2000], "cannot be read"),
        (
            zipped({"Classification.zip": b"no archive"}),
            r"cannot be read \(Classification.zip in it: File is not a zip",
        ),
        (
            zipped({"C.zip": zipped({"C/img1.zip": zipped(published(1))[:-900]}, ZIP_STORED)}, ZIP_STORED),
            r"cannot be read \(C.zip/C/img1.zip in it: File is not a zip",
        ),
        (zipped({"notes.txt": b"-"}), "does not hold the labelled nuclei"),
    ],
)
def test_a_damaged_archive(tmp_path, content, message):
    (path := tmp_path / "data.zip").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        next(CRCHistoPhenotypes(path).samples())
    assert str(path) in caught.value.message


def test_an_absent_archive(tmp_path):
    with pytest.raises(DataError, match=r"The archive .*data\.zip' does not exist"):
        next(CRCHistoPhenotypes(tmp_path / "data.zip").samples())


def test_an_image_that_an_archive_lacks(tmp_path):
    files = published(2)
    del files["Classification/img1/img1.bmp"]
    (path := tmp_path / "data.zip").write_bytes(zipped(files))
    assert [i for i, content in contents(tmp_path / "store", path).items() if content is None] == [
        f"img1/{row}" for row in ("epithelial/1", "epithelial/2", "inflammatory/1")
    ]
    dataset = CRCHistoPhenotypes(path)
    first, *_, last = dataset.samples()
    with pytest.raises(DataError, match=r"no member Classification/img1/img1\.bmp"):
        dataset.read(first)
    dataset.read(last)


def test_by_the_command_line_from_the_archive_to_the_labels_of_centres(tmp_path, capsys, monkeypatch):
    (path := tmp_path / f"{TOP}.zip").write_bytes(archives(published())["archives"])
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "store"))

    def run(*words: object) -> str:
        assert cli.run([str(word) for word in words]) == 0, capsys.readouterr().err
        return capsys.readouterr().out.strip()

    run("ingest", "crchistophenotypes", path, "--name", "crc", "-o", "size=16")
    run("ingest", "crchistophenotypes", path, "--name", "centres", "-o", "size=16", "-o", "detection=true")
    run("extract", "crc", "--backbone", "texture", "--workers", "2")
    trained = run("train", "crc", "--features", "texture/joined", "--classifier", "knn", "--grid", "k=1")
    assert json.loads(run("evaluate", trained, "--json"))
    assert "img6/detection/4" in run("predictions", run("predict", trained, "centres"))
