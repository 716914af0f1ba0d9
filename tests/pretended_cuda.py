"""A CUDA device that is pretended: its tensors lie in this machine's memory, but keep to the rules of another device.

Torch's functions refuse tensors of two devices, numpy does not see those of the device, and what is copied without
waiting arrives when it is waited for, no sooner: until then there is NaN in its place. The kernels are the processor's,
so their numbers, their speed and their lack of memory are those of no GPU.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode

_CPU, _CUDA = torch.device("cpu"), torch.device("cuda", 0)
_TWO_DEVICES = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! ({})"
_NO_ARRAY = "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first."
_ARRAYS = {"numpy", "__array__", "__dlpack__"}
#: These look at numbers, so that they wait for the device.
_WAITING = {"item", "tolist", "nonzero", "equal", "allclose", "__bool__", "__float__", "__int__", "__index__"}
#: These take tensors of two devices, or look only at what kind of tensors they are.
_MIXING = {"__getitem__", "__setitem__", "__set__", "backward", "grad", "type_as", "_has_compatible_shallow_copy_type"}
_IN_PLACE_FOR_ALL = {"requires_grad_", "set_"}


class PretendedDevice:
    """Knows which memory is its own, and what it has yet to copy.

    Parameters
    ----------
    largest_batch : int, optional
        Inputs of a convolution that its memory is enough for.
    """

    def __init__(self, largest_batch: int | None = None):
        self.largest_batch = largest_batch
        #: Copies without waiting, and convolutions, of all times.
        self.copies = self.convolutions = 0
        #: How often something waited for all that the device has to do, which keeps it from having more to do.
        self.waits = 0
        self._own: dict[int, StorageWeakRef] = {}
        self._pinned: dict[int, StorageWeakRef] = {}
        self._queue: deque[Callable[[], object]] = deque()
        self._done = 0
        self._lock = threading.RLock()

    def holds(self, tensor: Tensor) -> bool:
        """Return whether a tensor is on the device."""
        return _known(self._own, tensor)

    def is_pinned(self, tensor: Tensor) -> bool:
        """Return whether the device can read a tensor of this machine by itself."""
        return _known(self._pinned, tensor)

    def take(self, found: Any) -> Any:
        """Let tensors be on the device from now on."""
        return _note(self._own, found)

    def pin(self, found: Any) -> Any:
        """Let the device read tensors by itself."""
        return _note(self._pinned, found)

    def later(self, job: Callable[[], object]) -> None:
        """Do something when it is waited for."""
        with self._lock:
            self._queue.append(job)
            self.copies += 1

    def wait(self, until: int | None = None) -> None:
        """Do what was put off until a moment, or all of it."""
        self.waits += until is None
        with self._lock:
            while self._queue and (until is None or self._done < until):
                self._queue.popleft()()
                self._done += 1


def _known(storages: dict[int, StorageWeakRef], tensor: Tensor) -> bool:
    found = storages.get(tensor.untyped_storage()._cdata)
    return found is not None and not found.expired()


def _note(storages: dict[int, StorageWeakRef], found: Any) -> Any:
    for tensor in _tensors(found):
        storage = tensor.untyped_storage()
        storages[storage._cdata] = StorageWeakRef(storage)
    return found


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict | list | tuple):
        for each in tree.values() if isinstance(tree, dict) else tree:
            yield from _tensors(each)


def _type(device: Any) -> str | None:
    return None if device is None else torch.device(device).type


class _Rules(TorchFunctionMode):
    """What torch's functions do where some tensors are on the device."""

    def __init__(self, device: PretendedDevice):
        super().__init__()
        self.device = device

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name, options = getattr(function, "__name__", ""), dict(kwargs or {})
        own = {
            "__get__": self._attribute, "to": self._to, "cpu": self._to, "cuda": self._to, "copy_": self._copy,
            "pin_memory": self._pin_memory, "is_pinned": self._is_pinned,
        }.get(name)  # fmt: skip
        if own is not None:
            return own(function, *args, **options)
        if function is Tensor.backward:
            with self:
                options["grad_tensors"] = options.pop("gradient", None)
                return torch.autograd.backward(*args, **options)
        return self._usual(function, name, args, options)

    def _usual(self, function: Any, name: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        given = list(_tensors((args, options)))
        here = [tensor for tensor in given if self.device.holds(tensor)]
        asked, pinned = _type(options.get("device")), options.pop("pin_memory", False)
        if here:
            self._check(name, args, [tensor for tensor in given if not self.device.holds(tensor)])
        if asked == "cuda":
            options["device"] = _CPU
        if options.get("generator") is not None and (here or asked == "cuda"):
            raise RuntimeError(f"Expected a 'cuda' device type for generator but found 'cpu' ({name})")
        found = function(*args, **options)
        if asked == "cuda" and name in ("as_tensor", "asarray"):
            found = found.clone()
        if asked == "cuda" or (here and asked is None and name != "__setitem__"):
            self.device.take(found)
        return self.device.pin(found) if pinned else found

    def _check(self, name: str, args: tuple[Any, ...], others: list[Tensor]) -> None:
        """Raise what torch does of tensors on the device, and of others beside them."""
        first_here = isinstance(args[0], Tensor) and self.device.holds(args[0])
        if name in _ARRAYS:
            raise TypeError(_NO_ARRAY)
        if name in _WAITING:
            self.device.wait()
        if "conv" in name:
            self.device.convolutions += 1
            if self.device.largest_batch is not None and len(args[0]) > self.device.largest_batch:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 is full.")
        within = name.endswith("_") and not name.endswith("__") and name not in _IN_PLACE_FOR_ALL
        mixed = name not in _MIXING and any(tensor.ndim for tensor in others)
        if name == "__getitem__":
            # Only tensors of the device take places of either.
            mixed = not first_here
        elif name == "__setitem__" and any(True for _ in _tensors(args[1])):
            mixed = not first_here or any(value.ndim and not self.device.holds(value) for value in _tensors(args[2]))
        if mixed or (within and not first_here and isinstance(args[0], Tensor)):
            raise RuntimeError(_TWO_DEVICES.format(name))

    def _attribute(self, function: Any, tensor: Any, *rest: Any) -> Any:
        found, name = function(tensor, *rest), getattr(function.__self__, "__name__", "")
        if not isinstance(tensor, Tensor) or not self.device.holds(tensor):
            return found
        known = {"device": _CUDA, "is_cuda": True, "is_cpu": False}
        return known[name] if name in known else self.device.take(found)

    def _pin_memory(self, _: Any, tensor: Tensor) -> Tensor:
        assert not self.device.holds(tensor)
        return self.device.pin(tensor.clone())

    def _is_pinned(self, _: Any, tensor: Tensor) -> bool:
        return self.device.is_pinned(tensor)

    def _to(self, function: Any, tensor: Tensor, *args: Any, **options: Any) -> Tensor:
        was, copy = self.device.holds(tensor), options.pop("copy", False)
        if function.__name__ != "to":
            device, dtype, late, layout = _type(function.__name__), None, options.get("non_blocking", False), None
        elif args and isinstance(args[0], Tensor):
            device, dtype, late, layout = "cuda" if self.device.holds(args[0]) else "cpu", args[0].dtype, False, None
        else:
            place, dtype, late, layout = torch._C._nn._parse_to(*args, **options)
            device = _type(place)
        if device == "meta":
            return tensor.to(device)
        there = was if device is None else device == "cuda"
        change = {} if layout is None else {"memory_format": layout}
        found = tensor.to(dtype or tensor.dtype, copy=copy or there != was, **change)
        if there:
            self.device.take(found)
        if there and not was and late and self.device.is_pinned(tensor):
            self._read_late(tensor)
        elif was and not there:
            self._arrive(found, late)
        return found

    def _copy(self, _: Any, target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
        leaves = self.device.holds(source) and not self.device.holds(target)
        target.copy_(source)
        if leaves:
            self._arrive(target, non_blocking)
        return target

    def _read_late(self, source: Tensor) -> None:
        known = source.detach().clone()

        def read() -> None:
            assert torch.equal(known, source), "memory was written to before the device had read it"

        self.device.later(read)

    def _arrive(self, target: Tensor, late: bool) -> None:
        """Leave NaN in the place of what a target has got, until the device is waited for."""
        if not late:
            self.device.wait()
            return
        known = target.detach().clone()
        with torch.no_grad():
            target.fill_(float("nan") if target.dtype.is_floating_point else 77)
        self.device.later(lambda: target.data.copy_(known))


class _Autocast(torch.autocast):
    def __init__(self, device_type: str, *args: Any, **options: Any):
        super().__init__("cpu" if device_type == "cuda" else device_type, *args, **options)


class _Generator(torch.Generator):
    def __new__(cls, device: Any = "cpu") -> _Generator:
        return super().__new__(cls, "cpu")

    def __init__(self, device: Any = "cpu"):
        pass


@contextmanager
def pretended_cuda(largest_batch: int | None = None, major: int = 9) -> Iterator[PretendedDevice]:
    """Let torch have a CUDA device of a generation, in this thread and in those that begin meanwhile."""
    device = PretendedDevice(largest_batch)

    class Event:
        def record(self, stream: Any) -> None:
            self.moment = device.copies

        def synchronize(self) -> None:
            device.wait(self.moment)

    run = threading.Thread.run

    def by_the_rules(thread: threading.Thread) -> None:
        with _Rules(device):
            run(thread)

    stream = SimpleNamespace(synchronize=device.wait, is_capturing=lambda: False)
    properties = SimpleNamespace(name="pretended", total_memory=80 << 30, major=major, minor=0)
    known: dict[str, Any] = {
        "is_available": True, "is_initialized": True, "device_count": 1, "current_device": 0, "init": None,
        "_lazy_init": None, "current_stream": stream, "get_device_properties": properties, "empty_cache": None,
        "get_device_capability": (major, 0), "is_bf16_supported": True, "get_device_name": "pretended",
        "is_current_stream_capturing": False, "mem_get_info": (80 << 30, 80 << 30),
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in known.items():
            patch.setattr(torch.cuda, name, lambda *_, value=value, **__: value)
        patch.setattr(torch.cuda, "Event", Event)
        patch.setattr(torch.cuda, "synchronize", lambda *_: device.wait())
        patch.setattr(torch.cuda, "default_generators", (torch.Generator(),))
        patch.setattr(torch.accelerator, "current_stream", lambda *_: stream)
        patch.setattr(torch, "autocast", _Autocast)
        patch.setattr(torch, "Generator", _Generator)
        patch.setattr(threading.Thread, "run", by_the_rules)
        with _Rules(device):
            yield device
