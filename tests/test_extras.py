"""Packages that histokit can do without: what to install is told, and is one of its extras."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from histokit.datasets.containers.hdf5 import open_hdf5
from histokit.datasets.containers.zarr_folder import open_zarr
from histokit.datasets.whole_slides.openslide_pyramid import load_openslide
from histokit.errors import UsageError
from histokit.features import FeatureSet, open_store
from histokit.features.slide_files import check_layout
from histokit.ingest.array_file import read_arrays
from histokit.ingest.imports import import_features
from histokit.neighbours.scatter import _check_method as check_method

ROOT = Path(__file__).parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
_NAMED = re.compile(r"(?:\bhistokit|'\.)\[([a-z0-9_,{} -]+)\]'?")


def told() -> dict[str, set[str]]:
    """Extra → the files that tell to install it."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("Makefile"), ROOT / "pyproject.toml"]
    for folder in ("histokit", "plugins", "docs", "benchmarks"):
        pages += [path for kind in ("*.py", "*.md", "*.toml") for path in (ROOT / folder).rglob(kind)]
    found: dict[str, set[str]] = {}
    for page in pages:
        for names in _NAMED.findall(page.read_text("utf-8")):
            # That of an engine is its name.
            for name in names.replace("{engine}", "openvino").split(","):
                found.setdefault(name.strip(), set()).add(page.name)
    return found


def test_extras_that_are_told_are_there() -> None:
    found = told()
    assert {"hdf5", "zarr", "slides", "codecs", "openvino"} <= found.keys()
    assert {name: pages for name, pages in found.items() if name not in EXTRAS} == {}


@pytest.fixture
def features(tmp_path: Path) -> FeatureSet:
    """Six samples with two features."""
    path = tmp_path / "v.csv"
    path.write_text("id,label,f,g\n" + "".join(f"s{n},{'ab'[n % 2]},{n}.5,{n * n}.25\n" for n in range(6)))
    store = open_store(tmp_path / "store")
    import_features(store, "made", path, name="mine", version="1", create=True)
    return store.features("made", "mine/last")


@pytest.mark.parametrize(
    ("package", "call", "advice"),
    [
        ("h5py", lambda _: open_hdf5(Path("a.h5")), "histokit[hdf5]"),
        ("h5py", lambda _: check_layout("trident"), "histokit[hdf5]"),
        ("zarr", lambda _: open_zarr(Path("a.zarr")), "histokit[zarr]"),
        ("openslide", lambda _: load_openslide(), "histokit[slides]"),
        ("pandas", FeatureSet.to_pandas, "pip install pandas"),
        ("pandas", FeatureSet.to_anndata, "pip install anndata"),
        ("anndata", FeatureSet.to_anndata, "pip install anndata"),
        ("anndata", lambda _: read_arrays(Path("a.h5ad"), "id", []), "pip install anndata"),
        ("umap", lambda _: check_method("umap"), "pip install umap-learn"),
    ],
)
def test_packages_that_are_absent_are_told(
    monkeypatch: pytest.MonkeyPatch, features: FeatureSet, package: str, call: Callable[[FeatureSet], Any], advice: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError) as caught:
        call(features)
    assert advice in str(caught.value.next)
