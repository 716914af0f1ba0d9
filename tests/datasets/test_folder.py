from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from histokit.datasets.arrays import Arrays
from histokit.datasets.folder import Folder
from histokit.errors import DataError, UsageError
from histokit.ingest.ingest import ingest
from histokit.plugin.testing import check_dataset

PATTERN = "{patient}/{label}/*.png"


def write(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if path.rsplit(".", 1)[-1] in ("png", "PNG", "jpg", "tif"):
            Image.new("RGB", (4, 4)).save(root / path, {"jpg": "JPEG", "tif": "TIFF"}.get(path[-3:], "PNG"))
        else:
            (root / path).write_text("text")
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path, "p2/0/b.png", "p10/1/a.png", "p10/0/c.png", "p10/0/a.png")


def samples(root: Path, **options):
    dataset = Folder.from_options(root, options)
    return list(dataset.samples()), dataset.warnings


def ids(root: Path, **options) -> list[str]:
    return [sample.id for sample in samples(root, **options)[0]]


def test_fields_become_labels_and_columns(root):
    found, warnings = samples(root, pattern=PATTERN, group="patient")
    assert [(s.id, s.label, dict(s.metadata)) for s in found] == [
        ("p10/0/a.png", "0", {"patient": "p10"}),
        ("p10/0/c.png", "0", {"patient": "p10"}),
        ("p10/1/a.png", "1", {"patient": "p10"}),
        ("p2/0/b.png", "0", {"patient": "p2"}),
    ]
    assert [s.image for s in found] == [(s.id,) for s in found]
    assert warnings == []


def test_options_may_be_typed_with_accents_apart(tmp_path):
    # As macOS lists names.
    together, apart = "gro\u00df\u00e9", "gro\u00dfe\u0301"
    root = write(tmp_path / "root", f"{apart}/a.png", "klein/b.png")
    found, _ = samples(root, classes=f"klein,{apart}", positive=apart)
    assert {s.label for s in found} == {together, "klein"}
    dataset = Folder.from_options(root, {"classes": f"klein,{apart}", "positive": apart})
    assert (dataset.classes, dataset.positive) == (("klein", together), together)
    assert ids(root, pattern=f"{apart}/*.png") == ids(root, pattern=f"{together}/*.png") == [f"{together}/a.png"]
    (root / f"{apart}.csv").write_text("name,kind\na,x\nb,y\n")
    table = {"labels": f"{together}.csv", "label_column": "kind", "on": "name", "pattern": "*/{name}.png"}
    assert [s.label for s in samples(root, **table)[0]] == ["x", "y"]
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 4, 4, 3), np.uint8), labels=np.array([0, 1]))
    arrays = Arrays.from_options(tmp_path / "a.npz", {"names": f"klein,{apart}", "positive": together})
    assert [s.label for s in arrays.samples()] == ["klein", together]


def test_contract(root):
    check_dataset(
        Folder, root, pattern=PATTERN, group="patient", levels="patient", positive="1", classes="0,1", mpp="0.5"
    )


def test_attributes_come_from_options(root):
    dataset = Folder.from_options(
        root, {"pattern": PATTERN, "levels": "patient", "mpp": "0.25", "positive": "1", "metric": "roc_auc"}
    )
    assert (dataset.levels, dataset.positive, dataset.metric, dataset.classes) == (("patient",), "1", "roc_auc", None)
    assert {sample.mpp for sample in dataset.samples()} == {0.25}


def test_the_default_pattern_takes_the_first_folder_as_label(root):
    found, _ = samples(root)
    assert (found[0].id, found[0].label) == ("p10/0/a.png", "p10")
    assert dict(found[0].metadata) == {}


def test_a_pattern_without_label_gives_unlabelled_samples(root):
    found, _ = samples(root, pattern="{patient}/**", group="patient")
    assert {sample.label for sample in found} == {None}


def test_only_images_are_taken(tmp_path):
    write(
        tmp_path, "0/a.png", "0/b.jpg", "0/c.PNG", "0/d.tif", "0/notes.txt", "0/Thumbs.db", "0/.hidden.png", ".x/0.png"
    )
    assert ids(tmp_path) == ["0/a.png", "0/b.jpg", "0/c.PNG", "0/d.tif"]


def test_a_suffix_in_the_pattern_takes_other_files_too(tmp_path):
    write(tmp_path, "0/a.svs", "0/b.png")
    found, warnings = samples(tmp_path, pattern="{label}/*.svs")
    assert [sample.id for sample in found] == ["0/a.svs"]
    assert warnings == ["1 image does not match the pattern, for example '0/b.png'"]


def test_images_that_a_suffix_keeps_out_are_told_with_the_pattern_that_takes_them(tmp_path):
    write(tmp_path, "p1/0/a.png", "p1/0/deep/b.png", "p1/0/c.JPG", "p1/1/d.tif")
    found, warnings = samples(tmp_path, pattern=PATTERN, group="patient")
    assert [sample.id for sample in found] == ["p1/0/a.png"]
    hint = "3 images do not match the pattern, for example 'p1/0/c.JPG'; '{patient}/{label}/*.*' takes every suffix"
    assert warnings == [hint]
    found, warnings = samples(tmp_path, pattern="{patient}/{label}/*.*", group="patient")
    assert [sample.id for sample in found] == ["p1/0/a.png", "p1/0/c.JPG", "p1/1/d.tif"]
    assert warnings == ["1 image does not match the pattern, for example 'p1/0/deep/b.png'"]


def test_a_folder_named_like_an_image_is_no_image(tmp_path):
    write(tmp_path, "0/a.png", "0/x.png/note.txt")
    assert ids(tmp_path) == ["0/a.png"]


def test_images_that_do_not_match_are_counted(root):
    write(root, "top.png", "p1/0/deep/x.png")
    found, warnings = samples(root, pattern=PATTERN, group="patient")
    assert len(found) == 4
    assert warnings == ["2 images do not match the pattern, for example 'p1/0/deep/x.png'"]


def test_warnings_do_not_pile_up(root):
    write(root, "top.png")
    dataset = Folder(root, PATTERN, group="patient")
    assert [list(dataset.samples()), list(dataset.samples())]
    assert len(dataset.warnings) == 1


def test_an_ambiguous_pattern_is_reported(tmp_path):
    write(tmp_path, "a_b_0.png")
    found, warnings = samples(tmp_path, pattern="{slide_name}_{label}.png")
    assert dict(found[0].metadata) == {"slide_name": "a_b"}
    assert "'a_b_0.png' was read as {'slide_name': 'a_b', 'label': '0'}" in warnings[0]


def test_a_forgotten_group_is_reported(root):
    assert samples(root, pattern=PATTERN)[1] == [
        "No group is set, so folds may cut through a patient; -o group=patient prevents it"
    ]


def test_a_missing_root_and_a_root_that_is_a_file(root):
    with pytest.raises(DataError, match="does not exist"):
        samples(root / "nowhere")
    with pytest.raises(DataError, match="is not a folder"):
        samples(root / "p2/0/b.png")


def test_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match="holds no image") as caught:
        samples(tmp_path)
    assert caught.value.next
    write(tmp_path, "a.txt")
    with pytest.raises(DataError, match=r"holds no image \(1 other files\)") as caught:
        samples(tmp_path)
    assert "such as .svs, come by: histokit ingest slides" in str(caught.value.next)


def test_a_pattern_that_nothing_matches(root):
    with pytest.raises(DataError) as caught:
        samples(root, pattern="{patient}/class{label}/*.png", group="patient")
    message = caught.value.message
    assert "None of 4 images" in message
    assert "part 2, 'class{label}'" in message
    assert all(repr(path) in message for path in ("p10/0/a.png", "p10/0/c.png", "p10/1/a.png"))
    assert "p2/0/b.png" not in message


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"pattern": PATTERN, "group": "pateint"}, "group='pateint'", "Did you mean 'patient'?"),
        ({"pattern": PATTERN, "group": "slide"}, "group='slide'", "Write {slide} in the pattern"),
        ({"pattern": PATTERN, "levels": "patient,well"}, "levels='well'", "Write {well}"),
        ({"pattern": "{id}/{label}/*"}, "'id'", "Rename it"),
        ({"pattern": PATTERN, "on": "patient"}, "needs a table of labels", "-o labels="),
        ({"pattern": PATTERN, "labels": "x.csv"}, "the field by which its rows are found", "-o on=FIELD"),
        ({"pattern": PATTERN, "labels": "x.csv", "on": "patient,well"}, "on='well'", "Write {well}"),
        ({"pattern": "{slide}/*", "labels": "x.csv", "on": "slid"}, "on='slid'", "Did you mean 'slide'?"),
        ({"patern": PATTERN}, "no option 'patern'", "Did you mean 'pattern'?"),
    ],
)
def test_options_that_are_wrong_are_found_before_any_file_is_read(tmp_path, options, message, hint):
    with pytest.raises(UsageError) as caught:
        Folder.from_options(tmp_path / "nowhere", options)
    assert message in caught.value.message
    assert hint in caught.value.next


def test_classes_and_positive_must_be_labels(root):
    with pytest.raises(UsageError, match="positive='2'") as caught:
        samples(root, pattern=PATTERN, positive="2")
    assert "0, 1" in caught.value.next
    with pytest.raises(UsageError, match="'1' is not among the classes 0"):
        samples(root, pattern=PATTERN, classes="0")
    assert Folder.from_options(root, {"pattern": PATTERN, "classes": "1,0"}).classes == ("1", "0")


def test_links_are_followed_and_reported(tmp_path):
    data, root = tmp_path / "data", tmp_path / "root"
    write(data, "s/a.png")
    write(root, "0/a.png")
    (root / "1").symlink_to(data / "s")
    (root / "0/inner.png").symlink_to(root / "0/a.png")
    (root / "0/dead.png").symlink_to(root / "nowhere.png")
    (root / "0/loop").symlink_to(root)
    found, warnings = samples(root)
    assert [sample.id for sample in found] == ["0/a.png", "0/inner.png", "1/a.png"]
    assert warnings == [
        "1 symbolic link leads out of the folder, for example '1'; they were followed",
        "2 symbolic links lead nowhere or in a circle, for example '0/dead.png', '0/loop'",
    ]


def test_each_folder_comes_once_however_many_links_lead_there(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    names = "abcdefgh"
    for name in names:
        write(root, f"{name}/0.png")
        for other in names:
            if other != name:
                (root / name / f"to {other}").symlink_to(root / other)
    write(outside, "s/1.png")
    for name in ("a/door", "b/door", "c/inner"):
        (root / name).symlink_to(outside / "s" if name == "c/inner" else outside)
    # Above the root, which is met again from there.
    (root / "d/up").symlink_to(tmp_path)
    found, warnings = samples(root, pattern="{label}/**/*.png")
    assert [sample.id for sample in found] == ["a/0.png", "a/door/s/1.png", *(f"{name}/0.png" for name in "bcdefgh")]
    says = "symbolic links lead to folders that come under another name, for example 'a/to b'"
    assert any(says in warning for warning in warnings)


def test_links_into_hidden_folders_are_followed(tmp_path):
    write(tmp_path, ".cache/v1/0.png")
    (tmp_path / "x").symlink_to(tmp_path / ".cache/v1")
    assert [sample.id for sample in samples(tmp_path)[0]] == ["x/0.png"]


@pytest.mark.skipif(not Path("/proc/sys/kernel").is_dir(), reason="the system shows no processes as files")
def test_folders_of_the_system_are_no_data(tmp_path):
    root = write(tmp_path / "root", "0/a.png", "1/a.png")
    (root / "1/kernel").symlink_to("/proc/sys/kernel")
    found, warnings = samples(root)
    assert [sample.id for sample in found] == ["0/a.png", "1/a.png"]
    assert warnings == ["1 folder is the system's, for example '1/kernel'; what is in there was left out"]
    (tmp_path / "link").symlink_to("/proc/sys/kernel")
    for folder in ("/proc/sys/kernel", tmp_path / "link", "/proc/sys/kernel/../kernel"):
        with pytest.raises(DataError, match="is the system's: what is in there is no data"):
            samples(folder)
    # Where a process stands is an ordinary folder.
    here = Path("/proc/self/fd") / str(os.open(root, os.O_RDONLY))
    assert ids(here) == ["0/a.png", "1/a.png"]
    os.close(int(here.name))


def test_the_tables_of_a_store_are_no_images(tmp_path):
    root = write(tmp_path / "root", "0/a.png", "1/a.png", "1/mine.lance/b.png")
    store = root / "0/store"
    ingest(store, "folder", root, name="d")
    # As a plugin for reading may have it: what lies in a store is none of the images, whatever it ends in.
    write(store, "datasets.lance/data/x.png", "samples.d.lance/y.png", "beside.png")
    made = ingest(store, "folder", root, name="d")
    assert made.count == 4
    told = "1 store of histokit lies among the images, for example '0/store'; its tables were left out"
    assert told in made.warnings
    assert ids(root) == ["0/a.png", "0/store/beside.png", "1/a.png", "1/mine.lance/b.png"]
    # Where the folder is the store itself.
    assert [sample.id for sample in samples(store, pattern="**")[0]] == ["beside.png"]


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no shared memory")
def test_data_in_shared_memory_are_data():
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        assert ids(write(Path(folder), "0/a.png", "1/a.png")) == ["0/a.png", "1/a.png"]


def test_folders_deeper_than_calls_of_python(tmp_path):
    deep = "d/" * 1_100
    os.makedirs(tmp_path / "root" / deep[:1_000])
    os.makedirs(tmp_path / "root" / deep)
    Image.new("RGB", (4, 4)).save(tmp_path / "root" / deep / "0.png")
    try:
        assert [sample.id for sample in samples(tmp_path / "root", pattern="{label}/**")[0]] == [f"{deep}0.png"]
    finally:
        # Python's own way goes down by calls.
        subprocess.run(["rm", "-r", tmp_path / "root"], check=True)


def test_a_file_name_that_is_not_text(tmp_path):
    write(tmp_path, "0/a.png")
    try:
        os.rename(tmp_path / "0/a.png", os.fsencode(tmp_path / "0") + b"/\xff.png")
    except OSError:
        pytest.skip("this file system has only names that are text")
    assert ids(tmp_path) == ["0/\\xff.png"]


class TestLabelsInATable:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        write(tmp_path, "0012/a.png", "0012/b.png", "s2/a.png", "s3/a.png")
        (tmp_path / "slides.csv").write_text("slide,label,age,site\n0012,1,64,A\ns2,0,,\ns9,0,3,B\n")
        return tmp_path

    def test_labels_and_columns(self, root):
        dataset = Folder.from_options(root, {"labels": "slides.csv", "on": "slide", "group": "slide"})
        rows = {s.id: (s.label, dict(s.metadata)) for s in dataset.samples()}
        assert rows == {
            "0012/a.png": ("1", {"slide": "0012", "age": 64, "site": "A"}),
            "0012/b.png": ("1", {"slide": "0012", "age": 64, "site": "A"}),
            "s2/a.png": ("0", {"slide": "s2", "age": None, "site": None}),
            "s3/a.png": (None, {"slide": "s3", "age": None, "site": None}),
        }
        assert dataset.columns == {"slide": str, "age": int, "site": str}
        assert dataset.warnings == [
            "1 image does not have a label in the table, for example 's3/a.png'",
            "1 row of the table of labels has no image, for example slide='s9'",
        ]

    def test_a_key_column_of_another_name(self, root):
        (root / "slides.csv").write_text("Slide ID,label,age\n0012,1,64\ns2,0,\n")
        asked = {"labels": "slides.csv", "on": "slide:Slide ID", "group": "slide"}
        dataset = Folder.from_options(root, asked)
        rows = [(s.label, dict(s.metadata)) for s in dataset.samples()]
        assert rows[0] == rows[1] == ("1", {"slide": "0012", "age": 64})
        assert dataset.columns == {"slide": str, "age": int}
        with pytest.raises(UsageError, match="has no column 'slide'") as caught:
            list(Folder.from_options(root, {**asked, "on": "slide"}).samples())
        assert "Did you mean 'Slide ID'? " in caught.value.next
        assert "-o on=slide:COLUMN" in caught.value.next
        (root / "slides.csv").write_text("Slide ID,label,slide\n0012,1,64\n")
        with pytest.raises(UsageError, match="has both columns 'Slide ID' and 'slide'"):
            list(Folder.from_options(root, asked).samples())

    @pytest.mark.parametrize(
        ("key", "pattern", "advice"),
        [
            ("a.png", "{slide}.*", "as the column has them: end the pattern with {slide}."),
            ("a", "{slide}", "out of the field: end the pattern with {slide}.*."),
            ("A7", "{slide}", "Both have to be the same text"),
        ],
    )
    def test_a_table_of_which_no_row_is_found(self, tmp_path, key, pattern, advice):
        write(tmp_path, "a.png", "b.png")
        (tmp_path / "t.csv").write_text(f"slide,label,patient\n{key},1,P1\n")
        with pytest.raises(DataError, match=r"No row of the table .* is that of an image") as caught:
            list(Folder(tmp_path, pattern=pattern, labels="t.csv", on="slide", group="patient").samples())
        assert f"first row of 1 has slide={key!r}, and the first image slide='a" in str(caught.value)
        assert advice in caught.value.next

    def test_contract(self, root):
        check_dataset(Folder, root, labels="slides.csv", on="slide", group="slide", positive="1")

    def test_a_group_from_the_table_is_text(self, root):
        dataset = Folder(root, labels="slides.csv", on="slide", group="age")
        assert dataset.columns["age"] is str
        assert next(iter(dataset.samples())).metadata["age"] == "64"

    def test_a_group_that_neither_has(self, root):
        with pytest.raises(UsageError, match="group='sites'") as caught:
            list(Folder(root, labels="slides.csv", on="slide", group="sites").samples())
        assert "Did you mean 'site' or" in caught.value.next

    def test_parquet_elsewhere_with_another_label_column(self, root, tmp_path_factory):
        path = tmp_path_factory.mktemp("tables") / "labels.parquet"
        parquet.write_table(pa.table({"slide": ["0012", "s2", "s3"], "grade": [1, 2, 3]}), path)
        dataset = Folder(root, labels=str(path), on="slide", label_column="grade", group="slide")
        assert [s.label for s in dataset.samples()] == ["1", "1", "2", "3"]
        assert dataset.warnings == []

    @pytest.mark.parametrize(
        ("text", "kind", "message"),
        [
            ("slide,grade\ns2,1\n", UsageError, "no column 'label'"),
            ("slid,label\ns2,1\n", UsageError, "no column 'slide'"),
            ("slide,label,mpp\ns1,1,0.5\ns2,1,fine\n", DataError, "Row 2 of the table .* has mpp='fine'"),
            ("slide,label\ns2,1\ns1,0\ns2,0\n", DataError, "contradict each other for slide='s2': 1 and 3"),
            ("slide,label,stain\ns2,1,a\ns1,0,a\ns2,1,b\n", DataError, "contradict each other for slide='s2': 1 and 3"),
            ("slide,label\ns2,1,3,4\n", DataError, "cannot be read"),
            ("", DataError, "cannot be read"),
        ],
    )
    def test_tables_that_are_wrong(self, root, text, kind, message):
        (root / "slides.csv").write_text(text)
        with pytest.raises(kind, match=message):
            list(Folder(root, labels="slides.csv", on="slide").samples())

    def test_labels_of_the_paths_beside_a_table_of_patients(self, root):
        write(root, "s2/b.png")
        (root / "slides.csv").write_text("slide,patient,age\n0012,P1,64\ns2,P2,\n")
        options = {"pattern": "{slide}/{label}.png", "labels": "slides.csv", "on": "slide", "group": "patient"}
        dataset = Folder.from_options(root, options)
        found = [(s.id, s.label, s.metadata["patient"], s.metadata["age"]) for s in dataset.samples()]
        assert found[1:] == [
            ("0012/b.png", "b", "P1", 64),
            ("s2/a.png", "a", "P2", None),
            ("s2/b.png", "b", "P2", None),
            ("s3/a.png", "a", "unknown:s3/a.png", None),
        ]
        assert "1 row is missing in the table of labels, for example that of slide='s3'" in dataset.warnings
        with pytest.raises(UsageError, match="no column 'grade'"):
            list(Folder.from_options(root, {**options, "label_column": "grade"}).samples())
        (root / "slides.csv").write_text("slide,patient,label\n0012,P1,1\n")
        with pytest.raises(UsageError, match=r"column .label. of .* and from \{label\} in the pattern") as both:
            list(Folder.from_options(root, options).samples())
        assert "such as {kind}" in both.value.next

    def test_rows_that_several_fields_find(self, tmp_path):
        write(tmp_path, "1_B02_s1.png", "1_B02_s2.png", "2_B02_s1.png", "2_B03_s1.png")
        (tmp_path / "layout.csv").write_text("plate,well,label,dose\n1.0,B02,a,0.5\n2.0,B02,b,1.5\n,B03,c,2.5\n")
        options = {"pattern": "{plate}_{well}_s{site}.png", "labels": "layout.csv", "group": "plate"}
        dataset = Folder.from_options(tmp_path, {**options, "on": "plate,well"})
        found = [(s.label, dict(s.metadata)) for s in dataset.samples()]
        assert found[1:3] == [
            ("a", {"plate": "1", "well": "B02", "site": "2", "dose": 0.5}),
            ("b", {"plate": "2", "well": "B02", "site": "1", "dose": 1.5}),
        ]
        assert dataset.warnings == ["1 image does not have a label in the table, for example '2_B03_s1.png'"]
        with pytest.raises(DataError, match="contradict each other for well='B02': 1 and 2") as caught:
            list(Folder.from_options(tmp_path, {**options, "on": "well"}).samples())
        assert caught.value.next == "Keep one row for each well, or find rows by more: -o on=plate,well."
        assert Folder(tmp_path, labels="layout.csv", on="plate,well").pattern.text == "{plate}/{well}/**"

    def test_blanks_around_a_field_of_the_path_hide_no_row(self, tmp_path):
        write(tmp_path, "s1 /A/a.png", "s2/B/b.png")
        (tmp_path / "t.csv").write_text("slide,label,site\n s1,1,A\ns2 ,0,elsewhere\n")
        dataset = Folder(tmp_path, pattern="{slide}/{site}/**", labels="t.csv", on="slide")
        # What both say of an image is that of its path.
        assert [(s.metadata["slide"], s.metadata["site"], s.label) for s in dataset.samples()] == [
            ("s1", "A", "1"),
            ("s2", "B", "0"),
        ]

    def test_a_missing_table(self, root):
        with pytest.raises(DataError, match=r"nowhere\.csv' does not exist"):
            list(Folder(root, labels="nowhere.csv", on="slide").samples())

    def test_a_repeated_row_does_no_harm(self, root):
        (root / "slides.csv").write_text("slide,label\n0012,1\n0012,1\ns2,0\ns3,0\n")
        assert [s.label for s in Folder(root, labels="slides.csv", on="slide").samples()] == ["1", "1", "0", "0"]


@pytest.mark.real_data
def test_real_patches():
    folder = os.environ.get("HISTOKIT_REAL_DATA")
    if not folder:
        pytest.skip("HISTOKIT_REAL_DATA is not set")
    root = Path(folder) / "data/idc_breast_patches"
    found, warnings = samples(root, pattern=PATTERN, group="patient")
    assert len(found) == sum(1 for _ in root.glob("*/*/*.png"))
    assert {s.metadata["patient"] for s in found} == {path.name for path in root.iterdir() if path.is_dir()}
    assert sum(s.label == "1" for s in found) == sum(1 for _ in root.glob("*/1/*.png"))
    assert warnings == []


def test_a_group_that_can_be_read_in_two_ways_is_an_error(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "10256_idx5_x1001_class0.png")
    unclear = Folder(tmp_path, pattern="{patient}_{rest}_class{label}.png", group="patient")
    with pytest.raises(UsageError, match="patient may be '10256_idx5' or shorter"):
        list(unclear.samples())
    clear = Folder(tmp_path, pattern="{patient}_idx{rest}_class{label}.png", group="patient")
    assert [s.metadata["patient"] for s in clear.samples()] == ["10256"]


def test_blanks_at_the_ends_of_folders_make_no_other_class(tmp_path: Path) -> None:
    found, _ = samples(write(tmp_path, "a/0.png", " a/1.png", "a /2.png", " /3.png"))
    assert {s.image[0]: s.label for s in found} == {"a/0.png": "a", " a/1.png": "a", "a /2.png": "a", " /3.png": None}
    assert found[0].id == " /3.png"
    found, warnings = samples(write(tmp_path / "more", "p/x/0.png", " /x/1.png"), pattern=PATTERN, group="patient")
    assert [s.metadata["patient"] for s in found] == ["unknown: /x/1.png", "p"]
    assert warnings[0].startswith("1 sample has no patient, for example ' /x/1.png'")


class TestSplit:
    PATHS = ("train/s1/0/a.png", "training/s1/1/b.png", "Valid/s2/0/c.png", "testing/s3/1/d.png")
    PATTERN = "{split}/{slide}/{label}/*.png"

    def test_a_field_of_the_path_is_the_datas_own_split(self, tmp_path):
        dataset = Folder(write(tmp_path, *self.PATHS), pattern=self.PATTERN, group="slide")
        warned = list(dataset.samples()) and list(dataset.warnings)
        split = dataset.splits()["folder"]
        assert [(row.sample_id[-5], row.role) for row in split.rows] == [
            ("c", "val"),
            ("d", "test"),
            ("a", "train"),
            ("b", "train"),
        ]
        assert (split.group, split.leaks) == ("slide", None)
        assert dataset.warnings == warned
        check_dataset(dataset)

    def test_a_group_on_both_sides_is_said_to_leak(self, tmp_path):
        write(tmp_path, *self.PATHS, "test/s1/0/e.png")
        dataset = Folder(tmp_path, pattern=self.PATTERN, group="slide")
        leaks = "1 value of slide is in the test set and outside it, for example s1"
        assert dataset.splits()["folder"].leaks == leaks
        assert dataset.warnings == [
            f"The split folder of the data leaks, and is used only where it is named (--split folder): {leaks}"
        ]

    def test_without_a_test_part_the_validation_part_is_tested(self, tmp_path):
        write(tmp_path, "train/s1/0/a.png", "train/s2/1/b.png", "val/s3/0/c.png", "val/s4/1/d.png")
        dataset = Folder(tmp_path, pattern=self.PATTERN, group="slide")
        split = dataset.splits()["folder"]
        assert [row.role for row in split.rows] == ["train", "train", "test", "test"]
        assert split.notes == ("the data have train and val, but no test samples: those of val are tested",)
        check_dataset(dataset)

    def test_a_group_of_training_and_validation_leaks_where_the_latter_is_tested(self, tmp_path):
        write(tmp_path, "train/s1/0/a.png", "train/s2/1/b.png", "val/s2/0/c.png", "val/s4/1/d.png")
        split = Folder(tmp_path, pattern=self.PATTERN, group="slide").splits()["folder"]
        assert split.leaks == "1 value of slide is in the test set and outside it, for example s2"
        assert split.group is None

    def test_a_part_alone_is_no_split_and_told_when_ingested(self, tmp_path):
        write(tmp_path / "data", "train/s1/0/a.png", "train/s2/1/b.png")
        dataset = Folder(tmp_path / "data", pattern=self.PATTERN, group="slide")
        record = ingest(tmp_path / "store", dataset, name="alone")
        assert "The data say train, but a split needs train and test (or val): they bring none" in record.warnings

    def test_other_words_are_a_column_like_any_other(self, tmp_path):
        dataset = Folder(write(tmp_path, "left/0/a.png", "right/1/b.png"), pattern="{split}/{label}/*.png")
        assert dataset.splits() == {}
        assert dataset.warnings == [
            "The column split holds none of train, val and test, but 'left', 'right', and makes no split: to test "
            "those of a value, use histokit split DATASET --name NAME --test-where \"split = 'left'\""
        ]
        record = ingest(tmp_path / "store", dataset, name="halves")
        assert "histokit split halves --name NAME --test-where \"split = 'left'\"" in record.warnings[0]
        with pytest.raises(DataError, match="has split='left', which is no part of a split"):
            Folder(tmp_path, pattern="{split}/{label}/*.png", split="split").splits()

    def test_a_word_among_others_is_a_mistake(self, tmp_path):
        write(tmp_path, *self.PATHS, "rest/s4/0/f.png")
        with pytest.raises(DataError, match=r"'rest/s4/0/f.png' has split='rest'"):
            Folder(tmp_path, pattern=self.PATTERN).splits()

    def test_a_column_of_the_table_of_labels(self, tmp_path):
        write(tmp_path, "a.png", "b.png", "c.png")
        (tmp_path / "t.csv").write_text("name,label,set\na,0,train\nb,1,test\nc,1,\n")
        options = {"pattern": "{name}.png", "labels": "t.csv", "on": "name"}
        rows = Folder(tmp_path, **options, split="set").splits()["folder"].rows
        assert [(row.sample_id, row.role) for row in rows] == [("a.png", "train"), ("b.png", "test")]
        assert Folder(tmp_path, **options).splits() == {}
        with pytest.raises(UsageError, match="The option split='sets' names no column"):
            list(Folder(tmp_path, **options, split="sets").samples())


def test_keys_that_pandas_wrote_as_fractions_are_whole_numbers(tmp_path):
    write(tmp_path, "1/a.png", "2/b.png", "10/c.png")
    (tmp_path / "l.csv").write_text("slide,label\n1.0,x\n10.0,y\n2.0,x\n")
    found, warnings = samples(tmp_path, labels="l.csv", on="slide", group="slide")
    assert {sample.id: sample.label for sample in found} == {"1/a.png": "x", "10/c.png": "y", "2/b.png": "x"}
    assert warnings == []
    # As they are written, they go before.
    (tmp_path / "l.csv").write_text("slide,label\n1.0,x\n1,y\n10,y\n2,x\n")
    found, warnings = samples(tmp_path, labels="l.csv", on="slide", group="slide")
    assert {sample.id: sample.label for sample in found} == {"1/a.png": "y", "10/c.png": "y", "2/b.png": "x"}
    assert warnings == ["1 row of the table of labels has no image, for example slide='1.0'"]


def test_columns_that_are_to_be_text_are_there(root):
    (root / "l.csv").write_text("patient,grade,id\np2,1,7\np10,2,8\n")
    labelled = {"labels": "l.csv", "on": "patient", "label_column": "grade"}
    with pytest.raises(UsageError, match=r"text='grad' names no column: .* and the table have patient, grade, id") as e:
        samples(root, **labelled, text="grad")
    assert e.value.next == "Did you mean 'grade'?"
    with pytest.raises(UsageError, match=r"text='grade' names no column: the pattern .* has patient, label"):
        samples(root, pattern=PATTERN, text="grade")
    # Fields of the pattern are text, and so may be what the table does not give to samples.
    assert len(samples(root, **labelled, text="patient,id,grade")[0]) == 4
    assert len(samples(root, pattern=PATTERN, text="patient")[0]) == 4


def test_a_column_of_labels_needs_a_table(root):
    with pytest.raises(UsageError, match="label_column='grade' needs a table of labels"):
        samples(root, pattern=PATTERN, label_column="grade")
