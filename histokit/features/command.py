"""``histokit export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from histokit import console, options
from histokit.commands import LOOK, Entry


def export(
    dataset: options.Dataset,
    features: options.Features,
    out: Annotated[Path, typer.Option(metavar="FILE", help="A .parquet, .csv, .npz or .h5ad file.")],
    where: options.Where = None,
    allow_missing: options.AllowMissing = False,
    raw: options.Raw = False,
) -> None:
    """Write features to a file for other programs.

    The file holds ids, labels, groups, metadata, one column for each feature, and where each column comes from.
    Prints the file's path.
    """
    from histokit.features.export import check_suffix, export_features

    check_suffix(out)
    found = console.open_store().features(dataset, features, where=where, allow_missing=allow_missing)
    path = export_features(found, out, raw=raw)
    console.note(f"{len(found)} samples × {found.X.shape[1]} features of {found.address}")
    document = {"file": str(path), "dataset": dataset, "address": found.address}
    console.emit(str(path), {**document, "samples": len(found), "columns": found.X.shape[1]})


#: The commands of this room.
COMMANDS = (Entry("", "export", export, LOOK),)
