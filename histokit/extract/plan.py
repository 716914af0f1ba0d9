"""The plan of an extraction: which vectors are missing, and which can be copied."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from histokit.errors import PluginError, StoreError, some
from histokit.extract.claims import Claim
from histokit.extract.samples import Samples
from histokit.networks.resolved import ResolvedBackbone
from histokit.plugin import Layer
from histokit.store import DatasetRecord, Store
from histokit.store.digest_columns import GrowingKeys, stream, take_vectors
from histokit.store.fingerprints import spec_differences, spec_fingerprint, table_name
from histokit.store.vectors import FeatureTable, insert_vectors, read_header

_COPIED_AT_ONCE = 4_096


@dataclass
class TablePlan:
    """What is missing in one feature table.

    Parameters
    ----------
    layer : Layer
    spec, info : dict
    missing : (samples,) bool array
        Samples that lack a vector which is not on its way.
    table : FeatureTable, optional
        None until the network told the width of its vectors.
    keys : GrowingKeys, optional
        Of the table.
    open : bool
        Whether the network has to run for it.
    cached, copied : int
        Numbers of samples.
    differences : list of str
        Fields in which other tables of the same layer differ.
    edited : bool
        Whether the code of the network's plugin is another than when the table was made.
    resized_otherwise : bool
        Whether it, or a table that vectors were copied from, was made when CUDA resized images to other grey levels.
    """

    layer: Layer
    spec: dict[str, Any]
    info: dict[str, Any]
    missing: npt.NDArray[np.bool_]
    table: FeatureTable | None = None
    keys: GrowingKeys | None = None
    open: bool = False
    cached: int = 0
    copied: int = 0
    differences: list[str] = field(default_factory=list)
    edited: bool = False
    resized_otherwise: bool = False

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the spec."""
        return spec_fingerprint(self.spec)

    @property
    def address(self) -> str:
        """The feature address; with fingerprint where the layer has other tables as well."""
        mark = f"@{self.fingerprint}" if self.differences else ""
        return f"{self.spec['backbone']}/{self.layer.name}{mark}"

    def name(self, dataset: str) -> str:
        """Return the name of the table, whether it is there or not."""
        return table_name(dataset, str(self.spec["backbone"]), self.layer.name, self.fingerprint)

    def use(self, store: Store, table: FeatureTable) -> None:
        """Take a table that is there."""
        # In this order, because another thread may look whether the table is there.
        self.keys = GrowingKeys(store.database, table.name)
        self.table = table
        self.resized_otherwise |= "cuda_resizing" not in table.info

    def made(self, store: Store, dataset: str, width: int) -> tuple[FeatureTable, GrowingKeys]:
        """Return the table, made where it is not there."""
        if self.table is None:
            self.use(store, store.create_feature_table(dataset, self.spec, width, self.info))
        assert self.table is not None
        assert self.keys is not None
        return self.table, self.keys

    def expect_width(self, width: int) -> None:
        """Raise where vectors of the network are of another length than those that are there.

        Raises
        ------
        StoreError
        """
        if self.table is not None and self.table.width != width:
            raise StoreError(
                f"The network gives vectors of {width} numbers for {self.address}; those in the store have "
                f"{self.table.width}: it is another network now, under the same name and version.",
                next="Raise `version` of the backbone in its plugin, and all vectors are made anew under it; or undo "
                "the change.",
            )

    def refresh(self, store: Store, dataset: str, samples: Samples) -> None:
        """Take note of the rows that were not there at the last look."""
        if self.table is None:
            name = self.name(dataset)
            if not store.database.exists(name):
                return
            self.use(store, read_header(store.database, name))
        assert self.keys is not None
        for keys in self.keys.unread():
            _, positions = samples.keys.find(keys)
            self.cached += int(self.missing[positions].sum())
            self.missing[positions] = False


@dataclass
class Job:
    """The samples of one content whose vectors a network is about to give.

    Parameters
    ----------
    claim : Claim
        What it is part of.
    members : list of (position, id)
    """

    claim: Claim
    members: list[tuple[int, str]]


@dataclass
class BackbonePlan:
    """The tables that one network fills.

    Parameters
    ----------
    backbone : ResolvedBackbone
    tables : list of TablePlan
    jobs : dict
        What the network was given and did not give back yet, by content.
    pushed, seconds : int, float
        Images that went through it, and its part of the time that all took.
    engine : str
        What runs it: ``torch``; ``inductor``, which is torch's compiler; or ``openvino``.
    """

    backbone: ResolvedBackbone
    tables: list[TablePlan]
    jobs: dict[bytes, Job] = field(default_factory=dict)
    pushed: int = 0
    seconds: float = 0.0
    engine: str = "torch"

    @property
    def notes(self) -> list[str]:
        """What is to be known of the weights."""
        return list(self.backbone.notes)

    @property
    def warnings(self) -> list[str]:
        """What is to be known of tables that an earlier state of the plugin filled."""
        edited = [table.address for table in self.tables if table.edited]
        raised = "raise `version` of the backbone, and they are made anew"
        return [f"{self._other_code(edited)}: where other vectors come out now, {raised}."] if edited else []

    def _other_code(self, edited: Sequence[str]) -> str:
        return f"The code of {self.backbone.plugin} is not the one that made {some(list(edited), 3)}"

    def mixed_on(self, device: str) -> list[str]:
        """Return what is to be known of tables whose vectors CUDA may have made of other grey levels before.

        Parameters
        ----------
        device : str
            The type of the one that fills them now.
        """
        preprocess = self.backbone.preprocess
        resizes = preprocess.interpolation != "nearest" and (preprocess.resize, preprocess.target_mpp) != ("none", None)
        mixed = [table.address for table in self.open_tables if table.resized_otherwise and resizes]
        if device != "cuda" or not mixed:
            return []
        return [
            f"{some(mixed, 3)}: begun by an earlier version, whose resizing on CUDA was not the processor's (cosine of "
            "vectors down to 0.999): what CUDA made of images then and what it makes now stand in one table; to have "
            "all of them anew, extract into another --store"
        ]

    def check_code(self) -> None:
        """Raise where vectors would be added to those of an earlier state of the plugin.

        Raises
        ------
        PluginError
        """
        mixed = [table.address for table in self.open_tables if table.edited]
        if mixed:
            raise PluginError(
                f"{self._other_code(mixed)}, so that vectors of two networks would stand in one table.",
                next="Raise `version` of the backbone, and all are made anew; or bring back the code of before.",
            )

    @property
    def open_tables(self) -> list[TablePlan]:
        """The tables for which the network has to run."""
        return [table for table in self.tables if table.open]

    def needs(self, content: bytes) -> bool:
        """Return whether an image of this content, which was just read, has to go through the network."""
        return content in self.jobs

    def images(self, samples: Samples) -> npt.NDArray[np.bool_]:
        """Return for which samples the network has to run; of those of one content, for the first."""
        lacking = np.zeros(samples.count, dtype=bool)
        for table in self.open_tables:
            lacking |= table.missing
        return samples.twins.led(lacking)


def plan_backbone(
    store: Store,
    record: DatasetRecord,
    samples: Samples,
    problems: Sequence[dict[str, Any]],
    backbone: ResolvedBackbone,
    precision: str,
    store_dtype: str,
    engine: str,
    copy: bool,
) -> BackbonePlan:
    """Find what is missing for a network.

    Parameters
    ----------
    problems : sequence of dict
        Samples known to be bad (``position``), everywhere or for the feature table that ``stage`` names.
    copy : bool
        Copy vectors of the same content from under another id, or from another dataset.
    """
    everywhere = store.feature_tables()
    tables = []
    for layer in backbone.chosen:
        channels = backbone.preprocess.channels or record.channels
        spec = backbone.spec(layer, channels, precision, store_dtype, engine)
        plan = TablePlan(layer, spec, backbone.info(layer), samples.usable.copy())
        address = f"{backbone.name}/{layer.name}"
        same_layer = [t for t in everywhere if t.dataset == record.name and t.address == address]
        others = [t for t in same_layer if t.fingerprint != plan.fingerprint]
        plan.differences = [f"@{t.fingerprint}: " + "; ".join(spec_differences(t.spec, plan.spec)) for t in others]
        own = [t for t in same_layer if t.fingerprint == plan.fingerprint]
        for table in own:
            plan.use(store, table)
        made_by = own[0].info.get("code", "") if own else ""
        plan.edited = bool(made_by and backbone.code and made_by != backbone.code)
        stages = {"ingest", "extract", plan.name(record.name)}
        plan.missing[[problem["position"] for problem in problems if problem["stage"] in stages]] = False
        plan.refresh(store, record.name, samples)
        if copy:
            _copy_known(store, record.name, plan, samples, [t for t in everywhere if t.fingerprint == plan.fingerprint])
        plan.open = bool(plan.missing.any())
        tables.append(plan)
    return BackbonePlan(backbone, tables, engine=engine)


def _copy_known(
    store: Store, dataset: str, plan: TablePlan, samples: Samples, sources: Collection[FeatureTable]
) -> None:
    for source in sources:
        if not plan.missing.any():
            return
        # One version for all reads, because merging fragments moves rows.
        version = store.database.table(source.name)
        start = 0
        for contents in stream(version, "content"):
            rows, positions = samples.contents.find(contents)
            wanted = plan.missing[positions]
            positions, first = np.unique(positions[wanted], return_index=True)
            rows = start + rows[wanted][first]
            start += len(contents)
            for piece in range(0, len(rows), _COPIED_AT_ONCE):
                here = slice(piece, piece + _COPIED_AT_ONCE)
                if plan.table is None:
                    plan.use(store, store.create_feature_table(dataset, plan.spec, source.width, dict(source.info)))
                assert plan.table is not None
                vectors = take_vectors(version, rows[here])
                insert_vectors(store.database, plan.table, *samples.names(positions[here]), vectors)
                plan.missing[positions[here]] = False
                plan.copied += len(positions[here])
                plan.resized_otherwise |= "cuda_resizing" not in source.info
