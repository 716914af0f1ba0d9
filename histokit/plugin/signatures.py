"""What a file is by its first bytes, where it is not what its name promises."""

from __future__ import annotations

import codecs
import os
import re
from contextlib import suppress
from typing import BinaryIO, NamedTuple

from histokit.errors import DataError

#: So many of the first bytes tell.
HEAD = 1024

_POINTER = "a pointer of Git LFS, not the file that it stands for"
_PULL = "run git lfs pull"
_PAGE = "an HTML page, not the file behind it"
_BEHIND = "get the file itself; its page may ask for a login first"
UNPACK = "unpack it, and give the file in it"
AGAIN = "get the file again"
_THEN = "then ingest the dataset again"
_REPLACE = f"Replace the file, {_THEN}."


class Signature(NamedTuple):
    """How files of a kind begin, what they are, and what to do about it: nothing where that depends on what was meant.

    Parameters
    ----------
    begins : bytes
        Of a text in lower case.
    what : str
    advice : str
        As the end of a sentence.
    at : int
        Where it stands.
    """

    begins: bytes
    what: str
    advice: str = ""
    at: int = 0

    def fits(self, head: bytes) -> bool:
        """Return whether a file that begins so is of this kind."""
        return head.startswith(self.begins, self.at)


#: What stands in the place of a file, whatever the file should be.
_TEXTS = (
    Signature(b"version https://git-lfs", _POINTER, _PULL),
    # As Git LFS wrote them before its first version, and its forerunner.
    Signature(b"version https://hawser", _POINTER, _PULL),
    Signature(b"version http://git-media", _POINTER, _PULL),
    Signature(b"# git-media", _POINTER, _PULL),
    Signature(b"/annex/objects/", "a pointer of git-annex, not the file that it stands for", "run git annex get FILE"),
    Signature(b"<!doctype html", _PAGE, _BEHIND),
    Signature(b"<html", _PAGE, _BEHIND),
)
_BINARY = (
    Signature(b"\x00\x05\x16\x07", "what macOS keeps beside a file of this name", "delete it"),
    Signature(b"%PDF", "a PDF document", AGAIN),
)
#: What stands around a file.
_PACKED = (
    Signature(b"\x1f\x8b", "a gzip archive", UNPACK),
    Signature(b"1AY&SY", "a bzip2 archive", UNPACK, at=4),
    Signature(b"\xfd7zXZ\x00", "an xz archive", UNPACK),
    Signature(b"\x28\xb5\x2f\xfd", "a Zstandard archive", UNPACK),
    Signature(b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    Signature(b"Rar!", "a RAR archive", UNPACK),
)
#: Names that say so.
_SAID = (".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".7z", ".rar")
#: Images and what holds them, by whichever program.
_IMAGES = (
    Signature(b"\xff\x0a", "a JPEG XL image"),
    Signature(b"\x00\x00\x00\x0cJXL ", "a JPEG XL image"),
    *(Signature(b"ftyp" + brand, "an AVIF image", at=4) for brand in (b"avif", b"avis")),
    *(Signature(b"ftyp" + brand, "an HEIC image", at=4) for brand in (b"hei", b"hev", b"mif1", b"msf1")),
    Signature(b"ftyp", "a video, or another file of MP4", at=4),
    Signature(b"8BPS", "a Photoshop document"),
    Signature(b"ZISRAWFILE", "a CZI file of Zeiss"),
    Signature(b"\xda\xce\xbe\x0a", "an ND2 file of Nikon"),
    Signature(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a compound file, as OIB, ZVI and old Office documents are"),
    Signature(b"DICM", "a DICOM file", at=128),
    Signature(b"\x93NUMPY", "a NumPy array"),
    Signature(b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    Signature(b"PAR1", "a Parquet file"),
    Signature(b"NRRD000", "an NRRD file"),
    Signature(b"%!PS", "a PostScript document"),
    Signature(b"PK\x03\x04", "a zip archive", UNPACK),
    Signature(b"ustar", "a tar archive", UNPACK, at=257),
)
_DRAWINGS = (Signature(b"<svg", "an SVG drawing"), Signature(b"<?xml", "an XML text"))
_ZEROS = Signature(b"", "full of zeros, as downloads are that did not end", AGAIN)


def text_of(head: bytes) -> bytes:
    """Return a text in UTF-8, without its mark and the blanks before it; empty for what is none."""
    marks = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
    mark, encoding = next(((mark, name) for mark, name in marks if head.startswith(mark)), (b"", "utf-8"))
    try:
        # The head may end inside a letter.
        return codecs.getincrementaldecoder(encoding)().decode(head[len(mark) :]).lstrip().encode()
    except UnicodeDecodeError:
        return b""


def is_text(head: bytes) -> bool:
    """Return whether there is no control character but those of lines and tabs."""
    return not re.search(rb"[\0-\x08\x0e-\x1f]", head)


def stand_in(head: bytes, packed: bool = True) -> Signature | None:
    """Return what stands in the place of a file, or around it, whatever the file should be.

    Parameters
    ----------
    head : bytes
        The first `HEAD` bytes of a file, or fewer where it is shorter.
    packed : bool
        Whether an archive is such a thing.

    Returns
    -------
    Signature, optional
        With advice.
    """
    if head and not head.strip(b"\0"):
        return _ZEROS
    found = _of(_BINARY, head) or text_in_place(head)
    return found or (_of(_PACKED, head) if packed else None)


def text_in_place(head: bytes) -> Signature | None:
    """Return which text stands in the place of an image, such as a pointer of Git LFS, or none."""
    return _of(_TEXTS, text_of(head).lower())


def refuse_stand_in(path: str | os.PathLike[str]) -> None:
    """Raise where something else stands in the place of a file that could not be read.

    Raises
    ------
    DataError
    """
    with suppress(OSError), open(path, "rb") as file:
        head = file.read(HEAD)
        packed = not os.fspath(path).lower().endswith(_SAID)
        if found := stand_in(head, packed):
            raise DataError(f"The file {os.fspath(path)!r} is {found.what}.", next=sentence(found.advice))


def not_an_image(name: str, file: BinaryIO) -> DataError:
    """Return the error on a file that no decoder of images knows.

    Parameters
    ----------
    name : str
        What it is called in messages.
    file : binary file
        Which is read from its beginning.
    """
    file.seek(0)
    head = file.read(HEAD)
    text = text_of(head)
    if not head:
        return DataError(f"{name} is empty.", next=_REPLACE)
    if found := stand_in(head):
        return DataError(f"{name} is not an image but {found.what}.", next=sentence(f"{found.advice}, {_THEN}"))
    if found := _of(_IMAGES, head) or _of(_DRAWINGS, text):
        advice = found.advice or "save it as PNG or TIFF"
        return DataError(f"{name} is {found.what}, which is not read as an image.", next=sentence(f"{advice}, {_THEN}"))
    what = f" but a text that begins with {text.decode()[:40]!r}" if text and is_text(text) else ""
    return DataError(f"{name} is not an image{what}.", next=_REPLACE)


def sentence(advice: str) -> str:
    """Return advice as a sentence of its own."""
    return f"{advice[0].upper()}{advice[1:]}."


def _of(signatures: tuple[Signature, ...], head: bytes) -> Signature | None:
    return next((signature for signature in signatures if signature.fits(head)), None)
