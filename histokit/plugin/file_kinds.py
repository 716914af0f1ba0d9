"""What a file that should hold weights is, by what stands in it: names of files promise much."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import NamedTuple, NoReturn

from histokit.errors import DataError, some
from histokit.files import refuse_odd
from histokit.plugin.signatures import HEAD, is_text, sentence, stand_in, text_of

TORCH = "torch"
SAFETENSORS = "safetensors"
CAFFE = "caffe"

_AGAIN = "Get the file again."
_OTHER = "Convert it to a state_dict of torch, or give another file."
_UNPACK = "Unpack it, and give the file of weights in it."
_CUT = "Get the file again; it is cut short."


class _Kind(NamedTuple):
    """How files of a kind begin, what they are, and what to do about it."""

    begins: bytes
    what: str
    next: str = _OTHER


_KINDS = (
    _Kind(b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes it"),
    _Kind(b"\x93NUMPY", "a NumPy array"),
    _Kind(b"GGUF", "a GGUF file"),
    _Kind(b"PAR1", "a Parquet file"),
    _Kind(b"\x89PNG", "a PNG image", _AGAIN),
    _Kind(b"\xff\xd8\xff", "a JPEG image", _AGAIN),
    _Kind(b"model_checkpoint_path:", "the list of a TensorFlow checkpoint's files"),
    _Kind(b"\x08\x01\x10", "an image of Caffe, as its mean files are", "Write --preprocess mean=FILE.binaryproto"),
)
_TEXTS = (
    _Kind(b"<", "an HTML page, not the file behind it", "Get the file itself; its page may ask for a login first."),
    _Kind(b"{", "a JSON text, no tensors", "Give the file of weights that it belongs to."),
    _Kind(b"[", "a JSON text, no tensors", "Give the file of weights that it belongs to."),
)

#: The last bytes of a table as TensorFlow's checkpoints are.
_SORTED_TABLE = bytes.fromhex("57fb808b247547db")
#: How torch.save marked its files before they were zip archives.
_MAGIC_NUMBER = bytes.fromhex("8a0a6cfc9c46f9206aa85019")
_JIT = "Save its tensors alone: torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth')"


def recognise(path: Path) -> str:
    """Return ``torch``, ``safetensors`` or ``caffe``, whatever the file is called.

    Raises
    ------
    DataError
        If it is something else, which is named, or cut short.
    """
    if path.is_dir():
        _refuse(path, "a folder", "Name a file in it.")
    refuse_odd(path)
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
            size = file.seek(0, 2)
            file.seek(max(0, size - len(_SORTED_TABLE)))
            tail = file.read()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).", next="Check its permissions.") from error
    if not head.strip(b"\0"):
        _refuse(path, "empty" if not size else "full of zeros, as downloads are that did not end", _AGAIN)
    if _is_safetensors(path, head, size):
        return SAFETENSORS
    if head.startswith(b"PK"):
        return _recognise_zip(path)
    if _is_caffe(head):
        return CAFFE
    if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        if _MAGIC_NUMBER in head[:64]:
            return TORCH
        _refuse(path, "a Python pickle that torch.save did not write", "Save tensors: torch.save(STATE_DICT, FILE)")
    _name_other(path, head, tail)


def _is_safetensors(path: Path, head: bytes, size: int) -> bool:
    length = int.from_bytes(head[:8], "little")
    if head[8:9] != b"{" or length >= 1 << 40:
        return False
    if size < 8 + length:
        _refuse(path, "the beginning of a safetensors file", _CUT)
    return True


def is_caffe(path: Path) -> bool:
    """Return whether a file is a network of Caffe, without a word about what else it may be."""
    try:
        return recognise(path) == CAFFE
    except DataError:
        return False


def _is_caffe(head: bytes) -> bool:
    """Return whether a file begins with the name of a network of Caffe, or none, and what follows it there."""
    if is_text(head):
        return False
    named = head[:1] == b"\n" and len(head) > 1
    name = head[2 : 2 + head[1]] if named else b""
    if any(letter < 32 for letter in name):
        return False
    rest = head[2 + len(name) :] if named else head
    if named:
        # Layers, old or new; the inputs of the network; its state.
        return rest.startswith((b"\x12", b"\xa2\x06", b"\x1a", b"\x32"))
    return rest.startswith(b"\xa2\x06") or bool(re.match(rb"\x12(?:[\x80-\xff]*)[\0-\x7f][\x0a\x12\x1a\x22]", rest))


def _recognise_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        _refuse(path, "a zip archive (as torch.save writes) whose end is missing", _CUT)
    last = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in last:
        _refuse(path, "a TorchScript archive, which holds code", _JIT)
    if "data.pkl" in last:
        return TORCH
    if "model.weights.h5" in last:
        _refuse(path, "a model of Keras", _OTHER)
    if names and all(name.endswith(".npy") for name in names):
        _refuse(path, "an archive of NumPy arrays", _OTHER)
    _refuse(path, f"a zip archive of {some(names, 3) or 'nothing'}", _UNPACK)


def _name_other(path: Path, head: bytes, tail: bytes) -> NoReturn:
    if found := stand_in(head):
        _refuse(path, found.what, sentence(found.advice))
    text = text_of(head)
    for kinds, start in ((_KINDS, head), (_TEXTS, text)):
        for kind in kinds:
            if start.startswith(kind.begins):
                _refuse(path, kind.what, kind.next)
    if tail == _SORTED_TABLE or re.search(r"\.data-\d{5}-of-\d{5}$", path.name):
        _refuse(path, "part of a TensorFlow checkpoint", _OTHER)
    if head[4:8] == b"TFL3":
        _refuse(path, "a TensorFlow Lite model", _OTHER)
    if head[257:262] == b"ustar":
        _refuse(path, "a tar archive", _UNPACK)
    # The first fields of a model: the version of its format, then who wrote it, its graph or its operators.
    if path.suffix == ".onnx" or re.match(rb"\x08[\x01-\x1f][\x12\x1a\x3a\x42]", head):
        _refuse(path, "an ONNX model", _OTHER)
    if path.suffix == ".pb":
        _refuse(path, "a graph of TensorFlow", _OTHER)
    if path.suffix == ".solverstate":
        _refuse(path, "the state of Caffe's solver, without weights", "Give the .caffemodel that lies beside it.")
    if text and is_text(text):
        _refuse(path, f"a text that begins with {text.decode()[:40]!r}", _AGAIN)
    _refuse(path, "of no known format for weights", "Give a file of torch.save, a .safetensors file or a .caffemodel.")


def _refuse(path: Path, what: str, advice: str) -> NoReturn:
    raise DataError(f"{path} is {what}.", next=advice)
