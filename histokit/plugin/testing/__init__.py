"""Checks for the authors of plugins: one named check for each clause of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from histokit.plugin.manager import added_plugin
from histokit.plugin.testing.checks import Check, CheckFailure, CheckResult, run_checks
from histokit.plugin.testing.datasets import check_dataset, iter_dataset_checks
from histokit.plugin.testing.named import iter_named_checks

if TYPE_CHECKING:
    from histokit.plugin.testing.backbones import check_backbone, iter_backbone_checks

__all__ = [
    "Check",
    "CheckFailure",
    "CheckResult",
    "added_plugin",
    "check_backbone",
    "check_dataset",
    "iter_backbone_checks",
    "iter_dataset_checks",
    "iter_named_checks",
    "run_checks",
]


def __getattr__(name: str) -> Any:
    # Checking a dataset must not import torch.
    if name in ("check_backbone", "iter_backbone_checks"):
        from histokit.plugin.testing import backbones

        return getattr(backbones, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
