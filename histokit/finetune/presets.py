"""Presets: recipes in TOML files, each value with where it comes from."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from histokit.errors import PluginError, UsageError, did_you_mean
from histokit.finetune.recipe import NetworkRecipe, Stage
from histokit.finetune.recipe_values import (
    STAGE_KEYS,
    as_text,
    check_recipe,
    keys,
    trains_all,
    value_of,
    with_values,
)
from histokit.plugin.manager import registry
from histokit.plugin.registered import Registered

#: What `finetune` does where nothing is asked for.
DEFAULT = "default"

#: What a file says beside the values of its recipe.
_ABOUT = ("name", "description", "reference", "backbone", "sources", "scratch")

_LOOK = "See: histokit presets list; or give a file: FILE.toml"


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A recipe, and where it comes from.

    Parameters
    ----------
    recipe : NetworkRecipe
    backbone : str
        The network that it was made for, taken where none is named; empty where it suits any.
    description : str
    reference : str
        A publication; empty for none.
    sources : mapping
        Key of a value → where it is from, or ``assumed: …``. A key without the number of its stage is of all stages.
    given : tuple of str
        Keys of the values that the file sets; all others are at their defaults.
    text : str
        The file.
    """

    recipe: NetworkRecipe
    backbone: str = ""
    description: str = ""
    reference: str = ""
    sources: Mapping[str, str]
    given: tuple[str, ...]
    text: str

    @property
    def name(self) -> str:
        """As it is asked for."""
        return self.recipe.name

    def source(self, key: str) -> str:
        """Return where the value of a key comes from; empty where its file does not say."""
        stage, _, name = key.removeprefix("stages.").partition(".")
        short = f"stages.{name}" if key.startswith("stages.") and stage.isdigit() else key
        return self.sources.get(key) or self.sources.get(short, "")

    def rows(self, every: bool = False) -> list[tuple[str, Any, str]]:
        """Return key, value and source of what its file sets, or of every value."""
        listed = self.given if not every else _merged(self.given, keys(len(self.recipe.stages)))
        rows = [(key, value_of(self.recipe, key), self.source(key)) for key in listed]
        rows = [(k, v, s or ("" if k in self.given else "histokit's default")) for k, v, s in rows]
        return [("backbone", self.backbone, self.source("backbone")), *rows] if self.backbone else rows

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data."""
        return {
            "name": self.name,
            "description": self.description,
            "reference": self.reference,
            "backbone": self.backbone,
            "recipe": self.recipe.to_json(),
            "sources": {key: source for key, _, source in self.rows()},
        }


def load_preset(name: str | Path, *, from_scratch: bool = False) -> Preset:
    """Return a preset: one that comes with histokit, of a plugin, or of a file.

    Parameters
    ----------
    name : str or Path
        As ``histokit presets list`` lists it, or a file whose name ends in ``.toml``.
    from_scratch : bool
        Take the preset's form for random weights: with what its table ``scratch`` changes.

    Raises
    ------
    UsageError
        If a file is not there, is no TOML, or has unknown keys or values that cannot be meant so; or if the preset
        has no form for random weights.
    PluginError
        If there is no preset of this name, or a plugin's cannot be read.
    """
    if str(name).endswith(".toml"):
        path, owner = Path(name).expanduser(), f"The preset {str(name)!r}"
        return _parsed(_read(path, owner), path.stem, owner, from_scratch)
    entry = registry().find_preset(str(name))
    owner = f"The preset {entry.name!r}"
    if not entry.third_party:
        return _parsed(_read(entry.load(), owner), entry.name, owner, from_scratch)
    return _of_plugin(entry, owner, from_scratch)


def _of_plugin(entry: Registered, owner: str, from_scratch: bool) -> Preset:
    owner = f"{owner} of {entry.distribution}"
    try:
        return _parsed(_read(entry.load(), owner), entry.name, owner, from_scratch)
    except _NoScratchError:
        raise
    except UsageError as error:
        raise PluginError(error.message, next=f"Tell the author of {entry.distribution}. {error.next}") from error


class _NoScratchError(UsageError):
    """A preset is only for networks with weights."""


def preset_names() -> list[str]:
    """Return the names of all presets, those of plugins included."""
    return sorted(registry().presets)


def common_name(preset: Preset) -> str:
    """Return the name of the preset of histokit's own that has the same recipe; where none has, the preset's."""
    own = [name for name in preset_names() if not registry().find_preset(name).third_party]
    for name in () if preset.name in own else own:
        with suppress(_NoScratchError):
            known = load_preset(name, from_scratch=preset.recipe.from_scratch)
            if replace(known.recipe, name=preset.name) == preset.recipe:
                return name
    return preset.name


def _read(path: Path, owner: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise UsageError(f"{owner} cannot be read: {reason}: {path}", next=_LOOK) from error


def _parsed(text: str, name: str, owner: str, from_scratch: bool) -> Preset:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"{owner} is no TOML: {error}", next="Mend it; see: histokit presets show default --toml"
        ) from error
    for key in ("name", "description", "reference", "backbone"):
        if not isinstance(document.get(key, ""), str):
            raise UsageError(f"{owner}: {key}={document[key]!r} is not a text.", next=f'Write it as {key} = "…".')
    for key in ("sources", "scratch"):
        if not isinstance(document.get(key, {}), Mapping):
            raise UsageError(f"{owner}: {key} is not a table.", next=f"Write it as [{key}].")
    stated = document.get("from_scratch", False)
    if not isinstance(stated, bool):
        raise UsageError(f"{owner}: from_scratch={stated!r} is not true or false.", next="Write true or false.")
    values = {key: value for key, value in document.items() if key not in (*_ABOUT, "from_scratch")}
    recipe = _built(NetworkRecipe(name=document.get("name") or name, from_scratch=stated), values, owner)
    given = _given(recipe, values, owner)
    sources = {key: as_text(value) for key, value in flat_values(document.get("sources", {}))}
    if stated:
        given = ("from_scratch", *given)
    elif from_scratch:
        scratch = document.get("scratch", {})
        recipe, changed = _from_scratch(recipe, scratch, owner)
        if isinstance(scratch.get("stages"), list):
            # Nothing is left of the stages that others took the place of.
            given = tuple(key for key in given if not key.startswith("stages."))
            sources = {key: source for key, source in sources.items() if not key.startswith("stages.")}
        given = _merged(given, changed, len(recipe.stages))
        sources |= {
            key.removeprefix("scratch."): source for key, source in sources.items() if key.startswith("scratch.")
        }
    elif document.get("scratch"):
        # What is asked for another time is looked at as well.
        check_recipe(_built(replace(recipe, from_scratch=True), document["scratch"], f"{owner}, from scratch"))
    check_recipe(recipe)
    _check_sources(sources, owner)
    about = {key: document.get(key, "") for key in ("backbone", "description", "reference")}
    return Preset(recipe=recipe, sources=sources, given=given, text=text, **about)


def _check_sources(sources: Mapping[str, str], owner: str) -> None:
    """Raise where the source of something is told that no recipe has."""
    for key in sources:
        name = key.removeprefix("scratch.")
        stage, _, short = name.removeprefix("stages.").partition(".")
        asked = f"stages.1.{short if stage.isdigit() else stage}" if name.startswith("stages.") else name
        known = ["backbone", "from_scratch", *keys(1)]
        if asked not in known and not name.startswith("preprocess."):
            hint = did_you_mean(asked, known)
            raise UsageError(f"{owner}: [sources] tells of {key!r}, which no recipe has.", next=f"{hint}Mend it.")


def _from_scratch(
    recipe: NetworkRecipe, scratch: Mapping[str, Any], owner: str
) -> tuple[NetworkRecipe, tuple[str, ...]]:
    """Return a recipe for random weights, and the keys that are other than with weights."""
    recipe = replace(recipe, from_scratch=True)
    changed = _built(recipe, scratch, f"{owner}, from scratch") if scratch else recipe
    if not trains_all(changed):
        raise _NoScratchError(
            f"{owner} trains parts of a network that has weights already; it has no form for random weights.",
            next="Leave --from-scratch out, take the preset default, or give a file with a table [scratch].",
        )
    return changed, _given(changed, scratch, owner)


def _built(recipe: NetworkRecipe, values: Mapping[str, Any], owner: str) -> NetworkRecipe:
    """Return a recipe with the values of tables of TOML; a list of stages takes the place of all that are there."""
    stages = values.get("stages", ())
    if isinstance(stages, list):
        if not all(isinstance(stage, Mapping) for stage in stages):
            raise UsageError(f"{owner}: stages is no list of tables.", next="Write each stage as [[stages]].")
        recipe = replace(recipe, stages=tuple(Stage() for _ in stages))
    return with_values(recipe, {key: as_text(value) for key, value in flat_values(values, owner)})


def _given(recipe: NetworkRecipe, values: Mapping[str, Any], owner: str) -> tuple[str, ...]:
    """Return the keys of the values that tables of TOML set, one for each stage."""
    found: list[str] = []
    for key, _ in flat_values(values, owner):
        _, _, name = key.partition(".")
        every = key in STAGE_KEYS or (key.startswith("stages.") and not name[:1].isdigit())
        name = name or key
        found += [f"stages.{n}.{name}" for n in range(1, len(recipe.stages) + 1)] if every else [key]
    return tuple(dict.fromkeys(found))


def _merged(first: tuple[str, ...], others: Any, stages: int = 0) -> tuple[str, ...]:
    """Return keys in their order, each once, without those of stages that are no longer there."""
    listed = list(dict.fromkeys((*first, *others)))
    gone = [k for k in listed if stages and k.startswith("stages.") and int(k.split(".")[1]) > stages]
    return tuple(key for key in listed if key not in gone)


def flat_values(table: Mapping[str, Any], owner: str = "The preset", prefix: str = "") -> list[tuple[str, Any]]:
    """Return dotted keys and values of nested tables; the tables of a list are numbered from 1.

    Raises
    ------
    UsageError
        Naming the owner, if a value is no text, number or list of these.
    """
    found: list[tuple[str, Any]] = []
    for key, value in table.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found += flat_values(value, owner, f"{dotted}.")
        elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            for number, item in enumerate(value, 1):
                found += flat_values(item, owner, f"{dotted}.{number}.")
        elif not isinstance(value, str | int | float | list) or (
            isinstance(value, list) and not all(isinstance(item, str | int | float) for item in value)
        ):
            raise UsageError(f"{owner}: {dotted}={value} is no text, number or list of these.", next="Mend it.")
        elif not (dotted == "stages" and value == []):
            found.append((dotted, value))
    return found
