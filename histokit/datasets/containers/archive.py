"""What archives of images have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from histokit.datasets.containers.archive_members import Members
from histokit.datasets.containers.container import ContainerOptions
from histokit.datasets.containers.encoded import EncodedImages, encoded_digest
from histokit.errors import DataError


class Archive(EncodedImages):
    """A file of many files, some of which are images.

    Parameters
    ----------
    members : Members
    root, path, options
        As of `Container`.
    """

    def __init__(self, members: Members, root: Path, path: str, options: ContainerOptions):
        super().__init__(root, path, options)
        self.members = members

    def image_names(self) -> Sequence[str]:
        """Return the members that are samples."""
        raise NotImplementedError

    @cached_property
    def _positions(self) -> Mapping[str, int]:
        return {name: place for place, name in enumerate(self.image_names())}

    def position(self, part: str) -> int:
        """Return the place of a member among those that are samples."""
        return self._positions[part]

    def part_digests(self) -> Iterator[bytes]:
        """Yield a digest of each image file; nothing for one that is damaged."""
        for name in self.image_names():
            try:
                yield encoded_digest(self.members.read(name))
            except DataError:
                yield b""

    def _data(self, part: str) -> bytes:
        try:
            return self.members.read(part)
        except KeyError as error:
            raise DataError(
                f"The archive {str(self.file)!r} holds no {part!r} any more.", next="Ingest it again."
            ) from error
        except DataError as error:
            raise DataError(f"{part!r}: {error.message}", next=error.next) from error

    def called(self, part: str) -> str:
        """Return the name of a member with that of the archive."""
        return f"{self.path}/{part}"
