"""Discovery of plugins, and loading by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pluggy

from histokit.errors import PluginError, did_you_mean
from histokit.plugin import hookspecs
from histokit.plugin.backbone import Backbone, BackboneRequest
from histokit.plugin.backbone_names import join_backbone_name, split_backbone_name
from histokit.plugin.calls import TRACEBACK, Caller, plugin_call, shown, shown_error
from histokit.plugin.dataset import Dataset
from histokit.plugin.declared import is_text
from histokit.plugin.finished_runs import Listener
from histokit.plugin.options import convert_options
from histokit.plugin.registered import (
    BrokenPlugin,
    Registered,
    builtin_plugins,
    collector,
    installed_plugins,
    preset_collector,
    reader_collector,
    register_hooks,
)

_ADDED: list[tuple[str, str, Callable[[], Any]]] = []


@dataclass
class Registry:
    """All names that plugins registered, the broken plugins, and the names that two plugins claim."""

    datasets: dict[str, list[Registered]] = field(default_factory=dict)
    backbones: dict[str, list[Registered]] = field(default_factory=dict)
    readers: dict[str, list[Registered]] = field(default_factory=dict)
    presets: dict[str, list[Registered]] = field(default_factory=dict)
    loaded_readers: dict[str, Any] = field(default_factory=dict)
    broken: list[BrokenPlugin] = field(default_factory=list)
    plugins: list[tuple[str, str]] = field(default_factory=list)
    listeners: list[Listener] = field(default_factory=list)
    classes: dict[type, Registered] = field(default_factory=dict)

    def dataset(self, name: str) -> type[Dataset]:
        """Return the class of a dataset plugin.

        Raises
        ------
        PluginError
            If the name is unknown, claimed twice, or its plugin does not load.
        """
        entry = self._find(self.datasets, name, "dataset plugin", "histokit list plugins")
        cls = _load(entry, "dataset plugin")
        if not (issubclass(type(cls), type) and issubclass(cls, Dataset)):
            raise _broken(entry, "dataset plugin", f"its loader returned {shown(cls)} instead of a Dataset class")
        self.classes[cls] = entry
        return cls

    def open_dataset(self, plugin: str, root: str, options: Mapping[str, Any], state: Any) -> Dataset:
        """Rebuild a dataset as it was ingested, so that its samples can be read again."""
        dataset = self.make_dataset(plugin, root, options)
        with dataset_caller(type(dataset)).call("its attribute state"):
            dataset.state = state
        return dataset

    def backbone(self, name: str, weights: str = "pretrained", store: str | None = None, **trained: Any) -> Backbone:
        """Return a backbone by its name, options included, without building it; those of runs are in a store.

        Of one that was trained further, ``arguments`` and ``size`` say how it was built, see `BackboneRequest`.

        Raises
        ------
        PluginError
            If the name is unknown, claimed twice, or its plugin does not load.
        """
        base, options = split_backbone_name(name)
        key = _registered_name(name)
        model = base.removeprefix(key) or base
        entry = self.find_backbone(key)
        request = BackboneRequest(join_backbone_name(base, options), model, options, weights, store, **trained)
        backbone = _load(entry, "backbone", request)
        if not issubclass(type(backbone), Backbone):
            raise _broken(entry, "backbone", f"its loader returned {shown(backbone)} instead of a Backbone")
        if entry.third_party:
            with backbone_caller(entry).call("its attribute name"):
                named = backbone.name
                kind = f"a text, {request.name!r} or another name of {key}"
                good = is_text(named) and _registered_name(named) == key
                backbone_caller(entry).check("its attribute name", named, kind, good)
        return backbone

    def find_backbone(self, name: str) -> Registered:
        """Return who registered a backbone or a prefix."""
        written = any(name.lower() == known.lower() for known in self.backbones)
        behind = [] if written or ":" in name else self._behind_prefixes(name)
        if behind:
            raise self.unknown(f"The backbone {name!r} needs a prefix.", f"Write {' or '.join(behind)}.")
        if name.endswith(":") and name not in self.backbones:
            known = [each for each in self.backbones if each.endswith(":")]
            hint = (
                f"{did_you_mean(name, known)}Prefixes are {', '.join(known)}; of hubs: timm:hf-hub:ORGANISATION/MODEL."
            )
            raise self.unknown(f"There is no prefix {name!r} of backbones.", hint)
        return self._find(self.backbones, name, "backbone", "histokit list backbones")

    def find_reader(self, suffix: str) -> Registered | None:
        """Return who registered a reader of image files of a suffix; none where nobody did.

        Raises
        ------
        PluginError
            If two plugins did.
        """
        return self._find(self.readers, suffix, "reader of files", "") if suffix in self.readers else None

    def find_preset(self, name: str) -> Registered:
        """Return who registered a recipe for training networks; its `load` returns the path of the file.

        Raises
        ------
        PluginError
            If the name is unknown or claimed twice.
        """
        return self._find(self.presets, name, "preset", "histokit presets list")

    def make_dataset(self, plugin: str, root: str | Path, options: Mapping[str, Any]) -> Dataset:
        """Make a dataset from option texts.

        Raises
        ------
        PluginError
            If its plugin cannot.
        UsageError
            If an option is unknown, missing or cannot be converted.
        """
        cls = self.dataset(plugin)
        caller = dataset_caller(cls)
        with caller.call("its constructor"):
            converted = convert_options(cls.__init__, options, f"dataset plugin {plugin!r}")
            dataset = cls.from_options(root, converted)
        caller.check("its constructor", dataset, "a Dataset", isinstance(dataset, Dataset))
        with caller.call("its attribute name"):
            # A name that is another class's, from which this one is derived, says nothing of this one.
            if not vars(dataset).get("name", vars(cls).get("name")):
                dataset.name = plugin
            caller.check(
                "its attribute name",
                dataset.name,
                f"the name that it is registered as, {plugin!r}",
                isinstance(dataset.name, str) and dataset.name == plugin,
            )
        return dataset

    def _behind_prefixes(self, name: str) -> list[str]:
        """Return the names of a backbone with the prefixes that know it."""
        # Names of weights, such as ``.dino``, are no part of what is listed.
        model, dot, tag = name.lower().replace("-", "_").partition(".")
        found = []
        for prefix, (entry, *others) in self.backbones.items():
            if prefix.endswith(":") and not others and entry.names_are_fixed:
                # A fault of one of them is told when it is asked for.
                with suppress(PluginError):
                    known = f"{prefix}{model}" in self.names_behind(prefix)
                    found += [f"{prefix}{model}{dot}{tag}"] if known else []
        return found

    def names_behind(self, prefix: str, store: str | None = None) -> list[str]:
        """Return all names behind a prefix such as ``timm:``; those of runs are in a store.

        Raises
        ------
        PluginError
            If there is no such prefix.
        """
        prefix = prefix if prefix.endswith(":") else f"{prefix}:"
        if (name := prefix[:-1]) in self.backbones:
            hint = f"The layers of {name}: histokit list layers {name}"
            raise PluginError(f"There is no prefix {prefix!r} of backbones.", next=hint)
        entry = self.find_backbone(prefix)
        if entry.names is None:
            return []
        caller = backbone_caller(entry)
        with caller.call("names()"):
            found = entry.names(**({} if entry.names_are_fixed else {"store": store}))
        listed = list(caller.items("names()", found))
        for name in listed:
            caller.check("names()", name, "a text", is_text(name))
        return [f"{prefix}{name}" for name in listed]

    def _find(self, table: dict[str, list[Registered]], name: str, what: str, listing: str) -> Registered:
        entries = table.get(name, [])
        if len(entries) == 1:
            return entries[0]
        if entries:
            sides = " and ".join(f"{e.module} ({e.distribution})" for e in entries)
            raise PluginError(
                f"The {what} {name!r} is registered twice: by {sides}.",
                next=f"Remove one of them, for instance with: pip uninstall {entries[-1].package}",
            )
        hint = did_you_mean(name, table)
        raise self.unknown(f"There is no {what} {name!r}.", f"{hint}See: {listing}")

    def unknown(self, message: str, next: str) -> PluginError:
        """Return what to tell of a name that nobody registered: maybe a plugin that is left out would have."""
        if not self.broken:
            return PluginError(message, next=next)
        left_out = "; ".join(f"{b.module} of {b.distribution}: {b.reason}" for b in self.broken)
        details = {"broken": [plugin.to_json() for plugin in self.broken]}
        return PluginError(f"{message} (Left out as broken: {left_out}.)", next=next, details=details)


def dataset_caller(cls: type[Dataset]) -> Caller:
    """Return by whom the methods of a dataset class are called."""
    entry = registry().classes.get(cls)
    ours = cls.__module__.partition(".")[0] == "histokit"
    if entry is None:
        return Caller(f"The dataset class {cls.__name__!r}", ours, "Mend it; histokit.plugin.testing checks it.")
    advice = f"Tell its author, or see: histokit plugins check {entry.name}{' ROOT' if cls.needs_data else ''}"
    return Caller(f"The dataset plugin {entry.name!r} of {entry.distribution}", ours, advice)


def backbone_caller(entry: Registered) -> Caller:
    """Return by whom the methods of a backbone are called."""
    advice = "Tell its author; a newer version may help."
    return Caller(entry.titled("backbone"), not entry.third_party, advice)


def registered_backbone(name: str) -> Registered:
    """Return who registered the backbone of a whole name, or its prefix.

    Raises
    ------
    PluginError
        If nobody did.
    """
    return registry().find_backbone(_registered_name(name))


def _registered_name(name: str) -> str:
    """Return what the backbone of a whole name was registered as: its name without options, or its prefix."""
    base, _ = split_backbone_name(name)
    prefix, colon, _ = base.partition(":")
    return prefix + ":" if colon else base


def _load(entry: Registered, what: str, *arguments: Any) -> Any:
    if not entry.third_party:
        return entry.load(*arguments)
    with plugin_call(entry.titled(what), "its loader"):
        return entry.load(*arguments)


def _broken(entry: Registered, what: str, reason: str) -> PluginError:
    return PluginError(
        f"{entry.titled(what)} could not be loaded: {reason}.",
        next=f"Update {entry.package}, or tell its author{TRACEBACK}.",
    )


@lru_cache(maxsize=1)
def registry() -> Registry:
    """Discover all plugins once in a process: the built-in ones, then those with an entry point."""
    return discover([*builtin_plugins(), *installed_plugins(), *_ADDED])


def known_elsewhere(plugin: str) -> bool:
    """Return whether another process finds the plugin of a dataset and all readers, none only added to this one."""
    known = registry()
    needed = [*known.datasets.get(plugin, []), *(entry for entries in known.readers.values() for entry in entries)]
    return not {entry.module for entry in needed} & {name for name, _, _ in _ADDED}


@contextmanager
def added_plugin(plugin: Any, name: str = "added") -> Iterator[Registry]:
    """Let a module or object with hooks count as installed inside a ``with`` block."""
    _ADDED.append((name, f"{name} 0", lambda: plugin))
    registry.cache_clear()
    try:
        yield registry()
    finally:
        _ADDED.pop()
        registry.cache_clear()


def discover(sources: Iterable[tuple[str, str, Callable[[], Any]]]) -> Registry:
    """Build a registry from ``(module, distribution, load)`` triples; what fails goes to `broken`."""
    found = Registry()
    for module, distribution, load in sources:
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        datasets, backbones, readers, presets = (list[Registered]() for _ in range(4))
        try:
            with plugin_call(f"Plugin {module!r} of {distribution}", "its import"):
                register_hooks(manager, load(), module)
                manager.check_pending()
                manager.hook.register_datasets(register=collector(datasets, module, distribution))
                manager.hook.register_backbones(register=collector(backbones, module, distribution))
                manager.hook.register_readers(register=reader_collector(readers, module, distribution))
                manager.hook.register_presets(register=preset_collector(presets, module, distribution))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            error = error.__cause__ or error
            found.broken.append(BrokenPlugin(module, distribution, shown_error(error), error))
            continue
        found.plugins.append((module, distribution))
        if manager.hook.on_run_finished.get_hookimpls():
            found.listeners.append(Listener(module, distribution, manager.hook.on_run_finished))
        tables = (found.datasets, found.backbones, found.readers, found.presets)
        for table, entries in zip(tables, (datasets, backbones, readers, presets), strict=True):
            for entry in entries:
                table.setdefault(entry.name, []).append(entry)
    return found
