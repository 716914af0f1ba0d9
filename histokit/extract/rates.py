"""How long an extraction will take: by how fast the network was here before, or by its number of operations."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from histokit.extract.plan import BackbonePlan, TablePlan
from histokit.networks.resolved import ResolvedBackbone
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


def estimate(store: Store, plan: BackbonePlan, device: str, precision: str) -> Estimate | None:
    """Return what an image will take of the pass that fills the open tables of a plan; none where nothing is known.

    Parameters
    ----------
    store : Store
    plan : BackbonePlan
    device : str
        As it was asked for.
    precision : str
    """
    known = store.remembered(_key(plan, device, precision))
    if known is not None:
        return Estimate(known["seconds"] / known["images"], "measured")
    if plan.backbone.operations is None:
        return None
    operations, side = plan.backbone.operations
    asked = device.partition(":")[0]
    on_gpu = asked == "cuda" or (asked == "auto" and Path("/proc/driver/nvidia/version").exists())
    speed = _EACH_CORE * (os.cpu_count() or 1)
    if on_gpu:
        speed = _EACH_GPU * (1.0 if precision == "float32" else _HALF_PRECISION_ON_GPU)
    return Estimate(operations * (plan.backbone.preprocess.size / side) ** 2 / speed, "typical")


def expect(
    store: Store, backbone: ResolvedBackbone, device: str, precision: str, engine: str = "torch"
) -> Estimate | None:
    """Return what an image will take of the pass that gives the chosen layers of a backbone; no samples are needed.

    Parameters
    ----------
    store : Store
    backbone : ResolvedBackbone
    device, precision : str
        As they will be asked for.
    engine : str
        What will run it, as in `BackbonePlan`.
    """
    tables = [TablePlan(layer, {}, {}, np.zeros(0, bool), open=True) for layer in backbone.chosen]
    return estimate(store, BackbonePlan(backbone, tables, engine=engine), device, precision)


def remember_rates(store: Store, plans: Sequence[BackbonePlan], device: str, used: str, precision: str) -> None:
    """Keep how long the images of each network took.

    Parameters
    ----------
    plans : sequence of BackbonePlan
        After their networks ran.
    device, used : str
        The device that was asked for, and the type of the one that ran them.
    """
    for plan in plans:
        for name in {device.partition(":")[0], used}:
            key = _key(plan, name, precision)
            before = store.remembered(key)
            if plan.pushed >= max(_ENOUGH, 0.1 * before["images"] if before else 0):
                store.remember(key, {"images": plan.pushed, "seconds": plan.seconds})


def _key(plan: BackbonePlan, device: str, precision: str) -> str:
    curated = [layer.module for layer in plan.backbone.layers]
    modules = {table.layer.module for table in plan.open_tables}
    deepest = [max(modules, key=curated.index)] if modules <= set(curated) else sorted(modules)
    size = plan.backbone.preprocess.size
    identity: list[Any] = [plan.backbone.name, deepest, precision, device.partition(":")[0], size]
    identity += [] if plan.engine == "torch" else [plan.engine]
    return "rate:" + digest_json([*identity, socket.gethostname()]).hex()
