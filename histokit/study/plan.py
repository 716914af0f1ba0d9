"""The plan of a study: its pieces in order, which of them are done, and what the rest will take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histokit.errors import counted
from histokit.protocol.progress import duration
from histokit.steps import callable_step
from histokit.study.cost import estimate_costs
from histokit.study.extractions import Extract, ImportedFeatures
from histokit.study.selections_and_runs import Select, Train
from histokit.study.strategies import STRATEGIES
from histokit.study.study_file import Data, Method, Study
from histokit.study.study_pieces import Ingest, MakeSplit, Piece
from histokit.study.study_reader import read_study
from histokit.study.train_networks import TrainNetwork, features_of


@dataclass(frozen=True)
class Plan:
    """What a study consists of.

    Parameters
    ----------
    study : Study
    pieces : list of Piece
        In the order in which they are done.
    """

    study: Study
    pieces: list[Piece]

    @property
    def missing(self) -> list[Piece]:
        """The pieces that are not done."""
        return [piece for piece in self.pieces if not piece.done]

    @property
    def seconds(self) -> float:
        """What is missing will take, as far as that is known."""
        return sum(piece.seconds or 0.0 for piece in self.missing)

    @property
    def unknown(self) -> int:
        """For how many missing pieces it is not known what they will take."""
        return sum(piece.seconds is None for piece in self.missing)

    @property
    def bytes(self) -> int:
        """The disk that networks will take, as far as that is known."""
        return sum(piece.bytes or 0 for piece in self.missing if isinstance(piece, TrainNetwork))

    @property
    def expectation(self) -> str:
        """What is missing, and how long it will take, in words."""
        if not self.missing:
            return f"All {counted(len(self.pieces), 'piece is', 'pieces are')} done."
        beside = f", not counting {self.unknown} of which that is not known yet" if self.unknown else ""
        early = any(isinstance(p, TrainNetwork) and p.training.recipe.patience for p in self.missing)
        most = " Trainings may stop earlier." if early else ""
        disk = f" The networks take {self.bytes / 1e6:,.1f} MB on disk." if self.bytes else ""
        they = "pieces are missing; they" if len(self.missing) > 1 else "pieces is missing; it"
        return (
            f"{len(self.missing)} of {len(self.pieces)} {they} will take about "
            f"{duration(self.seconds)}{beside}. An estimate: its order of magnitude is meant.{most}{disk}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON-serialisable data."""
        return {
            "file": str(self.study.file),
            "store": str(self.study.store.uri),
            "pieces": [piece.to_json() for piece in self.pieces],
            "done": len(self.pieces) - len(self.missing),
            "missing": len(self.missing),
            "estimated_seconds": round(self.seconds, 1),
            "not_estimated": self.unknown,
            "estimated_bytes": self.bytes,
        }


def plan_study(
    path: str | Path,
    *,
    store: str | Path | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
) -> Plan:
    """Plan what a study file asks for: every piece, whether it is done, and how long it will take.

    Nothing is computed and no store is made.

    Parameters
    ----------
    path : path
        A TOML file.
    store : path, optional
        In place of the one that the environment or the file names.
    device, batch_size, workers : optional
        As `run_study` will be given them.

    Returns
    -------
    Plan

    Raises
    ------
    UsageError, PluginError, StoreError
        If something in the file is wrong.
    """
    return make_plan(read_study(path, store, device, batch_size, workers))


def make_plan(study: Study) -> Plan:
    """Look at every piece of a study."""
    pieces = expand(study)
    for piece in pieces:
        piece.look()
    estimate_costs(study, pieces)
    return Plan(study, pieces)


def expand(study: Study) -> list[Piece]:
    """Return the pieces of a study in order: what may fail at once comes first."""
    ingests = {data.name: Ingest(study=study, data=data) for data in study.datasets}
    splits = {
        data.name: MakeSplit(study=study, data=data, needs=[ingests[data.name]])
        for data in study.datasets
        if data.made is not None
    }
    features = {
        (data.name, network.name): (Extract if network.resolved else ImportedFeatures)(
            study=study, data=data, network=network, needs=[ingests[data.name]]
        )
        for data in study.datasets
        for network in study.networks
        if network.layers
    }
    rest: list[Piece] = []
    for data in study.datasets:
        before = [ingests[data.name], *([splits[data.name]] if data.made is not None else [])]
        for method in study.methods:
            if STRATEGIES[method.name].trains:
                trained = [
                    TrainNetwork(study=study, data=data, training=training, needs=before, strategy=method.name)
                    for training in study.trainings
                ]
                rest += trained
                for vectors in map(features_of, trained) if method.classifiers else ():
                    rest += [vectors, *_method_pieces(study, data, method, [*before, vectors])]
                continue
            groups = [[features[data.name, name]] for name in method.networks]
            if STRATEGIES[method.name].merges or not groups:
                groups = [[part for group in groups for part in group]]
            for group in groups:
                rest += _method_pieces(study, data, method, [*before, *group])
    return [*ingests.values(), *splits.values(), *features.values(), *rest]


def _method_pieces(study: Study, data: Data, method: Method, needs: list[Piece]) -> list[Piece]:
    """Return the runs of a strategy on a dataset and a network, or on all, and their selection."""
    strategy = STRATEGIES[method.name]
    layers = "last" if strategy.trains else strategy.layers
    shared: dict[str, Any] = {"study": study, "data": data, "layers": layers, "strategy": method.name}
    own = {key: value for key, value in method.options.items() if not strategy.selects and not strategy.trains}
    if strategy.chooses:
        own = {"choose": "inner", **own}
    selection: list[Piece] = []
    if strategy.selects:
        selection = [Select(**shared, needs=needs, own=dict(method.options))]
    runs = [
        Train(
            **shared,
            needs=[*needs, *selection],
            classifier=name,
            own={**study.classifiers[name], **own},
        )
        for name in method.classifiers
    ]
    return [*selection, *runs]


callable_step(__name__, f"{__name__}:plan_study")
