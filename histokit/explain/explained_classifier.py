"""A linear classifier on the mean of a layer's map: its score is the mean of a map, and that is told exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from histokit.classifiers.estimators import load
from histokit.classifiers.linear_weights import linear_weights
from histokit.classifiers.table import CLASSIFIERS, REGRESSORS
from histokit.errors import UsageError
from histokit.explain.chosen import ChosenSample
from histokit.explain.layer_maps import MapLayer, ScoredMaps, maps_of
from histokit.explain.normalised_weights import stored_weights
from histokit.features import FeatureStore
from histokit.features.run_tables import resolved_backbone, tables_of_run
from histokit.networks.adapters import inflate
from histokit.networks.cut_points import checked_vectors
from histokit.networks.devices import choose_device, whole_float32
from histokit.networks.failures import forward_told
from histokit.networks.transform import Transform
from histokit.plugin.guarded_backbone import GuardedBackbone
from histokit.plugin.manager import registry
from histokit.protocol.networks_seen import seen_by
from histokit.store import RunRecord, Store
from histokit.store.vectors import FeatureTable

#: What works.
_LINEAR = ("svm", "logreg", "fc", "ridge", "svr")
_WORKS = "linear classifiers (svm, logreg, fc, ridge; svr) on one layer that was averaged over its positions"


class ExplainedClassifier:
    """The model of a training run, and the network that its features are of.

    A column of features is the mean of a channel over all positions, so that the decision value is the mean over
    positions of the channels, each times its weight, plus the intercept (Zhou et al. 2016).

    Parameters
    ----------
    store : FeatureStore
    run : RunRecord
        Which predicted the images.
    source : RunRecord
        Whose model predicted them: of `histokit.train`.
    layer : str, optional
        None but that of the features.
    channels : sequence of str
        Of the images.
    device : str

    Raises
    ------
    UsageError
        If the classifier is not linear, or its features are no means over positions of one layer.
    StoreError
        If the network is not there, or is another one.
    """

    method = "class-activation map"
    signed = True

    def __init__(
        self,
        store: FeatureStore,
        run: RunRecord,
        source: RunRecord,
        layer: str | None,
        channels: Sequence[str],
        device: str,
    ):
        table = _table(store, source, layer)
        model = load(store.model(source.id))
        found = linear_weights(model["estimator"], len(run.classes))
        if found is None:
            raise _unsuitable(source, f"its classifier is {type(model['estimator']).__name__}")
        weights = found.over(model["columns"], table.width)
        self._known = np.isfinite(weights.intercepts)
        self._weights_of = stored_weights(store, run, table, weights)
        resolved = resolved_backbone(store, [table])
        backbone = registry().backbone(resolved.name, resolved.request, str(store.uri))
        guarded = GuardedBackbone(backbone)
        self._caller = guarded.caller
        self.name = f"{run.classifier} on {table.address}"
        self.device = choose_device(device)
        self.transform = Transform(resolved.preprocess, channels, self.device)
        network, colours = guarded.build(), len(guarded.preprocess().mean)
        if resolved.preprocess.adapter == "inflate" and self.transform.depth != colours:
            inflate(network, colours, self.transform.depth, guarded.title)
        self._network = network.to(self.device)
        self.layer = MapLayer(resolved.chosen[0], guarded.prefix_tokens(network))
        self._module = self._network.get_submodule(self.layer.layer.module)
        self.seen = {row.tobytes() for row in model["trained_on"]} | seen_by(store, table.backbone)
        self.kind = "decision" if run.classes else "value"
        self.backbone = table.backbone
        self.notes = [*(_notes(source) if run.id == source.id else []), *_precision_note(table)]

    def maps(self, pixels: Tensor, samples: Sequence[ChosenSample]) -> ScoredMaps:
        """Return the maps of resized images, and the score of the output that each is of."""
        absent = [sample.explained for sample in samples if not self._known[sample.output]]
        if absent:
            raise UsageError(
                f"The model had no training sample of the class {absent[0]!r}.", next="Explain another --class."
            )
        weights = [(self._weights_of(sample.id), sample.output) for sample in samples]
        rows = torch.from_numpy(np.stack([each.weights[output] for each, output in weights])).to(self.device)
        pieces = pixels.split(1, dim=1) if self.transform.preprocess.adapter == "each" else (pixels,)
        found = [self._channels(piece, rows.shape[1] // len(pieces)) for piece in pieces]
        # Vectors of channels that went in on their own lie one behind the other.
        maps = torch.einsum("nc,nchw->nhw", rows, torch.cat(found, dim=1).double())
        intercepts = [float(each.intercepts[output]) for each, output in weights]
        scores = [mean + beside for mean, beside in zip(maps.mean(dim=(1, 2)).tolist(), intercepts, strict=True)]
        return ScoredMaps(maps.float(), scores, intercepts)

    def _channels(self, pixels: Tensor, width: int) -> Tensor:
        batch = self.transform.normalise(pixels)
        try:
            with whole_float32(self.device), torch.no_grad(), forward_told(self._caller):
                maps = maps_of(self._network, self._module, self.layer, batch)
            return checked_vectors(maps, self._caller, self.layer.layer, len(batch), width)
        except UsageError as error:
            raise UsageError(
                error.message,
                next="The classifier sees this layer only: extract one with rows and columns (histokit list layers "
                f"{self.backbone}), or larger images, and explain a run that is trained on it.",
            ) from error


def _table(store: Store, run: RunRecord, layer: str | None) -> FeatureTable:
    """Return the feature table of a run, where its classifier can be explained."""
    known = {**CLASSIFIERS, **REGRESSORS}
    if run.classifier in known and known[run.classifier].pixels:
        raise _unsuitable(run, "it has no network")
    if run.classifier not in _LINEAR:
        raise _unsuitable(run, f"{run.classifier} is not linear")
    if run.parameters.get("aggregate"):
        raise _unsuitable(run, f"it was trained on units of several images ({run.parameters['aggregate']})")
    if len(run.features) != 1:
        raise _unsuitable(run, f"its features are of {len(run.features)} layers")
    (table,) = tables_of_run(store, run)
    if table.imported:
        raise _unsuitable(run, "its features were computed elsewhere")
    if table.spec["pool"] != "avg":
        raise _unsuitable(run, f"its layer is pooled by {table.spec['pool']!r}, and has no map that adds up to it")
    if layer not in (None, "last", table.layer, table.spec["module"]):
        raise UsageError(
            f"The classifier of the run {run.id} sees the layer {table.layer!r} only.", next="Leave out --layer."
        )
    return table


def _notes(run: RunRecord) -> list[str]:
    if len(run.folds) < 2:
        return []
    return [
        "of a classifier over folds the model of all training samples is kept, and it is this one that is explained: "
        "what it predicts may differ from what those of the folds did"
    ]


def _precision_note(table: FeatureTable) -> list[str]:
    reduced = [kind for kind in (str(table.spec["precision"]), table.dtype) if kind != "float32"]
    if not reduced:
        return []
    return [f"the features are of {reduced[0]}, maps are of float32: scores differ from decision values by rounding"]


def _unsuitable(run: RunRecord, why: str) -> UsageError:
    return UsageError(
        f"The run {run.id} ({run.classifier} on {run.address}) cannot be explained: {why}. What can be are {_WORKS}, "
        "and networks.",
        next=f"Train one: histokit train {run.dataset} --features BACKBONE/LAYER --classifier svm; or: histokit "
        f"finetune {run.dataset}",
    )
