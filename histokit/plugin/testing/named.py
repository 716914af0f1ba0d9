"""The checks of a plugin that is installed, by its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from histokit.errors import UsageError, did_you_mean
from histokit.plugin.backbone_names import split_backbone_name
from histokit.plugin.guarded_backbone import GuardedBackbone
from histokit.plugin.manager import dataset_caller, registry
from histokit.plugin.testing.checks import Check
from histokit.plugin.testing.datasets import iter_dataset_checks
from histokit.plugin.testing.readers import iter_reader_checks
from histokit.plugin.weights import NONE, RANDOM


def iter_named_checks(
    name: str,
    root: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    weights: str | None = None,
) -> Iterator[Check]:
    """Return the checks of an installed dataset plugin, backbone or reader of image files.

    Parameters
    ----------
    name : str
        A dataset plugin, a backbone, a network behind a prefix: ``timm:resnet18``; or a suffix such as ``.lab``.
    root : path, optional
        Where small data of a dataset plugin's kind lie, or files of a suffix.
    options : mapping, optional
        Of the dataset plugin.
    weights : str, optional
        Of the backbone; random ones by default, where it has weights.

    Raises
    ------
    PluginError
        If the name is unknown, claimed twice, or its plugin does not load.
    UsageError
        If the dataset plugin, or the reader, needs data and none are given; or if something is given that a plugin of
        its kind does not take.
    """
    found = registry()
    base = split_backbone_name(name)[0]
    prefix = base.partition(":")[0] + ":"
    given = {"ROOT": root, "-o": options, "--weights": weights}
    if name in found.datasets:
        _refuse(name, "a dataset plugin", given, "--weights")
        cls = found.dataset(name)
        if cls.needs_data and root is None:
            raise UsageError(
                f"The dataset plugin {name!r} is checked on data, and none are given.",
                next=f"Name a folder with a few of its images: histokit plugins check {name} ROOT",
            )
        with dataset_caller(cls).call("its options"):
            return iter(list(iter_dataset_checks(cls, root, **(options or {}))))
    if (reader := found.find_reader(name.lower())) is not None:
        _refuse(name, "a reader of image files", given, "-o", "--weights")
        return iter(list(iter_reader_checks(reader, root)))
    if base not in found.backbones and prefix not in found.backbones:
        hint = did_you_mean(name, [*found.datasets, *found.backbones, *found.readers])
        raise found.unknown(f"There is no plugin {name!r}.", f"{hint}See: histokit list plugins")
    _refuse(name, "a backbone", given, "ROOT", "-o")
    from histokit.plugin.testing.backbones import iter_backbone_checks

    if prefix in found.backbones:
        # An unknown network behind a prefix is one error, not a failure of every check.
        GuardedBackbone(found.backbone(name), name).layers()
    if weights is None:
        own = GuardedBackbone(found.backbone(name), name).attribute("weights")
        weights = NONE if own == NONE else RANDOM
    return iter_backbone_checks(lambda request: found.backbone(request.name, request.weights), name, weights)


def _refuse(name: str, kind: str, given: Mapping[str, Any], *untaken: str) -> None:
    """Raise where something is given that would be passed over."""
    what = [word for word in untaken if given[word]]
    if what:
        listed = " and ".join(what)
        raise UsageError(
            f"{name} is {kind}, which takes no {listed}.",
            next=f"Leave out {listed}. See: histokit plugins check --help",
        )
