"""Where the images and the centres of their nuclei are: unpacked, or in the archive as it was downloaded."""

from __future__ import annotations

import re
from collections.abc import Iterable
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
_FILE = re.compile(r"(?P<stem>(?:(?P<base>.*)/)?img(?P<number>\d+)/img(?P=number))(?:_(?P<kind>[a-z]+)\.mat|\.bmp)")


class ImagePlace(NamedTuple):
    """An image: its number, and what the names of its files begin with, such as ``Classification/img1/img1``."""

    number: int
    stem: str

    @property
    def name(self) -> str:
        """What the data call it."""
        return f"img{self.number}"


def locate(root: Path, archives: Iterable[Archive], detection: bool) -> tuple[Files, list[ImagePlace]]:
    """Return the files of the data, and the images among them in the order of their numbers.

    Parameters
    ----------
    root : Path
        A folder, or an archive.
    archives : iterable of Archive
        That, or all that are in the folder; looked into where the folder holds no unpacked data.
    detection : bool
        Whether centres for the detection are wanted.

    Raises
    ------
    DataError
        If they are not there, or in several places.
    """
    what = "archive" if root.suffix.lower() == ".zip" else "folder"
    if not root.exists():
        raise DataError(
            f"The {what} {str(root)!r} does not exist.", next="Give the unpacked folder of the data, or their archive."
        )
    found = [] if root.is_file() else _all_images(Folder(root), detection)
    found = found or [each for archive in archives for each in _all_images(archive, detection)]
    if len(found) > 1:
        places = " and ".join(str(files.path / Path(images[0].stem).parents[1]) for files, images in found)
        raise DataError(f"The data are there more than once: {places}.", next="Leave one of them in the root.")
    if found:
        return found[0]
    wanted, folder = _WHAT[detection]
    raise DataError(
        f"The {what} {str(root)!r} does not hold the {wanted} of "
        f"CRCHistoPhenotypes: it should hold {_LAYOUTS[detection]}, and so on.",
        next=f"Give the archive as it was downloaded, CRCHistoPhenotypes_2016_04_28, or its {folder}.",
    )


def _all_images(files: Files, detection: bool) -> list[tuple[Files, list[ImagePlace]]]:
    """Return the images of each folder that holds what is wanted."""
    images: dict[str, set[ImagePlace]] = {}
    holds: set[str] = set()
    for match in filter(None, map(_FILE.fullmatch, files.names())):
        base = match["base"] or ""
        images.setdefault(base, set()).add(ImagePlace(int(match["number"]), match["stem"]))
        if match["kind"] and (match["kind"] == "detection") == detection:
            holds.add(base)
    return [(files, sorted(each)) for base, each in sorted(images.items()) if base in holds]
