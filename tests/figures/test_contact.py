"""Contact sheets, by what stands where on them."""

import re

import numpy as np
import pytest
from matplotlib.colors import to_hex

from histokit.errors import UsageError
from histokit.figures.contact import ContactSheet, Thumbnail, contact_figure, draw_contact


def grey(level):
    return np.full((8, 8, 3), level, np.uint8)


def places(axis):
    """Level of grey → left and upper edge of its picture."""
    return {int(image.get_array()[0, 0, 0]): (image.get_extent()[0], image.get_extent()[3]) for image in axis.images}


def texts(axis):
    return [text.get_text() for text in axis.texts]


def test_neighbours_stand_beside_the_first_and_go_on_below_it():
    row = [Thumbnail(grey(0), "a", "q", mark="lead")]
    row += [Thumbnail(grey(n), "a", f"n{n}", f"{n}: 0.5", "right") for n in range(1, 9)]
    (axis,) = draw_contact(ContactSheet("title", [row, row[:2]])).axes
    found = places(axis)
    lefts = sorted({left for left, _ in found.values()})
    assert len(lefts) == 7
    tops = sorted({round(top, 6) for _, top in found.values()})
    assert len(tops) == 3, "the first query has two lines, the second, which has the same pictures, one"
    images = [(im.get_extent()[0], im.get_extent()[3], int(im.get_array()[0, 0, 0])) for im in axis.images]
    assert [level for left, top, level in images if round(top, 6) == tops[0]] == [0, 1, 2, 3, 4, 5, 6]
    assert [(lefts.index(left), level) for left, top, level in images if round(top, 6) == tops[1]] == [(1, 7), (2, 8)]
    assert [level for left, top, level in images if round(top, 6) == tops[2]] == [0, 1]


def test_right_and_wrong_differ_without_colour():
    row = [Thumbnail(grey(9), "a", "x", "0.1", mark) for mark in ("right", "wrong", "")]
    (axis,) = draw_contact(ContactSheet("", [row])).axes
    right, wrong, neither = [patch for patch in axis.patches if not patch.get_fill()]
    assert [text for text in texts(axis) if "x" in text] == ["✓ a\nx\n0.1", "✗ a\nx\n0.1", "a\nx\n0.1"]
    assert right.get_linestyle() == "-" != wrong.get_linestyle()
    assert len({to_hex(patch.get_edgecolor()) for patch in (right, wrong, neither)}) == 3
    assert neither.get_linewidth() < right.get_linewidth()


def test_of_long_names_of_true_and_predicted_class_neither_is_lost():
    long = "normal mucosa with lymphoid aggregates"
    row = [Thumbnail(grey(9), f"{long} → adenoma of the colon, grade 2", "x", "0.1", "wrong")]
    row.append(Thumbnail(grey(8), "grade 2 → grade 3", "y", "0.2", "wrong"))
    (axis,) = draw_contact(ContactSheet("", [row])).axes
    first, second = (text for text in texts(axis) if "✗" in text)
    assert first == "✗ normal mucosa\n…id aggregates\n→ adenoma of th\n…olon, grade 2\nx\n0.1"
    assert second == "✗ grade 2 →\ngrade 3\ny\n0.2"
    # Of names that begin and end alike what differs is left.
    names = [f"carcinoma of the breast, grade {k}, from the left side" for k in "12"]
    (axis,) = draw_contact(ContactSheet("", [[Thumbnail(grey(9), " → ".join(names), "x", "", "wrong")]])).axes
    (caption,) = (text for text in texts(axis) if "✗" in text)
    true, predicted = caption.removesuffix("\nx").split("→ ")
    assert "1," in true
    assert "2," in predicted


def test_letters_that_are_drawn_as_escapes_stay_whole_in_lines_that_have_room():
    row = [Thumbnail(grey(9), "癌 细胞 → 正常组织", "p/癌细胞和正常组织/图像一.png", mark="wrong", reason=12 * "癌")]
    (axis,) = draw_contact(ContactSheet("", [row])).axes
    (found,) = (text.split("\n") for text in texts(axis) if "✗" in text)
    assert max(map(len, found)) <= 15
    assert found[:4] == [r"✗ \u764c", r"\u7ec6\u80de", r"→ \u6b63\u5e38", r"\u7ec4\u7ec7"]
    assert all(re.fullmatch(r"(\\u[0-9a-f]{4}|[^\\])*", line) for line in found), found
    assert found[5].endswith(".png")


def test_what_cannot_be_seen_says_so():
    (axis,) = draw_contact(ContactSheet("", [[Thumbnail(None, "a", "gone.png")]])).axes
    assert not axis.images
    assert "no image" in texts(axis)


def test_captions_keep_to_the_width_of_a_picture():
    long = Thumbnail(grey(1), "a very long name of a class indeed", "slide_0001/tissue/" + "x" * 60 + "_17.png", "0.25")
    odd = Thumbnail(grey(2), "$x$ 組織", "a b")
    (axis,) = draw_contact(ContactSheet("", [[long, odd]])).axes
    first, second = [text for text in texts(axis) if text]
    assert all(len(line) <= 15 for line in first.splitlines())
    assert len(first.splitlines()) == 5
    assert "17.png" in first.replace("\n", "")
    assert "0.25" in first
    assert r"\$x\$" in second
    assert "\\u7d44" in second.replace("\n", "")


def test_nothing_overlaps():
    row = [Thumbnail(grey(n), "a class of two lines", f"n{n}", "0.5", "right") for n in range(10)]
    sheet = draw_contact(ContactSheet("t", [row, row], "a legend"))
    (axis,) = sheet.axes
    renderer = sheet.canvas.get_renderer()
    pictures = [image.get_window_extent(renderer) for image in axis.images]
    written = [text.get_window_extent(renderer) for text in axis.texts if text.get_text()]
    for text in written:
        assert not any(text.overlaps(picture) for picture in pictures)
    assert sheet.get_size_inches()[0] < 7.1


def test_the_same_sheet_is_the_same_file(tmp_path):
    sheet = ContactSheet("t", [[Thumbnail(grey(5), "a", "b", "c", "wrong")]])
    for ending in (".png", ".svg", ".pdf"):
        files = [contact_figure(sheet, tmp_path / f"{n}{ending}").read_bytes() for n in "ab"]
        assert files[0] == files[1]
    with pytest.raises(UsageError):
        contact_figure(sheet, tmp_path / "x.xyz")
    assert contact_figure(ContactSheet("nothing", []), tmp_path / "none.png").exists()


def test_why_there_is_no_image_stands_in_its_square_and_below_one_that_is_there():
    why = "broken.png is not an image. Replace the file, then ingest the dataset again; and much more that has no room"
    row = [Thumbnail(None, "a", "x", reason=why), Thumbnail(grey(9), "a", "y", reason="too large to be resized")]
    sheet = draw_contact(ContactSheet("", [row]))
    (axis,) = sheet.axes
    inside, below = (next(t for t in axis.texts if start in t.get_text()) for start in ("broken.png", "too large"))
    (square,) = [patch for patch in axis.patches if patch.get_fill()]
    renderer = sheet.canvas.get_renderer()
    edges, text = square.get_window_extent(renderer), inside.get_window_extent(renderer)
    assert edges.x0 - 2 <= text.x0
    assert text.x1 <= edges.x1 + 2
    assert edges.y0 <= text.y0
    assert text.y1 <= edges.y1
    assert inside.get_text().endswith("…")
    assert below.get_text() == "a\ny\ntoo large to be\nresized"
