"""What the shell offers after the tab key; nothing, where it cannot be known."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from histokit.features import FeatureStore
    from histokit.plugin.manager import Registry

Offers = Callable[[Any, str], list[str]]

_NAMED_SPLITS = ("cv", "holdout", "leave-one-group-out")


def _offers(read: Callable[[Any], Iterable[str]]) -> Offers:
    def complete(ctx: Any, incomplete: str) -> list[str]:
        # A broken store must not print a traceback into the line that is being typed.
        try:
            return sorted(name for name in set(read(ctx)) if name.startswith(incomplete))
        except Exception:
            return []

    complete.__annotations__ = {}
    return complete


def words(known: Iterable[str]) -> Offers:
    """Return what offers these words."""
    return _offers(lambda _: known)


def _store(ctx: Any) -> FeatureStore:
    from histokit.features import open_store

    while ctx is not None:
        if ctx.params.get("store_"):
            return open_store(ctx.params["store_"])
        ctx = ctx.parent
    return open_store()


def _registry() -> Registry:
    from histokit.plugin.manager import registry

    return registry()


def _classifiers() -> Iterable[str]:
    from histokit.classifiers.table import names

    return names()


def _metrics() -> Iterable[str]:
    from histokit.protocol.metrics import METRICS
    from histokit.protocol.number_metrics import NUMBER_METRICS

    return [*METRICS, *NUMBER_METRICS]


def _dataset(ctx: Any) -> str | None:
    """Return the dataset that stands on the line, if one does."""
    first = next((each.name for each in ctx.command.params if each.param_type_name == "argument"), None)
    # Where an option waits for its value, arguments are there but not told apart.
    rest = ctx.args[0] if first == "dataset" and ctx.args else None
    given: str | None = ctx.params.get("dataset") or rest
    return given


def _splits(ctx: Any) -> Iterable[str]:
    store, given = _store(ctx), _dataset(ctx)
    datasets = [given] if given else [record.name for record in store.datasets()]
    return [*_NAMED_SPLITS, *(split for name in datasets for split in store.split_headers(name))]


def _figures(ctx: Any) -> Iterable[str]:
    from histokit.figures import figures_of

    # Behind a name, the shell goes on with files.
    known = list(figures_of(ctx.command_path.partition(" ")[2]))
    return [f"{name}:" for name in known] if len(known) > 1 else []


datasets = _offers(lambda ctx: [record.name for record in _store(ctx).datasets()])
runs = _offers(lambda ctx: _store(ctx).ids("runs"))
selections = _offers(lambda ctx: _store(ctx).ids("selections"))
removable = _offers(lambda ctx: [each for offer in (datasets, runs, selections) for each in offer(ctx, "")])
splits = _offers(_splits)
addresses = _offers(lambda ctx: [table.address for table in _store(ctx).feature_tables(_dataset(ctx))])
backbones = _offers(lambda ctx: _registry().backbones)
dataset_plugins = _offers(lambda ctx: _registry().datasets)
classifiers = _offers(lambda _: _classifiers())
metrics = _offers(lambda _: _metrics())
plugins = _offers(lambda ctx: [*_registry().datasets, *_registry().backbones, *_registry().readers])
figures = _offers(_figures)
presets = _offers(lambda ctx: _registry().presets)
