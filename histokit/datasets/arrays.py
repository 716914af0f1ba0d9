"""Images in files that hold many of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt

from histokit.datasets.cells import tidy_text
from histokit.datasets.channels import Channels
from histokit.datasets.containers.container import Container, ContainerOptions, HeldImage, Values, merged_columns
from histokit.datasets.containers.heeded import require_heeded
from histokit.datasets.containers.met_containers import MetContainers
from histokit.datasets.containers.opening import OpenContainers, containers_in, kind_of
from histokit.datasets.containers.shards import missing_shards
from histokit.datasets.containers.zarr_folder import described_by, is_zarr
from histokit.datasets.groups import Groups, group_remark
from histokit.datasets.image_options import Intensities
from histokit.datasets.labels import asked_classes, require_labels
from histokit.datasets.named_columns import require_named
from histokit.datasets.own_splits import no_part, no_parts, own_splits, role_of
from histokit.datasets.patterns import PathPattern
from histokit.datasets.tables import stored_name
from histokit.datasets.walk import Tally, Walk
from histokit.errors import DataError, UsageError, counted
from histokit.plugin.dataset import Dataset, PublishedSplit, Role, Sample
from histokit.plugin.digests import digest_bytes, digest_file
from histokit.plugin.images import Pixels
from histokit.plugin.sample_pixels import ChannelSource

#: The column that says which part of the dataset's own split an image is in.
_SPLIT = "split"


class Arrays(Dataset):
    """Images in files that hold many of them: arrays, tables of encoded images, archives.

    Each image is a sample of its own, read from the file when it is needed; a change of one of them leaves the
    features of the others valid.

    Parameters
    ----------
    root : path
        A file, or a folder that holds some.
    files : tuple of str
        Which files of the folder, by name or as ``train-*``; all where not given.
    images : tuple of str
        Names of the arrays of images; those that their names tell where not given.
    labels : tuple of str
        Names of the arrays of labels, or a ``.npy``, CSV or Parquet file with one row for each image, in the root or
        beside the images, in whose name ``{name}`` stands for that of the file of images; ``none`` for images without
        labels. What stands beside images where not given.
    label_column : str, optional
        The column of a table that holds the label, ``label`` where not given; or the number of one of several in an
        array.
    names : tuple of str
        Of the classes, where labels are their numbers from 0.
    pattern : str, optional
        How the names of an archive's members are built, as of `histokit.datasets.folder.Folder`; the label is the
        folder that an image lies in where not given.
    on : str, optional
        The field of the pattern by which the rows of a table of labels are found.
    values : {"0-1", "0-255"}, optional
        What black and white are in arrays that are neither uint8 nor uint16; such images become uint8.
    channels_first : bool
        Whether channels come before height and width.
    channels : tuple of str
        Names of the channels, each with its number from 1 in an array, or its name or number in an encoded image. Red,
        green and blue where not given.
    group, text, levels, classes, positive, metric, mpp, bits, split, scale, scale_over
        As of `histokit.datasets.folder.Folder`.

    Raises
    ------
    UsageError
        If options contradict each other.
    """

    name = "arrays"
    pixel_options: Sequence[str] | None = ("values", "channels_first")

    def __init__(
        self,
        root: str | Path,
        files: tuple[str, ...] = (),
        images: tuple[str, ...] = (),
        labels: tuple[str, ...] = (),
        label_column: str | None = None,
        names: tuple[str, ...] = (),
        pattern: str | None = None,
        on: str | None = None,
        group: str | None = None,
        split: str | None = None,
        values: Values | None = None,
        channels_first: bool = False,
        levels: tuple[str, ...] = (),
        classes: tuple[str, ...] = (),
        positive: str | None = None,
        metric: str = "accuracy",
        mpp: float | None = None,
        text: tuple[str, ...] = (),
        bits: int | None = None,
        channels: tuple[str, ...] = (),
        scale: str = "full",
        scale_over: Literal["image", "crop", "dataset"] = "image",
    ):
        super().__init__(root)
        self.bits, self.scale, self.scale_over = Intensities.checked(bits, scale, scale_over)
        names_of_channels, self.file_channels = Channels.parsed(channels)
        self.channels = names_of_channels or self.channels
        if kind_of(self.root):
            # The folder is the root, so that the file's name is part of what samples are called.
            self.root, files = self.root.parent, (self.root.name,)
            self.options["files"] = files
        self.files = tuple(files)
        for other, given in (("bits", bits), ("scale", None if scale == "full" else scale)):
            if given is not None and values is not None:
                raise UsageError(
                    f"The options {other}={given} and values={values} say different things of what white is.",
                    next="Give bits for arrays of uint16, values or a scale for others.",
                )
        self.group_option, self.split_column = group and stored_name(group), split and stored_name(split)
        self.levels, self.metric, self.mpp = tuple(map(stored_name, levels)), metric, mpp
        self.given_classes, self.positive = asked_classes(classes, positive)
        self.classes = self.given_classes
        self._text = tuple(map(stored_name, text))
        texts = {*self._text, *self.levels, *filter(None, (self.group_option, self.split_column))}
        self._reading = ContainerOptions(
            images=tuple(images),
            labels=tuple(labels),
            label_column=label_column,
            names=tuple(map(tidy_text, names)),
            pattern=PathPattern(pattern) if pattern else None,
            on=on,
            texts=frozenset(texts),
            values=values,
            channels_first=channels_first,
            source=self._histokit_files.source,
        )

    @cached_property
    def _open(self) -> OpenContainers:
        return OpenContainers()

    def _container(self, path: str) -> Container:
        return self._open.get(self.root, path, self._reading)

    @cached_property
    def _walk(self) -> Walk:
        return Walk(self.root, is_zarr)

    @cached_property
    def _paths(self) -> Sequence[str]:
        return containers_in(self._walk, self.files, self._reading.labels)

    def _containers(self) -> Iterator[Container]:
        return map(self._container, self._paths)

    @cached_property
    def columns(self) -> Mapping[str, type]:  # type: ignore[override]
        """What stands beside images, in all files."""
        columns = merged_columns(self._containers())
        named = {"group": [self.group_option], "split": [self.split_column], "levels": self.levels}
        require_named(named, columns, lambda _: "Name what stands beside the images, or nothing.")
        require_heeded(self._containers, self._reading, self._text)
        return columns

    @cached_property
    def group(self) -> str | None:  # type: ignore[override]
        """The column that no fold may cut through: the one that was named, or that all files tell of themselves."""
        told = {container.group for container in self._containers()}
        return self.group_option or (told.pop() if len(told) == 1 else None)

    def samples(self) -> Iterator[Sample]:
        """Yield the images, file by file.

        Raises
        ------
        DataError
            If a file cannot be read, or does not hold what it should.
        UsageError
            If an option names what is not there.
        """
        self.warnings.clear()
        groups, unlabelled, met = Groups(self.group), Tally(), MetContainers()
        labels: dict[str, None] = {}
        for sample, _ in self._rows(groups, met):
            if sample.label is None:
                unlabelled.add(sample.id)
            else:
                labels[sample.label] = None
            yield sample
        if not labels:
            met.require_met()
        require_labels(set(labels), self.positive, self.given_classes)
        self.classes = self.given_classes or met.ordered(labels) or None
        # Of files that were named, what else lies there is no matter.
        walked = [] if self.files else self._walk.warnings()
        self.warnings.extend([*walked, *missing_shards(self.root, self._paths), *met.remarks()])
        if unlabelled and labels:
            images = counted(unlabelled.count, "image has", "images have")
            self.warnings.append(f"{images} no label, for example {unlabelled}")
        self.warnings.extend([*groups.remarks(), *group_remark(self.group, self.columns)])

    def _rows(self, groups: Groups, met: MetContainers | None = None) -> Iterator[tuple[Sample, Role | None]]:
        empty = dict.fromkeys(self.columns)
        for path in self._paths:
            container = self._container(path)
            for entry in container.entries():
                sample_id = f"{path}/{entry.part}"
                metadata = {**empty, **entry.metadata}
                groups.complete(sample_id, metadata)
                images = (path,) if entry.files is None else entry.files
                sample = Sample(sample_id, images, entry.part, label=entry.label, mpp=self.mpp, metadata=metadata)
                yield sample, self._role(sample, entry)
            if met is not None:
                met.add(container)

    def _role(self, sample: Sample, entry: HeldImage) -> Role | None:
        column = self.split_column or (_SPLIT if _SPLIT in self.columns else None)
        word = None if column is None else sample.metadata[column]
        if word is None:
            return entry.role if column is None else None
        role = role_of(str(word))
        if role is None and self.split_column:
            advice = "Write train, val or test, or nothing for an image outside the split."
            raise no_part(f"The image {sample.id!r}", str(column), word, advice)
        return role

    def splits(self) -> Mapping[str, PublishedSplit]:
        """Return the split ``arrays``, where names of files or arrays, or a column, say train and test.

        Raises
        ------
        DataError
            If the column that was named holds other words.
        """
        told = list(self.warnings)
        known, others, unsaid = [], set(), Tally()
        for sample, role in self._rows(Groups(self.group)):
            if role is not None:
                known.append((sample, role))
            elif _SPLIT in self.columns and sample.metadata[_SPLIT] is not None:
                others.add(sample.metadata[_SPLIT])
            elif not self.split_column and _SPLIT not in self.columns:
                unsaid.add(sample.id)
        self.warnings[:] = told
        roles = {role for _, role in known}
        if others and not self.split_column:
            self.warnings.append(no_parts(_SPLIT, others, roles))
        # A file that is called train-… alone says little.
        if len(roles) < 2 and not self.split_column:
            return {}
        return own_splits(self.name, known, self.group, self.warnings, unsaid)

    def read(self, sample: Sample) -> Pixels:
        """Return an image as (H, W, C): uint8, or uint16 where arrays are or a scale is given.

        Raises
        ------
        DataError
            If it cannot be read.
        """
        container, part = self._opened(sample), str(sample.part)
        pixels = container.pixels(part, self._histokit_files.source)
        if sample.image != (container.files_of(part) or (container.path,)):
            # Chunks were written, or lost, since: each is looked at, but not whether there are others.
            what = f"{container.path} changed since the dataset was ingested"
            raise DataError(f"{what}: {container.called(part)} lies in other chunks.", next="Ingest it again.")
        return pixels

    def fit(self) -> Any:
        """Return what is black and white in each channel, where that is sought over the dataset, as `Dataset.fit`."""
        files = self._histokit_files
        if not files.over_dataset:
            return None
        samples = (sample for sample, _ in self._rows(Groups(self.group)))
        return files.limits_of(partial(self._numbers, sample, files.source) for sample in samples)

    def _numbers(self, sample: Sample, source: ChannelSource) -> npt.NDArray[Any]:
        return self._opened(sample).numbers(str(sample.part), source)

    def _opened(self, sample: Sample) -> Container:
        path = sample.id[: -len(str(sample.part)) - 1]
        try:
            return self._container(path)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}", next="Put it back, or ingest again.") from error

    def file_digest(self, path: Path) -> bytes:
        """Return a digest of all images of a file; that of its bytes for a piece of one."""
        if not kind_of(path):
            own, beside = super().file_digest(path), self.files_beside(path)
            return digest_bytes(own, *map(digest_file, beside)) if beside else own
        name = os.path.relpath(path, self.root)
        return digest_bytes(self._container(name).look_at_all())

    def files_beside(self, path: Path) -> Sequence[Path]:
        """Return the files that arrays of HDF5 lie in, or are made of; of zarr, those that describe arrays."""
        if not kind_of(path):
            return described_by(path, self.root)
        return self._container(os.path.relpath(path, self.root)).files_beside()

    def part_digest(self, sample: Sample) -> bytes:
        """Return a digest of what the file holds of an image."""
        return self._opened(sample).known_digest(str(sample.part))
