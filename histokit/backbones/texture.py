"""``texture``: hand-crafted colour and texture features, the control that no deep network took part in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from histokit.errors import UsageError
from histokit.plugin.backbone import Backbone, BackboneRequest, Layer, Preprocess

if TYPE_CHECKING:
    from torch import nn

CHANNELS = ("red", "green", "blue", "saturation", "value", "haematoxylin", "eosin", "dab")
STATISTICS = ("mean", "std", "q05", "q25", "median", "q75", "q95", "skewness")
HUES = ("hue_cosine", "hue_sine")

#: Grey values and haematoxylin are what patterns and co-occurrences are counted on.
PLANES = ("grey", "haematoxylin")
RADII = (1, 2, 3)
DISTANCES = (1, 2, 4)
PROPERTIES = ("contrast", "dissimilarity", "homogeneity", "energy", "correlation", "ASM")


def points(radius: int) -> int:
    """Return how many neighbours on a circle a local binary pattern compares."""
    return 8 * radius


COLUMNS: dict[str, tuple[str, ...]] = {
    "stain": (*(f"{c}_{s}" for c in CHANNELS for s in STATISTICS), *HUES),
    "lbp": tuple(f"{p}_lbp_r{r}_{i}" for p in PLANES for r in RADII for i in range(points(r) + 2)),
    "glcm": tuple(f"{p}_{q}_d{d}" for p in PLANES for d in DISTANCES for q in PROPERTIES),
}
COLUMNS["joined"] = tuple(name for names in list(COLUMNS.values()) for name in names)


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
            next="Leave out --weights, and write --backbone texture",
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
