"""The table of a dataset's samples, checked against what the dataset declares."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any

import pyarrow as pa

from histokit.errors import DataError, PluginError, counted, did_you_mean
from histokit.ingest.dataset_record import ARROW_TYPES, refuse_twins
from histokit.ingest.file_digests import FileDigests
from histokit.ingest.sample_ids import SampleIds
from histokit.plugin import Dataset, Sample
from histokit.plugin.calls import shown_value
from histokit.plugin.guarded import Guarded
from histokit.plugin.names import is_stored_name
from histokit.store.fingerprints import content_digest
from histokit.store.records import PROBLEM_SCHEMA, SAMPLE_FIELDS
from histokit.store.spilled_rows import SpilledRows

_ROWS_PER_BATCH = 10_000

#: Objects that are made before Python looks for garbage. Samples leave none, and a look goes through all modules.
_OBJECTS = 20_000


class SampleTable:
    """Collects the samples of a dataset, their content digests and what is wrong with them.

    Parameters
    ----------
    dataset : Dataset
    digests : FileDigests
    store : Path
        Of the store, beside which there is room for many samples.
    """

    def __init__(self, dataset: Dataset, digests: FileDigests, store: Path):
        self.dataset = dataset
        self.guarded = Guarded(dataset)
        self.digests = digests
        self.schema, self._columns = _schema(dataset), dict(dataset.columns)
        self.rows = SpilledRows(self.schema, store)
        self.ids = SampleIds(self.rows)
        self.labels: Counter[str | None] = Counter()
        self.problems: list[dict[str, Any]] = []

    def collect(self, name: str, progress: Callable[..., None]) -> SpilledRows:
        """Return all samples as rows, to be closed by the caller.

        Raises
        ------
        DataError
            If there is no sample, an id comes twice, or a sample breaks what the dataset declares.
        """
        # Closed, so that no process goes on reading after an error, or Ctrl-C.
        with _few_looks_for_garbage(), closing(self.digests.ahead(self._checked())) as samples:
            while rows := list(islice(samples, _ROWS_PER_BATCH)):
                self.rows.add(self._batch(rows, [self._content(name, sample) for sample in rows]))
                progress(len(self.rows), len(self.rows), f"samples, {counted(self.digests.read, 'file', 'files')} read")
        if not len(self.rows):
            raise DataError(
                f"The dataset in {self.dataset.root} has no samples.",
                next="Check the folder and the options of the plugin.",
            )
        return self.rows

    def _checked(self) -> Iterator[Sample]:
        try:
            for sample in self.guarded.samples():
                self._check(sample)
                yield sample
        except Exception:
            # An id that came twice before is what went wrong first.
            self.ids.check()
            raise
        self.ids.check()

    def _content(self, name: str, sample: Sample) -> bytes | None:
        files = [digest for path in sample.image if (digest := self.digests.digest(path)) is not None]
        if len(files) < len(sample.image):
            states = map(self.digests, sample.image)
            reason = next(state.reason for state in states if state.digest is None)
        else:
            try:
                part = self.guarded.part_digest(sample)
            except DataError as error:
                reason = error.line
            else:
                pieces = files if part is None else [part]
                return content_digest(pieces, sample.part, sample.box, self.guarded.pixel_key(sample), sample.mpp)
        problem = {"dataset": name, "id": sample.id, "content": None, "stage": "ingest", "reason": reason}
        self.problems.append(problem)
        return None

    def _check(self, sample: Sample) -> None:
        self.ids.add(sample.id)
        classes = self.dataset.classes
        if classes is not None and sample.label is not None and sample.label not in classes:
            raise DataError(
                f"The sample {sample.id!r} has the unknown label {sample.label!r}.",
                next=f"{did_you_mean(sample.label, classes)}The classes are: {', '.join(classes)}."
                + self._all_classes(),
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

    def _all_classes(self) -> str:
        """Return what to do where the user named the classes."""
        if "classes" not in self.dataset.options:
            return ""
        return " Name all of them in -o classes=, or leave it out; --where of later commands leaves samples out."

    def _batch(self, samples: Sequence[Sample], contents: Sequence[bytes | None]) -> pa.RecordBatch:
        """Return samples as a batch; where metadata are not what `columns` declares, the first that is not is named."""
        self.labels.update(sample.label for sample in samples)
        columns: dict[str, list[Any]] = {
            "id": [sample.id for sample in samples],
            "content": list(contents),
            "image": [sample.image for sample in samples],
            "part": [sample.part for sample in samples],
            "box": [sample.box for sample in samples],
            "label": [sample.label for sample in samples],
            "mpp": [sample.mpp for sample in samples],
            **{column: [sample.metadata.get(column) for sample in samples] for column in self._columns},
        }
        try:
            return pa.RecordBatch.from_pydict(columns, schema=self.schema)
        except Exception as error:
            for sample in samples:
                for column, kind in self._columns.items():
                    if not _fits(sample.metadata.get(column), self.schema.field(column).type):
                        value = f"{column}={shown_value(sample.metadata.get(column))}"
                        what = f"the metadata {value}, which are not of the declared types ({kind.__name__})"
                        raise self.guarded.caller.wrong("samples()", what, f"the sample {sample.id!r}") from error
            raise

    def problem_table(self) -> pa.Table:
        """Return the samples whose files cannot be read."""
        return pa.Table.from_pylist(self.problems, schema=PROBLEM_SCHEMA)


@contextmanager
def _few_looks_for_garbage() -> Iterator[None]:
    before = gc.get_threshold()
    # 0: none at all, by whoever started this process.
    gc.set_threshold(before[0] and max(before[0], _OBJECTS), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


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
        if name in reserved or kind not in ARROW_TYPES or not is_stored_name(name):
            kinds = ", ".join(k.__name__ for k in ARROW_TYPES)
            raise PluginError(
                f"The column {name!r} of type {getattr(kind, '__name__', kind)} cannot be stored.",
                next=f"Use a type of {kinds}, and none of the names {', '.join(sorted(reserved))}.",
            )
        columns.append(pa.field(name, ARROW_TYPES[kind]))
    refuse_twins(dataset.columns, f"The dataset in {str(dataset.root)!r}")
    wanted = [*([dataset.group] if dataset.group else []), *dataset.levels]
    for name in wanted:
        if name not in dataset.columns:
            raise PluginError(
                f"The group or level {name!r} is not among the dataset's columns.",
                next=f"{did_you_mean(name, dataset.columns)}The columns are: {', '.join(dataset.columns) or 'none'}.",
            )
    return pa.schema([*SAMPLE_FIELDS, *columns])
