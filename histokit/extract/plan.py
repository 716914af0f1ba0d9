"""The plan of an extraction: which vectors are missing, and which can be copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from histokit.extract.resolve import ResolvedBackbone
from histokit.plugin import Layer, Sample
from histokit.store import DatasetRecord, Store
from histokit.store.fingerprints import row_key, spec_differences, spec_fingerprint
from histokit.store.records import SAMPLE_FIELDS
from histokit.store.vectors import FeatureTable, insert_vectors, stored_keys, vectors_by_content

_FIXED = frozenset(field.name for field in SAMPLE_FIELDS)


@dataclass
class TablePlan:
    """What is missing in one feature table.

    Parameters
    ----------
    layer : Layer
    spec, info : dict
    table : FeatureTable, optional
        None until the network told the width of its vectors.
    missing : dict
        Content digest → positions of the samples that lack it.
    cached, copied : int
        Numbers of samples.
    differences : list of str
        Fields in which other tables of the same layer differ.
    """

    layer: Layer
    spec: dict[str, Any]
    info: dict[str, Any]
    table: FeatureTable | None = None
    missing: dict[bytes, list[int]] = field(default_factory=dict)
    cached: int = 0
    copied: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the spec."""
        return spec_fingerprint(self.spec)

    @property
    def address(self) -> str:
        """The feature address; with fingerprint where the layer has other tables as well."""
        mark = f"@{self.fingerprint}" if self.differences else ""
        return f"{self.spec['backbone']}/{self.layer.name}{mark}"


@dataclass
class BackbonePlan:
    """The tables that one network fills."""

    backbone: ResolvedBackbone
    tables: list[TablePlan]

    @property
    def open_tables(self) -> list[TablePlan]:
        """The tables in which something is missing."""
        return [table for table in self.tables if table.missing]

    @property
    def contents(self) -> set[bytes]:
        """The content digests that have to go through the network."""
        return {content for table in self.tables for content in table.missing}

    def needs(self, content: bytes) -> bool:
        """Return whether an image of this content has to go through the network."""
        return any(content in table.missing for table in self.tables)


@dataclass
class Samples:
    """The samples of a dataset in memory-light columns."""

    ids: list[str]
    contents: list[bytes | None]
    rows: Any

    @classmethod
    def read(cls, store: Store, dataset: str) -> Samples:
        """Read the samples of a dataset."""
        rows = store.samples(dataset)
        return cls(rows.column("id").to_pylist(), rows.column("content").to_pylist(), rows)

    def sample(self, position: int) -> Sample:
        """Rebuild one sample."""
        row = self.rows.slice(position, 1).to_pylist()[0]
        box = row["box"]
        return Sample(
            id=row["id"],
            image=tuple(row["image"]),
            part=row["part"],
            box=(box[0], box[1], box[2], box[3]) if box else None,
            label=row["label"],
            mpp=row["mpp"],
            metadata={k: v for k, v in row.items() if k not in _FIXED},
        )


def plan_backbone(
    store: Store,
    record: DatasetRecord,
    samples: Samples,
    problems: Sequence[dict[str, Any]],
    backbone: ResolvedBackbone,
    precision: str,
    copy: bool,
) -> BackbonePlan:
    """Find what is missing for a network.

    Parameters
    ----------
    problems : sequence of dict
        Samples known to be bad (``id``), everywhere or for the feature table that ``stage`` names.
    copy : bool
        Copy vectors of the same content from under another id, or from another dataset.
    """
    everywhere = store.feature_tables()
    tables = []
    for layer in backbone.chosen:
        channels = backbone.preprocess.channels or record.channels
        plan = TablePlan(layer, backbone.spec(layer, channels, precision), backbone.info(layer))
        address = f"{backbone.name}/{layer.name}"
        same_layer = [t for t in everywhere if t.dataset == record.name and t.address == address]
        plan.table = next((t for t in same_layer if t.fingerprint == plan.fingerprint), None)
        others = [t for t in same_layer if t.fingerprint != plan.fingerprint]
        plan.differences = [f"@{t.fingerprint}: " + "; ".join(spec_differences(t.spec, plan.spec)) for t in others]
        stages = {"ingest", "extract", plan.table.name if plan.table else ""}
        bad = {problem["id"] for problem in problems if problem["stage"] in stages}
        _find_missing(store, plan, samples, bad)
        if copy:
            sources = [t for t in everywhere if t.fingerprint == plan.fingerprint]
            _copy_known(store, record.name, plan, samples, sources)
        tables.append(plan)
    return BackbonePlan(backbone, tables)


def _find_missing(store: Store, plan: TablePlan, samples: Samples, bad: set[str]) -> None:
    stored = stored_keys(store.database, plan.table) if plan.table else set()
    for position, (sample_id, content) in enumerate(zip(samples.ids, samples.contents, strict=True)):
        if sample_id in bad or content is None:
            continue
        if row_key(sample_id, content) in stored:
            plan.cached += 1
        else:
            plan.missing.setdefault(content, []).append(position)


def _copy_known(store: Store, dataset: str, plan: TablePlan, samples: Samples, sources: Sequence[FeatureTable]) -> None:
    for source in sources:
        if not plan.missing:
            return
        for known in vectors_by_content(store.database, source, set(plan.missing)):
            if plan.table is None:
                plan.table = store.create_feature_table(dataset, plan.spec, source.width, dict(source.info))
            positions = [(p, content) for content in known for p in plan.missing.pop(content)]
            ids = [samples.ids[p] for p, _ in positions]
            contents = [content for _, content in positions]
            insert_vectors(store.database, plan.table, ids, contents, [known[c] for c in contents])
            plan.copied += len(positions)
