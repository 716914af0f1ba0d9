"""A dataset plugin of two images, to be made to misbehave; and the command line, run with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from histokit import cli
from histokit.plugin import Dataset, Sample, hookimpl
from histokit.plugin.manager import added_plugin

#: How messages call it.
OWNER = "The dataset plugin 'lab' of labplugin 0"


class Lab(Dataset):
    """Two images of a lab."""

    columns: ClassVar[dict[str, type]] = {"slide": str}

    def samples(self):
        for name in "ab":
            yield Sample(name, (f"{name}.png",), label=name, metadata={"slide": name})


class Plugin:
    """Registers a class as ``lab``."""

    def __init__(self, cls: Any):
        self.cls = cls

    @hookimpl
    def register_datasets(self, register: Any) -> None:
        """Announce it."""
        register("lab", lambda: self.cls)


def draw_images(folder: Path) -> Path:
    """Write the two images."""
    for number, name in enumerate("ab"):
        pixels = np.full((16, 16, 3), 50 + 100 * number, np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


def run(images: Path, cls: Any, *command: str) -> int:
    """Run a command with a class installed, and return its exit code."""
    with added_plugin(Plugin(cls), "labplugin"):
        return cli.run([*command, "--store", str(images / "store"), "--json"])


def ingest(images: Path, cls: Any) -> int:
    """Ingest the images as ``d``."""
    return run(images, cls, "ingest", "lab", str(images), "--name", "d")


def raising(error: BaseException) -> Callable[..., Any]:
    """Return a method that raises."""

    def method(*_: Any, **__: Any) -> Any:
        raise error

    return method


def last_message(capsys: Any) -> str:
    """Return the message of the one document on stdout, after a command that failed without a traceback."""
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return json.loads(captured.out)["error"]["message"]
