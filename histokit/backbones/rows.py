"""The curated models: rows of ``curated.toml``, which sits beside this module."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from histokit.plugin.backbone import Layer
from histokit.plugin.preprocess import Preprocess
from histokit.plugin.weights import Source

FILE = Path(__file__).with_name("curated.toml")

LIBRARIES = ("timm", "torchvision", "histokit")
_NEEDED = ("name", "description", "library", "model", "layers", "features", "licence")
_OPTIONAL = (
    "arguments",
    "pool",
    "preprocess",
    "repository",
    "url",
    "operations",
    "initialisation",
    "gated",
)


@dataclass(frozen=True)
class Row:
    """A curated model.

    Parameters
    ----------
    name : str
        In addresses.
    library : str
        ``timm``, ``torchvision`` or ``histokit``.
    model : str
        The library's name of the network, with the tag of its weights where the library has tags.
    arguments : mapping
        For the library's builder.
    layers : tuple of Layer
        In depth order; empty where the library is asked.
    preprocess : Preprocess
    source : Source
        Of the weights.
    licence : str
        Of the weights.
    operations : float, optional
        Billions of multiplications and additions for one image of the preprocessing's size.
    info : mapping
        ``description``, ``features`` (width of the last layer), ``gated``, and ``initialisation`` where its authors
        tell how they began to train it.
    """

    name: str
    library: str
    model: str
    arguments: Mapping[str, Any]
    layers: tuple[Layer, ...]
    preprocess: Preprocess
    source: Source
    licence: str
    operations: float | None
    info: Mapping[str, Any]

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other names by which a file of these weights may be called."""
        # Only a name that stands for one set of weights: several models share timm's plain architectures.
        unique = self.library == "torchvision" or "." in self.model
        hub = f"timm:hf-hub:{self.source.repository}" if self.source.repository else None
        return tuple(name for name in (f"{self.library}:{self.model}" if unique else None, hub) if name)


@lru_cache(maxsize=1)
def rows() -> Mapping[str, Row]:
    """Return all curated models by name.

    Raises
    ------
    ValueError
        If a table lacks a key or has an unknown one, or two are of one name; names it.
    """
    found: dict[str, Row] = {}
    for entry in tomllib.loads(FILE.read_text(encoding="utf-8"))["backbone"]:
        name = entry.get("name")
        if name in found:
            raise ValueError(f"{FILE.name} has two tables of {name!r}")
        found[name] = _row(entry)
    return found


def _check(entry: Mapping[str, Any]) -> None:
    where = f"the table of {entry.get('name')!r} in {FILE.name}"
    lacking = [key for key in _NEEDED if key not in entry]
    unknown = [key for key in entry if key not in (*_NEEDED, *_OPTIONAL)]
    if lacking or unknown:
        texts = [f"lacks {', '.join(lacking)}"] * bool(lacking) + [f"has the unknown {', '.join(unknown)}"] * bool(
            unknown
        )
        raise ValueError(f"{where} {' and '.join(texts)}")
    if entry["library"] not in LIBRARIES:
        raise ValueError(f"{where} has library={entry['library']!r}, which is none of {', '.join(LIBRARIES)}")


def _row(entry: Mapping[str, Any]) -> Row:
    _check(entry)
    pooling = entry.get("pool", "avg")
    source = Source(repository=entry.get("repository"), url=entry.get("url"))
    info = {key: entry[key] for key in ("description", "features", "initialisation") if key in entry}
    return Row(
        name=entry["name"],
        library=entry["library"],
        model=entry["model"],
        arguments=entry.get("arguments", {}),
        layers=tuple(_layer(text, pooling) for text in entry["layers"]),
        preprocess=Preprocess.from_json(entry.get("preprocess", {})),
        source=source,
        licence=entry["licence"],
        operations=entry.get("operations"),
        info={**info, "gated": entry.get("gated", False)},
    )


def _layer(text: str, pooling: str) -> Layer:
    module, _, own = text.partition(":")
    return Layer(module, module, own or pooling)  # type: ignore[arg-type]
