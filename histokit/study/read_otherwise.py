"""Whether images are read as those that a model was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from histokit.features import FeatureStore
from histokit.plugin.reader_marks import is_unmarked
from histokit.store import RunRecord

#: Options of datasets that decide on pixels, and what they are where not given.
_PIXELS = {"scale": "full", "scale_over": "image", "planes": "none", "mask": "none"}
_STRETCH = ("minmax", "percentile")
#: Likewise, but compared only where both are given.
_SIZES = ("mpp", "size")


def read_otherwise(store: FeatureStore, run: RunRecord, dataset: str, trained: Mapping[str, Any] | None) -> list[str]:
    """Return a sentence where a dataset is read otherwise than the one that a run was trained on.

    Scales that say what one camera records (``bits:12``, ``range:0,1``) may differ; not so those that stretch the
    pixels of one side alone.

    Parameters
    ----------
    store : FeatureStore
    run : RunRecord
    dataset : str
    trained : mapping, optional
        ``scale``, ``scale_over`` and ``revision`` of the training where the store may not have its dataset; folders of
        earlier versions do not tell the last.
    """
    now = store.dataset(dataset)
    mine = now.options
    if trained is None:
        record = store.find_dataset(run.dataset)
        if record is None or run.dataset == dataset:
            return []
        trained = {**_PIXELS, **record.options, "revision": record.reader}
    revised = _revised(store, dataset, trained.get("revision"), now.reader)
    told = [*_differences(trained, mine)]
    if not told:
        return revised
    theirs, ours = (", ".join(f"{name}={pair[side]}" for name, *pair in told) for side in (0, 1))
    return [
        f"{dataset!r} is read with {ours}, the images that the model was trained on with {theirs}: what it predicts "
        "may mean nothing; ingest the data with the same options, under another name",
        *revised,
    ]


def _revised(store: FeatureStore, dataset: str, theirs: int | None, ours: int) -> list[str]:
    """Return a sentence where versions ingested both sides that do not read all files alike, and such may be there."""
    if theirs in (None, ours):
        return []
    images = store.samples(dataset, ["image"]).column("image").to_pylist()
    first = next((path for paths in images for path in paths or () if not is_unmarked(path)), None)
    if first is None:
        return []
    return [
        f"the images that the model was trained on were ingested by a version of histokit that reads some files of 16 "
        f"bits otherwise (revision {theirs}, {dataset!r}: {ours}), maybe such as {first}; ingest both with this "
        "version, and train again, where they are such files"
    ]


def _differences(trained: Mapping[str, Any], mine: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    stretched = any(str(options.get("scale")).startswith(_STRETCH) for options in (trained, mine))
    for name, default in _PIXELS.items():
        pair = [str(options.get(name) or default) for options in (trained, mine)]
        if name in trained and pair[0] != pair[1] and (stretched or not name.startswith("scale")):
            yield name, pair[0], pair[1]
    for name in _SIZES:
        both = [str(options[name]) for options in (trained, mine) if options.get(name)]
        if len(set(both)) == 2:
            yield name, both[0], both[1]
