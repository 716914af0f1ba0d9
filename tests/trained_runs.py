"""Networks with new layers, as training leaves them, made by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from histokit.features import FeatureStore
from histokit.finetune.predict import NetworkScorer, run_scorers
from histokit.networks.trainable import NetworkDescription, TrainableNetwork, build_trainable
from histokit.plugin import Preprocess, Sample
from histokit.plugin.manager import registry
from histokit.reading.ingested_files import IngestedFiles
from histokit.store import RunRecord
from histokit.store.records import PREDICTION_SCHEMA

#: Of the backbone ``tiny``, and of images that are not resized.
TINY = Preprocess(size=16, mean=(0.5,) * 3, std=(0.25,) * 3)


def a_network(
    backbone: str = "tiny", layer: str = "last", seed: int = 0, preprocess: Preprocess = TINY, **changes: Any
) -> tuple[TrainableNetwork, NetworkDescription]:
    """Return a network whose weights are none of those that its backbone has, and its description."""
    options: dict[str, Any] = {"hidden": (5,), "dropout": 0.5, "outputs": 2, "inputs": 3}
    options |= {"preprocess": preprocess, "classes": ("dark", "bright"), "channels": ("R", "G", "B")}
    options |= {"facts": {"licence": "MIT", "dataset": "d"}, **changes}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network, described = build_trainable(registry().backbone(backbone, "random"), layer, **options)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
            network.head.output.weight.mul_(10)
            if hidden := getattr(network.head, "hidden1", None):
                hidden.weight.mul_(3)
    return network, described


def tensors_of(network: TrainableNetwork) -> dict[str, Tensor]:
    """Return what is stored of a network."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def network_scores(
    network: TrainableNetwork,
    described: NetworkDescription,
    files: IngestedFiles,
    samples: Sequence[Sample],
    batch_size: int | None = None,
    failed: Callable[[int, str], None] | None = None,
    **how: Any,
) -> NDArray[np.float64]:
    """Read samples and return what a network says of them; none may fail unless that is asked for."""
    refused: dict[int, str] = {}
    images = files.dataset.channels, len(samples)
    ending = torch.device("cpu"), batch_size, "float32", failed or refused.__setitem__
    scorer = NetworkScorer(network, described, *images, *ending)
    run_scorers([scorer], files, samples, **how)
    assert not refused
    return scorer.found


def a_trained_run(
    store: FeatureStore,
    dataset: str,
    trained: Mapping[str, tuple[TrainableNetwork, NetworkDescription, Sequence[str]]],
    run_id: str = "fe0123456789",
    kind: str = "finetune",
) -> RunRecord:
    """Store the run of some networks, as training does.

    Parameters
    ----------
    trained : mapping
        Part → the network, its description, and the ids of the samples that it has seen.
    """
    rows = store.samples(dataset).to_pylist()
    contents = {row["id"]: row["content"] for row in rows}
    networks = [
        store.networks.save(
            run_id, part, tensors_of(network), described.metadata(), [contents[sample_id] for sample_id in seen]
        )
        for part, (network, described, seen) in trained.items()
    ]
    described = next(iter(trained.values()))[1]
    layer = described.layer.name
    record = RunRecord(
        run_id, dataset, kind, f"{described.backbone}/{layer}", "fine-tuning", "cv", "00", described.classes,
        "accuracy", {"positive": "bright"}, [], [], {}, 1.0, "2026-01-01T00:00:00+00:00",
        group="patient", found={"networks": networks},
    )  # fmt: skip
    shared = {"run": run_id, "repeat": 0, "fold": 0, "role": "test", "kind": "probability", "levels": []}
    predicted = [
        {**shared, "id": row["id"], "true": row["label"], "predicted": "dark", "scores": [0.75, 0.25], "group": "p1"}
        for row in rows
    ]
    return store.save_run(record, pa.Table.from_pylist(predicted, schema=PREDICTION_SCHEMA), None)
