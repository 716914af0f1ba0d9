"""What a walk through a folder meets besides images that are as they should be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from histokit.datasets.patterns import PathPattern
from histokit.datasets.walk import IMAGE_SUFFIXES, Tally, Walk
from histokit.errors import DataError, counted


@dataclass
class MetFiles:
    """Files that were met in a walk.

    Parameters
    ----------
    walk : Walk
    others : Tally
        Images that do not match the pattern.
    ambiguous : Tally
        Paths that it can divide in several ways.
    unlabelled : Tally
    untold : Tally
        That do not state their micrometres per pixel, where these are asked for.
    beside : int
        Files that are no images.
    remarks : list of str
        What else is to be known.
    """

    walk: Walk
    others: Tally = field(default_factory=Tally)
    ambiguous: Tally = field(default_factory=Tally)
    unlabelled: Tally = field(default_factory=Tally)
    untold: Tally = field(default_factory=Tally)
    beside: int = 0
    remarks: list[str] = field(default_factory=list)

    def nothing(self, root: Path, pattern: PathPattern) -> DataError:
        """Return what to tell where no image is left."""
        if self.remarks:
            return DataError(
                f"No image in {str(root)!r} has all channels: {'; '.join(self.remarks)}.",
                next="Give the channels as the paths have them: -o channels=NAME:TEXT,…",
            )
        if not self.others:
            files = f" ({self.beside} other files)" if self.beside else ""
            return DataError(
                f"The folder {str(root)!r} holds no image{files}.",
                next="Give the folder that holds the images; a pattern that ends in a suffix takes other files too. "
                "Tiles of whole slides, such as .svs, come by: histokit ingest slides",
            )
        example = self.others.examples[0]
        return DataError(
            f"None of {self.others.count} images in {str(root)!r} matches the pattern {pattern.text!r}: "
            f"{pattern.failing_part(example)}. There are, for example, {self.others}.",
            next=f"Give a pattern that fits these paths, such as {_suggestion(example)}",
        )

    def told(self, pattern: PathPattern, labelled: bool) -> Iterator[str]:
        """Yield what the user should know; `labelled` says that labels come from a table."""
        yield from self.remarks
        if self.others:
            hint = pattern.suffix_hint(self.others.examples, IMAGE_SUFFIXES)
            yield f"{_images(self.others.count)} not match the pattern, for example {self.others.examples[0]!r}{hint}"
        if self.ambiguous:
            path = self.ambiguous.examples[0]
            yield (
                f"The fields of the pattern can divide {self.ambiguous.count} paths in more than one way; "
                f"{path!r} was read as {pattern.match(path)}"
            )
        if self.untold:
            example = self.untold.examples[0]
            yield f"{_images(self.untold.count)} not state micrometres per pixel, for example {example!r}"
        if self.unlabelled and labelled:
            example = self.unlabelled.examples[0]
            yield f"{_images(self.unlabelled.count)} not have a label in the table, for example {example!r}"


def _images(count: int) -> str:
    return counted(count, "image does", "images do")


def _suggestion(path: str) -> str:
    """Return an option that takes an image, with what its folders often stand for."""
    folders = path.count("/")
    suffix = PurePosixPath(path).suffix
    if not folders:
        table = "-o labels=TABLE.csv -o on=file:COLUMN -o pattern='{file}.*'"
        return f"-o pattern='*{suffix}' for images without labels; with labels in a table, {table}"
    names = [f"{{level{i}}}" for i in range(1, folders - 1)] + ["{patient}", "{label}"][-min(folders, 2) :]
    return f"-o pattern='{'/'.join([*names, '*' + suffix])}'"
