"""The networks that runs of a store trained, as backbones: ``run:ID``, and ``run:ID.FOLD`` of one fold."""

from __future__ import annotations

from collections.abc import Iterable

from histokit.plugin.backbone import Backbone, BackboneRequest
from histokit.plugin.hookspecs import RegisterBackbone, hookimpl
from histokit.plugin.weights import TRAINED


@hookimpl
def register_backbones(register: RegisterBackbone) -> None:
    """Announce the prefix."""
    register(TRAINED, _load, _names)


def _load(request: BackboneRequest) -> Backbone:
    from histokit.networks.trained_backbone import TrainedBackbone

    return TrainedBackbone(request)


def _names(store: str | None = None) -> Iterable[str]:
    from histokit.networks.trained_runs import names_of

    return names_of(store)
