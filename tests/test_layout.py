"""Tables and sentences as lines, written down by hand."""

import pytest

from histokit.layout import Pieces, elements, fits, listed, natural, number_text, prose, table_lines, wrapped

COLUMNS = ["run", "dataset", "address", "score", "classes"]
ROWS = [
    ["a1", "tissue", "net/layer-one+net/layer-two", 0.5, listed(["x 1", "y 2", "z 3"])],
    ["b2", "cells", "net/last", None, listed(["x 1"])],
]


def lines(width, columns=COLUMNS, rows=ROWS):
    return table_lines(columns, rows, width)


def test_a_table_with_room_is_a_row_a_line():
    expected = [
        " run  dataset  address                       score  classes",
        " ───────────────────────────────────────────────────────────────",
        " a1   tissue   net/layer-one+net/layer-two  0.5000  x 1, y 2, z 3",
        " b2   cells    net/last                          –  x 1",
    ]
    expected[1] = " " + "─" * (len(expected[2]) - 1)
    assert lines(None) == lines(len(expected[2])) == expected
    assert fits(COLUMNS, ROWS, None)


def test_the_widest_text_goes_below_its_row_when_a_letter_lacks():
    full = len(" a1   tissue   net/layer-one+net/layer-two  0.5000  x 1, y 2, z 3")
    assert fits(COLUMNS, ROWS, full)
    assert not fits(COLUMNS, ROWS, full - 1)
    folded = [
        " run  dataset   score  classes",
        " ────────────────────────────────────",
        " a1   tissue   0.5000  x 1, y 2, z 3",
        "   address: net/layer-one+net/layer-two",
        " b2   cells         –  x 1",
        "   address: net/last",
    ]
    folded[1] = " " + "─" * (len(folded[2]) - 1)
    assert lines(full - 1) == lines(39) == folded
    # Beside its name it has no room any more, below it it has.
    folded[3:4] = ["   address:", "     net/layer-one+net/layer-two"]
    assert lines(38) == folded


def test_at_last_every_row_is_a_record():
    columns = ["table", "rows", "first score", "second", "parts"]
    parts = listed(["x 1", "y 2", "z 3", "w 4"])
    rows = [["a-name-of-20-letters", 12, 0.5, None, parts], ["b", 3, 1.0, 0.25, listed([])]]
    assert lines(22, columns, rows) == [
        " table",
        "a-name-of-20-letters",
        " rows     12",
        " first score  0.5000",
        " second   –",
        " parts    x 1, y 2,",
        "          z 3, w 4",
        "",
        " table    b",
        " rows     3",
        " first score  1.0000",
        " second   0.2500",
        " parts",
    ]


def test_the_first_column_is_a_heading_when_it_has_to_move():
    rows = [["adenoma-of-high-grade", 0.25, 3, 0.75], ["b", 1.0, 12, None]]
    assert lines(24, ["class", "recall", "n", "f1"], rows) == [
        " class",
        "   recall   n      f1",
        " ────────────────────",
        " adenoma-of-high-grade",
        "   0.2500   3  0.7500",
        " b",
        "   1.0000  12       –",
    ]


def test_what_is_before_the_numbers_stays_before_them():
    rows = [["a-method-of-some-length", "another-one-of-some-length", 3, 0.75]]
    assert lines(37, ["first", "second", "wins", "p"], rows) == [
        " first",
        "   wins       p",
        " ──────────────",
        " a-method-of-some-length",
        "   second: another-one-of-some-length",
        "      3  0.7500",
    ]


def test_numbers_stay_and_short_texts_go_last():
    rows = [["m1", "abcdef123456", "0.7500 (1)", 0.5, "0.1234 to 0.5678 or so"]]
    made = lines(48, ["method", "run", "score", "mean", "interval"], rows)
    assert made[2:] == [" m1      abcdef123456  0.7500 (1)  0.5000", "   interval: 0.1234 to 0.5678 or so"]


def test_sentences_go_on_in_the_next_line_of_their_column():
    rows = [["s1", prose("this file is not an image at all, and ends early"), 7]]
    assert lines(44, ["id", "reason", "n"], rows) == [
        " id  reason                             n",
        " ────────────────────────────────────────",
        " s1  this file is not an image at all,  7",
        "     and ends early",
    ]
    # Narrower than 24 letters, it goes below.
    assert lines(30, ["id", "reason", "n"], rows)[2:] == [
        " s1  7",
        "   reason: this file is not an",
        "           image at all, and",
        "           ends early",
    ]


def test_heads_are_broken_at_blanks():
    assert lines(12, ["mean over folds", "n"], [[0.5, 1]]) == [
        "   mean  n",
        "   over",
        "  folds",
        " ─────────",
        " 0.5000  1",
    ]


def test_nothing_to_tell_takes_no_line():
    rows = [["a", 1, "", None], ["b", 20000, "y" * 20, "z" * 20]]
    assert lines(31, ["id", "n", "one", "two"], rows) == [
        " id      n",
        " ─────────",
        " a       1",
        " b   20000",
        f"   one: {'y' * 20}",
        f"   two: {'z' * 20}",
    ]


@pytest.mark.parametrize(
    ("count", "text"), [(0, ""), (1, "1"), (8, "1, 2, 3, 4, 5, 6, 7, 8"), (9, "9 ids: 1, 2, 3, …")]
)
def test_long_lists_are_shortened(count, text):
    assert str(listed(map(str, range(1, count + 1)), what="ids")) == text


def test_commands_are_whole():
    text = "No runs yet. Make one with: histokit train DATASET --features ADDRESS"
    assert wrapped(text, 30) == ["No runs yet. Make one with:", "histokit train DATASET --features ADDRESS"]
    assert wrapped(text, len(text)) == [text]
    cell = prose("Look (histokit list runs), then do it: histokit x --y; or not")
    assert cell == ("Look", "(histokit list runs),", "then", "do", "it:", "histokit x --y;", "or", "not")
    assert prose("a bug in histokit was found") == ("a", "bug", "in", "histokit", "was", "found")
    assert wrapped("a b c d", 3) == ["a b", "c d"]
    assert wrapped("  indented text here", 12) == ["  indented", "text here"]
    assert wrapped("one\ntwo", 3) == ["one", "two"]
    assert wrapped("anything at all", None) == ["anything at all"]


def test_pieces_are_texts_with_blanks_between():
    assert str(Pieces(["a b", "c"])) == "a b c"


def test_a_list_is_broken_behind_its_signs_and_otherwise_as_it_was_given():
    row = ["std", elements("0.0039215,0.0039216,0.0039217"), prose("as it was printed")]
    lines = table_lines(["key", "value", "source"], [row], width=50)
    assert [word for line in lines[2:] for word in line.split() if word[0] == "0"] == [
        "0.0039215,0.0039216,",
        "0.0039217",
    ]
    wide = table_lines(["key", "value", "source"], [row])
    assert "0.0039215,0.0039216,0.0039217" in wide[2]
    assert [*elements("features.24+features.26")] == ["features.24+", "features.26"]
    assert [*elements("")] == [""]


def test_names_are_counted_where_nobody_has_chosen_their_order():
    assert natural(["class 1", "class 10", "class 2"]) == ["class 1", "class 2", "class 10"]
    assert natural(["", "1", "10", "9b", "a"]) == ["", "1", "9b", "10", "a"]
    assert natural(["-1", "0.10", "0.5", "10", "9"]) == ["-1", "0.10", "0.5", "9", "10"]
    assert natural(["b", "a", "class 10", "class 2"]) == ["b", "a", "class 10", "class 2"]
    assert natural([]) == []


def test_what_the_last_bits_decide_is_written_alike():
    # Six folds of shares in eightieths: their mean is the pooled share, but for its last bit.
    half = 127 / 160
    written = {number_text(half + step) for step in (-2e-16, -1.2e-16, 0.0, 1.2e-16, 2e-16)}
    assert len(written) == 1
    assert number_text(123456789012345.25) == "123456789012345.2500"
