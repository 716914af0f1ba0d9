"""What this machine has: devices, versions, weights found offline, plugins and whether they pass their checks."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from histokit import __version__
from histokit.errors import DataError, HistokitError, PluginError, StoreError, counted
from histokit.plugin.file_kinds import recognise
from histokit.plugin.guarded_backbone import GuardedBackbone
from histokit.plugin.manager import Registry, registry
from histokit.plugin.weights import NONE, offline
from histokit.plugin.weights_folder import FOLDER_VARIABLE, SUFFIXES, weights_folder

_LIBRARIES = ("torch", "torchvision", "timm", "scikit-learn", "lancedb", "pylance", "pyarrow", "numpy")


@dataclass(frozen=True)
class ReportLine:
    """One line of the report.

    Parameters
    ----------
    topic, name : str
    value : str
    ok : bool
        False where something should be done about it.
    """

    topic: str
    name: str
    value: str
    ok: bool = True


def examine() -> list[ReportLine]:
    """Look at everything."""
    return [
        *_versions(),
        *_devices(),
        *_weights(),
        *_datasets(registry()),
        *_backbones(registry()),
        *_broken(registry()),
    ]


def _versions() -> list[ReportLine]:
    findings = [ReportLine("version", "python", platform.python_version())]
    # Of the code that runs, which need not be installed.
    findings.append(ReportLine("version", "histokit", __version__))
    for library in _LIBRARIES:
        try:
            findings.append(ReportLine("version", library, version(library)))
        except PackageNotFoundError:
            findings.append(ReportLine("version", library, "not installed", ok=False))
    return findings


def _devices() -> list[ReportLine]:
    import torch

    from histokit.networks.devices import is_native

    kind = "native" if is_native(torch.bfloat16) else "emulated, slower than float32"
    shares = counted(os.cpu_count() or 1, "core", "cores"), counted(torch.get_num_threads(), "thread", "threads")
    cpu = f"{', '.join(shares)}, bfloat16 {kind}"
    findings = [ReportLine("device", "cpu", cpu)]
    findings += [_gpu(index) for index in range(torch.cuda.device_count())]
    return findings if len(findings) > 1 else [*findings, ReportLine("device", "cuda", "none")]


def _gpu(index: int) -> ReportLine:
    """Look at a GPU; one that the driver tells of may be of no use to torch all the same."""
    import torch

    from histokit.networks.devices import choose_device, emulates_bfloat16

    name = f"cuda:{index}"
    try:
        device = choose_device(name)
    except HistokitError as error:
        return ReportLine("device", name, error.message, ok=False)
    properties = torch.cuda.get_device_properties(device)
    kind = "emulated" if emulates_bfloat16(device) else "native"
    memory = f"{properties.total_memory / 2**30:.0f} GiB"
    return ReportLine("device", name, f"{properties.name}, {memory}, bfloat16 {kind}")


def _weights() -> list[ReportLine]:
    from huggingface_hub.constants import HF_HUB_CACHE

    findings = []
    try:
        folder = weights_folder()
    except StoreError as error:
        folder = None
        findings.append(ReportLine("weights", FOLDER_VARIABLE, error.message, ok=False))
    else:
        if folder is None:
            findings.append(ReportLine("weights", FOLDER_VARIABLE, "not set"))
    found = sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIXES)) if folder else []
    findings += [_weights_file(path) for path in found]
    cached = sorted(p.name for p in Path(HF_HUB_CACHE).glob("models--*"))
    findings += [
        ReportLine("weights", name.removeprefix("models--").replace("--", "/"), "hub cache") for name in cached
    ]
    return findings


def _weights_file(path: Path) -> ReportLine:
    try:
        recognise(path)
    except HistokitError as error:
        return ReportLine("weights", path.name, error.message, ok=False)
    return ReportLine("weights", path.name, str(path.parent))


def _datasets(found: Registry) -> list[ReportLine]:
    from histokit.plugin.testing import iter_dataset_checks, run_checks

    findings = []
    for name in sorted(found.datasets):
        try:
            cls = found.dataset(name)
        except HistokitError as error:
            findings.append(ReportLine("dataset plugin", name, error.message, ok=False))
            continue
        if not cls.needs_data:
            failed = [r.name for r in run_checks(iter_dataset_checks(cls)) if not r.passed]
            value = f"fails: {', '.join(failed)}" if failed else "passes its checks"
            findings.append(ReportLine("dataset plugin", name, value, ok=not failed))
        else:
            findings.append(
                ReportLine("dataset plugin", name, f"loads; check it with: histokit plugins check {name} ROOT")
            )
    return findings


def _backbones(found: Registry) -> list[ReportLine]:
    findings = []
    for name in sorted(found.backbones):
        if name.endswith(":"):
            continue
        try:
            guarded = GuardedBackbone(found.backbone(name), name)
            licence = guarded.attribute("licence") or "no licence"
            licence = "needs no weights" if guarded.attribute("weights") == NONE else licence
            about = f"{len(guarded.layers())} layers; {licence}"
        except HistokitError as error:
            findings.append(ReportLine("backbone", name, error.message, ok=False))
            continue
        weights, here = _own_weights(guarded)
        findings.append(ReportLine("backbone", name, f"{about}{weights}", ok=here))
    return findings


def _own_weights(guarded: GuardedBackbone) -> tuple[str, bool]:
    """Return what is to be said of the weights of a backbone, and whether it can be used without a network."""
    weights = guarded.attribute("weights")
    if weights == NONE:
        return "", True
    try:
        with offline():
            file = guarded.weights_file()
        if file is not None:
            recognise(file)
    except PluginError as error:
        return f"; {error.message}", False
    except HistokitError as error:
        return f"; its weights are not on this machine{_instead(guarded, error)}", False
    return f"; weights {file or weights}", True


def _instead(guarded: GuardedBackbone, error: HistokitError) -> str:
    """Return what lies in the place of the weights, where something does."""
    if isinstance(error, DataError):
        return f": {error.message}"
    try:
        return "".join(guarded.attribute("weights_notes"))[len(guarded.backbone.name) :]
    except HistokitError:
        return ""


def _broken(found: Registry) -> list[ReportLine]:
    return [ReportLine("plugin", plugin.module, str(plugin), ok=False) for plugin in found.broken]
