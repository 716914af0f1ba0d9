"""``texture``: hand-crafted colour and texture features, the control that no deep network took part in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from histokit.backbones.texture_columns import COLUMNS
from histokit.errors import UsageError
from histokit.plugin.backbone import Backbone, BackboneRequest, Layer
from histokit.plugin.preprocess import Preprocess

if TYPE_CHECKING:
    from torch import nn


class Texture(Backbone):
    """Colour statistics after stain separation, local binary patterns, grey-level co-occurrence, and all joined."""

    def build(self) -> nn.Module:
        """Return the module; it takes an (N, 3, H, W) batch on a scale of 0 to 1, of any size from 1 x 1 on."""
        from histokit.backbones.texture_network import TextureNetwork

        return TextureNetwork().eval()


def texture(request: BackboneRequest) -> Texture:
    """Return the backbone.

    Raises
    ------
    UsageError
        If weights or builder options are asked for.
    """
    if request.weights not in ("pretrained", "none") or request.options:
        raise UsageError(
            "texture is computed by formulas: it has neither weights nor builder options.",
            next="Leave out --weights (those of another network alone are --weights BACKBONE=WEIGHTS), and write "
            "--backbone texture",
        )
    return Texture(
        name="texture",
        layers=[Layer(name, name, "none", composite=name == "joined") for name in COLUMNS],
        preprocess=Preprocess(resize="none", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        weights="none",
        licence=None,
        info={
            "description": "hand-crafted colour and texture features; no weights",
            "features": len(COLUMNS["joined"]),
            "gated": False,
            "columns": COLUMNS,
        },
    )
