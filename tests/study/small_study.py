"""A study of two small datasets, two tiny networks, six strategies and two classifiers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

FILE = """\
classifiers = ["svm", "knn"]
inner_folds = 2
split = { test = 0.25 }

[datasets.cells]
plugin = "folder"
root = "cells"
options = { pattern = "{patient}/{label}/*.png", group = "patient" }
[datasets.more]
plugin = "folder"
root = "more"
options = { pattern = "{patient}/{label}/*.png", group = "patient" }

[backbones.tiny]
[backbones.small]
weights = "random:5"

[classifier.svm.grid]
C = [1e-2, 1.0]
[classifier.knn.grid]
k = 3
[classifier.et-fl.grid]
windows = 240
min_leaf = 10
trees = 2
k = 8
[strategy."feature selection"]
step = 5
backbones = ["tiny"]
[compare]
bootstrap = 20
"""

#: On each dataset: last layer 2 × 2, feature selection 2 on one network, merged networks 2, merged layers 2 × 2,
#: inner layers 2 × 2, ET-FL 1.
RUNS = 2 * (4 + 2 + 2 + 4 + 4 + 1)

#: Ingestion, a split, two networks and a selection for each dataset.
PIECES = RUNS + 2 * (1 + 1 + 2 + 1)

#: A study of the same datasets in which one network is trained by two presets, from weights; a classifier beside it.
TRAINING = f"""\
strategies = ["last layer", "fine-tuning"]
{FILE.partition("[classifier.svm")[0].replace('["svm", "knn"]', '["knn"]')}
[strategy."last layer"]
backbones = ["tiny"]
[strategy.fine-tuning]
backbones = ["tiny"]
from_scratch = false
set = {{ batch_size = 5, lr = 1e-2, patience = 0, "head.layer" = "3", epochs = 2 }}
[strategy.fine-tuning.presets.default]
[strategy.fine-tuning.presets.head-first]
set.stages.2.epochs = 3
[compare]
bootstrap = 20
"""


def draw(root: Path, seed: int, each: int = 3) -> None:
    """Write images of 16 × 16 pixels of two classes, which differ in brightness, from four patients."""
    generator = np.random.default_rng(seed)
    for patient in "abcd":
        for label, level in (("dark", 110), ("bright", 140)):
            folder = root / patient / label
            folder.mkdir(parents=True)
            for index in range(each):
                pixels = generator.normal(level, 40, (16, 16, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")


def write_study(folder: Path, text: str = FILE) -> Path:
    """Write the file, and beside it the images."""
    for number, name in enumerate(("cells", "more")):
        if not (folder / name).exists():
            draw(folder / name, number)
    file = folder / "study.toml"
    file.write_text(text)
    return file
