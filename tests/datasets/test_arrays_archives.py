from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

import histokit
from histokit.datasets import own_splits
from histokit.datasets.arrays import Arrays
from histokit.datasets.containers.web_dataset import WebDataset
from histokit.datasets.own_splits import role_of
from histokit.errors import DataError, UsageError
from histokit.plugin.testing import check_dataset
from tests.datasets.arrays_files import pixels
from tests.datasets.test_arrays_parquet import encoded, opened

IMAGES = pixels(6, 8, 8, 3)
PNG = [encoded(image) for image in IMAGES]


def zipped(file: Path, members: Mapping[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(file, "w", how) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file


def tarred(file: Path, members: Mapping[str, bytes], kind: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(file, "w", format=kind) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file


def paths(names: list[str]) -> dict[str, bytes]:
    return {
        **dict(zip(names, PNG, strict=False)),
        "README.txt": b"text",
        "__MACOSX/a/._1.png": b"x",
        "a/.hid.png": b"x",
    }


NAMES = [f"NCT/{part}/{label}/{part}_{label}.png" for part in ("train", "test") for label in ("ADI", "TUM", "STR")]


@pytest.mark.parametrize("packed", [zipped, tarred])
def test_folders_in_an_archive(tmp_path, packed):
    file = packed(tmp_path / f"NCT.{packed.__name__[:3]}", paths(NAMES))
    dataset, samples = opened(file)
    assert [sample.id for sample in samples] == [f"{file.name}/{name}" for name in NAMES]
    assert [sample.label for sample in samples] == ["ADI", "TUM", "STR"] * 2
    assert all((dataset.read(sample) == image).all() for sample, image in zip(samples, IMAGES, strict=True))
    assert [row.role for row in dataset.splits()["arrays"].rows] == ["train"] * 3 + ["test"] * 3
    assert dataset.warnings == []
    check_dataset(Arrays, file)


@pytest.mark.parametrize(("system", "found"), [(0, True), (3, False)])
def test_backslashes_of_windows_in_a_zip_are_slashes(tmp_path, system, found):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, data in {"set\\a\\": b"", "set\\a\\1.png": PNG[0], "set\\b\\1.png": PNG[1]}.items():
            info = zipfile.ZipInfo(name)
            info.create_system = system
            archive.writestr(info, data)
    if not found:
        # Elsewhere they are letters of a name.
        with pytest.raises(DataError, match="None of 2 images in the archive"):
            opened(tmp_path / "a.zip")
        return
    dataset, samples = opened(tmp_path / "a.zip")
    assert [(s.id, s.label) for s in samples] == [("a.zip/set/a/1.png", "a"), ("a.zip/set/b/1.png", "b")]
    assert (dataset.read(samples[1]) == IMAGES[1]).all()
    check_dataset(Arrays, tmp_path / "a.zip")


def test_a_pattern_names_the_parts_of_paths(tmp_path):
    names = [f"{split}/s{n}_{kind}.png" for split in ("training", "testing") for n in (1, 2) for kind in "a"]
    file = zipped(tmp_path / "a.zip", paths([*names, "deep/er/x.png"]))
    options = {"pattern": "{split}/{slide}_{label}.png", "group": "slide"}
    assert opened(file, pattern=options["pattern"])[0].warnings[-1] == (
        "No group is set, so folds may cut through a slide; -o group=slide prevents it"
    )
    dataset, samples = opened(file, **options)
    assert [(s.label, s.metadata) for s in samples[:2]] == [
        ("a", {"split": "training", "slide": "s1"}),
        ("a", {"split": "training", "slide": "s2"}),
    ]
    assert dataset.splits()["arrays"].leaks is not None
    unmatched, leaking = dataset.warnings
    assert unmatched == "Images in a.zip that do not match the pattern: 1, for example 'deep/er/x.png'"
    assert leaking.startswith("The split arrays of the data leaks")
    check_dataset(Arrays, file, **options)


def test_members_that_a_suffix_keeps_out_are_told_with_the_pattern_that_takes_them(tmp_path):
    file = zipped(tmp_path / "a.zip", paths(["s1/a/1.png", "s2/a/2.jpg"]))
    dataset, samples = opened(file, pattern="{slide}/{label}/*.png", group="slide")
    assert [sample.label for sample in samples] == ["a"]
    assert dataset.warnings == [
        "Images in a.zip that do not match the pattern: 1, for example 's2/a/2.jpg'; "
        "'{slide}/{label}/*.*' takes every suffix"
    ]


def test_labels_from_a_table(tmp_path):
    file = zipped(tmp_path / "a.zip", paths(["x/s1_1.png", "x/s1_2.png", "x/s2_1.png", "x/s3_1.png"]))
    (tmp_path / "t.csv").write_text("slide,kind,age\ns1,a,50\ns2,b,60\ns9,b,1\n")
    options = {"labels": "t.csv", "on": "slide", "label_column": "kind", "pattern": "x/{slide}_*.png", "group": "slide"}
    dataset, samples = opened(file, **options)
    assert [(s.label, s.metadata["age"]) for s in samples] == [("a", 50), ("a", 50), ("b", 60), (None, None)]
    assert dataset.warnings == [
        "1 row of the table of labels has no image, for example slide='s9'",
        "1 image has no label, for example 'a.zip/x/s3_1.png'",
    ]
    (tmp_path / "ages.csv").write_text("folder,slide,age\nx,s1,50\nx,s2,60\ny,s3,1\n")
    beside = {"labels": "ages.csv", "on": "folder,slide", "pattern": "{folder}/{slide}_{label}.png"}
    dataset, samples = opened(file, **beside)
    assert [(s.label, s.metadata["age"]) for s in samples] == [("1", 50), ("2", 50), ("1", 60), ("1", None)]
    assert "that of folder='x', slide='s3'" in "".join(dataset.warnings)
    with pytest.raises(UsageError, match="needs the field of the pattern") as told:
        opened(file, labels="t.csv")
    # What it says to type.
    (tmp_path / "names.csv").write_text("name,label\ns1_1,a\n")
    typed = dict(word.strip("'.").split("=", 1) for word in told.value.next.split(" -o ")[2:])
    _, samples = opened(file, labels="names.csv", **{name: text.strip("'") for name, text in typed.items()})
    assert [s.label for s in samples] == ["a", None, None, None]
    with pytest.raises(UsageError, match="needs a table of labels"):
        opened(file, on="slide", pattern="x/{slide}_*.png")


def test_archives_without_labels(tmp_path):
    file = zipped(tmp_path / "a.zip", paths(["1.png", "b/2.png"]))
    _, samples = opened(file, labels="none")
    assert [sample.label for sample in samples] == [None, None]
    file = zipped(tmp_path / "b.zip", paths(["1.png", "2.png"]))
    with pytest.raises(DataError, match=r"None of 2 images in the archive .*b.zip' matches [\s\S]*labels=none"):
        opened(file)
    with pytest.raises(DataError, match=r"b.zip' holds no image; it holds 'a.txt'"):
        opened(zipped(file, {"a.txt": b""}))


def shard(start: int, labels: list[str], form: str) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    for i, label in enumerate(labels, start):
        members[f"{i:05d}.png"] = PNG[i]
        if form == "cls":
            members[f"{i:05d}.cls"] = label.encode()
        if form == "json":
            record = {"__key__": f"{i:05d}", "label": int(label), "slide": f"s{i // 2}", "um": i / 2, "tags": ["x"]}
            members[f"{i:05d}.json"] = json.dumps(record).encode()
        if form == "txt":
            members[f"{i:05d}.txt"] = f"kind {label}\n".encode()
    return members


@pytest.mark.parametrize("form", ["cls", "json", "txt"])
def test_shards_of_web_dataset(tmp_path, form):
    tarred(tmp_path / "set-train-000000.tar", shard(0, ["0", "1"], form), tarfile.USTAR_FORMAT)
    tarred(tmp_path / "set-train-000001.tar", shard(2, ["1", "0"], form), tarfile.GNU_FORMAT)
    tarred(tmp_path / "set-test-000000.tar", shard(4, ["1", "0"], form))
    group = {"group": "slide"} if form == "json" else {}
    dataset, samples = opened(tmp_path, **group)
    assert [sample.id for sample in samples] == [
        *[f"set-test-000000.tar/0000{i}.png" for i in (4, 5)],
        *[f"set-train-00000{i // 2}.tar/0000{i}.png" for i in range(4)],
    ]
    labels = [f"kind {n}" if form == "txt" else n for n in ("1", "0", "0", "1", "1", "0")]
    assert [sample.label for sample in samples] == labels
    assert all((dataset.read(s) == IMAGES[int(s.part[:5])]).all() for s in samples)
    assert [row.role for row in dataset.splits()["arrays"].rows] == ["test"] * 2 + ["train"] * 4
    if form == "json":
        assert samples[3].metadata == {"slide": "s0", "um": 0.5}
        assert dataset.warnings == [
            "Fields of set-test-000000.tar were left out, for they hold lists or records, or their names are taken: "
            "tags; likewise of 2 more files, such as set-train-000000.tar"
        ]
    check_dataset(Arrays, tmp_path, **group)


@pytest.mark.parametrize("before", ["", "./"])
def test_what_macos_packs_beside_files_is_no_sample_of_web_dataset(tmp_path, before):
    members = {}
    for name, data in shard(0, ["0", "1"], "cls").items():
        members |= {f"{before}._{name}": b"\0\5\x16\7\0\2", f"{before}{name}": data}
    dataset, samples = opened(tarred(tmp_path / "a.tar", members))
    assert [(sample.id, sample.label) for sample in samples] == [
        (f"a.tar/{before}00000.png", "0"),
        (f"a.tar/{before}00001.png", "1"),
    ]
    assert dataset.warnings == []
    assert (dataset.read(samples[1]) == IMAGES[1]).all()
    # Nor does it make an archive one.
    hidden = {"a/1.png": PNG[0], "b/2.png": PNG[1], "._a.png": b"x", "._a.cls": b"x"}
    _, samples = opened(tarred(tmp_path / "b.tar", hidden))
    assert [sample.label for sample in samples] == ["a", "b"]


def test_endings_that_differ_in_case_alone_are_refused(tmp_path):
    file = tarred(tmp_path / "a.tar", {"0.jpg": PNG[0], "0.cls": b"1", "0.JPG": PNG[1]})
    with pytest.raises(DataError, match=r"holds '0.jpg' and '0.JPG', which are one file of a sample"):
        opened(file)


def test_names_fields_and_endings_of_web_dataset(tmp_path):
    members = {**shard(0, ["0", "1"], "json"), "00000.he.png": PNG[4], "00001.he.png": PNG[5]}
    file = tarred(tmp_path / "a.tar", members)
    dataset, samples = opened(file, names="normal,tumour", images="he.png")
    assert [(s.part, s.label) for s in samples] == [("00000.he.png", "normal"), ("00001.he.png", "tumour")]
    assert (dataset.read(samples[1]) == IMAGES[5]).all()
    _, samples = opened(file, labels="slide", images="png")
    assert [sample.label for sample in samples] == ["s0", "s0"]
    with pytest.raises(UsageError, match=r"no labels 'grade': there are 00000.png, .*with the fields __key__, label"):
        opened(file, labels="grade", images="png")
    members = {"a.jpg": PNG[0], "a.png": PNG[0], "a.cls": b"0"}
    with pytest.raises(UsageError, match=r"'a' .* has several images: a.jpg, a.png"):
        opened(tarred(file, members))
    members = {"a.png": PNG[0], "a.json": b'{"grade": 3}'}
    with pytest.raises(DataError, match=r"'a' .* has no label: there are a.png, a.json, with the fields grade"):
        opened(tarred(file, members))
    with pytest.raises(DataError, match=r"'a.json' .* is not JSON"):
        opened(tarred(file, {"a.png": PNG[0], "a.json": b'{"grade'}))
    members = {"a.png": PNG[0], "a.cls": b"0", "a.json": b'{"x": 3}', "b.png": PNG[1], "b.json": b'{"x": "3"}'}
    with pytest.raises(DataError, match=r"'x' .* is int and str"):
        opened(tarred(file, members))
    _, samples = opened(file, text="x")
    assert [(s.label, s.metadata["x"]) for s in samples] == [("0", "3"), (None, "3")]


def test_members_that_come_twice_are_refused(tmp_path):
    zipped(tmp_path / "a.zip", {"a/1.png": PNG[0]})
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a/1.png", PNG[0])
    with pytest.raises(DataError, match=r"a.zip' holds 2 files called 'a/1.png'"):
        opened(tmp_path / "a.zip")


def test_archives_that_are_not_whole(tmp_path):
    file = zipped(tmp_path / "a.zip", paths(NAMES))
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"a.zip' cannot be read as a zip archive"):
        opened(file)
    file = tarred(tmp_path / "a.tar", dict(zip(NAMES, PNG, strict=True)))
    data = file.read_bytes()
    file.write_bytes(data[: 5 * 1024 + 700])
    with pytest.raises(DataError, match=r"a.tar' cannot be read as a tar archive .*unexpected end of data"):
        opened(file)
    # Each member takes a block for its header and one for its content.
    file.write_bytes(data[: 4 * 1024])
    dataset, samples = opened(file)
    assert len(samples) == 4
    assert dataset.warnings == ["a.tar ends without the mark that ends tar archives: files may be missing"]
    (tmp_path / "b").mkdir()
    with tarfile.open(tmp_path / "b" / "a.tar.gz", "w:gz"):
        pass
    with pytest.raises(DataError, match=r"Unpack a.tar.gz first"):
        opened(tmp_path / "b")


def test_a_damaged_member_is_put_aside_and_the_rest_is_read(tmp_path):
    file = zipped(tmp_path / "a.zip", dict(zip(NAMES, PNG, strict=True)), zipfile.ZIP_STORED)
    data = bytearray(file.read_bytes())
    data[data.index(PNG[2]) + 40] ^= 255
    file.write_bytes(data)
    kit = histokit.open_store(tmp_path / "s")
    record = histokit.ingest(kit, "arrays", file, name="d")
    assert (record.count, record.problems) == (6, 1)
    (problem,) = kit.problems("d").to_pylist()
    assert problem["id"] == f"a.zip/{NAMES[2]}"
    assert "Bad CRC-32" in problem["reason"]


@pytest.mark.parametrize("packed", [zipped, tarred])
def test_a_changed_member_changes_one_content(tmp_path, packed):
    file = tmp_path / f"a.{packed.__name__[:3]}"
    kit = histokit.open_store(tmp_path / "s")

    def contents(members: Mapping[str, bytes]) -> dict[str, bytes]:
        histokit.ingest(kit, "arrays", packed(file, members), name="d")
        return {row["id"]: row["content"] for row in kit.samples("d", ["id", "content"]).to_pylist()}

    members = dict(zip(NAMES[:5], PNG, strict=False))
    before = contents(members)
    after = contents({"NCT/test/TUM/new.png": PNG[5], **members, NAMES[3]: PNG[5]})
    assert [name for name in before if before[name] != after[name]] == [f"{file.name}/{NAMES[3]}"]
    assert len(after) == 6


def test_the_one_image_of_a_sample_may_have_a_name_of_several_endings(tmp_path):
    file = tarred(tmp_path / "a.tar", {"0.left.png": PNG[0], "0.cls": b"1", "1.left.png": PNG[1], "1.cls": b"2"})
    _, samples = opened(file)
    assert [(sample.part, sample.label) for sample in samples] == [("0.left.png", "1"), ("1.left.png", "2")]
    with pytest.raises(DataError, match=r"holds '1.5um_0.png': WebDataset takes .*here '1', for the sample"):
        opened(tarred(file, {"1.5um_0.png": PNG[0], "1.5um_0.cls": b"1"}))


@pytest.mark.parametrize("damaged", [False, True])
def test_what_follows_on_the_end_of_a_tar_is_told(tmp_path, damaged):
    first = tarred(tmp_path / "a.tar", {"./a/1.png": PNG[0], "./b/2.png": PNG[1]}).read_bytes()
    second = tarred(tmp_path / "a.tar", {"a/3.png": PNG[2]}).read_bytes()
    if damaged:
        place = second.index(b"ustar")
        second = first[:512] + second[: place - 1] + b"x" + second[place:]
    (tmp_path / "a.tar").write_bytes(first + second)
    dataset, samples = opened(tmp_path / "a.tar")
    assert [sample.label for sample in samples] == ["a", "b"]
    (note,) = dataset.warnings
    assert note.startswith(f"a.tar goes on after its end with {len(second):,} bytes (archives that were joined")


def test_members_that_lead_out_of_an_archive_are_told(tmp_path):
    dataset, samples = opened(zipped(tmp_path / "a.zip", {"../c/1.png": PNG[0], "a/1.png": PNG[1], "a/.h.png": b""}))
    assert [sample.part for sample in samples] == ["a/1.png"]
    assert dataset.warnings == [
        "Images in a.zip whose names lead out of it were passed over: 1, for example '../c/1.png'"
    ]


def test_a_table_in_which_no_image_is_found_is_told_with_both_sides(tmp_path):
    file = zipped(tmp_path / "images.zip", dict(zip((f"img_{n}.png" for n in range(6)), PNG, strict=True)))
    table = tmp_path / "labels.csv"
    asked = {"labels": "labels.csv", "pattern": "{file}", "on": "file"}
    table.write_text("file,label\n" + "".join(f"img_{n}.jpg,{'ab'[n % 2]}\n" for n in range(6)))
    told = "first row of 6 has file='img_0.jpg', and the first image file='img_0.png'"
    with pytest.raises(DataError, match=told):
        histokit.ingest(tmp_path / "store", "arrays", file, name="x", options=asked)
    table.write_text("file,label\nimg_0.png,\nimg_1.png,\n")
    assert histokit.ingest(tmp_path / "store", "arrays", file, name="x", options=asked).labels == {"": 6}
    # Of several archives, the table may be of one.
    zipped(tmp_path / "more.zip", {"other.png": PNG[0]})
    table.write_text("file,label\nimg_0.png,a\nimg_1.png,b\n")
    found = histokit.ingest(tmp_path / "store", "arrays", tmp_path, name="both", options=asked)
    assert found.labels == {"": 5, "a": 1, "b": 1}


@pytest.mark.parametrize("count", [8, 12])
def test_what_is_to_be_known_of_many_files_is_told_of_all(tmp_path, count):
    # Of which only the last eight stay open.
    for number in range(count):
        tarred(tmp_path / f"{number:02d}.tar", shard(0, ["0", "1"], "json"))
    dataset, samples = opened(tmp_path, group="slide")
    assert len(samples) == 2 * count
    assert dataset.warnings == [
        "Fields of 00.tar were left out, for they hold lists or records, or their names are taken: tags; likewise of "
        f"{count - 1} more files, such as 01.tar"
    ]
    (tmp_path / "labels.csv").write_text("name,kind\nx,a\n")
    with pytest.raises(DataError, match=r"No row of the table .*labels.csv' is that of an image"):
        opened(tmp_path, pattern="{name}.png", on="name", labels="labels.csv", label_column="kind")


def test_a_table_of_labels_of_several_archives_is_told_once(tmp_path):
    lines = ["name,label", *(f"i{number},{'ab'[number % 2]}" for number in range(6))]
    for number in range(3):
        zipped(tmp_path / f"{number}.zip", {f"i{2 * number + k}.png": PNG[2 * number + k] for k in range(2)})
    options = {"pattern": "{name}.png", "on": "name", "labels": "t.csv"}
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    dataset, samples = opened(tmp_path, **options)
    assert [s.label for s in samples] == ["a", "b"] * 3
    assert dataset.warnings == []
    (tmp_path / "t.csv").write_text("\n".join([*lines[:5], "x,a"]) + "\n")
    dataset, _ = opened(tmp_path, **options)
    assert dataset.warnings == [
        "1 row of the table of labels has no image, for example name='x'",
        "2 images have no label, for example '2.zip/i4.png', '2.zip/i5.png'",
    ]


def test_options_that_no_archive_heeds_are_refused(tmp_path):
    zipped(tmp_path / "a.zip", {"a/1.png": PNG[0], "b/2.png": PNG[1]})
    with pytest.raises(UsageError, match="images='png' says nothing of these files"):
        opened(tmp_path, images="png")
    with pytest.raises(UsageError, match="text='x' names no column: there are label"):
        opened(tmp_path, text="x")
    with pytest.raises(UsageError, match="label_column='grade' needs a table of labels"):
        opened(tmp_path, label_column="grade")
    file = tarred(tmp_path / "w.tar", {"a.png": PNG[0], "a.json": b'{"label": "x", "grade": 3}'})
    with pytest.raises(UsageError, match=r"The labels of .* are 'label', not 'grade'"):
        opened(file, label_column="grade")
    with pytest.raises(UsageError, match="text='grad' names no column: there are label, grade"):
        opened(file, text="grad")


def test_numbered_folders_are_of_the_part_that_they_name(tmp_path):
    parts = {"train1": "train", "Test_2": "test", "test2023_val": "val", "trainer1": None, "test9/train": "train"}
    zipped(tmp_path / "a.zip", {f"NCT/{folder}/ADI/1.png": PNG[0] for folder in parts})
    dataset, _ = opened(tmp_path)
    assert {row.sample_id: row.role for row in dataset.splits()["arrays"].rows} == {
        f"a.zip/NCT/{folder}/ADI/1.png": part for folder, part in parts.items() if part
    }


def test_what_a_folder_is_called_is_looked_into_once(tmp_path, monkeypatch):
    zipped(tmp_path / "a.zip", {f"train-of-many/{label}/{i}.png": PNG[0] for label in "ab" for i in range(40)})
    asked = []
    monkeypatch.setattr(own_splits, "role_of", lambda word: asked.append(word) or role_of(word))
    dataset, samples = opened(tmp_path)
    assert len(samples) == 80
    assert not dataset.splits()
    assert asked.count("many") <= 1


def test_names_of_fields_are_known_without_reading_records_again(tmp_path, monkeypatch):
    record = b'{"label": "x", "site": 1, "notes": [], "none": null}'
    file = tarred(tmp_path / "w.tar", {"a.png": PNG[0], "a.json": record, "b.png": PNG[1], "b.json": record})
    read = []
    monkeypatch.setattr(WebDataset, "_record", lambda self, key: read.append(key) or json.loads(record))
    counts = []
    for options in ({}, {"text": "site,notes,none,label"}):
        read.clear()
        assert len(opened(file, **options)[1]) == 2
        counts.append(len(read))
    assert counts[0] == counts[1]
