"""The datasets of a study file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from histokit.errors import UsageError, did_you_mean
from histokit.features import FeatureStore
from histokit.features.normalisation import parse_normalisation
from histokit.ingest.dataset_record import check_name
from histokit.plugin import Dataset
from histokit.plugin.guarded import Guarded
from histokit.plugin.manager import registry
from histokit.protocol.named_split import check_split_name
from histokit.protocol.scorers import check_metric
from histokit.protocol.split_drawing import check_how
from histokit.protocol.splits import AUTOMATIC
from histokit.protocol.targets import check_type
from histokit.store.filters import Filter
from histokit.study.mistakes import Mistakes, Place
from histokit.study.schema import DATASET, SHARED, SPLIT, check_table
from histokit.study.study_file import Data, beside

#: What the split is called that a study makes, where its table does not say.
_SPLIT = "study"


def read_datasets(
    file: Path, tables: Mapping[str, dict[str, Any]], top: Mapping[str, Any], store: FeatureStore, mistakes: Mistakes
) -> tuple[Data, ...]:
    """Look up the datasets, each with its plugin, root, options, split and metric.

    Parameters
    ----------
    file : Path
        What roots are relative to.
    tables : mapping
        Name → its table.
    top : mapping
        The top of the file, for what all datasets share.
    store : FeatureStore
    mistakes : Mistakes
        Gets what is wrong.
    """
    found = []
    with mistakes.at(("metric",)):
        check_metric(top.get("metric", "accuracy"))
    if isinstance(top.get("split"), Mapping):
        # Also where each dataset has a split of its own.
        _made(file, top["split"], ("split",), None, mistakes)
    for name, table in tables.items():
        place = ("datasets", name)
        own = check_table(table, DATASET, place, mistakes)
        shared = {key: top[key] for key in SHARED if key in top}
        where = {key: (*place, key) if key in own else (key,) for key in SHARED}
        found.append(_read(file, name, shared | own, place, where, store, mistakes))
    return tuple(found)


#: The keys of a dataset that are handed on as they are.
_PLAIN = ("metric", "target", "target_type", "where", "aggregate", "normalise", "controls", "per")


def _read(
    file: Path,
    name: str,
    table: Mapping[str, Any],
    place: Place,
    where: Mapping[str, Place],
    store: FeatureStore,
    mistakes: Mistakes,
) -> Data:
    opened = _open(file, name, table, place, store, mistakes)
    with mistakes.at(where["metric"]):
        check_metric(table.get("metric", "accuracy"))
    split, made = table.get("split"), None
    if isinstance(split, Mapping):
        split, made = _made(file, split, where["split"], opened, mistakes)
        if made.get("within") is not None:
            with mistakes.at((*where["split"], "within")):
                _check_split(name, made["within"], opened, store)
    elif split is not None:
        with mistakes.at(where["split"]):
            _check_split(name, split, opened, store)
    for key in ("where", "controls"):
        if table.get(key) is not None:
            with mistakes.at((*place, key)):
                _check_filter(name, table[key], opened, store)
    with mistakes.at((*place, "normalise")):
        parse_normalisation(table.get("normalise"), table.get("controls"), table.get("per"))
    with mistakes.at((*place, "target_type")):
        check_type(table.get("target_type"))
    return Data(
        name,
        opened,
        split,
        made,
        allow_missing=table.get("allow_missing", False),
        **{key: table.get(key) for key in _PLAIN},
    )


def _open(
    file: Path, name: str, table: Mapping[str, Any], place: Place, store: FeatureStore, mistakes: Mistakes
) -> Dataset | None:
    """Open a dataset by its plugin; without one it has to be in the store."""
    if "plugin" not in table:
        if "root" in table or "options" in table:
            mistakes.add(place, f"The dataset {name!r} names no plugin.", 'Add for instance plugin = "folder"')
            return None
        if store.find_dataset(name) is None:
            hint = did_you_mean(name, [record.name for record in store.datasets()])
            message = f"The dataset {name!r} names no plugin, and the store {store.uri} does not have it."
            mistakes.add(place, message, f'{hint}Add for instance plugin = "folder" and root = "FOLDER".')
        return None
    with mistakes.at(place):
        check_name(name)
    with mistakes.at((*place, "plugin")):
        cls = registry().dataset(table["plugin"])
        if cls.needs_data and "root" not in table:
            raise UsageError(f"The dataset {name!r} names no root.", next='Add root = "FOLDER"')
        root = beside(file, table.get("root", "."))
        if cls.needs_data and not root.exists():
            mistakes.add((*place, "root"), f"There is no folder {root}.", f"Paths are relative to {file}.")
            return None
        with mistakes.at((*place, "options")):
            options = {key: _text(v) for key, v in table.get("options", {}).items()}
            dataset = registry().make_dataset(table["plugin"], root, options)
            Guarded(dataset).check()
            return dataset
    return None


def _text(value: Any) -> Any:
    """Return a number as the text that the command line would give, so that it is converted in the same way."""
    return str(value) if isinstance(value, bool | int | float) else value


def _made(
    file: Path, table: Mapping[str, Any], place: Place, opened: Dataset | None, mistakes: Mistakes
) -> tuple[str, dict[str, Any]]:
    """Return name and options of a split that the study makes."""
    good = check_table(table, SPLIT, place, mistakes)
    if len(good) < len(table):
        return _SPLIT, good
    name = good.pop("name", _SPLIT)
    with mistakes.at((*place, "name")):
        check_split_name(name)
    if name in AUTOMATIC:
        mistakes.add((*place, "name"), f"The split name {name!r} is taken.", f'Write split = "{name}" for that split.')
    if "from" in good:
        good["from_file"] = beside(file, good.pop("from"))
    how = {key: value for key, value in good.items() if key not in ("group", "seed")}
    with mistakes.at(place):
        # Of a dataset in the store it is known later whether it names a group.
        check_how(**how, column=good.get("group") or (opened.group if opened else "group"))
    return name, good


def _check_filter(name: str, text: str, opened: Dataset | None, store: FeatureStore) -> None:
    """Raise unless a filter can be read, and fits the columns of a dataset that will not be ingested anew."""
    condition = Filter(text)
    if opened is None and store.find_dataset(name) is not None:
        condition.check(store.database.schema(f"samples.{name}"))


def _check_split(name: str, split: str, opened: Dataset | None, store: FeatureStore) -> None:
    """Raise unless a split is one of the automatic ones, of the data's own, or in the store."""
    if split in AUTOMATIC:
        return
    known = [*store.split_headers(name)]
    if split not in known:
        known += [*(Guarded(opened).splits() if opened else ()), *AUTOMATIC]
    if split not in known:
        raise UsageError(
            f"The dataset {name!r} has no split {split!r}.",
            next=f"{did_you_mean(split, known)}Use one of {', '.join(dict.fromkeys(known))}, or say how to make it: "
            f'split = {{ name = "{split}", folds = 10 }}',
        )
