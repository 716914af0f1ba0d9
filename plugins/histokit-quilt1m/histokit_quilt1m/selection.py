"""Which row stands for each image, and what the images are labelled as; known once the whole table was read."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from histokit.plugin import UsageError, counted
from histokit_quilt1m.folders import Images
from histokit_quilt1m.lookup import (
    IMAGE,
    NOT_HISTOLOGY,
    PARTS,
    SINGLE_WSI,
    SPLIT,
    SUBSET,
    Lookup,
    bare_name,
    flag_of,
    labels_of,
    part_of,
)

ROWS = 1_017_712
_NO_ROW = -1
#: What the first row of an image says of the split, by its number.
_SAID = (None, *PARTS)
_KEPT_BY = "(-o several=first or join keeps such)"


@dataclass(frozen=True)
class Rules:
    """The options of `histokit_quilt1m.dataset.Quilt1M` that choose images and their labels."""

    label: str
    several: Literal["drop", "first", "join"]
    separators: str
    subset: tuple[str, ...]
    not_histology: Literal["drop", "keep"]
    single_wsi: Literal["any", "only", "none"]
    min_class_size: int
    unlabelled: bool


class Selection:
    """The images that are samples; a million take 14 megabytes.

    Parameters
    ----------
    lookup : Lookup
    images : Images
    rules : Rules

    Attributes
    ----------
    count : int
        Of the samples.
    notes : list of str
        How many rows and images were left out, and why.

    Raises
    ------
    DataError, UsageError
        If a row does not fit, or no row is of a subset.
    """

    def __init__(self, lookup: Lookup, images: Images, rules: Rules):
        self.lookup, self.images, self.rules = lookup, images, rules
        self.notes: list[str] = []
        self._rows, self._codes = array("q", [_NO_ROW]) * len(images), array("i", [0]) * len(images)
        self._codes_of: dict[tuple[str, ...], int] = {(): 0}
        self._sets: list[tuple[str, ...]] = [()]
        self._listed, self._barred, self._parts = (bytearray(len(images)) for _ in range(3))
        self._subsets: set[str | None] = set()
        self._tally: Counter[str] = Counter()
        self._missing: list[str] = []
        self._read()
        self._labels = [_one_label(labels, rules.several) for labels in self._sets]
        self._kept = self._resolve()

    def has(self, number: int, row: int) -> bool:
        """Return whether an image is a sample, and a row, from 0, the one that stands for it."""
        return number >= 0 and self._rows[number] == row and self._codes[number] in self._kept

    def label(self, number: int) -> str | None:
        """Return the label of an image."""
        return self._labels[self._codes[number]]

    def _code_of(self, labels: tuple[str, ...]) -> int:
        code = self._codes_of.setdefault(labels, len(self._sets))
        if code == len(self._sets):
            self._sets.append(labels)
        return code

    def _read(self) -> None:
        columns = dict.fromkeys((IMAGE, self.rules.label, SUBSET, SPLIT, NOT_HISTOLOGY, SINGLE_WSI))
        for start, batch in self.lookup.batches([name for name in columns if name in self.lookup.names]):
            self._read_batch(start, batch)
        if unknown := [name for name in self.rules.subset if name not in self._subsets]:
            known = ", ".join(sorted(filter(None, self._subsets)))
            raise UsageError(f"No row is of the subset {unknown[0]!r}.", next=f"The subsets are {known}.")
        for number, barred in enumerate(self._barred):
            if barred and self._rows[number] != _NO_ROW:
                self._rows[number] = _NO_ROW
                self._tally["barred"] += 1
        self._tell()

    def _read_batch(self, start: int, batch: pa.RecordBatch) -> None:
        names = [bare_name(path) for path in batch.column(IMAGE).to_pylist()]
        codes = self.lookup.meanings(
            batch,
            self.rules.label,
            start,
            lambda text: self._code_of(labels_of(text, self.rules.separators)),
            "a label, or a list of labels as Python or NumPy write it",
        )
        parts: Sequence[str | None] = [None] * len(batch)
        if SPLIT in self.lookup.names:
            parts = self.lookup.meanings(batch, SPLIT, start, part_of, " or ".join(PARTS))
        found, flags = self.images.find(names), self._flags(batch, start)
        cells = zip(found, codes, self._wanted(batch, start), flags, parts, strict=True)
        for row, (number, code, wanted, barred, part) in enumerate(cells):
            if number < 0:
                self._tally["missing"] += 1
                name = names[row] or f"row {start + row + 1}"
                if len(self._missing) < 3 and name not in self._missing:
                    self._missing.append(name)
                continue
            self._listed[number] = 1
            self._barred[number] |= barred
            if not wanted:
                self._tally["subset"] += 1
            elif self._rows[number] == _NO_ROW:
                self._rows[number], self._codes[number] = start + row, code
                self._parts[number] = _SAID.index(part)
            else:
                self._tally["again"] += 1
                self._tally["parts"] += _SAID[self._parts[number]] != part
                if (before := self._codes[number]) != code:
                    both = dict.fromkeys((*self._sets[before], *self._sets[code]))
                    self._codes[number] = self._code_of(tuple(both))
        self._tally["rows"] += len(batch)

    def _wanted(self, batch: pa.RecordBatch, start: int) -> list[bool]:
        if SUBSET not in self.lookup.names:
            return [True] * len(batch)
        found = self.lookup.meanings(batch, SUBSET, start, lambda text: text)
        self._subsets.update(found)
        return [not self.rules.subset or name in self.rules.subset for name in found]

    def _flags(self, batch: pa.RecordBatch, start: int) -> list[bool]:
        """Return whether the flags of each row bar its image."""
        barred = [False] * len(batch)
        rules = ((NOT_HISTOLOGY, self.rules.not_histology == "drop"), (SINGLE_WSI, self.rules.single_wsi != "any"))
        for name, asked in rules:
            if name in self.lookup.names:
                flags = self.lookup.meanings(batch, name, start, flag_of, "0 or 1")
                wrong = not (name == SINGLE_WSI and self.rules.single_wsi == "only")
                barred = [before or (asked and flag == wrong) for before, flag in zip(barred, flags, strict=True)]
        return barred

    def _tell(self) -> None:
        tally = self._tally
        if tally["rows"] != ROWS:
            self.notes.append(f"The table has {tally['rows']:,} rows; published are {ROWS:,}")
        tally["orphans"] = len(self._listed) - sum(self._listed)
        texts = {
            "missing": (
                "row was left out because its",
                "rows were left out because their",
                f" image is missing, such as {', '.join(self._missing)}",
            ),
            "subset": ("row of another subset was", "rows of other subsets were", " left out"),
            "again": ("row names", "rows name", " an image again, and give no sample of their own"),
            "parts": ("row names", "rows name", " an image again, in another part of the split; the first row counts"),
            "barred": ("image was", "images were", f" left out by flags ({NOT_HISTOLOGY}, {SINGLE_WSI})"),
            "orphans": ("image has", "images have", " no row in the table"),
        }
        self.notes.extend(f"{counted(tally[key], *forms)}{rest}" for key, (*forms, rest) in texts.items() if tally[key])
        if self.images.again:
            images = counted(self.images.again, "image lies", "images lie")
            self.notes.append(f"{images} in several folders; the first was taken")

    def _resolve(self) -> set[int]:
        """Return the codes of images that are samples: classes are known once all images are."""
        rules, every = self.rules, range(len(self._sets))
        images = Counter(code for row, code in zip(self._rows, self._codes, strict=True) if row != _NO_ROW)
        several = {code for code in every if len(self._sets[code]) > 1}
        dropped = several if rules.several == "drop" else set()
        sizes: Counter[str | None] = Counter()
        for code in set(every) - dropped:
            sizes[self._labels[code]] += images[code]
        small = {label for label, size in sizes.items() if label is not None and 0 < size < rules.min_class_size}
        unlabelled = set() if rules.unlabelled else {0}
        rare = {code for code in every if self._labels[code] in small} - dropped
        classes = f"{counted(len(small), 'class', 'classes')} with fewer than {rules.min_class_size:,} images"
        left_out = {
            (
                "with several labels was",
                "with several labels were",
                f" left out {_KEPT_BY}",
            ): dropped,
            (f"of {classes} was", f"of {classes} were", " left out"): rare,
            ("without label was", "without label were", " left out"): unlabelled,
            ("has", "have", f" several labels (-o several={rules.several})"): several - dropped - rare,
        }
        for (one, many, rest), codes in left_out.items():
            if count := sum(images[code] for code in codes):
                self.notes.append(f"{counted(count, f'image {one}', f'images {many}')}{rest}")
        kept = set(every) - dropped - rare - unlabelled
        self.count = sum(images[code] for code in kept)
        return kept


def _one_label(labels: Sequence[str], several: str) -> str | None:
    if not labels:
        return None
    return " + ".join(sorted(labels)) if several == "join" else labels[0]
