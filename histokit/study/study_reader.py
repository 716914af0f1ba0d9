"""From a study file to a `Study`: every name in it is looked up before anything is done."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from histokit.classifiers.grids import make_grid
from histokit.classifiers.table import check_class_weight, classifier, names
from histokit.errors import UsageError, did_you_mean, some
from histokit.features import FeatureStore
from histokit.networks.requests import as_option, check_options
from histokit.protocol.targets import find_type
from histokit.store.records import NUMBER
from histokit.study.mistakes import Mistakes, Place
from histokit.study.schema import CLASSIFIER, COMPARE, STRATEGY, TOP, check_table
from histokit.study.strategies import CHOICES, STRATEGIES, find_strategy, spelling
from histokit.study.study_datasets import read_datasets
from histokit.study.study_file import Data, Method, Study, open_study_store, read_toml
from histokit.study.study_networks import canonical, read_networks
from histokit.study.study_trainings import read_trainings

_CLASSIFIERS = ("svm", "et", "fc")


def read_study(
    path: str | Path,
    store: str | Path | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
) -> Study:
    """Read a study file.

    Parameters
    ----------
    path : path
    store : path, optional
        In place of the one that the environment or the file names.
    device : str, optional
        In place of the one that the file names.
    batch_size : int, optional
        In place of those of all backbones.
    workers : int, optional
        Processes that read images.

    Returns
    -------
    Study

    Raises
    ------
    UsageError, PluginError, StoreError
        That tells all mistakes in the file, each with its line: unknown keys, plugins, datasets, networks, layers,
        strategies and classifiers, values of the wrong kind, weights that cannot be had.
    """
    check_options(device=device or "auto", batch_size=batch_size, workers=workers)
    running = {"batch_size": batch_size, "workers": workers}
    file, text, document = read_toml(path)
    mistakes = Mistakes(file, text, document)
    top = check_table(document, TOP, (), mistakes)
    opened = open_study_store(file, top.get("store"), store)
    datasets = read_datasets(file, _tables(top, "datasets"), top, opened, mistakes)
    methods = _methods(top, mistakes)
    classifiers = _classifiers(top, methods, mistakes)
    _check_types(datasets, classifiers, opened, mistakes)
    common = {"seed": top.get("seed", 0), "inner_folds": top.get("inner_folds", 5)}
    asked = {"device": as_option("device", device)} if device else {}
    networks = read_networks(
        file,
        _tables(top, "backbones"),
        top,
        device := str(device or top.get("device", "auto")),
        lambda name, value: asked.get(name) or _as_key(name, value),
        methods,
        opened,
        mistakes,
    )
    trainings = read_trainings(file, methods, top.get("strategy", {}), networks, datasets, common, opened, mistakes)
    compare = check_table(top.get("compare", {}), COMPARE, ("compare",), mistakes)
    needed = ["datasets"] + ["backbones"] * any(_of_networks(method.name) for method in methods)
    for key in needed:
        if key not in document:
            mistakes.add((key,), f"The study names no {key}.", f"Add a table: [{key}.NAME]")
    with mistakes.at(("device",)):
        check_options(device=device)
    mistakes.check()
    given = {name: value for name, value in running.items() if value is not None}
    return Study(file, opened, datasets, networks, methods, classifiers, common, device, given, compare, trainings)


def _as_key(name: str, value: object) -> str:
    return f"{name} = true" if value is True else f'{name} = "{value}"'


def _tables(top: Mapping[str, Any], key: str) -> dict[str, dict[str, Any]]:
    """Return name → table, of tables or of a mere list of names."""
    given = top.get(key, {})
    return dict(given) if isinstance(given, Mapping) else {name: {} for name in given}


def _methods(top: Mapping[str, Any], mistakes: Mistakes) -> tuple[Method, ...]:
    names: list[str] = []
    for text in top.get("strategies", _applicable(top)):
        with mistakes.at(("strategies",)):
            names.append(find_strategy(text))
    tables: dict[str, tuple[Place, Mapping[str, Any]]] = {}
    for text, table in top.get("strategy", {}).items():
        with mistakes.at(("strategy", text)):
            name = find_strategy(text)
            tables[name] = ("strategy", text), table
            if name not in names:
                raise UsageError(f"The study does not use the strategy {name!r}.", next="Add it to strategies.")
    return tuple(
        _method(name, *tables.get(name, (("strategies",), {})), top, mistakes) for name in dict.fromkeys(names)
    )


def _applicable(top: Mapping[str, Any]) -> list[str]:
    """Return the strategies of a study that names none: all that its backbones allow; training where a table asks."""
    count = max(1, len(_tables(top, "backbones")))
    asked = {spelling(text) for text in top.get("strategy", {})}
    return [
        name
        for name, strategy in STRATEGIES.items()
        if count > strategy.merges and (not strategy.trains or spelling(name) in asked)
    ]


def _of_networks(name: str) -> bool:
    return bool(STRATEGIES[name].layers) or STRATEGIES[name].trains


def _method(name: str, place: Place, table: Mapping[str, Any], top: Mapping[str, Any], mistakes: Mistakes) -> Method:
    strategy = STRATEGIES[name]
    options = check_table(table, {**STRATEGY, **strategy.options}, place, mistakes)
    known = [canonical(network) for network in _tables(top, "backbones")]
    networks = [canonical(network) for network in options.pop("backbones", known)]
    _check_names(networks, known, "backbone", (*place, "backbones"), mistakes)
    if strategy.merges and len(networks) < 2:
        mistakes.add(place, f"The strategy {name!r} needs two backbones or more.", "Add another, or leave it out.")
    if options.get("choose", CHOICES[0]) not in CHOICES:
        mistakes.add(
            (*place, "choose"), f"A layer cannot be chosen by {options['choose']!r}.", 'Write "inner" or "test".'
        )
    # Networks that are trained predict by themselves: classifiers on their features have to be asked for.
    usual = () if strategy.trains else top.get("classifiers", _CLASSIFIERS)
    classifiers = options.pop("classifiers", usual)
    if strategy.classifier:
        networks, classifiers = [], [strategy.classifier]
    return Method(name, tuple(networks), tuple(dict.fromkeys(classifiers)), options)


def _check_names(names: Iterable[str], known: list[str], what: str, place: Place, mistakes: Mistakes) -> None:
    for name in names:
        if name not in known:
            hint = f"{did_you_mean(name, known)}Use some of {some(known)}."
            mistakes.add(place, f"The study has no {what} {name!r}.", hint)


def _classifiers(top: Mapping[str, Any], methods: Iterable[Method], mistakes: Mistakes) -> dict[str, Mapping[str, Any]]:
    """Return the classifiers that are used, each with its own options."""
    wanted = {name: ("strategies",) for method in methods for name in method.classifiers}
    wanted |= dict.fromkeys(top.get("classifiers", ()), ("classifiers",))
    own = {strategy.classifier: name for name, strategy in STRATEGIES.items() if strategy.classifier}
    for name, place in wanted.items():
        with mistakes.at(place):
            if name in own and place == ("classifiers",):
                raise UsageError(
                    f"{name} is no classifier of other strategies.",
                    next=f'Leave it out here; it is the strategy "{own[name]}".',
                )
            classifier(name)
    tables = top.get("classifier", {})
    for name in tables:
        _check_names([name], list(wanted), "classifier", ("classifier", name), mistakes)
    return {name: _options(name, tables.get(name, {}), mistakes) for name in wanted}


def _check_types(
    datasets: Iterable[Data], classifiers: Collection[str], store: FeatureStore, mistakes: Mistakes
) -> None:
    """Look whether classifiers are for what each dataset holds, as far as that is known before it is ingested."""
    known = [record.name for record in store.datasets()]
    for data in datasets:
        with mistakes.at(("datasets", data.name)):
            kind = data.target_type
            if data.opened is None and data.name in known:
                kind = find_type(store.database.schema(f"samples.{data.name}"), data.target, kind)
            for name in names() if kind or not data.target else ():
                if name in classifiers:
                    classifier(name, kind == NUMBER)


def _options(name: str, table: Mapping[str, Any], mistakes: Mistakes) -> dict[str, Any]:
    place = ("classifier", name)
    options = check_table(table, CLASSIFIER, place, mistakes)
    if table:
        with mistakes.at((*place, "grid")):
            make_grid(name, options.get("grid"))
        with mistakes.at((*place, "class_weight")):
            check_class_weight(name, options.get("class_weight"))
    return options
