"""The hooks of histokit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import pluggy

from histokit.plugin.backbone import Backbone, BackboneRequest
from histokit.plugin.dataset import Dataset
from histokit.plugin.finished_runs import FinishedRun
from histokit.plugin.raw_images import ImageReader

PROJECT = "histokit"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

DatasetLoader = Callable[[], type[Dataset]]
BackboneLoader = Callable[[BackboneRequest], Backbone]
ReaderLoader = Callable[[], type[ImageReader] | ImageReader | Callable[[Path], Any]]


class RegisterDataset(Protocol):
    """What `register_datasets` receives."""

    def __call__(self, name: str, load: DatasetLoader) -> None:
        """Announce a dataset plugin; `load` imports and returns its class."""


class RegisterBackbone(Protocol):
    """What `register_backbones` receives."""

    def __call__(
        self,
        name: str,
        load: BackboneLoader,
        names: Callable[..., Iterable[str]] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        """Announce a backbone, or a prefix ending in ``:``; `names` lists what a prefix has.

        Where `names` has a parameter ``store``, it is given the path of the store.
        """


class RegisterReader(Protocol):
    """What `register_readers` receives."""

    def __call__(self, suffix: str, load: ReaderLoader) -> None:
        """Announce who reads image files of a suffix such as ``.czi``; `load` imports and returns it."""


class RegisterPreset(Protocol):
    """What `register_presets` receives."""

    def __call__(self, name: str, path: str | Path) -> None:
        """Announce a recipe for training networks; `path` is its TOML file."""


@hookspec
def register_datasets(register: RegisterDataset) -> None:
    """Call ``register(name, load)`` for each dataset plugin."""


@hookspec
def register_backbones(register: RegisterBackbone) -> None:
    """Call ``register(name, load)`` for each backbone or prefix of backbones."""


@hookspec
def register_readers(register: RegisterReader) -> None:
    """Call ``register(suffix, load)`` for each suffix of image files."""


@hookspec
def register_presets(register: RegisterPreset) -> None:
    """Call ``register(name, path)`` for each recipe for training networks."""


@hookspec
def on_run_finished(run: FinishedRun) -> None:
    """Hear of a run once it is stored: not where it was there already, and again where it was done anew.

    The run is kept whatever happens here: of an error a warning is told.
    """
