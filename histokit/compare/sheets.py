"""A comparison as tables for people: title, columns and rows of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from histokit.errors import counted
from histokit.evaluate.summary import ENOUGH_GROUPS
from histokit.layout import Pieces, Sheet, listed, number_text
from histokit.protocol.number_metrics import ERRORS

if TYPE_CHECKING:
    from histokit.compare.compare import Comparison

#: Longer tables of runs or pairs are cut; all of them are in the JSON document.
_RUNS = 20
_PAIRS = 28
#: Of more methods than these, the tables show the best ones.
_METHODS, _BEST = 100, 50
#: Of more methods that are not told apart, the first and the last one are named.
_TOGETHER = 12
#: Of scores in more columns, ranks stand in a table of their own, too.
_WIDE = 8
_MARKS = {"best": " (1)", "second": " (2)", None: "    "}


def comparison_sheets(found: Comparison) -> Iterator[Sheet]:
    """Return the tables that show a comparison: scores, runs, paired differences, ranks and tests."""
    yield from score_sheets(found)
    if len(found.columns) > 1 and found.best_of:
        yield _chosen(found)
    elif len(found.columns) > 1 and shows_runs(found):
        yield _runs(found)
    if found.pairs and shows_pairs(found):
        yield _pairs(found)
    if found.ranking:
        turned = any(column["metric"] in ERRORS for column in found.columns)
        yield _wilcoxon(found.ranking["tests"], turned)
        yield from _omnibus(found.ranking["tests"])


def score_sheets(found: Comparison) -> Iterator[Sheet]:
    """Return the table of scores and, where it has many columns, one of the ranks that sum them up."""
    yield _scores(found)
    if found.ranking and len(found.columns) > _WIDE:
        yield _ranks(found, len(found.ranking["methods"]))


def shown_methods(found: Comparison) -> list[dict[str, Any]]:
    """Return the methods that the tables show: all of them, or of many the best ones, with the best of each column."""
    if len(found.methods) <= _METHODS:
        return found.methods
    last = len(found.methods) + 1
    best = [min((cell["place"] or last for cell in m["cells"].values()), default=last) for m in found.methods]
    # Where there are ranks, those that have one stand first, the best of them on top.
    order = range(last - 1) if found.ranking else sorted(range(last - 1), key=best.__getitem__)
    kept, first = set(list(order)[:_BEST]), set(_best_methods(found).values())
    return [method for place, method in enumerate(found.methods) if place in kept or method["method"] in first]


def _best_methods(found: Comparison) -> dict[str, str]:
    """Return the best method of each column, by the names of columns; of equal ones the first."""
    best: dict[str, str] = {}
    for method in found.methods:
        for name, cell in method["cells"].items():
            if cell["place"] == 1:
                best.setdefault(name, method["method"])
    return best


def _left_out(found: Comparison) -> str:
    """Return how many methods the tables show, where these are not all."""
    few = len(found.methods) > _METHODS
    return f"; the best {len(shown_methods(found))} of {len(found.methods):,} methods (all: --json)" if few else ""


def _scores(found: Comparison) -> Sheet:
    chosen = f", best of each {', '.join(found.best_of)}, chosen on the test samples: optimistic" * bool(found.best_of)
    if len(found.columns) == 1:
        return _one_column(found, chosen)
    names = [column["column"] for column in found.columns]
    heads = [f"{column['column']}: {column['metric']}" for column in found.columns]
    rows = []
    for method in shown_methods(found):
        cells = [method["cells"].get(name) for name in names]
        ranks = [method["average_rank"]] if found.ranking else []
        rows.append([method["method"], *map(_marked, cells), *ranks])
    ranked = ["average rank"] * bool(found.ranking)
    highest = f"; ranks: {len(found.ranking['methods'])} is the highest" if found.ranking else ""
    return Sheet(
        f"scores: (1) best, (2) second best{chosen}{highest}{_left_out(found)}", ["method", *heads, *ranked], rows
    )


def _ranks(found: Comparison, highest: int) -> Sheet:
    rows = []
    for method in shown_methods(found):
        marks = Counter(cell["mark"] for cell in method["cells"].values())
        rows.append([method["method"], method["average_rank"], marks["best"], marks["second"]])
    title = f"ranks over {len(found.columns)} columns of scores: {highest} is the highest{_left_out(found)}"
    return Sheet(title, ["method", "average rank", "best on", "second on"], rows)


def _chosen(found: Comparison) -> Sheet:
    names = [column["column"] for column in found.columns]
    rows = [
        [m["method"], *((m["cells"].get(name) or {}).get("chosen") for name in names)] for m in shown_methods(found)
    ]
    return Sheet(f"chosen{_left_out(found)}", ["method", *names], rows)


def _one_column(found: Comparison, chosen: str) -> Sheet:
    (column,) = found.columns
    runs = {row["run"]: row for row in found.rows}
    several = any(len(cell["runs"]) > 1 for method in found.methods for cell in method["cells"].values())
    rows = []
    for method in shown_methods(found):
        cell = method["cells"][column["column"]]
        picked = [cell["chosen"]] if chosen else []
        first = runs[cell["runs"][0]]
        folds = [cell["std_over_runs"]] if several else [first["fold_mean"], first["fold_std"]]
        rows.append(
            [method["method"], *picked, listed(cell["runs"], len(cell["runs"])), _marked(cell), *folds, bounds(cell)]
        )
    heads = ["std over runs"] if several else ["fold_mean", "fold_std"]
    names = ["method", *["chosen"] * bool(chosen), "run", "score", *heads, "95 % interval"]
    lower = " (lower is better)" * (column["metric"] in ERRORS)
    place = ", ".join(filter(None, (column["column"], column["split"], f"{column['metric']}{lower}")))
    return Sheet(f"{place}: (1) best, (2) second best{chosen}{_left_out(found)}", names, rows)


def _marked(cell: dict[str, Any] | None) -> str | None:
    if cell is None or cell["score"] is None:
        return None
    return f"{number_text(cell['score'])}{_MARKS[cell['mark']]}"


def _runs(found: Comparison) -> Sheet:
    names = ["run", "method", "column", "score", "fold_mean", "fold_std"]
    rows = [[*(row[name] for name in names), bounds(row)] for row in found.rows]
    return Sheet("runs", [*names, "95 % interval"], rows)


def shows_pairs(found: Comparison) -> bool:
    """Return whether the paired differences, or those from the best method, are few enough to be shown."""
    return len(found.columns) == 1 or len(found.pairs) <= _PAIRS or len(_from_best(found)) <= _PAIRS


def shows_runs(found: Comparison) -> bool:
    """Return whether the runs are few enough to be shown; those on one column stand beside their scores."""
    return len(found.columns) == 1 or len(found.rows) <= _RUNS


def hidden_rows(found: Comparison) -> str:
    """Return how many runs and paired differences the tables do not show; nothing where they show them."""
    runs = [] if shows_runs(found) else [counted(len(found.rows), "run", "runs")]
    pairs = counted(len(found.pairs), "paired difference within a dataset", "paired differences within datasets")
    hidden = [*runs, *([] if not found.pairs or shows_pairs(found) else [pairs])]
    one = not runs and len(found.pairs) == 1
    return f"{' and '.join(hidden)} {'is' if one else 'are'} not shown" if hidden else ""


def _from_best(found: Comparison) -> list[dict[str, Any]]:
    """Return the pairs of the best method of each column with the others that are shown."""
    best = _best_methods(found)
    others = {method["method"] for method in shown_methods(found)}
    pairs = (pair if pair["first"] == best[pair["column"]] else _turned(pair) for pair in found.pairs.of(best))
    return [pair for pair in pairs if pair["second"] in others]


def _pairs(found: Comparison) -> Sheet:
    title, every = "paired differences", len(found.pairs)
    shown = list(found.pairs) if every <= _PAIRS else _from_best(found)
    if every > _PAIRS:
        title += f" from the best method (all {every:,}: --json)"
    if not all(pair["reliable"] for pair in shown):
        title += f" (p from {ENOUGH_GROUPS} groups on)"
    if found.pairs.reliable > 1:
        title += "; p of each alone, not corrected for their number"
    lower = [name for name in ERRORS if any(pair["metric"] == name for pair in shown)]
    title += f"; of {' and '.join(lower)} the lower one is better" * bool(lower)
    where = ["column"] if len(found.columns) > 1 else []
    names = [*where, "first", "second", "difference"]
    rows = [
        [*(pair[name] for name in names), bounds(pair), _p(pair["p"] if pair["reliable"] else None)] for pair in shown
    ]
    heads = [*names, "95 % interval", "p"]
    if any(pair["mcnemar"] for pair in shown):
        heads += ["right alone", "McNemar's p"]
        rows = [[*row, *_right_alone(pair["mcnemar"])] for row, pair in zip(rows, shown, strict=True)]
    return Sheet(title, heads, rows)


def _right_alone(found: dict[str, Any] | None) -> list[Any]:
    return [f"{found['first_alone']} : {found['second_alone']}", _p(found["p"])] if found else [None, None]


def _p(value: float | None) -> float | str | None:
    return "<0.0001" if value is not None and value < 1e-4 else value


def _turned(pair: dict[str, Any]) -> dict[str, Any]:
    interval = pair["interval"] and [-pair["interval"][1], -pair["interval"][0]]
    difference = None if pair["difference"] is None else -pair["difference"]
    counts = pair["mcnemar"] and {
        **pair["mcnemar"],
        "first_alone": pair["mcnemar"]["second_alone"],
        "second_alone": pair["mcnemar"]["first_alone"],
    }
    turned = {"first": pair["second"], "second": pair["first"], "difference": difference, "interval": interval}
    return {**pair, **turned, "mcnemar": counts}


def _wilcoxon(tests: dict[str, Any], turned: bool) -> Sheet:
    names = ["first", "second", "wins", "losses", "ties", "median_difference", "statistic"]
    listed = tests["wilcoxon"]
    cut = f" (the {_PAIRS} smallest p of {len(listed)}, all: --json)" if len(listed) > _PAIRS else ""
    shown = sorted(listed, key=lambda pair: pair["p"])[:_PAIRS] if cut else listed
    title = f"Wilcoxon's signed-rank test over {tests['datasets']} datasets, with Holm's correction{cut}"
    title += "; errors are taken as negative: above 0, the first is better" * turned
    rows = [[*(pair[name] for name in names), _p(pair["p"]), _p(pair["p_holm"])] for pair in shown]
    return Sheet(title, [*(name.replace("_", " ") for name in names), "p", "p (Holm)"], rows)


def _omnibus(tests: dict[str, Any]) -> Iterator[Sheet]:
    friedman, nemenyi = tests["friedman"], tests["nemenyi"]
    if friedman:
        second = friedman["iman_davenport"]
        rows = [
            ["Friedman, chi squared", friedman["statistic"], str(friedman["df"]), _p(friedman["p"])],
            ["Iman and Davenport, F", second["statistic"], ", ".join(map(str, second["df"])), _p(second["p"])],
        ]
        yield Sheet("do the ranks differ at all?", ["test", "statistic", "degrees of freedom", "p"], rows)
    if nemenyi:
        difference = nemenyi["critical_difference"]
        title = f"Nemenyi: average ranks differ from {difference:.4f} on (alpha {tests['alpha']}); not told apart are"
        every = nemenyi["not_apart"]
        title += f" (the first {_PAIRS} of {len(every)} groups, all: --json)" * (len(every) > _PAIRS)
        groups: list[list[Any]] = [[_together(group)] for group in every[:_PAIRS]] or [["none"]]
        yield Sheet(title, ["methods"], groups)


def _together(methods: list[str]) -> Pieces:
    """Return methods that follow each other in the order of ranks as a cell; of many the first and the last one."""
    if len(methods) > _TOGETHER:
        methods = [methods[0], f"{len(methods) - 2} more in the order of ranks", methods[-1]]
    return Pieces([*(f"{method};" for method in methods[:-1]), methods[-1]])


def bounds(entry: dict[str, Any]) -> Pieces | None:
    """Return an interval as a cell, marked where it is unreliable."""
    interval = entry["interval"]
    mark = [] if entry["reliable"] else [f"(unreliable: {counted(entry['groups'], 'group', 'groups')})"]
    return Pieces([" to ".join(map(number_text, interval)), *mark]) if interval else None
