"""What torch raises where memory is short, told apart from all else that it raises."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from histokit.errors import UsageError

#: What a network raises that does not run on inputs.
REFUSALS = (RuntimeError, AssertionError, ValueError)
#: In the messages of what is no `torch.OutOfMemoryError`: of processors, pinned memory, cuDNN and cuBLAS.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")


class BatchTooLargeError(UsageError):
    """A device has too little memory for a batch."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory was short."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError | BatchTooLargeError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)


@contextmanager
def memory_told(device: torch.device, title: str, shape: Sequence[int]) -> Iterator[None]:
    """Raise `BatchTooLargeError` in place of what torch raises where memory is short for a batch of some shape."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        fewer = f"Give a --batch-size below {shape[0]}, change" if shape[0] > 2 else "Change"
        raise BatchTooLargeError(
            f"The device {device} has too little memory to run {title} on {inputs_of(shape)}: {first_line(error)}.",
            next=f"{fewer} --preprocess size=N, or use another --device.",
        ) from error


def inputs_of(shape: Sequence[int]) -> str:
    """Return a batch in words: ``16 inputs of 3 × 224 × 224``."""
    return f"{shape[0]} inputs of {' × '.join(map(str, shape[1:]))}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its class."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def free_memory(device: torch.device) -> None:
    """Give back the memory of what failed; to be called where its exception is gone, which holds all that was there."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
