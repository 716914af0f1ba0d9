"""What a dataset plugin is: `Sample`, `PublishedSplit` and the base class `Dataset`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from histokit.files import refuse_circle, refuse_remote
from histokit.plugin.digests import canonical_json, digest_bytes, digest_file, digest_json
from histokit.plugin.image_files import ImageFiles
from histokit.plugin.images import Box, Pixels
from histokit.plugin.options import announced_options, convert_options

Role = Literal["train", "val", "test"]

#: Names of a sample's own fields, which metadata columns cannot have.
RESERVED_COLUMNS = ("id", "content", "image", "part", "box", "label", "mpp")


@dataclass(frozen=True, slots=True)
class Sample:
    """Exactly what goes through a network once: a whole image, a tile, or a patch around a nucleus.

    Parameters
    ----------
    id : str
        Stable over time and machines, readable, unique in its dataset.
    image : tuple of str
        Paths relative to the dataset's root, one for each channel file.
    part : str, optional
        A piece inside a container file: a scan, a page, a member of an archive.
    box : (x, y, width, height), optional
        Pixels of the image; may leave it.
    label : str, optional
        The class; none where it is not known.
    mpp : float, optional
        Micrometres per pixel.
    metadata : mapping
        Column name → value, of the types that `Dataset.columns` declares.
    """

    id: str
    image: tuple[str, ...]
    part: str | None = None
    box: Box | None = None
    label: str | None = None
    mpp: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __reduce__(self) -> tuple[Any, ...]:
        # Other processes read samples, and what dataclasses do by themselves takes three times as long.
        values = (self.id, self.image, self.part, self.box, self.label, self.mpp, self.metadata)
        return type(self), values


class SplitRow(NamedTuple):
    """One sample's role in one fold of one repeat of a split."""

    repeat: int
    fold: int
    sample_id: str
    role: Role


@dataclass(frozen=True)
class PublishedSplit:
    """A split that the data come with.

    Parameters
    ----------
    rows : sequence of SplitRow
    group : str, optional
        The column that no fold of this split cuts through.
    leaks : str, optional
        A sentence on what leaks from training to test in it; such a split is used only when it is
        asked for by name, and every run on it records the sentence.
    notes : sequence of str
        What else a reader of scores on it should know; every run on it records them.
    """

    rows: Sequence[SplitRow]
    group: str | None = None
    leaks: str | None = None
    notes: Sequence[str] = ()

    @classmethod
    def holdout(
        cls,
        train: Iterable[str],
        test: Iterable[str],
        val: Iterable[str] = (),
        *,
        group: str | None = None,
        leaks: str | None = None,
    ) -> Self:
        """Make a split of one fold from the ids of its parts."""
        parts: tuple[tuple[Role, Iterable[str]], ...] = (("train", train), ("val", val), ("test", test))
        rows = [SplitRow(0, 0, sample_id, role) for role, ids in parts for sample_id in ids]
        return cls(rows, group=group, leaks=leaks)

    def warnings(self, name: str) -> list[str]:
        """Return what a plugin whose data bring this split alone tells of it: where it leaks, it is no default."""
        leaks = (self.leaks or "").rstrip(".")
        told = f"The split {name} of the data leaks, and is used only where it is named (--split {name}): {leaks}"
        return [told] if leaks else []


class Dataset:
    """Base class of dataset plugins.

    A subclass sets the attributes below, on the class or in ``__init__``, and writes `samples`;
    `read` is only overridden where an image is more than a file and a box. The keyword parameters of
    its ``__init__`` are its options; texts from the command line are converted by their annotations.

    Attributes
    ----------
    name : str
        What it is registered as.
    version : str
        Raised when the plugin yields other samples or other pixels than before.
    classes : sequence of str, optional
        In the order of scores; found in the data where not given.
    positive : str, optional
        The positive one of two classes; the last one where not given.
    metric : str
        The field's metric for these data.
    channels : sequence of str
    columns : mapping
        Metadata column → ``str``, ``int``, ``float`` or ``bool``.
    group : str, optional
        The column that must never straddle folds: slide, patient, image, compound.
    levels : sequence of str
        Columns, fine to coarse, over which scores may be aggregated: crop, well, treatment.
    pixel_options : sequence of str, optional
        Options that alter pixels; all of them where not given.
    bits : int, optional
        That were recorded, such as 12, where images of 16 bits, or the uint16 arrays that `read` returns, hold fewer:
        the largest number of so many bits is white. 16 where not given.
    scale : str
        What of the numbers of an image file becomes black and what white: ``full`` (of the bits), ``bits:12``,
        ``minmax``, ``percentile:0.1,99.9``, ``range:-100,400``; the limits of red, green and blue are the same, those
        of other channels their own.
    scale_over : str
        What ``minmax`` and percentiles are taken of: ``image``, ``crop`` or, when it is ingested, ``dataset``.
    file_channels : sequence of str
        For each channel, its name or its number from 1 in a file that holds all of them; all in order where empty.
    licence : str, optional
        Under which the data may be used, such as ``CC BY 4.0``.
    citation : str, optional
        What to cite.
    expected : mapping
        Numbers that were published, of which `ingest` tells where a copy holds others: ``samples``, ``images`` (files)
        or a column → how many, or how many different values; ``labels`` or a column → value → number of samples.
    state : any
        What `fit` returned, for `read`.
    opens_whole : bool
        Whether `read` opens all of an image for a box in it and keeps it for the next, so that the boxes of one image
        are best read by one process; not so where it reads regions alone, as of slides.
    needs_data : bool
        Whether the samples come from files under the root.
    options : dict
        The options with their defaults, as JSON-serialisable data.
    warnings : list of str
        What the user should know of the data, such as rows whose image is missing; filled by `samples`.
    """

    name: str = ""
    version: str = "1"
    classes: Sequence[str] | None = None
    positive: str | None = None
    metric: str = "accuracy"
    channels: Sequence[str] = ("R", "G", "B")
    columns: Mapping[str, type] = {}
    group: str | None = None
    levels: Sequence[str] = ()
    pixel_options: Sequence[str] | None = None
    bits: int | None = None
    scale: str = "full"
    scale_over: str = "image"
    file_channels: Sequence[str] = ()
    licence: str | None = None
    citation: str | None = None
    expected: Mapping[str, int | Mapping[str, int]] = {}
    state: Any = None
    opens_whole: bool = True
    needs_data: bool = True

    root: Path
    options: dict[str, Any]
    warnings: list[str]

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        dataset = super().__new__(cls)
        # Partial, because unpickling calls this with no argument.
        bound = signature(cls.__init__).bind_partial(dataset, *arguments, **options)
        bound.apply_defaults()
        names = [name for name in announced_options(cls.__init__) if name in bound.arguments]
        given = {**{name: bound.arguments[name] for name in names}, **options}
        given.pop("root", None)
        dataset.options = {name: str(v) if isinstance(v, Path) else v for name, v in given.items()}
        dataset.warnings = []
        return dataset

    def __init__(self, root: str | Path) -> None:
        refuse_remote(root, "data")
        refuse_circle(root, next="Mend the link, or give the folder that holds the data.")
        self.root = Path(root)

    @classmethod
    def from_options(cls, root: str | Path, options: Mapping[str, Any]) -> Self:
        """Make the dataset from option texts.

        Raises
        ------
        UsageError
            If an option is unknown, missing or cannot be converted.
        """
        owner = f"dataset plugin {cls.name or cls.__name__!r}"
        return cls(root, **convert_options(cls.__init__, options, owner))

    def samples(self) -> Iterator[Sample]:
        """Yield every sample, in the same order on each call."""
        raise TypeError(f"{type(self).__name__} does not define samples()")

    def read(self, sample: Sample) -> Pixels:
        """Return the pixels of a sample as an (H, W, C) array; an image with many boxes is decoded once.

        uint8, or uint16 of which the largest number of `bits` (16 where that is none) is white. A sample of several
        files has one channel in each. Several threads read at once from one dataset.

        Raises
        ------
        DataError
            If the image cannot be read.
        """
        if len(sample.image) not in (1, len(self.channels)):
            raise TypeError(f"{type(self).__name__} does not define read() for a sample of {len(sample.image)} files")
        return self._histokit_files.pixels(sample.image, sample.part, sample.box)

    def splits(self) -> Mapping[str, PublishedSplit]:
        """Return the splits that the data come with; the first without leaks is the default."""
        return {}

    def fit(self) -> Any:
        """Return statistics over the data that `read` needs, as JSON-serialisable data whose keys are texts.

        `read` sees them in `state` as JSON gives them back: tuples are lists there. Where it is not overridden: what
        is black and white in each channel, if that is sought over the dataset.
        """
        if not self._histokit_files.over_dataset:
            return None
        told = list(self.warnings)
        images = list(dict.fromkeys((sample.image, sample.part) for sample in self.samples()))
        self.warnings[:] = told
        return self._histokit_files.limits(images)

    def pixel_key(self, sample: Sample) -> bytes:
        """Return bytes that change with everything but the files, part and box that alters a sample's pixels.

        Where `read` is not overridden: `bits`, `scale` and the channels, as far as they are not the usual ones. Else
        the plugin, its version, the options named in `pixel_options` (all where that is none) and the fitted state.
        Files that are read otherwise than by an earlier version, or by a plugin, add to it.
        """
        if len(sample.image) == 1:
            return self._pixel_key + self._histokit_files.mark(sample.image[0])
        return self._pixel_key + b"".join(map(self._histokit_files.mark, sample.image))

    @cached_property
    def marks_ahead(self) -> dict[str, bytes]:
        """What `histokit.plugin.reader_marks.reader_mark` gives for images that come next, where it is known."""
        return {}

    @cached_property
    def _histokit_files(self) -> ImageFiles:
        return ImageFiles(self)

    @cached_property
    def _pixel_key(self) -> bytes:
        bits = [] if self.bits is None else [self.bits]
        unusual = self._histokit_files.unusual
        if type(self).read is Dataset.read:
            return digest_json(["bits", *bits, *unusual]) if bits or unusual else b""
        names = self.options if self.pixel_options is None else self.pixel_options
        options = {name: self.options[name] for name in names}
        reader = f"{type(self).__module__}.{type(self).__qualname__}"
        return digest_bytes(canonical_json([reader, self.version, options, self.state, *bits, *unusual]).encode())

    def file_digest(self, path: Path) -> bytes:
        """Return a digest of a file's content; to be overridden for containers too large to be read whole."""
        return digest_file(path)

    def files_beside(self, path: Path) -> Sequence[Path]:
        """Return other files of which `file_digest` of a file depends, such as the parts of a slide; none of most.

        A change of one of them is a change of the file. To be overridden together with `file_digest`.
        """
        return ()

    def part_digest(self, sample: Sample) -> bytes | None:
        """Return a 16-byte digest of what a sample's part holds, which then stands for its files; none for whole files.

        By it, a change of one member of a container leaves the features of the others valid. `file_digest` still has to
        tell whether the container is the one that was ingested.

        Raises
        ------
        DataError
            If the part cannot be read; the sample is put aside.
        """
        return None
