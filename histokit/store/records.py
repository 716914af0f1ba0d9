"""What the store keeps, as plain data, and the Arrow schemas of its tables."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

import pyarrow as pa

from histokit.errors import shortened
from histokit.layout import Sheet
from histokit.notebooks import InNotebooks
from histokit.plugin.finished_runs import mean_scores

#: Raised when older versions of histokit could no longer read a table.
FORMAT = 1

#: What a dataset's record names versions of.
KINDS = ("samples", "files")

#: The plugin of a dataset that has no images, only features computed elsewhere.
IMPORT_PLUGIN = "import-features"

#: The stage of what is to be known of images that were read, among the problems; then the kind.
REMARK_STAGE = "remark"

#: SQL for the problems of samples that may be tried again.
OF_ATTEMPTS = f"stage <> 'ingest' AND NOT starts_with(stage, '{REMARK_STAGE}')"


PREDICTION_SCHEMA = pa.schema(
    [
        ("run", pa.string()),
        ("repeat", pa.int16()),
        ("fold", pa.int16()),
        ("role", pa.string()),
        ("id", pa.string()),
        ("true", pa.string()),
        ("predicted", pa.string()),
        ("scores", pa.list_(pa.float64())),
        ("kind", pa.string()),
        ("group", pa.string()),
        ("levels", pa.list_(pa.string())),
    ]
)

#: What was recorded while networks were trained; fold -1 is the training on all training samples.
CURVE_SCHEMA = pa.schema(
    [
        ("run", pa.string()),
        ("repeat", pa.int16()),
        ("fold", pa.int16()),
        ("series", pa.string()),
        ("stage", pa.int16()),
        ("epoch", pa.float64()),
        ("iteration", pa.int64()),
        ("loss", pa.float64()),
        ("metric", pa.float64()),
        ("lr", pa.float64()),
        ("seconds", pa.float64()),
    ]
)

PROBLEM_SCHEMA = pa.schema(
    [
        ("dataset", pa.string()),
        ("id", pa.string()),
        ("content", pa.binary(16)),
        ("stage", pa.string()),
        ("reason", pa.string()),
    ]
)

FILE_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("inode_ctime", pa.int64()),
        ("digest", pa.binary(16)),
        ("reason", pa.string()),
    ]
)

#: The columns of a sample that metadata may not be called.
SAMPLE_FIELDS = (
    pa.field("id", pa.string()),
    pa.field("content", pa.binary(16)),
    pa.field("image", pa.list_(pa.string())),
    pa.field("part", pa.string()),
    pa.field("box", pa.list_(pa.int32(), 4)),
    pa.field("label", pa.string()),
    pa.field("mpp", pa.float64()),
)

#: What predictions of numbers have beside, in place of labels and scores.
VALUE_FIELDS = (pa.field("true_value", pa.float64()), pa.field("predicted_value", pa.float64()))

NUMBER_PREDICTION_SCHEMA = pa.schema([*PREDICTION_SCHEMA, *VALUE_FIELDS])

#: What a run's parameter ``target_type`` is where it predicts numbers; runs of classes have none.
NUMBER = "number"


class _Document:
    """A record that is stored as one JSON document."""

    #: Fields that say where and how the store keeps the rest.
    _KEPT: ClassVar[frozenset[str]] = frozenset()

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON-serialisable data for people and scripts."""
        return {name: deepcopy(value) for name, value in self.stored().items() if name not in self._KEPT}

    def stored(self) -> dict[str, Any]:
        """Return the record as JSON-serialisable data, with all that the store needs; values are not copied."""
        return {each.name: getattr(self, each.name) for each in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """Rebuild from `stored`; fields that a newer version added are ignored."""
        known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
        values = {
            name: tuple(value) if isinstance(value, list) and str(known[name].type).startswith("tuple") else value
            for name, value in document.items()
            if name in known
        }
        return cls(**values)


@dataclass(frozen=True)
class DatasetRecord(_Document):
    """A dataset as it was ingested; its fields are the attributes of `histokit.plugin.Dataset`."""

    _KEPT = frozenset({"versions", "digests", "published"})

    name: str
    plugin: str
    plugin_version: str
    distribution: str
    root: str
    options: dict[str, Any]
    classes: tuple[str, ...]
    positive: str | None
    metric: str
    channels: tuple[str, ...]
    columns: dict[str, str]
    group: str | None
    levels: tuple[str, ...]
    state: Any
    count: int
    created: str
    warnings: tuple[str, ...] = ()
    labels: dict[str, int] = field(default_factory=dict)
    problems: int = 0
    reader: int = 0
    licence: str | None = None
    citation: str | None = None
    expected: dict[str, Any] = field(default_factory=dict)
    #: ``samples`` and ``files`` → version of their table, and digests of its columns.
    versions: dict[str, int] = field(default_factory=dict)
    digests: dict[str, dict[str, str]] = field(default_factory=dict)
    #: Headers of the splits that the data came with; none where an earlier version keeps them with the others.
    published: list[dict[str, Any]] | None = None

    def __repr__(self) -> str:
        return f"DatasetRecord({self.name}: {self.count} samples by {self.plugin}, {len(self.classes)} classes)"

    def same_as(self, other: DatasetRecord) -> bool:
        """Return whether another ingestion found the same: all is equal but the moment and where it is kept."""
        mine, others = self.stored(), other.stored()
        return all(mine[name] == others[name] for name in mine if name not in {"created", "versions"})


class _Answer(_Document):
    """A record of a question and its answer: what was `asked`, and `found`, which is what came out beside.

    People and scripts read both as ``parameters``, in Python and in JSON, where versions before stored them.
    """

    _FOUND = ("candidate_runs", "final", "networks", "notes")

    parameters: dict[str, Any]
    found: dict[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", {**self.parameters, **self.found})

    @property
    def asked(self) -> dict[str, Any]:
        """The parameters without what was found."""
        return {name: value for name, value in self.parameters.items() if name not in self.found}

    def to_json(self) -> dict[str, Any]:
        document = super().to_json()
        del document["found"]
        return {**document, "parameters": self.parameters}

    def stored(self) -> dict[str, Any]:
        return {**super().stored(), "parameters": self.asked}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        asked = dict(document["parameters"])
        found = {name: asked.pop(name) for name in cls._FOUND if name in asked}
        return super().from_json({**document, "parameters": asked, "found": {**found, **document.get("found", {})}})


@dataclass(frozen=True)
class RunRecord(_Answer):
    """What was trained or predicted, and on what."""

    _KEPT = frozenset({"predicted", "rows", "digests", "model_digest", "curve_digests"})

    id: str
    dataset: str
    kind: str
    address: str
    classifier: str
    split: str
    split_digest: str
    classes: tuple[str, ...]
    metric: str
    parameters: dict[str, Any]
    folds: list[dict[str, Any]]
    notes: list[str]
    versions: dict[str, str]
    seconds: float
    created: str
    group: str | None = None
    levels: tuple[str, ...] = ()
    features: list[dict[str, Any]] = field(default_factory=list)
    source_run: str | None = None
    #: Digest of the predicted samples and their images, by `histokit.protocol.leaks.samples_digest`; none for units.
    predicted: str | None = None
    #: What its rows of predictions, and its model, are found by; the id where none.
    rows: str | None = None
    #: Of the columns of its predictions, and of its model.
    digests: dict[str, str] = field(default_factory=dict)
    model_digest: str | None = None
    #: Of the columns of its curves; empty where it has none.
    curve_digests: dict[str, str] = field(default_factory=dict)
    #: How the model of all samples came to be (``final``), of which ``candidate_runs``; where ``networks`` are kept.
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What its rows of predictions, and its model, are found by."""
        return self.rows or self.id

    @property
    def numbers(self) -> bool:
        """Whether it predicts numbers in place of classes."""
        return self.parameters.get("target_type") == NUMBER

    @property
    def schema(self) -> pa.Schema:
        """The columns of its predictions."""
        return NUMBER_PREDICTION_SCHEMA if self.numbers else PREDICTION_SCHEMA

    @property
    def mean_over_folds(self) -> float | None:
        """The mean of its metric over the folds in which it is defined; none where there are none."""
        return mean_scores(self.folds).get(self.metric)

    def __repr__(self) -> str:
        where = f"{self.dataset}, {self.split}" if self.split else self.dataset
        return f"RunRecord({self.id}: {self.kind}, {self.classifier} on {shortened(self.address)} of {where})"


@dataclass(frozen=True)
class SelectionRecord(_Answer, InNotebooks):
    """Which columns of which feature tables were kept, and why.

    Each entry of `folds`, and `kept` (fitted on all training samples), holds ``repeat``, ``fold``,
    ``columns`` (kept, in the order of the address), ``ranking`` (rank of every column, 1 is kept
    longest), ``curve`` (``[size, mean, std]``), ``scores`` (of each size in each inner fold), ``k_best`` and ``k_min``;
    `kept` also holds ``importances`` (of every column, before any was eliminated); `fitted_on` holds the ids,
    `contents` and `vectors` the digests of their images and of their vectors, by id, as hexadecimal text;
    `found` holds ``notes``.
    """

    id: str
    dataset: str
    address: str
    split: str
    split_digest: str
    method: str
    parameters: dict[str, Any]
    folds: list[dict[str, Any]]
    kept: dict[str, Any] | None
    fitted_on: list[dict[str, Any]]
    features: list[dict[str, Any]]
    provenance: list[str]
    seconds: float
    created: str
    contents: dict[str, str] = field(default_factory=dict)
    vectors: dict[str, str] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)

    def sheets(self) -> list[Sheet]:
        """Return how many columns each fold kept, as a table for people."""
        parts = [*self.folds, *([self.kept] if self.kept else [])]
        rows = [
            [
                "all training samples" if part["fold"] is None else f"{part['repeat']}/{part['fold']}",
                len(part["ranking"]),
                part["k_best"],
                part["k_min"],
            ]
            for part in parts
        ]
        title = f"selection {self.id} of {self.address} of {self.dataset}, {self.split}"
        return [Sheet(title, ["fold", "columns", "best size", "smallest as good"], rows)]

    def __repr__(self) -> str:
        kept = f"{len(self.kept['columns'])} of {len(self.kept['ranking'])} columns" if self.kept else "folds only"
        return f"SelectionRecord({self.id}: {kept} of {shortened(self.address)} of {self.dataset}, {self.split})"
