"""Training curves as tables for people, with fewer columns where there is less room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from histokit.layout import Sheet

if TYPE_CHECKING:
    from histokit.evaluate.curves import RunCurves

#: What curves can be shown against.
AGAINST = ("epoch", "iteration")


def curve_sheets(run: RunCurves) -> list[Sheet]:
    """Return the table of a run, an epoch a row, and narrower forms of it.

    Parameters
    ----------
    run : RunCurves
    """
    title, heads = _title(run), [f"{series} {measure}" for series, measure in run.measures]
    rows = [_row(run, epoch) for epoch in run.epochs]
    first, other = sorted(AGAINST, key=lambda name: name != run.against)
    staged, spread = ["stage"] * (run.epochs[-1]["stage"] > 1), [x for head in heads for x in (head, _std(head))]
    last = [*["networks"] * (run.networks > 1), "chosen"]
    forms = [
        [first, other, *staged, "lr", *(spread if run.networks > 1 else heads), *last],
        [first, other, *staged, "lr", *heads, *last],
        [first, *staged, *heads, *last],
        [first, *heads, "chosen"],
    ]
    return [Sheet(title, form, [[row[head] for head in form] for row in rows]) for form in forms]


def _title(run: RunCurves) -> str:
    facts = (run.run, run.dataset, run.address, run.classifier, run.split)
    networks = f"{run.networks} networks, epochs" if run.networks > 1 else "epoch"
    by = f" by {run.chosen_by}" if run.chosen_by else ""
    final = f"; of all training samples: epoch {run.final['epoch']}" if run.final else ""
    loss = f"; loss: {run.loss}" if run.loss else ""
    return f"{'  '.join(filter(None, facts))}  ({networks} chosen{by}{final}{loss})"


def _row(run: RunCurves, epoch: dict[str, Any]) -> dict[str, Any]:
    """Return what is shown of an epoch, by heads of columns."""
    row = {name: epoch[name] for name in ("epoch", "stage", "networks")}
    row |= {"iteration": round(epoch["iteration"]), "lr": f"{epoch['lr']:.4g}"}
    count = epoch["chosen"] if run.networks > 1 else "yes"
    row["chosen"] = count if epoch["chosen"] else ""
    for series, measure in run.measures:
        found, head = epoch[series].get(measure, {}), f"{series} {measure}"
        row |= {head: found.get("mean"), _std(head): found.get("std")}
    return row


def _std(head: str) -> str:
    return f"std of {head}"
