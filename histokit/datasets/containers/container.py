"""What a file of many images is to the dataset that reads it."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from histokit.datasets.cells import tidy_text
from histokit.datasets.containers.recent_blocks import RecentBlocks
from histokit.datasets.own_splits import role_of_name
from histokit.datasets.patterns import PathPattern
from histokit.errors import DataError, HistokitError, counted, first_line
from histokit.plugin.dataset import Role
from histokit.plugin.digests import DIGEST_BYTES
from histokit.plugin.images import Pixels
from histokit.plugin.options import typed_option
from histokit.plugin.raw_images import RawImage
from histokit.plugin.sample_pixels import ChannelSource
from histokit.plugin.signatures import refuse_stand_in

#: Bytes of images that are read at once where a file does not say how many belong together.
BLOCK_BYTES = 1 << 18

#: In place of an option's value where images are meant to have no labels.
NO_LABELS = ("none",)

#: Numbers as which arrays other than uint8 and uint16 may hold what is between black and white.
Values = Literal["0-1", "0-255"]

_USUAL = ChannelSource()


@dataclass(frozen=True)
class ContainerOptions:
    """What the options of the plugin say of the files.

    Parameters
    ----------
    images, labels : tuple of str
        Names of arrays, columns or suffixes of members; for labels, of files as well.
    label_column : str, optional
        Of a table of labels, or the number of one of an array.
    names : tuple of str
        Of the classes that labels give the number of, from 0.
    pattern : PathPattern, optional
        Of the names of members.
    on : str, optional
        The field of the pattern that is a column of the table of labels.
    texts : frozenset of str
        Columns that are text whatever they look like.
    values : {"0-1", "0-255"}, optional
    channels_first : bool
    source : ChannelSource
        What becomes of the numbers, as far as the data are no matter of it.
    """

    images: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    label_column: str | None = None
    names: tuple[str, ...] = ()
    pattern: PathPattern | None = None
    on: str | None = None
    texts: frozenset[str] = frozenset()
    values: Values | None = None
    channels_first: bool = False
    source: ChannelSource = _USUAL


class HeldImage(NamedTuple):
    """One image of a container."""

    part: str
    label: str | None
    #: What the container, or its name, says of the split.
    role: Role | None
    metadata: Mapping[str, Any]
    #: Other files than the container, relative to the root, in which its pixels lie.
    files: tuple[str, ...] | None = None


class Container(ABC):
    """A file of many images, or a folder that is one.

    Parameters
    ----------
    root : Path
    path : str
        Relative to the root.
    options : ContainerOptions
    """

    def __init__(self, root: Path, path: str, options: ContainerOptions):
        self.root, self.path, self.options = root, path, options
        self.file = root / path
        self.blocks = RecentBlocks()
        self.warnings: list[str] = []
        self._digests: bytes | DataError | None = None

    @property
    def role(self) -> Role | None:
        """What its name says of the split."""
        return role_of_name(str(PurePosixPath(self.path).with_suffix("")))

    @property
    def group(self) -> str | None:
        """The column that the format itself says belongs together."""
        return None

    def files_beside(self) -> Sequence[Path]:
        """Return other files that hold some of what it does."""
        return ()

    def class_names(self) -> Sequence[str]:
        """Return the names of classes that labels are numbers of, in order; nothing where they are names."""
        return self.options.names

    @abstractmethod
    def columns(self) -> Mapping[str, type]:
        """Return the metadata that its images have."""

    def names(self) -> Collection[str]:
        """Return what may be named as text: columns, and what else its tables hold."""
        return self.columns()

    @abstractmethod
    def entries(self) -> Iterator[HeldImage]:
        """Yield its images in order."""

    def label_files(self) -> Sequence[Path]:
        """Return files that give labels of its images, row by row."""
        return ()

    @abstractmethod
    def position(self, part: str) -> int:
        """Return the place of a part in the order of `part_digests`."""

    @abstractmethod
    def part_digests(self) -> Iterator[bytes]:
        """Yield a digest of each image, in one pass; nothing for one that is damaged."""

    @abstractmethod
    def part_digest(self, part: str) -> bytes:
        """Return the digest of one image.

        Raises
        ------
        DataError
            If it is damaged.
        """

    def files_of(self, part: str) -> tuple[str, ...] | None:
        """Return the files, relative to the root, that an image lies in now; none where it lies in the container."""
        return None

    @abstractmethod
    def called(self, part: str) -> str:
        """Return what an image is called in messages."""

    @abstractmethod
    def raw(self, part: str) -> RawImage:
        """Return an image as the file holds it."""

    @abstractmethod
    def pixels(self, part: str, source: ChannelSource) -> Pixels:
        """Return an image as (H, W, C), with as much of the source's bits for white as are declared.

        Raises
        ------
        DataError
            If it cannot be read, or does not hold what is wanted.
        """

    def numbers(self, part: str, source: ChannelSource) -> npt.NDArray[Any]:
        """Return the channels that are wanted of an image, as the file holds them.

        Raises
        ------
        DataError
            If it cannot be read, or does not have them.
        """
        return source.chosen(self.raw(part), self.called(part))

    def look_at_all(self) -> bytes:
        """Read all images, once, and keep their digests; return those in a row.

        Raises
        ------
        DataError
            If the file is damaged as a whole; again each time, without reading it.
        """
        if isinstance(self._digests, DataError):
            raise self._digests
        if self._digests is None:
            found = bytearray()
            try:
                for digest in self.part_digests():
                    found += digest.ljust(DIGEST_BYTES, b"\0")
            except DataError as error:
                self._digests = error
                raise
            self._digests = bytes(found)
        return self._digests

    def known_digest(self, part: str) -> bytes:
        """Return what `part_digest` does, by one pass through the file for all of its images."""
        place = self.position(part) * DIGEST_BYTES
        digest = self.look_at_all()[place : place + DIGEST_BYTES]
        return digest if any(digest) else self.part_digest(part)


@contextmanager
def readable(file: Path, what: str) -> Iterator[None]:
    """Tell what a library raises while it reads a file as an error of the data.

    Parameters
    ----------
    file : Path
    what : str
        That the file should be, such as ``NumPy archive``.
    """
    try:
        yield
    except (HistokitError, MemoryError):
        raise
    except Exception as error:  # Libraries raise whatever they stumble upon in a damaged file.
        refuse_stand_in(file)
        raise DataError(
            f"The file {str(file)!r} cannot be read as a {what}: {first_line(error)}.",
            next="Fetch the file again, whole.",
        ) from error


def number_of(part: str, count: int, file: Path) -> int:
    """Return the number that a part ends in.

    Raises
    ------
    DataError
        If the file holds fewer images now.
    """
    number = int(part.rpartition("/")[2])
    if not 0 <= number < count:
        raise DataError(
            f"The file {str(file)!r} holds {counted(count, 'image', 'images')} where {part!r} is asked for.",
            next="Ingest it again.",
        )
    return number


def merged_columns(containers: Iterable[Container]) -> dict[str, type]:
    """Return the columns of all containers; whole numbers in one and fractions in another are numbers.

    Raises
    ------
    DataError
        If a column is of other types in one file than in another.
    """
    found: dict[str, tuple[type, str]] = {}
    for container in containers:
        for name, kind in container.columns().items():
            known, where = found.setdefault(name, (kind, container.path))
            if known is not kind and {known, kind} != {int, float}:
                raise DataError(
                    f"The column {name!r} is {known.__name__} in {where!r} and {kind.__name__} in {container.path!r}.",
                    next=f"Add {typed_option('text', [name])} where it is text, or ingest the files one by one.",
                )
            if known is not kind:
                found[name] = float, where
    return {name: kind for name, (kind, _) in found.items()}


def label_text(value: Any, names: Sequence[str], where: str) -> str | None:
    """Return the label that a value stands for; none where it is missing, or -1 where numbers have names.

    Raises
    ------
    DataError
        If it is no whole number, or one that has no name.
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        value = tidy_text(value)
    if value is None or value == "" or value != value:
        return None
    if isinstance(value, (bool, np.bool_)) and not names:
        return str(bool(value))
    if isinstance(value, (float, np.floating)) and not float(value).is_integer():
        raise DataError(f"{where} has the label {value}, which is no class.", next="Give whole numbers or names.")
    if not isinstance(value, str) or (names and value not in names and re.fullmatch(r"-?[0-9]+", value)):
        value = int(value)
    if not names or isinstance(value, str):
        return str(value)
    if value == -1:
        return None
    if not 0 <= value < len(names):
        raise DataError(
            f"{where} has the label {value}, but there are {len(names)} names: {', '.join(names)}.",
            next="Name all classes, from that of number 0 on.",
        )
    return names[value]
