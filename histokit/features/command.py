"""``histokit export`` and ``histokit import-features``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from histokit import console, options
from histokit.errors import some


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


def import_features(
    dataset: options.Dataset,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .parquet, .csv, .tsv, .npz or .h5ad file.")],
    name: Annotated[str, typer.Option(metavar="NAME", help="What made the vectors.")],
    version: Annotated[str, typer.Option(metavar="V", help="Which version of it.")],
    layer: Annotated[str, typer.Option(metavar="L", help="The vectors are called NAME/L.")] = "imported",
    id: Annotated[str, typer.Option(metavar="COLUMN", help="The column of sample ids.")] = "id",
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Go on although samples have no vector.")
    ] = False,
    create: Annotated[
        bool, typer.Option("--create", help="Make the dataset, one without images, from the file.")
    ] = False,
    label: Annotated[
        str | None, typer.Option(metavar="COL", help="With --create, the labels. [default: label, where it is there]")
    ] = None,
    group: Annotated[
        str | None, typer.Option(metavar="COL", help="With --create, the column that no fold may cut through.")
    ] = None,
    level: Annotated[
        list[str] | None,
        typer.Option(metavar="COL", help="With --create, the units of samples, fine to coarse: well, treatment."),
    ] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(metavar="COL", help="A column of numbers that is no feature, or a pattern: 'Image_*'."),
    ] = None,
) -> None:
    """Bring in vectors that were computed elsewhere.

    The vectors are all numeric columns of the file, or its one column of lists; columns named Metadata_… and those
    of --metadata describe the samples. Prints their address.
    """
    from histokit.features.imports import import_features as run

    store = console.open_store()
    with console.progress("Importing") as report:
        done = run(
            store,
            dataset,
            file,
            name=name,
            version=version,
            layer=layer,
            id=id,
            allow_missing=allow_missing,
            create=create,
            label=label,
            group=group,
            levels=level or (),
            metadata=metadata or (),
            progress=report,
        )
    (address,) = store.addresses(dataset, f"{done.address}@{done.fingerprint}")
    console.note(f"{done.inserted} vectors of {done.width} numbers are new; {done.samples} samples")
    if len(done.columns) > 1:
        console.note(f"they are the columns {done.columns[0]} to {done.columns[-1]}")
    if done.apart:
        from shlex import quote

        console.warn(
            f"columns of numbers apart from the others are features too: {some(done.apart)}; where they are none, add "
            f"{' '.join(f'--metadata {quote(name)}' for name in done.apart[:3])}"
        )
    for note in done.notes:
        console.warn(note)
    if create and not store.dataset(dataset).group:
        console.warn(
            "without groups: folds may put samples of one compound or patient both in training and in test (--group)"
        )
    if done.missing:
        console.warn(f"{done.missing} samples have no vector")
    console.emit(address, {**done.to_json(), "address": address})
