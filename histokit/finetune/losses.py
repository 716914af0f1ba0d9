"""What training makes small, and mixed images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from histokit.finetune.recipe import HUBER, OF_NUMBERS, NetworkRecipe

Loss = Callable[[Tensor, Tensor], Tensor]
Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def make_loss(recipe: NetworkRecipe, counts: Sequence[int] | None = None) -> Loss:
    r"""Return the loss of a recipe, a function of the outputs of a batch and its targets.

    Parameters
    ----------
    recipe : NetworkRecipe
    counts : sequence of int, optional
        Training samples of each class; needed for balanced class weights.

    Returns
    -------
    callable
        ``loss(outputs, targets)`` → scalar. Of (N, K) outputs, targets are (N,) class codes, or (N, K) shares of
        classes after mixup; of (N, 1) outputs, (N,) numbers.

    Notes
    -----
    With class weights the loss is :math:`\frac{1}{N} \sum_i w_{y_i} \ell_i`, as in Keras; torch divides by
    :math:`\sum_i w_{y_i}`, so that the weight of a sample depends on its companions in the batch. The weights are
    scikit-learn's balanced ones, :math:`n / (K n_k)` with the K classes that have samples; their mean over the
    training samples is 1. A mixed image has the mixture of the losses of both classes, each with its own weight.
    """
    if recipe.loss in OF_NUMBERS:
        huber = partial(functional.huber_loss, delta=recipe.huber_delta)
        compared = huber if recipe.loss == HUBER else functional.mse_loss
        return lambda outputs, targets: compared(outputs.float().flatten(), targets.float().flatten())
    weights = class_weights(counts or ()) if recipe.class_weight == "balanced" else None
    smoothing = recipe.label_smoothing

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        nonlocal weights
        log_shares = functional.log_softmax(outputs.float(), dim=1)
        if targets.ndim == 1:
            targets = functional.one_hot(targets, outputs.shape[1])
        shares = targets.to(log_shares.dtype)
        if weights is not None:
            weights = weights.to(outputs.device)
            shares = shares * weights
        smoothed = (1.0 - smoothing) * log_shares + smoothing * log_shares.mean(1, keepdim=True)
        return -(shares * smoothed).sum(1).mean()

    return loss


def class_weights(counts: Sequence[int]) -> Tensor:
    """Return n / (K · n_k) of each class as (K,) float32; 0 of classes without samples, which do not count in K."""
    found = torch.as_tensor(counts, dtype=torch.float32)
    present = found > 0
    weights = found.sum() / (present.sum() * found)
    return torch.where(present, weights, torch.zeros(()))


def make_mixup(recipe: NetworkRecipe, classes: int) -> Mix | None:
    """Return what mixes the images of a batch by pairs, by mixup or cutmix of timm; none where a recipe has neither.

    Parameters
    ----------
    recipe : NetworkRecipe
        Its label smoothing is left to the loss.
    classes : int

    Returns
    -------
    callable or None
        ``mix(images, codes)`` → (images, (N, K) shares of classes). The images are changed in place. It draws from
        numpy's global generator, which the caller seeds. Of an odd number of images the last one stays as it is.
    """
    if not (recipe.mixup or recipe.cutmix):
        return None
    from timm.data.mixup import Mixup

    mixup = Mixup(
        mixup_alpha=recipe.mixup, cutmix_alpha=recipe.cutmix, label_smoothing=0.0, num_classes=classes, mode="batch"
    )

    def mix(images: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        even = len(images) // 2 * 2
        shares = functional.one_hot(codes, classes).to(torch.float32)
        if even:
            _, shares[:even] = mixup(images[:even], codes[:even])
        return images, shares

    return mix
