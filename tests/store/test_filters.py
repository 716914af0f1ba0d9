"""Filters mean what SQL means by them, or are refused whole; SQLite says what that is."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import histokit
from histokit import cli
from histokit.errors import UsageError
from histokit.store.filters import Filter
from tests.toy import make_samples, make_store

#: Columns of each type with missing values, upper case, a blank, a dot, and a word of the grammar as a name.
COLUMNS: dict[str, list[Any]] = {
    "id": ["a", "b", "c", "d", "e", "f", "g", "h"],
    "slide": ["slide01", "slide02", "Slide01", None, "it's", "a%b", "a\nb", ""],
    "Metadata_Plate": ["P0", "P1", "P0", "P2", None, "P10", "p0", "P0"],
    "cell line": ["HeLa", "hela", None, "A549", "HeLa ", "x", "slide02", "é"],
    "a.b": ["q", None, "q", "r", "r", "s", "", "q"],
    "and": [1, 0, None, 3, 1, 1, -1, 2],
    "age": [30, 40, None, 60, -5, 0, 50, 9],
    "dose": [0.5, None, 14.5, -2.0, 1e10, 0.0, 30.0, 9.0],
    "dead": [True, False, None, True, False, None, True, False],
}
TABLE = pa.table(COLUMNS)


def kept(where: str, table: pa.Table = TABLE) -> list[str]:
    return Filter(where).keep(table).column("id").to_pylist()


def by_sqlite(where: str, columns: dict[str, list[Any]] = COLUMNS) -> list[str]:
    names = ", ".join(f'"{name}"' for name in columns)
    with closing(sqlite3.connect(":memory:")) as base:
        base.execute("PRAGMA case_sensitive_like = ON")
        base.execute(f"CREATE TABLE t ({names})")
        base.executemany(f"INSERT INTO t VALUES ({', '.join('?' * len(columns))})", zip(*columns.values(), strict=True))
        return [row[0] for row in base.execute(f"SELECT id FROM t WHERE {where} ORDER BY rowid")]


BY_HAND = {
    "\"Metadata_Plate\" <> 'P0'": list("bdfg"),
    "Metadata_Plate <> 'P0'": list("bdfg"),
    "metadata_plate <> 'P0'": list("bdfg"),
    "`Metadata_Plate` = 'P0'": list("ach"),
    "\"cell line\" = 'HeLa' OR \"a.b\" = 's'": list("af"),
    '"and" = 1': list("aef"),
    'slide = "cell line" OR "id" = \'a\'': list("a"),
    "slide = 'it''s'": ["e"],
    "slide = ''": ["h"],
    "age = 30 or age = 40 and dead": ["a"],
    "(age = 30 or age = 40) and dead": ["a"],
    "not age = 30 and not dead": list("beh"),
    "not (age = 30 and not dead)": list("abdefgh"),
    "slide is null": ["d"],
    "slide is not null and age is null": ["c"],
    "age <> 30": list("bdefgh"),
    "not age > 30": list("aefh"),
    "age between -5 and 30": list("aefh"),
    "age not between 0 and 40": list("deg"),
    "30 <= age": list("abdg"),
    "- 5 = age": ["e"],
    "age > 29.5 and age < 30.5": ["a"],
    "age >= 30.5": list("bdg"),
    "age <= 29.5": list("efh"),
    "age = 30.0 or age = 4e1": list("ab"),
    "age = 29.5": [],
    "age <> 29.5": list("abdefgh"),
    "dose > age": list("e"),
    "slide in ('slide01', 'it''s', 'nothing')": list("ae"),
    "slide not in ('slide01')": list("bcefgh"),
    "age in (30, 9.0, 9.5, 1e30)": list("ah"),
    "dose in (0.5, 30)": list("ag"),
    "age in (9.5, 30.25)": [],
    "slide like 'a%%b' escape '%'": list("f"),
    " and ".join(["not (age = 41)"] * 150): list("abdefgh"),
    "dead in (false)": list("beh"),
    "slide like 'slide0_'": list("ab"),
    "slide ilike 'SLIDE0_'": list("abc"),
    "slide like 'a%'": list("fg"),
    "slide not like '%0%'": list("efgh"),
    r"slide like 'a\%b'": ["f"],
    "slide like 'a!%b' escape '!'": ["f"],
    "slide like 'a.b' or slide like 'A%'": [],
    "dead": list("adg"),
    "not dead": list("beh"),
    "dead is true": list("adg"),
    "dead is not true": list("bcefh"),
    "dead is unknown": list("cf"),
    "dead = false": list("beh"),
    "slide is distinct from 'slide01'": list("bcdefgh"),
    "\"a.b\" is not distinct from 'q'": list("ach"),
    "slide is not distinct from Metadata_Plate": [],
    "lower(slide) = 'slide01'": list("ac"),
    "length(slide) = 3 and abs(age) <= 5": ["f"],
    "trim(\"cell line\") = 'HeLa'": list("ae"),
    "1=1": list("abcdefgh"),
    "true and 'x' < 'y' and 2 > 1.5": list("abcdefgh"),
    "false": [],
}


@pytest.mark.parametrize("where", BY_HAND)
def test_what_filters_keep(where: str) -> None:
    assert kept(where) == BY_HAND[where]


#: Filter → what the error says of it, and which place it names.
REFUSED = {
    "": "is empty",
    "  ": "is empty",
    "slide = 'slide01' ORR slide = 'slide02'": "'ORR': expected AND, OR or the end",
    "1=1; DROP TABLE x": "';': a filter is one condition",
    "true)": "')': expected AND, OR or the end",
    "(true": "at its end: expected )",
    "slide = 'slide01' slide": "expected AND, OR or the end",
    "slide = 'slide01' 'x'": "expected AND, OR or the end",
    "slide = 'slide01' AND": "at its end: expected a column",
    "slide =": "at its end: expected a column",
    "= 'x'": "expected a column",
    "slide = $1": "no placeholders",
    "slide = ?": "no placeholders",
    "slide = :x": "no placeholders",
    "age > 3 -- and dead": "no comments",
    "age > --3": "no comments",
    "age > 3 /* x */": "no comments",
    "age > 3 # x": "no comments",
    "age + 1 > 3": "no arithmetic",
    "age % 2 = 0": "no arithmetic",
    "slide || 'x' = 'x'": "no arithmetic",
    "slide IN (SELECT id FROM t)": "no other table",
    "EXISTS (SELECT 1)": "no function 'EXISTS'",
    "(SELECT 1) = 1": "no other table",
    "read_csv('/etc/passwd') = 'x'": "no function 'read_csv'",
    "load_extension('x')": "no function 'load_extension'",
    "id = readfile('/etc/passwd')": "no function 'readfile'",
    "CASE WHEN dead THEN true END": "expected AND, OR or the end",
    "slide = ‘slide01’": "texts stand between ' and '",
    "slide = “slide01”": "texts stand between ' and '",
    "slide = 'slide01": "no quote ends",
    '"slide = 1': "no quote ends",
    "`slide = 1": "no quote ends",
    "\"\" = 'x'": "between its double quotes",
    "slide": "this is a text",
    "age": "this is a number",
    "1": "this is a number",
    "'x'": "this is a text",
    "NOT age": "this is a number",
    "dead AND 1": "this is a number",
    "slid = 'x'": "there is no column 'slid'",
    "\"slide01\" = 'x'": "there is no column 'slide01'",
    "slide = slide01": "there is no column 'slide01'",
    "\"SLIDE\" = 'x'": "there is no column 'SLIDE'",
    "a.b = 'q'": "a name with a dot stands in double quotes",
    "age = '30'": "numbers cannot be compared with text",
    "age IN ('30')": "numbers cannot be compared with text",
    "age BETWEEN 1 AND '9'": "numbers cannot be compared with text",
    "slide = 5": "text cannot be compared with numbers",
    "slide > age": "text cannot be compared with numbers",
    "dead = 1": "truth values cannot be compared with numbers",
    "dead = 'true'": "truth values cannot be compared with text",
    "dead > false": "truth values are equal or not",
    "age LIKE '3%'": "LIKE looks at text",
    "lower(age) = 'x'": "lower takes text",
    "slide = NULL": "write IS NULL",
    "slide <> null": "write IS NULL",
    "slide IN ('a', NULL)": "IS NULL behind the list",
    "slide IN ()": "expected a text in single quotes",
    "slide IN 'a'": "expected (",
    "slide IN (id)": "expected a text in single quotes",
    "1 < age < 50": "expected AND, OR or the end",
    "slide = 'a' = dead": "expected AND, OR or the end",
    "slide NOT 'a'": "expected IN, LIKE, ILIKE or BETWEEN",
    "slide IS 'a'": "expected NULL, TRUE, FALSE",
    "slide LIKE id": "expected a pattern in single quotes",
    "slide LIKE 'a' ESCAPE 'xy'": "one character escapes",
    "x'61' = id": "expected AND, OR or the end",
    "age > 1e999": "too large",
    "age = 0x1F": "no meaning",
    "age = 1_000": "no meaning",
    "age = 1 \x00": "no meaning",
    "and = 1": 'in double quotes: "and"',
    "(" * 200 + "true" + ")" * 200: "nested more than 100 deep",
    "NOT " * 200 + "true": "nested more than 100 deep",
}


@pytest.mark.parametrize("where", REFUSED)
def test_what_is_refused(where: str) -> None:
    with pytest.raises(UsageError) as caught:
        kept(where)
    assert REFUSED[where] in caught.value.message
    assert caught.value.next


def test_refusal_does_not_depend_on_rows() -> None:
    for where in ("slide = 5", "slid = 'x'", "age", "false AND age = 'x'"):
        with pytest.raises(UsageError):
            kept(where, TABLE.slice(0, 0))
    assert kept("true OR dead", TABLE.slice(0, 0)) == []


def test_hints() -> None:
    def hint(where: str) -> str:
        with pytest.raises(UsageError) as caught:
            kept(where)
        return caught.value.next

    assert hint("slid = 'x'").startswith("Did you mean 'slide'")
    assert "The columns are: id, slide, Metadata_Plate" in hint("slid = 'x'")
    assert "A text stands in single quotes: 'slide01'" in hint('slide = "slide01"')
    assert "numbers stand without quotes: 5" in hint("age = '30'")
    assert "Write TRUE or FALSE" in hint("dead = 1")
    assert "Did you mean 'lower'? " in hint("lowr(slide) = 'x'")


def test_names_that_need_double_quotes_are_told() -> None:
    def refusal(where: str) -> str:
        with pytest.raises(UsageError) as caught:
            kept(where)
        return str(caught.value)

    assert 'a name with a blank stands in double quotes: "cell line"' in refusal("cell line = 'HeLa'")
    assert 'a name with a blank stands in double quotes: "cell line"' in refusal("age > 3 AND cell line = 'HeLa'")
    assert 'a column with parentheses in its name stands in double quotes: "dose (…)"' in refusal("dose (µM) > 3")
    assert '"cell line" IN' in refusal("cell-line = 'HeLa'")
    assert "a text stands in single quotes: 'lung cancer'" in refusal("age > 3 OR slide <> lung cancer")


@pytest.mark.parametrize(
    "where",
    [
        "'cell line' <> 'HeLa'",
        "NOT 'cell line' = 'HeLa'",
        "'HeLa' = 'cell line'",
        "'cell line' IN ('HeLa')",
        "age > 3 OR 'cell line' LIKE 'H%'",
        "'cell line' IS NOT NULL",
        "lower('cell line') = 'hela'",
        "'cell line' BETWEEN 'a' AND 'b'",
    ],
)
def test_a_column_in_single_quotes_is_refused(where: str) -> None:
    for rows in (TABLE, TABLE.slice(0, 0)):
        with pytest.raises(UsageError, match=r"'cell line'\": this is a text, and no column") as caught:
            kept(where, rows)
        assert caught.value.next == 'A column stands without quotes or in double quotes: "cell line"'
    for told in ("slide <> 'cell line' AND 'x' <> 'y'", "slide <> lower('cell line')"):
        assert kept(told) == kept("slide IS NOT NULL")


def test_names_that_differ_in_case_only_are_told_apart() -> None:
    table = pa.table({"id": ["a", "b"], "Slide": ["x", "y"], "slide": ["y", "x"]})
    assert kept("slide = 'x'", table) == ["b"]
    assert kept("Slide = 'x'", table) == ["a"]
    with pytest.raises(UsageError, match="any of the columns Slide, slide"):
        kept("SLIDE = 'x'", table)


def test_composed_and_decomposed_names_are_one() -> None:
    table = pa.table({"id": ["a", "b"], "größe": [1, 2]})
    assert kept("gro\u0308ße = 2", table) == kept('"gro\u0308ße" = 2', table) == ["b"]


@pytest.mark.parametrize("typed", ["Köln", "Ko\u0308ln"])
def test_composed_and_decomposed_texts_are_one(typed: str) -> None:
    table = pa.table({"id": list("abc"), "site": ["Köln", "Ko\u0308ln", "Koln"]})
    for where in (f"site = '{typed}'", f"site IN ('x', '{typed}')", f"site LIKE '{typed[:-2]}_n'"):
        assert (kept(where, table), kept(f"NOT {where}", table)) == (["a", "b"], ["c"])
    assert kept(f"site <> '{typed}'", table) == ["c"]


def test_an_escape_escapes_itself() -> None:
    table = pa.table({"id": ["a!b", "a!!b", "a\\b", "axb"]})
    assert (
        kept("id LIKE 'a!!b' ESCAPE '!'", table) == by_sqlite("id LIKE 'a!!b' ESCAPE '!'", table.to_pydict()) == ["a!b"]
    )
    assert kept(r"id LIKE 'a\\b'", table) == ["a\\b"]


def test_nan_is_a_missing_value() -> None:
    table = pa.table({"id": ["a", "b", "c"], "dose": [1.0, float("nan"), None]})
    assert kept("dose IS NULL", table) == ["b", "c"]
    assert kept("dose > 0 OR NOT dose > 0", table) == ["a"]
    assert kept("dose <> 5", table) == ["a"]
    assert kept("dose NOT IN (5)", table) == ["a"]


def test_whole_numbers_beyond_63_bits() -> None:
    values = [2**63 - 1, 2**63, 2**64 - 1, 0, None]
    table = pa.table({"id": list("abcde"), "n": pa.array(values, pa.uint64()), "m": pa.array([1, 2, 3, 0, 4])})
    assert kept(f"n > {2**63 - 1}", table) == list("bc")
    assert kept("n > 5", table) == list("abc")
    assert kept(f"n = {2**64 - 1}", table) == ["c"]
    assert kept(f"n < {2**64}", table) == list("abcd")
    assert kept(f"n >= {2**64}", table) == []
    assert kept("n > -1", table) == list("abcd")
    assert kept(f"n IN ({2**63}, 0, -1, 0.5, {2**64})", table) == list("bd")
    assert kept(f"n NOT IN ({2**63})", table) == list("acd")
    assert kept("n BETWEEN 1 AND 1e30", table) == list("abc")
    assert kept("n > m", table) == list("abc")


def test_the_column_that_labels_came_from_is_called_label() -> None:
    table = TABLE.append_column("label", [["x"] * len(TABLE)])
    with pytest.raises(UsageError, match="there is no column 'diagnosis'") as caught:
        kept("diagnosis = 'x'", table)
    assert "The labels are the column label, whatever they were called." in caught.value.next
    with pytest.raises(UsageError) as caught:
        kept("diagnosis = 'x'")
    assert "labels" not in caught.value.next


def test_whole_numbers_are_not_rounded() -> None:
    big = 2**53
    table = pa.table({"id": list("abcd"), "n": [big, big + 1, 2**63 - 1, -(2**63)]})
    assert kept(f"n = {big + 1}", table) == ["b"]
    assert kept(f"n > {big}.5", table) == ["b", "c"]
    assert kept(f"n < {2**63}", table) == list("abcd")
    assert kept(f"n >= {2**63}", table) == []
    assert kept(f"n <> {2**70}", table) == list("abcd")
    assert kept(f"n > -{2**70}", table) == list("abcd")
    assert kept(f"n = -{2**63}", table) == ["d"]
    assert kept(f"n IN ({big + 1}, {2**70})", table) == ["b"]


def test_lists_and_bytes_are_there_or_not() -> None:
    table = pa.table({"id": ["a", "b"], "box": [[1, 2], None], "content": [None, b"x"]})
    assert kept("box IS NULL", table) == ["b"]
    assert kept("content IS NOT NULL", table) == ["b"]
    for where in ("box = 1", "content = 'x'", "box = box", "box IN (1)"):
        with pytest.raises(UsageError, match="only be tested by IS NULL"):
            kept(where, table)


def test_long_filters() -> None:
    ids = ", ".join(f"'i{n}'" for n in range(20_000))
    assert kept(f"id IN ({ids}, 'c')") == ["c"]
    assert kept(" OR ".join(f"age = {n}" for n in range(3_000, 0, -1))) == list("abdgh")


def _literal(value: Any) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


_TEXTS = ("slide", "Metadata_Plate", '"cell line"', '"a.b"')
_NUMBERS = ("age", "dose", '"and"')
_TEXT = st.sampled_from([v for n in ("slide", "Metadata_Plate", "cell line") for v in COLUMNS[n] if v is not None])
_NUMBER = st.one_of(st.integers(-6, 61), st.sampled_from([0.5, 14.5, 29.5, -2.0, 1e10, 9.0]))
_PATTERN = st.text(st.sampled_from(list("aslide01P%_.'\n")), max_size=6)
_SIGN = st.sampled_from(["=", "<>", "!=", "==", "<", "<=", ">", ">="])
_NOT = st.sampled_from(["", "NOT "])


def _conditions(columns: tuple[str, ...], values: Any) -> st.SearchStrategy[str]:
    column, literal = st.sampled_from(columns), values.map(_literal)
    operand = st.one_of(column, literal)
    return st.one_of(
        st.builds("{} {} {}".format, operand, _SIGN, operand),
        st.builds("{} IS {}NULL".format, column, _NOT),
        st.builds("{} {}BETWEEN {} AND {}".format, operand, _NOT, operand, operand),
        st.builds("{} {}IN ({})".format, column, _NOT, st.lists(literal, min_size=1, max_size=4).map(", ".join)),
        st.builds("{} IS {}DISTINCT FROM {}".format, column, _NOT, operand),
    )


_LIKE = st.builds("{} {}LIKE {}".format, st.sampled_from(_TEXTS), _NOT, _PATTERN.map(_literal))
_TRUTH = st.sampled_from(["dead", "dead = TRUE", "dead IS NOT FALSE", "dead IS TRUE", "TRUE", "FALSE"])
_LEAF = st.one_of(_conditions(_TEXTS, _TEXT), _conditions(_NUMBERS, _NUMBER), _LIKE, _TRUTH)
_WHOLE = st.recursive(
    _LEAF,
    lambda inner: st.one_of(
        st.builds("{} AND {}".format, inner, inner),
        st.builds("{} OR {}".format, inner, inner),
        st.builds("NOT {}".format, inner),
        st.builds("({})".format, inner),
        st.builds("({}) IS {}TRUE".format, inner, _NOT),
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(_WHOLE)
def test_what_sqlite_keeps(where: str) -> None:
    assert kept(where) == by_sqlite(where)


@settings(max_examples=100, deadline=None)
@given(_WHOLE, st.text(st.sampled_from(list("x'\"();$-/*,= 1")), min_size=1, max_size=3), st.data())
def test_whatever_is_added_is_understood_or_refused(where: str, added: str, data: st.DataObject) -> None:
    """A text that SQLite does not take either is never taken in part."""
    at = data.draw(st.integers(0, len(where)))
    changed = where[:at] + added + where[at:]
    try:
        found = kept(changed)
    except UsageError:
        return
    assert found == by_sqlite(changed)


# -- the doors


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    samples, X = make_samples(n=36, slides=4)
    samples = samples | {"Plate": [f"Q{i % 3}" for i in range(36)]}
    store = make_store(tmp_path / "store", samples, {"last": X})
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "store"))
    return store


FAST = ["--classifier", "knn", "--grid", "k=1", "--split", "leave-one-group-out", "-q"]
DOORS = [
    ["train", "toy", "--features", "net/last", *FAST],
    ["select", "toy", "--features", "net/last"],
    ["select", "importances", "toy", "--features", "net/last"],
    ["export", "toy", "--features", "net/last", "--out", "x.parquet"],
    ["compare"],
    ["compare", "--all"],
]


@pytest.mark.parametrize("where", ["slide = 'P1' ORR slide = 'P2'", "1=1; DROP TABLE x", "true)", "$1", ""])
@pytest.mark.parametrize("door", DOORS, ids=lambda door: " ".join(door[:2]))
def test_every_door_reads_a_filter_whole(toy: Any, capsys: Any, door: list[str], where: str) -> None:
    assert cli.run([*door, "--where", where]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "error: " in err
    assert not Path("x.parquet").exists()
    assert toy.runs() == []


def test_a_name_in_double_quotes_keeps_the_same_samples(toy: Any, capsys: Any) -> None:
    counts = []
    for where in ("\"Plate\" <> 'Q0'", "Plate <> 'Q0'"):
        assert cli.run(["train", "toy", "--features", "net/last", *FAST, "--where", where]) == 0
        run = capsys.readouterr().out.strip()
        assert cli.run(["predictions", run, "--json"]) == 0
        counts.append(json.loads(capsys.readouterr().out)["count"])
    assert counts == [24, 24]


def test_the_functions_take_the_same_filters(toy: Any) -> None:
    where, wrong = "\"Plate\" = 'Q1' AND slide IN ('P0', 'P1')", "\"Plate\" = 'Q1' AND slide"
    expected = [f"s{i}" for i in range(36) if i % 3 == 1 and i % 4 in (0, 1)]
    features = toy.features("toy", "net/last")
    assert features.where(where).sample_ids == expected
    assert features.where(where).X.tolist() == features.X[[int(i[1:]) for i in expected]].tolist()
    assert toy.features("toy", "net/last", where=where).sample_ids == expected
    assert toy.samples("toy", ["id"], where).to_pydict() == {"id": expected}
    assert toy.samples("toy", where=where).schema.names == toy.samples("toy").schema.names
    for door in (features.where, lambda w: toy.samples("toy", ["id"], w)):
        with pytest.raises(UsageError, match="refused"):
            door(wrong)
    with pytest.raises(UsageError, match="A filter is text, not int"):
        toy.samples("toy", where=5)


def test_samples_are_filtered_piece_by_piece(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("histokit.store.ingested_tables._AT_ONCE", 5)
    found = toy.samples("toy", ["id", "label"], "Plate = 'Q2'")
    assert found.column_names == ["id", "label"]
    assert found.column("id").to_pylist() == [f"s{i}" for i in range(2, 36, 3)]
    assert len(toy.samples("toy", where="false")) == 0


def test_runs_are_filtered_by_their_facts(toy: Any) -> None:
    for k in (1, 3):
        histokit.train(toy, "toy", "net/last", "knn", grid={"k": k}, split="leave-one-group-out")
        histokit.train(toy, "toy", "net/last", "logreg", grid={"C": 1.0}, seed=k, split="leave-one-group-out")
    found = histokit.compare(toy, where="classifier = 'knn' OR (\"seed\" >= 3 AND classifier LIKE 'log%')", bootstrap=2)
    assert sorted(row["classifier"] for row in found.rows) == ["knn", "knn", "logreg"]
    with pytest.raises(UsageError, match="no column 'clasifier'") as caught:
        histokit.compare(toy, where="clasifier = 'svm'")
    assert "Did you mean 'classifier'" in caught.value.next


def test_zeros_of_both_signs_are_one_number() -> None:
    table = pa.table({"id": ["a", "b", "c", "d"], "w": pa.array([0.0, -0.0, 1.5, None])})
    assert kept("w = 0", table) == kept("w IN (0)", table) == kept("w IN (-0.0, 7)", table) == ["a", "b"]
    assert kept("w NOT IN (0)", table) == ["c"]
