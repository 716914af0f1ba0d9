from __future__ import annotations

import pytest

from histokit.datasets.patterns import PathPattern
from histokit.errors import UsageError


@pytest.mark.parametrize(
    ("pattern", "path", "fields"),
    [
        ("{patient}/{label}/*.png", "p1/0/a.png", {"patient": "p1", "label": "0"}),
        ("{patient}/{label}/*.png", "p1/0/a.PNG", {"patient": "p1", "label": "0"}),
        ("{patient}/{label}/*.png", "p1/0/a.jpg", None),
        ("{patient}/{label}/*.png", "p1/0/deep/a.png", None),
        ("{patient}/{label}/*.png", "0/a.png", None),
        ("{label}/**", "0/a.png", {"label": "0"}),
        ("{label}/**", "0/x/y/a.png", {"label": "0"}),
        ("{label}/**", "a.png", None),
        ("**/{label}/*", "x/y/0/a.png", {"label": "0"}),
        ("**/{label}/*", "0/a.png", {"label": "0"}),
        ("**", "a.png", {}),
        ("**", "x/y/a.png", {}),
        (
            "**/{slide}_x{x}_y{y}_class{label}.png",
            "a/9_idx5_x10_y20_class1.png",
            {"slide": "9_idx5", "x": "10", "y": "20", "label": "1"},
        ),
        ("{slide}/{slide}_{k}.png", "s1/s1_7.png", {"slide": "s1", "k": "7"}),
        ("{slide}/{slide}_{k}.png", "s1/s2_7.png", None),
        ("a.b/{label}*", "a.b/0x.png", {"label": "0x.png"}),
        ("a.b/{label}.png", "aXb/0.png", None),
        ("({label})+.png", "(0)+.png", {"label": "0"}),
        ("{label}", "", None),
    ],
)
def test_match(pattern, path, fields):
    assert PathPattern(pattern).match(path) == fields


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("", "not a path relative to the root"),
        ("/data/{label}/*", "not a path relative to the root"),
        ("../{label}/*", "not a path relative to the root"),
        ("{label}//*", "not a path relative to the root"),
        ("{label/*.png", "without its other half"),
        ("label}/*.png", "without its other half"),
        ("{}/*.png", "a field named ''"),
        ("{my label}/*.png", "a field named 'my label'"),
        ("{label}/a**.png", "inside the part"),
    ],
)
def test_patterns_that_cannot_be_understood(pattern, reason):
    with pytest.raises(UsageError, match=reason):
        PathPattern(pattern)


def test_fields_come_in_order_and_once():
    assert PathPattern("{b}/{a}/{b}_{label}.png").fields == ["b", "a", "label"]


@pytest.mark.parametrize(("pattern", "named"), [("*.png", True), ("{x}.tiff", True), ("**", False), ("a.b/*", False)])
def test_whether_a_suffix_is_named(pattern, named):
    assert PathPattern(pattern).names_suffix is named


@pytest.mark.parametrize(
    ("pattern", "path", "reason"),
    [
        ("{patient}/{label}/*.png", "p1/0/a.jpg", "part 3, '*.png'"),
        ("{patient}/class{label}/*.png", "p1/0/a.png", "part 2, 'class{label}'"),
        ("{patient}/{label}/*.png", "0/a.png", "part 2, '{label}'"),
        ("{label}/*.png", "p1/0/a.png", "part 2, '*.png'"),
        ("{label}/*", "p1/0/a.png", "goes deeper than the 2 parts"),
    ],
)
def test_the_failing_part_is_named(pattern, path, reason):
    compiled = PathPattern(pattern)
    assert compiled.match(path) is None
    assert reason in compiled.failing_part(path)


def test_ambiguity():
    pattern = PathPattern("{slide}_{x}.png")
    assert pattern.ambiguous_fields("a_b_c.png") == pattern.fields
    assert pattern.match("a_b_c.png") == {"slide": "a_b", "x": "c"}
    assert pattern.ambiguous_fields("a_b.png") == []
    assert pattern.ambiguous_fields("nothing.png") == []


@pytest.mark.parametrize(
    ("pattern", "path", "ambiguous"),
    [
        ("{slide}/{label}/*.png", "a_b/c/d.png.png", []),
        ("x{slide}y/**/{label}.png", "xayy/b/c/d/e.png", []),
        ("{slide}/{slide}/*", "a/a/b", []),
        ("{slide}/{label}*", "a/bcd", ["label"]),
    ],
)
def test_where_slashes_say_all_nothing_is_ambiguous(pattern: str, path: str, ambiguous: list[str]) -> None:
    assert PathPattern(pattern).match(path) is not None
    assert PathPattern(pattern).ambiguous_fields(path) == ambiguous
