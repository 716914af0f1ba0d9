"""Images as files hold them, inside other files."""

from __future__ import annotations

import io
from abc import abstractmethod

from histokit.datasets.containers.container import Container
from histokit.plugin.digests import digest_bytes
from histokit.plugin.images import Pixels, decode_image
from histokit.plugin.netpbm import HEAD
from histokit.plugin.raw_images import RawImage
from histokit.plugin.raw_numbers import as_stored, numbers_mark
from histokit.plugin.reader_marks import deep_netpbm_mark
from histokit.plugin.sample_pixels import ChannelSource, from_16_bits
from histokit.plugin.tiff import tiff_layout
from histokit.plugin.tiff_images import TiffImages
from histokit.plugin.tiff_tags import byte_order
from histokit.plugin.usual_readers import of_colours


class EncodedImages(Container):
    """A file of image files, which are read as those in folders are."""

    @abstractmethod
    def _data(self, part: str) -> bytes:
        """Return the bytes of an image file.

        Raises
        ------
        DataError
            If they are damaged or not there.
        """

    def part_digest(self, part: str) -> bytes:
        """Return the digest of the bytes of an image."""
        return encoded_digest(self._data(part))

    def raw(self, part: str) -> RawImage:
        """Return an image as its file holds it: of TIFF all channels and any numbers, of others red, green and blue."""
        data, name = self._data(part), self.called(part)
        if byte_order(data):
            return TiffImages().decode(data, name)
        return as_stored(of_colours(lambda: decode_image(data, name, deep=True)), data, lambda: data)

    def pixels(self, part: str, source: ChannelSource) -> Pixels:
        """Return an image, decoded as a file is."""
        name, bits = self.called(part), source.bits
        if source.plain:
            return from_16_bits(decode_image(self._data(part), name, bits, deep=True), bits)
        raw = self.raw(part)
        return from_16_bits(source.intensities(source.chosen(raw, name), raw.bits, name), bits)


def encoded_digest(data: bytes) -> bytes:
    """Return the digest of an image file, which changes where the file is read otherwise than it once was."""
    layout = tiff_layout(io.BytesIO(data)) if byte_order(data) else None
    head = data[:HEAD]
    return digest_bytes(data, layout.mark if layout else numbers_mark(head) + deep_netpbm_mark(head))
