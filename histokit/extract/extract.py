"""Extraction: the features of many layers of several networks, each image read and pushed through once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from histokit.errors import UsageError
from histokit.extract.extraction import Extraction
from histokit.extract.plan import BackbonePlan, TablePlan, plan_backbone
from histokit.extract.rates import estimate, remember_rates
from histokit.extract.samples import Samples
from histokit.features.feature_store import StoreLike, open_store
from histokit.networks.memory import capped, check_batch, input_shape, machine_memory
from histokit.networks.requests import (
    as_texts,
    asked_engine,
    check_options,
    engine_of,
    preprocess_by_backbone,
    weights_by_backbone,
)
from histokit.networks.resolve import resolve_backbone
from histokit.networks.resolved import ResolvedBackbone
from histokit.plugin import Preprocess
from histokit.plugin.manager import join_backbone_name, split_backbone_name
from histokit.reading.ingested_files import open_files
from histokit.store import DatasetRecord, Store
from histokit.store.records import IMPORT_PLUGIN, REMARK_STAGE
from histokit.store.vectors import store_dtype as known_dtype

if TYPE_CHECKING:
    from histokit.extract.worker import NetworkWorker


def extract(
    store: StoreLike,
    dataset: str,
    backbones: str | Sequence[str],
    *,
    layers: str | Sequence[str] = "all",
    weights: str | Sequence[str] | Mapping[str, str] = (),
    preprocess: Sequence[str] | Mapping[str, Any] = (),
    precision: str = "float32",
    store_dtype: str = "float32",
    device: str = "auto",
    batch_size: int | None = None,
    workers: int | None = None,
    compile: bool = False,
    engine: str = "torch",
    retry: bool = False,
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
    precision : str
        ``float32``, ``bfloat16`` or ``float16``.
    store_dtype : str
        What the vectors are stored as: ``float32``, or ``float16`` in half the space.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    batch_size : int, optional
        Rows of each forward pass; by network and device where not given.
    workers : int, optional
        Processes that read images; 0 reads them in this one. Where not given, threads do as long as they keep up with
        the networks, and processes from then on, as many as there are cores.
    compile : bool
        Run networks through torch's compiler, where it can compile them; the vectors go to tables of their own.
    engine : str
        ``torch``, or ``openvino`` on processors; the vectors go to tables of their own.
    retry : bool
        Try samples again that could not be read before.
    dry_run : bool
        Only say what is cached and missing; nothing is written.
    progress : callable, optional
        Called with (done, total).

    Raises
    ------
    PluginError, StoreError, UsageError
    """
    store, started = open_store(store), time.monotonic()
    names = _canonical([backbones] if isinstance(backbones, str) else backbones)
    check_options(precision, device, batch_size, workers)
    engine, device = asked_engine(engine, compile, precision, device)
    known_dtype({"store_dtype": store_dtype})
    record = _with_images(store, dataset)
    samples = Samples(store, record)
    if retry and not dry_run:
        store.forget_problems(dataset)
    known = _known_problems(store, record, samples)
    chosen = [layers] if isinstance(layers, str) else list(layers)
    notes: list[str] = []
    plan = partial(plan_backbone, store, record, samples, known, precision=precision, store_dtype=store_dtype)
    plans, replan = [], []
    for name, backbone_weights, changes in _requests(names, weights, preprocess):
        resolve = partial(resolve_backbone, store, name, backbone_weights, changes, chosen, keep=not dry_run)
        backbone = resolve()
        check_batch(batch_size, input_shape(backbone.preprocess), machine_memory())
        replan.append(partial(_planned, backbone, resolve, plan, dry_run))
        plans.append(replan[-1](engine_of(backbone, engine, dry_run, notes)))
    computed: dict[str, int] = {}
    notes += [note for plan in plans for note in plan.notes]
    if dry_run:
        notes += [note for plan in plans for note in plan.mixed_on(device.partition(":")[0])]
    elif any(plan.open_tables for plan in plans):
        how = (precision, device, batch_size, workers)
        computed = _compute(store, record, samples, plans, replan, *how, progress, notes)
    problems = _known_problems(store, record, samples)
    tables = tuple(
        {**_summary(table, dataset, computed, problems, samples.count), "weights": plan.backbone.weights_used}
        for plan in plans
        for table in plan.tables
    )
    remarks = (row["reason"] for row in problems if row["stage"].startswith(REMARK_STAGE))
    warnings = (*(text for plan in plans for text in plan.warnings), *remarks)
    stages = {"ingest", "extract", *(table.name(dataset) for plan in plans for table in plan.tables)}
    problems = [{k: v for k, v in row.items() if k != "position"} for row in problems if row["stage"] in stages]
    addresses = tuple(table["address"] for table in tables)
    total = _estimate(store, samples, plans, tables, device, precision) if dry_run else None
    seconds = time.monotonic() - started
    networks = tuple(plan.backbone.to_json() for plan in plans)
    return Extraction(
        dataset, addresses, networks, tables, tuple(problems), tuple(notes), seconds, dry_run, total, warnings
    )


def _with_images(store: Store, dataset: str) -> DatasetRecord:
    record = store.dataset(dataset)
    if record.plugin == IMPORT_PLUGIN:
        raise UsageError(
            f"The dataset {dataset!r} has no images: it was made from vectors.",
            next=f"Bring in more with: histokit import-features {dataset} FILE --name NAME --version V",
        )
    return record


def _planned(
    backbone: ResolvedBackbone,
    resolve: Callable[..., ResolvedBackbone],
    plan: Callable[..., BackbonePlan],
    dry_run: bool,
    engine: str,
) -> BackbonePlan:
    found = plan(backbone, engine=engine, copy=not dry_run)
    if found.open_tables and not dry_run and (confirmed := resolve(confirm=True)) != backbone:
        return plan(confirmed, engine=engine, copy=True)
    return found


def _estimate(
    store: Store,
    samples: Samples,
    plans: Sequence[BackbonePlan],
    tables: Sequence[dict[str, Any]],
    device: str,
    precision: str,
) -> float | None:
    """Add to each table's summary how long it will take, and return how long all will take together."""
    known = True
    total = 0.0
    summaries = iter(tables)
    for plan in plans:
        each = estimate(store, plan, device, precision) if plan.open_tables else None
        for table in plan.tables:
            images = int(samples.twins.led(table.missing).sum())
            seconds = round(images * each.seconds, 3) if each and images else None if images else 0.0
            next(summaries).update(seconds=seconds, estimate=each.source if each and images else None)
        total += int(plan.images(samples).sum()) * each.seconds if each else 0.0
        known &= each is not None or not plan.open_tables
    return round(total, 3) if known else None


def _canonical(names: Sequence[str]) -> list[str]:
    joined = [join_backbone_name(*split_backbone_name(name)) for name in names]
    if not joined:
        raise UsageError("No backbone is named.", next="Add --backbone NAME; see: histokit list backbones")
    return list(dict.fromkeys(joined))


def _requests(
    names: Sequence[str],
    weights: str | Sequence[str] | Mapping[str, str],
    preprocess: Sequence[str] | Mapping[str, Any],
) -> list[tuple[str, str, Mapping[str, str] | Preprocess]]:
    if isinstance(weights, Mapping):
        weights = [f"{name}={value}" for name, value in weights.items()]
    by_name = weights_by_backbone(names, [weights] if isinstance(weights, str) else weights)
    given = preprocess if isinstance(preprocess, Mapping) else {}
    whole = {name: value for name, value in given.items() if isinstance(value, Preprocess)}
    texts = as_texts({k: v for k, v in given.items() if k not in whole}) if given else list(preprocess)
    changes = preprocess_by_backbone(names, texts)
    return [(name, by_name[name], whole.get(name, changes[name])) for name in names]


def _known_problems(store: Store, record: DatasetRecord, samples: Samples) -> list[dict[str, Any]]:
    """Return the problems that are about the samples as they are now."""
    rows = store.problems(record.name).to_pylist()
    now = samples.locate({row["id"] for row in rows})
    current = [row for row in rows if row["id"] in now and row["content"] == now[row["id"]][1]]
    return [{"position": now[row["id"]][0], **{k: row[k] for k in ("id", "stage", "reason")}} for row in current]


def _compute(
    store: Store,
    record: DatasetRecord,
    samples: Samples,
    plans: list[BackbonePlan],
    replan: Sequence[Callable[[str], BackbonePlan]],
    precision: str,
    device: str,
    batch_size: int | None,
    workers: int | None,
    progress: Callable[..., None],
    notes: list[str],
) -> dict[str, int]:
    """Fill the open tables; return how many vectors are new in each, and add to the notes."""
    # Here and not above, so that a cached run imports no torch.
    from histokit.extract.claimed_work import Work
    from histokit.extract.claims import Claims
    from histokit.extract.image_feed import run_workers
    from histokit.extract.worker import NetworkWorker
    from histokit.extract.writer import Writer
    from histokit.networks.devices import choose_device
    from histokit.store.allocator import kept_memory

    for plan in plans:
        plan.check_code()
    store.ingested(record, "samples").verify()
    ingested = open_files(store, record)
    chosen = choose_device(device)
    writer = Writer(store, record.name)
    rows = capped(batch_size, record, notes)
    networks = _started(
        plans, replan, lambda plan: NetworkWorker(plan, record.channels, chosen, precision, rows, writer), notes
    )
    working = [network.plan for network in networks]
    notes += [note for plan in working for note in plan.mixed_on(chosen.type)]
    samples.settle()
    claims = Claims(store.uri)
    work = Work(store, record.name, samples, working, claims)
    try:
        with kept_memory():
            read = run_workers(ingested, work, networks, writer, workers, progress)
    finally:
        try:
            writer.close()
        finally:
            claims.close()
    remember_rates(store, working, device, chosen.type, precision)
    notes += [f"{n.plan.backbone.name}: {note}" for n in networks for note in n.notes]
    notes += claims.notes + read
    return writer.computed


def _started(
    plans: list[BackbonePlan],
    replan: Sequence[Callable[[str], BackbonePlan]],
    start: Callable[[BackbonePlan], NetworkWorker],
    notes: list[str],
) -> list[NetworkWorker]:
    """Start the networks of open tables; one that cannot be compiled fills others: its plan is replaced."""
    from histokit.networks.compiling import NotCompiledError

    networks = []
    for place, plan in enumerate(plans):
        try:
            networks += [start(plan)] if plan.open_tables else []
        except NotCompiledError as error:
            notes.append(f"{error.message} Its vectors go to the tables of the network as it is.")
            plans[place] = plan = replan[place]("torch")
            plan.check_code()
            networks += [start(plan)] if plan.open_tables else []
    return networks


def _summary(
    table: TablePlan, dataset: str, computed: Mapping[str, int], problems: Sequence[dict[str, Any]], total: int
) -> dict[str, Any]:
    name = table.name(dataset)
    done = computed.get(name, 0)
    unusable = len({row["id"] for row in problems if row["stage"] in ("ingest", "extract", name)})
    return {
        "address": table.address,
        "table": table.table.name if table.table else None,
        "fingerprint": table.fingerprint,
        "width": table.table.width if table.table else None,
        "cached": table.cached,
        "copied": table.copied,
        "computed": done,
        "unusable": unusable,
        "missing": total - table.cached - table.copied - done - unusable,
        "differences": table.differences,
    }
