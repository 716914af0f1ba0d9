from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from histokit.errors import PluginError, StoreError, UsageError
from histokit.study.mistakes import Mistakes, find_lines, show_place

TEXT = """\
seed = 0  # of all

[datasets.idc]
plugin = "folder"
options = { pattern = "{a}/*.png", group = "patient" }

[backbones."timm:net,a=b"]
layers = [
    "x=1",
    "last",
]
weights.file = "w"
"""


def mistakes() -> Mistakes:
    return Mistakes(Path("s.toml"), TEXT, tomllib.loads(TEXT))


def test_tables_and_keys_have_lines() -> None:
    assert find_lines(TEXT) == {
        ("seed",): 1,
        ("datasets",): 3,
        ("datasets", "idc"): 3,
        ("datasets", "idc", "plugin"): 4,
        ("datasets", "idc", "options"): 5,
        ("backbones",): 7,
        ("backbones", "timm:net,a=b"): 7,
        ("backbones", "timm:net,a=b", "layers"): 8,
        ("backbones", "timm:net,a=b", "weights"): 12,
        ("backbones", "timm:net,a=b", "weights", "file"): 12,
    }


def test_a_place_without_a_line_is_on_that_of_what_it_is_in() -> None:
    found = mistakes()
    assert found.line(("datasets", "idc", "options", "group")) == 5
    assert found.line(("compare",)) is None


def test_places_read_as_in_the_file() -> None:
    assert show_place(("seed",)) == "seed"
    assert show_place(("datasets", "idc", "split")) == "[datasets.idc] split"
    assert show_place(("backbones", "timm:net"), table=True) == '[backbones."timm:net"]'


def test_one_mistake_keeps_its_kind_and_its_hint() -> None:
    found = mistakes()
    with found.at(("datasets", "idc", "plugin")):
        raise PluginError("There is no plugin.", next="Install it.")
    with pytest.raises(PluginError) as caught:
        found.check()
    assert caught.value.message == "s.toml, line 4, [datasets.idc] plugin: There is no plugin."
    assert caught.value.next == "Install it."
    assert caught.value.details["mistakes"][0]["line"] == 4


def test_several_mistakes_are_told_at_once_in_the_order_of_lines() -> None:
    found = mistakes()
    found.add(("backbones", "timm:net,a=b", "layers"), "Second.", "Do this.")
    with found.at(("seed",)):
        raise StoreError("First.", next="Do that.")
    found.add(("compare",), "Nowhere.", "Add it.")
    with pytest.raises(UsageError) as caught:
        found.check()
    assert caught.value.message.splitlines() == [
        "s.toml has 3 mistakes:",
        "  compare: Nowhere. Add it.",
        "  line 1, seed: First. Do that.",
        '  line 8, [backbones."timm:net,a=b"] layers: Second. Do this.',
    ]
    assert [entry["line"] for entry in caught.value.details["mistakes"]] == [None, 1, 8]
    # The exit code is that of their kind, where they share one.
    alike = mistakes()
    for place in ("seed", "compare"):
        with alike.at((place,)):
            raise StoreError(f"No {place}.", next="Add it.")
    with pytest.raises(StoreError, match="has 2 mistakes"):
        alike.check()
    mistakes().check()
