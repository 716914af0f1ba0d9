"""Writing and reading one layer through the store, against ``numpy.save`` and ``numpy.load`` of the same matrix."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from common import Contender, Stopwatch, Table, Timing, arguments, cores, publish, scratch, set_threads, take_turns

from histokit.features import FeatureStore, open_store
from histokit.plugin.digests import digest_bytes
from histokit.store import DatasetRecord
from histokit.store.care import collect_garbage, compact
from histokit.store.records import FILE_SCHEMA, IMPORT_PLUGIN, SAMPLE_FIELDS
from histokit.store.vector_writes import VectorInserter

DATASET, ADDRESS = "made-up", "net/layer"
#: As the extraction writes.
_ROWS_AT_ONCE = 1_000
_DTYPES = ("float32", "float16")
_WANTED_READ, _WANTED_DISK = 3.0, 1.05

Matrix = npt.NDArray[np.float32]


def matrix(rows: int, width: int) -> Matrix:
    """Return a matrix that does not compress."""
    return np.random.default_rng(0).standard_normal((rows, width), dtype=np.float32)


def ids(rows: int) -> list[str]:
    """Return ids such as those of patches."""
    return [f"slide{row // 100:05}/patch{row % 100:03}.png" for row in range(rows)]


def fill(folder: Path, X: Matrix, dtype: str) -> FeatureStore:
    """Write a dataset and its one layer as the extraction does."""
    names = ids(len(X))
    contents = [digest_bytes(name.encode()) for name in names]
    columns = {field.name: pa.nulls(len(X), field.type) for field in SAMPLE_FIELDS}
    columns |= {"id": pa.array(names), "content": pa.array(contents, pa.binary(16))}
    columns["image"] = pa.array([[name] for name in names])
    record = DatasetRecord(
        DATASET, IMPORT_PLUGIN, "1", "histokit", "", {}, (), None, "accuracy", (), {}, None, (), None, len(X), "2026"
    )  # fmt: skip
    store = open_store(folder)
    store.save_dataset(record, pa.table(columns, schema=pa.schema(SAMPLE_FIELDS)), FILE_SCHEMA.empty_table())
    backbone, _, layer = ADDRESS.partition("/")
    spec = {"backbone": backbone, "layer": layer} | ({} if dtype == "float32" else {"store_dtype": dtype})
    table = store.create_feature_table(DATASET, spec, X.shape[1], {})
    for start in range(0, len(X), _ROWS_AT_ONCE):
        here = slice(start, start + _ROWS_AT_ONCE)
        VectorInserter(store.database, table, names[here], contents[here]).insert(names[here], X[here])
    store.database.optimize(table.name)
    return store


def timed(act: Any, before: Any = lambda: None) -> Any:
    """Return the rounds of something, warm."""

    def work() -> tuple[float, dict[str, Any]]:
        before()
        with Stopwatch() as watch:
            done = act()
        del done
        return watch.seconds, {}

    work()
    return work


def numpy_save(file: Path, rows: int, width: int) -> Any:
    """Return the rounds of ``numpy.save``."""
    return timed(partial(np.save, file, matrix(rows, width)), partial(file.unlink, missing_ok=True))


def numpy_load(file: Path) -> Any:
    """Return the rounds of ``numpy.load``."""
    return timed(partial(np.load, file))


def histokit_write(folder: Path, rows: int, width: int, dtype: str) -> Any:
    """Return the rounds of filling a new store, fragments merged."""
    return timed(partial(fill, folder, matrix(rows, width), dtype), partial(shutil.rmtree, folder, ignore_errors=True))


def histokit_read(folder: Path) -> Any:
    """Return the rounds of opening features by address."""
    return timed(lambda: open_store(folder).features(DATASET, ADDRESS).X)


def size(folder: Path) -> int:
    """Return the bytes of the files of feature tables."""
    files = (path for table in folder.glob("features.*") for path in table.rglob("*"))
    return sum(path.stat().st_size for path in files if path.is_file())


def rows_of(timings: list[Timing], raw: int) -> list[list[str]]:
    """Return the rows of a table; the first timing is what the others are compared with."""
    first = timings[0]
    return [
        [t.name, f"{t.median:.3f}", f"{t.rate:,.0f}", f"{raw / t.median / 1e9:.2f}", f"{t.median / first.median:.2f}"]
        for t in timings
    ]


def disk(folder: Path, X: Matrix, dtype: str) -> tuple[list[str], float]:
    """Return a row of the table of bytes on disk, after the care of the store."""
    store = open_store(folder)
    compact(store)
    collect_garbage(store, older_than=0)
    raw = X.size * np.dtype(dtype).itemsize
    used = size(folder)
    row = [dtype, f"{used / 1e6:,.1f}", f"{used / raw:.3f}", f"{(used - raw) / len(X):.0f}", f"{used / X.nbytes:.3f}"]
    return row, used / X.nbytes


def main() -> None:
    """Run what the options say."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--width", type=int, default=2_048)
    options = parser.parse_args()
    set_threads(cores())
    X = matrix(options.rows, options.width)
    shape = {"rows": options.rows, "width": options.width}
    with scratch() as folder:
        np.save(folder / "read.npy", X)
        folders = {dtype: folder / f"read-{dtype}" for dtype in _DTYPES}
        reads = [Contender("numpy.load", numpy_load, {"file": folder / "read.npy"}, options.rows)]
        writes = [Contender("numpy.save", numpy_save, {"file": folder / "write.npy", **shape}, options.rows)]
        for dtype, there in folders.items():
            store = fill(there, X, dtype)
            read = store.features(DATASET, ADDRESS).X
            assert np.array_equal(read, X.astype(dtype).astype(np.float32))
            reads.append(Contender(f"histokit, {dtype}", histokit_read, {"folder": there}, options.rows))
            given = {"folder": folder / f"write-{dtype}", "dtype": dtype, **shape}
            writes.append(Contender(f"histokit, {dtype}", histokit_write, given, options.rows))
        timings = {"read": take_turns(reads, options.rounds), "write": take_turns(writes, options.rounds)}
        used = {dtype: disk(there, X, dtype) for dtype, there in folders.items()}
    title = f"{options.rows:,} × {options.width:,} float32"
    columns = ["", "seconds", "rows/s", "GB/s", "× seconds of NumPy"]
    read_notes = [f"Page cache warm; matrix, labels and ids. Wanted: float32 in {_WANTED_READ:g} × or less."]
    write_notes = [f"In writes of {_ROWS_AT_ONCE} rows that insert what is not there yet, and a merge of fragments."]
    disk_notes = [f"Keys, ids, digests and check numbers included. Wanted: float32 {_WANTED_DISK} × or less."]
    disk_columns = ["stored as", "MB", "× bytes of its numbers", "bytes a row beside them", "× bytes of float32"]
    tables = [
        Table(f"Reading {title}", columns, rows_of(timings["read"], X.nbytes), read_notes),
        Table(f"Writing {title}", columns, rows_of(timings["write"], X.nbytes), write_notes),
        Table("Disk, after store compact and store gc", disk_columns, [row for row, _ in used.values()], disk_notes),
    ]
    facts = {"disk_ratio": {dtype: ratio for dtype, (_, ratio) in used.items()}}
    publish("store_speed", vars(options), tables, timings, options.json, facts)


if __name__ == "__main__":
    main()
