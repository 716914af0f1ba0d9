"""Panels of one size side by side, each with a heading above and what its lines mean below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from histokit.figures.lettering import drawable, folded, in_legend, line_height
from histokit.figures.sheet import Flow, new_sheet, open_frame

#: What is written in a panel, and above it, in points.
SMALL, TITLE = 7, 8
#: How much room a heading has, in inches.
WIDE = 3.1
#: A panel and its axes; two stand side by side, which is the width of a page, and more where they have no room so.
_WIDE, _HIGH = 3.5, 3.37
_BESIDE = 2
#: How high the numbers and the name below axes are.
_NAMES = 0.42
#: What is left for the meaning of a line, and how many lines it takes with the space below it.
_MEANING, _ENTRY = 2.8, 1.7


class Panel(NamedTuple):
    """What is drawn in one panel.

    Parameters
    ----------
    heading : str
        As it is drawn, in lines.
    key : list of (mapping, str)
        How lines look, and what they mean.
    draw : callable
        Draws on the axes that it is given.
    room : float
        Inches that names of ticks need below the axes, where they are not numbers.
    """

    heading: str
    key: Sequence[tuple[dict[str, Any], str]]
    draw: Callable[[Any], None]
    room: float = 0.0

    def key_lines(self) -> list[str]:
        """Return what lines mean as it is drawn."""
        return [folded(drawable(label), _MEANING, SMALL) for _, label in self.key]


def draw_panels(panels: Sequence[Panel]) -> Any:
    """Return the matplotlib figure of some panels; of more than have room, of the first ones."""
    flow = Flow.of([_HIGH + _below(panel) + _above(panel) for panel in panels], _WIDE, min(_BESIDE, len(panels)))
    sheet = new_sheet(_WIDE * flow.beside, flow.high)
    # All axes are as high: what stands above and below them is left to the layout.
    axes = sheet.subplots(len(flow.heights), flow.beside, squeeze=False).flat
    flow.tell(sheet, "panels")
    for panel in panels[: flow.shown]:
        axis = next(axes)
        panel.draw(axis)
        axis.set_title(panel.heading, fontsize=TITLE)
        handles = [_line(label, looks) for (looks, _), label in zip(panel.key, panel.key_lines(), strict=True)]
        # Below, where it hides nothing.
        place: dict[str, Any] = {"bbox_to_anchor": (0.5, 0), "bbox_transform": under(axis, panel.room)}
        axis.legend(handles=handles, fontsize=SMALL, loc="upper center", frameon=False, **place)
    for axis in axes:
        axis.set_axis_off()
    return sheet


def unit_square(axis: Any, across: str, up: str) -> None:
    """Let both axes go from 0 to 1, and name them."""
    axis.set_xlim(-0.02, 1.02)
    axis.set_ylim(-0.02, 1.02)
    # What the layout leaves goes below: above there is no blank strip.
    axis.set_aspect("equal", anchor="N")
    axis.tick_params(labelsize=SMALL)
    axis.set_xlabel(across, fontsize=SMALL + 1)
    axis.set_ylabel(up, fontsize=SMALL + 1)
    open_frame(axis)


def under(axis: Any, room: float = 0.0) -> Any:
    """Return the transform of what stands below the numbers and the name of axes, however high these are.

    Parameters
    ----------
    axis : matplotlib axes
    room : float
        Inches that names of ticks need, where they are not numbers.
    """
    from matplotlib.transforms import ScaledTranslation

    return axis.transAxes + ScaledTranslation(0, -(_NAMES + room), axis.figure.dpi_scale_trans)


def _below(panel: Panel) -> float:
    return sum(text.count("\n") + _ENTRY for text in panel.key_lines()) * line_height(SMALL) + panel.room


def _above(panel: Panel) -> float:
    return (panel.heading.count("\n") + 1) * line_height(TITLE)


def _line(label: str, looks: dict[str, Any]) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], label=in_legend(label), **looks)
