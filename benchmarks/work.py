"""The images and networks that the benchmarks of extraction work on."""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

#: Where tests and benchmarks find real images and weights.
VARIABLE = "HISTOKIT_REAL_DATA"

SIZE = 224
PATTERN = "{patient}/{label}/*.png"
_PATIENTS = 12

#: Formats of drawn images, and how they are saved.
FORMATS: dict[str, dict[str, Any]] = {"png": {"compress_level": 1}, "jpg": {"quality": 90}}

#: How many images are drawn, where copies with other bytes will do for the rest.
DRAWN = 1024


@dataclass(frozen=True)
class Network:
    """A network, its weights file, and how its images are prepared.

    Parameters
    ----------
    name : str
        Short.
    backbone : str
        As histokit names it.
    file : str
        Of the real weights.
    changes : mapping
        Of preprocessing: what these weights were trained with, where it is not the library's own.
    early : str
        A layer near the input.
    """

    name: str
    backbone: str
    file: str
    changes: Mapping[str, Any]
    early: str

    def preprocess(self) -> list[str]:
        """Return the changes as ``--preprocess`` takes them."""
        return [f"{self.backbone}/{key}={value}" for key, value in self.changes.items()]

    def build(self, weights: str) -> Any:
        """Return the network by its library's own builder."""
        import timm
        import torchvision
        from safetensors.torch import load_file

        timms = self.name == "mobilenetv2"
        network = timm.create_model("mobilenetv2_100", pad_type="same") if timms else torchvision.models.squeezenet1_1()
        if weights:
            network.load_state_dict({key: value.float() for key, value in load_file(weights).items()})
        return network.eval()


NETWORKS = {
    "mobilenetv2": Network(
        "mobilenetv2",
        "timm:mobilenetv2_100,pad_type=same",
        "timm.mobilenetv2_100.in1k-tf.safetensors",
        {"mean": "0.5,0.5,0.5", "std": "0.5,0.5,0.5", "interpolation": "bicubic"},
        "blocks.1",
    ),
    "squeezenet": Network(
        "squeezenet",
        "torchvision:squeezenet1_1",
        "torchvision.squeezenet1_1.in1k.safetensors",
        {},
        "features.4",
    ),
}


@dataclass(frozen=True)
class Material:
    """Images and weights of a benchmark: real ones where there are some.

    Parameters
    ----------
    images : Path
        ``PATIENT/LABEL/NAME.png``.
    count : int
    weights : mapping
        Name of network → file.
    notes : list of str
        What is not real.
    """

    images: Path
    count: int
    weights: Mapping[str, str]
    notes: list[str]


def prepare(folder: Path, count: int | None, names: Sequence[str], data: Path | None, weights: Path | None) -> Material:
    """Put so many images into a folder of their own, and find or make a weights file for each network.

    Parameters
    ----------
    folder : Path
        For what is made.
    count : int, optional
        All where not given. Fewer are taken evenly, so that all patients are there.
    data, weights : Path, optional
        Folders; those behind the environment variable where not given.
    """
    root = os.environ.get(VARIABLE)
    data = data or (Path(root, "data", "idc_breast_patches") if root else None)
    weights = weights or (Path(root, "weights") if root else None)
    notes = []
    images = folder / "images"
    if data is None:
        draw_images(images, count or 2000, 50)
        notes.append(f"Drawn images: no --data and no {VARIABLE}; only the speed means anything.")
    else:
        _take(data, images, count)
    files = {}
    for name in names:
        found = weights / NETWORKS[name].file if weights else None
        if found is None or not found.exists():
            found = random_weights(NETWORKS[name], folder)
            notes.append(f"Random weights for {name}: no file {NETWORKS[name].file}.")
        files[name] = str(found)
    return Material(images, sum(1 for _ in images.rglob("*.png")), files, notes)


def draw_images(folder: Path, count: int, side: int, form: str = "png", distinct: int | None = None) -> None:
    """Write smooth random images of two classes from some patients, no two files alike.

    Parameters
    ----------
    folder : Path
    count : int
    side : int
        In pixels.
    form : str
        Of `FORMATS`.
    distinct : int, optional
        An even number: that many are drawn, and the others are copies of them with a comment in the file.
    """
    generator = np.random.default_rng(0)
    drawn = min(count, distinct or count)
    for index in range(drawn):
        label = index % 2
        small = generator.normal(110 + 40 * label, 40, (max(2, side // 6),) * 2 + (3,)).clip(0, 255).astype(np.uint8)
        path = _path(folder, index, form)
        Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC).save(path, **FORMATS[form])
    for index in range(drawn, count):
        original = _path(folder, index % drawn, form).read_bytes()
        _path(folder, index, form).write_bytes(commented(original, f"copy {index}".encode()))


def _path(folder: Path, index: int, form: str) -> Path:
    path = folder / f"p{index // 2 % _PATIENTS:02d}" / str(index % 2) / f"{index:06d}.{form}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def commented(image: bytes, text: bytes) -> bytes:
    """Return a JPEG or PNG file with a comment behind its head, which a decoder skips."""
    if image.startswith(b"\xff\xd8"):
        head, comment = 2, b"\xff\xfe" + struct.pack(">H", len(text) + 2) + text
    else:
        # Behind the signature and the chunk of width and height.
        chunk, head = b"tEXtComment\0" + text, 8 + 25
        comment = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return image[:head] + comment + image[head:]


def all_paths(folder: Path) -> list[Path]:
    """Return all files in order."""
    return sorted(path for path in folder.rglob("*.*") if path.is_file())


class Patches:
    """The dataset of a script: opens, resizes and scales one image.

    Parameters
    ----------
    paths : sequence of Path
    side : int
        Of the network's input.
    interpolation : str
    mean, std : sequence of float
    """

    def __init__(
        self, paths: Sequence[Path], side: int, interpolation: str, mean: Sequence[float], std: Sequence[float]
    ):
        from torchvision import transforms

        self.paths, self.side = paths, side
        self.resample = Image.Resampling[interpolation.upper()]
        self.scale = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        with Image.open(self.paths[index]) as image:
            return self.scale(image.convert("RGB").resize((self.side, self.side), self.resample))


def _take(data: Path, folder: Path, count: int | None) -> None:
    paths = sorted(data.glob("*/*/*.png"))
    if not paths:
        raise SystemExit(f"There are no images PATIENT/LABEL/NAME.png in {data}.")
    chosen = np.linspace(0, len(paths) - 1, min(count or len(paths), len(paths))).round().astype(int)
    for index in chosen:
        target = folder / paths[index].relative_to(data)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(paths[index], target)


def random_weights(network: Network, folder: Path) -> Path:
    """Write a weights file of random numbers, always the same."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    path = folder / f"{network.name}.safetensors"
    state = network.build("").state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    return path


def scaling(network: Network) -> dict[str, Any]:
    """Return interpolation, mean and std, as the weights' configuration and the changes to it say."""
    from histokit.plugin.manager import registry

    preprocess = registry().backbone(network.backbone, "random").preprocess.override(network.changes)
    return {"interpolation": preprocess.interpolation, "mean": preprocess.mean, "std": preprocess.std}


def layers(network: Network) -> list[str]:
    """Return the modules of the curated cut points, in depth order."""
    from histokit.plugin.manager import registry

    return [layer.module for layer in registry().backbone(network.backbone, "random").layers]
