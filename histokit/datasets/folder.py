"""Images in folders whose names say what they are."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from histokit.datasets.cells import tidy_text
from histokit.datasets.channels import CHANNEL, ChannelFiles, Channels
from histokit.datasets.groups import Groups, group_remark
from histokit.datasets.image_options import Intensities, samples_of_planes
from histokit.datasets.labels import LabelTable, asked_classes, key_fields, pattern_of, require_labels
from histokit.datasets.met_files import MetFiles
from histokit.datasets.named_columns import refuse_without_table, require_named
from histokit.datasets.own_splits import no_part, no_parts, own_splits, role_of
from histokit.datasets.patterns import PathPattern
from histokit.datasets.tables import find_table, refuse_reserved, stored_name
from histokit.datasets.walk import Walk, is_image
from histokit.errors import UsageError
from histokit.plugin.dataset import Dataset, PublishedSplit, Sample

#: The field that says which part of the dataset's own split an image is in.
_SPLIT = "split"


class Folder(Dataset):
    """Images in folders, with labels in their paths or in a table.

    Parameters
    ----------
    root : path
    pattern : str, optional
        How paths relative to the root are built: ``{name}`` takes a part of the path or a piece of
        one, ``*`` any text within a part, ``**`` any depth. The field ``label`` is the label, the others become
        columns. ``{label}/**`` where not given; with `labels`, ``{on}/**``.
    group : str, optional
        The column that no fold may cut through.
    labels : str, optional
        A CSV or Parquet table of labels: a whole path, or relative to the root or the current folder; its other
        columns become columns too.
    on : str, optional
        The field of the pattern that is also a column of the table, by which its rows are found, or several:
        ``plate,well``. The label is that of the table, or ``label`` of the pattern where this has such a field.
    label_column : str
        The column of the table that holds the label.
    text : tuple of str
        Columns of the table that are text whatever they look like.
    levels : tuple of str
        Columns, fine to coarse, over which scores may be aggregated.
    classes : tuple of str
        In the order of scores; found in the data where not given.
    positive : str, optional
        The positive one of two classes.
    metric : str
        What scores are judged by.
    mpp : float or "metadata", optional
        Micrometres per pixel of all images, or that each file states them (OME-TIFF, ImageJ), for which no column
        ``mpp`` of the table says another one.
    bits : int, optional
        That were recorded, where images of 16 bits hold fewer, such as 12.
    split : str, optional
        A column of words such as train, valid and test, which becomes the split ``folder``; the field ``split`` of
        the pattern where not given, if its values are such words.
    channels : tuple of str
        Names of the channels, each with its text of the field ``channel`` of the pattern, or its name or number from 1
        in a file that holds all of them: ``DAPI:1,Tubulin:2,Actin:4``. Red, green and blue where not given.
    planes : str, optional
        Of files with several: ``each``, ``max``, or the name of one such as ``t=0,z=2``.
    scale : str
        What becomes black and white: ``full``, ``bits:12``, ``minmax``, ``percentile:0.1,99.9``, ``range:-100,400``.
    scale_over : str
        What limits are sought over: ``image``, ``crop`` or ``dataset``.

    Raises
    ------
    UsageError
        If options contradict each other or name fields that are not there.
    """

    name = "folder"
    pixel_options: Sequence[str] | None = ()

    def __init__(
        self,
        root: str | Path,
        pattern: str | None = None,
        group: str | None = None,
        labels: str | None = None,
        on: str | None = None,
        label_column: str = "label",
        levels: tuple[str, ...] = (),
        classes: tuple[str, ...] = (),
        positive: str | None = None,
        metric: str = "accuracy",
        mpp: float | Literal["metadata"] | None = None,
        text: tuple[str, ...] = (),
        bits: int | None = None,
        split: str | None = None,
        channels: tuple[str, ...] = (),
        planes: str | None = None,
        scale: str = "full",
        scale_over: Literal["image", "crop", "dataset"] = "image",
    ):
        super().__init__(root)
        self.bits, self.scale, self.scale_over = Intensities.checked(bits, scale, scale_over)
        self.planes = planes
        self.pattern = PathPattern(pattern or (pattern_of(on) if labels and on else "{label}/**"))
        self.group, self.levels = group and stored_name(group), tuple(map(stored_name, levels))
        self.metric, self.mpp = metric, mpp
        self.classes, self.positive = asked_classes(classes, positive)
        self.split_column = split and stored_name(split)
        self._set_channels(channels)
        self._label_column, self._text = label_column, tuple(map(stored_name, text))
        self.label_table = self._label_table(labels, on)
        fields = [name for name in self._fields if name != "label"]
        refuse_reserved(fields, f"The pattern {self.pattern.text!r}")
        if self.label_table is None:
            self._require_columns(fields)

    def _set_channels(self, texts: Sequence[str]) -> None:
        self._by_channel: Channels | None = None
        if not texts:
            return
        channels = Channels.parsed(texts)
        self.channels, self.file_channels = channels
        if CHANNEL in self.pattern.fields:
            self._by_channel = channels

    @property
    def _fields(self) -> list[str]:
        """The fields of the pattern that say something of a whole image."""
        return [name for name in self.pattern.fields if self._by_channel is None or name != CHANNEL]

    def _label_table(self, labels: str | None, on: str | None) -> LabelTable | None:
        pattern, label_column = self.pattern, self._label_column
        if labels is None:
            refuse_without_table(on=on)
            return None
        if on is None:
            fields = ", ".join(pattern.fields) or "none"
            raise UsageError(
                "Labels from a table need the field by which its rows are found.",
                next=f"Add -o on=FIELD, where FIELD is in the pattern (now: {fields}) and a column of {labels}; or "
                "-o on=FIELD:COLUMN.",
            )
        keys = key_fields(on)
        self._require(pattern.fields, on=keys)
        return LabelTable(
            find_table(self.root, labels, "labels"),
            keys,
            label_column,
            (self.group, *self.levels, *self._text),
            ("mpp",),
            needs_label="label" not in pattern.fields or label_column != "label",
            fields=self._fields,
        )

    def _require_columns(self, known: Sequence[str]) -> None:
        self._require(known, group=[self.group], split=[self.split_column], levels=self.levels)

    def _require(self, known: Sequence[str], **named: Iterable[str | None]) -> None:
        table = " and the table have" if getattr(self, "label_table", None) else " has"
        require_named(named, known, self._written, f"the pattern {self.pattern.text!r}{table}")

    @staticmethod
    def _written(name: str) -> str:
        return (
            f"Write {{{name}}} in the pattern where {name} stands in the path, such as "
            f"-o pattern='{{label}}/{{{name}}}/**'."
        )

    @property
    def labelled_by_table(self) -> bool:
        """Whether labels come from a table rather than from the paths."""
        return self.label_table is not None and "label" not in self.pattern.fields

    @cached_property
    def columns(self) -> Mapping[str, type]:  # type: ignore[override]
        """The fields of the pattern, and the columns of the table of labels."""
        columns: dict[str, type] = {name: str for name in self._fields if name != "label"}
        if self.label_table is None:
            refuse_without_table(label_column=None if self._label_column == "label" else self._label_column)
            self._require(self.pattern.fields, text=self._text)
        else:
            if not self.labelled_by_table:
                self.label_table.refuse_labels(self.pattern.text)
            columns = {**self.label_table.columns(), **columns}
            self._require_columns(list(columns))
            self._require([*self.pattern.fields, *self.label_table.names], text=self._text)
        return columns

    def samples(self) -> Iterator[Sample]:
        """Yield the images that match the pattern, in the order of their paths.

        Raises
        ------
        DataError
            If the root is absent, holds no image, or none that matches the pattern or a row of the table of labels.
        UsageError
            If `positive` or one of `classes` is not a label.
        """
        self.warnings.clear()
        columns, groups, met = self.columns, Groups(self.group), MetFiles(Walk(self.root))
        labels: set[str] = set()
        matched = 0
        for name, files, found in self._images(met):
            sample = self._sample(name, files, found, columns, groups)
            matched += 1
            if sample.label is None:
                met.unlabelled.add(name)
            else:
                labels.add(sample.label)
            yield from samples_of_planes(sample, self.root, self.planes, self.mpp, met.untold)
        if not matched:
            raise met.nothing(self.root, self.pattern)
        require_labels(labels, self.positive, self.classes)
        self.warnings.extend([*self._remarks(met), *groups.remarks(), *met.walk.warnings()])

    def _images(self, met: MetFiles) -> Iterator[tuple[str, tuple[str, ...], dict[str, str]]]:
        """Yield the id, the files and the fields of each image."""
        channels = self._by_channel and ChannelFiles(self.pattern, self._by_channel)
        for path, on_disk, found in self._matches(met):
            if channels:
                channels.add(on_disk, found)
            else:
                yield path, (on_disk,), found
        if channels:
            yield from channels.images()
            met.remarks.extend(channels.remarks())

    def _matches(self, met: MetFiles) -> Iterator[tuple[str, str, dict[str, str]]]:
        """Yield the files that match the pattern: their paths, as they are on disk as well, and their fields."""
        any_suffix = self.pattern.names_suffix
        for on_disk in met.walk.files():
            # As Linux and Windows write names; macOS takes letters and their accents apart.
            path = unicodedata.normalize("NFC", on_disk)
            found = self.pattern.match(path) if any_suffix or is_image(path) else None
            if found is None:
                if is_image(path):
                    met.others.add(path)
                else:
                    met.beside += 1
                continue
            unclear = self.pattern.ambiguous_fields(path)
            if unclear:
                self._require_clear(path, found, unclear)
                met.ambiguous.add(path)
            yield path, on_disk, found

    def splits(self) -> Mapping[str, PublishedSplit]:
        """Return the split ``folder``, where a column says train, val or test; a sample without a word is in none.

        Raises
        ------
        DataError
            If some of its words are others.
        """
        column = self.split_column or (_SPLIT if _SPLIT in self.pattern.fields else None)
        if column is None:
            return {}
        told = list(self.warnings)
        words = [(sample, str(word)) for sample in self.samples() if (word := sample.metadata[column]) is not None]
        self.warnings[:] = told
        known = [(sample, role) for sample, word in words if (role := role_of(word)) is not None]
        if len(known) < len(words) and (known or self.split_column):
            sample, word = next((sample, word) for sample, word in words if role_of(word) is None)
            advice = "Write train, val or test there, or call the field of the pattern otherwise."
            raise no_part(f"The image {sample.id!r}", column, word, advice)
        if words and not known:
            self.warnings.append(no_parts(column, (word for _, word in words)))
        return own_splits(self.name, known, self.group, self.warnings)

    def _require_clear(self, path: str, found: dict[str, str], unclear: list[str]) -> None:
        """Raise where it is not clear which group a path belongs to: folds would cut through groups unseen."""
        deciding = [name for name in (self.group, *self.levels) if name in unclear]
        if deciding:
            raise UsageError(
                f"The pattern {self.pattern.text!r} can divide {path!r} in more than one way: "
                f"{deciding[0]} may be {found[deciding[0]]!r} or shorter.",
                next="Write out what separates the fields, such as {patient}_idx{idx}_{rest}.",
            )

    def _sample(
        self,
        name: str,
        files: tuple[str, ...],
        found: dict[str, str],
        columns: Mapping[str, type],
        groups: Groups,
    ) -> Sample:
        tidied = {name: tidy_text(text) or None for name, text in found.items()}
        label = tidied.pop("label", None)
        metadata: dict[str, Any] = tidied
        if self.label_table is not None:
            told, values = self.label_table.row(*(tidied[name] or "" for name in self.label_table.on))
            label = told if self.labelled_by_table else label
            metadata = {**dict.fromkeys(columns), **values, **tidied}
        groups.complete(name, metadata)
        return Sample(name, files, label=label, mpp=metadata.pop("mpp", None), metadata=metadata)

    def _remarks(self, met: MetFiles) -> Iterator[str]:
        yield from met.told(self.pattern, self.labelled_by_table)
        if self.label_table is not None:
            self.label_table.require_met()
            yield from self.label_table.remarks()
            yield from () if self.labelled_by_table else self.label_table.lacking()
        yield from group_remark(self.group, self.columns)
