"""thingsvision: all layers in one pass; the maps are kept whole, and pooled afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
from serve import arguments, build, preparation, serve
from thingsvision import get_extractor_from_model
from thingsvision.utils.data import DataLoader, ImageDataset

options = arguments()
transform = preparation(options)
model = build(options.network, options.weights)
extractor = get_extractor_from_model(model=model, device="cpu", backend="pt", preprocess=transform)

# It takes a flat folder, or one folder for each class.
flat = options.out / "flat"
flat.mkdir(parents=True)
for path in sorted(options.images.rglob("*.png")):
    (flat / "_".join(path.relative_to(options.images).parts)).symlink_to(path)


def extract() -> dict[str, Any]:
    """Read the folder, extract, pool, write one file for each layer."""
    dataset = ImageDataset(root=str(flat), out_path=str(options.out), backend="pt", transforms=transform)
    batches = DataLoader(dataset=dataset, batch_size=64, backend="pt")
    features = extractor.extract_features(
        batches=batches, module_names=options.layers, flatten_acts=False, output_type="ndarray"
    )
    for name, maps in features.items():
        np.save(options.out / f"{name}.npy", maps.mean((2, 3)))
    return {"images": len(dataset), "gigabytes": sum(maps.nbytes for maps in features.values()) / 1e9}


serve(extract)
