"""What a page tells of a study: its pieces, and what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

from histokit.features import FeatureStore
from histokit.layout import Sheet
from histokit.report.page import Block, Commands, DataTable, Facts, Notes, Section
from histokit.study.plan import plan_study
from histokit.study.selections_and_runs import Train
from histokit.study.train_networks import TrainNetwork


class StudyPart(NamedTuple):
    """A study as far as it is done.

    Parameters
    ----------
    runs : sequence of str
    datasets : sequence of str
    options : mapping
        How its runs are compared.
    section : Section
    """

    runs: Sequence[str]
    datasets: Sequence[str]
    options: Mapping[str, Any]
    section: Section


def study_part(file: str | Path, store: FeatureStore) -> StudyPart:
    """Return what a page tells of a study; nothing is done for it.

    Raises
    ------
    UsageError, PluginError, StoreError
        If something in the file is wrong.
    """
    plan = plan_study(file, store=store.uri)
    study = plan.study
    done = [piece for piece in plan.pieces if piece.done]
    runs = list(dict.fromkeys(piece.id for piece in done if isinstance(piece, Train | TrainNetwork) and piece.id))
    counts = Counter((piece.kind, piece.done) for piece in plan.pieces)
    kinds = dict.fromkeys(piece.kind for piece in plan.pieces)
    rows = [[kind, counts[kind, True], counts[kind, False]] for kind in kinds]
    blocks: list[Block] = [Facts({"file": str(file), "pieces": len(plan.pieces), "done": len(done)})]
    if plan.missing:
        blocks.append(Notes([f"The study is not whole: {plan.expectation}"], "note"))
        blocks.append(Commands([f"histokit study run {quote(str(file))}"]))
    blocks.append(DataTable(Sheet("Pieces of the study", ["kind", "done", "missing"], rows)))
    metrics = {data.name: data.metric for data in study.datasets if data.metric}
    names = [data.name for data in study.datasets if store.find_dataset(data.name)]
    return StudyPart(runs, names, {"metric": metrics, **study.compare}, Section("The study", blocks))
