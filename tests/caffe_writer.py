"""Files as Caffe writes them: networks of each of its three generations, and mean images."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

#: Of a network, by its generation: the field of its layers; their name, type and blobs; and what types are called.
GENERATIONS = {
    0: (2, 1, 2, 50, {"conv": b"conv", "fc": b"innerproduct", "relu": b"relu"}),
    1: (2, 4, 5, 6, {"conv": 4, "fc": 14, "relu": 18}),
    2: (100, 1, 2, 7, {"conv": b"Convolution", "fc": b"InnerProduct", "relu": b"ReLU"}),
}


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    """A whole number, or bytes behind their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def blob(array: np.ndarray, legacy: bool = False, double: bool = False, packed: bool = True) -> bytes:
    """Numbers with their shape, or with the four sides that every shape once had."""
    letter, number, kind = ("d", 8, 1) if double else ("f", 5, 5)
    if packed:
        data = field(number, array.astype(f"<f{8 if double else 4}").tobytes())
    else:
        data = b"".join(varint(number << 3 | kind) + struct.pack(f"<{letter}", x) for x in array.ravel().tolist())
    if legacy:
        sides = (1,) * (4 - array.ndim) + array.shape
        return b"".join(field(place, side) for place, side in enumerate(sides, 1)) + data
    dimensions = b"".join(map(varint, array.shape))
    # As protocol buffers are written by default: in the order of the numbers.
    return data + field(7, field(1, dimensions)) if not double else field(7, field(1, dimensions)) + data


def layer(name: str, kind: str, blobs: Iterable[bytes], generation: int = 2) -> bytes:
    """A layer of a network, with the field that it is in."""
    where, name_field, type_field, blob_field, types = GENERATIONS[generation]
    own = field(name_field, name.encode()) + field(type_field, types[kind])
    own += b"".join(field(blob_field, each) for each in blobs)
    return field(where, field(1, own) if generation == 0 else own)


def network(layers: Iterable[bytes], name: str = "CaffeNet") -> bytes:
    return field(1, name.encode()) + b"".join(layers)


def caffemodel(
    state: Mapping[str, np.ndarray], order: Sequence[str], generation: int = 2, name: str = "CaffeNet", **how: bool
) -> bytes:
    """The weights of a network, with layers without weights between them; the first convolution goes to blue first.

    Parameters
    ----------
    state : mapping
        ``LAYER.weight`` and ``LAYER.bias`` → array, the first convolution for red, green and blue.
    order : sequence of str
        Of the layers.
    """
    layers = []
    for place, each in enumerate(order):
        weight = np.asarray(state[f"{each}.weight"])
        if place == 0:
            weight = weight[:, ::-1]
        blobs = [blob(array, legacy=generation < 2, **how) for array in (weight, np.asarray(state[f"{each}.bias"]))]
        layers.append(layer(each, "conv" if weight.ndim == 4 else "fc", blobs, generation))
        layers.append(layer(f"relu_{each}", "relu", [], generation))
    return network(layers, name)
