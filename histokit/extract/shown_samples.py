"""Samples at random, as they are read or as a network sees them, and those that could not be used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from histokit.errors import DataError, UsageError, counted, counted_values
from histokit.extract.extract import requests_of, with_images
from histokit.extract.extract_options import ExtractOptions
from histokit.features.feature_store import StoreLike, open_store
from histokit.features.listing import image_path
from histokit.layout import Sheet, natural
from histokit.networks.resolve import resolve_backbone
from histokit.networks.transform import TooLargeError, Transform, as_pixels
from histokit.notebooks import InNotebooks
from histokit.plugin.images import Pixels
from histokit.ranges import check_range, check_ranges
from histokit.reading.ingested_files import open_files
from histokit.reading.reader import THREADS, ReadResult, read_samples, rebuild_sample
from histokit.reading.thumbnails import rows_by_id
from histokit.store import DatasetRecord, Store
from histokit.store.records import REMARK_STAGE

#: So many are drawn where nothing is asked for: of images in one picture, and of images channel by channel.
DRAWN, DRAWN_BY_CHANNEL = 42, 12
_COLOURS = 3
_AHEAD = 16


@dataclass(frozen=True, eq=False)
class SeenSample:
    """A sample that was looked at.

    Parameters
    ----------
    id : str
    image : str, optional
        Its path, or those of its channels, joined by ``;``.
    label, group : str, optional
    size : (H, W, C), optional
        As it is read; none where it cannot be.
    dtype : str, optional
        ``uint8``, or ``uint16`` of which 65535 is white.
    pixels : (H, W, C) uint8 or uint16 array, optional
        As it is read, or uint8 as it goes into the network but for the normalisation by mean and std.
    reason : str, optional
        Why it cannot be read or used.
    remarks : list of str
        What is to be known of it although it was read.
    """

    id: str
    image: str | None
    label: str | None
    group: str | None
    size: tuple[int, ...] | None
    dtype: str | None
    pixels: Pixels | None
    reason: str | None
    remarks: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return what is known of it, without pixels, as JSON-serialisable data."""
        shown = None if self.pixels is None else list(self.pixels.shape)
        known = {name: value for name, value in vars(self).items() if name != "pixels"}
        return {**known, "size": None if self.size is None else list(self.size), "shown": shown}


@dataclass(frozen=True, eq=False)
class SeenSamples(InNotebooks):
    """Samples of a dataset that were looked at.

    Parameters
    ----------
    dataset : str
    samples : list of SeenSample
        Class by class.
    count, groups : int
        Of how many samples and groups they were drawn; of those that could not be used all are taken, up to the limit.
    group : str, optional
        The column of the groups.
    channels : tuple of str
        Of the pixels.
    apart : bool
        Whether a person has to look at each channel alone: they are more than colours, or go in one by one.
    problems : bool
        Whether they are those that could not be used.
    seed : int
    network : dict, optional
        Whose preprocessing they went through: ``backbone``, ``described``, ``preprocess`` and more.
    """

    dataset: str
    samples: list[SeenSample]
    count: int
    groups: int | None
    group: str | None
    channels: tuple[str, ...]
    apart: bool
    problems: bool
    seed: int
    network: dict[str, Any] | None

    def __repr__(self) -> str:
        return f"SeenSamples({self.title})"

    @property
    def title(self) -> str:
        """What is shown, in a line."""
        what = counted(self.count, "sample", "samples")
        what += f" of {counted_values(self.groups, self.group or 'group')}" if self.groups else ""
        shown = what if len(self.samples) == self.count else f"{len(self.samples)} of {what}"
        how = f", drawn class by class (seed {self.seed})" if not self.problems and shown != what else ""
        shown += " that could not be used" if self.problems else how
        seen = f"as {self.network['backbone']} sees them" if self.network else "as they are read"
        return f"{self.dataset} · {shown} · {seen}"

    def to_json(self) -> dict[str, Any]:
        """Return what is shown, without pixels, as JSON-serialisable data."""
        documents = [sample.to_json() for sample in self.samples]
        return {**vars(self), "channels": list(self.channels), "samples": documents}

    def sheets(self) -> list[Sheet]:
        """Return the samples as a table for people."""
        columns = ["id", "label", self.group or "group", "pixels", "channels", "shown", "reason"]
        rows = [
            [each.id, each.label, each.group, *_size_texts(each), each.reason or "; ".join(each.remarks) or None]
            for each in self.samples
        ]
        kept = [place for place in range(len(columns)) if place < 2 or any(row[place] is not None for row in rows)]
        return [Sheet(self.title, [columns[p] for p in kept], [[row[p] for p in kept] for row in rows])]


def _size_texts(each: SeenSample) -> list[str | None]:
    if each.size is None or each.pixels is None:
        return [None, None, None]
    height, width, channels = each.size
    shown = " × ".join(map(str, each.pixels.shape[:2]))
    return [f"{height} × {width}", f"{channels} {each.dtype}", shown]


def show(
    store: StoreLike,
    dataset: str,
    *,
    where: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    problems: bool = False,
    backbone: str | None = None,
    weights: str = "pretrained",
    preprocess: Sequence[str] | Mapping[str, Any] = (),
    channels: str | Sequence[str] = (),
) -> SeenSamples:
    """Read samples of a dataset that are drawn at random, as many of each class as there are.

    Parameters
    ----------
    store : FeatureStore or path
    dataset : str
    where : str, optional
        A filter over the columns of the samples.
    limit : int, optional
        How many; by default 42, or 12 where each channel is looked at alone.
    seed : int
        By which they are drawn.
    problems : bool
        Read those that could not be used, which `ingest` and `extract` set aside, in place of those drawn.
    backbone : str, optional
        A network, through whose preprocessing they go: resized and cropped, of its channels, not normalised.
    weights, preprocess, channels
        As in `histokit.extract`, of that network.

    Returns
    -------
    SeenSamples

    Raises
    ------
    UsageError
        If the dataset has no images, or an option is wrong.
    DataError
        If there is nothing to be shown, or not some images but the whole root cannot be read.
    """
    check_ranges(seed=seed)
    if limit is not None:
        check_range("limit", limit, low=1)
    store = open_store(store)
    record = with_images(store, dataset)
    options = ExtractOptions(layers="last", weights=weights, preprocess=preprocess, channels=channels)
    if backbone is None and (weights != "pretrained" or preprocess or channels):
        raise UsageError("weights, preprocess and channels are of a network.", next="Add --backbone NAME.")
    transform, network = None, None
    if backbone is not None:
        (request,) = requests_of([backbone], options, record)
        resolved = resolve_backbone(store, *request, ["last"], keep=False)
        transform = Transform(resolved.preprocess, record.channels, torch.device("cpu"))
        network = resolved.to_json()
    names = record.channels if transform is None else tuple(record.channels[place] for place in transform.channels)
    each_alone = transform is not None and transform.preprocess.adapter == "each"
    apart = len(names) > _COLOURS or (each_alone and len(names) > 1)
    known, reasons = _candidates(store, record, where, problems)
    most = limit if limit is not None else DRAWN_BY_CHANNEL if apart else DRAWN
    labels = known.column("label").to_pylist()
    places = list(range(len(known)))[:most] if problems else drawn_places(labels, most, seed, record.classes)
    groups = known.column(record.group) if record.group else None
    ids = [known.column("id")[place].as_py() for place in places]
    return SeenSamples(
        dataset=dataset,
        samples=list(_read(store, record, ids, reasons, transform)),
        count=len(known),
        groups=None if groups is None else len(groups.drop_null().unique()),
        group=record.group,
        channels=names,
        apart=apart,
        problems=problems,
        seed=seed,
        network=network,
    )


def _candidates(
    store: Store, record: DatasetRecord, where: str | None, problems: bool
) -> tuple[pa.Table, dict[str, str]]:
    """Return id, label and group of what may be shown, and why those that could not be used cannot, by id."""
    rows = [row for row in store.problems(record.name).to_pylist() if not row["stage"].startswith(REMARK_STAGE)]
    reasons = {row["id"]: row["reason"] for row in reversed(rows)}
    columns = list(dict.fromkeys(["id", "label", *([record.group] if record.group else [])]))
    known = store.samples(record.name, columns, where)
    if problems:
        known = known.filter(pa.array([each in reasons for each in known.column("id").to_pylist()], pa.bool_()))
    if not len(known):
        what = "There is no sample that could not be used" if problems else "There is no sample"
        raise DataError(
            f"{what} in {record.name!r}{f' that the filter {where!r} keeps' if where else ''}.",
            next="Files that cannot be read are met by extract, finetune or show without --problems."
            if problems
            else f"See: histokit list samples {record.name}",
        )
    return known, reasons if problems else {}


def drawn_places(labels: Sequence[str | None], most: int, seed: int, classes: Sequence[str] = ()) -> list[int]:
    """Return which of some samples are drawn: the same number of each class as far as there are so many; in order.

    Parameters
    ----------
    labels : sequence of str or None
    most : int
    seed : int
    classes : sequence of str
        In their order; others stand behind them.
    """
    by_class: dict[str | None, list[int]] = {}
    for place in np.random.default_rng(seed).permutation(len(labels)).tolist():
        by_class.setdefault(labels[place], []).append(place)
    turns = sorted((turn, place) for places in by_class.values() for turn, place in enumerate(places))
    order = {place: number for places in by_class.values() for number, place in enumerate(places)}
    chosen = [place for _, place in turns[:most]]
    others = sorted({label for label in labels if label is not None}.difference(classes))
    rank: dict[str | None, int] = {name: number for number, name in enumerate([*natural(classes), *natural(others)])}
    return sorted(chosen, key=lambda place: (rank.get(labels[place], len(rank)), order[place]))


def _read(
    store: Store, record: DatasetRecord, ids: Sequence[str], reasons: Mapping[str, str], transform: Transform | None
) -> Iterator[SeenSample]:
    """Read samples by their ids, and bring them to what a network sees."""
    by_id = {row["id"]: row for row in rows_by_id(store, record, ids)}
    listed = [rebuild_sample(by_id[each]) for each in ids]
    files = open_files(store, record)
    results = read_samples(files, enumerate(listed), THREADS, _AHEAD)
    for sample, result in zip(listed, results, strict=True):
        if result.pixels is None:
            files.check_root()
        seen, reason = _seen(result, transform)
        group = by_id[sample.id].get(record.group) if record.group else None
        yield SeenSample(
            sample.id,
            image_path(record.root, list(sample.image)),
            None if sample.label is None else str(sample.label),
            None if group is None else str(group),
            None if result.pixels is None else result.pixels.shape,
            None if result.pixels is None else str(result.pixels.dtype),
            seen,
            reasons.get(sample.id) or reason,
            [str(each) for each in result.remarks],
        )


def _seen(result: ReadResult, transform: Transform | None) -> tuple[Pixels | None, str | None]:
    """Return the pixels of a sample as a network sees them, or why there are none."""
    if result.pixels is None or transform is None:
        return result.pixels, result.reason
    try:
        return as_pixels(transform.resize([result.pixels], result.mpp)[0]), None
    except TooLargeError as error:
        return None, error.message
