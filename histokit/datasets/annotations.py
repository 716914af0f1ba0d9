"""Boxes and regions that were drawn in images: COCO, Pascal VOC, GeoJSON of QuPath, LabelMe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from histokit.datasets.cells import tidy_text
from histokit.datasets.channels import Channels
from histokit.datasets.groups import Groups
from histokit.datasets.image_options import Intensities
from histokit.datasets.labels import asked_classes, require_labels
from histokit.datasets.named_columns import require_named
from histokit.datasets.own_splits import no_part, own_splits, role_of
from histokit.datasets.patterns import PathPattern
from histokit.datasets.regions.annotation_files import AnnotationFile, AnnotationFiles
from histokit.datasets.regions.formats import FORMATS
from histokit.datasets.regions.image_finder import ImageFinder
from histokit.datasets.regions.image_sizes import ImageSizes
from histokit.datasets.regions.met import Met
from histokit.datasets.regions.outlines import covered
from histokit.datasets.regions.region import Reading, Region
from histokit.datasets.regions.region_boxes import Points, RegionBoxes, SizeFor
from histokit.datasets.tables import refuse_reserved, stored_name
from histokit.errors import UsageError
from histokit.plugin.dataset import Dataset, PublishedSplit, Sample
from histokit.plugin.digests import digest_json
from histokit.plugin.images import Pixels
from histokit.plugin.remarks import remark

#: The column of what lies inside a region, where what is outside is masked.
_OUTLINE = "outline"
_IMAGE = "image_id"
_SPLIT = "split"


class Annotations(Dataset):
    """Regions of images, one sample a box, an outline or a point.

    A box holds every pixel that its region touches: edges are rounded outwards. The first pixel reaches from 0 to 1. A
    box may leave its image, which is reflected there. Where a file lists another size of an image than the image has,
    its samples are put aside.

    Parameters
    ----------
    root : path
        The folder of the images.
    annotations : str, optional
        A file of annotations, in the root or the current folder; a folder in the root; or a pattern of paths in it as
        of `histokit.datasets.folder.Folder`, whose fields become columns. Every ``.xml``, ``.json`` and ``.geojson``
        file in the root where not given.
    images : str, optional
        The folder in the root that the paths of images are relative to, or that images are sought in by their names;
        fields of the pattern ``annotations`` stand for their text in it (``{split}2017``).
    format : {"coco", "voc", "geojson", "labelme"}, optional
        Found out from the files where not given.
    label : str, optional
        The field that says the class: ``name`` of a category or an object, ``classification`` of a GeoJSON feature's
        properties, ``label`` of a shape. ``.`` leads into a field.
    pattern : str, optional
        How paths of images relative to the root are built; its fields become columns, and ``{label}`` the class where
        an annotation has none.
    group : str
        The column that no fold may cut through.
    size : str, optional
        The side of the box around a region's middle: pixels, or micrometres (``32um``). Points need it.
    size_for : {"all", "points"}
        Whether boxes and outlines have that size as well, or their own.
    points : {"keep", "drop", "only"}
        Whether points are samples, left out and counted, or all that is taken.
    margin : int
        Pixels around a region that has its own size.
    min_size : int
        Regions of fewer pixels in width or height are left out, and counted.
    mask : {"none", "white", "black"}
        What stands for pixels outside a region's outline.
    objects : tuple of str
        Types of QuPath's objects that are taken, such as ``annotation``; all where not given.
    first_pixel : {1, 0}
        What Pascal VOC files call the first pixel; from 1 on, as published, the last one is in the box, from 0 on not.
    corners : bool, optional
        Whether COCO's ``bbox`` holds two corners, x1, y1, x2, y2, in place of width and height.
    split : str, optional
        A column of train, val and test, which becomes the split ``annotations``; the field ``split`` of a pattern
        where not given.
    mpp : float, optional
        Micrometres per pixel of all images.
    levels, classes, positive, metric, bits, channels, scale, scale_over
        As of `histokit.datasets.folder.Folder`.

    Raises
    ------
    UsageError
        If options are out of range, contradict each other or name columns that are not there.
    """

    name = "annotations"
    # The outline is in the pixel key as well.
    pixel_options: Sequence[str] | None = ("mask",)

    def __init__(
        self,
        root: str | Path,
        annotations: str | None = None,
        images: str | None = None,
        format: Literal["coco", "voc", "geojson", "labelme"] | None = None,
        label: str | None = None,
        pattern: str | None = None,
        group: str = _IMAGE,
        size: str | None = None,
        size_for: SizeFor = "all",
        points: Points = "keep",
        margin: int = 0,
        min_size: int = 1,
        mask: Literal["none", "white", "black"] = "none",
        objects: tuple[str, ...] = (),
        first_pixel: Literal[1, 0] = 1,
        corners: bool | None = None,
        split: str | None = None,
        mpp: float | None = None,
        levels: tuple[str, ...] = (),
        classes: tuple[str, ...] = (),
        positive: str | None = None,
        metric: str = "accuracy",
        bits: int | None = None,
        channels: tuple[str, ...] = (),
        scale: str = "full",
        scale_over: Literal["image", "crop", "dataset"] = "image",
    ):
        super().__init__(root)
        self.bits, self.scale, self.scale_over = Intensities.checked(bits, scale, scale_over)
        names, self.file_channels = Channels.parsed(channels)
        self.channels, self.mpp, self.metric = names or self.channels, mpp, metric
        self.files = AnnotationFiles(self.root, annotations, format)
        self.images, self.label, self.mask, self.objects = images or "", label, mask, objects
        self.first_pixel, self.corners = first_pixel, corners
        self.pattern = PathPattern(pattern) if pattern else None
        self.group, self.levels = stored_name(group), tuple(map(stored_name, levels))
        self.split_column = split and stored_name(split)
        self.classes, self.positive = asked_classes(classes, positive)
        self._sizes = ImageSizes(self.root)
        self._boxes = RegionBoxes(size, size_for, points, margin, min_size, mpp)
        refuse_reserved((name for name in self._fields if name != "label"), "The pattern")

    @property
    def _fields(self) -> list[str]:
        return [*self.files.pattern.fields, *(self.pattern.fields if self.pattern else [])]

    @cached_property
    def columns(self) -> Mapping[str, type]:  # type: ignore[override]
        """The image, what the format tells of a region, and the fields of patterns."""
        columns = {_IMAGE: str, **FORMATS[self.files.format].columns}
        columns |= {name: str for name in self._fields if name != "label"}
        if self.mask != "none":
            columns[_OUTLINE] = str
        named = {"group": [self.group], "split": [self.split_column], "levels": self.levels}
        require_named(named, columns, "Name a column, or write {{{}}} in the pattern of paths.".format)
        return columns

    def samples(self) -> Iterator[Sample]:
        """Yield the regions whose image exists, file by file, those of an image one after the other.

        Raises
        ------
        DataError
            If a file cannot be read, an annotation is none or comes twice, or no region is of an image that exists.
        UsageError
            If an option names a column or a label that is not there.
        """
        self.warnings.clear()
        self._sizes = ImageSizes(self.root)
        asked = (self.label, self.mask != "none", self.first_pixel, "label" in self._fields, self.corners)
        reading = Reading(Path(), *asked)
        met = Met(reading, Groups(self.group))
        self._require_format()
        finder = ImageFinder(self.root, self.images, self.files.pattern.fields)
        columns = self.columns
        read = FORMATS[self.files.format].read
        for file in self.files:
            met.reading.path = file.path
            before = met.count
            for region in read(met.reading):
                sample = self._sample(file, region, finder, columns, met)
                if sample is not None:
                    yield sample
            if met.count == before:
                met.empty.add(file.path.name)
        if not met.count:
            raise met.nothing(self.root, self.images, self.files)
        reading.require_pixels()
        if self.files.format == "coco":
            reading.require_sizes()
        require_labels(met.labels, self.positive, self.classes)
        self.warnings.extend([*met.remarks(finder.by_name, self.files, self._sizes.unknown), *met.groups.remarks()])

    def _require_format(self) -> None:
        if self.objects and self.files.format != "geojson":
            raise UsageError("The option objects is for GeoJSON files.", next="Leave it out.")
        if self.corners is not None and self.files.format != "coco":
            raise UsageError("The option corners is for COCO files.", next="Leave it out.")

    def _sample(
        self, file: AnnotationFile, region: Region, finder: ImageFinder, columns: Mapping[str, type], met: Met
    ) -> Sample | None:
        reading, number = met.reading, region.number
        if self.objects and region.columns["object_type"] not in self.objects:
            reading.leave_out(f"are of other types than {', '.join(self.objects)}", number)
            return None
        box = self._boxes.box(region, reading)
        if box is None:
            return None
        name = region.image or file.image
        image = finder.find(name, file)
        if image is None:
            met.miss(name)
            return None
        metadata: dict[str, Any] = {**region.columns, _IMAGE: tidy_text(image), **file.fields}
        fields = self._image_fields(image)
        metadata |= fields
        label = region.label or metadata.pop("label", None)
        if self.mask != "none":
            metadata[_OUTLINE] = region.outline
            if region.outline is None:
                reading.note("have no outline, so that nothing is masked", number)
        sample_id = met.new_id(f"{metadata[_IMAGE]}#{region.id}", number)
        if region.size is not None:
            reading.meet_box(region.extent, region.size, number)
        self._sizes.compare(sample_id, image, region.size, reading.path)
        metadata = {column: metadata.get(column) for column in columns}
        met.groups.complete(sample_id, metadata)
        met.add(label, number)
        return Sample(sample_id, (image,), box=box, label=label, mpp=self.mpp, metadata=metadata)

    def _image_fields(self, image: str) -> dict[str, str | None]:
        if self.pattern is None:
            return {}
        found = self.pattern.match(tidy_text(image))
        if found is None:
            raise UsageError(
                f"The pattern {self.pattern.text!r} does not fit the image {image!r}: "
                f"{self.pattern.failing_part(image)}.",
                next="Give a pattern of the paths of images, relative to the root.",
            )
        return {name: tidy_text(text) or None for name, text in found.items()}

    def splits(self) -> Mapping[str, PublishedSplit]:
        """Return the split ``annotations``, where a column says train, val or test.

        Raises
        ------
        DataError
            If it says something else.
        """
        column = self.split_column or (_SPLIT if _SPLIT in self._fields else None)
        if column is None:
            return {}
        told = list(self.warnings)
        roles = []
        for sample in self.samples():
            word = sample.metadata[column]
            role = None if word is None else role_of(str(word))
            if word is not None and role is None:
                advice = "Write train, val or test there, or call the field otherwise."
                raise no_part(f"The sample {sample.id!r}", column, word, advice)
            if role is not None:
                roles.append((sample, role))
        self.warnings[:] = told
        return own_splits(self.name, roles, self.group, self.warnings)

    def read(self, sample: Sample) -> Pixels:
        """Return the pixels of a region's box; outside its outline, white or black where that is asked for.

        Raises
        ------
        DataError
            If the image cannot be read, or its annotations were made on another one.
        """
        self._sizes.require(sample.id)
        pixels = super().read(sample)
        outline = sample.metadata.get(_OUTLINE)
        if self.mask == "none" or outline is None or sample.box is None:
            return pixels
        white = (1 << self.bits) - 1 if self.bits and pixels.dtype == np.uint16 else np.iinfo(pixels.dtype).max
        inside = covered(outline, sample.box)[:, :, None]
        if not inside.any():
            remark("masked", sample.id, "its box is {} × {} pixels".format(*sample.box[2:]))
        return np.where(inside, pixels, pixels.dtype.type(white if self.mask == "white" else 0))

    def part_digest(self, sample: Sample) -> None:
        """Raise a `DataError` where the image has another size than the one that was annotated."""
        self._sizes.require(sample.id)

    def pixel_key(self, sample: Sample) -> bytes:
        """Return the key of the image, and of the outline where what is outside is masked."""
        key = super().pixel_key(sample)
        return key if self.mask == "none" else key + digest_json([sample.metadata.get(_OUTLINE)])
