"""What of a network a stage trains, and with what: groups of parameters, the optimiser, rates, modes."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from histokit.errors import UsageError, did_you_mean, some
from histokit.finetune.recipe import ALL, HEAD, Stage
from histokit.late_imports import without
from histokit.networks.trainable import TrainableNetwork
from histokit.plugin.lean_imports import library

#: timm's names where they mean something else than ours: its ``sgd`` has Nesterov's momentum.
_TIMM_NAMES = {"sgd": "momentum", "nesterov": "sgd"}

#: Of timm's optimisers, classes with which an interrupted training would not go on as if it had not been.
_UNKEPT = ("Kron",)

#: What modules are only put one after the other in.
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)

#: What belongs to the layer before it.
_NORMALISATIONS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)


def parameter_groups(network: TrainableNetwork, stage: Stage) -> list[dict[str, Any]]:
    """Return what a stage trains of a network as groups for an optimiser; nothing else has gradients afterwards.

    Parameters
    ----------
    network : TrainableNetwork
        Its parameters' ``requires_grad`` are set, and gradients of those without are forgotten.
    stage : Stage

    Returns
    -------
    list of dict
        ``params``, ``lr``, ``weight_decay`` and ``lr_scale``, the multiple of the rate that `RateSchedule` keeps to.

    Raises
    ------
    UsageError
        If the network has no module of a name, or one without parameters.
    """
    trained = {id(p) for module in trained_modules(network, stage) for p in module.parameters()}
    scales = _scales(network.base, stage.layer_decay)
    undecayed = _undecayed(network.base)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(id(parameter) in trained)
        if not parameter.requires_grad:
            # What an earlier stage left would count in the norm by which gradients are clipped.
            parameter.grad = None
            continue
        in_base = name.removeprefix("base.")
        of_vectors = parameter.ndim <= 1 or any(fnmatch.fnmatch(in_base, pattern) for pattern in undecayed)
        decay = stage.weight_decay * (stage.bias_decay if of_vectors else 1.0)
        scale = _rate_of(name, parameter, stage) * (scales[in_base] if name.startswith("base.") else 1.0)
        groups.setdefault((scale, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": stage.lr * scale, "lr_scale": scale, "weight_decay": decay}
        for (scale, decay), parameters in groups.items()
    ]


def trained_modules(network: TrainableNetwork, stage: Stage) -> list[nn.Module]:
    """Return the modules that a stage trains.

    Raises
    ------
    UsageError
        As of `parameter_groups`.
    """
    if stage.train == ALL:
        return [network]
    found: list[nn.Module] = [network.head]
    modules = dict(network.base.named_modules())
    for name in stage.train.split("+"):
        if name == HEAD:
            continue
        if not name or name not in modules:
            with_parameters = [n for n, m in modules.items() if n and any(True for _ in m.parameters())]
            top = [n for n in with_parameters if "." not in n]
            raise UsageError(
                f"The network has no module {name!r}, which a stage is to train.",
                next=f"{did_you_mean(name, with_parameters)}Its modules are {some(top, 12)}.",
            )
        if not any(True for _ in modules[name].parameters()):
            raise UsageError(
                f"The module {name!r}, which a stage is to train, has no parameters in front of the layer "
                f"{network.layer.name!r}.",
                next="Leave it out, or choose a later layer for the head.",
            )
        found.append(modules[name])
    return found


def _rate_of(name: str, parameter: nn.Parameter, stage: Stage) -> float:
    """Return by what the rate of a parameter is multiplied."""
    bias = parameter.ndim <= 1 and name.endswith("bias")
    if name.startswith("head.output."):
        return stage.head_bias_lr if bias else stage.head_lr
    return stage.bias_lr if bias else 1.0


def _undecayed(base: nn.Module) -> list[str]:
    """Return patterns of names that a network of timm counts with biases: positions and class tokens."""
    return list(base.no_weight_decay()) if hasattr(base, "no_weight_decay") else []  # type: ignore[operator]


def _scales(base: nn.Module, decay: float) -> dict[str, float]:
    """Return the multiple of the rate by the depth of each parameter; the last layer is one before the head."""
    depths = _depths(base)
    ranks = {depth: rank for rank, depth in enumerate(sorted(set(depths.values()), reverse=True), 1)}
    return {name: decay ** ranks[depth] for name, depth in depths.items()}


def _depths(base: nn.Module) -> dict[str, int]:
    """Return the number of the layer of each parameter: timm's where the network is one of its own."""
    if hasattr(base, "group_matcher"):
        from timm.models import group_parameters

        depths: dict[str, int] = group_parameters(base, base.group_matcher(coarse=False), reverse=True)  # type: ignore[operator]
        return depths
    depths, depth = {name: 0 for name, _ in base.named_parameters()}, -1
    for prefix, layer in _layers(base):
        if not any(True for _ in layer.parameters()):
            continue
        if depth < 0 or not isinstance(layer, _NORMALISATIONS):
            depth += 1
        depths |= {f"{prefix}.{name}": depth for name, _ in layer.named_parameters()}
    return depths


def _layers(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the parts of a module with their names; containers are opened."""
    for name, child in module.named_children():
        if isinstance(child, _CONTAINERS):
            yield from _layers(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


def make_optimiser(stage: Stage, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Return the optimiser of a stage, one of timm's.

    Parameters
    ----------
    stage : Stage
        ``sgd`` has plain momentum; ``nesterov`` has Nesterov's. Betas other than Adam's usual ones are handed on;
        without them an optimiser has its own.
    groups : list of dict
        Of `parameter_groups`; rates and decays stay as they are there.

    Raises
    ------
    UsageError
        If there is no such optimiser, or it cannot be had here.
    """
    check_optimiser(stage.optimiser)
    timms = _timms()
    name = _TIMM_NAMES.get(stage.optimiser, stage.optimiser)
    betas = {} if stage.betas == Stage.betas else {"betas": stage.betas}
    try:
        known = timms.get_optimizer_info(name)
        if known.second_order:
            raise ValueError("it needs second derivatives")
        if getattr(known.opt_class, "__name__", "") in _UNKEPT:
            raise ValueError("it draws numbers that no checkpoint keeps")
        return timms.create_optimizer_v2(
            groups, opt=name, lr=stage.lr, weight_decay=stage.weight_decay, momentum=stage.momentum, **betas
        )
    except (AssertionError, ImportError, TypeError, ValueError) as error:
        raise UsageError(
            f"The optimiser {stage.optimiser!r} cannot be used here: {error}.", next="Take sgd, adam or adamw."
        ) from error


def check_optimiser(name: str) -> None:
    """Raise a `UsageError` where timm has no optimiser of a name."""
    known = [*_TIMM_NAMES, *_timms().list_optimizers()]
    if name not in known:
        raise UsageError(
            f"There is no optimiser {name!r}.",
            next=f"{did_you_mean(name, known)}The usual ones are sgd, adam and adamw; all of timm's can be named.",
        )


def _timms() -> Any:
    """Import timm's optimisers without what shares tensors among machines, which one of them has a case for."""
    with without(("torch.distributed.tensor",)):
        return library("timm.optim")


class RateSchedule:
    """The learning rate of each step of a stage.

    Parameters
    ----------
    stage : Stage
    steps_per_epoch : int
        Updates of the weights.
    """

    def __init__(self, stage: Stage, steps_per_epoch: int):
        self.stage = stage
        self._scheduler = _scheduler(stage, steps_per_epoch)

    def factor(self, step: int) -> float:
        """Return the multiple of the stage's rate at a step, which counts from 0 in each stage.

        ``inv`` is Caffe's (1 + gamma · step)^(-power). A warm-up of w steps takes (step + 1) / (w + 1) of the rate.
        """
        if self.stage.schedule == "inv":
            return float((1.0 + self.stage.gamma * step) ** -self.stage.power)
        if self._scheduler is None:
            return 1.0
        self._scheduler.step_update(step)
        return float(self._scheduler.optimizer.param_groups[0]["lr"])

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        r"""Set the rates of all groups, and their momentum, before a step.

        Notes
        -----
        Caffe and Keras accumulate :math:`V_t = \mu V_{t-1} + \eta_t g_t` and move the weights by :math:`-V_t`; torch
        accumulates :math:`b_t = m_t b_{t-1} + g_t` and moves them by :math:`-\eta_t b_t`. Both are the same where
        :math:`V_t = \eta_t b_t`: then :math:`\eta_t m_t b_{t-1} = \mu V_{t-1} = \mu \eta_{t-1} b_{t-1}`, so that
        :math:`m_t = \mu \eta_{t-1} / \eta_t`. Weight decay is part of :math:`g_t` in both. The multiples of groups
        cancel. A rate of 0 cannot be had so, because Caffe's weights go on moving then: momentum stays as it is.
        """
        factor = self.factor(step)
        momentum = self.stage.momentum
        if self.stage.momentum_form == "caffe" and step > 0 and factor > 0:
            momentum *= self.factor(step - 1) / factor
        for group in optimizer.param_groups:
            group["base_lr"] = self.stage.lr * factor
            group["lr"] = group["base_lr"] * group["lr_scale"]
            if "momentum" in group:
                group["momentum"] = momentum


def _scheduler(stage: Stage, steps_per_epoch: int) -> Any:
    """Return timm's scheduler of a rate of 1 in steps; none where it has no such schedule."""
    if stage.schedule not in ("step", "cosine"):
        return None
    from timm.scheduler import CosineLRScheduler, StepLRScheduler

    unit = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    if stage.schedule == "step":
        steps = max(1, round(stage.step_epochs * steps_per_epoch))
        return StepLRScheduler(unit, decay_t=steps, decay_rate=stage.gamma, t_in_epochs=False)
    warmup = round(stage.warmup_epochs * steps_per_epoch)
    falling = stage.epochs * steps_per_epoch - warmup
    return CosineLRScheduler(
        unit,
        t_initial=max(2, falling),  # timm warns of a fall in one step, which takes the whole rate in any case
        lr_min=stage.lr_minimum / stage.lr,
        warmup_t=warmup,
        warmup_lr_init=1.0 / (warmup + 1),
        warmup_prefix=True,
        t_in_epochs=False,
    )


def set_modes(network: TrainableNetwork, stage: Stage) -> None:
    """Put what a stage trains into training mode, and the rest of the network into evaluation mode.

    Dropout in what is not trained is off. Batch normalisation there keeps its statistics, or with
    ``frozen_statistics="train"`` uses and follows those of batches. One that was folded into the convolution before
    it has no statistics: those of batches would undo the weights.
    """
    network.eval()
    if stage.frozen_statistics == "train":
        for module in network.base.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.train()
    for module in trained_modules(network, stage):
        module.train()
    for module in network.folded:
        module.eval()
