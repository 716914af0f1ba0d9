"""What cells mean: the types, the missing and the texts of columns, through the door of `read_table`."""

from __future__ import annotations

import datetime
import decimal
import gzip
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from histokit.datasets import csv_file
from histokit.datasets.alike import alike_notes
from histokit.datasets.tables import TidyTable, find_table, read_table, stored_name
from histokit.errors import DataError, UsageError

NFD, NFC = "a\u0308", "\u00e4"


def sheet(folder: Path, text: str | bytes, name: str = "t.csv", **roles: Any) -> TidyTable:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(path, **roles)


def column(folder: Path, *lines: str, **roles: Any) -> list[Any]:
    """The values of a column ``x`` beside which stands another one."""
    return sheet(folder, "k,x\n" + "".join(f"k,{line}\n" for line in lines), **roles).table.column("x").to_pylist()


@pytest.mark.parametrize(
    ("lines", "values"),
    [
        (["1", "-2", ""], [1, -2, None]),
        (["1", "2", "NA", "N/A", "n/a", "#N/A", "NULL", "null", "None", "NaN", "nan", "-nan"], [1, 2, *[None] * 10]),
        (["1.5", '"NA"', " NaN "], [1.5, None, None]),
        (["1.0", "2.00", ""], [1, 2, None]),
        (["1e+05", "5.5"], [100000.0, 5.5]),
        ([".5", "5.", "-0.25"], [0.5, 5.0, -0.25]),
        (["007", "7"], ["007", "7"]),
        (["1.1", "1.10"], ["1.1", "1.10"]),
        (["1E5", "12"], ["1E5", "12"]),
        (["12345678901234567890", "1"], ["12345678901234567890", "1"]),
        (["9223372036854775807", "1"], [9223372036854775807, 1]),
        (["9007199254740993", "0.5"], ["9007199254740993", "0.5"]),
        (["TRUE", "False", "true", "NA"], [True, False, True, None]),
        (["T", "F"], ["T", "F"]),
        (["2020-01-02", "2020-01-03"], ["2020-01-02", "2020-01-03"]),
        ([" a", "a ", "\u00a0a\u200b", '" a "'], ["a"] * 4),
        ([NFD, NFC], [NFC, NFC]),
        (["a", "NA ", '"NA"', "none", "-"], ["a", None, "NA", "none", "-"]),
        (['"a\nb"', '"say ""x"""'], ["a\nb", 'say "x"']),
        (["NA", ""], [None, None]),
        (['"NA"', '"NA"'], ["NA", "NA"]),
        (["01", "2", "-"], ["01", "2", "-"]),
        (['"1,5"', '"2,5"'], ["1,5", "2,5"]),
    ],
)
def test_types_and_gaps(tmp_path: Path, lines: list[str], values: list[Any]) -> None:
    found = column(tmp_path, *lines)
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


def test_what_is_missing_is_what_pandas_takes_for_missing(tmp_path: Path) -> None:
    words = [
        "NA",
        "N/A",
        "n/a",
        "<NA>",
        "#N/A",
        "#N/A N/A",
        "#NA",
        "NULL",
        "null",
        "None",
        "NaN",
        "nan",
        "-NaN",
        "-nan",
    ]
    words += [
        "1.#IND",
        "-1.#IND",
        "1.#QNAN",
        "-1.#QNAN",
        "",
        "na",
        "none",
        "Null",
        "missing",
        "-",
        "?",
        "N",
        "inf",
        "0",
    ]
    (tmp_path / "p.csv").write_text("k,x\n" + "".join(f"k,{word}\n" for word in [*words, "text"]))
    expected = pd.read_csv(tmp_path / "p.csv")["x"].isna().tolist()
    assert [value is None for value in column(tmp_path, *words, "text")] == expected


def test_separators_within_quotes_separate_nothing(tmp_path: Path) -> None:
    assert sheet(tmp_path, '"a;b;c",d\n1,2\n').table.to_pydict() == {"a;b;c": [1], "d": [2]}


@pytest.mark.parametrize(
    ("lines", "texts"),
    [
        (["1.0", "2.0", ""], ["1", "2", None]),
        (["TRUE", "false"], ["True", "False"]),
        (["0.50", "2"], ["0.5", "2.0"]),
        (["1.1", "1.10"], ["1.1", "1.10"]),
        (["007", "NA"], ["007", None]),
    ],
)
def test_a_column_has_one_meaning_whatever_it_is_used_for(
    tmp_path: Path, lines: list[str], texts: list[str | None]
) -> None:
    assert column(tmp_path, *lines, texts=["x"]) == texts
    assert [None if value is None else str(value) for value in column(tmp_path, *lines)] == texts


def test_keys_stay_as_they_are_written(tmp_path: Path) -> None:
    assert column(tmp_path, "1.0", "TRUE", " 1e3", keys=["x"]) == ["1.0", "TRUE", "1e3"]


@pytest.mark.parametrize("bad", ["-", "#DIV/0!", "Inf", "-inf", "1,234", "1,5", "1 234", "\u22123", "+3", "?"])
def test_a_cell_that_stands_for_a_number_is_an_error(tmp_path: Path, bad: str) -> None:
    with pytest.raises(DataError, match=r"Row 3 of the table .* has x=") as caught:
        column(tmp_path, "1", "2", f'"{bad}"')
    assert repr(bad) in caught.value.message
    assert "-o text=x" in caught.value.next
    assert ("point" in caught.value.next) == (bad in ("1,234", "1,5", "1 234"))
    assert column(tmp_path, "1", "2", f'"{bad}"', texts=["x"]) == ["1", "2", bad]


def test_numbers_beyond_all_bounds_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Row 2 .* has x='1e\+400'"):
        column(tmp_path, "1.5", "1e+400")


def test_another_text_among_numbers_is_said(tmp_path: Path) -> None:
    found = sheet(tmp_path, "x,k\n1,k\n2,k\n3b,k\n")
    assert found.table.column("x").to_pylist() == ["1", "2", "3b"]
    assert found.notes == ["The column 'x' is text, not numbers, because row 3 has '3b'"]
    assert sheet(tmp_path, "x,k\n1,k\na,k\nb,k\n").notes == []
    assert sheet(tmp_path, "x,k\n1,k\na,k\n").notes == []
    for bad in ("03", "-02", "00.5"):
        found = sheet(tmp_path, f"x,k\n1,k\n{bad},k\n20,k\n3,k\n")
        assert found.notes == [f"The column 'x' is text, not numbers, because row 2 has {bad!r}"]
    assert sheet(tmp_path, "x,k\n007,k\n7,k\n07,k\n1e3,k\n1000,k\n10,k\n8,k\n9,k\n").notes == []
    # Up to one in twenty is rare, more are codes.
    for zeros, notes in ((3, ["The column 'x' is text, not numbers, because row 1 has '012'"]), (4, [])):
        rows = "012,k\n" * zeros + "7,k\n" * (60 - zeros)
        assert sheet(tmp_path, f"x,k\n{rows}").notes == notes
    # Filled up to a width, as plates and wells are.
    assert sheet(tmp_path, "x,k\n08,k\n09,k\n10,k\n11,k\n12,k\n,k\n").notes == []
    assert "because row 1 has '1,5'" in sheet(tmp_path, 'x,k\n"1,5",k\n"2,5",k\n').notes[0]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("x;y\n1;a,b\n", "t.csv"),
        ("x\ty\n1\ta,b\n", "t.csv"),
        ("x\ty\n1\ta,b\n", "t.tsv"),
        ("\ufeffx;y\r\n1;a,b\r\n", "t.csv"),
        ('x,y\r1,"a,b"\r', "t.csv"),
        (' x , y\u00a0\n1,"a,b"\n', "t.csv"),
        ("x\ty\n1\ta,b\n".encode("utf-16"), "t.csv"),
        ('\n"x","y"\n\n"1","a,b"\n', "t.csv"),
        ('x,"y"\n1,"a,b"\n', "t.csv"),
    ],
)
def test_separators_encodings_and_ends_of_lines(tmp_path: Path, text: str | bytes, name: str) -> None:
    assert sheet(tmp_path, text, name).table.to_pydict() == {"x": [1], "y": ["a,b"]}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "it is empty"),
        (b"\xef\xbb\xbf\n \n", "it is empty"),
        ("x,y\n1,ä\n".encode("latin-1"), r"line 2, '1,\\xe4', is not valid UTF-8"),
        ("ä,y\n1,2\n".encode("latin-1"), r"line 1, .* is not valid UTF-8"),
        ("x,y\n1,2\n".encode("utf-16-le"), "zero bytes"),
        (b"PK\x03\x04....", "a workbook of a spreadsheet program"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "a workbook of Excel"),
        (b"x,y\n1,2\n3,4,5\n", "row 2 has 3 cells, and the header 2: 3,4,5"),
        (b"# made by hand\nx,y\n1,2\n", "row 1 has 2 cells, and the header 1: x,y"),
        (b"<!DOCTYPE html><html>404</html>\n", "is an HTML page, not the file behind it"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a pointer of Git LFS, not the file"),
        (gzip.compress(b"x,y\n1,2\n", mtime=0), r"it is packed by gzip, which its name has to say \(.csv.gz\)"),
        (b'x,y\n1,2\n3,"a\n4,b\n5,c\n', "row 2 has a quote that never ends"),
        (b"x, x\n1,2\n", "several columns named 'x'"),
        (b'[{"x": 1, "y": 2}]', "it is a JSON document"),
        (b'\xef\xbb\xbf[\n  {\n    "x": 1\n  }\n]\n', "it is a JSON document"),
        (b'{"x": 1, "y": 2}\n{"x": 3, "y": 4}\n', "it is a JSON document"),
        (f"{NFC},{NFD}\n1,2\n".encode(), "several columns named"),
        (b"a.b,a_b\n1,2\n", "several columns that the store calls 'a_b'"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        sheet(tmp_path, text)
    assert caught.value.next


@pytest.mark.parametrize("content", [b"PK", b"PK\x03\x04...", b"", b"x,y\n1,2\n"])
@pytest.mark.parametrize("suffix", ["xlsx", "XLSX", "ods"])
def test_workbooks_are_told_what_to_do(tmp_path: Path, suffix: str, content: bytes) -> None:
    (path := tmp_path / f"book.{suffix}").write_bytes(content)
    with pytest.raises(DataError, match="it is a workbook of a spreadsheet program") as caught:
        read_table(path)
    assert caught.value.next.startswith("Open it and save the sheet that is meant as CSV in UTF-8")


def test_a_column_may_be_called_as_archives_begin(tmp_path: Path) -> None:
    assert sheet(tmp_path, b"PK,y\n1,2\n").table.column_names == ["PK", "y"]


def test_a_header_alone(tmp_path: Path) -> None:
    assert sheet(tmp_path, "x,y\n").table.to_pydict() == {"x": [], "y": []}


def test_a_quote_within_a_line_at_the_end_is_none_that_never_ends(tmp_path: Path) -> None:
    assert column(tmp_path, 'a"', '"b\nc"') == ['a"', "b\nc"]


def test_numbers_of_rows_are_passed_over(tmp_path: Path) -> None:
    for header in ("", "Unnamed: 0", "__index_level_0__"):
        found = sheet(tmp_path, f"{header},x\n0,1\n1,2\n")
        assert found.table.column_names == ["x"]
        assert "was passed over" in found.notes[0]
    assert sheet(tmp_path, "Unnamed: 0,x\n007,1\n", keys=["Unnamed: 0"]).table.column(0).to_pylist() == ["007"]


def test_names_that_the_store_does_not_take(tmp_path: Path) -> None:
    found = sheet(tmp_path, "patient.id,_rowid,a`b,__,x/y\n1,2,3,4,5\n")
    assert found.table.column_names == ["patient_id", "rowid_", "a_b", "column__", "x/y"]
    assert "The column 'patient.id' is called 'patient_id'" in found.notes[0]
    assert [stored_name(name) for name in ("_index", "a\nb", "ok")] == ["index_", "a_b", "ok"]


def test_columns_of_parquet(tmp_path: Path) -> None:
    gap = math.nan
    columns = {
        "whole": pa.array([1.0, gap, 3.0]),
        "part": pa.array([0.5, gap, 3.0], pa.float32()),
        "flag": pa.array([True, None, False]),
        "category": pa.array([" a", None, "b"]).dictionary_encode(),
        "code": pa.array([12, None, 13]).dictionary_encode(),
        "large": pa.array(["x", "", "NA"], pa.large_string()),
        "view": pa.array([NFD, None, "b"], pa.string_view()),
        "bytes": pa.array([b"x", None, b"y"]),
        "long": pa.array([2**64 - 1, None, 1], pa.uint64()),
        "barcode": pa.array([decimal.Decimal("12345678901234567890"), None, decimal.Decimal(1)], pa.decimal128(38, 0)),
        "price": pa.array([decimal.Decimal("1.50"), None, decimal.Decimal(2)], pa.decimal128(10, 2)),
        "day": pa.array([datetime.date(2020, 1, 2), None, None]),
        "at_midnight": pa.array([datetime.datetime(2020, 1, 2), None, None], pa.timestamp("ns")),
        "moment": pa.array([datetime.datetime(2020, 1, 2, 3, 4, 5, 500000), None, None], pa.timestamp("us")),
        "some_at_midnight": pa.array([datetime.datetime(2020, 1, 2), None, datetime.datetime(2020, 1, 2, 3)]),
        "tags": pa.array([["x"], None, []]),
    }
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table(columns), path)
    found = read_table(path)
    assert found.table.to_pydict() == {
        "whole": [1, None, 3],
        "part": [0.5, None, 3.0],
        "flag": [True, None, False],
        "category": ["a", None, "b"],
        "code": [12, None, 13],
        "large": ["x", None, "NA"],
        "view": [NFC, None, "b"],
        "bytes": ["x", None, "y"],
        "long": ["18446744073709551615", None, "1"],
        "barcode": ["12345678901234567890", None, "1"],
        "price": [1.5, None, 2.0],
        "day": ["2020-01-02", None, None],
        "at_midnight": ["2020-01-02", None, None],
        "moment": ["2020-01-02 03:04:05.5", None, None],
        "some_at_midnight": ["2020-01-02 00:00:00", None, "2020-01-02 03:00:00"],
    }
    assert found.notes == ["The column 'tags' was left out: it holds lists or records"]
    texts = read_table(path, texts=["whole", "part", "flag"]).table
    assert [texts.column(name).to_pylist() for name in ("whole", "part", "flag")] == [
        ["1", None, "3"],
        ["0.5", None, "3.0"],
        ["True", None, "False"],
    ]


def test_an_infinite_number_of_parquet_is_an_error(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"x": [1.5, -math.inf]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"Row 2 of the table .* has x='-inf'"):
        read_table(tmp_path / "t.parquet")


def test_a_column_of_pictures_is_named(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"x": [1], "thumb": [b"\x89PNG\xff"]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"The column 'thumb' of the table .* cannot be read: Invalid UTF8") as caught:
        read_table(tmp_path / "t.parquet")
    assert "leave out columns of bytes" in str(caught.value.next)


def test_where_a_table_is_sought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, here = tmp_path / "root", tmp_path / "here"
    root.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    assert find_table(root, "t.csv", "table") == root / "t.csv"
    (here / "t.csv").write_text("x\n")
    assert find_table(root, "t.csv", "table") == here / "t.csv"
    (root / "t.csv").write_text("x\n")
    assert find_table(root, "t.csv", "table") == root / "t.csv"
    (root / "t.csv").write_text("y\n")
    with pytest.raises(UsageError, match="which differ") as caught:
        find_table(root, "t.csv", "labels")
    assert f"-o labels={root / 't.csv'}" in caught.value.next
    assert find_table(root, str(here / "t.csv"), "table") == here / "t.csv"


def test_nearly_equal_names_are_said() -> None:
    notes = alike_notes("class", ["Tumour", "tumour", "tumour", "a  b", "a b", "x", None, "\ufb01", "fi"])
    assert notes == [
        "Values of class differ in blanks, unseen letters, case, or the form of letters or numbers alone, "
        "and count as different: "
        "'Tumour' (1) and 'tumour' (2); 'a  b' (1) and 'a b' (1); 'fi' (1) and '\ufb01' (1)"
    ]
    assert alike_notes("class", ["a", "b", None]) == []
    assert "is called 'nan' (2), 'NA' (1)" in alike_notes("class", ["nan", "nan", "NA"])[-1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("1", "1.0"), ("1", "1.00"), ("1", "01"), ("-2", "-2.0"), ("0", "-0"), ("0.5", ".5"), ("100", "1e2")),
        *(("ab", f"a{letter}b") for letter in "\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u2060\u2066\ufeff"),
        *(("a b", f"a{letter}b") for letter in "\u00a0\u2009\u202f\u3000\t"),
    ],
)
def test_names_that_look_the_same_or_are_one_number_are_said(one: str, other: str) -> None:
    (note,) = alike_notes("group", [one, other, "c"])
    assert note.endswith(f"count as different: {' and '.join(f'{name!r} (1)' for name in sorted((one, other)))}")


def test_codes_and_numbers_that_differ_are_not_said() -> None:
    assert alike_notes("group", ["1", "1.1", "11", "1e1", "a1", "a1.0", "9007199254740993", "9007199254740992"]) == []


@pytest.mark.parametrize(
    "name",
    ["none", "Unknown", "-", "--", "\u2013", ".", "?", "nan", "NULL", "null", "n.a.", "<unknown>", "#N/A", "\u2060"],
)
def test_groups_that_stand_for_nothing_are_said(name: str) -> None:
    (note,) = alike_notes("slide", ["a", name, name, "b"])
    assert note.startswith(f"A slide is called {name!r} (2); where that stands for a missing value, leave")


@pytest.mark.parametrize("name", ["#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#N/A", "#GETTING_DATA"])
@pytest.mark.parametrize("unit", [True, False])
def test_what_a_spreadsheet_writes_for_a_failed_formula_is_said(name: str, unit: bool) -> None:
    for others in (["7", "8"], ["007", "008"], ["a", "b"]):
        (note,) = alike_notes("x", [*others, *others, name], unit)
        assert note.startswith(f"A x is called {name!r} (1); where that stands for a missing value")
    assert alike_notes("x", ["#1", "#a", "#12 left"], unit) == []


@pytest.mark.parametrize("name", ["inf", "-Infinity", "1,234", "+1", "1 234", "\u22121"])
def test_a_name_that_is_no_number_among_numbers_is_said(name: str) -> None:
    for unit in (True, False):
        assert alike_notes("x", ["7", "8", "9", name, name], unit) == [
            f"A x is called {name!r} (2), and most others are numbers"
        ]
        assert alike_notes("x", ["7", "8", "9", "B12"], unit) == []


def test_classes_may_be_called_as_groups_are_not() -> None:
    assert alike_notes("class", ["+", "-", "none", "unknown"], unit=False) == []
    assert "is called '?' (1)" in alike_notes("class", ["a", "?"], unit=False)[0]


@pytest.mark.parametrize("text", ["id,{}\na,1\nb,2\n", "id,x\na,{}\nb,2\n"], ids=["header", "cell"])
def test_lines_of_megabytes(tmp_path: Path, text: str) -> None:
    long = "z" * 3_500_000
    path = tmp_path / "wide.csv"
    path.write_text(text.format(long))
    names = ["id", long if text.startswith("id,{") else "x"]
    assert csv_file.header(path) == names
    table = csv_file.read_csv(path)
    assert table.column_names == names
    assert table.column(1).to_pylist() in (["1", "2"], [long, "2"])
