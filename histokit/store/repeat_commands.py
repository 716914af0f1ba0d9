"""The commands that make again what is stored: datasets, splits, feature tables, selections and runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from inspect import Parameter
from itertools import product
from shlex import quote
from typing import Any

from histokit.errors import PluginError
from histokit.plugin import Preprocess
from histokit.plugin.manager import registry
from histokit.plugin.options import announced_options, join_list, typed_option
from histokit.plugin.weights import PRETRAINED
from histokit.store.commits import Made
from histokit.store.records import IMPORT_PLUGIN, DatasetRecord, RunRecord, SelectionRecord
from histokit.store.split_records import Split
from histokit.store.vectors import FeatureTable

#: How notes of runs and selections end that went on without some samples.
NO_FEATURES, NO_IMAGES = "their features are missing", "their images cannot be read"


def make_again(table: FeatureTable, dataset: str | None = None, layers: str | None = None, file: str = "FILE") -> str:
    """Return the command that fills a feature table, or one like it.

    Parameters
    ----------
    table : FeatureTable
    dataset, layers : str, optional
        In place of the table's own.
    file : str
        Of vectors that were computed elsewhere; any that holds them where not given.
    """
    dataset, layers = quote(dataset or table.dataset), quote(layers or table.layer)
    if table.imported:
        made_by = f"--name {quote(table.backbone)} --version {quote(str(table.version))} --layer {layers}"
        return f"histokit import-features {dataset} {file} {made_by}"
    return " ".join(
        ["histokit extract", dataset, "--backbone", table.backbone, "--layers", layers, *_table_options(table)]
    )


def make_all_again(tables: Sequence[FeatureTable]) -> str:
    """Return the commands that fill feature tables of networks: one where they are made in the same way."""
    alike: dict[tuple[str, ...], list[FeatureTable]] = {}
    for table in tables:
        alike.setdefault((table.dataset, *_table_options(table)), []).append(table)
    commands = []
    for (dataset, *asked), listed in alike.items():
        names = dict.fromkeys(table.backbone for table in listed)
        layers = ",".join(dict.fromkeys(table.layer for table in listed))
        backbones = [word for name in names for word in ("--backbone", name)]
        commands.append(" ".join(["histokit extract", quote(dataset), *backbones, "--layers", quote(layers), *asked]))
    return " && ".join(commands)


def made(table: FeatureTable) -> Made:
    """Return what is to be told of a feature table once it is gone."""
    return Made(table.dataset, table.address, make_again(table))


def _table_options(table: FeatureTable) -> list[str]:
    """Return the options without which `extract` would fill another table."""
    weights = table.info.get("weights_request", table.spec.get("weights", PRETRAINED))
    found = [] if weights in (PRETRAINED, "none") else ["--weights", quote(str(weights))]
    for name, value in _preprocess_request(table).items():
        found += ["--preprocess", quote(f"{name}={value}")]
    for option, field in (("--precision", "precision"), ("--store-dtype", "store_dtype")):
        if table.spec.get(field, "float32") != "float32":
            found += [option, str(table.spec[field])]
    engines = {"inductor": ["--compile"], "openvino": ["--engine", "openvino"]}
    return found + engines.get(str(table.spec.get("engine")), [])


def _preprocess_request(table: FeatureTable) -> Mapping[str, str]:
    if "preprocess_request" in table.info:
        found: Mapping[str, str] = table.info["preprocess_request"]
        return found
    # Of the first version, which did not keep what was asked for: all that came of it.
    return Preprocess.from_json(table.spec.get("preprocess", {})).to_texts()


def ingest_command(record: DatasetRecord) -> str:
    """Return the command that ingests a dataset again."""
    if record.plugin == IMPORT_PLUGIN:
        return " ".join([f"histokit import-features {record.name} {quote(record.root)} --create", *_imported(record)])
    usual = _usual_options(record.plugin)
    asked = {key: text for key, value in record.options.items() if (text := _option(value)) != usual.get(key)}
    options = "".join(f" {typed_option(key, text)}" for key, text in asked.items())
    return f"histokit ingest {record.plugin} {quote(record.root)} --name {record.name}{options}"


def _usual_options(plugin: str) -> dict[str, str]:
    """Return what the options of a dataset plugin are where none is given; nothing of a plugin that is not there."""
    try:
        options = announced_options(registry().dataset(plugin).__init__)
    except PluginError:
        return {}
    defaults = {name: parameter.default for name, parameter in options.items()}
    return {n: _option(list(v) if isinstance(v, tuple) else v) for n, v in defaults.items() if v is not Parameter.empty}


def _imported(record: DatasetRecord) -> Iterator[str]:
    for name, value in record.options.items():
        for each in value if isinstance(value, list) else [value]:
            if each is not None and (name, each) not in (("id", "id"), ("layer", "imported")):
                yield f"--{name} {quote(str(each))}"


def split_command(split: Split) -> str | None:
    """Return the command that makes a split again; none where ingestion or a training makes it by itself."""
    given = split.params
    if split.source == "published" or given.get("automatic"):
        return None
    words = ["histokit split", quote(split.dataset), "--name", quote(split.name)]
    if given.get("file") is not None:
        words += ["--from", quote(str(given["file"]))]
    asked = {**given, "group": None if given.get("ignore_groups") else split.group, "seed": split.seed or 0}
    return " ".join([*words, *_options(asked, _OF_SPLITS)])


def selection_command(selection: SelectionRecord) -> str:
    """Return the command that selects again, with all that was asked."""
    given = selection.parameters
    words = ["histokit select", quote(selection.dataset), "--features", quote(selection.address)]
    words += ["--split", quote(selection.split), *_options(given, _OF_SELECTIONS)]
    return " ".join([*words, *_went_on(given.get("notes") or [])])


def run_command(run: RunRecord) -> str:
    """Return the command that does a run again, with all that was asked."""
    if run.kind == "predict":
        command = f"histokit predict {run.source_run} {quote(run.dataset)}"
    else:
        command = _finetune_command(run) if run.kind == "finetune" else _train_command(run)
    return " ".join([command, *_went_on(run.notes)])


def _went_on(notes: Sequence[str]) -> list[str]:
    """Return the option by which samples were left out that lack what is learned from."""
    return ["--allow-missing"] * any(note.endswith((NO_FEATURES, NO_IMAGES)) for note in notes)


def run_again(run: RunRecord) -> str:
    """Return the advice to do a run again."""
    return f"Do it again: {run_command(run)} --force"


#: Options of several steps, and what they are where nothing is asked.
_OF_SAMPLES: Mapping[str, Any] = {"target": None, "target_type": None, "where": None, "metric": None, "seed": 0}
_OF_CONTROLS: Mapping[str, Any] = {"normalise": None, "controls": None, "per": None}
_OF_SPLITS: Mapping[str, Any] = {
    "group": None,
    "test": None,
    "test_where": None,
    "folds": None,
    "leave_one_group_out": False,
    "bar": None,
    "within": None,
    "repeats": 1,
    "train_groups": None,
    "train_per_class": None,
    "target": None,
    "target_type": None,
    "ignore_groups": False,
    "seed": 0,
}
_OF_SELECTIONS: Mapping[str, Any] = {
    "method": "rfe",
    "tolerance": 0.005,
    "step": "auto",
    "inner_folds": 5,
    **_OF_SAMPLES,
    **_OF_CONTROLS,
}
_OF_TRAINING: Mapping[str, Any] = {
    "selection": None,
    "rfe": False,
    "aggregate": None,
    "class_weight": None,
    "inner_folds": 5,
    "scale": False,
    "choose": None,
    "solver": "auto",
    "fold_networks": False,
    **_OF_SAMPLES,
    **_OF_CONTROLS,
}
_OF_NETWORKS: Mapping[str, Any] = {
    "preset": "default",
    "from_scratch": False,
    "weights": PRETRAINED,
    "channels": "",
    "precision": "auto",
    "micro_batch": None,
    "test_curve": False,
    **_OF_SAMPLES,
}


def _options(given: Mapping[str, Any], usual: Mapping[str, Any]) -> list[str]:
    """Return the words of the options that are not as they are where nothing is asked."""
    words = []
    for name, rest in usual.items():
        value, option = given.get(name, rest), f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value and value != rest:
            words += [option, quote(_option(value))]
    return words


def _train_command(run: RunRecord) -> str:
    given = run.asked
    words = ["histokit train", quote(run.dataset)]
    for address in given.get("candidates") or [run.address]:
        words += ["--features", quote(str(address))]
    words += ["--classifier", run.classifier, "--split", quote(run.split)]
    return " ".join([*words, *_grid(given.get("grid") or []), *_options(given, _OF_TRAINING)])


def _grid(tried: list[dict[str, Any]]) -> Iterator[str]:
    """Return the options whose combinations were tried; none where they are no such combinations."""
    values: dict[str, list[Any]] = {}
    for combination in tried:
        for name, value in combination.items():
            values.setdefault(name, [])
            values[name] += [value] * (value not in values[name])
    if tried == [dict(zip(values, each, strict=True)) for each in product(*values.values())]:
        for name, listed in values.items():
            yield "--grid"
            yield quote(f"{name}={_option(listed)}")


def _finetune_command(run: RunRecord) -> str:
    given = run.parameters
    words = ["histokit finetune", quote(run.dataset), "--backbone", quote(run.address.rpartition("/")[0])]
    words += ["--split", quote(run.split), *_options(given, _OF_NETWORKS)]
    for option, pairs in (("--set", given.get("settings")), ("--preprocess", given.get("preprocess"))):
        listed = [f"{key}={_option(v)}" for key, v in pairs.items()] if isinstance(pairs, Mapping) else pairs or []
        for text in [listed] if isinstance(listed, str) else listed:
            words += [option, quote(text)]
    return " ".join(words)


def _option(value: Any) -> str:
    return join_list(value) if isinstance(value, list) else str(value)
