"""The networks of a model: as they are written into its folder, and built again from there without any download."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histokit.errors import StoreError, UsageError
from histokit.features.run_tables import resolved_backbone, variants, weights_path
from histokit.models.model_folder import SEEN_FILE, damaged
from histokit.networks.trained_backbone import bare_backbone
from histokit.networks.trained_runs import find_trained
from histokit.plugin.backbone import Backbone, Layer
from histokit.plugin.checkpoint import fill_network
from histokit.plugin.digests import DIGEST_BYTES
from histokit.plugin.guarded_backbone import GuardedBackbone
from histokit.plugin.manager import registered_backbone, registry
from histokit.plugin.preprocess import Preprocess
from histokit.plugin.weights import TRAINED, offline
from histokit.protocol.networks_seen import seen_by
from histokit.store import Store
from histokit.store.network_files import separate
from histokit.store.vectors import FeatureTable

if TYPE_CHECKING:
    from torch import Tensor, nn


def architecture(store: Store, backbone: str, arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the backbone, and its arguments, by which a network is built where no run and no file of it is."""
    while backbone.startswith(TRAINED):
        found = find_trained(store, backbone)
        document = found.networks.read(found.run, found.entry).document
        backbone = str(document["facts"].get("architecture", document["backbone"]))
        arguments = document["facts"].get("arguments", {})
    bare = bare_backbone(backbone, None, arguments)
    return bare.building_name, {**arguments, **bare.building_arguments}


def plugin_of(backbone: str) -> str | None:
    """Return name and version of the distribution that builds a backbone; none for histokit's own."""
    entry = registered_backbone(backbone)
    return entry.distribution if entry.third_party else None


def save_tensors(tensors: Mapping[str, Tensor], path: Path, document: Mapping[str, Any]) -> None:
    """Write tensors as safetensors, with a document in the metadata; equal ones give equal bytes."""
    from safetensors.torch import save_file

    metadata = {"histokit": json.dumps(document, sort_keys=True)}
    save_file(separate(tensors), path, {"format": "pt"} if not document else metadata)


def save_backbones(store: Store, tables: Sequence[FeatureTable], folder: Path) -> list[dict[str, Any]]:
    """Write the networks that features are made by, each once, and return how they are built and run.

    Parameters
    ----------
    store : Store
    tables : sequence of FeatureTable
    folder : Path

    Raises
    ------
    StoreError
        If the weights are not there, or are others than those that the features were made with.
    UsageError
        If the features were computed elsewhere.
    """
    from histokit.networks.trainable import size_of_positions

    found = []
    for number, variant in enumerate(variants(tables), 1):
        spec, info = variant[0].spec, variant[0].info
        if variant[0].imported:
            raise UsageError(
                f"{variant[0].address} was computed elsewhere: its network is not here to be exported.",
                next="Export a run on features of histokit extract.",
            )
        name, request = str(spec["backbone"]), str(info["weights_request"])
        resolved = resolved_backbone(store, variant)
        guarded = GuardedBackbone(registry().backbone(name, request, str(store.uri)))
        file = f"backbone-{number}.safetensors"
        network, own = guarded.build(), guarded.backbone
        save_tensors(guarded.tensors(network), folder / file, {})
        root, arguments = architecture(store, own.building_name, own.building_arguments)
        if (built := size_of_positions(network)) not in (None, own.building_size or guarded.preprocess().size):
            arguments["img_size"] = built
        by_name = {layer.name: layer for layer in resolved.chosen}
        found.append(
            {
                "backbone": name,
                "architecture": root,
                "arguments": arguments,
                "size": own.building_size,
                "plugin": plugin_of(root),
                "file": file,
                "layers": [
                    {**asdict(by_name[t.layer]), "width": t.width, "fingerprint": t.fingerprint} for t in variant
                ],
                "preprocess": resolved.preprocess.to_json(),
                "native_preprocess": guarded.preprocess().to_json(),
                "precision": spec["precision"],
                "store_dtype": variant[0].dtype,
                "licence": info.get("licence"),
            }
        )
    return found


def table_facts(table: FeatureTable) -> dict[str, Any]:
    """Return what extracts the same features elsewhere; of weights, no path of this machine."""
    path = weights_path(table)
    info = {**table.info, "weights_request": str(table.info["weights_request"]) if path is None else path.name}
    info["source"] = Path(str(info.get("source") or "")).name
    return {"name": table.name, "spec": dict(table.spec), "width": table.width, "info": info, "local": path is not None}


class ExportedBackbone(Backbone):
    """A backbone whose weights lie in the folder of a model.

    Parameters
    ----------
    folder : Path
    document : mapping
        Of `save_backbones`.
    """

    def __init__(self, folder: Path, document: Mapping[str, Any]):
        layers = [_layer(entry) for entry in document["layers"]]
        native = Preprocess.from_json(document["native_preprocess"])
        super().__init__(document["backbone"], layers, native, licence=document["licence"])
        self._file, self._architecture = folder / document["file"], str(document["architecture"])
        self._arguments, self._size = document["arguments"], document.get("size") or native.size

    def build(self) -> nn.Module:
        """Return the network with the weights of the folder.

        Raises
        ------
        StoreError
            If the network is another one here.
        PluginError
            If there is no such backbone.
        """
        from histokit.networks.adapters import inflate

        with offline():
            guarded = GuardedBackbone(self._bare())
            network, colours = guarded.build(), len(guarded.preprocess().mean)
        if len(self.preprocess.mean) != colours:
            inflate(network, colours, len(self.preprocess.mean), self.name)
        load_tensors(network, load_file(self._file), self._architecture)
        return network.eval().requires_grad_(False)

    def prefix_tokens(self, network: nn.Module) -> int:
        """Return how many tokens precede the patch tokens."""
        with offline():
            return GuardedBackbone(self._bare()).prefix_tokens(network)

    def _bare(self) -> Backbone:
        return bare_backbone(self._architecture, None, self._arguments, self._size)


def _layer(entry: Mapping[str, Any]) -> Layer:
    return Layer(**{key: value for key, value in entry.items() if key not in ("width", "fingerprint")})


def load_file(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file of a model.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file as load

    try:
        found: dict[str, Tensor] = load(path)
    except (OSError, SafetensorError) as error:
        raise damaged(path.parent, path.name, error) from error
    return found


def load_tensors(network: nn.Module, tensors: Mapping[str, Tensor], backbone: str) -> None:
    """Give a network its weights.

    Raises
    ------
    StoreError
        If they are of another network.
    """
    own = network.state_dict()
    wrong = sorted(
        name
        for name in {*own, *tensors}
        if name not in own or name not in tensors or own[name].shape != tensors[name].shape
    )
    if wrong:
        raise StoreError(
            f"The model cannot be built: {backbone} is another network here ({wrong[0]!r} differs).",
            next="Install the versions that it was trained with: they are in its README.md and histokit.json.",
        )
    fill_network(network, tensors)


def save_seen(store: Store, backbones: Sequence[str], folder: Path) -> None:
    """Write digests of the images that networks of runs have seen, so that scores on them are told apart."""
    from safetensors.numpy import save_file

    seen = {name: sorted(seen_by(store, name)) for name in dict.fromkeys(backbones)}
    rows = {
        name: np.frombuffer(b"".join(used), np.uint8).reshape(-1, DIGEST_BYTES) for name, used in seen.items() if used
    }
    if rows:
        save_file(rows, folder / SEEN_FILE)


def read_seen(folder: Path) -> dict[str, set[bytes]]:
    """Return what `save_seen` wrote: backbone → digests of images.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file as load

    if not (folder / SEEN_FILE).is_file():
        return {}
    try:
        return {name: {row.tobytes() for row in rows} for name, rows in load(folder / SEEN_FILE).items()}
    except (OSError, SafetensorError) as error:
        raise damaged(folder, SEEN_FILE, error) from error
