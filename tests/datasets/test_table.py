from __future__ import annotations

import math
import shlex
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from histokit.datasets import tables
from histokit.datasets.table import Table
from histokit.errors import DataError, HistokitError, UsageError
from histokit.plugin.testing import check_dataset

ROWS = """image,label,slide,age,score,stained,cut
a.png,tumour,0012,64,0.5,true,2020-01-02
b.png,normal,0012,,1,false,2020-01-03
sub/c.png,tumour,0013,71,,true,
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for path in ("a.png", "b.png", "sub/c.png"):
        Image.fromarray(np.arange(300, dtype=np.uint16).astype(np.uint8).reshape(10, 10, 3)).save(tmp_path / path)
    (tmp_path / "t.csv").write_text(ROWS)
    return tmp_path


def read(root: Path, text: str | None = None, **options: str):
    if text is not None:
        (root / "t.csv").write_text(text)
    dataset = Table.from_options(root, {"table": "t.csv", **options})
    return list(dataset.samples()), dataset


def test_one_sample_a_row(root):
    samples, dataset = read(root, group="slide")
    assert [(s.id, s.image, s.label) for s in samples] == [
        ("a.png", ("a.png",), "tumour"),
        ("b.png", ("b.png",), "normal"),
        ("sub/c.png", ("sub/c.png",), "tumour"),
    ]
    assert dataset.columns == {"slide": str, "age": int, "score": float, "stained": bool, "cut": str}
    assert [dict(s.metadata) for s in samples] == [
        {"slide": "0012", "age": 64, "score": 0.5, "stained": True, "cut": "2020-01-02"},
        {"slide": "0012", "age": None, "score": 1.0, "stained": False, "cut": "2020-01-03"},
        {"slide": "0013", "age": 71, "score": None, "stained": True, "cut": None},
    ]
    assert dataset.warnings == []


def typed(error: HistokitError) -> dict[str, str]:
    """Return the options that an error says to type, as a shell takes them apart."""
    words = shlex.split(error.next[error.next.index("-o ") :])
    return dict(word.split("=", 1) for before, word in pairwise(words) if before == "-o")


def test_options_that_errors_say_to_type_are_words_of_a_shell(root):
    (root / "t.csv").write_text(
        'image,label,"Age, years"\na.png,"in situ, low",40\nb.png,invasive,41\nsub/c.png,invasive,-\n'
    )

    def opened(**options: str) -> Table:
        dataset = Table.from_options(root, {"table": "t.csv", **options})
        list(dataset.samples())
        return dataset

    with pytest.raises(DataError, match="Row 3 of the table") as caught:
        opened()
    options = typed(caught.value)
    assert opened(**options).columns == {"Age, years": str}
    with pytest.raises(UsageError, match="is not among the classes") as caught:
        opened(**options, classes="invasive")
    assert opened(**options, **typed(caught.value)).classes == ("in situ, low", "invasive")
    here = root / "other folder"
    here.mkdir()
    (here / "t.csv").write_text("image\na.png\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        with pytest.raises(UsageError, match="which differ") as caught:
            read(root)
    assert Path(typed(caught.value)["table"]) == root / "t.csv"


def test_contract(root):
    check_dataset(Table, root, table="t.csv", group="slide", positive="tumour", levels="slide")


def test_ids_labels_and_groups_stay_text(root):
    text = "image,key,grade,case\na.png,007,01,1e3\nb.png,008,02,1e3\n"
    samples, dataset = read(root, text, id="key", label="grade", group="case")
    assert [(s.id, s.label, dict(s.metadata)) for s in samples] == [
        ("007", "01", {"case": "1e3"}),
        ("008", "02", {"case": "1e3"}),
    ]
    assert dataset.columns == {"case": str}


def test_columns_that_are_to_be_text_are_there(root):
    with pytest.raises(UsageError, match="has no column 'Slide'") as caught:
        list(Table.from_options(root, {"table": "t.csv", "text": "Slide"}).samples())
    assert caught.value.next.startswith("Did you mean 'slide'? ")
    assert caught.value.next.endswith("Name the right one with -o text=COLUMN.")


def test_columns_can_be_chosen(root):
    samples, dataset = read(root, columns="age", group="slide", levels="stained")
    assert list(dataset.columns) == ["age", "slide", "stained"]
    assert dict(samples[0].metadata) == {"age": 64, "slide": "0012", "stained": "True"}


def test_parquet_elsewhere(root, tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "t.parquet"
    columns = {
        "file": pa.array(["a.png", "b.png"]).dictionary_encode(),
        "label": pa.array([1, 0], pa.int8()),
        "slide": pa.array([12, 13], pa.int32()),
        "um": pa.array([0.5, None], pa.float32()),
        "tags": pa.array([["x"], []]),
    }
    parquet.write_table(pa.table(columns), path)
    dataset = Table.from_options(root, {"table": str(path), "image": "file", "group": "slide", "mpp": "um"})
    samples = list(dataset.samples())
    assert [(s.id, s.label, s.mpp, dict(s.metadata)) for s in samples] == [
        ("a.png", "1", 0.5, {"slide": "12"}),
        ("b.png", "0", None, {"slide": "13"}),
    ]
    assert dataset.columns == {"slide": str}


def test_tab_separated_values(root):
    (root / "t.tsv").write_text("image\tlabel\na.png\tx,y\n")
    assert [s.label for s in Table(root, table="t.tsv").samples()] == ["x,y"]


def test_samples_may_be_grouped_by_the_column_of_their_paths(root):
    (root / "t.csv").write_text("path,x,y,w,h\na.png,0,0,2,2\na.png,4,0,2,2\nb.png,0,0,2,2\n")
    dataset = Table.from_options(root, {"table": "t.csv", "image": "path", "box": "x,y,w,h", "group": "path"})
    assert [sample.metadata["path"] for sample in dataset.samples()] == ["a.png", "a.png", "b.png"]


@pytest.mark.parametrize(
    ("rows", "above"),
    [
        (["n001.TIF,Normal", "n002.tif,Normal"], "image,label"),
        (["n001.TIF,Normal", "n002.jpg,Normal"], "image,label"),
        (["1,1, a/b.png ", "2,2,c.png"], "label,column3,image"),
    ],
)
def test_a_table_without_a_header_is_told(root, rows, above):
    (root / "samples.csv").write_text("\n".join(rows))
    with pytest.raises(DataError, match="has no header: its first line names an image, '") as caught:
        list(Table(root, table="samples.csv").samples())
    assert caught.value.next == f"Write the names of the columns into a line above it, such as: {above}"


def test_a_column_that_is_called_like_an_image_is_one(root):
    (root / "samples.csv").write_text("image,mask.png\nx.png,1\n")
    assert Table(root, table="samples.csv").columns == {"mask_png": int}


def test_boxes(root):
    text = "image,label,left,top,w,h\na.png,x,1,2,3,4\na.png,y,-2,0,5,5\n"
    samples, dataset = read(root, text, box="left,top,w,h")
    assert [(s.id, s.box) for s in samples] == [
        ("a.png#xywh=1,2,3,4", (1, 2, 3, 4)),
        ("a.png#xywh=-2,0,5,5", (-2, 0, 5, 5)),
    ]
    assert dataset.read(samples[0]).shape == (4, 3, 3)
    check_dataset(dataset)


def test_columns_that_look_like_boxes_are_told_where_whole_images_are_taken(root):
    told = "Samples are whole images; to take the boxes that the table seems to hold: -o box=X,y,Width,height"
    samples, dataset = read(root, "image,id,Width,height,X,y\na.png,p,3,4,1,2\na.png,q,5,5,0,0\n")
    assert ([s.box for s in samples], dataset.warnings) == ([None, None], [told])
    boxes = {"box": "X,y,Width,height"}
    for options in (boxes, {"columns": "X,y,Width,height"}):
        samples, dataset = read(root, **options)
        assert [s.box is None for s in samples] == [options is not boxes] * 2
        assert dataset.warnings == []
    with pytest.raises(DataError, match="2 ids come twice") as caught:
        read(root, "image,x,y,w,h\n" + "a.png,0,0,2,2\na.png,2,0,2,2\n" + "b.png,0,0,2,2\n" * 2)
    assert (
        caught.value.next == "Name the columns of boxes: -o box=x,y,w,h. Or name a column of unique ids: -o id=COLUMN."
    )


@pytest.mark.parametrize("values", ["1,2,0,4", "1,2,3,-1", ",2,3,4", "x,2,3,4", "nan,2,3,4"])
def test_boxes_that_do_not_fit(root, values):
    with pytest.raises(DataError, match="Row 1 of the table"):
        read(root, f"image,left,top,w,h\na.png,{values}\n", box="left,top,w,h")


def test_whole_numbers_written_as_floats_are_boxes(root):
    samples, _ = read(root, "image,left,top,w,h\na.png,1.0,2.0,3.0,4.0\n", box="left,top,w,h")
    assert samples[0].box == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("values", "box"),
    [
        ("1.5,2,3,4", (1, 2, 4, 4)),
        ("1.2,2.9,0.3,0.3", (1, 2, 1, 2)),
        ("-0.5,-2,1,1", (-1, -2, 2, 1)),
        # What floating point is off by opens no new pixel.
        ("0.9999999999,2,2.0000000002,1", (1, 2, 2, 1)),
    ],
)
def test_edges_of_boxes_are_rounded_outwards(root, values, box):
    samples, _ = read(root, f"image,left,top,w,h\na.png,{values}\n", box="left,top,w,h")
    assert samples[0].box == box


@pytest.mark.parametrize(
    ("size", "box"),
    [
        # 4.6 - 2 is 2.6, 3.5 - 2 is 1.5: edges go to the nearest, halves upwards.
        ("4", (3, 2, 4, 4)),
        ("5px", (2, 1, 5, 5)),
        # 3 µm are 6 pixels of 0.5 µm, 1.9 µm are 3.8.
        ("3um", (2, 1, 6, 6)),
        ("1.9µm", (3, 2, 4, 4)),
        ("side", (1, 0, 7, 7)),
        ("side,4", (1, 2, 7, 4)),
    ],
)
def test_centres_with_a_size(root, size, box):
    text = "image,mpp,x,y,side\na.png,0.5,4.6,3.5,7\n"
    samples, dataset = read(root, text, centre="x,y", size=size)
    assert samples[0].box == box
    assert samples[0].id == f"a.png#xywh={','.join(map(str, box))}"
    assert dataset.read(samples[0]).shape == (box[3], box[2], 3)


def test_a_size_in_micrometres_needs_a_resolution(root):
    text = "image,um,x,y\na.png,0.25,4,4\nb.png,,4,4\n"
    with pytest.raises(DataError, match=r"Row 2 of the table .* has no resolution"):
        read(root, text, centre="x,y", size="2um", mpp="um")
    samples, _ = read(root, text, centre="x,y", size="2um", mpp="0.5")
    assert [(s.box, s.mpp) for s in samples] == [((2, 2, 4, 4), 0.5)] * 2
    with pytest.raises(DataError, match="less than a pixel"):
        read(root, text, centre="x,y", size="0.1um", mpp="0.5")
    with pytest.raises(UsageError, match="mpp=0 is no resolution"):
        read(root, text, mpp="0")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"centre": "x,y"}, "centre needs size"),
        ({"size": "3"}, "size needs centre"),
        ({"centre": "x", "size": "3"}, "1 columns instead of two"),
        ({"centre": "x,y", "size": "3,4,5"}, "3 columns instead of two"),
        ({"centre": "x,y", "size": "0um"}, "size=0um is nothing"),
        # As in QuPath's measurements, and as people write it.
        (
            {"centre": "Centroid X µm,Centroid Y µm", "size": "64"},
            "'Centroid X µm' is in µm by its name, and boxes are in pixels",
        ),
        ({"box": "x,y,w_um,h_um"}, "'w_um' is in um by its name"),
        ({"centre": "x,y", "size": "Width (mm)"}, r"'Width \(mm\)' is in mm by its name"),
        ({"centre": "x,y", "size": "3", "box": "x,y,w,h"}, "box says what centre and size say"),
    ],
)
def test_boxes_and_centres_that_do_not_go_together(root, options, message):
    with pytest.raises(UsageError, match=message):
        Table.from_options(root, {"table": "t.csv", **options})


@pytest.mark.parametrize("values", ["4,x,3", "4,,3", "nan,4,3", "4,4,0", "4,4,0.3", "3000000000,4,3", "True,4,3"])
def test_centres_that_do_not_fit(root, values):
    with pytest.raises(DataError, match="Row 1 of the table"):
        read(root, f"image,x,y,side\na.png,{values}\n", centre="x,y", size="side")


def test_rows_of_one_image_come_one_after_the_other(root):
    rows = "".join(f"{name}.png,{i},0,2,2\n" for i, name in enumerate(["b", "a", "b", "a", "sub/c", "b"]))
    samples, _ = read(root, f"image,x,y,w,h\n{rows}", box="x,y,w,h")
    found = [(sample.image[0], sample.box[0]) for sample in samples]
    assert found == [("b.png", 0), ("b.png", 2), ("b.png", 5), ("a.png", 1), ("a.png", 3), ("sub/c.png", 4)]
    for wrong, told in (("two", "w='two'"), ("0", "x,y,w,h='3,0,0,2'")):
        with pytest.raises(DataError, match=rf"Row 4 of the table .* has {told}"):
            read(root, f"image,x,y,w,h\n{rows}".replace("a.png,3,0,2", f"a.png,3,0,{wrong}"), box="x,y,w,h")


@pytest.mark.parametrize("value", ["0", "-1", "inf"])
def test_mpp_that_does_not_fit(root, value):
    with pytest.raises(DataError, match="Row 2 of the table"):
        read(root, f"image,mpp\na.png,0.5\nb.png,{value}\n")


def test_rows_without_an_image_are_counted(root):
    text = "image,label\n" + "".join(f"{name}.png,x\n" for name in ("a", "gone1", "b", "gone2", "gone3", "gone4"))
    samples, dataset = read(root, text + ",x\n")
    assert [sample.id for sample in samples] == ["a.png", "b.png"]
    assert dataset.warnings == [
        "5 rows were left out because their image is missing, for example 'gone1.png', 'gone2.png', 'gone3.png'"
    ]


def test_no_image_exists(root):
    with pytest.raises(
        DataError, match=r"gives no sample; 1 path does not exist, for example 'images/a.png'"
    ) as caught:
        read(root, "image,label\nimages/a.png,x\n")
    assert str(root) in caught.value.next
    with pytest.raises(DataError, match="it has no rows"):
        read(root, "image,label\n")


def test_rows_without_a_label_are_kept_and_counted(root):
    samples, dataset = read(root, "image,label\na.png,x\nb.png,\n")
    assert [sample.label for sample in samples] == ["x", None]
    assert dataset.warnings == ["1 row has no label, for example 'b.png'"]


def test_na_is_missing_unless_it_is_quoted(root):
    samples, dataset = read(root, 'image,label\na.png,NA\nb.png,N\nsub/c.png,"NA"\n')
    assert [s.label for s in samples] == [None, "N", "NA"]
    assert dataset.warnings == ["1 row has no label, for example 'a.png'"]


def test_duplicate_ids_are_named(root):
    with pytest.raises(DataError, match=r"1 id comes twice in the table .*: a\.png \(rows 1 and 3\)") as caught:
        read(root, "image,label\na.png,x\nb.png,x\na.png,y\n")
    assert "-o id=COLUMN" in caught.value.next


@pytest.mark.parametrize("path", ["./sub/c.png", "sub/./c.png", "sub//c.png", "sub/../sub/c.png", r"sub\c.png"])
def test_one_image_written_in_two_ways_comes_twice(root, path):
    with pytest.raises(DataError, match=r"1 id comes twice in the table .* \(rows 1 and 3\)"):
        read(root, f"image,label\nsub/c.png,x\nb.png,x\n{path},y\n")
    # Alone, what is written is its id, as ever.
    assert [s.id for s in read(root, f"image\n{path}\n")[0]] == [path.replace("\\", "/")]
    assert len(read(root, f"image,id\nsub/c.png,1\n{path},2\n")[0]) == 2


def test_paths_as_windows_writes_them(root):
    samples, dataset = read(root, "image,label\n" + r"sub\c.png,x" + "\na.png,y\n" + r"C:\data\a.png,y" + "\n")
    assert [(s.id, s.image) for s in samples] == [("sub/c.png", ("sub/c.png",)), ("a.png", ("a.png",))]
    assert r"1 row was left out because its image is missing, for example 'C:/data/a.png'" in dataset.warnings
    check_dataset(dataset)
    # Where a backslash is a letter of a name, it stays.
    (root / "a.png").rename(root / r"sub\c.png")
    assert [s.image for s in read(root, "image\n" + r"sub\c.png" + "\n")[0]] == [(r"sub\c.png",)]


def test_a_row_without_id(root):
    with pytest.raises(DataError, match=r"Row 2 .* has no id"):
        read(root, "image,id\na.png,x\nb.png,\n")


def test_taken_names_are_left_out_and_reported(root):
    _, dataset = read(root, "image,label,grade,part\na.png,x,1,2\n", label="grade")
    assert dataset.columns == {}
    assert [w.split(" was")[0] for w in dataset.warnings] == ["The column 'label'", "The column 'part'"]


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"image": "imag"}, "no column 'imag'", "Did you mean 'image'?"),
        ({"label": "lable"}, "no column 'lable'", "Did you mean 'label'?"),
        ({"group": "patient"}, "no column 'patient'", "Name the right one with -o group=COLUMN"),
        ({"image": "file"}, "no column 'file'", "Name the right one with -o image=COLUMN"),
        ({"box": "x,y,w,h"}, "no column 'x'", "Its columns"),
        ({"split": "fold"}, "no column 'fold'", "Its columns"),
        ({"columns": "age,sex"}, "no column 'sex'", "Its columns"),
        ({"levels": "well"}, "no column 'well'", "Its columns"),
        ({"positive": "tumor"}, "positive='tumor'", "Did you mean 'tumour'?"),
        ({"classes": "tumour"}, "'normal' is not among the classes", "classes=normal,tumour"),
    ],
)
def test_options_that_the_table_does_not_fit(root, options, message, hint):
    with pytest.raises(UsageError) as caught:
        read(root, **options)
    assert message in caught.value.message
    assert hint in caught.value.next


@pytest.mark.parametrize(
    ("options", "message"),
    [({}, "needs the option 'table'"), ({"table": "t", "box": "x,y"}, "2 columns instead of four")],
)
def test_options_that_are_wrong_in_themselves(root, options, message):
    with pytest.raises(UsageError, match=message):
        Table.from_options(root, options)
    with pytest.raises(UsageError, match="'mpp', which is the name of a field"):
        Table.from_options(root, {"table": "t", "columns": "mpp"})


def test_tables_that_cannot_be_read(root):
    for text, reason in (("image,image\na,b\n", "several columns named 'image'"), ("", "cannot be read")):
        with pytest.raises(DataError, match=reason):
            read(root, text)
    (root / "t.csv").write_bytes(b"image,label\n\xff\xfe,1\n")
    with pytest.raises(DataError):
        read(root)
    (root / "t.parquet").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read"):
        read(root, table="t.parquet")
    with pytest.raises(DataError, match=r"gone\.csv' does not exist"):
        read(root, table="gone.csv")
    with pytest.raises(DataError, match=r"The folder .* does not exist"):
        list(Table(root / "nowhere", table=str(root / "t.csv")).samples())


class TestSplit:
    TEXT = "image,slide,set\na.png,s1,train\nb.png,s2,Testing\nsub/c.png,s3,validation\ngone.png,s4,test\n"

    def test_roles(self, root):
        _, dataset = read(root, self.TEXT, split="set", group="slide")
        split = dataset.splits()["table"]
        assert [(row.repeat, row.fold, row.sample_id, row.role) for row in split.rows] == [
            (0, 0, "a.png", "train"),
            (0, 0, "b.png", "test"),
            (0, 0, "sub/c.png", "val"),
        ]
        assert (split.group, split.leaks) == ("slide", None)
        assert list(dataset.columns) == ["slide"]
        check_dataset(dataset)

    def test_none_without_the_option(self, root):
        assert read(root, self.TEXT)[1].splits() == {}

    def test_a_sample_outside_the_split(self, root):
        _, dataset = read(root, self.TEXT.replace("validation", ""), split="set")
        assert Counter(row.role for row in dataset.splits()["table"].rows) == {"train": 1, "test": 1}

    def test_an_unknown_role(self, root):
        _, dataset = read(root, self.TEXT.replace("validation", "holdout"), split="set")
        with pytest.raises(DataError, match=r"Row 3 .* set='holdout'"):
            dataset.splits()

    def test_a_group_on_both_sides_is_said_to_leak(self, root):
        _, dataset = read(root, self.TEXT.replace("s2", "s1"), split="set", group="slide")
        split = dataset.splits()["table"]
        assert split.leaks == "1 value of slide is in the test set and outside it, for example s1"
        assert split.group is None
        check_dataset(dataset)

    def test_training_and_validation_may_share_a_group(self, root):
        _, dataset = read(root, self.TEXT.replace("s3", "s1"), split="set", group="slide")
        assert dataset.splits()["table"].leaks is None


def test_missing_numbers_are_none_in_either_form(root):
    path = root / "t.parquet"
    parquet.write_table(pa.table({"image": ["a.png"], "um": [math.nan], "age": [math.nan]}), path)
    (sample,) = Table(root, table="t.parquet", mpp="um").samples()
    assert (sample.mpp, dict(sample.metadata)) == (None, {"age": None})
    (sample,) = read(root, "image,mpp,age\na.png,nan,nan\n")[0]
    assert (sample.mpp, dict(sample.metadata)) == (None, {"age": None})


def test_mpp_that_is_text(root):
    with pytest.raises(DataError, match="has mpp='x'"):
        read(root, "image,mpp\na.png,x\n")


def test_single_precision_of_parquet_is_its_shortest_decimal(tmp_path):
    column = pa.chunked_array([pa.array([0.1, 0.2, None, 1.1], pa.float32())])
    assert tables.plain(column).to_pylist() == [0.1, 0.2, None, 1.1]


def test_all_names_of_numbers_of_rows_are_passed_over():
    names = ["", "Unnamed: 0", "Unnamed: 0.1", "Unnamed: 0.1.1", "__index_level_0__", "Unnamed: 0_level_1"]
    assert [name for name in names if not tables.is_index(name)] == []
    assert not tables.is_index("Unnamed: wells")


def test_a_misspelt_column_of_a_channel_is_named(root):
    text = "DAPI_path,gfp\na.png,b.png\n"
    with pytest.raises(UsageError, match="has no column 'gpf'") as caught:
        read(root, text, channels="DAPI:DAPI_path,GFP:gpf")
    assert "Did you mean 'gfp'?" in caught.value.next


def test_boxes_in_shares_of_the_image_are_refused(root):
    with pytest.raises(DataError, match=r"Row 1 of the table .* lies inside the first pixel") as caught:
        read(root, "image,x,y,w,h\na.png,0.25,0.5,0.25,0.5\n", box="x,y,w,h")
    assert "in pixels" in caught.value.next
    (sample,), _ = read(root, "image,x,y,w,h\na.png,2.25,0.5,0.25,0.5\n", box="x,y,w,h")
    assert sample.box == (2, 0, 1, 1)


def test_centres_in_shares_of_the_image_are_refused_where_all_are(root):
    options = {"centre": "x,y", "size": "4"}
    with pytest.raises(DataError, match=r"All centres \(x, y\) in the table .* lie inside the first pixel") as caught:
        read(root, "image,x,y\na.png,0.25,0.5\nb.png,1,0.125\n", **options)
    assert "in pixels" in caught.value.next
    samples, _ = read(root, "image,x,y\na.png,0.25,0.5\nb.png,1.5,0.125\n", **options)
    assert [sample.box for sample in samples] == [(-2, -1, 4, 4), (0, -2, 4, 4)]
    (sample,), _ = read(root, "image,x,y\na.png,0,0\n", **options)
    assert sample.box == (-2, -2, 4, 4)
