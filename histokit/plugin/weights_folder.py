"""The folder that ``$HISTOKIT_WEIGHTS`` names: which of its files is of a network, and which is not taken and why."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from glob import escape
from pathlib import Path
from typing import NamedTuple

from histokit.errors import StoreError, some
from histokit.files import refuse_undecoded

#: Environment variable that names a folder of weights files.
FOLDER_VARIABLE = "HISTOKIT_WEIGHTS"
#: How files of weights usually end; what they are is read in them.
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".pth.tar", ".caffemodel")


def in_folder(name: str, tag: Callable[[], str | None] = lambda: None) -> Path | None:
    """Return ``$HISTOKIT_WEIGHTS/NAME.safetensors``, or ``NAME.TAG.safetensors`` with the tag that the name stands for.

    ``:`` and ``/`` of the name are ``.`` in the file's. The first of the two goes first. A file with any other tag
    holds other weights, which may want other preprocessing: it is not taken.

    Parameters
    ----------
    tag : callable, optional
        Returns the tag of the weights that the name stands for; called only where files have tags.

    Raises
    ------
    StoreError
        If the variable names no folder.
    """
    folder = weights_folder()
    if folder is None:
        return None
    exact = folder / f"{file_stem(name)}.safetensors"
    if exact.is_file():
        return exact
    if not any(folder.glob(f"{escape(file_stem(name))}.*.safetensors")):
        return None
    tagged = folder / f"{file_stem(name)}.{tag()}.safetensors"
    return tagged if tagged.is_file() else None


def named_folder() -> str:
    """Return what ``$HISTOKIT_WEIGHTS`` says; empty where it is not set.

    Raises
    ------
    StoreError
        If it is not valid UTF-8.
    """
    folder = os.environ.get(FOLDER_VARIABLE, "")
    refuse_undecoded(folder, FOLDER_VARIABLE, StoreError, next=f"Rename the folder, or: unset {FOLDER_VARIABLE}")
    return folder


def weights_folder() -> Path | None:
    """Return the folder that ``$HISTOKIT_WEIGHTS`` names, or none where it is not set.

    Raises
    ------
    StoreError
        If it is no folder.
    """
    folder = named_folder()
    if not folder:
        return None
    if not Path(folder).is_dir():
        raise StoreError(f"{FOLDER_VARIABLE}={folder} is not a folder.", next=f"Mend it, or: unset {FOLDER_VARIABLE}")
    return Path(folder)


class Stray(NamedTuple):
    """A file in ``$HISTOKIT_WEIGHTS`` that begins with a network's name, and what follows that name.

    `published` says whether the library knows the tag, and so how images are prepared for it.
    """

    file: Path
    name: str
    tag: str
    published: bool = False

    def __str__(self) -> str:
        plain = "no tag" if self.file.suffix == ".safetensors" else "no .safetensors file"
        return f"{self.file.name} ({f'tag {self.tag!r}' if self.tag else plain})"


def strays(names: Sequence[str]) -> list[Stray]:
    """Return the files in ``$HISTOKIT_WEIGHTS`` that begin with a network's name, with any tag or suffix."""
    folder = weights_folder()
    if folder is None:
        return []
    found: dict[Path, Stray] = {}
    for name in [short for long in names for short in (long, long.partition(".")[0])]:
        stem = file_stem(name)
        for file in sorted(folder.glob(f"{escape(stem)}.*")):
            suffix = next((s for s in reversed(SUFFIXES) if file.name.endswith(s)), None)
            if suffix is not None:
                tag = file.name.removesuffix(suffix)[len(stem) + 1 :]
                found.setdefault(file, Stray(file, name.partition(",")[0], tag))
    return list(found.values())


def file_stem(name: str) -> str:
    """Return how a file of a network's weights is called, without tag and suffix."""
    return name.partition(",")[0].replace(":", ".").replace("/", ".")


def lying(left: Sequence[Stray]) -> str:
    """Return a sentence about files that were not taken."""
    if not left:
        return ""
    verb, listed = "lies" if len(left) == 1 else "lie", some([str(stray) for stray in left], 3)
    return f" In {left[0].file.parent} {verb} {listed}, not taken: neither asked for nor of the default weights."


def supply(name: str, left: Sequence[Stray] = (), statistics: str = "") -> str:
    """Return what to do for a network to have weights, in words.

    Parameters
    ----------
    name : str
        Builder options included.
    left : sequence of Stray
        Files that were not taken.
    statistics : str
        Options that say how images are prepared for such a network, to go by.
    """
    for stray in left:
        options = name.partition(",")[2]
        tagged = f"{stray.name}.{stray.tag}" + (f",{options}" if options else "")
        asked = f"name the tag: --backbone {tagged}; or " if stray.published else ""
        values = ", with the values that it was trained with; these are of the library's default weights"
        told = f" {statistics}{values}" if statistics else ""
        return f"{asked}take the file: --weights {stray.file}{told}"
    folder = os.environ.get(FOLDER_VARIABLE)
    filename = f"{file_stem(name)}.safetensors"
    place = Path(folder, filename) if folder else f"${FOLDER_VARIABLE}/{filename}"
    return f"supply a file: --weights FILE (among several networks --weights {name}=FILE), or put it at {place}"
