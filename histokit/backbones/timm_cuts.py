"""Where a network of timm is cut, by what timm tells of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from histokit.backbones.cuts import Step, layer_of, pooled_map, spread, trunk_cuts
from histokit.backbones.library import prefix_tokens
from histokit.plugin.backbone import Layer, Pooling

if TYPE_CHECKING:
    from torch import nn


def find_layers(network: nn.Module, steps: Sequence[Step]) -> list[Layer]:
    """Return the cut points that timm lists for a network, and the map that the network itself pools."""
    order = {step.module: index for index, step in enumerate(steps)}
    widths = {entry["module"]: entry["num_chs"] for entry in _feature_info(network)}
    listed = sorted((m for m in widths if m in order and steps[order[m]].is_map), key=order.__getitem__)
    last = pooled_map(steps, listed)
    found = spread(listed, steps) if listed else trunk_cuts(network, steps)
    cuts = [m for m in found if _comparable(steps[order[m]], last, prefix_tokens(network))]
    if last is not None and last.module not in cuts:
        cuts = [*cuts, last.module]
    if "attn_pool" in order and len(steps[order["attn_pool"]].shape) == 2:
        cuts = [*cuts, "attn_pool"]
    widths.setdefault(cuts[-1], getattr(network, "num_features", None))
    pooling = token_pooling(network)
    return [layer_of(steps[order[cut]], widths.get(cut), pooling, network, steps) for cut in cuts]


def _feature_info(network: nn.Module) -> Sequence[Mapping[str, Any]]:
    info = getattr(network, "feature_info", [])
    return list(getattr(info, "info", info))


def _comparable(step: Step, last: Step | None, prefix: int) -> bool:
    # In CaiT and XCiT the class token joins late: in the blocks before, the first token is a patch.
    if last is None or not prefix or len(last.shape) != 3 or len(step.shape) != 3:
        return True
    return step.shape[1] == last.shape[1]


def token_pooling(network: nn.Module) -> Pooling:
    """Return how a network reduces its tokens to a vector."""
    pool = getattr(network, "global_pool", "")
    if pool == "max":
        return "max"
    if pool in ("avg", "avgmax", "catavgmax") or not prefix_tokens(network):
        return "avg"
    return "cls"
