"""Which image an annotation is of: by the path that it says, or by a name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from histokit.datasets.cells import tidy_text
from histokit.datasets.own_splits import role_in
from histokit.datasets.regions.annotation_files import AnnotationFile
from histokit.datasets.walk import Tally, Walk, is_image, on_disk
from histokit.errors import DataError, UsageError, did_you_mean
from histokit.plugin.dataset import Role

_FIELD = re.compile(r"\{([^{}]*)\}")


class ImageFinder:
    """Finds images in a folder; it is walked through once, and only where an image is not where it is said to be.

    Parameters
    ----------
    root : Path
        The dataset's.
    folder : str
        Of the images, relative to the root; empty where they may be anywhere in it. A field in braces stands for what
        the pattern of the annotations takes of a file's path.
    fields : sequence of str
        That the pattern of the annotations has.

    Attributes
    ----------
    by_name : Tally
        Images that are not at the path that annotations say, and were found by their name alone.

    Raises
    ------
    UsageError
        If the folder has other fields.
    """

    def __init__(self, root: Path, folder: str, fields: Sequence[str] = ()):
        self.root, self.folder = root, folder.strip("/")
        self.by_name = Tally()
        self._fields = _FIELD.findall(self.folder)
        self._found: dict[tuple[str, Path], str | None] = {}
        self._taken: dict[str, str] = {}
        self._lists: dict[str, dict[str, list[str]]] = {}
        for name in self._fields:
            if name not in fields:
                there = f"It has: {', '.join(fields)}." if fields else "Name one, such as 'instances_{split}2017.json'."
                raise UsageError(
                    f"The option images={folder!r} has a field {name!r} that the pattern of the annotations lacks.",
                    next=f"{did_you_mean(name, fields)}{there}",
                )

    def find(self, name: str, file: AnnotationFile) -> str | None:
        """Return the path of an image relative to the root, none where it is not there.

        Of images of one name, that in a folder of the same part of a split is meant; one of another part never is.

        Parameters
        ----------
        name : str
            A path or a name; without its suffix, maybe.
        file : AnnotationFile
            Where it is said.

        Raises
        ------
        DataError
            If several images may be meant.
        """
        # As Windows writes paths.
        name = tidy_text(name).replace("\\", "/")
        key = name, file.path
        if key not in self._found:
            folder = _FIELD.sub(lambda field: file.fields[field[1]], self.folder) if self._fields else self.folder
            self._found[key] = self._at_its_path(name, folder, file) or self._by_name(name, folder, file)
        return self._found[key]

    def _at_its_path(self, name: str, images: str, file: AnnotationFile) -> str | None:
        path = PurePosixPath(name)
        for folder in dict.fromkeys([images, *([] if images else [file.folder])]):
            # A path of another machine is none here, and one that leads out of the root is none of the dataset.
            parts = _parts([*PurePosixPath(folder).parts, *path.parts]) if not path.is_absolute() else None
            found = on_disk(self.root, "/".join(parts)) if parts and is_image(parts[-1]) else None
            if found is not None and (self.root / found).is_file():
                return found
        return None

    def _by_name(self, name: str, folder: str, file: AnnotationFile) -> str | None:
        path = PurePosixPath(name)
        elsewhere = str(path) != path.name
        for wanted in dict.fromkeys([path.name, *_stems(path.name)]):
            found = _of_part(self._listed(folder).get(wanted, []), folder, file.role_of(name))
            here = [p for p in found if str(PurePosixPath(p).parent) == (file.folder or ".") and not elsewhere]
            if len(found) > 1 and len(here) != 1:
                raise DataError(
                    f"The image {name!r} of annotations in {file.folder or '.'!r} may be {found[0]!r} or {found[1]!r}.",
                    next="Name the folder of the images with -o images=FOLDER, in which fields of the pattern of the "
                    "annotations may stand, such as '{split}', or rename one of them.",
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

    def _listed(self, folder: str) -> dict[str, list[str]]:
        """Return the images in a folder by their names, and by what is left without their suffixes."""
        if folder not in self._lists:
            listed = self._lists[folder] = {}
            for path in self._walked(folder):
                name = tidy_text(PurePosixPath(path).name)
                for each in dict.fromkeys([name, *_stems(name)]):
                    listed.setdefault(each, []).append(path)
        return self._lists[folder]

    def _walked(self, folder: str) -> Iterator[str]:
        # One part of a dataset may have been left on another disk: its images are missing, and counted.
        if self._fields and not (self.root / folder).is_dir():
            return
        for path in Walk(self.root / folder).files():
            if is_image(path):
                yield f"{folder}/{path}" if folder else path


def _of_part(paths: list[str], folder: str, role: Role | None) -> list[str]:
    """Return the images of a part of a split, and those of none; of several, the former alone."""
    if role is None:
        return paths
    said = [(path, role_in(str(PurePosixPath(path[len(folder) :]).parent))) for path in paths]
    return [path for path, of in said if of == role] or [path for path, of in said if of is None]


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
