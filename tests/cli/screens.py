"""A terminal of so many columns in front of the command line, and a store of names that are hard to show."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from histokit import cli
from histokit.protocol.splits import make_split
from histokit.store.records import PREDICTION_SCHEMA, SelectionRecord
from tests.evaluate.made_up import make_record
from tests.toy import make_store

FEW = "breast-metastases"
MANY = "colorectal-polyps-of-the-second-hospital-slides-2019-to-2023"
ROOT = "/data/" + "/".join(f"archive-of-institute-{i:02d}" for i in range(6))
NETWORK = "timm:mobilenetv2_100,pad_type=same"
ADDRESS = f"{NETWORK}/blocks.6.0"
CLASSES = [
    *(f"adenoma-with-{kind}-grade-dysplasia-{i:02d}-of-40" for i in range(16) for kind in ("low", "high")),
    *("正常结肠黏膜", "腺癌", "🔬 unclear", "cafe\u0301", "[red]x[/]", "\x1b[31mred", "tab\tand\nline", "\u202eturned"),
]


@dataclass(frozen=True)
class Screen:
    """What a command left on a terminal."""

    code: int
    text: str
    columns: int

    @property
    def lines(self) -> list[str]:
        return self.text.replace("\r\n", "\n").split("\n")


def on_a_terminal(columns: int, *arguments: object, streams: tuple[str, ...] = ("stdout", "stderr")) -> Screen:
    """Run a command in this process with a terminal as stdout, stderr or both."""
    with terminal(columns) as (file, read):
        before = {name: getattr(sys, name) for name in streams}
        try:
            for name in streams:
                setattr(sys, name, file)
            code = cli.run([str(argument) for argument in arguments])
        finally:
            for name, stream in before.items():
                setattr(sys, name, stream)
        return Screen(code, read(), columns)


@contextmanager
def terminal(columns: int) -> Iterator:
    """Open a terminal; yields its file, and what ends it and returns what was written."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    file = os.fdopen(follower, "w", encoding="utf-8", errors="histokit-plain")
    taken: list[bytes] = []

    def take() -> None:
        try:
            while piece := os.read(leader, 65536):
                taken.append(piece)
        except OSError:
            pass

    reader = threading.Thread(target=take)
    reader.start()

    def read() -> str:
        file.close()
        reader.join()
        return b"".join(taken).decode()

    try:
        yield file, read
    finally:
        file.close()
        reader.join()
        os.close(leader)


def make_hard_store(folder):
    """Make a store of two datasets, of 2 and of 40 classes, with features, splits, selections and runs."""
    store = None
    for name, classes, count in ((FEW, ["normal", "tumour"], 8), (MANY, CLASSES, 80)):
        ids = [f"patient_{i % 7}/slide-{i:04d}/tile_{1000 + i}_{2000 + i}.tiff" for i in range(count)]
        rng = np.random.default_rng(0)
        truth = [classes[i % len(classes)] for i in range(count)]
        samples = {"id": ids, "label": truth, "slide": [f"P{i % 7}" for i in range(count)]}
        layers = {layer: rng.normal(size=(count, 4)) for layer in ("blocks.6.0", "blocks.5.2")}
        facts = {"root": ROOT, "labels": {c: truth.count(c) for c in classes}}
        store = make_store(folder, samples, layers, name=name, spec={"backbone": NETWORK}, **facts)
        store.save_split(make_split(store.samples(name), store.dataset(name), "two", folds=2))
        for number, address in enumerate((ADDRESS, f"{NETWORK}/blocks.5.2", f"{ADDRESS}+{NETWORK}/blocks.5.2")):
            _save_run(store, name, address, classes, ids, truth, wrong=2 + 3 * number)
        store.save_selection(_selection(name))
    rows = pa.table(
        {
            "dataset": [FEW],
            "id": ["patient_0/slide-9999/tile_1_2.tiff"],
            "content": pa.array([None], pa.binary()),
            "stage": ["ingest"],
            "reason": [f"{ROOT}/patient_0/slide-9999/tile_1_2.tiff is not an image that can be read: it ends early"],
        }
    )
    store.replace_problems(FEW, "ingest", rows)
    return store


def _save_run(store, dataset, address, classes, ids, truth, wrong):
    record = make_record(dataset, "svm", address, split="two", classes=tuple(classes), positive=classes[-1])
    guess = [classes[(classes.index(t) + (i < wrong)) % len(classes)] for i, t in enumerate(truth)]
    scores = [[0.9 if c == g else 0.1234 for c in classes] for g in guess]
    count = len(ids)
    columns = {
        "run": [record.id] * count,
        "repeat": [0] * count,
        "fold": [i % 2 for i in range(count)],
        "role": ["test"] * count,
        "id": ids,
        "true": truth,
        "predicted": guess,
        "scores": scores,
        "kind": ["decision"] * count,
        "group": [f"P{i % 7}" for i in range(count)],
        "levels": [[]] * count,
    }
    store.save_run(record, pa.table(columns, schema=PREDICTION_SCHEMA), None)


def _selection(dataset):
    kept = {"repeat": None, "fold": None, "columns": [0, 2], "ranking": [1, 3, 2, 4], "k_best": 4, "k_min": 2}
    kept |= {"curve": [[4, 0.9, 0.01], [2, 0.89, 0.02]], "importances": [0.4, 0.1, 0.3, 0.2], "metric": "accuracy"}
    features = [{"address": ADDRESS, "table": "t", "fingerprint": "f" * 12, "columns": 4}]
    return SelectionRecord(
        id=f"{len(dataset):012x}",
        dataset=dataset,
        address=ADDRESS,
        split="two",
        split_digest="0" * 12,
        method="rfe",
        parameters={"metric": "accuracy", "tolerance": 0.005},
        found={"notes": []},
        folds=[],
        kept=kept,
        fitted_on=[],
        features=features,
        provenance=[],
        seconds=1.0,
        created="2026-01-01T10:00:00",
    )
