"""Features of real images by real weights equal those of a plain PyTorch loop with PIL's resize."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import histokit
from histokit.features import FeatureStore
from histokit.plugin import read_image

pytestmark = pytest.mark.real_data

NETWORKS = {
    "timm:mobilenetv2_100,pad_type=same": ("timm.mobilenetv2_100.in1k-tf", "bn2", 0.5, 0.5),
    "torchvision:squeezenet1_1": (
        "torchvision.squeezenet1_1.in1k",
        "features.12",
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
    ),
}


def some_images(root: Path) -> list[Path]:
    """All that are not 50 × 50 pixels, down to slivers, and a few that are."""
    paths = sorted(root.glob("*/*/*.png"))
    shapes = {path: read_image(path).shape[:2] for path in paths}
    odd = [path for path, shape in shapes.items() if shape != (50, 50)]
    assert min(min(shapes[path]) for path in odd) == 1
    return odd + paths[::100]


def plain_loop(name: str, weights: Path, layer: str, mean: object, std: object, paths: list[Path]) -> np.ndarray:
    import timm
    import torch
    import torchvision
    from safetensors.torch import load_file

    is_timm = name.startswith("timm:")
    network = timm.create_model("mobilenetv2_100", pad_type="same") if is_timm else torchvision.models.squeezenet1_1()
    network.load_state_dict({k: v.float() for k, v in load_file(weights).items()})
    network.eval()
    maps: list[torch.Tensor] = []
    network.get_submodule(layer).register_forward_hook(lambda _m, _i, output: maps.append(output.mean((2, 3))))
    vectors = []
    for path in paths:
        with Image.open(path) as image:
            resized = image.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
        pixels = (np.asarray(resized, dtype=np.float32) / 255 - mean) / std
        with torch.inference_mode():
            network(torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None])
        vectors.append(maps.pop().numpy()[0])
    return np.stack(vectors)


@pytest.fixture
def extracted(store: FeatureStore, real_data: Path, tmp_path: Path) -> tuple[FeatureStore, list[Path]]:
    source = real_data / "data" / "idc_breast_patches"
    paths = some_images(source)
    root = tmp_path / "idc"
    for path in paths:
        link = root / path.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.write_bytes(path.read_bytes())
    options = {"pattern": "{patient}/{label}/*.png", "group": "patient"}
    histokit.ingest(store, "folder", root, name="idc", options=options)
    half = [f"timm:mobilenetv2_100,pad_type=same/{name}=0.5,0.5,0.5" for name in ("mean", "std")]
    changes = ["interpolation=bicubic", *half]
    weights = {name: str(real_data / "weights" / f"{file}.safetensors") for name, (file, *_) in NETWORKS.items()}
    histokit.extract(store, "idc", list(NETWORKS), weights=weights, preprocess=changes)
    return store, [source / i for i in store.samples("idc").column("id").to_pylist()]


def test_both_networks_equal_a_plain_loop(extracted: tuple[FeatureStore, list[Path]], real_data: Path) -> None:
    store, paths = extracted
    for name, (file, layer, mean, std) in NETWORKS.items():
        ours = store.features("idc", f"{name}/last").X
        theirs = plain_loop(name, real_data / "weights" / f"{file}.safetensors", layer, mean, std, paths)
        cosine = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
        assert ours.shape == theirs.shape
        assert cosine.min() >= 0.9999, (name, cosine.min())
    merged = store.features("idc", "+".join(f"{name}/last" for name in NETWORKS))
    assert merged.X.shape == (len(paths), 1280 + 512)
