"""Files of many images, from the file to the scores."""

import json

import numpy as np
import pytest

from histokit.errors import ExitCode
from tests.datasets.arrays_files import pixels

LABELS = np.arange(24) % 2


@pytest.fixture
def stack(tmp_path):
    images = pixels(24, 24, 24, 3) // 2
    images[LABELS == 1] += 100
    file = tmp_path / "stack.npz"
    roles = {"train": slice(0, 16), "test": slice(16, 24)}
    named = {f"{role}_images": images[rows] for role, rows in roles.items()}
    labels = {f"{role}_labels": LABELS[rows, None] for role, rows in roles.items()}
    np.savez_compressed(file, **named, **labels)
    return file


def test_the_whole_way(histokit, stack):
    made = histokit.ok("ingest", "arrays", stack, "--name", "stack")
    assert made.out == "stack\n"
    histokit.ok("extract", "stack", "--backbone", "texture")
    run = histokit.ok("train", "stack", "--features", "texture/stain", "--grid", "C=1").out.strip()
    scores = histokit.ok("evaluate", run, "--json").document
    assert "arrays" in json.dumps(scores)
    assert '"accuracy": 1.0' in json.dumps(scores)
    arrays = dict(np.load(stack))
    arrays["test_images"][3] = 0
    np.savez_compressed(stack, **arrays)
    stale = histokit("extract", "stack", "--backbone", "squeezenet1_1", "--weights", "random:0", "--layers", "last")
    assert stale.code == ExitCode.DATA
    assert "stack.npz changed since the dataset was ingested: ingest it again" in stale.err
    histokit.ok("ingest", "arrays", stack, "--name", "stack")
    document = histokit.ok("extract", "stack", "--backbone", "texture", "--dry-run", "--json").document
    assert {table["missing"] for table in document["tables"]} == {1}


def test_a_mistake_says_what_is_there(histokit, stack):
    failed = histokit.fails("ingest", "arrays", stack, "--name", "x", "-o", "images=imgs", code=ExitCode.USAGE)
    assert "train_images (16, 24, 24, 3) uint8" in failed.err
