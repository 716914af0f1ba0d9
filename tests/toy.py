"""A small store of made-up features, for tests of the steps that work on the cache."""

import numpy as np
import pyarrow as pa

from histokit.features import FeatureStore
from histokit.plugin.digests import digest_bytes
from histokit.store.records import FILE_SCHEMA, SAMPLE_FIELDS, DatasetRecord
from histokit.store.vector_writes import VectorInserter


def make_store(folder, samples, layers, *, name="toy", spec=None, curated=None, **record):
    """Return a store with one dataset.

    samples: column → values (id, label, group columns); content and image follow from the id where not given.
    layers: layer → (n, d) array, of the network ``net``; NaN rows are left out.
    curated: the layers that ``all`` and ``each`` stand for; all of them where not given.
    """
    store = FeatureStore(folder)
    n = len(samples["id"])
    base = {
        "content": [digest_bytes(i.encode()) for i in samples["id"]],
        "image": [[f"{i}.png"] for i in samples["id"]],
    }
    base |= {"part": [None] * n, "box": [None] * n, "mpp": [None] * n, "label": [None] * n}
    values = base | samples
    fields = {f.name: f for f in SAMPLE_FIELDS}
    columns = {c: pa.array(values[c], fields[c].type) for c in fields}
    columns |= {c: pa.array(v) for c, v in values.items() if c not in fields}
    labels = sorted({v for v in values["label"] if v is not None})
    facts = {"plugin": "toy", "plugin_version": "1", "distribution": "histokit", "root": "/", "options": {}}
    facts |= {"classes": tuple(labels), "positive": None, "metric": "accuracy", "channels": ("R", "G", "B")}
    facts |= {"columns": {}, "group": "slide" if "slide" in samples else None, "levels": (), "state": None}
    facts |= {"count": n, "created": "2026-01-01"}
    store.save_dataset(DatasetRecord(name=name, **facts | record), pa.table(columns), FILE_SCHEMA.empty_table())
    for index, (layer, X) in enumerate(layers.items()):
        X = np.asarray(X, np.float32)
        header = {"backbone": "net", "layer": layer, **(spec or {})}
        whole = list(curated or layers)
        info = {
            "index": index,
            "layers": whole,
            "merged": whole,
            "aliases": ["last"] if index == len(layers) - 1 else [],
        }
        table = store.create_feature_table(name, header, X.shape[1], info)
        rows = np.flatnonzero(np.isfinite(X).all(1))
        ids, contents = ([values[c][i] for i in rows] for c in ("id", "content"))
        insert_vectors(store.database, table, ids, contents, X[rows])
    return store


def insert_vectors(database, table, ids, contents, vectors):
    """Insert the vectors of samples that have none yet into a table; return how many these are."""
    return VectorInserter(database, table, ids, contents).insert(ids, vectors)


def make_samples(n=60, slides=6, classes="ab", seed=0, **columns):
    """Return columns of n samples of some slides, with labels drawn at random, and features that know them a bit."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, len(classes), n)
    X = rng.normal(size=(n, 8))
    X[:, 2] += 2.5 * y
    samples = {"id": [f"s{i}" for i in range(n)], "label": [classes[k] for k in y]}
    return samples | {"slide": [f"P{i % slides}" for i in range(n)]} | columns, X
