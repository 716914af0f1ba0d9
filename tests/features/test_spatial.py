from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pytest

import histokit
from histokit.errors import DataError, UsageError
from histokit.features import FeatureStore, export_features
from histokit.features.slide_files import export_slides
from tests.toy import make_store

h5py = pytest.importorskip("h5py")

#: Tiles of two slides: 448 pixels at 0.25 µm become 224 at 0.5, of which neighbours share 24.
BOXES = [(0, 0, 448, 448), (400, 0, 448, 448), (0, 800, 448, 448), (1200, 400, 449, 448)]
SLIDES = ["x/a.svs", "x/a.svs", "y/b.ome.tif", "x/a.svs"]
X = np.arange(12.0).reshape(4, 3) / 7


def tiles(folder: Path, boxes=BOXES, slides=SLIDES, mpp=0.5, plugin="slides", **columns) -> FeatureStore:
    samples = {
        "id": [f"t{i}" for i in range(4)],
        "label": list("abab"),
        "image": [[slide] for slide in slides],
        "box": [box and list(box) for box in boxes],
        "mpp": mpp if isinstance(mpp, list) else [mpp] * 4,
        "slide_mpp": [0.2501] * 4,
        **columns,
    }
    return make_store(folder, samples, {"one": X}, plugin=plugin, options={"size": 224, "overlap": 24, "mpp": 0.5})


def test_centres_of_boxes_and_slides_in_h5ad(tmp_path: Path) -> None:
    found = anndata.read_h5ad(export_features(tiles(tmp_path / "s").features("toy", "net/one"), tmp_path / "o.h5ad"))
    np.testing.assert_array_equal(found.obsm["spatial"], [[224, 224], [624, 224], [224, 1024], [1424.5, 624]])
    assert found.obs["library_id"].tolist() == SLIDES
    assert found.obs["library_id"].dtype == "category"


def test_samples_without_boxes(tmp_path: Path) -> None:
    some = tiles(tmp_path / "s", [None, *BOXES[1:]]).features("toy", "net/one").to_anndata()
    np.testing.assert_array_equal(some.obsm["spatial"][:2], [[np.nan, np.nan], [624, 224]])
    none = tiles(tmp_path / "t", [None] * 4).features("toy", "net/one").to_anndata()
    assert "spatial" not in none.obsm
    assert "library_id" not in none.obs


def test_what_was_added_does_not_come_back_as_a_column(tmp_path: Path) -> None:
    store = tiles(tmp_path / "s")
    export_features(store.features("toy", "net/one"), tmp_path / "o.h5ad")
    histokit.import_features(store, "again", tmp_path / "o.h5ad", name="v", version="1", create=True)
    assert store.samples("again").column_names == store.samples("toy").column_names
    own = tiles(tmp_path / "t", library_id=list("pqrs"))
    export_features(own.features("toy", "net/one"), tmp_path / "own.h5ad")
    assert anndata.read_h5ad(tmp_path / "own.h5ad").obs["library_id"].tolist() == list("pqrs")
    histokit.import_features(own, "again", tmp_path / "own.h5ad", name="v", version="1", create=True)
    assert own.samples("again").column("library_id").to_pylist() == list("pqrs")


def test_trident(tmp_path: Path) -> None:
    out = histokit.export(tiles(tmp_path / "s"), "toy", "net/one", tmp_path / "out", layout="trident")
    assert sorted(path.name for path in out.iterdir()) == ["a.h5", "b.h5"]
    # As trident.IO.read_coords, and its reader of features, do it.
    with h5py.File(out / "a.h5", "r") as file:
        attributes, coords, features = dict(file["coords"].attrs), file["coords"][:], file["features"][:]
        assert file["features"].maxshape == (None, 3)
        assert file["features"].attrs["name"] == "a"
    np.testing.assert_array_equal(coords, [[0, 0], [400, 0], [1200, 400]])
    assert (coords.dtype, features.dtype) == (np.int64, np.float32)
    np.testing.assert_array_equal(features, X[[0, 1, 3]].astype(np.float32))
    assert attributes == {
        "patch_size": 224,
        "patch_size_level0": 448,
        "level0_magnification": 40,
        "target_magnification": 20,
        "overlap": 24,
        "name": "a",
        "savetodir": str(tmp_path / "out"),
    }
    # How TRIDENT works out the side of a patch at the finest level.
    assert attributes["patch_size"] * attributes["level0_magnification"] // attributes["target_magnification"] == 448


def test_parts_of_a_file_have_places_of_their_own(tmp_path: Path) -> None:
    slides, parts = ["scans.h5", "scans.h5", "b.tif", "scans.h5"], ["/scan/1", "/scan/2", None, "/scan/2"]
    store = tiles(tmp_path / "s", slides=slides, part=parts)
    features = store.features("toy", "net/one")
    first, second = "scans.h5#/scan/1", "scans.h5#/scan/2"
    assert features.to_anndata().obs["library_id"].tolist() == [first, second, "b.tif", second]
    out = histokit.export(store, "toy", "net/one", tmp_path / "out", layout="trident")
    found = {path.name: h5py.File(path)["coords"][:].tolist() for path in out.iterdir()}
    assert found == {"1.h5": [[0, 0]], "2.h5": [[400, 0], [1200, 400]], "b.h5": [[0, 800]]}
    pages = tiles(tmp_path / "t", slides=["x/a.tif"] * 4, part=["page=0", "page=1", "page=0", "page=1"])
    paths = export_slides(pages.features("toy", "net/one"), tmp_path / "pages", "stamp")
    assert [path.name for path in paths] == ["a.tif#page=0.h5", "a.tif#page=1.h5"]


def test_stamp(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    paths = export_slides(tiles(tmp_path / "s").features("toy", "net/one"), tmp_path / "out", "stamp")
    assert [path.name for path in paths] == ["a.h5", "b.h5"]
    # As stamp.modeling.data does it: a bag of features, and coordinates in micrometres.
    with h5py.File(tmp_path / "out" / "a.h5", "r") as file:
        assert not file.attrs.get("tile_size", None)
        assert (file.attrs["tile_size_um"], int(file.attrs["tile_size_px"]), file.attrs["unit"]) == (112, 224, "um")
        assert tuple(map(int, file.attrs["stamp_version"].split("."))) <= (2, 1, 0)
        assert (file.attrs["extractor"], file.attrs["feat_type"]) == ("net/one", "tile")
        assert len(file.attrs["code_hash"]) == 8
        np.testing.assert_array_equal(file["feats"][:], X[[0, 1, 3]].astype(np.float32))
        # By the slide's own resolution, 0.2501 µm per pixel.
        np.testing.assert_allclose(file["coords"][:], [[0, 0], [100.04, 0], [300.12, 100.04]], rtol=1e-6)
        assert file["coords"].dtype == np.float32


def test_tiles_of_other_plugins_are_of_their_own_size(tmp_path: Path) -> None:
    store = tiles(tmp_path / "s", plugin="folder", slide_mpp=[None] * 4)
    store.features("toy", "net/one")
    (path,) = export_slides(store.features("toy", "net/one", where="id = 't2'"), tmp_path / "o", "trident")
    with h5py.File(path) as file:
        assert file["coords"].attrs["patch_size"] == file["coords"].attrs["patch_size_level0"] == 448
        assert file["coords"].attrs["level0_magnification"] == file["coords"].attrs["target_magnification"] == 20
        assert file["coords"].attrs["overlap"] == 0


@pytest.mark.parametrize(
    ("mpp", "target", "slide"), [(0.5, 20, 40), (0.3, 20, 80), (0.6, 10, 20), (1.2, 5, 10), (2.4, 1, 5)]
)
def test_slides_that_say_no_resolution_have_that_of_their_tiles(
    tmp_path: Path, mpp: float, target: int, slide: int
) -> None:
    # A tile of 448 pixels of the slide was brought to 224: the slide is twice as fine. Where TRIDENT changes from one
    # magnification to the next, the coarser one counts.
    store = tiles(tmp_path / "s", mpp=mpp, slide_mpp=[None] * 4)
    (path,) = export_slides(store.features("toy", "net/one", where="id = 't2'"), tmp_path / "o", "trident")
    with h5py.File(path) as file:
        attributes = file["coords"].attrs
        assert (attributes["target_magnification"], attributes["level0_magnification"]) == (target, slide)


def test_slides_of_one_name(tmp_path: Path) -> None:
    store = tiles(tmp_path / "s", slides=["x/a.svs", "x/a.svs", "y/A.svs", "y/b.svs"])
    found = export_slides(store.features("toy", "net/one"), tmp_path / "o", "stamp")
    assert [path.name for path in found] == ["x_a.h5", "y_A.h5", "y_b.h5"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"boxes": [None, *BOXES[1:]]}, "'x/a.svs' have no box"),
        ({"boxes": [(0, 0, 9, 9), *BOXES[1:]]}, "tiles of 'x/a.svs' are of 9 to 449 pixels"),
        ({"mpp": None}, "tiles of 'x/a.svs' have no resolution"),
        ({"mpp": [0.5, 0.25, 0.5, 0.5]}, "tiles of 'x/a.svs' have 2 resolutions"),
    ],
)
def test_what_files_of_slides_cannot_hold(tmp_path: Path, changes: dict, words: str) -> None:
    features = tiles(tmp_path / "s", **changes).features("toy", "net/one")
    with pytest.raises(DataError, match=words):
        export_slides(features, tmp_path / "o", "trident")


def test_layouts_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"(?s)'tridnet' is unknown.*Did you mean 'trident'"):
        histokit.export(tiles(tmp_path / "s"), "toy", "net/one", tmp_path / "o", layout="tridnet")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is no folder"):
        histokit.export(tiles(tmp_path / "t"), "toy", "net/one", tmp_path / "file", layout="stamp")
