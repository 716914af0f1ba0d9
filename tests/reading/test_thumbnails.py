"""Small pictures of samples."""

import numpy as np
import pytest

from histokit.errors import DataError
from histokit.ingest.ingest import ingest
from histokit.reading.thumbnails import as_square, read_squares
from tests.toy import make_samples, make_store


def test_proportions_are_kept_on_white():
    found = as_square(np.zeros((10, 20, 3), np.uint8), 8)
    assert found.shape == (8, 8, 3)
    assert (found[2:6] == 0).all()
    assert (found[:2] == 255).all()
    assert (found[6:] == 255).all()
    thin = as_square(np.zeros((1, 1000, 3), np.uint8), 8)
    assert (thin[3] == 0).all()


def test_what_is_made_smaller_is_averaged():
    checks = np.indices((64, 64)).sum(0) % 2 * 255
    found = as_square(checks.astype(np.uint8)[:, :, None].repeat(3, 2), 8)
    assert (np.abs(found.astype(int) - 127) < 16).all()


def test_channels_become_colours():
    pixels = np.stack([np.full((4, 4), value, np.uint8) for value in (10, 20, 30, 40, 50)], axis=2)
    assert as_square(pixels, 4)[0, 0].tolist() == [10, 20, 30]
    assert as_square(pixels[:, :, :2], 4)[0, 0].tolist() == [10, 20, 0]
    assert as_square(pixels[:, :, :1], 4)[0, 0].tolist() == [10, 10, 10]
    assert as_square(np.full((4, 4, 3), 65535, np.uint16), 4)[0, 0].tolist() == [255, 255, 255]


def test_samples_are_read_as_they_are(store, images):
    ingest(store, "folder", images, name="cells", options={"pattern": "{patient}/{label}/*.png"})
    rows = store.samples("cells").to_pylist()
    (images / rows[1]["image"][0]).write_bytes(b"no image")
    found = read_squares(store, store.dataset("cells"), rows[:3], side=16)
    assert found[1] is None
    from PIL import Image

    for place in (0, 2):
        assert (found[place] == np.asarray(Image.open(images / rows[place]["image"][0]))).all()
    images.rename(images.with_name("elsewhere"))
    with pytest.raises(DataError, match="cannot be reached"):
        read_squares(store, store.dataset("cells"), rows[:3])


def test_vectors_have_no_pictures(tmp_path):
    samples, X = make_samples(n=4)
    store = make_store(tmp_path / "s", samples, {"last": X}, plugin="import-features")
    assert read_squares(store, store.dataset("toy"), store.samples("toy").to_pylist()) == [None] * 4
