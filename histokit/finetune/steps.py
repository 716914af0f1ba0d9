"""One step of a training: the gradient of a batch, accumulated over as many passes as memory asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from histokit.errors import PluginError, UsageError
from histokit.finetune.curve import Judge
from histokit.finetune.losses import make_loss, make_mixup
from histokit.finetune.pixels import TrainingImages
from histokit.finetune.recipe import CROSS_ENTROPY, NetworkRecipe
from histokit.networks.devices import training_layout
from histokit.networks.failures import BatchTooLargeError, free_memory, is_out_of_memory, memory_told
from histokit.networks.trainable import TrainableNetwork
from histokit.networks.transform import Transform
from histokit.plugin.checkpoint import fill_network

Rows = NDArray[np.intp]

#: What torch says where batch normalisation has nothing to divide by.
_ONE_VALUE = "Expected more than 1 value per channel"


@dataclass(frozen=True, kw_only=True)
class TrainingMeans:
    """With what a network is trained.

    Parameters
    ----------
    images : TrainingImages
    transform : Transform
    y : (n,) array
        Class codes, or numbers.
    outputs : int
    judge : Judge
    device : torch.device
    dtype : torch.dtype
        Of autocast; float32 for none.
    micro_batch : int, optional
        Images in one pass at most; the gradients of a batch of more are accumulated.
    vectors : dict
        Row → vector of the frozen network, filled when first needed, for all folds.
    """

    images: TrainingImages
    transform: Transform
    y: NDArray[Any]
    outputs: int
    judge: Judge
    device: torch.device
    dtype: torch.dtype
    micro_batch: int | None = None
    vectors: dict[int, Tensor] = field(default_factory=dict)

    @property
    def computed_in(self) -> str:
        """The precision and the kind of device, in words: ``bfloat16 on cuda``."""
        return f"{str(self.dtype).removeprefix('torch.')} on {self.device.type}"


class GradientSteps:
    """Follows gradients.

    Parameters
    ----------
    network : TrainableNetwork
        On the device.
    recipe : NetworkRecipe
    means : TrainingMeans
    fit : array of int
        The rows that are trained on, whose classes are counted.
    """

    def __init__(self, network: TrainableNetwork, recipe: NetworkRecipe, means: TrainingMeans, fit: Rows):
        self.network, self.recipe, self.means = network, recipe, means
        counts = np.bincount(means.y[fit], minlength=means.outputs).tolist() if recipe.loss == CROSS_ENTROPY else None
        self.loss = make_loss(recipe, counts)
        self.mixup = make_mixup(recipe, means.outputs)
        self._layout = training_layout(network, means.device)
        self.average: Any = None
        if recipe.ema:
            from timm.utils import ModelEmaV3

            self.average = ModelEmaV3(network, decay=recipe.ema)

    @property
    def judged(self) -> nn.Module:
        """The network that is judged and kept: the moving average where there is one."""
        module: nn.Module = self.network if self.average is None else self.average.module
        return module

    def take(self, tensors: dict[str, Tensor]) -> None:
        """Go on from a network."""
        fill_network(self.network, tensors)
        if self.average is not None:
            fill_network(self.average.module, tensors)

    def step(self, module: nn.Module, rows: Rows, batch: Tensor, optimizer: Any, scaler: Any) -> Tensor:
        """Follow the gradient of one batch, accumulated over passes; return its loss."""
        targets = self.means.judge.targets(self.means.y[rows]).to(self.means.device)
        if self.mixup is not None:
            batch, targets = self.mixup(batch, targets)
        optimizer.zero_grad(set_to_none=True)
        size = self.means.micro_batch or len(rows)
        try:
            with memory_told(self.means.device, "the training", batch.shape):
                total = self._gradient(module, batch, targets, size, scaler)
                # Its first step allocates what an optimiser keeps of each weight.
                self._follow(optimizer, scaler)
                return total
        except BatchTooLargeError as error:
            short = error.message
        raise UsageError(short, next=self._fitting(module, batch, targets, min(size, len(rows)), optimizer, scaler))

    def _follow(self, optimizer: Any, scaler: Any) -> None:
        """Change the weights by the gradient that was accumulated."""
        if self.recipe.clip:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        scaler.step(optimizer)
        scaler.update()
        if self.average is not None:
            self.average.update(self.network)

    def _gradient(self, module: nn.Module, batch: Tensor, targets: Tensor, size: int, scaler: Any) -> Tensor:
        total = torch.zeros((), device=self.means.device)
        for start in range(0, len(batch), size):
            part = batch[start : start + size]
            loss = self.loss(self.outputs(module, part), targets[start : start + size]) * (len(part) / len(batch))
            scaler.scale(loss).backward()
            total += loss.detach()
        return total

    def _fitting(
        self, module: nn.Module, batch: Tensor, targets: Tensor, size: int, optimizer: Any, scaler: Any
    ) -> str:
        """Return what to type where memory is short: the number of images of a pass that fit, which was tried.

        The network is of no use from here on: it was changed by steps of nothing but a trial.
        """
        while size > 1:
            size //= 2
            self.network.zero_grad(set_to_none=True)
            # Of some weights it may hold a part.
            optimizer.state.clear()
            free_memory(self.means.device)
            try:
                self._gradient(module, batch[:size], targets[:size], size, scaler)
                optimizer.step()
                # Once more, beside what the optimiser keeps from now on.
                self._gradient(module, batch[:size], targets[:size], size, scaler)
            except UsageError:
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                continue
            return (
                f"Passes of {size} images fit: --micro-batch {size} accumulates their gradients, so that a step is "
                f"still one of {len(batch)}."
            )
        return "No smaller pass fits: change --preprocess size=N, or use another --device."

    def outputs(self, module: nn.Module, batch: Tensor) -> Tensor:
        """Return what a module gives for inputs, as float32."""
        dtype = self.means.dtype
        if batch.ndim == 4:
            batch = batch.contiguous(memory_format=self._layout)
        with torch.autocast(self.means.device.type, dtype=dtype, enabled=dtype != torch.float32):
            try:
                found: Tensor = module(batch)
            except (ValueError, PluginError) as error:
                if len(batch) > 1 or _ONE_VALUE not in str(error):
                    raise
                raise UsageError(
                    "A pass has a single image, and batch normalisation one value of it for each channel: these have "
                    "no variance.",
                    next="Set batch_size, or --micro-batch, so that no pass is left with one image.",
                ) from error
        return found.float()
