"""Evaluations as figures show them: with the units of levels, and with their views."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from histokit.errors import UsageError, counted
from histokit.figures.lettering import drawable, folded, of_groups
from histokit.figures.panels import TITLE
from histokit.figures.sheet import Document
from histokit.layout import number_text
from histokit.protocol.number_metrics import ERRORS


def with_levels(evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """Return an evaluation, and one of the same form for each level whose units were scored."""
    levels = {name: entry for name, entry in evaluation["by"].items() if entry["kind"] == "level"}
    return [evaluation, *({**evaluation, **entry, "level": name} for name, entry in levels.items())]


def viewed(evaluations: Document | Sequence[Document], view: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return each evaluation and each of its levels, with a view of it.

    Raises
    ------
    UsageError
        If an evaluation was made without this view.
    """
    several = evaluations if isinstance(evaluations, Sequence) else [evaluations]
    found = [document for each in several for document in with_levels(each.to_json())]
    for document in found:
        if view not in document.get("views", {}):
            raise UsageError(
                f"The evaluation of the run {document['run']} was made without the view {view!r}.",
                next=f'Make it with: histokit.evaluate(store, "{document["run"]}", views=["{view}"])',
            )
    return [(document, document["views"][view]) for document in found]


def title_of(evaluation: Mapping[str, Any]) -> str:
    """Return what was evaluated: features, classifier, split, and level."""
    facts = [evaluation["address"], evaluation["classifier"], evaluation["split"], evaluation.get("level")]
    return " · ".join(str(fact) for fact in facts if fact is not None)


def counts_of(evaluation: Mapping[str, Any]) -> str:
    """Return dataset and run, and how many predictions of how many units or groups were scored.

    Where folds are repeated, there are several predictions of a sample.
    """
    units = f" of {counted(evaluation['units'], 'unit', 'units')}" if "level" in evaluation else ""
    count = f"{counted(evaluation['n'], 'prediction', 'predictions')}{units}{of_groups(evaluation['groups'])}"
    return f"{evaluation['dataset']}, run {evaluation['run']}: {count}"


def tested(scores: Iterable[Mapping[str, Any]], aggregates: Iterable[str | None]) -> str:
    """Return how many samples (``predicted``) of how many ``groups`` scores are of; empty where it is not known.

    `aggregates`: to what samples were aggregated before training (``slide:mean``), so that such units were predicted.
    """
    known = list(scores)
    of = {(text or "sample").rpartition(",")[2].partition(":")[0].strip() for text in aggregates}
    name = of.pop() if len(of) == 1 else "prediction"
    one, several = (name, f"{name}s") if name.isalpha() else ("unit", "units")
    samples, groups = (sorted(score[name] for score in known if score.get(name)) for name in ("predicted", "groups"))
    said = [_from_to(samples, one, several)] if samples else []
    # Without groups each sample is one.
    said += [_from_to(groups, "group", "groups")] if groups and groups != samples else []
    return " of ".join(said)


def _from_to(counts: Sequence[int], one: str, several: str) -> str:
    return f"{counts[0]:,} to " * (counts[0] < counts[-1]) + counted(counts[-1], one, several)


def heading_of(evaluation: Mapping[str, Any], inches: float) -> str:
    """Return what stands above the panel of a view: `title_of` and `counts_of`, in lines of so many inches."""
    texts = (title_of(evaluation), counts_of(evaluation))
    return "\n".join(folded(drawable(text), inches, TITLE) for text in texts)


def score_text(value: float, metric: str) -> str:
    """Return a score as it is written in figures; errors are of any size."""
    return f"{value:.4g}" if metric in ERRORS else number_text(value, 3)
