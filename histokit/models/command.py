"""``histokit export-model``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from histokit import completion, console
from histokit.commands import LOOK, Entry


def export_model(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A training run, or the beginning of its id.", autocompletion=completion.runs
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the model goes; made if it is not there.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a model that is there.")] = False,
) -> None:
    """Write a model as a folder that needs no store.

    The folder holds all weights as safetensors, the classifier, how images are prepared, how it was trained and what it
    scored, and a model card for the Hugging Face hub. `predict FOLDER DATASET` and `histokit.load_model` use it on
    another machine. Prints the folder.
    """
    from histokit.files import check_folder
    from histokit.models.card import licences
    from histokit.models.export import export_model as write_model
    from histokit.models.model_folder import read_description

    check_folder(out)
    path = write_model(console.existing_store(), run, out, force=force)
    document = read_description(path)
    for what, text in licences(document).items():
        console.note(f"Licence of the {what}: {text}")
    console.emit(str(path), {"folder": str(path), **document})


#: The commands of this room.
COMMANDS = (Entry("", "export-model", export_model, LOOK),)
