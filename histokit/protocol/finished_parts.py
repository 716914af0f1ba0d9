"""What an interrupted selection or run has done already."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections import UserDict
from collections.abc import Iterable, MutableMapping, Sequence
from importlib.metadata import version
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.plugin.digests import digest_bytes
from histokit.store import Store
from histokit.store.unfinished import Unfinished

#: In each document: the seconds that all had taken when it was kept.
_SPENT = "spent"
#: Of an array: its bytes as text, and what they are.
_BYTES, _NUMBER = "float64", "<f8"


class FinishedParts:
    """Parts of a selection or a run, kept in the store until it is saved.

    Parameters
    ----------
    store : Store
    owner : str
        The id that the selection or the run will have.
    sample_ids : sequence of str
        The rows in their order. Neither another order nor another version of the trees goes on from what was kept.
    vectors : iterable of bytes
        The digests of the vectors. Those that were computed elsewhere may have been replaced since.
    look : bool
        Only look at them.

    Raises
    ------
    StoreError
        If nothing can be written to the store, before anything is computed in vain.
    """

    def __init__(
        self, store: Store, owner: str, sample_ids: Sequence[str], vectors: Iterable[bytes] = (), look: bool = False
    ):
        if not look:
            store.database.commits.check_writable()
        self.unfinished, self.owner = Unfinished(store.database), owner
        rows = digest_bytes(version("scikit-learn").encode(), *(name.encode() for name in sample_ids), *vectors).hex()
        self.prefix = f"{rows}/"
        self.documents = self.unfinished.read(owner)
        self.wrote = False
        self._before = max(
            (d.get(_SPENT, 0.0) for k, d in self.documents.items() if k.startswith(self.prefix)), default=0.0
        )
        self._started = perf_counter()

    @property
    def seconds(self) -> float:
        """What all has taken, up to the last part that was kept before each interruption."""
        return self._before + perf_counter() - self._started

    def of(self, number: int) -> MutableMapping[str, dict[str, Any]]:
        """Return those of one training set as a mapping that writes to the store."""
        prefix = f"{self.prefix}{number}/"
        known = {
            key.removeprefix(prefix): {name: value for name, value in document.items() if name != _SPENT}
            for key, document in self.documents.items()
            if key.startswith(prefix)
        }
        return _Memory(self, number, known)

    def keep(self, number: int, key: str, document: dict[str, Any]) -> None:
        """Write a part of a training set to the store; nothing of it stays in memory."""
        self.wrote = True
        self.unfinished.save(self.owner, f"{self.prefix}{number}/{key}", {**document, _SPENT: self.seconds})

    def forget(self) -> None:
        """Remove all of them, where there are any."""
        if self.documents or self.wrote:
            self.unfinished.forget(self.owner)


class _Memory(UserDict[str, dict[str, Any]]):
    def __init__(self, finished: FinishedParts, number: int, known: dict[str, dict[str, Any]]):
        super().__init__()
        self.data = known
        self.finished, self.number = finished, number

    def __setitem__(self, key: str, document: dict[str, Any]) -> None:
        super().__setitem__(key, document)
        self.finished.keep(self.number, key, document)


def packed(values: NDArray[np.float64]) -> dict[str, Any]:
    """Return an array as JSON-serialisable data, bit for bit: as text a number takes twice the room and far longer."""
    return {_BYTES: b64encode(values.astype(_NUMBER).tobytes()).decode(), "shape": list(values.shape)}


def unpacked(document: Any) -> NDArray[np.float64]:
    """Return the array that `packed` made data of; earlier versions wrote lists, with none for minus infinity."""
    if isinstance(document, list):
        rows = [[-np.inf if value is None else value for value in row] for row in document]
        return np.array(rows, np.float64) if rows else np.empty((0, 0))
    values = np.frombuffer(b64decode(document[_BYTES]), _NUMBER).reshape(document["shape"])
    return values.astype(np.float64)
