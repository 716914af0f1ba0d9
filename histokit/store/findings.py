"""What a check of the store finds, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from shlex import quote
from typing import Any

from histokit.plugin import Preprocess
from histokit.plugin.weights import PRETRAINED
from histokit.store.commits import Made
from histokit.store.records import IMPORT_PLUGIN, DatasetRecord, RunRecord
from histokit.store.vectors import FeatureTable

#: The kind of what a newer version wrote.
NEWER = "newer"

_EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Parameters
    ----------
    table : str
    kind : str
        ``unreadable``, ``lost``, ``newer``, ``foreign``, ``schema``, ``doubled``, ``key``, ``changed``, ``vector``,
        ``incomplete``, ``orphan``, ``samples``, ``split``, ``run`` or ``document``; after a repair also ``aside``.
    what, next : str
        What is wrong with which, and what to do.
    """

    table: str
    kind: str
    what: str
    next: str


@dataclass(frozen=True)
class Verification:
    """What a check of a store found.

    Parameters
    ----------
    findings : tuple of Finding
    tables, rows : int
        How much was read.
    """

    findings: tuple[Finding, ...]
    tables: int
    rows: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data."""
        findings = [asdict(finding) for finding in self.findings]
        return {"ok": self.ok, "findings": findings, "tables": self.tables, "rows": self.rows}


class FaultTally:
    """Counts what is wrong and keeps a few examples."""

    def __init__(self) -> None:
        self.count = 0
        self._examples: list[Any] = []

    def add(self, values: Iterable[Any]) -> None:
        """Count some values."""
        for value in values:
            self.count += 1
            if len(self._examples) < _EXAMPLES:
                self._examples.append(value)

    def __str__(self) -> str:
        more = f" and {self.count - len(self._examples)} more" if self.count > len(self._examples) else ""
        return ", ".join(map(repr, self._examples)) + more


def make_again(table: FeatureTable, dataset: str | None = None, layers: str | None = None) -> str:
    """Return the command that fills a feature table, or one like it.

    Parameters
    ----------
    table : FeatureTable
    dataset, layers : str, optional
        In place of the table's own.
    """
    dataset, layers = quote(dataset or table.dataset), quote(layers or table.layer)
    if table.imported:
        made_by = f"--name {table.backbone} --version {table.version} --layer {layers}"
        return f"histokit import-features {dataset} FILE {made_by}"
    return " ".join(["histokit extract", dataset, "--backbone", table.backbone, "--layers", layers, *_options(table)])


def made(table: FeatureTable) -> Made:
    """Return what is to be told of a feature table once it is gone."""
    return Made(table.dataset, table.address, make_again(table))


def _options(table: FeatureTable) -> list[str]:
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


def remove_folder(uri: Any, name: str, then: Sequence[str] = ()) -> str:
    """Return the advice to move a table's folder away."""
    steps = [f"Move the folder {uri / f'{name}.lance'} away", *then]
    return ", then: ".join(steps)


def ingest_command(record: DatasetRecord) -> str:
    """Return the command that ingests a dataset again."""
    if record.plugin == IMPORT_PLUGIN:
        return f"histokit import-features {record.name} {quote(record.root)} --create"
    options = "".join(f" -o {quote(f'{key}={_option(value)}')}" for key, value in record.options.items())
    return f"histokit ingest {record.plugin} {quote(record.root)} --name {record.name}{options}"


def run_again(run: RunRecord) -> str:
    """Return the advice to do a run again."""
    if run.kind == "predict":
        return f"Do it again: histokit predict {run.source_run} {run.dataset} --force"
    if run.kind == "finetune":
        return f"Do it again: {_finetune_command(run)} --force"
    asked = f"--features {run.address} --classifier {run.classifier}"
    return f"Do it again, with its options: histokit {run.kind} {run.dataset} {asked} --split {run.split} --force"


#: Parameters of a run of `finetune` that are options of the same name, and what they are where nothing is asked.
_OF_NETWORKS: Mapping[str, Any] = {
    "preset": "default",
    "from_scratch": False,
    "weights": PRETRAINED,
    "channels": "",
    "metric": None,
    "target": None,
    "target_type": None,
    "where": None,
    "seed": 0,
    "precision": "auto",
    "micro_batch": None,
    "test_curve": False,
}


def _finetune_command(run: RunRecord) -> str:
    """Return the command that trains the networks of a run again, with all that it was asked."""
    given = run.parameters
    words = ["histokit finetune", quote(run.dataset), "--backbone", quote(run.address.rpartition("/")[0])]
    words += ["--split", quote(run.split)]
    for name, rest in _OF_NETWORKS.items():
        value, option = given.get(name, rest), f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value and value != rest:
            words += [option, quote(_option(value))]
    for option, pairs in (("--set", given.get("settings")), ("--preprocess", given.get("preprocess"))):
        listed = [f"{key}={_option(v)}" for key, v in pairs.items()] if isinstance(pairs, Mapping) else pairs or []
        for text in [listed] if isinstance(listed, str) else listed:
            words += [option, quote(text)]
    return " ".join(words)


def _option(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
