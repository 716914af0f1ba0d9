"""``histokit finetune``, ``presets list`` and ``presets show``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from histokit import completion, console, options
from histokit.commands import STEPS, Entry
from histokit.errors import UsageError
from histokit.layout import elements, prose
from histokit.ranges import LIMITS


def finetune(
    dataset: options.Dataset,
    backbone: Annotated[
        str | None,
        typer.Option(
            metavar="B",
            help="A network (histokit list backbones). [default: the preset's]",
            autocompletion=completion.backbones,
        ),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(metavar="NAME|FILE.toml", help="How (histokit presets list).", autocompletion=completion.presets),
    ] = "default",
    set: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Otherwise than the preset (histokit presets show); may be repeated."),
    ] = None,
    from_scratch: Annotated[bool, typer.Option("--from-scratch", help="Start from random weights.")] = False,
    weights: options.Weights = "pretrained",
    preprocess: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="size, resize, resize_size, interpolation, mean, std; may be repeated."),
    ] = None,
    channels: Annotated[
        str, typer.Option(metavar="A,B,C|inflate", help="Channels that go in, or a first convolution for all of them.")
    ] = "",
    split: options.Split = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="M", help="To choose the epoch by. [default: the data's]", autocompletion=completion.metrics
        ),
    ] = None,
    target: options.Target = None,
    target_type: options.TargetType = None,
    where: options.Where = None,
    seed: options.Seed = 0,
    repeats: Annotated[int, typer.Option(metavar="N", **LIMITS["repeats"], help="Runs with seeds from SEED on.")] = 1,
    precision: Annotated[
        str, typer.Option(metavar="auto|float32|bfloat16|float16", help="Of the passes; auto: bfloat16 on CUDA.")
    ] = "auto",
    micro_batch: Annotated[
        int | None,
        typer.Option(
            metavar="N", **LIMITS["micro_batch"], help="Images in one pass; gradients of larger batches accumulate."
        ),
    ] = None,
    test_curve: Annotated[
        bool,
        typer.Option("--test-curve", help="Score the test samples after each epoch, too; nothing is chosen by it."),
    ] = False,
    device: options.Device = "auto",
    workers: options.Workers = None,
    keep: Annotated[
        str, typer.Option(metavar="all|final", help="Networks of all folds, or that of all training samples.")
    ] = "all",
    allow_missing: options.AllowUnreadable = False,
    force: options.Force = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be trained, on what, and what of it is done.")
    ] = False,
) -> None:
    """Train a network on images, fold by fold.

    From pretrained weights or from scratch. Test samples are predicted and the predictions stored; the network of all
    training samples is the backbone run:ID. An interrupted command goes on where it stopped; a run that is stored is
    answered from the store. Prints a run id for each seed.
    """
    from histokit.finetune.finetune_options import FinetuneOptions
    from histokit.plugin.options import parse_pairs

    given = {**locals(), "settings": parse_pairs(set or [], "--set"), "preprocess": preprocess or []}
    asked = {**FinetuneOptions.among(given), "repeats": repeats, "force": force}
    if dry_run:
        _tell_plan(dataset, asked)
        return
    from histokit.finetune.finetune import finetune as run

    with console.progress("Training") as report:
        records = run(console.open_store(), dataset, **asked, progress=report)
    console.warn_of_runs(record.notes for record in records)
    rows = [
        [r.id, r.address, r.classifier, r.split, len(r.folds), r.metric, r.mean_over_folds, round(r.seconds)]
        for r in records
    ]
    console.aside(["run", "address", "method", "split", "folds", "metric", "mean over folds", "seconds"], rows)
    documents = [{**console.named("run", r.to_json()), "mean_over_folds": r.mean_over_folds} for r in records]
    console.emit([record.id for record in records], {"runs": documents})


def _tell_plan(dataset: str, asked: Mapping[str, Any]) -> None:
    """Say what would be trained, and print the id that each run would have."""
    from histokit.finetune.training_plan import plan_training

    plans = plan_training(console.existing_store(), dataset, **asked)
    console.note(plans[0].weights)
    console.note(plans[0].described)
    for plan in plans:
        for columns, rows in plan.tables() if plan is plans[0] else plan.tables()[1:2]:
            console.aside(columns, rows)
        console.note(plan.expectation)
    console.warn_of_runs(plan.notes for plan in plans)
    console.emit([plan.run for plan in plans], {"runs": [plan.to_json() for plan in plans]})


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
        console.emit(preset.text.rstrip("\n").split("\n"), None)
        return
    rows = [[key, elements(as_text(value)), prose(source)] for key, value, source in preset.rows(every)]
    title = ". ".join(filter(None, (preset.description, preset.reference)))
    console.table(["key", "value", "source"], rows, preset.to_json(), title=title or None)


#: The commands of this room.
COMMANDS = (
    Entry("", "finetune", finetune, STEPS),
    Entry("presets", "list", list_presets),
    Entry("presets", "show", show_preset),
)
