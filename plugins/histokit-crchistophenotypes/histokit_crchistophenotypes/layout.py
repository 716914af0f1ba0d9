"""Where the images and the centres of their nuclei are: unpacked, or in the archive as it was downloaded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from histokit.plugin import DataError
from histokit_crchistophenotypes.files import Archive, Files, Folder

#: The files of an image, by whether centres for the detection are wanted or nuclei with labels.
_LAYOUTS = {
    False: "img1/img1.bmp with img1_epithelial.mat, img1_fibroblast.mat, img1_inflammatory.mat and img1_others.mat",
    True: "img1/img1.bmp with img1_detection.mat",
}
_WHAT = {False: ("labelled nuclei", "Classification"), True: ("centres for the detection", "Detection")}
#: Each image may be in an archive of its own, with its folder in it or without; letters may be capitals.
_FILE = re.compile(
    r"(?P<stem>(?:(?P<base>.*?)/)??(?:img\d+\.zip/)?img(?P<number>\d+)(?:\.zip)?/img(?P=number))"
    r"(?:_(?P<kind>[a-z]+)\.mat|\.bmp)",
    re.IGNORECASE,
)


class ImagePlace(NamedTuple):
    """An image: where it is, its number, what its files' names begin with, and these by kind; ``""`` is the image."""

    files: Files
    number: int
    stem: str
    names: dict[str, str]

    @property
    def name(self) -> str:
        """What the data call it."""
        return f"img{self.number}"

    @property
    def bitmap(self) -> str:
        """The name of its file, such as ``Classification/img1/img1.bmp``."""
        return self.names.get("", f"{self.stem}.bmp")


def locate(root: Path, archives: Iterable[Iterable[Archive]], detection: bool) -> list[ImagePlace]:
    """Return the images in the order of their numbers.

    Parameters
    ----------
    root : Path
        A folder, or an archive.
    archives : iterable of iterables of Archive
        That, or all that are in the folder, then those one folder below; looked into where nothing was found before.
    detection : bool
        Whether centres for the detection are wanted.

    Raises
    ------
    DataError
        If they are not there, or an image is in several places.
    """
    what = "archive" if root.suffix.lower() == ".zip" else "folder"
    if not root.exists():
        raise DataError(
            f"The {what} {str(root)!r} does not exist.", next="Give the unpacked folder of the data, or their archive."
        )
    found = [] if root.is_file() else _all_images(Folder(root), detection)
    for level in archives:
        found = found or [each for archive in level for each in _all_images(archive, detection)]
    if found:
        _require_once(found)
        return sorted(found, key=lambda image: image.number)
    wanted, folder = _WHAT[detection]
    below = [child for child in _below(root) if _all_images(Folder(child), detection)]
    if below:
        raise DataError(
            f"The folder {str(root)!r} does not hold the {wanted} of CRCHistoPhenotypes; a folder in it does.",
            next=f"Give that: {str(below[0])!r}.",
        )
    raise DataError(
        f"The {what} {str(root)!r} does not hold the {wanted} of "
        f"CRCHistoPhenotypes: it should hold {_LAYOUTS[detection]}, and so on.",
        next=f"Give the archive as it was downloaded, CRCHistoPhenotypes_2016_04_28, or its {folder}.",
    )


def _below(root: Path) -> list[Path]:
    """Return the folders in a folder that are called as the data are."""
    if not root.is_dir():
        return []
    return sorted(child for child in root.iterdir() if child.is_dir() and "crchisto" in child.name.lower())


def _all_images(files: Files, detection: bool) -> list[ImagePlace]:
    """Return the images of all folders that hold what is wanted."""
    images: dict[str, dict[str, ImagePlace]] = {}
    # An archive of one image may be named as its folder, and have none in it.
    prefix = f"{files.path.name}/" if isinstance(files, Archive) else ""
    for name in sorted(files.names()):
        match = _FILE.fullmatch(name) or _FILE.fullmatch(prefix + name)
        if match is None:
            continue
        stem = match["stem"].removeprefix(prefix)
        inside = images.setdefault(match["base"] or "", {})
        names = inside.setdefault(stem.rpartition("/")[0], ImagePlace(files, int(match["number"]), stem, {})).names
        before = names.setdefault((match["kind"] or "").lower(), name)
        if before != name:
            raise DataError(f"{before} and {name} in {str(files.path)!r} are one file.", next="Remove one of them.")
    if detection:
        _share_bitmaps([image for inside in images.values() for image in inside.values()])
    return [image for inside in images.values() if _holds(inside.values(), detection) for image in inside.values()]


def _share_bitmaps(images: Sequence[ImagePlace]) -> None:
    """Give each image without its file that of the same image elsewhere: Detection and Classification hold the same."""
    files = {image.number: image.names[""] for image in images if "" in image.names}
    for image in images:
        if "" not in image.names and image.number in files:
            image.names[""] = files[image.number]


def _holds(images: Iterable[ImagePlace], detection: bool) -> bool:
    return any((kind == "detection") == detection for image in images for kind in image.names if kind)


def _require_once(images: Iterable[ImagePlace]) -> None:
    places: dict[int, list[str]] = {}
    for image in images:
        places.setdefault(image.number, []).append(str(image.files.path / Path(image.stem).parent))
    doubled = {number: each for number, each in sorted(places.items()) if len(each) > 1}
    if doubled:
        number, first = next(iter(doubled.items()))
        others = f" ({len(doubled)} images in all)" if len(doubled) > 1 else ""
        raise DataError(
            f"The data are there more than once: img{number} is in {' and '.join(first[:3])}{others}.",
            next="Leave one of them in the root.",
        )
