"""Which image an annotation is of: by the path that it says, or by a name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from histokit.datasets.cells import tidy_text
from histokit.datasets.walk import Tally, Walk, is_image, on_disk
from histokit.errors import DataError


class ImageFinder:
    """Finds images in a folder; it is walked through once, and only where an image is not where it is said to be.

    Parameters
    ----------
    root : Path
        The dataset's.
    folder : str
        Of the images, relative to the root; empty where they may be anywhere in it.

    Attributes
    ----------
    by_name : Tally
        Images that are not at the path that annotations say, and were found by their name alone.
    """

    def __init__(self, root: Path, folder: str):
        self.root, self.folder = root, folder.strip("/")
        self.by_name = Tally()
        self._found: dict[tuple[str, str], str | None] = {}
        self._taken: dict[str, str] = {}

    def find(self, name: str, beside: str) -> str | None:
        """Return the path of an image relative to the root, none where it is not there.

        Parameters
        ----------
        name : str
            A path or a name; without its suffix, maybe.
        beside : str
            The folder of the annotations, relative to the root.

        Raises
        ------
        DataError
            If several images may be meant.
        """
        # As Windows writes paths.
        name = tidy_text(name).replace("\\", "/")
        key = (name, beside)
        if key not in self._found:
            self._found[key] = self._at_its_path(name, beside) or self._by_name(name, beside)
        return self._found[key]

    def _at_its_path(self, name: str, beside: str) -> str | None:
        path = PurePosixPath(name)
        for folder in dict.fromkeys([self.folder, *([] if self.folder else [beside])]):
            # A path of another machine is none here, and one that leads out of the root is none of the dataset.
            parts = _parts([*PurePosixPath(folder).parts, *path.parts]) if not path.is_absolute() else None
            found = on_disk(self.root, "/".join(parts)) if parts and is_image(parts[-1]) else None
            if found is not None and (self.root / found).is_file():
                return found
        return None

    def _by_name(self, name: str, beside: str) -> str | None:
        path = PurePosixPath(name)
        elsewhere = str(path) != path.name
        for wanted in dict.fromkeys([path.name, *_stems(path.name)]):
            found = self._listed.get(wanted, [])
            here = [p for p in found if str(PurePosixPath(p).parent) == (beside or ".") and not elsewhere]
            if len(found) > 1 and len(here) != 1:
                raise DataError(
                    f"The image {name!r} of annotations in {beside or '.'!r} may be {found[0]!r} or {found[1]!r}.",
                    next="Name the folder of the images with -o images=FOLDER, or rename one of them.",
                )
            if found:
                return self._alone(name, (here or found)[0], elsewhere)
        return None

    def _alone(self, name: str, found: str, elsewhere: bool) -> str:
        """Return an image that was found by its name, unless it was found by another one already."""
        other = self._taken.setdefault(found, name)
        if other != name:
            raise DataError(
                f"Annotations are of the images {other!r} and {name!r}, of which {found!r} alone is there.",
                next="Name the folder of the images with -o images=FOLDER, or mend the names in the annotations.",
            )
        if elsewhere or (is_image(name) and PurePosixPath(name).suffix != PurePosixPath(found).suffix):
            self.by_name.add(f"{name} as {found}")
        return found

    @cached_property
    def _listed(self) -> dict[str, list[str]]:
        """The images by their names, and by what is left without their suffixes."""
        listed: dict[str, list[str]] = {}
        for path in self._walked():
            name = tidy_text(PurePosixPath(path).name)
            for each in dict.fromkeys([name, *_stems(name)]):
                listed.setdefault(each, []).append(path)
        return listed

    def _walked(self) -> Iterator[str]:
        for path in Walk(self.root / self.folder).files():
            if is_image(path):
                yield f"{self.folder}/{path}" if self.folder else path


def _stems(name: str) -> Iterator[str]:
    """Yield a name without its suffix; of ``a.ome.tif``, ``a`` as well."""
    stem = PurePosixPath(name).stem if is_image(name) else name
    yield stem
    if stem.endswith(".ome"):
        yield stem.removesuffix(".ome")


def _parts(parts: Sequence[str]) -> list[str] | None:
    """Return a path without ``..``; none where it leads out."""
    kept: list[str] = []
    for part in parts:
        if part != "..":
            kept.append(part)
        elif kept:
            kept.pop()
        else:
            return None
    return kept
