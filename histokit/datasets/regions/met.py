"""What comes up while the annotations of a dataset are read, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from histokit.datasets.groups import Groups
from histokit.datasets.regions.annotation_files import AnnotationFiles
from histokit.datasets.regions.region import Reading
from histokit.datasets.walk import IMAGE_SUFFIXES, Tally
from histokit.errors import DataError, counted
from histokit.files import suffix_of

#: What reasons begin with, as it is said of several annotations and of one.
_VERBS = {"are": "is", "have": "has", "begin": "begins", "hold": "holds"}


class Met:
    """Samples, and annotations that are none.

    Parameters
    ----------
    reading : Reading
    groups : Groups
    """

    def __init__(self, reading: Reading, groups: Groups):
        self.reading, self.groups = reading, groups
        self.missing, self.unlabelled, self.empty = Tally(), Tally(), Tally()
        self.missing_names: set[str] = set()
        self.labels: set[str] = set()
        self.count = 0
        self._places: dict[str, tuple[Path, int]] = {}

    def new_id(self, sample_id: str, number: int) -> str:
        """Return an id that did not come before.

        Raises
        ------
        DataError
        """
        place = self.reading.path, number
        before = self._places.setdefault(sample_id, place)
        if before != place:
            what = f"has the id {sample_id!r}, as annotation {before[1]:,} of {before[0].name!r} has"
            raise self.reading.wrong(number, what)
        return sample_id

    def miss(self, image: str) -> None:
        """Count an annotation whose image is not there."""
        self.missing.add(image)
        self.missing_names.add(image)

    def add(self, label: str | None, number: int) -> None:
        """Count a sample."""
        self.count += 1
        if label is None:
            self.unlabelled.add(f"{self.reading.path.name}, {number}")
        else:
            self.labels.add(label)

    def nothing(self, root: Path, images: str, files: AnnotationFiles) -> DataError:
        """Return the error where there is no sample."""
        if self.missing:
            return DataError(
                f"None of the images of {counted(self.missing.count, 'annotation', 'annotations')} is in "
                f"{str(root / images)!r}, for example {self.missing}.",
                next=f"{self._slides() or 'Give the folder of the images as the root, or with -o images=FOLDER'}.",
            )
        why = "; ".join(
            counted(tally.count, _singular(reason), reason) for reason, tally in self.reading.left_out.items()
        )
        next = "Check the files, and the options."
        if not why and (other := files.of_another_kind()):
            why = f"none is of the kind {files.format}"
            next = f"{other[0]!r} is of the kind {other[1]}: add -o format={other[1]}, or leave format out."
        return DataError(f"The annotations in {str(root)!r} give no sample{f': {why}' if why else ''}.", next=next)

    def _slides(self) -> str:
        """Return what reads the images that are not there, where some are files of whole slides."""
        from histokit.datasets.whole_slides.kinds import SLIDE_SUFFIXES

        slides = [name for name in sorted(self.missing_names) if suffix_of(name) in SLIDE_SUFFIXES - IMAGE_SUFFIXES]
        if not slides:
            return ""
        return (
            f"Whole slides, such as {slides[0]!r}, are no images here: histokit ingest slides cuts their tiles, and "
            "-o regions=FOLDER labels them by GeoJSON files"
        )

    def remarks(self, by_name: Tally, files: AnnotationFiles, unknown: Tally) -> Iterator[str]:
        """Yield what the user should know.

        Parameters
        ----------
        by_name : Tally
            Images that are not where they are said to be.
        files : AnnotationFiles
        unknown : Tally
            Images whose size is listed, and could not be compared.
        """
        for reason, tally in self.reading.left_out.items():
            they = f"it {_singular(reason)}" if tally.count == 1 else f"they {reason}"
            yield f"{_left_out(tally)}: {they}, for example {tally}"
        if self.missing:
            images = f"their images, {len(self.missing_names):,} in all, are"
            images = "the image that they are of is" if len(self.missing_names) == 1 else images
            images = "its image is" if self.missing.count == 1 else images
            slides = f". {told}" if (told := self._slides()) else ""
            yield f"{_left_out(self.missing)}: {images} missing, for example {self.missing}{slides}"
        for what, tally in self.reading.noted.items():
            annotations = counted(tally.count, f"annotation {_singular(what)}", f"annotations {what}")
            yield f"{annotations}, for example {tally}"
        if by_name:
            images = counted(by_name.count, "image was found by its name", "images were found by their names")
            yield f"{images} alone, for example {by_name}"
        if unknown:
            images = counted(unknown.count, "image", "images")
            yield f"The listed size of {images} was not compared with that of the file, for example {unknown}"
        if self.unlabelled:
            fields = ", ".join(sorted(self.reading.fields)[:10])
            hint = f"; -o label=FIELD names where it stands, of {fields}" if fields and not self.labels else ""
            annotations = counted(self.unlabelled.count, "annotation has", "annotations have")
            yield f"{annotations} no label, for example {self.unlabelled}{hint}"
        if self.empty:
            yield f"{counted(self.empty.count, 'file gives', 'files give')} no sample, for example {self.empty}"
        if files.other_kinds:
            count, example = len(files.other_kinds), files.other_kinds[0]
            others = counted(count, "file holds", "files hold")
            yield f"{others} no annotations of the kind {files.format}, for example {example!r}"


def _left_out(tally: Tally) -> str:
    return counted(tally.count, "annotation was left out", "annotations were left out")


def _singular(sentence: str) -> str:
    verb, _, rest = sentence.partition(" ")
    return f"{_VERBS[verb]} {rest}"
