from __future__ import annotations

import subprocess
import sys

import pytest

from histokit.datasets import DATASETS
from histokit.datasets.arrays import Arrays
from histokit.datasets.folder import Folder
from histokit.datasets.synthetic import Synthetic
from histokit.datasets.table import Table
from histokit.datasets.whole_slides.slides import Slides
from histokit.plugin.manager import registry


@pytest.mark.parametrize(
    ("name", "cls"),
    [("folder", Folder), ("table", Table), ("arrays", Arrays), ("slides", Slides), ("synthetic", Synthetic)],
)
def test_built_in_plugins_are_found_by_name(name, cls):
    assert registry().dataset(name) is cls
    assert cls.name == name


def test_registering_imports_no_reader():
    code = (
        "import sys; from histokit.datasets import register_datasets;"
        "names = []; register_datasets(lambda name, load: names.append(name));"
        "print(names, [m for m in ('pyarrow', 'PIL', 'histokit.datasets.folder') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{list(DATASETS)} []"
