"""What is to be known of images although they are read: told once for each kind, never for each image."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

#: What is the matter with images, by kind: for one of them, and what to do.
KINDS: Mapping[str, tuple[str, str]] = {
    "dark": (
        "uses less than a quarter of its range, so that it is almost black to a network",
        "ingest them with the number of bits that was recorded, such as -o bits=12, or with -o scale=minmax",
    ),
    "channels": (
        "has three pages that it calls channels, which were read as red, green and blue in this order",
        "save such images as RGB if that is not what the channels are",
    ),
    "of several": (
        "is one of several files that hold one image, and was read for its own planes alone",
        "say which it is with fields of the pattern, such as {channel}, or save the image as one file",
    ),
    "left out": ("holds more than what was read, its first picture", "save what else is wanted as images of its own"),
    "flat": (
        "is all black or all white by its scale, or some of its channels are",
        "leave such images out if they are empty, or give black and white otherwise: -o scale=range:BLACK,WHITE",
    ),
    "no numbers": (
        "has pixels that are no numbers (NaN or infinite), which became black or white",
        "save such images with numbers there, if black is not what is meant",
    ),
    "masked": (
        "has no pixel whose middle lies inside its outline, so that all of it is masked",
        "leave such regions out: -o min_size=PIXELS, or mend their outlines",
    ),
    "halved": (
        "has colours of more than 8 bits, of which the upper eight are read",
        "save such images as TIFF, PNG or PPM of red, green and blue if the lower bits matter",
    ),
    "transparent": ("is transparent in places, which became white", "save such images without transparency"),
}


class ImageWarning(UserWarning):
    """Something is to be known of an image although it was read."""


class Remark(NamedTuple):
    """What is to be known of one image: a kind of `KINDS`, and its numbers."""

    kind: str
    path: str
    detail: str

    def __str__(self) -> str:
        what, advice = KINDS[self.kind]
        return f"{self.path} {what} ({self.detail}); {advice}."


_COLLECTED: ContextVar[list[Remark] | None] = ContextVar("_COLLECTED", default=None)


@contextmanager
def collected_remarks() -> Iterator[list[Remark]]:
    """Collect the remarks on images that this thread reads, which are Python warnings otherwise."""
    found: list[Remark] = []
    token = _COLLECTED.set(found)
    try:
        yield found
    finally:
        _COLLECTED.reset(token)


def remark(kind: str, path: str | Path, detail: str) -> None:
    """Tell something of an image: one of `KINDS`, and its numbers."""
    repeat([Remark(kind, str(path), detail)])


def repeat(remarks: Iterable[Remark]) -> None:
    """Tell what was collected before."""
    found = _COLLECTED.get()
    for each in remarks:
        if found is None:
            warnings.warn(str(each), ImageWarning, stacklevel=3)
        else:
            found.append(each)


class RemarkTally:
    """Counts remarks by kind, each with the first as example."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, Remark] = {}

    def add(self, remarks: Iterable[Remark]) -> None:
        """Count the remarks on one sample."""
        for each in {each.kind: each for each in reversed(list(remarks))}.values():
            self._counts[each.kind] = self._counts.get(each.kind, 0) + 1
            self._examples.setdefault(each.kind, each)

    def lines(self) -> list[tuple[str, str, str]]:
        """Return (kind, example, line) for each kind."""
        found = []
        for kind, example in self._examples.items():
            count, (what, advice) = self._counts[kind], KINDS[kind]
            images = "1 image" if count == 1 else f"{count} images: each"
            line = f"{images} {what}, for example {example.path} ({example.detail}); {advice}"
            found.append((kind, example.path, line))
        return found
