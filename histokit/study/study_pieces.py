"""The pieces of a study: each looks whether it is done already, and does what is missing of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from histokit.errors import HistokitError, counted
from histokit.ingest.ingest import ingest, ingested_as
from histokit.protocol.named_split import find_base, replaced_notes
from histokit.protocol.splits import make_split
from histokit.store.split_records import Split
from histokit.study.study_file import Data, Study

#: What an id is called in documents, and of which kinds of pieces.
_IDS = {"run": ("train", "finetune"), "selection": ("select",)}


@dataclass(eq=False, kw_only=True)
class Piece(ABC):
    """A call of one step.

    Parameters
    ----------
    study : Study
    data : Data
        The dataset that it is about.
    needs : list of Piece
        What has to be done before.
    done : bool
        Whether its result is in the store.
    id : str, optional
        Of a selection or a run that is there.
    seconds : float, optional
        That it will take, 0 where it is done, none where that is not known.
    estimate : str, optional
        Where that is from: ``measured`` or ``typical``.
    trouble : HistokitError, optional
        What was found to be in its way.
    notes : list of str
        What is to be known of its result, once it was done.
    """

    kind: ClassVar[str] = ""

    study: Study
    data: Data
    needs: list[Piece] = field(default_factory=list)
    strategy: str = ""
    classifier: str = ""
    done: bool = False
    id: str | None = None
    seconds: float | None = None
    estimate: str | None = None
    trouble: HistokitError | None = None
    notes: list[str] = field(default_factory=list)

    @property
    @abstractmethod
    def what(self) -> str:
        """What it makes, in the words of the command line."""

    @property
    def title(self) -> str:
        """The piece in a line."""
        parts = [self.kind, self.data.name, self.what if self.what != self.data.name else "", self.classifier]
        return " ".join(part for part in parts if part) + (f" ({self.strategy})" if self.strategy else "")

    def look(self) -> None:
        """Find out whether it is done, where what it needs is; nothing is computed and nothing written."""
        self.done, self.trouble = False, None
        if all(need.done for need in self.needs):
            try:
                self.done = self._is_done()
            except HistokitError as error:
                self.trouble = error

    @abstractmethod
    def _is_done(self) -> bool:
        """Return whether the store has it; what it needs is there."""

    @abstractmethod
    def do(self, report: Callable[..., None]) -> str:
        """Do it; where it is done already, that is seen at once.

        Returns
        -------
        str
            What came of it, in a few words.
        """

    def to_json(self) -> dict[str, Any]:
        """Return the piece as JSON-serialisable data."""
        names = ("strategy", "classifier", "seconds", "estimate")
        found = {name: getattr(self, name) or None for name in names}
        found |= {name: self.id if self.kind in kinds else None for name, kinds in _IDS.items()}
        found["seconds"] = self.seconds
        trouble = None if self.trouble is None else self.trouble.to_json()
        fixed = {"kind": self.kind, "dataset": self.data.name, "what": self.what}
        state = "done" if self.done else "in trouble" if self.trouble else "missing"
        return {**fixed, **found, "state": state, "trouble": trouble}


class Ingest(Piece):
    """A dataset that is brought into the store."""

    kind = "ingest"

    @property
    def what(self) -> str:
        return self.data.opened.name if self.data.opened else self.data.name

    def _is_done(self) -> bool:
        if self.data.opened is None:
            self.study.store.dataset(self.data.name)
            return True
        return ingested_as(self.study.store, self.data.name, self.data.opened)

    def do(self, report: Callable[..., None]) -> str:
        if self.data.opened is None:
            return counted(self.study.store.dataset(self.data.name).count, "sample", "samples")
        record = ingest(self.study.store, self.data.opened, name=self.data.name, progress=report)
        self.notes = [f"{self.data.name}: {text}" for text in record.warnings]
        return counted(record.count, "sample", "samples")


class MakeSplit(Piece):
    """A split that the study makes itself."""

    kind = "split"

    @property
    def what(self) -> str:
        return str(self.data.split)

    def _make(self) -> Split:
        store = self.study.store
        record = store.dataset(self.data.name)
        options = dict(self.data.made or {})
        target: dict[str, Any] = {"target": self.data.target, "target_type": self.data.target_type}
        base = find_base(store, self.data.name, options.pop("within", None), **target, name=self.what)
        return make_split(store.samples(self.data.name), record, self.what, **target, **options, within=base)

    def _is_done(self) -> bool:
        if self.what not in self.study.store.split_headers(self.data.name):
            return False
        stored, made = self.study.store.split(self.data.name, self.what), self._make()
        return (stored.digest, stored.group) == (made.digest, made.group)

    def do(self, report: Callable[..., None]) -> str:
        before = self.study.store.split_headers(self.data.name).get(self.what)
        made = self._make()
        self.study.store.save_split(made, before["digest"] if before else None)
        self.notes = replaced_notes(self.study.store, made, before)
        return counted(made.fold_count, "fold", "folds")
