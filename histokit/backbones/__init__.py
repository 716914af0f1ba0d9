"""Built-in backbones: all networks of timm and torchvision, curated models, and hand-crafted features."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from histokit.backbones.rows import Row, rows
from histokit.plugin.backbone import Backbone, BackboneRequest
from histokit.plugin.hookspecs import RegisterBackbone, hookimpl


@hookimpl
def register_backbones(register: RegisterBackbone) -> None:
    """Announce the prefixes of both libraries, the curated models and ``texture``."""
    register("timm:", _timm, _timm_names)
    register("torchvision:", _torchvision, _torchvision_names)
    for name, row in rows().items():
        about = {"about": row.info["description"], "licence": row.licence, "gated": row.info["gated"]}
        register(name, _curated, about=about)
    register("texture", _texture, about={"about": "Hand-crafted colour and texture features", "gated": False})


def _timm(request: BackboneRequest) -> Backbone:
    from histokit.backbones.timm_networks import TimmBackbone

    return TimmBackbone(request)


def _torchvision(request: BackboneRequest) -> Backbone:
    from histokit.backbones.torchvision_networks import TorchvisionBackbone

    return TorchvisionBackbone(request)


def _curated(request: BackboneRequest) -> Backbone:
    from histokit.backbones.paper_backbones import PaperBackbone
    from histokit.backbones.timm_networks import TimmBackbone
    from histokit.backbones.torchvision_networks import TorchvisionBackbone

    row = rows()[request.model]
    classes: dict[str, Callable[[BackboneRequest, Row], Backbone]] = {
        "timm": TimmBackbone,
        "torchvision": TorchvisionBackbone,
        "histokit": PaperBackbone,
    }
    return classes[row.library](request, row)


def _texture(request: BackboneRequest) -> Backbone:
    from histokit.backbones.texture import texture

    return texture(request)


def _timm_names() -> Iterable[str]:
    from histokit.backbones.timm_networks import model_names

    return model_names()


def _torchvision_names() -> Iterable[str]:
    from histokit.backbones.torchvision_networks import model_names

    return model_names()
