"""Quilt-1M: images from videos, articles and posts, classified by the sub-pathology of their video."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from histokit.plugin import DataError, Dataset, PublishedSplit, Sample, UsageError, counted
from histokit_quilt1m.folders import Images
from histokit_quilt1m.lookup import (
    IMAGE,
    MAGNIFICATION,
    NOT_HISTOLOGY,
    PARTS,
    SINGLE_WSI,
    SPLIT,
    SUBSET,
    Lookup,
    bare_name,
    part_of,
)
from histokit_quilt1m.selection import Rules, Selection

#: Of an image's name, what stands before it is the video.
_BETWEEN = "_image_"


class Quilt1M(Dataset):
    """Images that the lookup table names, each once, with the label of its rows.

    Parameters
    ----------
    root : path
        The folder of ``quilt_1M_lookup.csv`` and of the unpacked images.
    table : str
        The lookup table: whole, or relative to the root.
    images : tuple of str
        Folders of images, relative to the root; where the archives unpack to, if not given.
    label : str
        The column of labels.
    several : {"drop", "first", "join"}
        What becomes of an image with several labels, in one cell or in several rows: it is left out, has the first
        one, or all of them as one label.
    separators : str
        Letters that separate labels in a cell that is no list.
    subset : tuple of str
        Such as ``quilt``; all if not given.
    not_histology : {"drop", "keep"}
        What becomes of images that are flagged so: faces, slides with text, photographs of screens.
    single_wsi : {"any", "only", "none"}
        Whether images of videos that show a single whole slide are taken.
    min_class_size : int
        Classes of fewer images are left out.
    unlabelled : bool
        Whether images without label are samples too.

    References
    ----------
    Joyce, Deep Learning for Histopathology Image Classification using Quilt-1M, 2024.
    """

    name = "quilt1m"
    version = "1"
    columns: Mapping[str, type] = {"video": str, "subset": str, "magnification": str}
    group: str | None = "video"
    pixel_options: Sequence[str] | None = ()
    licence = "restricted access after agreeing to terms; for research only"
    citation = (
        "Ikezogwo et al. (2023), Quilt-1M: One Million Image-Text Pairs for Histopathology, "
        "Advances in Neural Information Processing Systems 36 (Datasets and Benchmarks)."
    )

    def __init__(
        self,
        root: str | Path,
        table: str = "quilt_1M_lookup.csv",
        images: tuple[str, ...] = (),
        label: str = "pathology",
        several: Literal["drop", "first", "join"] = "drop",
        separators: str = ";|,",
        subset: tuple[str, ...] = (),
        not_histology: Literal["drop", "keep"] = "drop",
        single_wsi: Literal["any", "only", "none"] = "any",
        min_class_size: int = 1,
        unlabelled: bool = False,
    ):
        super().__init__(root)
        for option, value, known in (
            ("several", several, ("drop", "first", "join")),
            ("not_histology", not_histology, ("drop", "keep")),
            ("single_wsi", single_wsi, ("any", "only", "none")),
        ):
            if value not in known:
                raise UsageError(f"The option {option}={value!r} is unknown.", next=f"Use one of {', '.join(known)}.")
        if min_class_size < 1:
            raise UsageError(f"The option min_class_size={min_class_size} is below 1.", next="Give a number of images.")
        self.lookup, self.folders = Lookup(self.root / table), images
        self.rules = Rules(label, several, separators, subset, not_histology, single_wsi, min_class_size, unlabelled)
        self._selection: Selection | None = None

    def samples(self) -> Iterator[Sample]:
        """Yield the images in the order in which the table first names them; the table is read twice, as a stream.

        Raises
        ------
        DataError
            If the table or the images are not there, a row does not fit, or no image is left.
        UsageError
            If an option names what the table does not have.
        """
        self.warnings.clear()
        self._selection = selection = self._select()
        alone = 0
        for name, number, subset, magnification in self._selected(selection, SUBSET, MAGNIFICATION):
            video, between, _ = name.partition(_BETWEEN)
            alone += not between
            metadata = {"video": video if between else name, "subset": subset, "magnification": magnification}
            yield Sample(name, (selection.images.path(number, name),), label=selection.label(number), metadata=metadata)
        if alone:
            images = counted(alone, "image is", "images are")
            self.warnings.append(f"{images} of no video: each is a group of its own")

    def _select(self) -> Selection:
        self._require_columns()
        for folder in self.folders:
            if not (self.root / folder).is_dir():
                raise DataError(
                    f"The folder {str(self.root / folder)!r} does not exist.", next="Give -o images=FOLDER."
                )
        images = Images(self.root, self.folders)
        if not len(images):
            folders = ", ".join(str(self.root / folder) for folder in images.folders)
            raise DataError(
                f"There are no images in {folders}.",
                next="Unpack the archives into the root (they hold quilt_1m/), or give -o images=FOLDER.",
            )
        selection = Selection(self.lookup, images, self.rules)
        self.warnings.extend(selection.notes)
        if not selection.count:
            raise DataError(
                f"No image of {str(self.root)!r} is left: {'; '.join(self.warnings)}.",
                next="Give other options, or more of the images.",
            )
        return selection

    def _selected(self, selection: Selection, *columns: str) -> Iterator[tuple[Any, ...]]:
        """Yield name and number of each image that is a sample, and cells of the row that stands for it."""
        present = [name for name in columns if name in self.lookup.names]
        for start, batch in self.lookup.batches([IMAGE, *present]):
            names = [bare_name(path) for path in batch.column(IMAGE).to_pylist()]
            cells = [batch.column(name).to_pylist() if name in present else None for name in columns]
            for row, number in enumerate(selection.images.find(names)):
                if selection.has(number, start + row):
                    yield names[row], number, *(None if column is None else column[row] for column in cells)

    def _require_columns(self) -> None:
        if not self.root.is_dir():
            raise DataError(f"The folder {str(self.root)!r} does not exist.", next="Give the folder of the table.")
        wanted = [IMAGE, self.rules.label, *([SUBSET] if self.rules.subset else [])]
        for name in wanted + ([SINGLE_WSI] if self.rules.single_wsi != "any" else []):
            if name not in self.lookup.names:
                raise UsageError(
                    f"The table {str(self.lookup.path)!r} has no column {name!r}.",
                    next=f"Its columns are {', '.join(filter(None, self.lookup.names))}.",
                )
        if self.rules.not_histology == "drop" and NOT_HISTOLOGY not in self.lookup.names:
            self.warnings.append(
                f"The table has no column {NOT_HISTOLOGY}, as before 2023-10-26: faces and texts are not left out"
            )
        lost = {SPLIT: "there is no published split", SUBSET: "no image has a subset"}
        absent = {name: what for name, what in lost.items() if name not in self.lookup.names}
        if absent:
            known = ", ".join(filter(None, self.lookup.names))
            self.warnings.append(
                f"The table has no column {' and no column '.join(absent)}: {', '.join(absent.values())}; "
                f"its columns are {known}"
            )

    def splits(self) -> Mapping[str, PublishedSplit]:
        """Return ``train-val``, in which the published validation part is tested; it says so where videos leak."""
        kept = list(self.warnings)
        selection = self._selection or self._select()
        self.warnings[:] = kept
        if SPLIT not in self.lookup.names:
            return {}
        parts: dict[str, list[str]] = {part: [] for part in PARTS}
        for name, _, cell in self._selected(selection, SPLIT):
            if (part := part_of(cell)) is not None:
                parts[part].append(name)
        if not all(parts.values()):
            return {}
        train, val = ({name.partition(_BETWEEN)[0] for name in names} for names in parts.values())
        shared = len(train & val)
        videos = counted(shared, "video has", "videos have")
        leaks = f"{videos} images in the training and in the validation part." if shared else None
        split = PublishedSplit.holdout(*parts.values(), group="video", leaks=leaks)
        self.warnings += split.warnings("train-val")
        return {"train-val": split}
