"""The checks of a reader of image files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

from histokit.errors import UsageError
from histokit.plugin.raw_images import RawImage, mpp_of, parts_of, read_raw
from histokit.plugin.registered import Registered
from histokit.plugin.testing.another_process import digest_of
from histokit.plugin.testing.checks import Check, require
from histokit.plugin.testing.pauses import read_at_once

#: How many images are looked at.
_READS = 8


class ProbedReader:
    """A reader under examination, and the files that it is looked at with."""

    def __init__(self, entry: Registered, root: Path):
        self.entry = entry
        found = [root] if root.is_file() else sorted(each for each in root.rglob("*") if each.is_file())
        self.files = list(islice((each for each in found if each.suffix.lower() == entry.name), _READS))
        if not self.files:
            raise UsageError(
                f"There is no {entry.name} file in {str(root)!r}.", next="Name a folder with a few of them."
            )

    @cached_property
    def images(self) -> list[tuple[Path, str | None]]:
        """Some files and their parts."""
        parts: list[tuple[Path, str | None]] = [
            (file, part) for file in self.files for part in parts_of(file) or [None]
        ]
        return parts[:: max(1, len(parts) // _READS)][:_READS]

    @property
    def named(self) -> list[str]:
        """How each of the images is read."""
        return [f"read({file.name!r}{'' if part is None else f', {part!r}'})" for file, part in self.images]

    def read(self, place: int) -> RawImage:
        """Return one of the images."""
        return read_raw(*self.images[place])


def numbers_of_images(probed: ProbedReader) -> None:
    """`read` returns whole or real numbers of (H, W) or (H, W, C), and a name for each channel or none."""
    for place, name in enumerate(probed.named):
        raw = probed.read(place)
        more = raw.bits is not None and raw.pixels.dtype.kind == "u" and int(raw.pixels.max()) >> raw.bits
        require(not more, f"{name} gives {raw.pixels.max()}, more than the {raw.bits} bits that it says")


def micrometres_per_pixel(probed: ProbedReader) -> None:
    """`mpp` returns a positive number, or none."""
    for file in probed.files:
        mpp = mpp_of(file)
        require(mpp is None or 0 < mpp < float("inf"), f"mpp({file.name!r}) returns {mpp}")


def pixels_repeat(probed: ProbedReader) -> None:
    """`read` gives the same pixels again, in another order."""
    first = [digest_of(probed.read(place).pixels) for place in range(len(probed.images))]
    for place, name in reversed(list(enumerate(probed.named))):
        require(digest_of(probed.read(place).pixels) == first[place], f"{name} gives other pixels the second time")


def threads_read_the_same(probed: ProbedReader) -> None:
    """Threads that read at once, as they do for a network, get the same pixels as one after the other."""
    loaded: Any = probed.entry.load()
    hint = "each call has to return an array of its own, and to open the file anew or to hold a lock"
    read_at_once(probed.named, lambda place: digest_of(probed.read(place).pixels), loaded.__module__, hint)


#: The clauses, in the order in which an author would look at them.
_CLAUSES: tuple[Callable[[ProbedReader], None], ...] = (
    numbers_of_images,
    micrometres_per_pixel,
    pixels_repeat,
    threads_read_the_same,
)


def iter_reader_checks(entry: Registered, root: str | Path | None) -> Iterator[Check]:
    """Return the checks of the reader of a suffix.

    Raises
    ------
    UsageError
        If there are no files of it.
    """
    if root is None:
        raise UsageError(
            f"The reader of {entry.name} files is checked on files, and none are given.",
            next=f"Name a folder with a few of them: histokit plugins check {entry.name} ROOT",
        )
    probed = ProbedReader(entry, Path(root))
    for clause in _CLAUSES:
        name = clause.__name__.replace("_", " ")
        yield Check(name, (clause.__doc__ or "").splitlines()[0], partial(clause, probed))
