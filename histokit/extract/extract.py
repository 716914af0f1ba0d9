"""Extraction: the features of many layers of several networks, each image read and pushed through once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from histokit.errors import UsageError
from histokit.extract.extract_options import ExtractOptions
from histokit.extract.extraction import Extraction
from histokit.extract.ledger import BackboneLedger, TableLedger
from histokit.extract.ledger_opening import ExtractionContext, LedgerOpener
from histokit.extract.rates import estimate
from histokit.extract.samples import Samples
from histokit.features.feature_store import StoreLike, open_store
from histokit.networks.memory import check_batch, input_shape, machine_memory
from histokit.networks.requests import (
    as_texts,
    channel_changes,
    channels_in,
    engine_of,
    preprocess_by_backbone,
    weights_by_backbone,
)
from histokit.networks.resolve import resolve_backbone
from histokit.plugin import Preprocess
from histokit.plugin.backbone_names import join_backbone_name, split_backbone_name
from histokit.store import DatasetRecord, Store
from histokit.store.records import IMPORT_PLUGIN, REMARK_STAGE
from histokit.store.removal import check_not_removed


def extract(
    store: StoreLike,
    dataset: str,
    backbones: str | Sequence[str],
    *,
    layers: str | Sequence[str] = "all",
    weights: str | Sequence[str] | Mapping[str, str] = (),
    preprocess: Sequence[str] | Mapping[str, Any] = (),
    channels: str | Sequence[str] = (),
    precision: str = "float32",
    store_dtype: str = "float32",
    device: str = "auto",
    batch_size: int | None = None,
    workers: int | None = None,
    compile: bool = False,
    engine: str = "torch",
    retry: bool = False,
    force: bool = False,
    dry_run: bool = False,
    progress: Callable[..., None] = lambda *_: None,
) -> Extraction:
    """Extract what is missing of the features of a dataset.

    Parameters
    ----------
    store : FeatureStore or path
    dataset : str
    backbones : str or sequence of str
    layers : str or sequence of str
        ``all`` curated cut points, ``last``, or names and module paths, each with ``:POOL`` or without.
    weights : str, sequence or mapping
        ``pretrained``, ``random``, ``random:SEED``, a file or a folder; ``BACKBONE=WEIGHTS`` for several.
    preprocess : sequence of ``[BACKBONE/]KEY=VALUE``, or mapping
        Changes to the preprocessing that comes with the weights; or backbone → `Preprocess` in its place.
    channels : str or sequence of str
        How channels meet networks of three colours: names of those that go in; ``each`` goes in on its own, and the
        vectors are joined; ``replicate`` repeats the only one; ``inflate`` repeats the weights of the first
        convolution over all of them.
    precision : str
        ``float32``, ``bfloat16`` or ``float16``.
    store_dtype : str
        What the vectors are stored as: ``float32``, or ``float16`` in half the space.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    batch_size : int, optional
        Rows of each forward pass; by network and device where not given. Another number changes the last bits of
        vectors, as does half of a batch where the device has too little memory for the whole.
    workers : int, optional
        Processes that read images; 0 reads them in this one. Where not given, threads do as long as they keep up with
        the networks, and processes from then on, as many as there are cores.
    compile : bool
        Run networks through torch's compiler, where it can compile them; the vectors go to tables of their own.
    engine : str
        ``torch``, or ``openvino`` on processors; the vectors go to tables of their own.
    retry : bool
        Try samples again that could not be read before.
    force : bool
        Compute all anew, in the place of vectors that are there; one that is interrupted is gone on with without it.
    dry_run : bool
        Only say what is cached and missing; nothing is written.
    progress : callable, optional
        Called with (done, total).

    Raises
    ------
    PluginError, StoreError, UsageError
    """
    store, started = open_store(store), time.monotonic()
    options = ExtractOptions.of(locals())
    names = _canonical([backbones] if isinstance(backbones, str) else backbones)
    record = with_images(store, dataset)
    samples = Samples(store, record)
    problems = _known_problems(store, record, samples, attempts=not options.retry)
    context = ExtractionContext(store, record, samples, problems, options)
    notes: list[str] = []
    openings, ledgers = [], []
    for name, backbone_weights, changes in requests_of(names, options, record):
        known = (store, name, backbone_weights, changes, options.chosen_layers)
        resolve = partial(resolve_backbone, *known, keep=not options.dry_run)
        openings.append(LedgerOpener(context, resolve(), resolve))
        backbone = openings[-1].backbone
        channels_in(backbone.preprocess, record.channels)
        check_batch(options.batch_size, input_shape(backbone.preprocess), machine_memory())
        ledgers.append(openings[-1](engine_of(backbone, options.runs_by, options.dry_run, notes)))
    notes += [note for ledger in ledgers for note in ledger.plan.backbone.notes]
    if options.retry and not options.dry_run:
        # Not before it is known that the samples can be tried.
        store.forget_problems(dataset)
    if options.dry_run:
        notes += [note for ledger in ledgers for note in ledger.mixed_on(options.runs_on.partition(":")[0])]
    elif any(ledger.open_tables for ledger in ledgers):
        # Here and not above, so that a cached run imports no torch.
        from histokit.extract.computation import compute

        notes += compute(context, ledgers, openings, progress)
        notes += _changed_meanwhile(store, record)
    return _extraction(context, ledgers, notes, time.monotonic() - started)


def _extraction(
    context: ExtractionContext, ledgers: Sequence[BackboneLedger], notes: Sequence[str], seconds: float
) -> Extraction:
    """Return what was done, or would be."""
    record, samples, dry_run = context.record, context.samples, context.options.dry_run
    problems = _known_problems(context.store, record, samples, attempts=not (context.options.retry and dry_run))
    tables = tuple(
        {**_summary(table, problems, samples.count), "weights": ledger.plan.backbone.weights_used}
        for ledger in ledgers
        for table in ledger.tables
    )
    remarks = (row["reason"] for row in problems if row["stage"].startswith(REMARK_STAGE))
    warnings = (*(text for ledger in ledgers for text in ledger.plan.warnings), *remarks)
    stages = {"ingest", "extract", *(table.plan.name for ledger in ledgers for table in ledger.tables)}
    problems = [{k: v for k, v in row.items() if k != "position"} for row in problems if row["stage"] in stages]
    addresses = tuple(table["address"] for table in tables)
    total = _estimate(context, ledgers, tables) if dry_run else None
    networks = tuple(ledger.plan.backbone.to_json() for ledger in ledgers)
    return Extraction(
        record.name, addresses, networks, tables, tuple(problems), tuple(notes), seconds, dry_run, total, warnings
    )


def _changed_meanwhile(store: Store, record: DatasetRecord) -> list[str]:
    """Say that a dataset is another one than when its extraction began.

    Raises
    ------
    StoreError
        If it is gone.
    """
    free = "give the room of the features free: histokit store gc --orphans"
    if check_not_removed(store, record, "its features were extracted", free).same_as(record):
        return []
    return [f"{record.name} was ingested again meanwhile, and is another one now: run the same command again"]


def with_images(store: Store, dataset: str) -> DatasetRecord:
    """Return a dataset that has images.

    Raises
    ------
    UsageError
        If it was made from vectors.
    """
    record = store.dataset(dataset)
    if record.plugin == IMPORT_PLUGIN:
        raise UsageError(
            f"The dataset {dataset!r} has no images: it was made from vectors.",
            next=f"Bring in more with: histokit import-features {dataset} FILE --name NAME --version V",
        )
    return record


def _estimate(
    context: ExtractionContext, ledgers: Sequence[BackboneLedger], tables: Sequence[dict[str, Any]]
) -> float | None:
    """Add to each table's summary how long it will take, and return how long all will take together."""
    options, samples = context.options, context.samples
    known = True
    total = 0.0
    summaries = iter(tables)
    for ledger in ledgers:
        backbone, layers = ledger.plan.backbone, [table.plan.layer for table in ledger.open_tables]
        asked = (options.runs_on, options.precision, layers, ledger.plan.engine)
        each = estimate(context.store, backbone, *asked) if layers else None
        for table in ledger.tables:
            images = int(samples.twins.led(table.missing).sum())
            seconds = round(images * each.seconds, 3) if each and images else None if images else 0.0
            next(summaries).update(seconds=seconds, estimate=each.source if each and images else None)
        total += int(ledger.images(samples).sum()) * each.seconds if each else 0.0
        known &= each is not None or not layers
    return round(total, 3) if known else None


def _canonical(names: Sequence[str]) -> list[str]:
    joined = [join_backbone_name(*split_backbone_name(name)) for name in names]
    if not joined:
        raise UsageError("No backbone is named.", next="Add --backbone NAME; see: histokit list backbones")
    return list(dict.fromkeys(joined))


def requests_of(
    names: Sequence[str], options: ExtractOptions, record: DatasetRecord
) -> list[tuple[str, str, Mapping[str, str] | Preprocess]]:
    """Return each network, its weights, and the changes to its preprocessing or what takes its place."""
    weights, preprocess = options.weights, options.preprocess
    if isinstance(weights, Mapping):
        weights = [f"{name}={value}" for name, value in weights.items()]
    by_name = weights_by_backbone(names, [weights] if isinstance(weights, str) else weights)
    given = preprocess if isinstance(preprocess, Mapping) else {}
    whole = {name: value for name, value in given.items() if isinstance(value, Preprocess)}
    texts = as_texts({k: v for k, v in given.items() if k not in whole}) if given else list(preprocess)
    changes = preprocess_by_backbone(names, texts)
    by_channels = channel_changes(options.channels, record.channels)
    for name in names if by_channels else ():
        twice = {"channels", "adapter"} & {*changes[name], *(["channels"] if name in whole else [])}
        if twice:
            raise UsageError(
                f"The preprocessing of {name} says what becomes of channels, and --channels does so too.",
                next="Give one of them.",
            )
    return [(name, by_name[name], whole.get(name, {**changes[name], **by_channels})) for name in names]


def _known_problems(store: Store, record: DatasetRecord, samples: Samples, *, attempts: bool) -> list[dict[str, Any]]:
    """Return the problems that are about the samples as they are now, those of attempts or only of ingestion."""
    rows = store.problems(record.name).to_pylist()
    if not attempts:
        rows = [row for row in rows if row["stage"] == "ingest" or row["stage"].startswith(REMARK_STAGE)]
    now = samples.locate({row["id"] for row in rows})
    current = [row for row in rows if row["id"] in now and row["content"] == now[row["id"]][1]]
    return [{"position": now[row["id"]][0], **{k: row[k] for k in ("id", "stage", "reason")}} for row in current]


def _summary(table: TableLedger, problems: Sequence[dict[str, Any]], total: int) -> dict[str, Any]:
    plan, cached, copied = table.plan, table.cached, table.copied + table.foreseen
    unusable = len({row["id"] for row in problems if row["stage"] in ("ingest", "extract", plan.name)})
    return {
        "address": plan.address,
        "table": plan.name if table.is_there else None,
        "fingerprint": plan.fingerprint,
        "width": table.width,
        "cached": cached,
        "copied": copied,
        "computed": table.computed,
        "unusable": unusable,
        "missing": total - cached - copied - table.computed - unusable,
        "differences": list(plan.differences),
    }
