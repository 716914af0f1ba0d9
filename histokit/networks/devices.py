"""The devices and the precisions that networks run in."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from histokit.errors import UsageError
from histokit.networks.memory import machine_memory

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_DEVICES = ("cpu", "cuda")


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
    return device


def device_memory(device: torch.device) -> int:
    """Return how many bytes a device has; of processors, the machine or its container."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return machine_memory()


def is_native(dtype: torch.dtype) -> bool:
    """Return whether this machine's processor multiplies numbers of a type by instructions of its own."""
    if dtype == torch.float32:
        return True
    if dtype == torch.bfloat16 and platform.machine() in ("x86_64", "AMD64"):
        # What oneDNN says it supports includes processors on which it has to convert.
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    supported = "_is_mkldnn_bf16_supported" if dtype == torch.bfloat16 else "_is_mkldnn_fp16_supported"
    return torch.backends.mkldnn.is_available() and bool(getattr(torch.ops.mkldnn, supported)())


def emulation(device: torch.device, dtype: torch.dtype) -> list[str]:
    """Return what is to be known where a device converts numbers of a type back and forth in each operation."""
    if device.type != "cpu" or is_native(dtype):
        return []
    return [f"this processor emulates {str(dtype).removeprefix('torch.')}, which takes many times as long as float32"]


@contextmanager
def whole_float32(device: torch.device) -> Iterator[None]:
    """Keep convolutions from rounding float32 to 10 bits, which is torch's default on recent GPUs."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = before and device.type != "cuda"
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


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
