"""Files of arrays: images with one row each, and what describes them beside."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from histokit.datasets.containers.container import NO_LABELS, Container, HeldImage, number_of
from histokit.datasets.containers.pixel_values import as_numbers, mapped, type_problem
from histokit.datasets.containers.stack import Stack, listed
from histokit.datasets.containers.stack_labels import Described, describe, unwritten_notes
from histokit.datasets.containers.stack_names import image_place, is_of_labels, partners
from histokit.datasets.own_splits import role_of_name
from histokit.datasets.tables import python_types
from histokit.errors import DataError, UsageError, did_you_mean
from histokit.plugin.digests import digest_bytes, digest_json
from histokit.plugin.images import Pixels
from histokit.plugin.raw_images import RawImage
from histokit.plugin.sample_pixels import ChannelSource, from_16_bits

Opener = Callable[[Path], Mapping[str, Stack]]

_SHAPES = "Images are arrays of shape (n, height, width), or (n, height, width, channels)"


class StackContainer(Container):
    """A file of arrays.

    Parameters
    ----------
    open : callable
        Returns the arrays of a file by name.
    root, path, options
        As of `Container`.
    """

    def __init__(self, open: Opener, root: Path, path: str, options: Any):
        super().__init__(root, path, options)
        self._open = open

    @cached_property
    def stacks(self) -> Mapping[str, Stack]:
        """All arrays of the file."""
        return self._open(self.file)

    def read_arrays(self, file: Path) -> Mapping[str, Stack]:
        """Return the arrays of another file of this kind."""
        return self._open(file)

    @cached_property
    def images(self) -> Mapping[str, Stack]:
        """Those that are images.

        Raises
        ------
        DataError
            If there are none, or they are of a shape or a type that images do not have.
        UsageError
            If an option names an array that is not there.
        """
        found = {name: self.stacks[name] for name in self._image_names()}
        for name, stack in found.items():
            self._check(name, stack)
        return found

    def _image_names(self) -> Sequence[str]:
        asked = self.options.images
        for name in asked:
            if name not in self.stacks:
                raise UsageError(
                    f"The file {str(self.file)!r} has no array {name!r}.",
                    next=f"{did_you_mean(name, self.stacks)}Its arrays are: {listed(self.stacks)}.",
                )
        if asked:
            return asked
        large = [name for name, stack in self.stacks.items() if len(stack.shape) > 2 and not is_of_labels(name)]
        named = [name for name in large if image_place(name)] or large
        told = {role_of_name(name) for name in named}
        if len(named) == 1 or (named and None not in told and len(told) == len(named)):
            return named
        stems = is_of_labels(Path(self.path).stem)
        what = "seems to hold the labels of images that are not beside it" if stems else "has no array of images"
        reason = f"has several arrays that may be images ({', '.join(named)})" if named else what
        raise DataError(
            f"The file {str(self.file)!r} {reason}; its arrays are: {listed(self.stacks)}.",
            next="Name those of images: -o images=NAME, with several of them between commas.",
        )

    def _check(self, name: str, stack: Stack) -> None:
        what = f"The array {name!r} of {str(self.file)!r}" if name else f"The array {str(self.file)!r}"
        shape, first = stack.shape, self.options.channels_first
        if len(shape) == 3 and shape[-1] in (1, 3, 4) and shape[-1] < min(shape[:2]):
            raise DataError(
                f"{what} is of shape {shape}: one image with channels, where there should be a row of images.",
                next=f"{_SHAPES}: save it with a first axis, array[None].",
            )
        if len(shape) not in (3, 4) or 0 in shape[1:]:
            raise DataError(f"{what} is of shape {shape}, which are no images.", next=f"{_SHAPES}.")
        self._check_channels(what, shape, first)
        if not shape[0]:
            raise DataError(f"{what} is of shape {shape}: it holds no image.", next=f"{_SHAPES}.")
        told = self.options.values is not None or self.options.source.scale.how != "full"
        problem = type_problem(stack.dtype, told)
        if problem is not None:
            raise DataError(f"{what} is of type {stack.dtype}, not uint8.", next=f"{problem}.")

    def _check_channels(self, what: str, shape: tuple[int, ...], first: bool) -> None:
        source, grey = self.options.source, len(shape) == 3
        count, other = (1, 1) if grey else (shape[1], shape[-1]) if first else (shape[-1], shape[1])
        # Pictures have more rows than channels; else the channels of a picture would be taken for its rows.
        if count != len(source.channels) and other < min(count, shape[2]):
            told = "leave out channels_first" if first else "add -o channels_first=true"
            raise DataError(
                f"{what} is of shape {shape}, which are images of {count} channels.",
                next=f"{_SHAPES}; with the channels {'last' if first else 'before height and width'}, {told}.",
            )
        try:
            source.chosen(RawImage(np.empty((0, 0, count))), "Each image")
        except DataError as error:
            slices = f"Where these are volumes, save slices of them as images: array[:, {count // 2}]. Where not: "
            next = slices + error.next if count == other == shape[2] else error.next
            raise DataError(f"{what} is of shape {shape}: {error.message}", next=next) from error

    @cached_property
    def _described(self) -> Mapping[str, Described]:
        found = {name: describe(self, name, number) for number, name in enumerate(self.images)}
        if self.options.labels != NO_LABELS:
            for name, each in found.items():
                if each.labels is None:
                    raise self._unlabelled(name)
        return found

    def _unlabelled(self, name: str) -> DataError:
        inside = next(partners(name), "labels")
        beside = next(partners(Path(self.path).stem), f"{Path(self.path).stem}_labels") + Path(self.path).suffix
        return DataError(
            f"The file {str(self.file)!r} has no labels for {name or 'its images'}: there is no array such as "
            f"{inside!r} in it, and no file such as {beside!r} beside it. Its arrays are: {listed(self.stacks)}.",
            next="Name them with -o labels=NAME or -o labels=FILE; for images without labels, add -o labels=none.",
        )

    @property
    def group(self) -> str | None:
        """The whole slide where it is told, as beside the images of PatchCamelyon."""
        return "wsi" if "wsi" in self.columns() else None

    def files_beside(self) -> Sequence[Path]:
        """Return the files that arrays of images lie in, or are made of."""
        stacks = (stack for stack in self.stacks.values() if len(stack.shape) > 2)
        return list(dict.fromkeys(file for stack in stacks for file in stack.sources))

    def class_names(self) -> Sequence[str]:
        """Return the names that were given, or those that the file tells."""
        return next((each.names for each in self._described.values() if each.names), ())

    def label_files(self) -> Sequence[Path]:
        """Return files beside that give labels, one for each row."""
        return list(dict.fromkeys(each.file for each in self._described.values() if each.file is not None))

    def columns(self) -> Mapping[str, type]:
        """Return what stands beside images: other arrays as long, and the columns of a table."""
        found: dict[str, type] = {}
        for each in self._described.values():
            found.update(python_types(each.table))
        return found

    def names(self) -> Collection[str]:
        """Return the columns, and all of tables beside images."""
        return dict.fromkeys(name for each in self._described.values() for name in each.known)

    def entries(self) -> Iterator[HeldImage]:
        """Yield the images of each array in order.

        Raises
        ------
        DataError
            If labels are not as many as images, or are no classes.
        """
        self.warnings[:] = [note for each in self._described.values() for note in each.notes]
        for name, stack in self.images.items():
            self.warnings += [f"{note}: they are read as its fill value" for note in stack.notes]
            self.warnings += _unheeded(name, self.path, stack.attributes)
            self.warnings += unwritten_notes(stack, f"image of {self.path}", f"images of {self.path}")
        empty = dict.fromkeys(self.columns())
        for name, stack in self.images.items():
            described, role = self._described[name], role_of_name(name) or self.role
            rows = _rows(described)
            for row in range(stack.shape[0]):
                label = None if described.labels is None else described.labels[row]
                part = f"{name}/{row}" if name else str(row)
                yield HeldImage(part, label, role, {**empty, **next(rows)}, self._files(stack, row))

    def _files(self, stack: Stack, row: int) -> tuple[str, ...] | None:
        files = stack.files(row) if stack.files else ()
        return tuple(f"{self.path}/{file}" for file in files) or None

    def files_of(self, part: str) -> tuple[str, ...] | None:
        """Return the files of a row of chunks, as far as they are there."""
        return self._files(*self._found(part)[1:])

    def _found(self, part: str) -> tuple[str, Stack, int]:
        name = part.rpartition("/")[0]
        if name not in self.stacks:
            raise DataError(f"The file {str(self.file)!r} has no array {name!r} any more.", next="Ingest it again.")
        stack = self.stacks[name]
        return name, stack, number_of(part, stack.shape[0], self.file)

    def _image(self, part: str) -> np.ndarray:
        name, stack, row = self._found(part)
        start = row // stack.block * stack.block
        stop = min(stack.shape[0], start + stack.block)
        return self.blocks.get((name, start), lambda: stack.load(start, stop))[row - start]

    def position(self, part: str) -> int:
        """Return the place of a part among the images of all arrays."""
        name, _, row = self._found(part)
        before = 0
        for other, stack in self.images.items():
            if other == name:
                break
            before += stack.shape[0]
        return before + row

    def part_digests(self) -> Iterator[bytes]:
        """Yield a digest of the bytes of each image, its shape and type."""
        for stack in self.images.values():
            kind = _kind(stack)
            for block in stack.blocks():
                for image in block:
                    yield digest_bytes(kind, image.tobytes())

    def part_digest(self, part: str) -> bytes:
        """Return the digest of one image."""
        return digest_bytes(_kind(self._found(part)[1]), self._image(part).tobytes())

    def called(self, part: str) -> str:
        """Return the part with the file."""
        return f"The image {part!r} of {str(self.file)!r}"

    def raw(self, part: str) -> RawImage:
        """Return an image as (H, W, C) numbers."""
        return RawImage(as_numbers(self._image(part), self.options.channels_first))

    def pixels(self, part: str, source: ChannelSource) -> Pixels:
        """Return an image as (H, W, C); grey is repeated."""
        where = self.called(part)
        numbers = source.chosen(self.raw(part), where)
        if self.options.values is not None:
            numbers = mapped(numbers, self.options.values, where)
        elif source.scale.how != "full":
            numbers = from_16_bits(source.intensities(numbers, None, where), source.bits)
        elif source.bits is not None and numbers.dtype == np.uint16 and (largest := int(numbers.max())) >> source.bits:
            raise DataError(
                f"{where} holds {largest}, more than the {source.bits} bits that it was said to have.",
                next="Give the bits that were recorded: -o bits=N.",
            )
        if numbers.shape[2] < len(source.channels):
            return np.repeat(numbers, len(source.channels), axis=2)
        return np.array(numbers, order="C")


def _unheeded(name: str, path: str, attributes: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a file says of the numbers of an array that is not heeded."""
    usual = {"scale_factor": 1, "add_offset": 0, "IMAGE_WHITE_IS_ZERO": 0}
    told = [key for key, value in usual.items() if np.any(np.asarray(attributes.get(key, value)) != value)]
    if str(np.asarray(attributes.get("IMAGE_SUBCLASS", "")).astype(str)) == "IMAGE_INDEXED":
        told.append("IMAGE_SUBCLASS=IMAGE_INDEXED")
    if told:
        where = f"The array {name!r} of {path}" if name else f"The array {path}"
        yield (
            f"{where} has {' and '.join(told)}, which are not applied: its numbers are taken as they stand; save them "
            "as they are meant, with 0 as black, or give black and white: -o scale=range:BLACK,WHITE"
        )


def _kind(stack: Stack) -> bytes:
    return digest_json([list(stack.shape[1:]), stack.dtype.str])


def _rows(described: Described) -> Iterator[dict[str, Any]]:
    table = described.table
    if not table.num_columns:
        while True:
            yield {}
    for batch in table.to_batches(max_chunksize=4096):
        yield from batch.to_pylist()
