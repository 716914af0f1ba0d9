"""The image folders: each listed once, whatever the number of rows that ask for an image."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

#: Where images lie: as archives are unpacked into one folder, or each into its own. The root is not listed to find out.
_ARCHIVES = [f"images_part_{number}{kind}" for number in range(1, 8) for kind in ("", "_resized")]
_FOLDERS = ("quilt_1m", "images", *(f"{archive}/quilt_1m" for archive in _ARCHIVES), *_ARCHIVES, ".")
_SUFFIXES = (".jpg", ".jpeg", ".png")


class Images:
    """The images under a root, by name; a million takes 9 megabytes, for only hashes of names are kept.

    Parameters
    ----------
    root : Path
    folders : sequence of str
        Relative to the root; where the archives unpack to, if there are none.
    """

    def __init__(self, root: Path, folders: Sequence[str]):
        self.folders = list(folders) or [folder for folder in _FOLDERS if (root / folder).is_dir()]
        keys = [np.fromiter(map(hash, _names(root / folder)), np.int64) for folder in self.folders]
        places = [np.full(len(each), number, np.int16) for number, each in enumerate(keys)]
        joined = np.concatenate([np.empty(0, np.int64), *keys])
        self._keys, first = np.unique(joined, return_index=True)
        self._folders = np.concatenate([np.empty(0, np.int16), *places])[first]
        #: Images that lie in a second folder too.
        self.again = len(joined) - len(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, names: Sequence[str | None]) -> list[int]:
        """Return the number of each image, from 0, or -1 where there is none."""
        wanted = np.fromiter(map(hash, names), np.int64, len(names))
        found = np.minimum(np.searchsorted(self._keys, wanted), max(0, len(self) - 1))
        here: npt.NDArray[np.bool_] = self._keys[found] == wanted if len(self) else np.zeros(len(names), bool)
        return np.where(here & np.array([name is not None for name in names], bool), found, -1).tolist()

    def path(self, number: int, name: str) -> str:
        """Return where an image lies, relative to the root."""
        folder = self.folders[self._folders[number]]
        return name if folder == "." else f"{folder}/{name}"


def _names(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        yield from (entry.name for entry in entries if entry.name.lower().endswith(_SUFFIXES))
