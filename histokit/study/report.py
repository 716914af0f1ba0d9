"""The comparison of a study as files: JSON, tables and the rank plot."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from histokit.compare.compare import Comparison
from histokit.compare.sheets import comparison_sheets, hidden_rows
from histokit.datasets.formulas import guarded_text
from histokit.errors import unwritten_output
from histokit.figures.ranks import rank_figure
from histokit.layout import number_text
from histokit.study.run import StudyResult

_DOCUMENT, _TABLES, _SCORES, _FIGURE = "study.json", "tables.md", "scores.csv", "ranks.png"
_COLUMNS = ("method", "dataset", "split", "metric", "score", "low", "high", "place", "rank", "average_rank", "runs")


def write_report(result: StudyResult, folder: str | Path) -> list[Path]:
    """Write what a study came to.

    Parameters
    ----------
    result : StudyResult
    folder : path
        Made where it is not there.

    Returns
    -------
    list of Path
        ``study.json`` (pieces, runs and comparison), and where there is a comparison ``tables.md``, ``scores.csv``
        (one row for each method and dataset) and ``ranks.png``; else those of an earlier comparison are removed.

    Raises
    ------
    UsageError
        If it cannot be written.
    """
    folder = Path(folder)
    before = (folder / _DOCUMENT).exists()
    texts = {_DOCUMENT: json.dumps(result.to_json(), ensure_ascii=False, allow_nan=False, indent=2) + "\n"}
    found = result.comparison
    if found is not None:
        texts |= {_TABLES: _markdown(found), _SCORES: _scores(found)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        # What an earlier comparison left would be taken for that of this study.
        for name in (_TABLES, _SCORES, _FIGURE) if before and found is None else ():
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise unwritten_output(folder, error) from error
    figures = [] if found is None else [rank_figure(found, folder / _FIGURE)]
    return [*(folder / name for name in texts), *figures]


def _markdown(found: Comparison) -> str:
    lines = []
    for title, columns, rows in comparison_sheets(found):
        lines += [f"**{title}**", "", _line(columns), _line(["---"] * len(columns))]
        lines += [*(_line([_shown(value) for value in row]) for row in rows), ""]
    hidden = [f"{told}: {_DOCUMENT}"] if (told := hidden_rows(found)) else []
    return "\n".join([*lines, *(f"- {note}" for note in [*found.notes, *hidden]), ""])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cell.strip().replace('|', '/') for cell in cells)} |"


def _shown(value: Any) -> str:
    return "–" if value is None else number_text(value) if isinstance(value, float) else str(value)


def _scores(found: Comparison) -> str:
    columns = {column["column"]: column for column in found.columns}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for method in found.methods:
        for name, cell in method["cells"].items():
            column, bounds = columns[name], cell["interval"] or (None, None)
            place = [method["method"], column["dataset"], column["split"], column["metric"]]
            ranks = [cell["place"], cell["rank"], method["average_rank"]]
            place = [text if text is None else guarded_text(text) for text in place]
            writer.writerow([*place, cell["score"], *bounds, *ranks, " ".join(cell["runs"])])
    return text.getvalue()
