"""``histokit export`` and ``histokit list samples``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from histokit import console, options
from histokit.commands import LOOK, Entry
from histokit.errors import counted


def export(
    dataset: options.Dataset,
    features: options.Features,
    out: Annotated[
        str, typer.Option(metavar="FILE", help="A .parquet, .csv, .npz or .h5ad file; with --layout a folder.")
    ],
    where: options.Where = None,
    normalise: options.Normalise = None,
    controls: options.Controls = None,
    per: options.Per = None,
    allow_missing: options.AllowMissing = False,
    raw: options.Raw = False,
    layout: Annotated[
        str | None,
        typer.Option(metavar="trident|stamp", help="An .h5 file for each slide, as one of these programs reads it."),
    ] = None,
) -> None:
    """Write features to a file for other programs.

    The file holds ids, labels, groups, metadata, one column for each feature, and where each column comes from.
    With --layout, each slide has a file of its own. Prints the path.
    """
    from histokit.features.export import check_suffix, export_features, open_for_export
    from histokit.features.slide_files import check_layout, export_slides

    if layout is None:
        check_suffix(Path(out))
    else:
        check_layout(layout)
    asked = {"normalise": normalise, "controls": controls, "per": per}
    found, notes = open_for_export(
        console.open_store(), dataset, features, where=where, allow_missing=allow_missing, **asked
    )
    for note in notes:
        console.warn(note)
    path = export_features(found, out, raw=raw) if layout is None else Path(out)
    slides = [] if layout is None else export_slides(found, out, layout)
    if layout is not None:
        console.note(counted(len(slides), "slide", "slides"))
    size = f"{counted(len(found), 'sample', 'samples')} × {counted(found.X.shape[1], 'feature', 'features')}"
    console.note(f"{size} of {found.address}")
    document: dict[str, object] = {"file": str(path), "dataset": dataset, "address": found.address}
    document |= {"layout": layout, "files": list(map(str, slides))} if layout is not None else {}
    console.emit(str(path), {**document, "samples": len(found), "columns": found.X.shape[1]})


def list_samples(
    dataset: options.Dataset,
    where: options.Where = None,
    limit: options.Limit = None,
) -> None:
    """List the samples of a dataset: label, group, image.

    With --json, all that is known of each.
    """
    from histokit.features.listing import list_samples as run

    store = console.existing_store()
    documents, count = run(store, dataset, where=where, limit=limit)
    group = store.dataset(dataset).group
    optional = [name for name in ("part", "box", "image") if any(d[name] is not None for d in documents)]
    columns = ["id", "label", *([group] if group else []), *optional]
    document = {"dataset": dataset, "group": group, "count": count, "samples": documents}
    empty = None if count else f"No samples of {dataset}{' that the filter keeps' if where else ''}."
    console.table(columns, [[d[name] for name in columns] for d in documents], document, empty=empty)
    if len(documents) < count:
        console.note(f"{len(documents)} of {count} samples are shown")


#: The commands of this room.
COMMANDS = (
    Entry("", "export", export, LOOK),
    Entry("list", "samples", list_samples),
)
