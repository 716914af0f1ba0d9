"""``histokit list backbones|layers|plugins`` and ``histokit plugins check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from histokit import completion, console
from histokit.errors import ExitCode


def list_plugins() -> None:
    """List the installed plugins, and those left out as broken."""
    from histokit.plugin.manager import registry

    found = registry()
    documents: list[dict[str, Any]] = []
    for kind, table in (("dataset", found.datasets), ("backbone", found.backbones)):
        for name, entries in sorted(table.items()):
            state = "ok" if len(entries) == 1 else "registered twice"
            for entry in entries:
                document = {"kind": kind, "name": name, "module": entry.module, "distribution": entry.distribution}
                documents.append({**document, "state": state})
    broken = [{"module": b.module, "distribution": b.distribution, "reason": b.reason} for b in found.broken]
    columns = ["kind", "name", "module", "distribution", "state"]
    rows = [[d[c] for c in columns] for d in documents]
    console.table(columns, rows, {"plugins": documents, "broken": broken})
    for plugin in found.broken:
        console.warn(str(plugin))


def list_backbones(
    prefix: Annotated[
        str | None, typer.Argument(metavar="PREFIX", help="List what a prefix such as timm: or torchvision: has.")
    ] = None,
) -> None:
    """List the curated backbones, or all names behind a prefix."""
    from histokit.plugin.manager import registry

    found = registry()
    if prefix is not None and not prefix.endswith(":"):
        prefix += ":"
    if prefix is not None:
        names = found.find_backbone(prefix).names
        listed = [f"{prefix}{name}" for name in (names() if names else [])]
        console.emit(listed, {"backbones": [{"name": name} for name in listed]})
        return
    documents = []
    for name, entries in sorted(found.backbones.items()):
        document: dict[str, Any] = {"name": name, "distribution": entries[0].distribution, "licence": None, "about": ""}
        if name.endswith(":"):
            document["about"] = f"a prefix: histokit list backbones {name}"
        else:
            document |= entries[0].about or {}
        documents.append(document)
    columns = ["name", "about", "licence", "distribution"]
    console.table(columns, [[d.get(c) for c in columns] for d in documents], {"backbones": documents})


def list_layers(
    backbone: Annotated[
        str,
        typer.Argument(
            metavar="B", help="A backbone, such as resnet50 or timm:resnet18.", autocompletion=completion.backbones
        ),
    ],
    modules: Annotated[bool, typer.Option("--modules", help="List every module path of the network instead.")] = False,
) -> None:
    """List the layers of a backbone, in depth order.

    Any module path of the network may be used as a layer as well.
    """
    from dataclasses import asdict

    from histokit.plugin.manager import registry

    found = registry().backbone(backbone, "random" if modules else "pretrained")
    if modules:
        names = [name for name, _ in found.build().named_modules() if name]
        console.emit(names, {"backbone": found.name, "modules": names})
        return
    documents = [asdict(layer) for layer in found.layers]
    for document in documents[-1:]:
        document["alias"] = "last"
    rows = [[d["name"], d["module"], d["pool"], d.get("alias", "")] for d in documents]
    document = {"backbone": found.name, "licence": found.licence, "preprocess": found.preprocess.to_json()}
    console.table(["layer", "module", "pool", "alias"], rows, {**document, "layers": documents})


def check(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="A dataset plugin or a backbone.", autocompletion=completion.plugins),
    ],
    root: Annotated[
        Path | None, typer.Argument(metavar="ROOT", help="Data for a dataset plugin to be checked on.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("-o", "--option", metavar="KEY=VALUE", help="An option of the dataset plugin.")
    ] = None,
    weights: Annotated[str, typer.Option(metavar="W", help="Weights of the backbone.")] = "random",
) -> None:
    """Check a plugin against its contract, clause by clause."""
    from histokit.plugin.manager import registry
    from histokit.plugin.options import parse_pairs
    from histokit.plugin.testing import iter_backbone_checks, iter_dataset_checks, run_checks

    found = registry()
    if name in found.datasets:
        dataset = found.dataset(name)
        checks = iter_dataset_checks(dataset, root, **parse_pairs(option or [], "-o"))
    else:
        checks = iter_backbone_checks(found.backbone(name, weights))
    results = run_checks(checks)
    documents = [{"check": r.name, "passed": r.passed, "reason": r.reason} for r in results]
    rows = [["ok" if r.passed else "FAILED", r.name, r.reason or ""] for r in results]
    passed = all(r.passed for r in results)
    console.table(["", "check", "reason"], rows, {"plugin": name, "passed": passed, "checks": documents})
    if not passed:
        raise typer.Exit(ExitCode.PLUGIN)
