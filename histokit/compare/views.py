"""Views of comparisons, each a document that is made only where it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from histokit.compare.label_curves import label_curves
from histokit.compare.layer_curves import layer_curves
from histokit.store import Store

#: View → what makes it of the columns and methods of a comparison; figures of the same names draw them.
VIEWS: dict[str, Callable[[Store, Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]], dict[str, Any]]] = {
    "labels": label_curves,
    "layers": layer_curves,
}

#: View → why what its document calls unknown is not in it.
WHY_UNKNOWN = {
    "labels": "they have no split any more, it is another one by now, or a column of its samples is gone",
    "layers": "where these layers stand in their networks is not known here",
}
