"""Nearest samples among many: making an index, its recall, and the milliseconds of a query, with exact search."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from common import Stopwatch, Table, Timing, arguments, cores, progress, publish, scratch, set_threads
from store_speed import ids

import histokit
from histokit.features import FeatureStore, open_store
from histokit.neighbours import indexed
from histokit.neighbours.exact import Barred
from histokit.neighbours.indexed import IndexedSearch
from histokit.neighbours.pieces import search_pieces
from histokit.neighbours.question import open_samples
from histokit.plugin.digests import digest_bytes
from histokit.store import DatasetRecord
from histokit.store.records import FILE_SCHEMA, IMPORT_PLUGIN, SAMPLE_FIELDS
from histokit.store.vector_writes import VectorInserter

DATASET, ADDRESS = "made-up", "net/layer"
_ROWS_AT_ONCE = 20_000
_PER_SLIDE = 100
_WANTED_MILLISECONDS, _WANTED_RECALL = 50.0, 0.95

Matrix = npt.NDArray[np.float32]


def clustered(rows: int, width: int, clusters: int) -> Iterator[Matrix]:
    """Yield vectors in clusters of unequal spread, some thousand at a time; half of each vector is below zero."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((clusters, width), dtype=np.float32)
    spread = rng.uniform(0.5, 1.5, (clusters, 1)).astype(np.float32)
    for start in range(0, rows, _ROWS_AT_ONCE):
        which = rng.integers(0, clusters, min(_ROWS_AT_ONCE, rows - start))
        yield centres[which] + spread[which] * rng.standard_normal((len(which), width), dtype=np.float32)


def fill(folder: Path, rows: int, width: int, clusters: int) -> FeatureStore:
    """Write a dataset of slides and its one layer."""
    names = ids(rows)
    contents = [digest_bytes(name.encode()) for name in names]
    columns = {field.name: pa.nulls(rows, field.type) for field in SAMPLE_FIELDS}
    columns |= {"id": pa.array(names), "content": pa.array(contents, pa.binary(16))}
    columns |= {"image": pa.array([[name] for name in names])}
    columns |= {"label": pa.array([f"c{row % 5}" for row in range(rows)])}
    samples = pa.table(columns, schema=pa.schema(SAMPLE_FIELDS))
    samples = samples.append_column("slide", pa.array([f"s{row // _PER_SLIDE}" for row in range(rows)]))
    record = DatasetRecord(
        DATASET, IMPORT_PLUGIN, "1", "histokit", "", {}, (), None, "accuracy", (), {}, "slide", (), None, rows, "2026"
    )  # fmt: skip
    store = open_store(folder)
    store.save_dataset(record, samples, FILE_SCHEMA.empty_table())
    backbone, _, layer = ADDRESS.partition("/")
    table = store.create_feature_table(DATASET, {"backbone": backbone, "layer": layer}, width, {})
    inserter = VectorInserter(store.database, table, names, contents)
    start = 0
    for part in clustered(rows, width, clusters):
        inserter.insert(names[start : start + len(part)], part)
        start += len(part)
    store.database.optimize(table.name)
    return store


def measure(folder: Path, options: Any) -> tuple[dict[str, float], list[float], dict[str, Any]]:
    """Return seconds of what is done once, seconds of each query, and facts."""
    once: dict[str, float] = {}
    progress(f"write {options.rows} × {options.width}")
    with Stopwatch() as watch:
        store = fill(folder, options.rows, options.width, options.clusters)
    once["write the vectors"] = watch.seconds
    samples = open_samples(store, DATASET, ADDRESS, None, False, True)
    slides = np.arange(options.rows) // _PER_SLIDE
    everyone = np.arange(options.rows)
    barred = Barred(everyone, slides, slides)
    progress("make the index")
    before = time.process_time()
    with Stopwatch() as watch:
        search = IndexedSearch(store, samples, options.metric)
    once["make the index"] = watch.seconds
    once["make the index, seconds of processors"] = time.process_time() - before
    progress("measure its recall")
    with Stopwatch() as watch:
        effort = search.measured(everyone, barred, options.k, lambda *_: None)
    once[f"measure its recall on {indexed.MEASURED} queries"] = watch.seconds
    assert effort is not None, "the index finds too little"
    with Stopwatch() as watch:
        search = IndexedSearch(open_store(folder), samples, options.metric)
    once["open it again"] = watch.seconds
    rng = np.random.default_rng(1)
    asked = rng.choice(options.rows, options.queries, replace=False)
    seconds, found = [], []
    before = time.process_time()
    for query in asked[:, None]:
        vector = search.read(query)
        started = time.perf_counter()
        found.append(search.nearest(vector, options.k, barred, (query, everyone), effort))
        seconds.append(time.perf_counter() - started)
    busy = (time.process_time() - before) / len(asked)
    vectors = search.read(asked)
    with Stopwatch() as watch:
        search_pieces(vectors[:1], search.read, options.metric, options.k, barred, (asked[:1], everyone))
    once["a query, exactly"] = watch.seconds
    exact = search_pieces(vectors, search.read, options.metric, options.k, barred, (asked, everyone))
    hits = [len(set(one.places[0]) & set(row)) / options.k for one, row in zip(found, exact.places, strict=True)]
    with Stopwatch() as watch:
        histokit.neighbours(folder, DATASET, ADDRESS, query=samples.sample_ids[5], k=options.k, metric=options.metric)
    once["histokit.neighbours of one sample, all in all"] = watch.seconds
    bytes_of = sum(path.stat().st_size for path in folder.glob("*.lance/_indices/**/*") if path.is_file())
    facts = {
        **search.described(effort),
        "recall_of_queries": float(np.mean(hits)),
        "index_bytes": bytes_of,
        "processor_seconds": busy,
    }
    return once, seconds, facts


def main() -> None:
    """Run what the options say."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=2_048)
    parser.add_argument("--clusters", type=int, default=2_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--metric", default="cosine")
    options = parser.parse_args()
    set_threads(cores())
    indexed.INDEXED_FROM = min(indexed.INDEXED_FROM, options.rows)
    with scratch() as folder:
        once, seconds, facts = measure(folder / "store", options)
    rows = [[name, f"{value:.2f} s"] for name, value in once.items()]
    first, *others = seconds
    rows += [["the first query", f"{1e3 * first:.1f} ms"], ["a query, median", f"{1e3 * np.median(others):.1f} ms"]]
    rows += [["a query, 95th of 100", f"{1e3 * np.quantile(others, 0.95):.1f} ms"]]
    rows += [["a query, processors alone", f"{1e3 * facts['processor_seconds']:.1f} ms"]]
    rows += [["recall on other queries", f"{facts['recall_of_queries']:.3f}"]]
    rows += [["index on disk", f"{facts['index_bytes'] / 1e6:,.0f} MB"]]
    notes = [
        f"{facts['kind']} of {facts['partitions']} partitions, {facts['probes']} of which are looked into; "
        f"{facts['compared']} times {options.k} samples are compared by their vectors. Own slides are left out.",
        f"Wanted: a query in under {_WANTED_MILLISECONDS:g} ms, a recall of {_WANTED_RECALL}.",
    ]
    title = f"Nearest of {options.rows:,} × {options.width:,} float32, {options.metric}"
    table = Table(title, ["what", "value"], rows, notes)
    timings = {"query": [Timing("histokit", 1, seconds=seconds)]}
    publish("neighbours", vars(options), [table], timings, options.json, {**facts, "once": once})


if __name__ == "__main__":
    main()
