"""``histokit list backbones|layers|plugins`` and ``histokit plugins check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from histokit import completion, console
from histokit.commands import Entry
from histokit.errors import ExitCode
from histokit.layout import prose


def list_plugins() -> None:
    """List the installed plugins, and those left out as broken."""
    from histokit.plugin.manager import registry

    found = registry()
    documents: list[dict[str, Any]] = []
    kinds = {"dataset": found.datasets, "backbone": found.backbones, "reader": found.readers, "preset": found.presets}
    for kind, table in kinds.items():
        for name, entries in sorted(table.items()):
            state = "ok" if len(entries) == 1 else "registered twice"
            for entry in entries:
                document = {"kind": kind, "name": name, "module": entry.module, "distribution": entry.distribution}
                documents.append({**document, "state": state})
    for told in found.listeners:
        heard = {"kind": "hook", "name": "on_run_finished", "module": told.module, "distribution": told.distribution}
        documents.append({**heard, "state": "ok"})
    broken = [plugin.to_json() for plugin in found.broken]
    columns = ["kind", "name", "module", "distribution", "state"]
    rows = [[d[c] for c in columns] for d in documents]
    console.table(columns, rows, {"plugins": documents, "broken": broken})


def list_backbones(
    prefix: Annotated[
        str | None, typer.Argument(metavar="PREFIX", help="List what a prefix such as timm: or torchvision: has.")
    ] = None,
) -> None:
    """List the curated backbones, or all names behind a prefix."""
    from histokit.plugin.manager import registry

    found = registry()
    if prefix is not None:
        listed = found.names_behind(prefix, _store())
        console.emit(listed, {"backbones": [{"name": name} for name in listed]})
        return
    documents = []
    for name, entries in sorted(found.backbones.items()):
        about = f"a prefix: histokit list backbones {name}" if name.endswith(":") else ""
        document = {"name": name, "about": about, "licence": None, "gated": False, **(entries[0].about or {})}
        documents.append({**document, "distribution": entries[0].distribution})
    rows = [
        [d["name"], prose(d["about"]), prose(d["licence"]), "yes" if d["gated"] else "", d["distribution"]]
        for d in documents
    ]
    console.table(["name", "about", "licence", "gated", "distribution"], rows, {"backbones": documents})


def _store() -> str:
    return str(console.open_store().uri)


def list_layers(
    backbone: Annotated[
        str,
        typer.Argument(
            metavar="BACKBONE",
            help="Such as resnet50 or timm:resnet18.",
            autocompletion=completion.backbones,
        ),
    ],
    modules: Annotated[bool, typer.Option("--modules", help="List every module path of the network instead.")] = False,
) -> None:
    """List the layers of a backbone, in depth order.

    Any module path of the network may be used as a layer as well.
    """
    from dataclasses import asdict

    from histokit.plugin.guarded_backbone import GuardedBackbone
    from histokit.plugin.manager import registry
    from histokit.plugin.weights import TRAINED

    drawn = modules and not backbone.startswith(TRAINED)
    found = registry().backbone(backbone, "random" if drawn else "pretrained", _store())
    guarded = GuardedBackbone(found, backbone)
    if modules:
        names = [name for name in guarded.modules(guarded.build()) if name]
        console.emit(names, {"backbone": found.name, "modules": names})
        return
    documents = [asdict(layer) for layer in guarded.layers()]
    for document in documents[-1:]:
        document["alias"] = "last"
    rows = [[d["name"], d["module"], d["pool"], d.get("alias", "")] for d in documents]
    facts = guarded.facts()
    document = {"backbone": facts["name"], "licence": facts["licence"], "preprocess": guarded.preprocess().to_json()}
    document["preprocess_origin"] = facts["origin"]
    console.table(["layer", "module", "pool", "alias"], rows, {**document, "layers": documents})


def check(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A dataset plugin, a backbone, or .SUFFIX of a reader.",
            autocompletion=completion.plugins,
        ),
    ],
    root: Annotated[
        Path | None, typer.Argument(metavar="ROOT", help="Data that a dataset plugin or a reader is checked on.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("-o", "--option", metavar="KEY=VALUE", help="An option of a dataset plugin.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="W", help="Weights of a backbone. [default: random, if it has any]")
    ] = None,
) -> None:
    """Check a plugin against its contract, clause by clause."""
    from histokit.plugin.options import parse_pairs
    from histokit.plugin.testing import iter_named_checks, run_checks

    results = run_checks(iter_named_checks(name, root, parse_pairs(option or [], "-o"), weights))
    documents = [{"check": r.name, "passed": r.passed, "reason": r.reason} for r in results]
    rows = [["ok" if r.passed else "FAILED", prose(r.name), prose(r.reason or "")] for r in results]
    passed = all(r.passed for r in results)
    console.table(["", "check", "reason"], rows, {"plugin": name, "passed": passed, "checks": documents})
    if not passed:
        raise typer.Exit(ExitCode.PLUGIN)


#: The commands of this room.
COMMANDS = (
    Entry("list", "backbones", list_backbones),
    Entry("list", "layers", list_layers),
    Entry("list", "plugins", list_plugins),
    Entry("plugins", "check", check),
)
