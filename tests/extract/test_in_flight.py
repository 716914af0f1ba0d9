"""Vectors that are still on their way are handed on in order, each once it has arrived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from histokit.extract.in_flight import IN_FLIGHT, InFlight


class SlowDevice(InFlight):
    """Copies only when it is waited for, as late as a device may."""

    def __init__(self, take: Any):
        super().__init__(torch.device("meta"), take)
        self.made: list[torch.Tensor] = []

    def _buffer(self, shape: torch.Size) -> torch.Tensor:
        buffer = super()._buffer(shape)
        if all(buffer is not known for known in self.made):
            self.made.append(buffer)
        self.copied = Delayed(buffer)
        return self.copied  # type: ignore[return-value]

    def _event(self) -> Any:
        return self.copied


class Delayed:
    """A tensor that is written to when it is waited for."""

    def __init__(self, buffer: torch.Tensor):
        self.buffer, self.source = buffer, buffer

    def copy_(self, source: torch.Tensor, non_blocking: bool) -> torch.Tensor:
        """Keep what is to be written."""
        assert non_blocking
        self.source = source
        return self.buffer

    def synchronize(self) -> None:
        """Write it."""
        self.buffer.copy_(self.source)


@pytest.fixture
def unpinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take usual memory, as there is no device that needs another."""
    empty = torch.empty

    def usual(*args: Any, pin_memory: bool = False, **kwargs: Any) -> torch.Tensor:
        assert pin_memory
        return empty(*args, **kwargs)

    monkeypatch.setattr("histokit.extract.in_flight.torch.empty", usual)


@pytest.mark.usefixtures("unpinned")
def test_vectors_are_handed_on_in_order_and_their_memory_is_used_again() -> None:
    found: list[tuple[list[bytes], dict[str, Any]]] = []

    def take(contents: Sequence[bytes], vectors: Mapping[str, npt.NDArray[np.float32]]) -> None:
        found.append((list(contents), {name: rows.copy() for name, rows in vectors.items()}))

    device = SlowDevice(take)
    sent = []
    for number in range(12):
        count = 3 if number < 11 else 2
        vectors = {"a": torch.full((3, 2), 10.0 * number), "b": torch.arange(12.0).reshape(3, 4) + number}
        contents = [bytes([number, row]) for row in range(count)]
        sent.append((contents, {name: rows[:count].numpy().copy() for name, rows in vectors.items()}))
        device.send(contents, device.stage(vectors))
        assert len(found) == max(0, number + 1 - IN_FLIGHT)
    device.finish()
    assert [contents for contents, _ in found] == [contents for contents, _ in sent]
    for (_, here), (_, there) in zip(found, sent, strict=True):
        assert here.keys() == there.keys()
        assert all((here[name] == there[name]).all() for name in here)
    assert len(device.made) == IN_FLIGHT + 1


def test_vectors_of_a_processor_are_there_at_once() -> None:
    found: list[Any] = []
    device = InFlight(torch.device("cpu"), lambda contents, vectors: found.append((contents, vectors["a"].tolist())))
    device.send([b"x", b"y"], device.stage({"a": torch.tensor([[1.0], [2.0], [2.0]])}))
    assert found == [([b"x", b"y"], [[1.0], [2.0]])]
