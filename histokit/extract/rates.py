"""How long an extraction will take: by how fast the network was here before, or by its number of operations."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from histokit.cores import cores
from histokit.extract.ledger import BackboneLedger
from histokit.networks.resolved import ResolvedBackbone
from histokit.plugin import Layer
from histokit.plugin.digests import digest_json
from histokit.store import Store

#: Billions of multiplications and additions a second, float32: what a processor's core, and a GPU of a workstation,
#: reach on such networks, reading and writing included. Meant to tell minutes from days.
_EACH_CORE = 15.0
_EACH_GPU = 3_000.0
_HALF_PRECISION_ON_GPU = 2.5

#: A rate of fewer images says little.
_ENOUGH = 16


class Estimate(NamedTuple):
    """Seconds for one image, and whether they are ``measured`` or ``typical``."""

    seconds: float
    source: str


def estimate(
    store: Store,
    backbone: ResolvedBackbone,
    device: str,
    precision: str,
    layers: Sequence[Layer] | None = None,
    engine: str = "torch",
) -> Estimate | None:
    """Return what an image will take of the pass that gives some layers; none where nothing is known.

    Parameters
    ----------
    store : Store
    backbone : ResolvedBackbone
    device, precision : str
        As they will be asked for.
    layers : sequence of Layer, optional
        All that are chosen where not given.
    engine : str
        That runs the network.
    """
    known = store.remembered(_key(backbone, backbone.chosen if layers is None else layers, engine, device, precision))
    if known is not None:
        return Estimate(known["seconds"] / known["images"], "measured")
    if backbone.operations is None:
        return None
    operations, side = backbone.operations
    asked = device.partition(":")[0]
    on_gpu = asked == "cuda" or (asked == "auto" and Path("/proc/driver/nvidia/version").exists())
    speed = _EACH_CORE * cores()
    if on_gpu:
        speed = _EACH_GPU * (1.0 if precision == "float32" else _HALF_PRECISION_ON_GPU)
    return Estimate(operations * (backbone.preprocess.size / side) ** 2 / speed, "typical")


def remember_rates(store: Store, networks: Sequence[BackboneLedger], device: str, used: str, precision: str) -> None:
    """Keep how long the images of each network took.

    Parameters
    ----------
    networks : sequence of BackboneLedger
        After they ran.
    device, used : str
        The device that was asked for, and the type of the one that ran them.
    """
    for network in networks:
        layers = [table.plan.layer for table in network.open_tables]
        for name in {device.partition(":")[0], used}:
            key = _key(network.plan.backbone, layers, network.plan.engine, name, precision)
            before = store.remembered(key)
            if network.pushed >= max(_ENOUGH, 0.1 * before["images"] if before else 0):
                store.remember(key, {"images": network.pushed, "seconds": network.seconds})


def _key(backbone: ResolvedBackbone, layers: Sequence[Layer], engine: str, device: str, precision: str) -> str:
    curated = [layer.module for layer in backbone.layers]
    modules = {layer.module for layer in layers}
    deepest = [max(modules, key=curated.index)] if modules <= set(curated) else sorted(modules)
    identity: list[Any] = [backbone.name, deepest, precision, device.partition(":")[0], backbone.preprocess.size]
    identity += [] if engine == "torch" else [engine]
    return "rate:" + digest_json([*identity, socket.gethostname()]).hex()
