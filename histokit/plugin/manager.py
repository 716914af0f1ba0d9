"""Discovery of plugins, and loading by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

import pluggy

from histokit.errors import PluginError, did_you_mean
from histokit.plugin import hookspecs
from histokit.plugin.backbone import Backbone, BackboneRequest
from histokit.plugin.calls import plugin_call, shown_error, shown_value
from histokit.plugin.dataset import Dataset

BUILTIN = ("histokit.datasets", "histokit.backbones")

_ADDED: list[tuple[str, str, Callable[[], Any]]] = []


@dataclass(frozen=True)
class Registered:
    """A name that a plugin registered.

    Parameters
    ----------
    name : str
    load : callable
    module : str
        The module or entry point that registered it.
    distribution : str
        Name and version of the installed distribution.
    names : callable, optional
        Lists what a prefix has.
    about : mapping, optional
        Facts for listings: ``about``, ``licence``.
    """

    name: str
    load: Callable[..., Any]
    module: str
    distribution: str
    names: Callable[[], Iterable[str]] | None = None
    about: Mapping[str, Any] | None = None

    @property
    def third_party(self) -> bool:
        """Whether it does not come with histokit."""
        return self.module not in BUILTIN


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that could not be loaded, and why."""

    module: str
    distribution: str
    reason: str

    def __str__(self) -> str:
        package = self.distribution.split(" ")[0]
        return (
            f"Plugin {self.module!r} of {self.distribution} is broken and was left out: {self.reason}. "
            f"Update it, or remove it with: pip uninstall {package}"
        )


@dataclass
class Registry:
    """All names that plugins registered, the broken plugins, and the names that two plugins claim."""

    datasets: dict[str, list[Registered]] = field(default_factory=dict)
    backbones: dict[str, list[Registered]] = field(default_factory=dict)
    broken: list[BrokenPlugin] = field(default_factory=list)
    plugins: list[tuple[str, str]] = field(default_factory=list)

    def dataset(self, name: str) -> type[Dataset]:
        """Return the class of a dataset plugin.

        Raises
        ------
        PluginError
            If the name is unknown, claimed twice, or its plugin does not load.
        """
        entry = self._find(self.datasets, name, "dataset plugin", "histokit list plugins")
        cls = _load(entry, "dataset plugin")
        if not (isinstance(cls, type) and issubclass(cls, Dataset)):
            raise _broken(entry, "dataset plugin", f"its loader returned {shown_value(cls)} instead of a Dataset class")
        if not cls.name:
            cls.name = name
        return cls

    def open_dataset(self, plugin: str, root: str, options: Mapping[str, Any], state: Any) -> Dataset:
        """Rebuild a dataset as it was ingested, so that its samples can be read again."""
        dataset = self.make_dataset(plugin, root, options)
        dataset.state = state
        return dataset

    def backbone(self, name: str, weights: str = "pretrained") -> Backbone:
        """Return a backbone by its name, options included, without building it.

        Raises
        ------
        PluginError
            If the name is unknown, claimed twice, or its plugin does not load.
        """
        base, options = split_backbone_name(name)
        prefix, colon, remainder = base.partition(":")
        key, model = (prefix + ":", remainder) if colon else (base, base)
        entry = self.find_backbone(key)
        request = BackboneRequest(join_backbone_name(base, options), model, options, weights)
        backbone = _load(entry, "backbone", request)
        if not isinstance(backbone, Backbone):
            raise _broken(entry, "backbone", f"its loader returned {shown_value(backbone)} instead of a Backbone")
        return backbone

    def find_backbone(self, name: str) -> Registered:
        """Return who registered a backbone or a prefix."""
        return self._find(self.backbones, name, "backbone", "histokit list backbones")

    def make_dataset(self, plugin: str, root: str | Path, options: Mapping[str, Any]) -> Dataset:
        """Make a dataset from option texts.

        Raises
        ------
        PluginError
            If its plugin cannot.
        UsageError
            If an option is unknown, missing or cannot be converted.
        """
        cls, entry = self.dataset(plugin), self.datasets[plugin][0]
        if not entry.third_party:
            return cls.from_options(root, options)
        with plugin_call(f"The dataset plugin {plugin!r} of {entry.distribution}", "its constructor"):
            return cls.from_options(root, options)

    def names_behind(self, prefix: str) -> list[str]:
        """Return all names behind a prefix such as ``timm:``.

        Raises
        ------
        PluginError
            If there is no such prefix.
        """
        known = [name for name in self.backbones if name.endswith(":")]
        prefix = prefix if prefix.endswith(":") else f"{prefix}:"
        if prefix not in known:
            name = prefix[:-1]
            layers = f"The layers of {name}: histokit list layers {name}" if name in self.backbones else ""
            hint = layers or f"{did_you_mean(prefix, known)}Prefixes are {', '.join(known)}."
            raise PluginError(f"There is no prefix {prefix!r} of backbones.", next=hint)
        names = self.find_backbone(prefix).names
        return [f"{prefix}{name}" for name in names()] if names else []

    def _find(self, table: dict[str, list[Registered]], name: str, what: str, listing: str) -> Registered:
        entries = table.get(name, [])
        if len(entries) == 1:
            return entries[0]
        if entries:
            sides = " and ".join(f"{e.module} ({e.distribution})" for e in entries)
            package = entries[-1].distribution.split(" ")[0]
            raise PluginError(
                f"The {what} {name!r} is registered twice: by {sides}.",
                next=f"Remove one of them, for instance with: pip uninstall {package}",
            )
        hint = did_you_mean(name, table)
        left_out = f" (Left out as broken: {', '.join(b.module for b in self.broken)}.)" if self.broken else ""
        raise PluginError(f"There is no {what} {name!r}.{left_out}", next=f"{hint}See: {listing}")


def split_backbone_name(name: str) -> tuple[str, dict[str, str]]:
    """Split ``timm:resnet50,a=1`` into ``timm:resnet50`` and ``{"a": "1"}``."""
    base, *texts = name.split(",")
    options = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise PluginError(
                f"The option {text!r} of backbone {name!r} is not of the form KEY=VALUE.",
                next=f"Write it as {base},KEY=VALUE.",
            )
        options[key] = value
    return base, options


def join_backbone_name(base: str, options: dict[str, str]) -> str:
    """Join a name and its options, sorted."""
    return ",".join([base, *(f"{key}={options[key]}" for key in sorted(options))])


def _load(entry: Registered, what: str, *arguments: Any) -> Any:
    if not entry.third_party:
        return entry.load(*arguments)
    owner = f"The {what} {entry.name!r} of {entry.distribution} ({entry.module})"
    with plugin_call(owner, "its loader"):
        return entry.load(*arguments)


def _broken(entry: Registered, what: str, reason: str) -> PluginError:
    package = entry.distribution.split(" ")[0]
    return PluginError(
        f"The {what} {entry.name!r} of {entry.distribution} ({entry.module}) could not be loaded: {reason}.",
        next=f"Update {package}, or tell its author; --debug shows the traceback.",
    )


@lru_cache(maxsize=1)
def registry() -> Registry:
    """Discover all plugins once in a process: the built-in ones, then those with an entry point."""
    return discover([*_builtin(), *_installed(), *_ADDED])


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
        datasets: list[Registered] = []
        backbones: list[Registered] = []
        try:
            with plugin_call(f"Plugin {module!r} of {distribution}", "its import"):
                manager.register(load(), name=module)
                manager.check_pending()
                manager.hook.register_datasets(register=_collector(datasets, module, distribution))
                manager.hook.register_backbones(register=_collector(backbones, module, distribution))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            error = error.__cause__ or error
            found.broken.append(BrokenPlugin(module, distribution, shown_error(error)))
            continue
        found.plugins.append((module, distribution))
        for table, entries in ((found.datasets, datasets), (found.backbones, backbones)):
            for entry in entries:
                table.setdefault(entry.name, []).append(entry)
    return found


def _collector(entries: list[Registered], module: str, distribution: str) -> Callable[..., None]:
    def register(
        name: str,
        load: Callable[..., Any],
        names: Callable[[], Iterable[str]] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        entries.append(Registered(name, load, module, distribution, names, about))

    return register


def _builtin() -> Iterable[tuple[str, str, Callable[[], Any]]]:
    from histokit import __version__

    for module in BUILTIN:
        yield module, f"histokit {__version__}", partial(importlib.import_module, module)


def _installed() -> Iterable[tuple[str, str, Callable[[], Any]]]:
    seen: set[tuple[str, str]] = set()
    for distribution in distributions():
        for entry_point in distribution.entry_points:
            # Names come last: reading those of all that is installed takes a third of a second.
            if entry_point.group == hookspecs.PROJECT and (distribution.name, entry_point.name) not in seen:
                seen.add((distribution.name, entry_point.name))
                yield entry_point.value, _titled(distribution), entry_point.load


def _titled(distribution: Distribution) -> str:
    return f"{distribution.name} {distribution.version}"
