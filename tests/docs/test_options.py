"""The tables of options in the documentation are those of the plugins' signatures."""

from __future__ import annotations

from pathlib import Path

import pytest

from histokit.datasets.annotations import Annotations
from histokit.datasets.arrays import Arrays
from histokit.datasets.folder import Folder
from histokit.datasets.table import Table
from histokit.datasets.whole_slides.slides import Slides
from histokit.plugin import Dataset
from histokit.plugin.options import announced_options
from tests.docs.pages import between

#: What no value stands for, where the class finds one itself.
FOUND = {
    ("folder", "pattern"): "`{label}/**`",
    ("folder", "classes"): "those found",
    ("folder", "channels"): "red, green, blue",
    ("folder", "positive"): "the last",
    ("table", "label"): "`label`, if there",
    ("table", "id"): "`id`, if there",
    ("table", "mpp"): "`mpp`, if there",
    ("table", "columns"): "all others",
    ("table", "classes"): "those found",
    ("arrays", "files"): "all",
    ("arrays", "images"): "found by name",
    ("arrays", "labels"): "found by name",
    ("arrays", "pattern"): "`**/{label}/*`",
    ("arrays", "classes"): "those found",
    ("arrays", "positive"): "the last",
    ("arrays", "channels"): "red, green, blue",
    ("table", "channels"): "red, green, blue",
    ("table", "positive"): "the last",
    ("slides", "levels"): "slide, group",
    ("slides", "classes"): "those found",
    ("slides", "positive"): "the last",
    ("annotations", "annotations"): "all in the root",
    ("annotations", "format"): "found out",
    ("annotations", "label"): "the format's",
    ("annotations", "classes"): "those found",
    ("annotations", "positive"): "the last",
    ("annotations", "channels"): "red, green, blue",
}


@pytest.mark.parametrize("plugin", [Folder, Table, Annotations, Arrays, Slides], ids=lambda plugin: plugin.name)
def test_names_and_defaults(plugin: type[Dataset]) -> None:
    found = between(f"<!-- options {plugin.name} -->\n", "<!-- options -->")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in found.splitlines()[2:]]
    expected = []
    for name, parameter in announced_options(plugin.__init__).items():
        default = parameter.default
        default = str(default).lower() if isinstance(default, bool) else default
        shown = "(needed)" if default is parameter.empty else "none" if default in (None, ()) else f"`{default}`"
        expected.append([f"`{name}`", FOUND.get((plugin.name, name), shown)])
    assert [row[:2] for row in rows] == expected
    assert all(len(row) == 3 and len(row[2]) > 10 for row in rows)


def test_the_default_pattern_is_the_one_that_is_told(tmp_path: Path) -> None:
    assert Folder(tmp_path).pattern.text == "{label}/**"
    assert Folder(tmp_path, labels="t.csv", on="slide").pattern.text == "{slide}/**"
