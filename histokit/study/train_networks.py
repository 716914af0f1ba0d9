"""The networks that a study trains on images, and their features, on which classifiers are trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from histokit.errors import UsageError, counted
from histokit.extract.extract import extract
from histokit.extract.extraction import Extraction
from histokit.finetune.network_question import identify, is_answered
from histokit.networks.requests import as_texts
from histokit.networks.trained_runs import network_of_fold
from histokit.store.networks import FINAL
from histokit.study.extractions import NetworkFeatures
from histokit.study.problem_size import problem_size
from histokit.study.selections_and_runs import image_notes, score
from histokit.study.study_file import Network, StudyTraining
from histokit.study.study_pieces import Piece

#: What of a dataset the training of networks takes.
_OF_DATA = ("split", "metric", "target", "target_type", "where", "allow_missing")


@dataclass(eq=False, kw_only=True)
class TrainNetwork(Piece):
    """A network that is trained fold by fold, and on all training samples.

    Parameters
    ----------
    training : StudyTraining
    bytes : int, optional
        On disk, of the networks that will be kept; none where that is not known, or they are there.
    """

    kind = "finetune"

    training: StudyTraining
    bytes: int | None = None

    @property
    def what(self) -> str:
        return f"{self.training.start.name}/{self.training.start.chosen[0].name} {self.training.title}"

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "bytes": self.bytes}

    def _ask(self, step: Callable[..., Any], **more: Any) -> Any:
        options: Mapping[str, Any] = {name: getattr(self.data, name) for name in _OF_DATA}
        workers = {key: value for key, value in self.study.running.items() if key == "workers"}
        # As the command line asks, so that it answers with the same run.
        preprocess = as_texts(self.training.options["preprocess"])
        own = {
            **self.training.options,
            "preprocess": preprocess,
            "channels": "",
            "preset": self.training.preset,
            "device": self.study.device,
        }
        return step(self.study.store, self.data.name, self.training.network, **options, **own, **workers, **more)

    def _is_done(self) -> bool:
        self.id = self._ask(identify)
        return is_answered(self.study.store, self.id)

    def do(self, report: Callable[..., None]) -> str:
        # With PyTorch, which a study of cached features does without.
        from histokit.finetune.finetune import finetune

        (record,) = self._ask(finetune, progress=report)
        self.id, self.notes = record.id, [*record.notes, *image_notes(self.data)]
        return score(record)


@dataclass(eq=False, kw_only=True)
class ExtractTrained(NetworkFeatures):
    """The features of the last layer of a network that the study has trained, and of those of its folds.

    Parameters
    ----------
    trained : TrainNetwork
    """

    kind = "extract"

    trained: TrainNetwork

    @property
    def what(self) -> str:
        return f"{self.network.name}/last"

    def look(self) -> None:
        """Find out whether it is done, and whether there is a network for each fold."""
        super().look()
        size = problem_size(self.study.store, self.data)
        if size is not None and size.folds > 1 and self.trained.training.options.get("keep") == FINAL:
            self.trouble = UsageError(
                f"The network of all training samples has seen test samples: {self.data.name!r} is split into "
                f"{size.folds} folds, whose networks are not kept.",
                next='Leave keep = "final" out of [strategy.fine-tuning], or its classifiers.',
            )

    def asked(self) -> dict[str, Any]:
        return {"fold_networks": True} if len(self._networks()) > 1 else {}

    def _networks(self) -> list[str]:
        """Return the names of the network of all training samples and, of several folds, of that of each of them."""
        store, run = self.study.store, self.study.store.run(str(self.trained.id))
        folds = run.folds if len(run.folds) > 1 else []
        return [f"run:{run.id}", *(network_of_fold(store, run, each["repeat"], each["fold"]).name for each in folds)]

    def addresses(self, layers: str) -> list[str]:
        """Return the address of the layer, exact to the fingerprint."""
        return [f"run:{self.trained.id}/{layer}@{fingerprint}" for layer, fingerprint in self.fingerprints.items()]

    def _extract(self, **options: Any) -> Extraction:
        own = {"layers": "last", "device": self.study.device, **self.study.running, **options}
        found = extract(self.study.store, self.data.name, self._networks(), **own)
        for table in found.tables:
            name, _, layer = str(table["address"]).partition("/")
            if name == f"run:{self.trained.id}":
                layer = layer.partition("@")[0]
                self.fingerprints, self.widths = {layer: table["fingerprint"]}, {layer: table["width"]}
        return found

    def _is_done(self) -> bool:
        return self._is_whole(self._extract(dry_run=True))

    def do(self, report: Callable[..., None]) -> str:
        found = self._extract(progress=report)
        self.notes = list(dict.fromkeys([*found.notes, *found.warnings]))
        self._check(found)
        computed = max(table["computed"] for table in found.tables)
        return counted(computed, "image", "images") if computed else "cached"


def features_of(trained: TrainNetwork) -> ExtractTrained:
    """Return what extracts the features of a network once it is trained."""
    training = trained.training
    name = f"fine-tuned {training.start.name} ({training.title})"
    network = Network(name, ("last",), ("last",), "last", training.start)
    needs = [*trained.needs, trained]
    return ExtractTrained(
        study=trained.study, data=trained.data, network=network, trained=trained, needs=needs, strategy=trained.strategy
    )
