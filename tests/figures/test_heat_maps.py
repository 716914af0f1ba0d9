"""The figure of where models look, by what stands in it."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib import colormaps

from histokit.explain.explanation import ExplainedSample, Explanation
from histokit.figures.heat_maps import draw_heat_maps, heat_maps_figure, over_image

LONG = "invasive ductal carcinoma, not otherwise specified, of the left breast {}"


def sample(name, true, predicted="a", heat=None, **changes):
    heat = np.zeros((4, 4), np.float32) if heat is None else heat
    facts = {
        "true": true,
        "predicted": predicted,
        "explained": predicted,
        "score": 0.75,
        "intercept": None,
        "network": "run:f",
        "area": 0.0,
    }
    facts |= {"seen": False, "constant": False, "image": np.zeros((4, 4, 3), np.uint8), "map": heat, "heat": heat}
    return ExplainedSample(id=name, **facts, **changes)


def explanation(samples, **changes):
    facts = {"run": "f", "dataset": "d", "split": "two", "method": "Grad-CAM", "backbone": "tiny", "layer": "3"}
    facts |= {"kind": "probability", "signed": False, "classes": ("b", "a")} | changes
    return Explanation(**facts, samples=tuple(samples))


def words(sheet):
    return [text.get_text() for text in sheet.texts]


def test_classes_stand_beside_each_other_and_images_below():
    samples = [sample("x", "a"), sample("y", "b"), sample("z", "a")]
    sheet = draw_heat_maps(explanation(samples, groups=2, shown="grey"))
    said = words(sheet)
    assert (
        said[0].replace("\n", " ") == "d, split two · run f · Grad-CAM of tiny, layer 3 · 3 images of 2 groups · grey"
    )
    assert said[1:3] == ["b", "a"], "in the order of the classes"
    assert (said.count("predicted a"), said.count("✗ predicted a")) == (2, 1)
    pairs = [axis.get_position() for axis in sheet.axes[:-1]]
    assert len(pairs) == 6
    (y, x, z) = pairs[::2]
    assert y.x0 < x.x0 == z.x0
    assert y.y0 == x.y0 > z.y0
    assert sheet.axes[-1].get_xlabel().startswith("of each map, its least to its largest")


def test_wrong_predictions_and_other_classes_are_told():
    sheet = draw_heat_maps(explanation([sample("x", "b", predicted="a")]))
    (wrong,) = [text for text in sheet.texts if text.get_text() == "✗ predicted a"]
    assert wrong.get_color() != "black"
    other = replace(sample("x", "b", predicted="a"), explained="b")
    assert "b: score 0.75" in words(draw_heat_maps(explanation([other])))


def test_only_probabilities_of_1_and_0_are_called_so():
    scores = [0.997, 1.0, 0.5, 0.0042, 0.0]
    sheet = draw_heat_maps(explanation([replace(sample("x", "a"), score=score) for score in scores]))
    told = [text.removeprefix("score ") for text in words(sheet) if text.startswith("score")]
    assert told == ["0.997", "1.00", "0.50", "0.0042", "0.00"]


@pytest.mark.parametrize(("classes", "each"), [(1, 1), (1, 7), (2, 3), (40, 1)])
def test_forty_classes_of_long_names_overlap_nowhere(classes, each, tmp_path):
    names = tuple(LONG.format(number) for number in range(classes))
    samples = [sample(f"folder/of/patient/{place}/tile.png", name, names[0]) for name in names for place in range(each)]
    sheet = draw_heat_maps(explanation(samples, classes=names))
    renderer = sheet.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in sheet.texts]
    boxes += [axis.get_window_extent(renderer) for axis in sheet.axes[:-1]]
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other.shrunk(0.98, 0.98)) for other in boxes[number + 1 :])
        assert box.x0 >= 0
        assert box.x1 <= sheet.bbox.x1
    heat_maps_figure(explanation(samples, classes=names), tmp_path / "a.svg")


def test_a_map_over_an_image_is_mixed_with_it():
    white = np.full((1, 2, 3), 255, np.uint8)
    # The ends of viridis are (68, 1, 84) and (253, 231, 37); 45 % of white are 114.75.
    found = over_image(white, np.array([[0, 1]], np.float32), signed=False).tolist()
    assert found == [[[152, 115, 161], [254, 242, 135]]]
    # Red is as bright as 76 of 255 are grey.
    red = np.array([[[255, 0, 0]]], np.uint8)
    assert over_image(red, np.zeros((1, 1), np.float32), signed=False).tolist() == [[[72, 35, 81]]]
    # Of maps with signs, 0 is in the middle of the colours.
    ends = (colormaps["PuOr_r"]([0, 128, 255])[:, :3] * 255 * 0.55).tolist()
    found = over_image(np.zeros((1, 3, 3), np.uint8), np.array([[-1, 0, 1]], np.float32), signed=True)
    np.testing.assert_allclose(found[0], ends, atol=1)
