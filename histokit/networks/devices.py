"""The devices and the precisions that networks run in."""

from __future__ import annotations

import math
import platform
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import torch
from torch import nn

from histokit.errors import UsageError, first_line
from histokit.networks.memory import machine_memory

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_DEVICES = ("cpu", "cuda")

#: What lets GPUs round float32, and its value where they do not: the switches of all versions of torch, and newer ones.
_SWITCHES: Sequence[tuple[Any, str, Any]] = (
    (torch.backends.cudnn, "allow_tf32", False),
    (torch.backends.cuda.matmul, "allow_tf32", False),
)
_NEWER_SWITCHES: Sequence[tuple[Any, str, Any]] = (
    (torch.backends.cudnn.conv, "fp32_precision", "ieee"),  # type: ignore[attr-defined]
    (torch.backends.cuda.matmul, "fp32_precision", "ieee"),
)
#: What holds where none of these is set: then the older ones say that something is off, and it is on.
_ABOVE: Sequence[Any] = (torch.backends, torch.backends.cudnn)


#: Images of 224 × 224 pixels in one forward pass. Small on processors, whose caches the maps of larger batches
#: overflow; never found by timing, so that the same command gives the same bits.
BATCH_SIZES = {
    ("cpu", "convolutional"): 16,
    ("cpu", "transformer"): 8,
    ("cuda", "convolutional"): 256,
    ("cuda", "transformer"): 128,
}


def choose_device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` is CUDA where there is one.

    Raises
    ------
    UsageError
        If the device is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in _DEVICES:
        raise UsageError(f"There is no device {name!r} for networks.", next="Use auto, cpu or cuda.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"This machine has no CUDA device {name!r} that torch can use.", next="Use --device cpu.")
    if device.type == "cuda":
        _check_usable(device)
    return device


def _check_usable(device: torch.device) -> None:
    """Raise where a device is there, but somebody else has it to himself, or torch has no kernels for it.

    Raises
    ------
    UsageError
    """
    try:
        torch.zeros(1, device=device).add_(1)
    except RuntimeError as error:
        raise UsageError(
            f"The CUDA device {str(device)!r} cannot be used: {first_line(error)}.",
            next="See what uses it with nvidia-smi, or use --device cpu.",
        ) from error


def kind_of(modules: Iterable[nn.Module]) -> str:
    """Return what kind of network modules make: ``transformer`` or ``convolutional``."""
    attention = any(type(module).__name__.endswith("Attention") for module in modules)
    return "transformer" if attention else "convolutional"


def batch_rows(kind: str, device: torch.device, height: int, width: int) -> int:
    """Return how many inputs of a size go at once through a network of a kind."""
    row = BATCH_SIZES[device.type, kind]
    images = row * 224 * 224 / (height * width)
    return max(1, min(row, 2 ** int(math.log2(max(1.0, images)))))


def device_memory(device: torch.device) -> int:
    """Return how many bytes a device has; of processors, the machine or its container."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return machine_memory()


def free_device_memory(device: torch.device) -> int:
    """Return how many bytes of a GPU nobody has taken; of processors, all of the machine or its container."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else machine_memory()


def is_native(dtype: torch.dtype) -> bool:
    """Return whether this machine's processor multiplies numbers of a type by instructions of its own."""
    if dtype == torch.float32:
        return True
    if dtype == torch.bfloat16 and platform.machine() in ("x86_64", "AMD64"):
        # What oneDNN says it supports includes processors on which it has to convert.
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    supported = "_is_mkldnn_bf16_supported" if dtype == torch.bfloat16 else "_is_mkldnn_fp16_supported"
    return torch.backends.mkldnn.is_available() and bool(getattr(torch.ops.mkldnn, supported)())


def emulates_bfloat16(device: torch.device) -> bool:
    """Return whether a CUDA device has no instructions for bfloat16, as those of NVIDIA before Ampere."""
    return torch.version.hip is None and torch.cuda.get_device_properties(device).major < 8


def emulation(device: torch.device, dtype: torch.dtype) -> list[str]:
    """Return what is to be known where a device converts numbers of a type back and forth in each operation."""
    if device.type == "cuda":
        emulated = dtype == torch.bfloat16 and emulates_bfloat16(device)
        return ["this GPU emulates bfloat16: --precision float16 or float32 may be faster"] if emulated else []
    if is_native(dtype):
        return []
    return [f"this processor emulates {str(dtype).removeprefix('torch.')}, which takes many times as long as float32"]


@contextmanager
def whole_float32(device: torch.device) -> Iterator[None]:
    """Keep GPUs from rounding float32 to 10 bits: torch's default of convolutions, and some containers' of products."""
    if device.type != "cuda":
        yield
        return
    _quieten()
    switches = _SWITCHES
    try:
        before = [getattr(place, name) for place, name, _ in switches]
        newer = any(place.fp32_precision == "tf32" for place in _ABOVE)
    except RuntimeError:
        # Where somebody set one of torch's newer switches, it does not tell of the older ones any more.
        newer = True
    if newer:
        switches = _NEWER_SWITCHES
        before = [getattr(place, name) for place, name, _ in switches]
    try:
        for place, name, whole in switches:
            setattr(place, name, whole)
        yield
    finally:
        for (place, name, _), value in zip(switches, before, strict=True):
            setattr(place, name, value)


@cache
def _quieten() -> None:
    """Let torch say once and to nobody that its older switches will go, as some versions do."""
    with warnings.catch_warnings(), suppress(RuntimeError):
        warnings.simplefilter("ignore")
        torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32


def laid_out(network: nn.Module, layout: torch.memory_format = torch.channels_last) -> nn.Module:
    """Lay the weights for maps out in memory, and leave the others, such as those of 3-D convolutions, as they are."""
    for weight in network.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=layout)
    return network


def training_layout(network: nn.Module, device: torch.device) -> torch.memory_format:
    """Return how tensors are to lie in memory where a network is trained: channels last, which is faster, or first.

    Notes
    -----
    With channels last, oneDNN, by which torch computes on processors, writes beyond its memory for the gradient of a
    convolution of 1 × 1 with strides whose inputs are fewer than what it takes at once (16 at most; oneDNN #6035).
    RepVGG, MobileOne and FastViT begin with one.
    """
    narrow = (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and max(module.stride) > 1
        and module.in_channels < 16
        for module in network.modules()
    )
    return torch.contiguous_format if device.type == "cpu" and any(narrow) else torch.channels_last


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in the calling thread alone; only for what gives the same bits in any number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
