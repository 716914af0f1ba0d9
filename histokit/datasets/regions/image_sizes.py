"""Whether images are as large as files of annotations say: boxes drawn on a resized copy would cut out other pixels."""

from __future__ import annotations

from pathlib import Path

from histokit.datasets.regions.region import Size
from histokit.datasets.walk import Tally
from histokit.errors import DataError
from histokit.plugin.image_heads import upright_size


class ImageSizes:
    """Compares listed sizes with those in the heads of image files, and remembers samples of other images.

    Parameters
    ----------
    root : Path

    Attributes
    ----------
    unknown : Tally
        Images whose head does not tell their size, so that nothing was compared.
    """

    def __init__(self, root: Path):
        self.root = root
        self.unknown = Tally()
        self._last: tuple[tuple[str, Size], str | None] | None = None
        self._wrong: dict[str, str] = {}

    def compare(self, sample_id: str, image: str, listed: Size | None, file: Path) -> None:
        """Remember a sample whose image has another size than the one that its file of annotations lists."""
        if listed is None:
            return
        # Annotations of an image come one after the other.
        if self._last is None or self._last[0] != (image, listed):
            self._last = (image, listed), self._difference(image, listed, file)
        if self._last[1] is not None:
            self._wrong[sample_id] = self._last[1]

    def _difference(self, image: str, listed: Size, file: Path) -> str | None:
        size = upright_size(self.root / image, listed)
        if size is None:
            self.unknown.add(image)
        if size is None or size == listed:
            return None
        return (
            f"The image {image!r} has {size[0]} × {size[1]} pixels, and {file.name} lists it with {listed[0]} × "
            f"{listed[1]}: its annotations were made on another image."
        )

    def require(self, sample_id: str) -> None:
        """Raise a `DataError` where a sample was remembered."""
        if sample_id in self._wrong:
            raise DataError(self._wrong[sample_id], next="Put the image there that was annotated, or scale its boxes.")
