"""A network cut at several layers: one forward pass, no deeper than the deepest of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from histokit.errors import UsageError
from histokit.networks.adapters import inflate
from histokit.networks.compiling import CutVectors, check_alike, compiled, not_compiled
from histokit.networks.cut_points import check_module
from histokit.networks.devices import DTYPES, batch_rows, kind_of, laid_out, one_thread, whole_float32
from histokit.networks.failures import (
    REFUSALS,
    batch_too_large,
    inputs_of,
    is_out_of_memory,
    memory_told,
    network_memory_told,
    reason_of,
)
from histokit.networks.folding import fold_batch_norm
from histokit.networks.openvino_graph import converted
from histokit.plugin import Backbone, Layer
from histokit.plugin.guarded_backbone import GuardedBackbone
from histokit.plugin.pooling import first_tensor, pool, refuse_rows, refuse_turned


class _Deepest(Exception):  # noqa: N818 (a signal, not an error)
    """Raised in a hook when nothing more is needed."""


class CutNetwork:
    """Gives the pooled vectors of layers.

    Parameters
    ----------
    backbone : Backbone
    layers : sequence of Layer
    device : torch.device
    precision : str
        ``float32``, ``bfloat16`` or ``float16``; the latter two by autocast.
    inputs : int, optional
        Channels that its first convolution is inflated to; those that it has where not given.

    Raises
    ------
    UsageError
        If a layer is no module of the network.
    """

    def __init__(
        self,
        backbone: Backbone,
        layers: Sequence[Layer],
        device: torch.device,
        precision: str,
        inputs: int | None = None,
    ):
        self._guarded = GuardedBackbone(backbone)
        with network_memory_told(torch.device("cpu"), self._guarded.title):
            network = self._guarded.build()
        colours = len(self._guarded.preprocess().mean)
        self._inputs = inputs or colours
        if self._inputs != colours:
            inflate(network, colours, self._inputs, self._guarded.title)
        self.device = device
        self.dtype = DTYPES[precision]
        self.layers = list(layers)
        self.prefix_tokens = self._guarded.prefix_tokens(network)
        self._vectors: dict[str, Tensor] = {}
        self._fired: list[str] = []
        self._stop_after: int | None = None
        self._size = (1, 1)
        self._widths: dict[str, int] = {}
        for layer in self.layers:
            check_module(network, self._guarded, layer)
        originals = _fold(network, self._guarded, self._inputs, [layer.module for layer in self.layers])
        self.network: nn.Module = self._placed(network)
        self._kind = kind_of(self._guarded.modules(network).values())
        self._originals = {name: self._placed(module) for name, module in originals.items()}
        self._compiled: Callable[[Tensor], dict[str, Tensor]] | None = None
        self._hooks = self._attached()

    def _attached(self) -> list[Any]:
        network = self.network
        return [network.get_submodule(each.module).register_forward_hook(self._hook(each)) for each in self.layers]

    def compile(self, shape: Sequence[int], engine: str = "inductor") -> None:
        """Compile the network for batches of a shape, and see that nothing else comes out.

        Raises
        ------
        BatchTooLargeError
            If the device has too little memory for them; fewer may be tried.
        NotCompiledError
            If it cannot be compiled, or gives other vectors than before; it is of no use then.
        """
        batch = torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(self.device)
        expected = {name: vectors.clone() for name, vectors in self.forward(batch).items()}
        for hook in self._hooks:
            hook.remove()
        taken = {layer.name: (layer.module, self._taken(layer)) for layer in self.layers}
        name, whole = self._guarded.backbone.name, CutVectors(self.network, taken)
        try:
            self._compiled = converted(whole) if engine == "openvino" else compiled(whole, self.device)
            with torch.inference_mode():
                self._run(batch)
        except Exception as error:
            if len(batch) > 2 and is_out_of_memory(error):
                whole.detach()
                self._compiled, self._hooks = None, self._attached()
                raise batch_too_large(self.device, self._guarded.title, batch.shape, error) from error
            raise not_compiled(name, error) from error
        check_alike(name, self._vectors, expected, self.dtype != torch.float32)

    def _taken(self, layer: Layer) -> Callable[[Any, Any], Tensor]:
        original = self._originals.get(layer.module)

        def take(inputs: Any, output: Any) -> Tensor:
            return pool(output if original is None else original(*inputs), layer, self.prefix_tokens, self._size)

        return take

    def _placed(self, network: nn.Module) -> nn.Module:
        told = network_memory_told(self.device, self._guarded.title)
        with told, self._guarded.caller.call("to()"):
            if self.dtype != torch.float32:
                # Autocast would convert the weights anew in every pass, because they need no gradient.
                for module in network.modules():
                    if isinstance(module, nn.Conv2d) or type(module) is nn.Linear:
                        module.to(self.dtype)
            return laid_out(network.to(self.device))

    def batch_size(self, height: int, width: int) -> int:
        """Return how many inputs of a size go through the network at once."""
        return batch_rows(self._kind, self.device, height, width)

    def column_names(self, layer: Layer) -> list[str]:
        """Return the names of a layer's filters where its module tells them in ``column_names``."""
        module = self.network.get_submodule(layer.module)
        return self._guarded.column_names(module)

    def _hook(self, layer: Layer) -> Any:
        original = self._originals.get(layer.module)

        def take(module: nn.Module, inputs: Any, output: Any) -> None:
            if original is not None:
                output = original(*inputs)
            # Pooled at once: a later in-place operation may overwrite the output.
            self._vectors[layer.name] = self._pooled(module, output, layer)
            self._fired.append(layer.name)
            if len(self._fired) == self._stop_after:
                raise _Deepest

        return take

    def _pooled(self, module: nn.Module, output: Any, layer: Layer) -> Tensor:
        try:
            refuse_rows(module, first_tensor(output, layer).shape, layer)
            # A network may have turned gradients on again.
            vectors = pool(output, layer, self.prefix_tokens, self._size).detach()
            if self._size[0] == self._size[1] and not self._guarded.caller.ours:
                refuse_turned(output, layer)
            return vectors
        except UsageError as error:
            small = isinstance(output, Tensor) and not output.numel()
            if small or self._guarded.caller.ours or layer not in self._guarded.layers():
                raise
            raise self._guarded.caller.wrong("forward()", f"what is no vector: {error.message}") from error

    @torch.inference_mode()
    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        """Push a batch through the network, without waiting for the device.

        Parameters
        ----------
        batch : (N, C, H, W) float32 Tensor, preprocessed

        Returns
        -------
        dict
            Name of layer → (N, d) float32 Tensor on the device.

        Raises
        ------
        BatchTooLargeError
            If the device has too little memory for them.
        PluginError
            If the network of a plugin fails on any inputs.
        UsageError
            If the network does not take inputs of such a size, or does not reach a layer.
        """
        with memory_told(self.device, self._guarded.title, batch.shape):
            try:
                self._run(batch)
            except REFUSALS as error:
                if is_out_of_memory(error):
                    raise
                self._tell(batch.shape, error)
        absent = [layer.name for layer in self.layers if layer.name not in self._vectors]
        if absent:
            raise UsageError(
                f"The layer {absent[0]!r} is not reached when the network runs.", next="Choose another layer."
            )
        self._check_vectors(len(batch))
        if self._stop_after is None:
            self._check_names()
            # A module that is used several times counts with its last output.
            self._stop_after = len(self._fired)
        return self._vectors

    def _run(self, batch: Tensor) -> None:
        self._vectors, self._fired = {}, []
        self._size = (batch.shape[-2], batch.shape[-1])
        batch = batch.contiguous(memory_format=torch.channels_last)
        reduced = self.dtype != torch.float32
        try:
            kind = self.dtype if reduced else torch.bfloat16
            call = self._guarded.caller.call("forward()", through=(_Deepest, *REFUSALS), watched=False)
            with call, whole_float32(self.device), torch.autocast(self.device.type, dtype=kind, enabled=reduced):
                if self._compiled is None:
                    self.network(batch)
                else:
                    self._vectors = self._compiled(batch)
        except _Deepest:
            pass

    def _tell(self, shape: torch.Size, error: Exception) -> NoReturn:
        """Raise what is to be told of what a network raised.

        It is the inputs' where zeros in their place fail as well, and zeros of the size that the network declares, or
        fewer of them, do not; else it is a fault of the network.
        """
        refused, declared = not self._runs_on(shape), self._guarded.preprocess()
        side, advice = declared.size, ""
        if refused and self._runs_on((shape[0], self._inputs, side, side)):
            advice = "Change --preprocess size=N or resize."
        elif refused and self._runs_on((2, *shape[1:])):
            advice = "Give a smaller --batch-size, such as 2."
        if advice:
            raise UsageError(
                f"{self._guarded.title} cannot run on {inputs_of(shape)}: {reason_of(error)}.", next=advice
            ) from error
        with self._guarded.caller.call("forward()", watched=False):
            raise error

    def _runs_on(self, shape: Sequence[int]) -> bool:
        try:
            self._run(torch.zeros(*shape, device=self.device))
        except Exception:
            return False
        return True

    def _check_vectors(self, count: int) -> None:
        """Raise unless each layer gave one vector for each image, of one width, where the network is."""
        for layer in self.layers:
            vectors = self._vectors[layer.name]
            rows, width = vectors.shape
            before = self._widths.setdefault(layer.name, width)
            what = ""
            if rows != count:
                what = f"{rows} vectors for {count} images in the layer {layer.name!r}"
            elif not width or width != before:
                what = f"vectors of {width} features in the layer {layer.name!r}{f', after {before}' * bool(width)}"
            elif vectors.device.type != self.device.type:
                what = f"vectors on the device {vectors.device} in the layer {layer.name!r}"
            if what and not self._guarded.caller.ours and layer in self._guarded.layers():
                raise self._guarded.caller.wrong("forward()", what)
            if what:
                raise UsageError(f"{self._guarded.title} gives {what}.", next="Choose another layer.")

    def _check_names(self) -> None:
        """Raise where a module has names for more or fewer features than it gives."""
        for layer in self.layers:
            names, width = self.column_names(layer), self._vectors[layer.name].shape[1]
            if len(names) not in (0, width):
                what = f"{len(names)} names of the {width} features of {layer.name!r}"
                raise self._guarded.caller.wrong("column_names", what)

    def __call__(self, batch: Tensor) -> dict[str, npt.NDArray[np.float32]]:
        """Push a batch through the network and wait for the vectors: name of layer → (N, d) float32 array."""
        return {name: vectors.cpu().numpy() for name, vectors in self.forward(batch).items()}


def _fold(network: nn.Module, guarded: GuardedBackbone, inputs: int, cut: Sequence[str]) -> dict[str, nn.Module]:
    side = guarded.preprocess().size
    try:
        zeros = torch.zeros(1, inputs, side, side)
        # Processes that read start meanwhile: several threads would wait for each other in every operation.
        with one_thread(), guarded.caller.call("forward()", through=REFUSALS, watched=False):
            return fold_batch_norm(network, zeros, cut)
    except REFUSALS:
        # A network that does not run on these inputs is told of when it meets real ones.
        return {}
