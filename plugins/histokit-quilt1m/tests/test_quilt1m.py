from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from histokit_quilt1m import folders, lookup
from histokit_quilt1m.dataset import Quilt1M
from histokit_quilt1m.lookup import flag_of, labels_of
from PIL import Image

import histokit
from histokit.plugin import DataError, UsageError
from histokit.plugin.manager import registry
from histokit.plugin.testing import check_dataset

COLUMNS = (
    *("", "caption", "image_path", "subset", "split", "pathology", "roi_text", "noisy_text", "corrected_text"),
    *("med_umls_ids", "magnification", "height", "width", "not_histology", "single_wsi"),
)
CAPTION = 'He says: "look,\nhere",\r\nand moves on, ["to", the next]'


def row(image: str, pathology: str = "['Renal']", split: str = "train", subset: str = "quilt", **cells: str) -> dict:
    fixed = {"caption": CAPTION, "image_path": image, "subset": subset, "split": split, "pathology": pathology}
    fixed |= {"roi_text": "['a, b']", "noisy_text": '"', "magnification": "1.0", "height": "512", "width": "512"}
    return fixed | {"not_histology": "0", "single_wsi": "1"} | cells


A, B, C, D, E, F = (f"{video}_image_{n}.jpg" for video in ("vA-_x", "v_B") for n in ("1f-2", "9c", "77"))
ROWS = [
    row(A),
    row(B, "['Breast', 'Renal']"),
    row(A, split="val"),
    row("gone_image_1.jpg"),
    row(C, "Breast"),
    row(f"quilt_1m\\{D}", "['Breast']", "val"),
    row(E, "", "val"),
    row(F, "['Renal']", not_histology="1.0"),
    row("PMC1_2.jpg", "", subset="pubmed", single_wsi="0"),
    row("tweet.jpg", "['Breast', 'Breast']", subset="openpath", single_wsi="0"),
]


def write(root: Path, rows: list[dict] = ROWS, columns: tuple[str, ...] = COLUMNS) -> Path:
    root.mkdir(exist_ok=True)
    with (root / "quilt_1M_lookup.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows({"": number, **cells} for number, cells in enumerate(rows))
    return root


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(sum(path.name.encode())).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = write(tmp_path / "quilt")
    for name in (A, B, C, D, E, F, "PMC1_2.jpg", "tweet.jpg", "orphan.jpg"):
        write_image(root / "quilt_1m" / name)
    (root / "quilt_1m/notes.txt").touch()
    return root


def labels(root: Path, **options: object) -> dict[str, str | None]:
    return {sample.id: sample.label for sample in Quilt1M(root, **options).samples()}  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{}, {"several": "join", "unlabelled": "true", "not_histology": "keep"}])
def test_contract(root, options):
    check_dataset(Quilt1M, root, **options)


def test_found_through_the_entry_point():
    assert registry().dataset("quilt1m") is Quilt1M


def test_samples(root):
    dataset = Quilt1M(root)
    samples = list(dataset.samples())
    assert {sample.id: sample.label for sample in samples} == {
        A: "Renal",
        C: "Breast",
        D: "Breast",
        "tweet.jpg": "Breast",
    }
    assert samples[0].image == (f"quilt_1m/{A}",)
    assert dict(samples[0].metadata) == {"video": "vA-_x", "subset": "quilt", "magnification": "1.0"}
    assert [sample.metadata["video"] for sample in samples] == ["vA-_x", "vA-_x", "v_B", "tweet.jpg"]
    assert dataset.warnings == [
        "The table has 10 rows; published are 1,017,712",
        "1 row was left out because its image is missing, such as gone_image_1.jpg",
        "1 row names an image again, and give no sample of their own",
        "1 row names an image again, in another part of the split; the first row counts",
        "1 image was left out by flags (not_histology, single_wsi)",
        "1 image has no row in the table",
        "1 image with several labels was left out (-o several=first or join keeps such)",
        "2 images without label were left out",
        "1 image is of no video: each is a group of its own",
    ]


def test_several_labels(root):
    assert labels(root, several="first")[B] == "Breast"
    assert labels(root, several="join")[B] == "Breast + Renal"
    assert B not in labels(root)


def test_labels_of_all_rows_of_an_image_count(root):
    write(root, [*ROWS, row(C, "['Neuro']"), row(D, "Breast")])
    assert labels(root, several="first") | {C: "Breast", D: "Breast"} == labels(root, several="first")
    assert labels(root, several="join")[C] == "Breast + Neuro"
    assert C not in labels(root)
    assert labels(root)[D] == "Breast"


def test_a_later_row_may_have_the_label(root):
    write(root, [*ROWS, row(E, "Neuro")])
    assert labels(root)[E] == "Neuro"


def test_a_flag_of_any_row_bars_the_image(root):
    flagged = row(A, not_histology="1")
    for rows in ([*ROWS, flagged], [flagged, *ROWS]):
        write(root, rows)
        assert A not in labels(root)
    assert labels(root, not_histology="keep")[A] == "Renal"


def test_options(root):
    assert labels(root, not_histology="keep")[F] == "Renal"
    assert set(labels(root, single_wsi="only")) == {A, C, D}
    assert set(labels(root, single_wsi="none")) == {"tweet.jpg"}
    assert set(labels(root, subset=("openpath", "pubmed"))) == {"tweet.jpg"}
    assert labels(root, unlabelled=True)["PMC1_2.jpg"] is None
    assert set(labels(root, min_class_size=2)) == {C, D, "tweet.jpg"}
    dataset = Quilt1M(root, min_class_size=2)
    list(dataset.samples())
    assert "1 image of 1 class with fewer than 2 images was left out" in dataset.warnings
    assert Counter(labels(root, label="subset").values()) == {"quilt": 5, "pubmed": 1, "openpath": 1}


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        ("['Head and Neck', \"Women's\"]", ("Head and Neck", "Women's")),
        ("['Bone, soft tissue']", ("Bone, soft tissue",)),
        ("('Renal',)", ("Renal",)),
        ("[Renal, Breast", ("Renal", "Breast")),
        ("Renal; Breast|Renal ,", ("Renal", "Breast")),
        (" Renal ", ("Renal",)),
        ("Soft tissue (sarcoma)", ("Soft tissue (sarcoma)",)),
        ("(Soft) tissue (sarcoma)", ("(Soft) tissue (sarcoma)",)),
        ("Bone [old]; {x}", ("Bone [old]", "{x}")),
        ("['Soft tissue (sarcoma)', 'x [y']", ("Soft tissue (sarcoma)", "x [y")),
        ("['x ] y', 'Renal']", ("x ] y", "Renal")),
        ("['Breast' 'Renal']", ("Breast", "Renal")),
        ("['Breast'\n 'Bone, soft tissue' nan]", ("Breast", "Bone, soft tissue")),
        ("[nan 'Breast']", ("Breast",)),
        ("['Breast', nan]", ("Breast",)),
        ("['Breast', None, 'NA', NaN, '', \"nan\"]", ("Breast",)),
        ("[nan]", ()),
        ("{'Renal'}", ("Renal",)),
        ("{'Renal', \"Women's\"}", ("Renal", "Women's")),
        ("[Women's health, Head and Neck]", ("Women's health", "Head and Neck")),
        ("['Women's health', 'Renal']", ("Women's health", "Renal")),
        (r"""['He\'s "a"', 'b']""", ('He\'s "a"', "b")),
        ("[Soft tissue (sarcoma), Renal]", ("Soft tissue (sarcoma)", "Renal")),
        ("(Renal, Breast)", ("Renal", "Breast")),
        ("['Renal',]", ("Renal",)),
        ("Renal; nan", ("Renal",)),
        ("[np.str_('Breast')]", ("Breast",)),
        ("[np.str_('Breast'), np.str_(\"Women's\"), np.nan]", ("Breast", "Women's")),
        ("[numpy.str_('Bone (old), x'), np.float64(nan)]", ("Bone (old), x",)),
        ("array(['Breast'], dtype=object)", ("Breast",)),
        ("array(['Breast', 'Soft tissue (sarcoma)'],\n      dtype='<U21')", ("Breast", "Soft tissue (sarcoma)")),
        ("np.array(['Breast', nan], dtype=object)", ("Breast",)),
        ("array([np.str_('Renal')], dtype=object)", ("Renal",)),
        ("list(['Breast', 'Renal'])", ("Breast", "Renal")),
        ("frozenset({'Breast'})", ("Breast",)),
        ("array([], dtype=object)", ()),
        ("[b'Breast', u'Renal']", ("Breast", "Renal")),
        ("Array (old)", ("Array (old)",)),
        ("none", ()),
        (" ", ()),
        ("{}", ()),
        ("[]", ()),
        ("[None, '']", ()),
        (None, ()),
    ],
)
def test_labels_of_a_cell(cell, wanted):
    assert labels_of(cell, ";|,") == wanted


@pytest.mark.parametrize("cell", ["Series(['Breast'])", "[Category('Breast'), 'Renal']", "deque(['Breast'], maxlen=2)"])
def test_what_no_label_is_written_as_is_named(root, cell):
    write(root, [*ROWS, row(E, cell)])
    with pytest.raises(DataError, match=r"Row 11 of .*quilt_1M_lookup\.csv' has pathology=") as caught:
        labels(root)
    assert caught.value.next.startswith("Expected is a label, or a list of labels")


@pytest.mark.parametrize(
    ("cell", "wanted"), [(" ", False), (None, False), (" nan", False), (" 1.0 ", True), ("False", False)]
)
def test_flags_of_a_cell(cell, wanted):
    assert flag_of(cell) is wanted


def test_blank_flags_bar_no_image(root):
    write(root, [row(A, not_histology=" ", single_wsi="  ")])
    assert labels(root) == {A: "Renal"}


def test_no_separators():
    assert labels_of("Bone, soft tissue", "") == ("Bone, soft tissue",)


def test_the_published_split(root):
    dataset = Quilt1M(root)
    list(dataset.samples())
    split = dataset.splits()["train-val"]
    # Each image by its first row; the one of video B that is trained on is flagged.
    assert {row.sample_id: row.role for row in split.rows} == {A: "train", C: "train", D: "test", "tweet.jpg": "train"}
    assert split.leaks is None
    assert split.group == "video"
    dataset = Quilt1M(root, not_histology="keep")
    leaks = "1 video has images in the training and in the validation part"
    assert dataset.splits()["train-val"].leaks == f"{leaks}."
    assert dataset.warnings == [
        f"The split train-val of the data leaks, and is used only where it is named (--split train-val): {leaks}"
    ]


def test_splits_alone_give_no_warnings(root):
    dataset = Quilt1M(root)
    assert dataset.splits()
    assert dataset.warnings == []


def test_older_tables_have_no_flags(root):
    write(root, columns=COLUMNS[:-2])
    dataset = Quilt1M(root)
    assert F in {sample.id for sample in dataset.samples()}
    assert "no column not_histology, as before 2023-10-26" in dataset.warnings[0]
    with pytest.raises(UsageError, match="no column 'single_wsi'"):
        labels(root, single_wsi="only")


def test_a_table_of_two_columns(root):
    write(root, columns=("image_path", "pathology"))
    dataset = Quilt1M(root)
    assert {sample.metadata["subset"] for sample in dataset.samples()} == {None}
    assert dataset.warnings[1] == (
        "The table has no column split and no column subset: there is no published split, no image has a subset; "
        "its columns are image_path, pathology"
    )
    assert dataset.splits() == {}


@pytest.mark.parametrize("folder", ["images", "images_part_3/quilt_1m", "images_part_3", "."])
def test_folders(root, folder):
    wanted = labels(root)
    (root / folder).mkdir(parents=True, exist_ok=True)
    for path in list((root / "quilt_1m").iterdir()):
        path.rename(root / folder / path.name)
    assert labels(root) == wanted


def test_images_in_several_folders(root):
    write_image(root / "images_part_1/quilt_1m" / A)
    (root / "quilt_1m" / D).rename(root / "images_part_1/quilt_1m" / D)
    dataset = Quilt1M(root)
    paths = {sample.id: sample.image for sample in dataset.samples()}
    assert (paths[A], paths[D]) == ((f"quilt_1m/{A}",), (f"images_part_1/quilt_1m/{D}",))
    assert "1 image lies in several folders; the first was taken" in dataset.warnings
    assert set(labels(root, images=("images_part_1/quilt_1m",))) == {A, D}


def test_folders_are_listed_once_whatever_the_number_of_rows(root, monkeypatch):
    listed = []
    scandir = folders.os.scandir
    monkeypatch.setattr(folders.os, "scandir", lambda folder: listed.append(folder) or scandir(folder))
    list(Quilt1M(root).samples())
    assert sorted(listed) == [root, root / "quilt_1m"]


def test_many_blocks(root, monkeypatch):
    """Rows keep their numbers where the table is read in many blocks."""
    monkeypatch.setattr(lookup, "_BLOCK", 512)
    before = ROWS * 20
    write(root, [*before, row(B, "['Renal']", not_histology="maybe")])
    with pytest.raises(DataError, match=r"Row 201 of .*quilt_1M_lookup\.csv' has not_histology='maybe'"):
        labels(root)
    write(root, before)
    found = list(Quilt1M(root).samples())
    assert [sample.id for sample in found] == [A, C, D, "tweet.jpg"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text[: text.index(D)], r"cannot be read: Row #\d+: Expected 15 columns"),
        (lambda text: "", r"cannot be read: Empty CSV file"),
        (lambda text: text.replace(",quilt,", ",\udcff\udcfe,", 1), r"cannot be read: .*UTF8"),
    ],
)
def test_an_unfit_table(root, change, reason):
    path = root / "quilt_1M_lookup.csv"
    path.write_bytes(change(path.read_text("utf-8")).encode("utf-8", "surrogateescape"))
    dataset = Quilt1M(root)
    with pytest.raises(DataError, match=reason) as caught:
        list(dataset.samples())
    assert str(path) in caught.value.message


@pytest.mark.parametrize("image", [A, E, "gone.jpg"])
def test_an_unknown_part(root, image):
    """Of rows that give no sample as well."""
    write(root, [*ROWS, row(image, split="vall")])
    dataset = Quilt1M(root)
    with pytest.raises(DataError, match=r"Row 11 of .* has split='vall'\.\nExpected is train or val"):
        list(dataset.samples())


def test_an_image_named_again_in_the_same_part_is_in_no_other(root):
    write(root, [row(A), row(A, split="TRAIN "), row(C, split="val"), row(B)])
    dataset = Quilt1M(root)
    list(dataset.samples())
    assert not any("another part" in warning for warning in dataset.warnings)


def test_parts_may_be_written_in_capitals(root):
    write(root, [row(A, split=" Train"), row(D, split="VAL"), row(C, split=" ")])
    rows = Quilt1M(root).splits()["train-val"].rows
    assert {each.sample_id: each.role for each in rows} == {A: "train", D: "test"}


def test_renamed_and_doubled_columns(root):
    path = root / "quilt_1M_lookup.csv"
    text = path.read_text("utf-8")
    path.write_text(text.replace(",split,", ",Split,", 1), "utf-8")
    dataset = Quilt1M(root)
    assert len(list(dataset.samples())) == 4
    told = next(warning for warning in dataset.warnings if "no column split: there is no published split" in warning)
    assert "Split" in told
    path.write_text(text.replace(",split,", ",subset,", 1), "utf-8")
    with pytest.raises(DataError, match=r"quilt_1M_lookup\.csv' has 2 columns 'subset'"):
        list(Quilt1M(root).samples())


def test_columns_and_subsets_that_are_not_there(root):
    with pytest.raises(UsageError, match="no column 'patholgy'") as caught:
        labels(root, label="patholgy")
    assert "pathology" in caught.value.next
    with pytest.raises(UsageError, match="No row is of the subset 'twitter'") as caught:
        labels(root, subset=("quilt", "twitter"))
    assert caught.value.next == "The subsets are openpath, pubmed, quilt."


def test_an_image_that_is_missing_is_named_once(root):
    gone = [row("gone_1.jpg"), row("gone_1.jpg"), row("gone_2.jpg")]
    told = Quilt1M(write(root, [*ROWS, *gone]))
    list(told.samples())
    assert any(
        text == "4 rows were left out because their image is missing, such as gone_image_1.jpg, gone_1.jpg, gone_2.jpg"
        for text in told.warnings
    ), told.warnings


def test_a_wrong_root(root, tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        labels(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"quilt_1M_lookup\.csv' does not exist"):
        labels(tmp_path)
    with pytest.raises(DataError, match="pictures' does not exist"):
        labels(root, images=("pictures",))
    with pytest.raises(DataError, match="There are no images in"):
        labels(write(tmp_path / "empty"))
    with pytest.raises(DataError, match=r"No image of .* is left: .*1 row was left out because its image is missing"):
        labels(write(root, [row("gone.jpg")]))


@pytest.mark.parametrize(
    "options", [{"several": "all"}, {"not_histology": "x"}, {"single_wsi": "x"}, {"min_class_size": 0}]
)
def test_wrong_options(tmp_path, options):
    with pytest.raises(UsageError, match=f"The option {next(iter(options))}="):
        Quilt1M(tmp_path, **options)


def test_ingested(root, tmp_path):
    record = histokit.ingest(histokit.open_store(tmp_path / "store"), "quilt1m", root, name="q")
    assert (record.count, record.classes, record.group) == (4, ("Breast", "Renal"), "video")
