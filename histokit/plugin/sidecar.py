"""What a JSON file beside weights says: preprocessing, and how the network is built."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from histokit.errors import StoreError, UsageError, did_you_mean
from histokit.plugin.backbone import Preprocess

#: Fields that say something else than preprocessing.
OTHER = ("architecture", "model_args", "num_classes", "num_features", "global_pool")
REMARKS = ("licence", "license", "description", "origin", "name")


def beside(file: Path) -> Mapping[str, Any]:
    """Return the JSON object beside a weights file, empty where there is none.

    Beside ``x.safetensors`` that is ``x.json`` or ``x.safetensors.json``.
    """
    for path in (file.with_suffix(".json"), file.with_name(f"{file.name}.json")):
        if path.is_file():
            return read_object(path)
    return {}


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    StoreError
        If the file holds something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read as JSON ({error}).", next="Mend or remove the file.") from error
    if not isinstance(document, dict):
        raise StoreError(f"{path} holds no JSON object.", next='Write fields such as {"mean": [0.5, 0.5, 0.5]}.')
    return document


def preprocess_from(document: Mapping[str, Any], base: Preprocess, origin: str) -> Preprocess:
    """Return preprocessing with the fields that a configuration sets.

    Parameters
    ----------
    document : mapping
        Fields of `Preprocess`, at the top or under ``preprocess``, or a configuration as timm writes it.
    base : Preprocess
    origin : str
        Which file it is, for messages.

    Raises
    ------
    StoreError
        If a field is unknown or has an impossible value.
    """
    library = document.get("pretrained_cfg", document if "architecture" in document else None)
    if library is not None:
        return library_preprocess(library, base)
    changes = {k: v for k, v in document.items() if k not in (*OTHER, *REMARKS)}
    changes = {**{k: v for k, v in changes.items() if k != "preprocess"}, **changes.get("preprocess", {})}
    known = base.to_json()
    for name in changes:
        if name not in known:
            raise StoreError(
                f"{origin}: preprocessing has no field {name!r}.",
                next=f"{did_you_mean(name, known)}Use some of {', '.join(known)}.",
            )
    try:
        return Preprocess.from_json({**known, **changes})
    except (TypeError, ValueError, UsageError) as error:
        raise StoreError(f"{origin}: {error}", next="Mend the file.") from error


def library_preprocess(configuration: Mapping[str, Any], base: Preprocess) -> Preprocess:
    """Return preprocessing with size, interpolation, mean and std of a configuration in timm's format."""
    changes = {k: configuration[k] for k in ("interpolation", "mean", "std") if configuration.get(k)}
    if configuration.get("input_size"):
        changes["size"] = configuration["input_size"][-1]
    for name in ("mean", "std"):
        if name in changes:
            changes[name] = list(changes[name])
    return Preprocess.from_json({**base.to_json(), **changes})
