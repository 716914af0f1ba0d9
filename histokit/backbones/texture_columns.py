"""The columns of ``texture``: what is measured of an image, in which neighbourhoods, and what it is called."""

from __future__ import annotations

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
