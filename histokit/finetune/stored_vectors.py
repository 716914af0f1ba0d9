"""The vectors of what is frozen of a network, where they stand in a feature table already: then no image is needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from histokit.features import FeatureStore
from histokit.finetune.network_question import NetworkQuestion
from histokit.finetune.recipe import NetworkRecipe
from histokit.networks.requests import FLATTEN
from histokit.protocol.experiment import Experiment
from histokit.store.fingerprints import spec_fingerprint
from histokit.store.vectors import FeatureTable


class FrozenVectors(NamedTuple):
    """Vectors by the rows of an experiment, and the address that they are stored under; empty where none is."""

    by_row: dict[int, Tensor]
    address: str = ""


def stored_vectors(
    store: FeatureStore, question: NetworkQuestion, experiment: Experiment, precision: str, device: torch.device
) -> FrozenVectors:
    """Return what `histokit.extract` stored of the frozen network of a recipe.

    Parameters
    ----------
    store : FeatureStore
    question : NetworkQuestion
    experiment : Experiment
        Of images.
    precision : str
        Of the passes: a table of another one is not taken, so that numbers do not depend on what is stored.
    device : torch.device
        Where the vectors go.

    Returns
    -------
    FrozenVectors
        Of a table of the same backbone, weights, preprocessing, layer, pooling and channels.
    """
    table = _table(store, question, precision) if _begins_with_vectors(question.recipe) else None
    if table is None:
        return FrozenVectors({})
    address = f"{table.address}@{table.fingerprint}"
    name = experiment.split.dataset
    found = store.features(name, address, where=question.options.where, allow_missing=True)
    matrix = torch.from_numpy(found.X).to(device)
    vector_of = dict(zip(zip(found.sample_ids, found.content, strict=True), matrix, strict=True))
    known = zip(experiment.features.sample_ids, experiment.features.content, strict=True)
    return FrozenVectors({row: vector_of[key] for row, key in enumerate(known) if key in vector_of}, address)


def _begins_with_vectors(recipe: NetworkRecipe) -> bool:
    """Return whether the network is as it comes when a stage trains on its vectors."""
    flat = recipe.head.layer.endswith(f":{FLATTEN}")
    return not (flat or recipe.from_scratch) and recipe.by_vectors(recipe.stages[0])


def _table(store: FeatureStore, question: NetworkQuestion, precision: str) -> FeatureTable | None:
    backbone = question.backbone
    channels = backbone.preprocess.channels or store.dataset(question.dataset).channels
    wanted = spec_fingerprint(backbone.spec(question.layer, channels, precision))
    return next(
        (
            table
            for table in store.feature_tables(question.dataset)
            if table.fingerprint == wanted and _same_code(table.info, backbone.code)
        ),
        None,
    )


def _same_code(info: Mapping[str, object], code: str) -> bool:
    """Return whether the plugin of a network is not edited since its vectors were made."""
    made_by = info.get("code")
    return not (made_by and code) or made_by == code
