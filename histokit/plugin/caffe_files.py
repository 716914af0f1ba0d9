"""Networks and mean images as Caffe writes them, read from their protocol buffers without Caffe.

Caffe's networks take blue, green and red; here and everywhere behind, the first convolution takes red, green and blue.
That pixels go from 0 to 255 is said by the preprocessing, whose std is 1/255.

References
----------
The messages ``NetParameter``, ``LayerParameter``, ``V1LayerParameter``, ``V0LayerParameter``, ``BlobProto`` and
``BlobShape`` of Caffe's ``caffe.proto``; the encoding of protocol buffers.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from histokit.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

MEAN_SUFFIX = ".binaryproto"

_VARINT, _EIGHT, _DELIMITED, _FOUR = 0, 1, 2, 5
_WIDTHS = {_EIGHT: 8, _FOUR: 4}
#: Numbers that each have a key of their own are gathered so many at a time.
_RUN = 1 << 16


class _MalformedError(ValueError):
    """What is no protocol buffer, or ends too early."""


@dataclass(frozen=True)
class _Message:
    """Numbers of the fields of a message that describes a layer: its name, its type and its blobs."""

    name: int
    kind: int
    blobs: int


#: Field of a network → the message of its layers; the oldest ones lie one message deeper.
_LAYERS = {100: _Message(1, 2, 7), 2: _Message(4, 5, 6)}
_OLDEST_FIELD, _OLDEST = 1, _Message(1, 2, 50)
#: What a fully connected layer is called in each of the three.
_INNER_PRODUCT = (b"InnerProduct", 14, b"innerproduct")
_BLOB_SIDES, _BLOB_FLOATS, _BLOB_SHAPE, _BLOB_DOUBLES = (1, 2, 3, 4), 5, 7, 8


def read_caffemodel(path: Path) -> dict[str, Tensor]:
    """Read the weights of a ``.caffemodel`` of any age.

    Returns
    -------
    dict
        ``LAYER.weight``, ``LAYER.bias``, and ``LAYER.2`` and so on for what else a layer has → float32 Tensor. The
        input channels of the first convolution of three are in the order red, green, blue.

    Raises
    ------
    DataError
        If the file is cut short, damaged, or has numbers that are not those of its shapes.
    """
    import torch

    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        # Copied here, because what is mapped cannot be closed while anything still looks at it.
        try:
            found = {name: numbers.astype(np.float32) for name, numbers in _tensors(memoryview(mapped))}
        except _MalformedError as error:
            reason = str(error)
        else:
            reason = ""
    if reason:
        raise DataError(f"{path} cannot be read as a network of Caffe: {reason}.", next="Get the file again.")
    return {name: torch.from_numpy(numbers) for name, numbers in _in_rgb(found).items()}


def read_mean(path: Path) -> tuple[float, ...]:
    """Read the mean of each channel of a mean image (``.binaryproto``), or of a blob of mean values.

    Returns
    -------
    tuple of float
        On a scale of 0 to 1; three channels in the order red, green, blue.

    Raises
    ------
    DataError
        If it holds no image, or values that are not of a scale of 0 to 255.
    """
    try:
        with path.open("rb") as file:
            numbers = _blob(memoryview(file.read()))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).", next="Check its name and permissions.") from error
    except _MalformedError as error:
        raise DataError(f"{path} cannot be read as a mean image of Caffe: {error}.", next="Get it again.") from error
    one_image = numbers.ndim in (1, 3) or (numbers.ndim == 4 and len(numbers) == 1)
    if not one_image or not numbers.size:
        raise DataError(f"{path} holds numbers of the shape {numbers.shape}, no mean image.", next="Give another file.")
    channels = numbers.shape[-3] if numbers.ndim > 1 else len(numbers)
    means = numbers.reshape(channels, -1).mean(axis=1, dtype=np.float64)
    if not (np.isfinite(means).all() and means.min() >= 0 and means.max() <= 255):
        listed = ", ".join(f"{value:g}" for value in means)
        raise DataError(f"{path} has the means {listed}, not of a scale of 0 to 255.", next="Give another file.")
    return tuple(round(float(value) / 255, 6) for value in (means[::-1] if len(means) == 3 else means))


def _in_rgb(found: Mapping[str, npt.NDArray[np.float32]]) -> dict[str, npt.NDArray[np.float32]]:
    first = next((name for name, numbers in found.items() if numbers.ndim == 4), None)
    if first is None or found[first].shape[1] != 3:
        return dict(found)
    return {**found, first: np.ascontiguousarray(found[first][:, ::-1])}


def _tensors(network: memoryview) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    for number, kind, value in _fields(network):
        if number in _LAYERS and kind == _DELIMITED:
            yield from _layer(value, _LAYERS[number])


def _layer(data: memoryview, message: _Message) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    name, type_, blobs = "", None, []
    for number, kind, value in _fields(data):
        if number == message.name and kind == _DELIMITED:
            name = bytes(value).decode(errors="replace")
        elif number == message.kind:
            type_ = bytes(value) if kind == _DELIMITED else value
        elif number == message.blobs and kind == _DELIMITED:
            blobs.append(value)
        elif number == _OLDEST_FIELD and message is _LAYERS[2] and kind == _DELIMITED:
            yield from _layer(value, _OLDEST)
    for place, blob in enumerate(blobs):
        try:
            numbers = _blob(blob)
        except _MalformedError as error:
            raise _MalformedError(f"layer {name!r}, blob {place}: {error}") from error
        yield f"{name}.{('weight', 'bias')[place] if place < 2 else place}", _unpadded(numbers, place, type_)


def _unpadded(numbers: npt.NDArray[Any], place: int, type_: Any) -> npt.NDArray[Any]:
    """Take from numbers the sides of 1 that every blob once had before its own."""
    own = 1 if place else 2 if type_ in _INNER_PRODUCT else numbers.ndim
    spare = max(0, numbers.ndim - own)
    return numbers.reshape(numbers.shape[spare:]) if set(numbers.shape[:spare]) <= {1} else numbers


def _blob(data: memoryview) -> npt.NDArray[Any]:
    sides: dict[int, int] = {}
    shape: list[int] = []
    floats: list[Any] = []
    doubles: list[Any] = []
    for number, kind, value in _fields(data):
        if number in _BLOB_SIDES and kind == _VARINT:
            sides[number] = value
        elif number == _BLOB_SHAPE and kind == _DELIMITED:
            shape += _shape(value)
        elif number == _BLOB_FLOATS and kind in (_DELIMITED, _FOUR):
            floats.append(_numbers(value, "<f4"))
        elif number == _BLOB_DOUBLES and kind in (_DELIMITED, _EIGHT):
            doubles.append(_numbers(value, "<f8"))
    pieces = doubles or floats
    expected = tuple(sides.get(number, 0) for number in _BLOB_SIDES) if sides else tuple(shape)
    count = sum(len(piece) for piece in pieces)
    if count != math.prod(expected):
        raise _MalformedError(f"it holds {count:,} numbers for the shape {expected}")
    return (pieces[0] if len(pieces) == 1 else np.concatenate(pieces)).reshape(expected) if pieces else np.empty(0)


def _shape(data: memoryview) -> Iterator[int]:
    for number, kind, value in _fields(data):
        if number == 1 and kind == _VARINT:
            yield value
        elif number == 1 and kind == _DELIMITED:
            position = 0
            while position < len(value):
                side, position = _varint(value, position)
                yield side


def _numbers(data: Any, dtype: str) -> npt.NDArray[Any]:
    if len(data) % np.dtype(dtype).itemsize:
        raise _MalformedError("it ends inside a number")
    return np.frombuffer(data, dtype)


def _fields(data: memoryview) -> Iterator[tuple[int, int, Any]]:
    """Yield the number, the kind and the value of each field of a message.

    Values are whole numbers or bytes; numbers of a fixed width come joined where the same field follows itself.
    """
    position = 0
    while position < len(data):
        start = position
        key, position = _varint(data, start)
        number, kind = key >> 3, key & 7
        value: Any
        if kind == _VARINT:
            value, position = _varint(data, position)
        elif kind == _DELIMITED:
            length, position = _varint(data, position)
            value, position = data[position : position + length], position + length
        elif kind in _WIDTHS and position + _WIDTHS[kind] <= len(data):
            value, position = _run(data, start, position, _WIDTHS[kind])
        else:
            raise _MalformedError("it is damaged" if kind not in _WIDTHS else "it is cut short")
        if position > len(data):
            raise _MalformedError("it is cut short")
        if not number:
            raise _MalformedError("it is damaged")
        yield number, kind, value


def _run(data: memoryview, start: int, position: int, width: int) -> tuple[bytes, int]:
    """Return the numbers of a field that stands here once or many times, and the position behind them."""
    key = position - start
    count = min((len(data) - start) // (key + width), _RUN)
    rows = np.frombuffer(data[start : start + count * (key + width)], np.uint8).reshape(count, -1)
    same = (rows[:, :key] == rows[0, :key]).all(axis=1)
    length = count if same.all() else int(same.argmin())
    return rows[:length, key:].tobytes(), start + length * (key + width)


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise _MalformedError("it is cut short")
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise _MalformedError("it is damaged")
