"""The table of a dataset's samples, checked against what the dataset declares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from math import inf
from typing import Any

import pyarrow as pa

from histokit.errors import DataError, PluginError, did_you_mean
from histokit.ingest.dataset_record import ARROW_TYPES
from histokit.ingest.file_digests import FileDigests
from histokit.plugin import Dataset, Sample
from histokit.plugin.calls import shown_value
from histokit.plugin.guarded import Guarded
from histokit.store.fingerprints import content_digest
from histokit.store.records import PROBLEM_SCHEMA, SAMPLE_FIELDS

_ROWS_PER_BATCH = 10_000


class SampleTable:
    """Collects the samples of a dataset, their content digests and what is wrong with them.

    Parameters
    ----------
    dataset : Dataset
    digests : FileDigests
    """

    def __init__(self, dataset: Dataset, digests: FileDigests):
        self.dataset = dataset
        self.guarded = Guarded(dataset)
        self.digests = digests
        self.schema = _schema(dataset)
        self.labels: Counter[str | None] = Counter()
        self.problems: list[dict[str, Any]] = []
        self._ids: set[str] = set()

    def collect(self, name: str, progress: Callable[..., None]) -> pa.Table:
        """Return all samples as one table.

        Raises
        ------
        DataError
            If there is no sample, an id comes twice, or a sample breaks what the dataset declares.
        """
        batches = []
        iterator = self._rows(name)
        while rows := list(islice(iterator, _ROWS_PER_BATCH)):
            batches.append(self._batch(rows))
            progress(len(self._ids), len(self._ids), f"{self.digests.read} files read")
        if not batches:
            raise DataError(
                f"The dataset in {self.dataset.root} has no samples.",
                next="Check the folder and the options of the plugin.",
            )
        return pa.Table.from_batches(batches, self.schema)

    def _rows(self, name: str) -> Iterator[dict[str, Any]]:
        for sample in self.digests.ahead(self.guarded.samples()):
            self._check(sample)
            states = [self.digests(path) for path in sample.image]
            reasons = [state.reason for state in states if state.digest is None]
            content = None
            if reasons:
                problem = {"dataset": name, "id": sample.id, "content": None, "stage": "ingest", "reason": reasons[0]}
                self.problems.append(problem)
            else:
                files = [state.digest or b"" for state in states]
                content = content_digest(files, sample.part, sample.box, self.guarded.pixel_key(sample), sample.mpp)
            self.labels[sample.label] += 1
            yield {
                "id": sample.id,
                "content": content,
                "image": list(sample.image),
                "part": sample.part,
                "box": list(sample.box) if sample.box is not None else None,
                "label": sample.label,
                "mpp": sample.mpp,
                **{column: sample.metadata.get(column) for column in self.dataset.columns},
            }

    def _check(self, sample: Sample) -> None:
        if sample.id in self._ids:
            raise DataError(f"The sample id {sample.id!r} comes twice.", next="Make the ids unique.")
        self._ids.add(sample.id)
        classes = self.dataset.classes
        if classes is not None and sample.label is not None and sample.label not in classes:
            raise DataError(
                f"The sample {sample.id!r} has the unknown label {sample.label!r}.",
                next=f"{did_you_mean(sample.label, classes)}The classes are: {', '.join(classes)}.",
            )
        if sample.mpp is not None and not 0 < sample.mpp < inf:
            given = "" if self.guarded.caller.ours else f" {self.guarded.caller.owner} gave it in samples()."
            raise DataError(
                f"The sample {sample.id!r} has {sample.mpp} micrometres per pixel.{given}",
                next="Give more than 0, or none.",
            )
        group = self.dataset.group
        if group is not None and sample.metadata.get(group) is None:
            raise DataError(
                f"The sample {sample.id!r} has no {group}, which is the dataset's group.",
                next=f"Give every sample a {group}, or name another group.",
            )

    def _batch(self, rows: list[dict[str, Any]]) -> pa.RecordBatch:
        """Return rows as a batch; where metadata are not what `columns` declares, the first that is not is named."""
        try:
            return pa.RecordBatch.from_pylist(rows, schema=self.schema)
        except Exception as error:
            for row in rows:
                for column, kind in self.dataset.columns.items():
                    if not _fits(row[column], self.schema.field(column).type):
                        value = f"{column}={shown_value(row[column])}"
                        what = f"the metadata {value}, which are not of the declared types ({kind.__name__})"
                        about = f"the sample {row['id']!r}"
                        raise self.guarded.caller.wrong("samples()", what, about) from error
            raise

    def problem_table(self) -> pa.Table:
        """Return the samples whose files cannot be read."""
        return pa.Table.from_pylist(self.problems, schema=PROBLEM_SCHEMA)


def _fits(value: Any, kind: pa.DataType) -> bool:
    try:
        pa.array([value], kind)
    except Exception:
        return False
    return True


def _schema(dataset: Dataset) -> pa.Schema:
    reserved = {field.name for field in SAMPLE_FIELDS}
    columns = []
    for name, kind in dataset.columns.items():
        if name in reserved or kind not in ARROW_TYPES or name.startswith("_"):
            kinds = ", ".join(k.__name__ for k in ARROW_TYPES)
            raise PluginError(
                f"The column {name!r} of type {getattr(kind, '__name__', kind)} cannot be stored.",
                next=f"Use a type of {kinds}, and none of the names {', '.join(sorted(reserved))}.",
            )
        columns.append(pa.field(name, ARROW_TYPES[kind]))
    wanted = [*([dataset.group] if dataset.group else []), *dataset.levels]
    for name in wanted:
        if name not in dataset.columns:
            raise PluginError(
                f"The group or level {name!r} is not among the dataset's columns.",
                next=f"{did_you_mean(name, dataset.columns)}The columns are: {', '.join(dataset.columns) or 'none'}.",
            )
    return pa.schema([*SAMPLE_FIELDS, *columns])
