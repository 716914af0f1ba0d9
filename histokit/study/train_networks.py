"""The networks that a study trains on images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from histokit.finetune.network_question import identify
from histokit.networks.requests import as_texts
from histokit.study.selections_and_runs import image_notes, score
from histokit.study.study_file import StudyTraining
from histokit.study.study_pieces import Piece, Report

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
        return self.study.store.has_run(self.id)

    def do(self, report: Report) -> str:
        # With PyTorch, which a study of cached features does without.
        from histokit.finetune.finetune import finetune

        (record,) = self._ask(finetune, progress=report)
        self.id, self.notes = record.id, [*record.notes, *image_notes(self.data)]
        return score(record)
