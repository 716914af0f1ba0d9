"""What plugins register, checked when they do, and what is left out as broken."""

from __future__ import annotations

import importlib
import re
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from pluggy import PluginManager

from histokit.plugin.calls import shown
from histokit.plugin.declared import is_json
from histokit.plugin.names import fault_of

#: The group of entry points, and pluggy's name of the project.
PROJECT = "histokit"

#: Module, distribution, and what imports it.
Source = tuple[str, str, Callable[[], Any]]

BUILTIN = (
    "histokit.datasets",
    "histokit.backbones",
    "histokit.networks.trained_backbones",
    "histokit.plugin.usual_readers",
    "histokit.finetune.built_in_presets",
)

#: What has a meaning of its own where names are typed: in addresses, options and lists.
_SEPARATORS = "/+@,= "

_SUFFIX = re.compile(r"\.[a-z0-9_-]{1,16}")


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
    names: Callable[..., Iterable[str]] | None = None
    about: Mapping[str, Any] | None = None

    @property
    def package(self) -> str:
        """The name of the distribution."""
        return _package(self.distribution)

    @property
    def third_party(self) -> bool:
        """Whether it does not come with histokit."""
        return self.module not in BUILTIN

    @property
    def names_are_fixed(self) -> bool:
        """Whether it is a prefix that lists what it has, and does not have to look into a store for that."""
        code = getattr(self.names, "__code__", None)
        asked = () if code is None else code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        return self.names is not None and "store" not in asked

    def titled(self, what: str) -> str:
        """Return its name and whose it is, such as ``The backbone 'x' of y 1.0 (y.networks)``."""
        return f"The {what} {self.name!r} of {self.distribution} ({self.module})"


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that could not be loaded, and why."""

    module: str
    distribution: str
    reason: str
    error: BaseException | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        package = _package(self.distribution)
        advice = f"Update it, or remove it with: pip uninstall {package}" if package != PROJECT else "Install it again."
        return f"Plugin {self.module!r} of {self.distribution} is broken and was left out: {self.reason}. {advice}"

    def to_json(self) -> dict[str, str]:
        """Return it as a JSON-serialisable mapping."""
        return {"module": self.module, "distribution": self.distribution, "reason": self.reason}

    def traceback(self) -> str:
        """Return where it failed, as Python shows it."""
        return "" if self.error is None else "".join(traceback.format_exception(self.error))


def collector(entries: list[Registered], module: str, distribution: str) -> Callable[..., None]:
    """Return the `register` that a hook of a plugin is called with."""

    def register(
        name: str,
        load: Callable[..., Any],
        names: Callable[[], Iterable[str]] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        _check(name, load, names, about)
        entries.append(Registered(str.__str__(name), load, module, distribution, names, about and dict(about)))

    return register


def reader_collector(entries: list[Registered], module: str, distribution: str) -> Callable[..., None]:
    """Return the `register` that the hook of a plugin for readers of image files is called with."""

    def register(suffix: str, load: Callable[..., Any]) -> None:
        if not (isinstance(suffix, str) and _SUFFIX.fullmatch(suffix)):
            raise ValueError(f"register() was called with suffix={shown(suffix)}, which is none such as '.czi'")
        if not callable(load):
            raise TypeError(f"register() was called with load={shown(load)}, which is not a function")
        entries.append(Registered(str.__str__(suffix), load, module, distribution))

    return register


def preset_collector(entries: list[Registered], module: str, distribution: str) -> Callable[..., None]:
    """Return the `register` that the hook of a plugin for recipes of training is called with."""

    def register(name: str, path: str | Path) -> None:
        _check_name(name)
        if not (isinstance(path, str | Path) and str(path).endswith(".toml")):
            raise TypeError(f"register() was called with path={shown(path)}, which is not the path of a TOML file")
        entries.append(Registered(str.__str__(name), partial(Path, path), module, distribution))

    return register


def _check(name: Any, load: Any, names: Any, about: Any) -> None:
    """Raise where a plugin registers what is none of what it has to be.

    Raises
    ------
    TypeError, ValueError
        That the plugin is left out for.
    """
    facts = about is None or (
        isinstance(about, Mapping)
        and all(isinstance(about.get(key), str | None) for key in ("about", "licence"))
        and is_json(dict(about))
    )
    for what, value, kind, good in (
        ("name", name, "a text", isinstance(name, str)),
        ("load", load, "a function", callable(load)),
        ("names", names, "a function, or None", names is None or callable(names)),
        ("about", about, "a mapping of texts, or None", facts),
    ):
        if not good:
            raise TypeError(f"register() was called with {what}={shown(value)}, which is not {kind}")
    _check_name(name)


def _check_name(name: Any) -> None:
    if not isinstance(name, str):
        raise TypeError(f"register() was called with name={shown(name)}, which is not a text")
    fault = fault_of(name) or next((f"which holds {c!r}" for c in _SEPARATORS if c in name), "")
    if fault:
        raise ValueError(f"register() was called with the name {shown(name)}, {fault}")


def _package(distribution: str) -> str:
    """Return the name of a distribution, of which the version is told behind it."""
    return distribution.split(" ")[0]


def register_hooks(manager: PluginManager, plugin: Any, module: str) -> None:
    """Register the hooks of a plugin.

    Raises
    ------
    TypeError
        If a function has the name of one without its mark: it would be passed over.
    """
    manager.register(plugin, name=module)
    marked = {caller.name for caller in manager.get_hookcallers(plugin) or ()}
    for name in sorted({name for name in vars(manager.hook) if not name.startswith("_")} - marked):
        if callable(getattr(plugin, name, None)):
            raise TypeError(f"{name} is not marked as a hook: write @hookimpl above it")


def builtin_plugins() -> Iterable[Source]:
    """Yield the plugins that come with histokit."""
    from histokit import __version__

    for module in BUILTIN:
        yield module, f"histokit {__version__}", partial(importlib.import_module, module)


def installed_plugins() -> Iterable[Source]:
    """Yield the plugins of all installed distributions."""
    seen: set[tuple[str, str]] = set()
    for distribution in distributions():
        for entry_point in distribution.entry_points:
            # Names come last: reading those of all that is installed takes a third of a second.
            if entry_point.group == PROJECT and (distribution.name, entry_point.name) not in seen:
                seen.add((distribution.name, entry_point.name))
                yield entry_point.value, _titled(distribution), entry_point.load


def _titled(distribution: Distribution) -> str:
    return f"{distribution.name} {distribution.version}"
