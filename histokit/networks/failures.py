"""What torch raises where memory is short, told apart from all else that it raises."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from histokit.errors import PluginError, UsageError, first_line, memory_was_short
from histokit.plugin.backbone_names import join_backbone_name, split_backbone_name
from histokit.plugin.calls import Caller
from histokit.plugin.guarded_backbone import GuardedBackbone

#: What a network raises that does not run on inputs.
REFUSALS = (RuntimeError, AssertionError, ValueError)

#: As what a shortage of memory may come.
_SHORTAGES = (RuntimeError, MemoryError, PluginError)


class BatchTooLargeError(UsageError):
    """A device has too little memory for a batch."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory was short, be it in a method of a plugin."""
    error = _raised(error)
    return isinstance(error, torch.OutOfMemoryError | BatchTooLargeError) or memory_was_short(error)


def _raised(error: BaseException) -> BaseException:
    """Return what a plugin raised, where an error tells of that."""
    return error.__cause__ or error if isinstance(error, PluginError) else error


@contextmanager
def forward_told(caller: Caller) -> Iterator[None]:
    """Tell of what a network raises as of its plugin's fault, but where memory is short."""
    try:
        yield
    except BaseException as error:
        # Signals of hooks are none of its errors.
        if is_out_of_memory(error) or type(error).__module__.startswith("histokit."):
            raise
        with caller.call("forward()", watched=False):
            raise


@contextmanager
def memory_told(device: torch.device, title: str, shape: Sequence[int]) -> Iterator[None]:
    """Raise `BatchTooLargeError` in place of what is raised where memory is short for a batch of some shape."""
    try:
        yield
    except _SHORTAGES as error:
        if not is_out_of_memory(error):
            raise
        raise batch_too_large(device, title, shape, error) from error


def batch_too_large(device: torch.device, title: str, shape: Sequence[int], error: BaseException) -> BatchTooLargeError:
    """Return what is to be raised where memory is short for a batch of some shape."""
    fewer = f"Give a --batch-size below {shape[0]}, change" if shape[0] > 2 else "Change"
    return BatchTooLargeError(
        f"The device {device} has too little memory to run {title} on {inputs_of(shape)}: {reason_of(error)}.",
        next=f"{fewer} --preprocess size=N, or use another --device.",
    )


@contextmanager
def network_memory_told(device: torch.device, title: str) -> Iterator[None]:
    """Raise a `UsageError` in place of what is raised where memory is short for a network itself."""
    try:
        yield
    except _SHORTAGES as error:
        if not is_out_of_memory(error):
            raise
        other = "a smaller network, or a machine with more memory"
        raise UsageError(
            f"{title} itself does not fit into the memory of the device {device}: {reason_of(error)}.",
            next=f"Use {other if device.type == 'cpu' else 'another --device, or --precision bfloat16'}.",
        ) from error


def inputs_of(shape: Sequence[int]) -> str:
    """Return a batch in words: ``16 inputs of 3 × 224 × 224``."""
    return f"{shape[0]} inputs of {' × '.join(map(str, shape[1:]))}"


def reason_of(error: BaseException) -> str:
    """Return the first line of an error's text, or its class; of a plugin's error, of what it raised."""
    return first_line(_raised(error))


def free_memory(device: torch.device) -> None:
    """Give back the memory of what failed or is done; an exception, which holds all that was there, has to be gone."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def wrong_size(guarded: GuardedBackbone, shape: Sequence[int], declared: int, error: Exception) -> UsageError:
    """Return the error of a network that is made for one size and cannot run on inputs of another one."""
    base, options = split_backbone_name(guarded.backbone.name)
    option = getattr(guarded.backbone, "size_option", "img_size")
    other = join_backbone_name(base, {**options, option: str(shape[-1])})
    return UsageError(
        f"{guarded.title} cannot run on {inputs_of(shape)}: {reason_of(error)}.",
        next=f"Change --preprocess size=N: it is made for {declared}. Or, if it can be built for others: "
        f"--backbone {other}.",
    )
