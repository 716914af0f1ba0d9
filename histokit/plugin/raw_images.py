"""Images as their files hold them: any number of channels, more than 8 bits, several planes; and who reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from histokit.errors import DataError
from histokit.named_objects import named_object
from histokit.plugin.calls import Caller, shown
from histokit.plugin.digests import digest_json

if TYPE_CHECKING:
    from histokit.plugin.registered import Registered


class RawImage(NamedTuple):
    """What a reader of image files returns.

    Parameters
    ----------
    pixels : (H, W) or (H, W, C) array
        Upright, 0 is black. Whole numbers of 8 or 16 bits without a sign reach a network as they are; all other
        numbers only where the dataset's ``scale`` says what is black and what is white.
    bits : int, optional
        That were recorded, such as 12 of 16.
    channels : sequence of str
        What the channels are called, in their order; empty where the file does not say.
    white : int, optional
        The number that is white, where that is not the largest one of `bits`, or of 8 or 16 bits.
    alpha : int
        Whether the last channel is transparency: 1 where colours were multiplied by it, 2 where not, 0 where it is not.
    """

    pixels: npt.NDArray[Any]
    bits: int | None = None
    channels: Sequence[str] = ()
    white: int | None = None
    alpha: int = 0


class ImageReader:
    """Reads image files of some suffix; a function of a path that returns pixels does where a file is one image.

    Attributes
    ----------
    version : str
        Raised when other pixels come out of the same file.
    """

    version: str = "1"

    def read(self, path: Path, part: str | None) -> RawImage | npt.NDArray[Any]:
        """Return the pixels of a file, or of one of its `parts`.

        Raises
        ------
        DataError
            If the file cannot be read; what else is raised is told as this reader's fault.
        """
        raise TypeError(f"{type(self).__name__} does not define read()")

    def parts(self, path: Path) -> Sequence[str]:
        """Return the names of the planes, scenes or pages of a file; none where it is one image."""
        return ()

    def mpp(self, path: Path) -> float | None:
        """Return the micrometres per pixel that a file states."""
        return None


class _Function(ImageReader):
    def __init__(self, function: Callable[[Path], Any]):
        self.function = function
        self.version = str(getattr(function, "version", "1"))

    def read(self, path: Path, part: str | None) -> RawImage | npt.NDArray[Any]:
        return self.function(path)


def read_raw(path: str | Path, part: str | None = None) -> RawImage:
    """Open an image file, or a part of it, by the reader of its suffix.

    Returns
    -------
    RawImage
        Whose pixels are (H, W, C).

    Raises
    ------
    DataError
        If the file cannot be read.
    PluginError
        If its reader fails.
    """
    path = Path(path)
    reader, caller = _found(path.suffix)
    if not path.exists():
        raise DataError(f"{path} does not exist.", next="Replace the file, then ingest the dataset again.")
    with caller.call("read()", str(path)):
        found = reader.read(path, part)
        raw = found if isinstance(found, RawImage) else RawImage(np.asarray(found))
        pixels = np.asarray(raw.pixels)
        channels = tuple(map(str, raw.channels))
    # Pixels wait for a batch: a plugin may write its next image into the same array.
    pixels = pixels if caller.ours else pixels.copy()
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    good = pixels.ndim == 3 and pixels.size > 0 and pixels.dtype.kind in "uif"
    if not good or (channels and len(channels) != pixels.shape[2]):
        named = f" with the channels {', '.join(channels)}" if channels else ""
        what = f"{pixels.dtype} of shape {pixels.shape}{named} in place of numbers of (H, W, C)"
        raise caller.wrong("read()", what, str(path))
    return raw._replace(pixels=pixels, channels=channels)


def parts_of(path: str | Path) -> tuple[str, ...]:
    """Return the names of the planes, scenes or pages of a file, by the reader of its suffix; none of one image.

    Raises
    ------
    DataError, PluginError
    """
    reader, caller = _found(Path(path).suffix)
    with caller.call("parts()", str(path)):
        return tuple(map(str, reader.parts(Path(path))))


def mpp_of(path: str | Path) -> float | None:
    """Return the micrometres per pixel that a file states, by the reader of its suffix.

    Raises
    ------
    DataError, PluginError
    """
    reader, caller = _found(Path(path).suffix)
    with caller.call("mpp()", str(path)):
        found = reader.mpp(Path(path))
        return None if found is None else float(found)


def _found(suffix: str) -> tuple[ImageReader, Caller]:
    """Return who reads files of a suffix; those that nobody registered are read by their content.

    Raises
    ------
    PluginError
        If its plugin does not load, or two plugins claim the suffix.
    """
    known = _registry()
    suffix = suffix.lower()
    if suffix not in known.loaded_readers:
        known.loaded_readers[suffix] = _loaded(known.find_reader(suffix), suffix)
    found: tuple[ImageReader, Caller] = known.loaded_readers[suffix]
    return found


def _registry() -> Any:
    # By its name, for whoever discovers plugins needs datasets, whose images are read here.
    return named_object("histokit.plugin.manager:registry")()


def _loaded(entry: Registered | None, suffix: str) -> tuple[ImageReader, Caller]:
    if entry is None:
        return named_object("histokit.plugin.usual_readers:ImagesByContent")(), Caller("histokit", True)
    owner = f"The reader of {suffix} files of {entry.distribution} ({entry.module})"
    caller = Caller(owner, not entry.third_party, "Tell its author; a newer version may help.")
    with caller.call("its loader"):
        loaded = entry.load()
        if isinstance(loaded, type) and issubclass(loaded, ImageReader):
            loaded = loaded()
    if isinstance(loaded, ImageReader):
        return loaded, caller
    if not callable(loaded) or isinstance(loaded, type):
        raise caller.wrong("its loader", f"{shown(loaded)} in place of a function or an ImageReader")
    return _Function(loaded), caller


def is_foreign(suffix: str) -> bool:
    """Return whether files of a suffix are read by a plugin that does not come with histokit."""
    entry = _registry().find_reader(suffix.lower())
    return entry is not None and entry.third_party


def foreign_mark(suffix: str) -> bytes:
    """Return bytes that stand for the reader of files of a suffix and its version, where that is a plugin's."""
    entry = _registry().find_reader(suffix)
    if entry is None or not entry.third_party:
        return b""
    return digest_json(["reader", entry.module, str(_found(suffix)[0].version)])
