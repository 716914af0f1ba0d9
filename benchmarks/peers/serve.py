"""Lets the benchmark ask a tool, in the tool's own environment, for round after round."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Tools print on stdout as they like, from the moment when they are imported: what they print goes to stderr.
_ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def arguments() -> argparse.Namespace:
    """Return what the benchmark says: images, network, weights, layers, a folder for what is written."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--network", choices=["mobilenetv2", "squeezenet"], required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--layers", required=True)
    parser.add_argument("--mean", required=True)
    parser.add_argument("--std", required=True)
    parser.add_argument("--interpolation", required=True)
    parser.add_argument("--out", type=Path, required=True)
    found = parser.parse_args()
    found.layers = found.layers.split(",")
    for name in ("mean", "std"):
        setattr(found, name, [float(text) for text in getattr(found, name).split(",")])
    return found


def serve(work: Callable[[], dict[str, Any] | None]) -> None:
    """Call `work` for each line that comes in, and answer with its seconds."""
    print(json.dumps({"ready": True}), file=_ANSWERS, flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        facts = work()
        seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds, "facts": facts or {}}), file=_ANSWERS, flush=True)


def build(network: str, weights: Path) -> Any:
    """Return the network with its weights."""
    import torch
    from safetensors.torch import load_file

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    if network == "mobilenetv2":
        import timm

        model = timm.create_model("mobilenetv2_100", pad_type="same")
    else:
        import torchvision

        model = torchvision.models.squeezenet1_1()
    model.load_state_dict({key: value.float() for key, value in load_file(str(weights)).items()})
    return model.eval()


def preparation(options: argparse.Namespace) -> Any:
    """Return the transformation of an image: squash to 224 pixels, scale."""
    from torchvision import transforms

    mode = transforms.InterpolationMode(options.interpolation)
    squash = transforms.Resize((224, 224), interpolation=mode)
    return transforms.Compose([squash, transforms.ToTensor(), transforms.Normalize(options.mean, options.std)])


def pooled(model: Any, layer: str) -> Any:
    """Return a module that gives the averages of one layer's maps: (N, C)."""
    from torch import nn

    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.found: list[Any] = []
            model.get_submodule(layer).register_forward_hook(lambda _m, _i, maps: self.found.append(maps.mean((2, 3))))

        def forward(self, batch: Any) -> Any:
            self.model(batch)
            return self.found.pop()

    return Pooled().eval()
