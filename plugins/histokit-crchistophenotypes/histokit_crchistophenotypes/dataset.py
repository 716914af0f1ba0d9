"""CRCHistoPhenotypes: a patch around each labelled nucleus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from histokit.plugin import DataError, Dataset, PublishedSplit, Sample, UsageError, counted, crop
from histokit_crchistophenotypes.centres import read_centres, to_pixels
from histokit_crchistophenotypes.files import Archive
from histokit_crchistophenotypes.layout import ImagePlace, locate
from histokit_crchistophenotypes.splits import make_splits

_CLASSES = ("epithelial", "fibroblast", "inflammatory")
_OTHERS, _DETECTION = "others", "detection"
#: Of the complete data: labelled nuclei of each class, and how many images hold one of the three, or of the four.
_NUCLEI = {"epithelial": 7_722, "fibroblast": 5_712, "inflammatory": 6_971, _OTHERS: 2_039}
_IMAGES, _IMAGES_WITH_OTHERS = 98, 100
#: Width and height, where a file does not say.
_SIZE = 500, 500
_SHOWN = 5
_OUTSIDE = "centre was left out because it is", "centres were left out because they are"
_ARCHIVES = "*.zip", "*/*.zip"
#: Nuclei that are marked without a class.
_CENTRES = 29_756


class CRCHistoPhenotypes(Dataset):
    """Nuclei in 100 H&E images of colorectal adenocarcinoma, 500 × 500 pixels at 20×.

    Centres are rounded to the pixel that they lie in (MATLAB's first pixel is at 1, a box's at 0), and a
    box of even size reaches one pixel further to the left of and above that pixel than to the right and below.

    Parameters
    ----------
    root : path
        The zip file as it was downloaded, a folder that holds it, the unpacked folder
        ``CRCHistoPhenotypes_2016_04_28``, or its ``Classification`` (or ``Detection``).
    size : int
        Side of the patch around a nucleus, in pixels.
    border : {"reflect", "shift", "drop"}
        What becomes of a patch that leaves the image: the image is reflected there, the patch is shifted
        inside, or the nucleus is left out and counted in `warnings`.
    others : bool
        Whether the miscellaneous nuclei are a fourth class or left out.
    mpp : float, optional
        Micrometres per pixel, which the data do not state; 20× usually is about 0.5.
    detection : bool
        Whether the samples are the centres that the task of detection has, which have no label, in place of the
        labelled nuclei.

    Raises
    ------
    UsageError
        If `size` is less than 1, or centres without label are to be of the class `others`.

    References
    ----------
    Sirinukunwattana et al., Locality Sensitive Deep Learning for Detection and Classification of Nuclei in
    Routine Colon Cancer Histology Images. IEEE Transactions on Medical Imaging, 2016.
    """

    name = "crchistophenotypes"
    version = "1"
    columns: Mapping[str, type] = {"image_id": str, "x": float, "y": float}
    group: str | None = "image_id"
    # The size and the border policy are in the box.
    pixel_options: Sequence[str] | None = ()
    licence = "for research purposes only"
    citation = (
        "Sirinukunwattana et al. (2016), Locality Sensitive Deep Learning for Detection and Classification of Nuclei "
        "in Routine Colon Cancer Histology Images, IEEE Transactions on Medical Imaging 35(5), 1196-1206."
    )

    def __init__(
        self,
        root: str | Path,
        size: int = 32,
        border: Literal["reflect", "shift", "drop"] = "reflect",
        others: bool = False,
        mpp: float | None = None,
        detection: bool = False,
    ):
        root = Path(root)
        self._archive = root.name if root.suffix.lower() == ".zip" and not root.is_dir() else None
        super().__init__(root.parent if self._archive else root)
        if size < 1:
            raise UsageError(
                f"The option size={size} is less than one pixel.", next="Give the side in pixels: -o size=32."
            )
        if border not in ("reflect", "shift", "drop"):
            raise UsageError(f"The option border={border!r} is unknown.", next="Use reflect, shift or drop.")
        if detection and others:
            raise UsageError(
                "Of detection=true and others=true one is wrong: centres for the detection have no class.",
                next="Give one of them.",
            )
        self.size, self.border, self.mpp, self.detection = size, border, mpp, detection
        self.classes = None if detection else (*_CLASSES, _OTHERS) if others else _CLASSES
        if border != "drop":
            self.expected = _expected(self.classes)

    def samples(self) -> Iterator[Sample]:
        """Yield the nuclei, image by image and class by class, in the order of the ``.mat`` files.

        Raises
        ------
        DataError
            If the root does not hold the data, or an image twice, or a ``.mat`` file or the archive cannot be read.
        UsageError
            If patches larger than an image are to be shifted into it or dropped.
        """
        self.warnings.clear()
        dropped = 0
        absent: list[str] = []
        for image in self._found():
            labels: dict[tuple[int, int], list[str]] = {}
            size = self._image_size(image)
            for kind in self.classes or (_DETECTION,):
                if kind not in image.names:
                    absent.append(f"{image.stem}_{kind}.mat")
                    continue
                for row, centre, pixel in _centres(image, kind, size, self.warnings):
                    labels.setdefault(pixel, []).append(f"{kind}/{row}")
                    box = self._box(pixel, size)
                    if box is None:
                        dropped += 1
                        continue
                    yield self._sample(image, f"{kind}/{row}", centre, box)
            self._report_twins(image.name, labels)
        if absent:
            do = "does not exist; its" if len(absent) == 1 else f"and {len(absent) - 1} more files do not exist; their"
            self.warnings.append(f"{absent[0]} {do} nuclei are missing")
        if dropped:
            nuclei = counted(dropped, "nucleus was left out because its", "nuclei were left out because their")
            self.warnings.append(f"{nuclei} patch leaves the image")

    def _found(self) -> list[ImagePlace]:
        if self._archive is not None:
            return locate(self.root / self._archive, [[self._archives[self._archive]]], self.detection)
        levels = ((self._archives[self._name(path)] for path in sorted(self.root.glob(each))) for each in _ARCHIVES)
        return locate(self.root, levels, self.detection)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    @cached_property
    def _archives(self) -> _Archives:
        return _Archives(self.root)

    def _box(self, pixel: tuple[int, int], image_size: tuple[int, int]) -> tuple[int, int, int, int] | None:
        x, y = (position - self.size // 2 for position in pixel)
        if self.border != "reflect":
            room = tuple(side - self.size for side in image_size)
            inside = tuple(min(max(start, 0), last) for start, last in zip((x, y), room, strict=True))
            if inside != (x, y):
                if self.border == "drop":
                    return None
                x, y = inside
        return x, y, self.size, self.size

    def _image_size(self, image: ImagePlace) -> tuple[int, int]:
        from PIL import Image

        try:
            with image.files.open(image.bitmap) as file, Image.open(file) as opened:
                size = opened.size
        except (OSError, DataError):
            # Whoever reads the patches reports the image.
            size = _SIZE
        if self.border != "reflect" and self.size > min(size):
            raise UsageError(
                f"Patches of size={self.size} do not fit into {image.name}.bmp of {size[0]} × {size[1]} pixels.",
                next="Give a smaller size, or -o border=reflect.",
            )
        return size

    def _sample(
        self, image: ImagePlace, row: str, centre: npt.NDArray[np.float64], box: tuple[int, int, int, int]
    ) -> Sample:
        x, y = (float(value) - 1 for value in centre)
        packed = isinstance(image.files, Archive)
        return Sample(
            f"{image.name}/{row}",
            (self._name(image.files.path),) if packed else (image.bitmap,),
            part=image.bitmap if packed else None,
            box=box,
            label=None if self.detection else row.split("/")[0],
            mpp=self.mpp,
            metadata={"image_id": image.name, "x": x, "y": y},
        )

    def read(self, sample: Sample) -> npt.NDArray[np.uint8]:
        """Return the patch of a nucleus; an image is opened once for all its nuclei, in an archive too."""
        if sample.part is None or sample.box is None:
            return super().read(sample)
        with _told_as_data():
            return crop(self._archives[sample.image[0]].image(sample.part), sample.box)

    def pixel_key(self, sample: Sample) -> bytes:
        """Return nothing: the image, the part and the box say all."""
        return b""

    def file_digest(self, path: Path) -> bytes:
        """Return the digest of an image file, or of what is in an archive, however it was packed."""
        return (
            self._archives[self._name(path)].contents() if path.suffix.lower() == ".zip" else super().file_digest(path)
        )

    def part_digest(self, sample: Sample) -> bytes | None:
        """Return the digest of an image in an archive, so that a change of another one does not touch its nuclei."""
        if sample.part is None:
            return None
        with _told_as_data():
            return self._archives[sample.image[0]].digest(sample.part)

    def _report_twins(self, image: str, labels: Mapping[tuple[int, int], list[str]]) -> None:
        for (x, y), rows in labels.items():
            if len(rows) > 1:
                named = " and ".join(f"{image}/{row}" for row in rows)
                self.warnings.append(f"{named} are at the same pixel ({x}, {y}); all were kept")

    def splits(self) -> Mapping[str, PublishedSplit]:
        """Return ``grouped``, in which images are whole, and ``paper``, which leaks; both hold out a sixth.

        Centres of the detection have no label to split them by.
        """
        if self.detection:
            return {}
        kept = list(self.warnings)
        splits = make_splits(self.samples())
        self.warnings[:] = kept
        return splits


class _Archives(dict[str, Archive]):
    """The archives in the root, each opened once."""

    def __init__(self, root: Path):
        super().__init__()
        self._root = root

    def __missing__(self, name: str) -> Archive:
        return self.setdefault(name, Archive(self._root / name))


@contextmanager
def _told_as_data() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{error}.", next="Download the archive again, then ingest the dataset again.") from error


def _expected(classes: Sequence[str] | None) -> dict[str, int | Mapping[str, int]]:
    if classes is None:
        return {"samples": _CENTRES, "image_id": _IMAGES_WITH_OTHERS}
    nuclei = {name: _NUCLEI[name] for name in classes}
    images = _IMAGES_WITH_OTHERS if _OTHERS in classes else _IMAGES
    return {"samples": sum(nuclei.values()), "image_id": images, "labels": nuclei}


def _centres(
    image: ImagePlace, kind: str, size: tuple[int, int], notes: list[str]
) -> Iterator[tuple[int, npt.NDArray[np.float64], tuple[int, int]]]:
    """Yield row, centre and pixel of the nuclei that lie in their image; `notes` tells of the others."""
    name = image.names[kind]
    with image.files.open(name) as file:
        centres = read_centres(file, f"{image.files.path}/{name}")
    # Before they become whole numbers, of which the largest are none.
    # Half a pixel outside is borne with: a published centre has y = 0.15, and pixels begin at 0.5.
    inside = ((centres >= 0) & (centres < np.array(size) + 1)).all(axis=1)
    if outside := [f"row {row + 1} ({centres[row, 0]:g}, {centres[row, 1]:g})" for row in np.flatnonzero(~inside)]:
        more = f", and {len(outside) - _SHOWN} more" if len(outside) > _SHOWN else ""
        notes.append(
            f"{name}: {counted(len(outside), *_OUTSIDE)} not in the image of "
            f"{size[0]} × {size[1]} pixels, where x is from 0 to below {size[0] + 1} and y from 0 to below "
            f"{size[1] + 1}: {', '.join(outside[:_SHOWN])}{more}"
        )
    for row in np.flatnonzero(inside):
        x, y = to_pixels(centres[row])
        yield int(row) + 1, centres[row], (int(x), int(y))
