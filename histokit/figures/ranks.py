"""The rank plot: average ranks of methods over datasets, or their scores on one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from histokit.classifiers.table import CLASSIFIERS
from histokit.figures.evaluations import tested
from histokit.figures.lettering import (
    drawable,
    folded,
    in_legend,
    line_height,
    longest,
    shortened_name,
    shortened_names,
)
from histokit.figures.sheet import MOST, Compared, as_file, new_sheet, open_frame

#: Facts by which bars are coloured, the first of them that tells methods apart in few groups.
_COLOURED_BY = ("classifier", "strategy", "kind", "network")
_COLOURS = ("#e08a2e", "#4f9a5b", "#b8453c", "#4a79b5", "#8a63a8", "#8c8c8c", "#c7a73b", "#4aa6a6")
_PLAIN = "#7da7c9"
_TITLE, _NAME, _SMALL = 9, 8, 7
#: How wide the axes are, and the longest line of a name beside them, in inches.
_WIDE, _NAME_WIDE = 5.0, 3.2
#: How many letters of a name are shown: about three lines, for all rows are as high as the longest name.
_NAME_LETTERS = 120
#: What stands before the meaning of a colour, which is cut to so many letters.
_MARK, _LETTERS = 0.5, 60
#: Without ranks, scores on so many columns are drawn.
SCORED = 6
#: What stands above and below rows, at most, in inches; so many methods are drawn whatever they take.
_AROUND, _FEWEST = 2.3, 3
#: How far apart lines are that join methods, and how wide all of them are, as shares of all ranks.
_APART, _ALL_APART = 0.03, 0.5
#: More datasets than these are counted, not named.
_NAMED = 6


class ShownMethods(NamedTuple):
    """What axes of the figure show.

    Parameters
    ----------
    columns : list of dict
        Of the comparison: all of them where ranks are drawn, else the one whose scores are.
    methods : list of dict
        The methods that are drawn, the best first.
    every : list of dict
        All that could be.
    """

    columns: list[dict[str, Any]]
    methods: list[dict[str, Any]]
    every: list[dict[str, Any]]

    @property
    def left_out(self) -> str:
        """How many methods are drawn, where these are not all."""
        few = len(self.methods) < len(self.every)
        return f"the best {len(self.methods)} of {len(self.every)} methods" if few else ""


def shown_methods(found: Mapping[str, Any]) -> list[ShownMethods]:
    """Return what `draw_comparison` shows of the plain data of a comparison, axes by axes from the top."""
    ranked = [m for m in found["methods"] if m["average_rank"] is not None] if found["ranking"] else []
    columns = [found["columns"]] if ranked else [[column] for column in found["columns"][:SCORED]]
    every = [ranked or _scored(found["methods"], of[0]["column"]) for of in columns]
    return [
        ShownMethods(of, _that_fit(those, MOST / len(columns)), those) for of, those in zip(columns, every, strict=True)
    ]


def draw_comparison(comparison: Compared) -> Any:
    """Draw the average ranks of methods as bars, the best on top, with the critical difference.

    Methods that Nemenyi's test does not tell apart are joined by a line. Where there are no ranks, the scores on each
    column are drawn, with their intervals; of more than 6 columns, those on the first ones. Of more methods than have
    room the best ones are drawn, and their number is told.

    Parameters
    ----------
    comparison : Comparison

    Returns
    -------
    matplotlib.figure.Figure
        Axes with methods from top to bottom: of ranks, or for each column.
    """
    found = comparison.to_json(pairs=False)
    parts = shown_methods(found)
    ranked = len(parts[0].every) if len(parts[0].columns) > 1 else 0
    drawn = [m for m in found["methods"] if any(m in part.methods for part in parts)]
    colours, fact = _colours(drawn)
    colour_of = dict(zip((m["method"] for m in drawn), colours, strict=True))
    beside = max(1, min(4, int(_WIDE / (longest(list(fact), _SMALL) + _MARK))))
    key = -(-len(fact) // beside) * 1.5 * line_height(_SMALL)
    count = len(found["columns"])
    few = f" (the first {SCORED} of {count} columns)" if count > SCORED and not ranked else ""
    titles = [
        "; ".join(filter(None, [_title(part.columns, part.every) + few * (n == 0), part.left_out]))
        for n, part in enumerate(parts)
    ]
    # What colours mean stands above the first axes.
    keys = [key] + [0.0] * (len(parts) - 1)
    strips = [_Strip.of(part.methods, title, above) for part, title, above in zip(parts, titles, keys, strict=True)]
    sheet = new_sheet(_WIDE + max(strip.beside for strip in strips) + 0.3, sum(strip.height for strip in strips))
    rows = [strip.row * len(strip.names) for strip in strips]
    for axis, part, strip in zip(
        sheet.subplots(len(strips), squeeze=False, height_ratios=rows).flat, parts, strips, strict=True
    ):
        own = [colour_of[method["method"]] for method in part.methods]
        if ranked:
            _draw_ranks(axis, found, part.methods, own, ranked)
        else:
            _draw_scores(axis, part.columns[0], part.methods, own)
        _letter(axis, strip, bool(ranked and found["ranking"]["tests"]["nemenyi"]))
    if fact:
        _legend(sheet.axes[0], fact, beside)
    return sheet


def _scored(methods: list[dict[str, Any]], column: str) -> list[dict[str, Any]]:
    """Return the methods that have a cell of a column, the best first."""
    there = [method for method in methods if column in method["cells"]]
    return sorted(there, key=lambda method: method["cells"][column]["place"] or len(there) + 1)


def _that_fit(methods: list[dict[str, Any]], inches: float) -> list[dict[str, Any]]:
    """Return the methods that have room in so many inches: the best ones."""
    return methods[: max(_FEWEST, int((inches - _AROUND) / _Strip.of(methods, "", 0.0).row))]


class _Strip(NamedTuple):
    """How axes of some methods are laid out, in inches."""

    names: list[str]
    title: str
    row: float
    key: float
    beside: float
    height: float

    @classmethod
    def of(cls, shown: list[dict[str, Any]], title: str, key: float) -> _Strip:
        called = shortened_names([drawable(method["method"]) for method in shown], _NAME_LETTERS)
        names = [folded(name, _NAME_WIDE, _NAME) for name in called]
        lines = [name.split("\n") for name in names]
        row = max(0.28, max(map(len, lines)) * line_height(_NAME))
        title = folded(drawable(title), _WIDE, _TITLE)
        above = (title.count("\n") + 1) * line_height(_TITLE) + key + 0.1
        beside = longest([line for each in lines for line in each], _NAME)
        return cls(names, title, row, key, beside, 0.9 + above + row * (len(shown) + 1))


def _letter(axis: Any, strip: _Strip, crossed: bool) -> None:
    axis.set_title(strip.title, fontsize=_TITLE, pad=6 + 72 * strip.key)
    axis.set_yticks(range(len(strip.names)), strip.names, fontsize=_NAME)
    axis.set_ylim(len(strip.names) - 0.4, -0.6 - 1.1 * crossed)
    open_frame(axis)


def _title(columns: list[dict[str, Any]], shown: list[dict[str, Any]]) -> str:
    """Return the datasets with their splits, and how many samples of how many groups methods were scored on."""
    cells = [method["cells"].get(column["column"]) for method in shown for column in columns]
    texts = [" · ".join(filter(None, (column["column"], column["split"]))) for column in columns]
    named = "; ".join(texts) if len(texts) <= _NAMED else f"{len(texts)} datasets"
    counts = tested([cell for cell in cells if cell], [column["aggregate"] for column in columns])
    return f"{named}: {counts}{' each' * (len(columns) > 1)}"


def _colours(shown: list[dict[str, Any]]) -> tuple[list[str], dict[str, str]]:
    """Return the colour of each method, and what the colours mean."""
    published = {name: entry.colour for name, entry in CLASSIFIERS.items() if entry.colour}
    for fact in _COLOURED_BY:
        values = [str(method["facts"].get(fact, "")) for method in shown]
        several = 1 < len(set(values)) < len(shown) and len(set(values)) <= len(_COLOURS)
        if several and all(values):
            free = [colour for colour in _COLOURS if colour not in {published.get(value) for value in values}]
            others = [value for value in dict.fromkeys(values) if value not in published]
            meaning = dict(zip(others, free, strict=False))
            meaning = {value: published.get(value) or meaning[value] for value in dict.fromkeys(values)}
            return [meaning[value] for value in values], {_key_of(value): meaning[value] for value in meaning}
    return [_PLAIN] * len(shown), {}


def _key_of(value: str) -> str:
    return shortened_name(drawable(value), _LETTERS)


def _draw_ranks(axis: Any, found: dict[str, Any], shown: list[dict[str, Any]], colours: list[str], ranked: int) -> None:
    ranks = [method["average_rank"] for method in shown]
    axis.barh(range(len(shown)), ranks, color=colours, height=0.7)
    for row, rank in enumerate(ranks):
        axis.text(rank + 0.01 * ranked, row, f"{rank:.2f}", va="center", fontsize=_SMALL)
    chosen = "; chosen on the test samples" * bool(found["best_of"])
    highest = f"average rank over {len(found['columns'])} datasets ({ranked} is the highest{chosen})"
    axis.set_xlabel(highest, fontsize=_TITLE)
    nemenyi = found["ranking"]["tests"]["nemenyi"] if found["ranking"] else None
    right = ranked * 1.1
    if nemenyi:
        width = nemenyi["critical_difference"]
        axis.plot([1, 1 + width], [-0.9, -0.9], color="black", linewidth=2)
        text = f"critical difference {width:.2f}; the lines join what is not told apart"
        # Above the line: beside it there need not be room.
        axis.text(1, -1.0, text, va="bottom", fontsize=_SMALL)
        order = {method["method"]: row for row, method in enumerate(shown)}
        # Of methods that are not drawn, a line goes down to the edge.
        joined = [[order.get(group[n], len(shown) - 0.4) for n in (0, -1)] for group in nemenyi["not_apart"]]
        joined = [ends for ends in joined if ends[0] < len(shown) - 1]
        apart = ranked * min(_APART, _ALL_APART / max(1, len(joined)))
        for number, ends in enumerate(joined):
            place = right + apart * number
            axis.plot([place, place], ends, color="black", linewidth=2 if apart == ranked * _APART else 1)
        right += apart * len(joined)
        right = max(right, 1 + width)
    axis.set_xlim(0, right)


def _draw_scores(axis: Any, column: dict[str, Any], shown: list[dict[str, Any]], colours: list[str]) -> None:
    for row, (method, colour) in enumerate(zip(shown, colours, strict=True)):
        cell = method["cells"][column["column"]]
        if cell["interval"]:
            axis.plot(cell["interval"], [row, row], color=colour, linewidth=3, alpha=0.5)
        if cell["score"] is not None:
            axis.plot([cell["score"]], [row], "o", color=colour)
    axis.set_xlabel(
        drawable(f"{column['metric'].replace('_', ' ')} on {column['column']}, 95 % intervals"), fontsize=_TITLE
    )


def _legend(axis: Any, meaning: dict[str, str], beside: int) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, label=in_legend(value)) for value, colour in meaning.items()]
    axis.legend(
        handles=handles,
        fontsize=_SMALL,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=beside,
        frameon=False,
    )


rank_figure = as_file(draw_comparison)
