"""Which files are containers, and what opens them."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from histokit.datasets.containers.archive_members import TarMembers, ZipMembers
from histokit.datasets.containers.archives import archive_opener
from histokit.datasets.containers.container import Container, ContainerOptions
from histokit.datasets.containers.hdf5 import open_hdf5
from histokit.datasets.containers.numpy_files import open_npy, open_npz
from histokit.datasets.containers.parquet_images import ParquetImages
from histokit.datasets.containers.stack_container import StackContainer
from histokit.datasets.containers.stack_names import is_of_labels, partners
from histokit.datasets.containers.zarr_folder import is_zarr, open_zarr
from histokit.datasets.walk import Walk, absence
from histokit.errors import DataError
from histokit.files import suffix_of
from histokit.plugin.digests import FileState, joint_state, state_of

#: How a kind of container is opened.
KINDS: Mapping[str, Callable[[Path, str, ContainerOptions], Container]] = {
    ".npz": partial(StackContainer, open_npz),
    ".npy": partial(StackContainer, open_npy),
    ".h5": partial(StackContainer, open_hdf5),
    ".hdf5": partial(StackContainer, open_hdf5),
    ".zarr": partial(StackContainer, open_zarr),
    ".parquet": ParquetImages,
    ".pq": ParquetImages,
    ".zip": archive_opener(ZipMembers),
    ".tar": archive_opener(TarMembers),
}

#: What is compressed as a whole, so that no part can be read by itself.
PACKED = (".gz", ".bz2", ".xz", ".zst", ".tgz", ".7z", ".rar")

_OPEN = 8


class OpenContainers:
    """The containers that were opened last; each process opens its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: With the state of all its files.
        self._opened: OrderedDict[tuple[str, FileState], tuple[Container, FileState]] = OrderedDict()

    def __reduce__(self) -> tuple[type[OpenContainers], tuple[()]]:
        return OpenContainers, ()

    def get(self, root: Path, path: str, options: ContainerOptions) -> Container:
        """Return a container, opened unless it was already and has not changed since."""
        # Texts, because paths as objects take longer than what is read of a small image.
        full = os.path.join(root, path)
        key = path, state_of(os.stat(full))
        with self._lock:
            known = self._opened.get(key)
            if known is None or joint_state(full, known[0].files_beside()) != known[1]:
                container = KINDS[kind_of(root / path)](root, path, options)
                known = self._opened[key] = container, joint_state(full, container.files_beside())
                if len(self._opened) > _OPEN:
                    self._opened.popitem(last=False)
            self._opened.move_to_end(key)
            return known[0]


def kind_of(file: str | os.PathLike[str]) -> str:
    """Return the suffix under which a file, or a folder that is one, stands in `KINDS`; nothing for others."""
    if os.path.isdir(file):
        return ".zarr" if is_zarr(file) else ""
    suffix = suffix_of(os.fspath(file))
    return suffix if suffix in KINDS and suffix != ".zarr" else ""


def containers_in(walk: Walk, files: tuple[str, ...], labels: tuple[str, ...]) -> list[str]:
    """Return the paths of containers in a folder, relative to it and in order, but those that hold labels.

    Parameters
    ----------
    walk : Walk
        Through the folder, for which a folder of zarr is one.
    files : tuple of str
        Patterns of those that are meant; all where there are none.
    labels : tuple of str
        Those that an option names as files of labels.

    Raises
    ------
    DataError
        If there is none, a pattern fits none, or there is no such folder.
    """
    root = walk.root
    if not root.is_dir():
        raise _no_folder(root)
    every = [path for path in walk.files() if kind_of(root / path)]
    met: set[str] = set()
    found = []
    named = {f"{place}{text.replace('{name}', '*')}" for text in labels for place in ("", "*/")}
    for path in every:
        fitting = [text for text in files if path == text or fnmatchcase(path, text)]
        met.update(fitting)
        if fitting or not (files or _holds_labels(path, every) or any(fnmatchcase(path, text) for text in named)):
            found.append(path)
    for text in files:
        if text not in met:
            listed = ", ".join(every[:8]) or "none"
            raise DataError(f"There is no file {text!r} in {str(root)!r}.", next=f"There are: {listed}.")
    if not every:
        raise _nothing(root)
    return found


def _no_folder(root: Path) -> DataError:
    hint = f"Give a file of {', '.join(KINDS)}, or a folder that holds some."
    if not root.is_file():
        return DataError(f"The file or folder {str(root)!r} {absence(root)}.", next=hint)
    unpack = "Unpack it first. " if suffix_of(str(root)) in PACKED else ""
    return DataError(f"The file {str(root)!r} is none that holds images.", next=unpack + hint)


def _holds_labels(path: str, every: list[str]) -> bool:
    """Whether a file holds the labels of another one, by its name."""
    place = Path(path)
    if not is_of_labels(place.stem):
        return False
    others = (Path(other) for other in every if other != path)
    return any(
        place.stem in partners(other.stem)
        for other in others
        if (other.parent, other.suffix) == (place.parent, place.suffix)
    )


def _nothing(root: Path) -> DataError:
    packed = next((name for name in sorted(os.listdir(root)) if suffix_of(name) in PACKED), None)
    kinds = ", ".join(KINDS)
    return DataError(
        f"The folder {str(root)!r} holds no file of {kinds}.",
        next=f"Unpack {packed} first." if packed else "Give such a file, or a folder that holds some.",
    )
