"""What `explain` finds: for each image, where a model sees what speaks for a class."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ExplainedSample:
    """The map of one image.

    Parameters
    ----------
    id : str
    true : str or float, optional
    predicted : str or float
        As the run has it.
    explained : str, optional
        The class whose score is explained; none where a number is predicted.
    score : float
        Of that class, or the predicted number, as the network gives it here.
    intercept : float, optional
        The score is this and the mean of the map, where that is so.
    network : str
        Which one was asked.
    seen : bool
        Whether that was trained on this image.
    constant : bool
        Whether the map is the same everywhere.
    image : (H, W, 3) uint8 array
        As the network takes it.
    map : (h, w) float32 array
        Of the layer.
    heat : (H, W) float32 array
        The same over the image: from 0, its least value, to 1, its largest; or -1 to 1 where it has signs.
    area : float
        Which share of the image has at least half of the map's largest value: small where the map points at a place.
    """

    id: str
    true: str | float | None
    predicted: str | float
    explained: str | None
    score: float
    intercept: float | None
    network: str
    seen: bool
    constant: bool
    image: NDArray[np.uint8]
    map: Floats
    heat: Floats
    area: float

    @property
    def wrong(self) -> bool:
        """Whether it was predicted to be of another class than it is."""
        return isinstance(self.true, str) and self.true != self.predicted

    @property
    def group(self) -> str:
        """Where it stands in figures: its class, or that which was predicted."""
        return str(self.predicted if self.true is None else self.true) if isinstance(self.predicted, str) else ""

    def to_json(self) -> dict[str, Any]:
        """Return all but the arrays as JSON-serialisable data."""
        names = ("id", "true", "predicted", "explained", "score", "intercept", "network", "seen", "constant", "area")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, eq=False)
class Explanation:
    """The maps of some images.

    Parameters
    ----------
    run, dataset, split : str
        The run that predicted the images.
    method : str
    backbone : str
    layer : str
        Whose map it is.
    kind : str
        Of scores: ``probability``, ``decision`` or ``value``.
    signed : bool
        Whether maps tell what speaks against the class, too.
    classes : tuple of str
    samples : tuple of ExplainedSample
    notes : list of str
    target : str
        The column that is predicted.
    groups : int
        Of how many groups, such as slides, the images are; 0 where there are none.
    shown : str
        How images are shown, where that is not in their colours.
    """

    run: str
    dataset: str
    split: str
    method: str
    backbone: str
    layer: str
    kind: str
    signed: bool
    classes: tuple[str, ...]
    samples: tuple[ExplainedSample, ...]
    notes: list[str] = field(default_factory=list)
    target: str = "label"
    groups: int = 0
    shown: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data: of arrays the maps of the layer, which all others are made of."""
        names = ("run", "dataset", "split", "target", "method", "backbone", "layer", "kind", "signed", "groups")
        facts = {name: getattr(self, name) for name in (*names, "shown", "notes")}
        samples = [{**sample.to_json(), "map": sample.map.tolist()} for sample in self.samples]
        return {**facts, "classes": list(self.classes), "samples": samples}
