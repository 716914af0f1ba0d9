"""CRCHistoPhenotypes: a patch around each labelled nucleus."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from histokit.plugin import DataError, Dataset, PublishedSplit, Sample, UsageError
from histokit_crchistophenotypes.centres import read_centres, to_pixels
from histokit_crchistophenotypes.splits import make_splits

_CLASSES = ("epithelial", "fibroblast", "inflammatory")
_OTHERS = "others"
#: Of the complete data: labelled nuclei of each class, and how many images hold one of the three, or of the four.
_NUCLEI = {"epithelial": 7_722, "fibroblast": 5_712, "inflammatory": 6_971, _OTHERS: 2_039}
_IMAGES, _IMAGES_WITH_OTHERS = 98, 100
_LAYOUT = "img1/img1.bmp with img1_epithelial.mat, img1_fibroblast.mat, img1_inflammatory.mat and img1_others.mat"


class CRCHistoPhenotypes(Dataset):
    """Nuclei in 100 H&E images of colorectal adenocarcinoma, 500 × 500 pixels at 20×.

    Centres are rounded to the pixel that they lie in (MATLAB's first pixel is at 1, a box's at 0), and a
    box of even size reaches one pixel further to the left of and above that pixel than to the right and below.

    Parameters
    ----------
    root : path
        The unpacked folder ``CRCHistoPhenotypes_2016_04_28``, or its ``Classification``.
    size : int
        Side of the patch around a nucleus, in pixels.
    border : {"reflect", "shift", "drop"}
        What becomes of a patch that leaves the image: the image is reflected there, the patch is shifted
        inside, or the nucleus is left out and counted in `warnings`.
    others : bool
        Whether the miscellaneous nuclei are a fourth class or left out.
    mpp : float, optional
        Micrometres per pixel, which the data do not state; 20× usually is about 0.5.

    Raises
    ------
    UsageError
        If `size` is less than 1.

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
    ):
        super().__init__(root)
        if size < 1:
            raise UsageError(
                f"The option size={size} is less than one pixel.", next="Give the side in pixels: -o size=32."
            )
        if border not in ("reflect", "shift", "drop"):
            raise UsageError(f"The option border={border!r} is unknown.", next="Use reflect, shift or drop.")
        self.size, self.border, self.mpp = size, border, mpp
        self.classes = (*_CLASSES, _OTHERS) if others else _CLASSES
        if border != "drop":
            nuclei = {name: _NUCLEI[name] for name in self.classes}
            images = _IMAGES_WITH_OTHERS if others else _IMAGES
            self.expected = {"samples": sum(nuclei.values()), "images": images, "labels": nuclei}

    def samples(self) -> Iterator[Sample]:
        """Yield the nuclei, image by image and class by class, in the order of the ``.mat`` files.

        Raises
        ------
        DataError
            If the root does not hold the data, or a ``.mat`` file cannot be read.
        UsageError
            If patches larger than an image are to be shifted into it or dropped.
        """
        self.warnings.clear()
        tally: Counter[str] = Counter()
        for folder in self._folders():
            labels: dict[tuple[int, int], list[str]] = {}
            size = None if self.border == "reflect" else self._image_size(folder)
            for label in self.classes or ():
                for row, centre, pixel in self._centres(folder, label, tally):
                    labels.setdefault(pixel, []).append(f"{label}/{row}")
                    box = self._box(pixel, size)
                    if box is None:
                        tally["nuclei were left out because their patch leaves the image"] += 1
                        continue
                    yield self._sample(folder, f"{folder.name}/{label}/{row}", label, centre, box)
            self._report_twins(folder.name, labels)
        self.warnings.extend(f"{count} {what}" for what, count in tally.items())

    def _folders(self) -> list[Path]:
        if not self.root.is_dir():
            raise DataError(
                f"The folder {str(self.root)!r} does not exist.", next="Give the unpacked folder of the data."
            )
        base = self.root / "Classification" if (self.root / "Classification").is_dir() else self.root
        numbered = [(re.fullmatch(r"img(\d+)", path.name), path) for path in base.iterdir() if path.is_dir()]
        folders = [path for _, path in sorted((int(match[1]), path) for match, path in numbered if match)]
        files = (path / f"{path.name}_{label}.mat" for path in folders for label in (*_CLASSES, _OTHERS))
        if not any(file.is_file() for file in files):
            raise DataError(
                f"The folder {str(base)!r} does not hold the labelled nuclei of CRCHistoPhenotypes: "
                f"it should hold {_LAYOUT}, and so on.",
                next="Give CRCHistoPhenotypes_2016_04_28 or its Classification, with inner archives unpacked.",
            )
        return folders

    def _centres(
        self, folder: Path, label: str, tally: Counter[str]
    ) -> Iterator[tuple[int, npt.NDArray[np.float64], tuple[int, int]]]:
        path = folder / f"{folder.name}_{label}.mat"
        if not path.is_file():
            self.warnings.append(f"{path.relative_to(self.root)} does not exist; its nuclei are missing")
            return
        centres = read_centres(path)
        for row, centre in enumerate(centres, start=1):
            if not np.isfinite(centre).all():
                tally["rows of .mat files have no coordinates (NaN) and were left out"] += 1
                continue
            x, y = to_pixels(centre)
            yield row, centre, (int(x), int(y))

    def _box(self, pixel: tuple[int, int], image_size: tuple[int, int] | None) -> tuple[int, int, int, int] | None:
        x, y = (position - self.size // 2 for position in pixel)
        if image_size is not None:
            room = tuple(side - self.size for side in image_size)
            inside = tuple(min(max(start, 0), last) for start, last in zip((x, y), room, strict=True))
            if inside != (x, y):
                if self.border == "drop":
                    return None
                x, y = inside
        return x, y, self.size, self.size

    def _image_size(self, folder: Path) -> tuple[int, int] | None:
        from PIL import Image

        try:
            with Image.open(folder / f"{folder.name}.bmp") as image:
                size = image.size
        except OSError:
            # Whoever reads the patches reports the image.
            return None
        if self.size > min(size):
            raise UsageError(
                f"Patches of size={self.size} do not fit into {folder.name}.bmp of {size[0]} × {size[1]} pixels.",
                next="Give a smaller size, or -o border=reflect.",
            )
        return size

    def _sample(
        self, folder: Path, sample_id: str, label: str, centre: npt.NDArray[np.float64], box: tuple[int, int, int, int]
    ) -> Sample:
        image = (folder / f"{folder.name}.bmp").relative_to(self.root).as_posix()
        x, y = (float(value) - 1 for value in centre)
        metadata = {"image_id": folder.name, "x": x, "y": y}
        return Sample(sample_id, (image,), box=box, label=label, mpp=self.mpp, metadata=metadata)

    def _report_twins(self, image: str, labels: Mapping[tuple[int, int], list[str]]) -> None:
        for (x, y), rows in labels.items():
            if len(rows) > 1:
                named = " and ".join(f"{image}/{row}" for row in rows)
                self.warnings.append(f"{named} are at the same pixel ({x}, {y}); all were kept")

    def splits(self) -> Mapping[str, PublishedSplit]:
        """Return ``grouped``, in which images are whole, and ``paper``, which leaks; both hold out a sixth."""
        kept = list(self.warnings)
        splits = make_splits(self.samples())
        self.warnings[:] = kept
        return splits
