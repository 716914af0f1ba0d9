"""How the networks of a study file are trained on images: each network by each preset, with each seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from histokit.errors import UsageError
from histokit.features import FeatureStore
from histokit.finetune.finetune_options import FinetuneOptions
from histokit.finetune.network_question import random_start, resolve_start
from histokit.finetune.presets import DEFAULT, flat_values, load_preset
from histokit.finetune.recipe import ALL, HEAD, NetworkRecipe
from histokit.finetune.recipe_values import as_text, check_recipe, with_values
from histokit.finetune.target_recipes import recipe_for_target
from histokit.plugin.weights import PRETRAINED
from histokit.store.records import NUMBER
from histokit.study.mistakes import Mistakes, Place
from histokit.study.schema import PRESET, check_table
from histokit.study.strategies import STRATEGIES, spelling
from histokit.study.study_file import Data, Method, Network, StudyTraining, beside
from histokit.study.study_networks import check_layers

#: Options of a strategy that `finetune` takes as they are.
_PLAIN = ("precision", "micro_batch", "test_curve", "keep")

#: What to do where a backbone is not one that can be trained.
_OF_NETWORKS = 'Name the networks that are trained in [strategy.fine-tuning]: backbones = ["…"]'


def read_trainings(
    file: Path,
    methods: Sequence[Method],
    tables: Mapping[str, Any],
    networks: Sequence[Network],
    datasets: Sequence[Data],
    common: Mapping[str, Any],
    store: FeatureStore,
    mistakes: Mistakes,
) -> tuple[StudyTraining, ...]:
    """Look up presets and what is set of them; no network is built.

    Parameters
    ----------
    file : Path
        What the files of presets are relative to.
    methods : sequence of Method
    tables : mapping
        Strategy as it is written → its table.
    networks : sequence of Network
    datasets : sequence of Data
        Whose targets recipes have to suit.
    common : mapping
        Options for all: the seed.
    store : FeatureStore
    mistakes : Mistakes
        Gets what is wrong.
    """
    found: list[StudyTraining] = []
    for method in methods:
        if not STRATEGIES[method.name].trains:
            continue
        written = next((text for text in tables if spelling(text) == spelling(method.name)), None)
        place: Place = ("strategies",) if written is None else ("strategy", written)
        options = {key: method.options[key] for key in _PLAIN if key in method.options}
        for key, value in options.items():
            with mistakes.at((*place, key)):
                FinetuneOptions(**{key: value})
        recipes = list(_recipes(file, method, place, datasets, mistakes))
        used = [network for network in networks if network.name in method.networks]
        for network in used:
            for where, preset, settings, recipe in recipes:
                for number in range(method.options.get("repeats", 1)):
                    own = {**options, "settings": settings, "seed": common["seed"] + number}
                    with mistakes.at(where):
                        found.append(_training(network, preset, recipe, own, store))
    return tuple(found)


def _training(
    network: Network, preset: str, recipe: NetworkRecipe, options: Mapping[str, Any], store: FeatureStore
) -> StudyTraining:
    if network.resolved is None:
        raise UsageError(
            f"{network.name!r} are vectors that were imported: there is no network to train.", next=_OF_NETWORKS
        )
    if network.resolved.weights == "none":
        raise UsageError(f"{network.name!r} has no weights that could be trained.", next=_OF_NETWORKS)
    weights, preprocess = network.options["weights"], network.options["preprocess"]
    start = weights
    if recipe.from_scratch:
        start = random_start(weights, options["seed"])
        weights = weights if weights == start else PRETRAINED
    resolved = resolve_start(store, network.name, start, {**recipe.preprocess, **preprocess}, recipe)
    parts = {part for stage in recipe.stages for part in stage.train.split("+")} - {ALL, HEAD}
    check_layers(resolved, store, sorted(parts))
    own = {"weights": weights, "preprocess": preprocess, "from_scratch": recipe.from_scratch}
    return StudyTraining(network.name, preset, recipe, resolved, {**options, **own})


def _recipes(
    file: Path, method: Method, place: Place, datasets: Sequence[Data], mistakes: Mistakes
) -> Iterator[tuple[Place, str, dict[str, str], NetworkRecipe]]:
    """Yield the place, the preset, what is set of it, and the recipe of each way of training that is as it must be."""
    given = method.options.get("presets", [DEFAULT])
    for preset in given:
        where: Place = (*place, "presets") if "presets" in method.options else place
        own: dict[str, Any] = {}
        if isinstance(given, Mapping):
            where = (*where, preset)
            own = check_table(given[preset], PRESET, where, mistakes)
        sets = [((*place, "set"), method.options.get("set", {})), ((*where, "set"), own.get("set", {}))]
        name = str(beside(file, preset)) if preset.endswith(".toml") else preset
        with mistakes.at(where):
            load_preset(name)
            scratch = own.get("from_scratch", method.options.get("from_scratch", False))
            asked = where if "from_scratch" in own else place
            for recipe in _forms(name, scratch, (*asked, "from_scratch"), mistakes):
                settings, good = _settings(recipe, sets, mistakes)
                with mistakes.at(next((inner for inner, table in reversed(sets) if table), where)):
                    changed = _changed(recipe, settings, datasets)
                    if good:
                        yield where, name, settings, changed


def _forms(name: str, scratch: bool | Sequence[bool], place: Place, mistakes: Mistakes) -> Iterator[NetworkRecipe]:
    """Yield a preset as it is for networks with weights, or from scratch, or both."""
    for from_scratch in dict.fromkeys([scratch] if isinstance(scratch, bool) else scratch):
        with mistakes.at(place):
            yield load_preset(name, from_scratch=from_scratch).recipe


def _settings(
    recipe: NetworkRecipe, sets: Sequence[tuple[Place, Mapping[str, Any]]], mistakes: Mistakes
) -> tuple[dict[str, str], bool]:
    """Return key → text of what is set, and whether all of it can be; each mistake is told at its key."""
    settings: dict[str, str] = {}
    before = len(mistakes.found)
    for place, table in sets:
        with mistakes.at(place):
            for key, value in flat_values(table, "The strategy"):
                with mistakes.at((*place, key)):
                    with_values(recipe, {key: as_text(value)})
                    settings[key] = as_text(value)
    return settings, len(mistakes.found) == before


def _changed(recipe: NetworkRecipe, settings: Mapping[str, str], datasets: Sequence[Data]) -> NetworkRecipe:
    """Return the recipe as it is for the targets of the datasets, as far as their kind is known before all is there."""
    changed = with_values(recipe, settings)
    known = [data for data in datasets if data.target_type or not data.target]
    for kind in {data.target_type == NUMBER for data in known}:
        changed, _ = recipe_for_target(recipe, settings, kind)
    if not known:
        check_recipe(changed)
    return changed
