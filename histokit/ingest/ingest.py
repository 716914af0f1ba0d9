"""Ingestion: a dataset plugin's samples and splits are written to the store; no pixel is decoded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from histokit.datasets.walk import as_text
from histokit.errors import DataError, HistokitError, PluginError, StoreError, UsageError
from histokit.features.feature_store import StoreLike, open_store
from histokit.ingest.dataset_record import alike_in, check_name, make_record
from histokit.ingest.file_digests import FileDigests
from histokit.ingest.published_counts import differences
from histokit.ingest.replacing import check_moved, check_plugin, forget_outdated
from histokit.ingest.samples import SampleTable
from histokit.plugin import Dataset, PublishedSplit
from histokit.plugin.declared import plain
from histokit.plugin.digests import canonical_json
from histokit.plugin.guarded import READ_BY, Guarded
from histokit.plugin.manager import registry
from histokit.plugin.reader_marks import READER_REVISION
from histokit.protocol.named_split import replaced_notes
from histokit.protocol.scorers import check_metric
from histokit.store import DatasetRecord, Split, Store
from histokit.store.commits import NewerFormatError
from histokit.store.split_records import split_rows

#: What of a dataset decides on runs, and what is in none of its samples.
_FACTS = ("classes", "positive", "metric", "channels", "group", "levels")


def ingest(
    store: StoreLike,
    plugin: str | Dataset,
    root: str | Path = ".",
    *,
    name: str,
    options: Mapping[str, Any] | None = None,
    rehash: bool = False,
    replace: bool = False,
    progress: Callable[..., None] = lambda *_: None,
) -> DatasetRecord:
    """Write a dataset's samples and published splits to the store.

    Ingesting again under the same name reads only files whose size or modification time changed;
    features stay valid for every sample whose pixels are the same. Data may have moved to another root; other data
    take the place of those that are there only where that is asked for.

    Parameters
    ----------
    store : FeatureStore or path
    plugin : str or Dataset
        Name of a dataset plugin, or a dataset that was made in Python; its images are read later by what is registered
        under its name, with its options.
    root : path
        Folder of the data.
    name : str
        What the dataset is called from now on: letters, digits, ``_`` and ``-``.
    options : mapping, optional
        Options of the plugin; texts are converted.
    rehash : bool
        Read every file again.
    replace : bool
        Put these data in the place of others of the same name: of another plugin, or in another root that holds less
        than half of their images.
    progress : callable, optional
        Called with (done, total, detail).

    Raises
    ------
    DataError, PluginError, UsageError
    """
    store = open_store(store)
    check_name(name)
    dataset = plugin if isinstance(plugin, Dataset) else registry().make_dataset(plugin, root, options or {})
    guarded = Guarded(dataset)
    guarded.check()
    if isinstance(plugin, Dataset):
        _refuse_other_reading(dataset)
    before = store.find_dataset(name)
    _check_path(guarded.resolve_root())
    try:
        check_metric(dataset.metric)
    except UsageError as error:
        raise guarded.mistake("metric", error) from error
    if before is not None and not replace:
        check_plugin(before, dataset)
    guarded.fit()
    digests = FileDigests(dataset, None if rehash else _known_files(store, name, dataset), store.uri)
    table = SampleTable(dataset, digests, store.uri)
    with table.rows as rows, digests.rows:
        table.collect(name, progress)
        if before is not None and not replace:
            check_moved(store, before, dataset, rows)
        splits = _splits(name, table)  # first, for it may warn
        former = {} if before is None else store.split_headers(name)
        record = _record(name, dataset, table)
        kept = store.save_dataset(record, rows, digests.to_rows(), splits, table.problem_table(), before)
    if before is not None:
        forget_outdated(store, name, before.root != record.root)
    told = [note for split in splits for note in replaced_notes(store, split, former.get(split.name))]
    return dataclasses.replace(kept, warnings=(*kept.warnings, *told)) if told else kept


def _refuse_other_reading(dataset: Dataset) -> None:
    """Raise where images would be read otherwise than by a dataset that was made in Python.

    Its class may be derived from the one that is registered under its name, or its attributes set from outside.
    """
    try:
        opened = registry().make_dataset(dataset.name, dataset.root, dataset.options)
    except HistokitError:
        # Told where images are read; what is done without them goes on.
        return
    differing = [] if _are_alike(type(opened).read, type(dataset).read) else ["read()"]
    differing += [name for name in READ_BY if plain(getattr(opened, name)) != plain(getattr(dataset, name))]
    if differing:
        raise PluginError(
            f"The images of this {type(dataset).__name__!r} would be read by the dataset plugin {dataset.name!r}, which"
            f" has another {' and another '.join(differing)}.",
            next="Register its class as a plugin, with a name of its own and what it needs in its constructor.",
        )


def _are_alike(one: Any, other: Any) -> bool:
    """Return whether two methods are one, or the same lines of a file that was loaded twice, such as by `reload`."""
    names = [method.__qualname__ for method in (one, other) if hasattr(method, "__code__")]
    if one is other or len(names) < 2:
        return one is other
    files = one.__code__.co_filename, other.__code__.co_filename
    # What is made by a function may differ in what that was given.
    return one.__code__ == other.__code__ and len({*names}) == len({*files}) == 1 and "<locals>" not in names[0]


def _check_path(root: Path) -> None:
    try:
        str(root).encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"The path of the folder {as_text(str(root))!r} is not valid UTF-8, so that it cannot be stored.",
            next="Rename the folder.",
        ) from error


def _known_files(store: Store, name: str, dataset: Dataset) -> pa.Table | None:
    """Return the files of an earlier ingestion of the same folder by the same plugin; other digests say nothing."""
    before = store.find_dataset(name)
    now = (dataset.name, dataset.version, str(dataset.root))
    if before is None or (before.plugin, before.plugin_version, before.root) != now:
        return None
    return _remembered(store, name)


def _remembered(store: Store, name: str) -> pa.Table | None:
    """Return the files of an earlier ingestion; none where they are damaged, for they only save reading."""
    try:
        return store.files(name)
    except NewerFormatError:
        raise
    except StoreError:
        return None


def ingested_as(store: Store, name: str, dataset: Dataset) -> bool:
    """Return whether `ingest` would change nothing: same plugin, root, options, state, samples, files and splits.

    Files are taken as the same where size and time of change are.

    Parameters
    ----------
    store : Store
    name : str
    dataset : Dataset
    """
    before = store.find_dataset(name)
    if before is None:
        return False
    known = (before.plugin, before.plugin_version, before.root, before.options)
    if known != (dataset.name, dataset.version, str(dataset.root.resolve()), _plain_options(dataset)):
        return False
    try:
        # Statistics may be over files that no sample has, such as those of controls.
        if canonical_json(Guarded(dataset).fit()) != canonical_json(before.state):
            return False
        table = SampleTable(dataset, FileDigests(dataset, _remembered(store, name), store.uri), store.uri)
        with table.rows, table.digests.rows:
            found = table.collect(name, lambda *_: None).to_table()
            published = [split.header() for split in _splits(name, table)]
            record = _record(name, dataset, table)
    except HistokitError:
        return False
    if any(getattr(record, fact) != getattr(before, fact) for fact in _FACTS) or published != before.published:
        return False
    stored = store.samples(name, found.column_names)
    return stored.replace_schema_metadata().sort_by("id").equals(found.replace_schema_metadata().sort_by("id"))


def _plain_options(dataset: Dataset) -> dict[str, Any]:
    return {key: plain(value) for key, value in dataset.options.items()}


def _record(name: str, dataset: Dataset, table: SampleTable) -> DatasetRecord:
    rows = table.rows
    classes = dataset.classes or sorted(label for label in table.labels if label is not None)
    if dataset.positive is not None and dataset.positive not in classes:
        error = UsageError(
            f"The positive class {dataset.positive!r} is not among the classes {', '.join(classes)}.",
            next="Name one of them.",
        )
        raise table.guarded.mistake("positive", error)
    entry = registry().datasets.get(dataset.name, [])
    return make_record(
        name,
        rows,
        plugin=dataset.name,
        plugin_version=dataset.version,
        distribution=entry[0].distribution if entry else "none",
        root=str(dataset.root),
        options=_plain_options(dataset),
        classes=dataset.classes,
        positive=dataset.positive,
        metric=dataset.metric,
        channels=tuple(dataset.channels),
        group=dataset.group,
        levels=dataset.levels,
        state=dataset.state,
        warnings=(
            *(text.replace("histokit split DATASET", f"histokit split {name}") for text in table.guarded.warnings()),
            *table.digests.warnings(),
            *differences(table.guarded, rows),
            *alike_in(rows, dataset.group, dataset.levels),
        ),
        problems=len(table.problems),
        reader=READER_REVISION,
        licence=dataset.licence,
        citation=dataset.citation,
        expected=plain(dict(dataset.expected)),
    )


def _splits(name: str, table: SampleTable) -> list[Split]:
    published = table.guarded.splits(table.ids).items()
    return [_published(name, table.dataset, order, split, rows) for order, (split, rows) in enumerate(published)]


def _published(name: str, dataset: Dataset, order: int, split: str, published: PublishedSplit) -> Split:
    rows = split_rows(published.rows)
    group = published.group if published.leaks else published.group or dataset.group
    # The first one that does not leak is the default, so the order counts.
    params = {"order": order, **({"notes": list(published.notes)} if published.notes else {})}
    return Split(name, split, rows, group=group, leaks=published.leaks, source="published", params=params)
