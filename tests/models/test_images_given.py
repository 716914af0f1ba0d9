"""Images that are given to an exported model give what they give as a dataset, however they are given."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image

import histokit
from histokit.errors import DataError, UsageError
from histokit.features import FeatureStore, open_store
from histokit.models.loaded import LoadedModel
from histokit.plugin.remarks import ImageWarning
from histokit.reading.images_given import GivenImages, reading_of
from tests.models.test_export_model import by_id
from tests.raw_images import png


class Case(NamedTuple):
    """How a dataset writes its images, the options that it is ingested with, and whether arrays are the same."""

    suffix: str
    write: Callable[[Path, NDArray[np.float64]], None]
    options: dict[str, str]
    arrays: bool = True


def tiff(kind: Any, white: float, channels: int = 3, low: float = 0) -> Callable[[Path, NDArray[np.float64]], None]:
    """Write shares of white, of some channels, as numbers of a type."""

    def write(path: Path, shares: NDArray[np.float64]) -> None:
        pixels = (low + shares[..., :channels] * (white - low)).astype(kind)
        tifffile.imwrite(
            path, pixels[..., 0] if channels == 1 else pixels, photometric=("minisblack", "rgb")[channels == 3]
        )

    return write


def deep_png(path: Path, shares: NDArray[np.float64]) -> None:
    rows = (shares * 65535).astype(">u2")
    png(path, (*shares.shape[1::-1], 16, 2), b"".join(b"\0" + row.tobytes() for row in rows))


def grey_png(path: Path, shares: NDArray[np.float64]) -> None:
    Image.fromarray((shares[..., 0] * 65535).astype(np.uint16)).save(path)


def planes(path: Path, shares: NDArray[np.float64]) -> None:
    stack = np.stack([shares[..., 0] / 4, shares[..., 0]]).astype(np.float32)
    tifffile.imwrite(path, (stack * 65535).astype(np.uint16), ome=True, metadata={"axes": "ZYX"})


def many(path: Path, shares: NDArray[np.float64]) -> None:
    pixels = (np.dstack([shares, shares[..., :1]]) * 65535).astype(np.uint16)
    tifffile.imwrite(path, np.moveaxis(pixels, -1, 0), ome=True, metadata={"axes": "CYX"})


CASES = {
    "8 bits": Case("png", lambda path, shares: Image.fromarray((shares * 255).astype(np.uint8)).save(path), {}),
    "grey of 16 bits": Case("tif", tiff(np.uint16, 65535, 1), {}),
    "colours of 16 bits": Case("tif", tiff(np.uint16, 65535), {}),
    "PNG of 16 bits": Case("png", deep_png, {}),
    "grey PNG of 16 bits": Case("png", grey_png, {}),
    "12 of 16 bits": Case("tif", tiff(np.uint16, 4095), {"bits": "12"}),
    "the range of each image": Case("tif", tiff(np.uint16, 4095), {"scale": "percentile:1,99"}),
    "that of 12 bits": Case("tif", tiff(np.uint16, 4095, 1), {"bits": "12", "scale": "minmax"}),
    "the range of the dataset": Case("tif", tiff(np.uint16, 900, 1, 200), {"scale": "minmax", "scale_over": "dataset"}),
    "floating-point numbers": Case("tif", tiff(np.float32, 100, 1, -400), {"scale": "range:-400,100"}),
    "the brightest of planes": Case("ome.tif", planes, {"planes": "max"}, arrays=False),
    "one plane": Case("ome.tif", planes, {"planes": "z=1"}, arrays=False),
    "some of the channels": Case("ome.tif", many, {"channels": "A:4,B:2"}, arrays=False),
}


def shares() -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield names of images and shares of white, of four patients and two classes."""
    generator = np.random.default_rng(0)
    for patient in ("p1", "p2", "p3", "p4"):
        for label, level in (("dark", 0.25), ("bright", 0.6)):
            for index in range(2):
                yield f"{patient}/{label}/{index}", generator.normal(level, 0.1, (16, 16, 3)).clip(0.02, 0.98)


def trained(store: FeatureStore, root: Path, case: Case, suffix: str | None = None) -> tuple[str, list[Path]]:
    """Write images, and train on them; return the run and the paths."""
    paths = []
    for name, pixels in shares():
        paths.append(root / f"{name}.{case.suffix}")
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        case.write(paths[-1], pixels)
    options = {"pattern": f"{{patient}}/{{label}}/*.{suffix or case.suffix}", "group": "patient", **case.options}
    return a_run(store, root, options), paths


def a_run(store: FeatureStore, root: Path, options: dict[str, str]) -> str:
    histokit.ingest(store, "folder", root, name="d", options=options)
    histokit.split(store, "d", name="half", test=0.25, seed=1)
    channels = len(store.dataset("d").channels)
    adapter = ["adapter=each"] if channels != 3 else []
    histokit.extract(store, "d", "tiny", layers="last", preprocess=["size=12", *adapter])
    (run,) = histokit.train(store, "d", "tiny/last", "logreg", split="half", grid={"C": "10000"})
    return run.id


def read(path: Path) -> Any:
    return np.asarray(Image.open(path)) if path.suffix == ".png" else tifffile.imread(path)


@pytest.mark.usefixtures("tiny")
@pytest.mark.filterwarnings("ignore::histokit.plugin.remarks.ImageWarning")
@pytest.mark.parametrize("name", CASES)
def test_a_path_gives_what_its_dataset_gives(name: str, store: FeatureStore, tmp_path: Path) -> None:
    case = CASES[name]
    run, paths = trained(store, tmp_path / "images", case)
    folder = histokit.export_model(store, run, tmp_path / "model")
    stored = by_id(store, histokit.predict(store, run, "d"))
    expected = [stored[f"{path.relative_to(tmp_path / 'images')}"] for path in paths]
    other = open_store(tmp_path / "other")
    histokit.ingest(other, "folder", tmp_path / "images", name="e", options=store.dataset("d").options)
    by_folder = by_id(other, histokit.predict(other, str(folder), "e"))
    np.testing.assert_allclose([by_folder[i] for i in stored], list(stored.values()), rtol=0, atol=1e-6)
    model = histokit.load_model(folder, device="cpu")
    np.testing.assert_allclose(model.predict_proba(paths), expected, rtol=0, atol=1e-6)
    assert np.ptp(np.array(expected)[:, 0]) > 0.01
    if case.arrays and name != "PNG of 16 bits":
        np.testing.assert_allclose(model.predict_proba([read(path) for path in paths]), expected, rtol=0, atol=1e-6)


@pytest.fixture
def coloured(store: FeatureStore, tmp_path: Path, tiny: object) -> tuple[LoadedModel, list[Path]]:
    """A model of colours of 8 bits, and its images."""
    run, paths = trained(store, tmp_path / "images", CASES["8 bits"])
    return histokit.load_model(histokit.export_model(store, run, tmp_path / "model"), device="cpu"), paths


def test_pictures_of_pillow_are_read_as_their_files(coloured: tuple[LoadedModel, list[Path]], tmp_path: Path) -> None:
    model, _ = coloured
    generator = np.random.default_rng(5)
    pixels = generator.integers(0, 256, (12, 16, 4), dtype=np.uint8)
    turned = Image.Exif()
    turned[274] = 6
    clear = Image.fromarray(pixels[..., 0])
    pictures = {
        "transparent.png": (Image.fromarray(pixels), {}),
        "turned.png": (Image.fromarray(pixels[..., :3]), {"exif": turned}),
        "palette.png": (Image.fromarray(pixels[..., :3]).quantize(16), {}),
        "clear grey.png": (clear, {"transparency": int(pixels[0, 0, 0])}),
        "black and white.png": (Image.fromarray(pixels[..., 0] > 99), {}),
        "16 bits.png": (Image.fromarray(pixels[..., 0].astype(np.uint16) * 250), {}),
    }
    for name, (picture, how) in pictures.items():
        picture.save(tmp_path / name, **how)
        with Image.open(tmp_path / name) as opened, warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = model.predict_proba([opened, tmp_path / name])
        np.testing.assert_array_equal(found[0], found[1], err_msg=name)
        assert {each.category for each in told} <= {ImageWarning}
        assert len(told) == 2 * (name in ("transparent.png", "clear grey.png")), name
    with pytest.raises(DataError, match="floating-point pixels"):
        model.predict(Image.fromarray(pixels[..., 0].astype(np.float32)))


def test_what_is_no_image_is_refused(coloured: tuple[LoadedModel, list[Path]], tmp_path: Path) -> None:
    model, paths = coloured
    pixels = np.asarray(Image.open(paths[0]))
    expected = model.predict_proba(paths[0])
    for same in (pixels, torch.from_numpy(pixels.copy()), pixels[None], [pixels], [str(paths[0])], (paths[0],)):
        np.testing.assert_array_equal(model.predict_proba(same), expected)
    for names in (np.array([str(paths[0])] * 2), np.array(paths[:1] * 2, object)):
        np.testing.assert_array_equal(model.predict_proba(names), expected.repeat(2, axis=0))
    swapped = pixels.astype(np.uint16) * 257
    np.testing.assert_allclose(model.predict_proba(swapped.astype(">u2")), model.predict_proba(swapped))
    (tmp_path / "text.png").write_text("no image")
    for wrong, said in (
        (pixels.astype(np.float32) / 255, "does not say which is black or white"),
        (pixels.astype(np.int64), "numbers with a sign"),
        (pixels > 9, "bool of shape"),
        (pixels[None, None], r"shape \(1, 16, 16, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
        ([pixels[..., :2]], "2 channels; the model takes 3: R, G, B"),
        ([None], "The image 0 is object"),
        (tmp_path / "text.png", "is not an image"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(DataError, match=said) as caught:
            model.predict(wrong)
        assert "ingest" not in caught.value.next
    for wrong, said in ((7, "given as int"), ({"a": pixels}, "given as dict"), ([(paths[0], paths[1])], "one file")):
        with pytest.raises(UsageError, match=said):
            model.predict(wrong)
    for mpp in (0, [-1.0], float("nan"), "0.5"):
        with pytest.raises(UsageError, match="mpp is"):
            model.predict([pixels], mpp=mpp)


def test_a_file_for_each_channel(store: FeatureStore, tmp_path: Path, tiny: object) -> None:
    root = tmp_path / "images"
    for name, pixels in shares():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        for place, channel in enumerate(("w1", "w2")):
            tifffile.imwrite(root / f"{name}_{channel}.tif", (pixels[..., place] * 65535).astype(np.uint16))
    pattern = "{patient}/{label}/{field}_{channel}.tif"
    run = a_run(store, root, {"pattern": pattern, "group": "patient", "channels": "DNA:w1,ER:w2"})
    stored = by_id(store, histokit.predict(store, run, "d"))
    images = {row["id"]: row["image"] for row in store.samples("d").to_pylist()}
    model = histokit.load_model(histokit.export_model(store, run, tmp_path / "model"), device="cpu")
    given = [tuple(root / path for path in images[i]) for i in stored]
    np.testing.assert_allclose(model.predict_proba(given), list(stored.values()), rtol=0, atol=1e-6)
    arrays = [np.dstack([tifffile.imread(path) for path in paths]) for paths in given]
    np.testing.assert_allclose(model.predict_proba(arrays), list(stored.values()), rtol=0, atol=1e-6)
    with pytest.raises(UsageError, match="takes images of 2 files, one for each of DNA, ER"):
        model.predict(given[0][0])


def test_a_file_is_known_by_what_its_dataset_knows_it_by(store: FeatureStore, images: Path) -> None:
    options = {"pattern": "{patient}/{label}/*.png", "mpp": "0.5"}
    record = histokit.ingest(store, "folder", images, name="d", options=options)
    rows = store.samples("d")
    how = reading_of(record, rows)
    given = GivenImages(how, record.channels)
    for row in rows.to_pylist()[::9]:
        path = images / row["id"]
        assert given.read(path, 0.5, 0).content == row["content"]
        assert given.read(path, 0.25, 0).content != row["content"] != given.read(path, None, 0).content
    # Boxes are boxes where some samples are whole images.
    some = pa.array([[0, 0, 8, 8]] + [None] * (len(rows) - 1), rows.schema.field("box").type)
    mixed = rows.set_column(rows.schema.get_field_index("box"), "box", some)
    assert (how["boxes"], reading_of(record, mixed)["boxes"]) == (False, True)


def test_what_an_image_alone_does_not_tell_is_refused(store: FeatureStore, tmp_path: Path, tiny: object) -> None:
    run, paths = trained(store, tmp_path / "images", CASES["one plane"]._replace(options={"planes": "each"}))
    model = histokit.load_model(histokit.export_model(store, run, tmp_path / "model"), device="cpu")
    with pytest.raises(UsageError, match="takes single planes of files"):
        model.predict(paths)
    assert model.predict(tifffile.imread(paths[0])[0]).shape == (1,)
    rows = "".join(f"{path},{x},0,8,8,{path.parent.name}\n" for path in paths[:8] for x in (0, 8))
    (tmp_path / "boxes.csv").write_text(f"image,x,y,width,height,label\n{rows}")
    other = open_store(tmp_path / "other")
    options = {"table": f"{tmp_path / 'boxes.csv'}", "planes": "max", "scale": "minmax", "box": "x,y,width,height"}
    histokit.ingest(other, "table", tmp_path / "images", name="d", options=options)
    histokit.split(other, "d", name="half", test=0.25, seed=1)
    histokit.extract(other, "d", "tiny", layers="last")
    (boxes,) = histokit.train(other, "d", "tiny/last", "knn", split="half")
    model = histokit.load_model(histokit.export_model(other, boxes.id, tmp_path / "boxes"), device="cpu")
    for image in (paths[0], np.zeros((8, 8, 3), np.uint8)):
        with pytest.raises(UsageError, match=r"black and white of whole images \(minmax\)"):
            model.predict(image)
