"""The selections and runs of a study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from histokit.layout import number_text
from histokit.select.select import identify as identify_selection
from histokit.select.select import select
from histokit.store.records import RunRecord
from histokit.study.extractions import NetworkFeatures
from histokit.study.study_file import Data
from histokit.study.study_pieces import Piece
from histokit.train.question import identify as identify_run
from histokit.train.train import train

#: How vectors are normalised, and what else is done to them before training, as a dataset of a study says.
_NORMALISED = ("normalise", "controls", "per")
_OF_VECTORS = ("aggregate", *_NORMALISED)


@dataclass(eq=False, kw_only=True)
class OnFeatures(Piece):
    """What starts from features.

    Parameters
    ----------
    layers : str
        ``last``, ``all`` or ``each`` of every network; empty for the images themselves.
    own : dict
        Options of the step that are not those of the dataset or of the study.
    """

    layers: str
    own: dict[str, Any] = field(default_factory=dict)

    @property
    def features(self) -> list[NetworkFeatures]:
        """What gives the features."""
        return [need for need in self.needs if isinstance(need, NetworkFeatures)]

    @property
    def what(self) -> str:
        return "+".join(f"{each.network.name}/{self.layers}" for each in self.features) or "images"

    def _addresses(self) -> list[str]:
        if not self.layers:
            return ["images"]
        if len(self.features) == 1:
            return self.features[0].addresses(self.layers)
        return ["+".join(address for each in self.features for address in each.addresses(self.layers))]

    def _options(self) -> dict[str, Any]:
        data = self.data
        names = ("split", "metric", "target", "target_type", "where", "allow_missing")
        return {**{name: getattr(data, name) for name in names}, **self.study.common, **self.own}


class Select(OnFeatures):
    """A selection of columns, of vectors that are normalised as those that its runs are trained on."""

    kind = "select"

    def _options(self) -> dict[str, Any]:
        return {**super()._options(), **{name: getattr(self.data, name) for name in _NORMALISED}}

    def _question(self) -> tuple[Any, ...]:
        return self.study.store, self.data.name, *self._addresses()

    def _is_done(self) -> bool:
        self.id = identify_selection(*self._question(), **self._options())
        return self.study.store.has_selection(self.id)

    def do(self, report: Callable[..., None]) -> str:
        record = select(*self._question(), **self._options(), progress=report)
        self.id, self.notes = record.id, record.found["notes"]
        kept = record.kept or record.folds[0]
        return f"keeps {kept['k_min']} of {len(kept['ranking'])} columns"


class Train(OnFeatures):
    """A run."""

    kind = "train"

    def _ask(self, step: Callable[..., Any], **more: Any) -> Any:
        # Images can neither be averaged to units nor be normalised by controls.
        of_vectors = {name: getattr(self.data, name) if self.layers else None for name in _OF_VECTORS}
        options = {**self._options(), **of_vectors, **more}
        for each in self.features:
            options |= each.asked()
        selection = [need.id for need in self.needs if isinstance(need, Select)]
        options |= {"selection": selection[0]} if selection else {}
        return step(self.study.store, self.data.name, self._addresses(), self.classifier, **options)

    def _is_done(self) -> bool:
        *_, self.id = self._ask(identify_run)
        return self.study.store.has_run(self.id)

    def do(self, report: Callable[..., None]) -> str:
        *_, record = self._ask(train, progress=report)
        self.id, self.notes = record.id, list(record.notes)
        if not self.layers:
            self.notes += image_notes(self.data)
        return score(record)


def image_notes(data: Data) -> list[str]:
    """Return what a dataset asks of vectors and cannot be done to images."""
    notes = []
    if data.aggregate:
        notes.append(f"images cannot be aggregated: scored on images, not by {data.aggregate}")
    if data.normalise:
        notes.append("images cannot be normalised by controls, which are trained on where they have labels")
    return notes


def score(record: RunRecord) -> str:
    """Return the mean over the folds of a run's metric, in words."""
    mean = record.mean_over_folds
    return f"{record.metric} {'undefined' if mean is None else number_text(mean)}"
