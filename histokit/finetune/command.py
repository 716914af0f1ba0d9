"""``histokit presets list`` and ``presets show``."""

from __future__ import annotations

from typing import Annotated

import typer

from histokit import completion, console
from histokit.commands import Entry
from histokit.errors import UsageError
from histokit.layout import prose


def list_presets() -> None:
    """List recipes for training networks, also of plugins."""
    from histokit.finetune.presets import load_preset, preset_names

    presets = [load_preset(name) for name in preset_names()]
    documents = [
        {"name": p.name, "backbone": p.backbone, "description": p.description, "reference": p.reference}
        for p in presets
    ]
    rows = [[p.name, p.backbone or "any", prose(p.description)] for p in presets]
    console.table(["name", "backbone", "description"], rows, {"presets": documents})


def show_preset(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A preset, or a file such as FILE.toml.", autocompletion=completion.presets
        ),
    ],
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Show its form for random weights instead.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="Show the values at their defaults, too.")] = False,
    toml: Annotated[bool, typer.Option("--toml", help="Print its file instead, to copy and edit.")] = False,
) -> None:
    """Show the values of a preset, and where each comes from.

    What is marked as assumed is not stated where the preset is from. The keys are those by which values are changed.
    """
    from histokit.finetune.presets import load_preset
    from histokit.finetune.recipe_values import as_text

    if toml and (console.state.json or every or from_scratch):
        raise UsageError("--toml prints the file as it is.", next="Leave out --json, --all and --from-scratch.")
    preset = load_preset(name, from_scratch=from_scratch)
    if toml:
        console.emit(preset.text.rstrip("\n"), None)
        return
    rows = [[key, as_text(value), prose(source)] for key, value, source in preset.rows(every)]
    title = ". ".join(filter(None, (preset.description, preset.reference)))
    console.table(["key", "value", "source"], rows, preset.to_json(), title=title or None)


#: The commands of this room.
COMMANDS = (
    Entry("presets", "list", list_presets),
    Entry("presets", "show", show_preset),
)
