"""Where in images a model sees what speaks for a class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from torch import Tensor

from histokit.errors import DataError, some
from histokit.explain.chosen import PREDICTED, ChosenSample, ExplainOptions, choose_samples
from histokit.explain.explained_classifier import ExplainedClassifier
from histokit.explain.explained_network import ExplainedNetwork
from histokit.explain.explanation import ExplainedSample, Explanation
from histokit.explain.layer_maps import MapLayer, ScoredMaps, area_of, shares, upsampled
from histokit.explain.maps_folder import write_maps
from histokit.explain.pictures import as_picture, pictures_note
from histokit.explain.run_images import RunImages, seen_note
from histokit.features.feature_store import StoreLike, open_store
from histokit.files import check_folder
from histokit.networks.trained_runs import TrainedNetwork, network_of
from histokit.networks.transform import Transform
from histokit.protocol.since import changed_since
from histokit.ranges import check_range, check_ranges
from histokit.store import RunRecord
from histokit.store.networks import entries, final_part


class Explained(Protocol):
    """A model that tells where it looks."""

    method: str
    #: Whether maps tell what speaks against a class, too.
    signed: bool
    name: str
    layer: MapLayer
    transform: Transform
    #: Digests of the images that it was trained on.
    seen: set[bytes]
    #: Of scores.
    kind: str
    backbone: str
    notes: list[str]

    def maps(self, pixels: Tensor, samples: Sequence[ChosenSample]) -> ScoredMaps:
        """Return the maps of N resized images, each of the output that its sample says."""


def explain(
    store: StoreLike,
    run_id: str,
    *,
    samples: Sequence[str] = (),
    wrong: bool = False,
    per_class: int | None = None,
    layer: str | None = None,
    target: str = PREDICTED,
    where: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    device: str = "auto",
    out: str | Path | None = None,
    progress: Callable[..., None] = lambda *_: None,
) -> Explanation:
    """Show where in its test images a model sees what speaks for a class.

    Of a network that was trained here, by Grad-CAM (Selvaraju et al. 2017): the gradient of the class's output before
    the softmax with respect to the map of a layer, its mean over positions as the weight of each channel, the weighted
    sum, and what is above 0 of it. Of several folds, the network is asked that has not trained on the image.

    Of a linear classifier on the means of a layer's map, exactly: the channels, each times its weight, added (Zhou et
    al. 2016). The mean of such a map, and the intercept, are the decision value of the class.

    Parameters
    ----------
    store : FeatureStore or path
    run_id : str
        Of `histokit.finetune`, of `histokit.train` with a linear classifier, or of `histokit.predict` by such a run.
    samples : sequence of str
        Ids; drawn where not given.
    wrong : bool
        Draw from those that were predicted wrongly; of numbers, the largest errors first.
    per_class : int, optional
        How many are drawn of each true class; 2 where not given.
    layer : str, optional
        A name or dotted path in a trained network; the map that it pools where not given.
    target : str
        The class that is explained: ``predicted``, ``true``, or a name.
    where : str, optional
        A filter over the columns of the samples, from which images are drawn.
    limit : int, optional
        Only the first so many.
    seed : int
        Of what is drawn.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    out : path, optional
        A folder for the maps as arrays and as pictures, and a table.
    progress : callable, optional
        Called with (done, total).

    Returns
    -------
    Explanation
        Its `samples` hold the images and maps; images that cannot be read are named in `notes`.

    Raises
    ------
    UsageError
        If the run, or the layer, has no map, or there is no such class.
    StoreError
        If the run never tested a sample that is named, or its network is damaged.
    DataError
        If no image is left.
    """
    check_ranges(per_class=per_class, seed=seed)
    if limit is not None:
        check_range("limit", limit, low=1)
    if out is not None:
        check_folder(out)
    opened = open_store(store)
    run = opened.run(run_id)
    source = opened.run(run.source_run) if run.source_run else run
    asked = ExplainOptions(tuple(samples), wrong, per_class, limit, seed, target, where)
    chosen, notes = choose_samples(opened, run, asked)
    images = RunImages(opened, run)
    models: list[Explained] = []
    found: dict[str, ExplainedSample] = {}
    for part, members in _by_part(source, run, chosen).items():
        if source.kind == "train":
            models.append(ExplainedClassifier(opened, run, source, layer, images.channels, device))
        else:
            trained = TrainedNetwork(opened, source, network_of(source, part))
            models.append(ExplainedNetwork(trained, layer, images.channels, device))
        for each in _explained(models[-1], members, images):
            found[each.id] = each
            progress(len(found), len(chosen))
    notes += [*_not_kept(run, chosen), *changed_since(opened, run), *images.notes()]
    if not found:
        raise DataError(f"None of the images can be read: {notes[-1]}.", next="Mend them, and ingest them again.")
    done = _document(run, models[0], [(found[each.id], each.group) for each in chosen if each.id in found], notes)
    if out is not None:
        write_maps(done, out)
    return done


def _by_part(source: RunRecord, run: RunRecord, chosen: Sequence[ChosenSample]) -> dict[str, list[ChosenSample]]:
    """Return samples by the network to ask: that of the fold that tested them if there is one, else the final one."""
    known = {str(entry["part"]) for entry in entries(source)} if run is source else set()
    found: dict[str, list[ChosenSample]] = {}
    for sample in chosen:
        found.setdefault(sample.part if sample.part in known else final_part(source), []).append(sample)
    return found


def _not_kept(run: RunRecord, chosen: Sequence[ChosenSample]) -> list[str]:
    """Say that the networks that tested images are not those that are asked."""
    kept = {str(entry["part"]) for entry in entries(run)}
    if run.kind != "finetune" or len(run.folds) < 2 or all(sample.part in kept for sample in chosen):
        return []
    return [
        "the networks of the folds were not kept: that of all training samples is explained, and what it predicts may "
        "differ from what those of the folds did"
    ]


def _explained(model: Explained, members: Sequence[ChosenSample], images: RunImages) -> Iterator[ExplainedSample]:
    wanted = {sample.id: sample for sample in members}
    for batch in images.batches(wanted):
        chosen = [wanted[sample_id] for sample_id, _ in batch]
        pixels = model.transform.resize([cast(Any, result.pixels) for _, result in batch], batch[0][1].mpp)
        found = model.maps(pixels, chosen)
        heats = upsampled(found.maps, *pixels.shape[-2:]).cpu().numpy()
        for place, sample in enumerate(chosen):
            heat, constant = shares(heats[place], model.signed)
            yield ExplainedSample(
                id=sample.id,
                true=sample.true,
                predicted=sample.predicted,
                explained=sample.explained,
                score=found.scores[place],
                intercept=found.intercepts[place],
                network=model.name,
                seen=images.content(sample.id) in model.seen,
                constant=constant,
                image=as_picture(pixels[place]),
                map=found.maps[place].cpu().numpy(),
                heat=heat,
                area=area_of(heats[place]),
            )


def _document(
    run: RunRecord, model: Explained, found: Sequence[tuple[ExplainedSample, str | None]], notes: Sequence[str]
) -> Explanation:
    samples = tuple(sample for sample, _ in found)
    shown = pictures_note(len(model.transform.channels))
    blank = [sample.id for sample in samples if sample.constant]
    more = [f"the maps of {some(blank)} are the same everywhere, and drawn as 0"] if blank else []
    networks = {sample.network: {s.id: s.seen for s in samples if s.network == sample.network} for sample in samples}
    more += [note for network, seen in networks.items() for note in seen_note(seen, network)]
    return Explanation(
        run=run.id,
        dataset=run.dataset,
        split=run.split,
        method=model.method,
        backbone=model.backbone,
        layer=model.layer.layer.name,
        kind=model.kind,
        signed=model.signed,
        classes=run.classes,
        samples=samples,
        notes=[*notes, *model.notes, *more, *shown],
        target=str(run.parameters.get("target") or "label"),
        groups=len({group for _, group in found} - {None}),
        shown="".join(shown),
    )
