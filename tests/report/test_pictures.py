"""Figures as parts of a page: laid out once, as lines where these are few, and with the colours that were drawn."""

import base64
import io
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from histokit.figures.sheet import new_sheet, sheet_bytes
from histokit.report.pictures import figure


def drawn(letters: int, points: int = 2):
    sheet = new_sheet(4, 3)
    axis = sheet.subplots()
    axis.imshow(np.linspace(0, 1, 64).reshape(8, 8), cmap="Blues")
    axis.plot(np.linspace(0, 7, points), 4 + 3 * np.sin(np.arange(points)))
    axis.set_xlabel("m" * letters)
    return sheet


@pytest.mark.parametrize(
    ("letters", "points", "kind", "times"),
    [(5, 2, "svg+xml", 1), (400, 2, "webp", 1), (5, 20_000, "webp", 2)],
)
def test_a_figure_is_laid_out_once_and_is_as_lines_only_where_these_are_few(letters, points, kind, times):
    sheet = drawn(letters, points)
    engine = sheet.get_layout_engine()
    with (
        patch.object(engine, "execute", wraps=engine.execute) as laid_out,
        patch.object(sheet, "savefig", wraps=sheet.savefig) as saved,
    ):
        picture = figure(sheet, "what it shows", "caption")
    assert picture.source.startswith(f"data:image/{kind};base64,")
    assert len(picture.source) < 90_000
    assert (picture.width, picture.height) == (480, 360)
    assert (laid_out.call_count, saved.call_count) == (2, times)
    assert sheet.get_layout_engine() is engine


def test_colours_of_a_figure_are_those_that_were_drawn():
    sheet = drawn(400)
    source = figure(sheet, "what it shows", "caption").source
    shown, wanted = (
        np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), int)
        for data in (base64.b64decode(source.partition(",")[2]), sheet_bytes(sheet, ".png"))
    )
    assert np.ptp(wanted) == 255
    assert np.abs(shown - wanted).max() <= 4
