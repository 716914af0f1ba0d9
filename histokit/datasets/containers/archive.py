"""What archives of images have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from histokit.datasets.containers.archive_members import Members
from histokit.datasets.containers.container import Container, ContainerOptions
from histokit.datasets.containers.encoded import encoded_digest
from histokit.errors import DataError
from histokit.plugin.images import Pixels, decode_image
from histokit.plugin.sample_pixels import from_16_bits


class Archive(Container):
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

    def part_digest(self, part: str) -> bytes:
        """Return the digest of an image file."""
        return encoded_digest(self._data(part))

    def _data(self, part: str) -> bytes:
        try:
            return self.members.read(part)
        except KeyError as error:
            raise DataError(
                f"The archive {str(self.file)!r} holds no {part!r} any more.", next="Ingest it again."
            ) from error
        except DataError as error:
            raise DataError(f"{part!r}: {error.message}", next=error.next) from error

    def pixels(self, part: str) -> Pixels:
        """Return an image, decoded as a file is."""
        return from_16_bits(
            decode_image(self._data(part), f"{self.path}/{part}", self.options.bits, deep=True), self.options.bits
        )
