import colorsys

import numpy as np
import pytest
from PIL import Image

from histokit.classifiers.windows import COLOURS, SIDE, cut_windows, hue_saturation_value, normalised, window_boxes

CONTENT = bytes(range(16))


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (17, 17), (1, 9)])
@pytest.mark.parametrize("sizes", [(0.0, 0.25), (0.25, 0.5), (0.75, 1.0)])
def test_windows_are_squares_of_the_asked_sizes_inside_the_image(shape, sizes):
    boxes = window_boxes(*shape, 2000, sizes, 0, CONTENT)
    left, top, right, bottom = boxes.T
    side = right - left
    np.testing.assert_array_equal(side, bottom - top)
    assert boxes.min() >= 0
    assert right.max() <= shape[1]
    assert bottom.max() <= shape[0]
    smaller = min(shape)
    assert side.min() == max(1, int(sizes[0] * smaller))
    assert side.max() == max(1, np.ceil(sizes[1] * smaller) - 1)


def test_windows_reach_every_corner():
    left, top, right, bottom = window_boxes(12, 20, 5000, (0.25, 0.5), 0, CONTENT).T
    assert (left.min(), top.min(), right.max(), bottom.max()) == (0, 0, 20, 12)


def test_windows_depend_on_the_seed_and_on_the_content_alone():
    drawn = window_boxes(50, 50, 100, (0.0, 1.0), 3, CONTENT)
    np.testing.assert_array_equal(window_boxes(50, 50, 40, (0.0, 1.0), 3, CONTENT), drawn[:40])
    assert (window_boxes(50, 50, 100, (0.0, 1.0), 4, CONTENT) != drawn).any()
    assert (window_boxes(50, 50, 100, (0.0, 1.0), 3, CONTENT[::-1]) != drawn).any()


def test_a_window_is_brought_to_size_as_pillow_does():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    boxes = np.array([[3, 5, 19, 21], [0, 0, 40, 40], [7, 2, 12, 7], [20, 30, 21, 31]])
    found = cut_windows(pixels, boxes)
    assert found.shape == (4, SIDE, SIDE, 3)
    np.testing.assert_array_equal(found[0], pixels[5:21, 3:19])
    for window, (left, top, right, bottom) in zip(found, boxes, strict=True):
        cropped = Image.fromarray(pixels[top:bottom, left:right])
        np.testing.assert_array_equal(window, np.asarray(cropped.resize((SIDE, SIDE), Image.Resampling.BILINEAR)))
    assert (found[3] == pixels[30, 20]).all()


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_channels_are_cut_one_by_one_where_they_are_not_three(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, channels), dtype=np.uint8)
    boxes = np.array([[1, 2, 17, 18], [0, 0, 20, 20]])
    found = cut_windows(pixels, boxes)
    np.testing.assert_array_equal(found[0], pixels[2:18, 1:17])
    for c in range(channels):
        grey = Image.fromarray(pixels[:, :, c]).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(found[1, :, :, c], np.asarray(grey))


def test_trgb_by_hand():
    windows = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    windows[0, :, ::2, 0], windows[0, :, 1::2, 0] = 10, 30
    windows[0, :, :, 1] = 77
    windows[0, :4, :, 2] = 200
    found = normalised(windows)
    assert set(found[0, :, :, 0].ravel()) == {-1.0, 1.0}
    assert (found[0, :, :, 1] == 0).all()
    # A quarter of 200 and the rest 0: mean 50, variance 10,000 − 2,500.
    np.testing.assert_allclose(found[0, 0, 0, 2], 150 / 7500**0.5, rtol=1e-6)
    np.testing.assert_allclose(found[0, 5, 0, 2], -50 / 7500**0.5, rtol=1e-6)
    assert (found[1] == 0).all()
    assert found.dtype == np.float32


def test_hsv_is_that_of_the_standard_library():
    windows = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    windows[0, 0, :6] = [[0, 0, 0], [9, 9, 9], [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 0, 255]]
    found = hue_saturation_value(windows)
    expected = np.array([colorsys.rgb_to_hsv(*(pixel / 255.0)) for pixel in windows.reshape(-1, 3)])
    np.testing.assert_allclose(found.reshape(-1, 3), expected * [360, 1, 255], atol=1e-3)
    assert found.dtype == np.float32


def test_each_colour_space_keeps_the_shape():
    windows = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    assert {convert(windows).shape for convert in COLOURS.values()} == {windows.shape}
