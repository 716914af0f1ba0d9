"""The plan of an extraction, which does not change: which tables a network fills, and what is known of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from histokit.errors import PluginError, some
from histokit.networks.resolved import ResolvedBackbone
from histokit.plugin import Layer
from histokit.store import DatasetRecord
from histokit.store.fingerprints import spec_differences, spec_fingerprint, table_name
from histokit.store.vectors import FeatureTable, store_dtype


@dataclass(frozen=True)
class TablePlan:
    """One feature table that a network fills.

    Parameters
    ----------
    dataset : str
    layer : Layer
    spec, info : mapping
        Of the table, be it there or not.
    code : str
        Of the network's plugin as it is now.
    there : FeatureTable, optional
        It, where it is there.
    sources : tuple of FeatureTable
        Tables of any dataset that hold vectors of the same spec: what they have is copied.
    differences : tuple of str
        Fields in which other tables of the same layer differ.
    anew : bool
        Whether it takes the place of the one that is there, with its first vectors; neither that one nor `sources` are
        known then.
    """

    dataset: str
    layer: Layer
    spec: Mapping[str, Any]
    info: Mapping[str, Any]
    code: str = ""
    there: FeatureTable | None = None
    sources: tuple[FeatureTable, ...] = ()
    differences: tuple[str, ...] = ()
    anew: bool = False

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the spec."""
        return spec_fingerprint(self.spec)

    @property
    def address(self) -> str:
        """The feature address; with fingerprint where the layer has other tables as well."""
        mark = f"@{self.fingerprint}" if self.differences else ""
        return f"{self.spec['backbone']}/{self.layer.name}{mark}"

    @cached_property
    def name(self) -> str:
        """The name of the table, whether it is there or not."""
        return table_name(self.dataset, str(self.spec["backbone"]), self.layer.name, self.fingerprint)

    @cached_property
    def dtype(self) -> str:
        """What its vectors are stored as: ``float32`` or ``float16``."""
        return store_dtype(self.spec)

    @property
    def edited(self) -> bool:
        """Whether the code of the network's plugin is another than when the table was made."""
        made_by = self.there.info.get("code", "") if self.there else ""
        return bool(made_by and self.code and made_by != self.code)


@dataclass(frozen=True)
class BackbonePlan:
    """The tables that one network fills.

    Parameters
    ----------
    backbone : ResolvedBackbone
    tables : tuple of TablePlan
    engine : str
        What runs it: ``torch``; ``inductor``, which is torch's compiler; or ``openvino``.
    """

    backbone: ResolvedBackbone
    tables: tuple[TablePlan, ...]
    engine: str = "torch"

    @property
    def warnings(self) -> list[str]:
        """What is to be known of tables that an earlier state of the plugin filled."""
        edited = [table.address for table in self.tables if table.edited]
        raised = "raise `version` of the backbone, and they are made anew"
        return [f"{self._other_code(edited)}: where other vectors come out now, {raised}."] if edited else []

    def _other_code(self, edited: Sequence[str]) -> str:
        return f"The code of {self.backbone.plugin} is not the one that made {some(list(edited), 3)}"

    def mixed(self, tables: Sequence[str]) -> str | None:
        """Return what is to be known of tables to which CUDA adds, whose vectors it made of other grey levels before.

        Parameters
        ----------
        tables : sequence of str
            The addresses of those that were begun before.
        """
        preprocess = self.backbone.preprocess
        resizes = preprocess.interpolation != "nearest" and (preprocess.resize, preprocess.target_mpp) != ("none", None)
        if not tables or not resizes:
            return None
        return (
            f"{some(list(tables), 3)}: begun by an earlier version, whose resizing on CUDA was not the processor's "
            "(cosine of vectors down to 0.999): what CUDA made of images then and what it makes now stand in one "
            "table; to have all of them anew, add --force"
        )

    def check_code(self, tables: Collection[TablePlan]) -> None:
        """Raise where vectors would be added to those of an earlier state of the plugin.

        Raises
        ------
        PluginError
        """
        mixed = [table.address for table in tables if table.edited]
        if mixed:
            raise PluginError(
                f"{self._other_code(mixed)}, so that vectors of two networks would stand in one table.",
                next="Raise `version` of the backbone, and all are made anew; or bring back the code of before.",
            )


def plan_backbone(
    everywhere: Collection[FeatureTable],
    record: DatasetRecord,
    backbone: ResolvedBackbone,
    *,
    precision: str,
    store_dtype: str,
    engine: str,
    anew: bool = False,
) -> BackbonePlan:
    """Plan the tables of a network.

    Parameters
    ----------
    everywhere : collection of FeatureTable
        Those of all datasets.
    anew : bool
        Whether what is there is to be replaced.
    """
    tables = []
    for layer in backbone.chosen:
        channels = backbone.preprocess.channels or record.channels
        spec = backbone.spec(layer, channels, precision, store_dtype, engine)
        fingerprint, address = spec_fingerprint(spec), f"{backbone.name}/{layer.name}"
        same_layer = [t for t in everywhere if t.dataset == record.name and t.address == address]
        others = [t for t in same_layer if t.fingerprint != fingerprint]
        tables.append(
            TablePlan(
                record.name,
                layer,
                spec,
                backbone.info(layer),
                backbone.code,
                next((t for t in same_layer if t.fingerprint == fingerprint and not anew), None),
                tuple(t for t in everywhere if t.fingerprint == fingerprint and not anew),
                tuple(f"@{t.fingerprint}: " + "; ".join(spec_differences(t.spec, spec)) for t in others),
                anew,
            )
        )
    return BackbonePlan(backbone, tuple(tables), engine)
