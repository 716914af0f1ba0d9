"""Speed of extraction on one folder of patches: a plain PyTorch loop, bare networks, and histokit end to end."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import (
    Contender,
    Table,
    Timing,
    arguments,
    cores,
    native_bfloat16,
    once,
    publish,
    ratio_of_rounds,
    scratch,
    take_turns,
)
from contenders import cut_forward, plain_forward, plain_loop, read_and_resize, whole
from quality import compare
from work import NETWORKS, Material, layers, prepare

LOOP = "plain loop, float32"
PRECISIONS = ("float32", "bfloat16")
_FORWARD_IMAGES = 512


def end_to_end(precision: str) -> str:
    """Return the name of histokit's contender."""
    return f"histokit, {precision}"


def forward_only(precision: str) -> str:
    """Return the name of the contender that has no images to read and nothing to write."""
    return f"histokit's network alone, {precision}"


def network_contenders(network: str, material: Material, folder: Path) -> list[Contender]:
    """Return all contenders on one network."""
    weights, count = material.weights[network], material.count
    short = min(_FORWARD_IMAGES, count)
    bare = {"network": network, "weights": weights}
    chosen = layers(NETWORKS[network])
    taken = {**bare, "count": short}
    found = [
        Contender(LOOP, plain_loop, {**bare, "images": material.images, "out": folder / network / "loop"}, count),
        Contender("bare network, batch 64", plain_forward, {**taken, "batch": 64, "channels_last": False}, short),
        Contender(
            "bare network, batch 16, channels last", plain_forward, {**taken, "batch": 16, "channels_last": True}, short
        ),
    ]
    emulated = "" if native_bfloat16() else "no native bfloat16"
    for precision in PRECISIONS:
        note = emulated if precision == "bfloat16" else ""
        options: dict[str, Any] = {**taken, "precision": precision, "chosen": chosen}
        found.append(Contender(forward_only(precision), cut_forward, options, short, note))
        options = {"commands": [[network]], "images": material.images, "weights": {network: weights}}
        options |= {"folder": folder / network / precision, "precision": precision}
        found.append(Contender(end_to_end(precision), whole, options, count, note))
    options = {"network": network, "images": material.images}
    found.append(Contender("reading and resizing", read_and_resize, options, count))
    return found


def speed_table(network: str, material: Material, timings: Sequence[Timing]) -> tuple[Table, dict[str, Any]]:
    """Return the table of one network, and its figures."""
    by_name = {timing.name: timing for timing in timings}
    loop, reading = by_name[LOOP], by_name["reading and resizing"]
    # Of all cores together, spread over them.
    prepared = reading.median / cores()
    rows, figures = [], {}
    for timing in timings:
        if timing is reading:
            continue
        row = [timing.name, f"{timing.rate:.1f}", f"{ratio_of_rounds(timing, loop):.2f}", "", "", timing.remark]
        figures[timing.name] = {"rate": timing.rate, "to_loop": ratio_of_rounds(timing, loop)}
        precision = next((p for p in PRECISIONS if timing.name == end_to_end(p)), None)
        if precision:
            forward = timing.items / by_name[forward_only(precision)].rate
            efficiency = forward / timing.median
            rest = forward / max(forward, timing.median - prepared)
            row[3:5] = [f"{efficiency:.0%}", f"{rest:.0%}"]
            figures[timing.name] |= {"efficiency": efficiency, "efficiency_without_reading": rest}
        rows.append(row)
    columns = ["contender", "images/s", "to the loop", "to the network alone", "without reading, resizing", "remarks"]
    notes = [*material.notes, _split(by_name, reading, prepared)]
    title = f"{NETWORKS[network].backbone}, {len(layers(NETWORKS[network]))} layers, {material.count} images"
    return Table(title, columns, rows, notes), figures


def _split(by_name: dict[str, Timing], reading: Timing, prepared: float) -> str:
    exact = by_name[end_to_end("float32")]
    writing = statistics.median(facts["writing"] for facts in exact.facts)
    ingesting = statistics.median(facts["ingest"] for facts in exact.facts)
    read = statistics.median(facts["read"] for facts in reading.facts)
    forward = exact.items / by_name[forward_only("float32")].rate
    return (
        f"histokit, float32, {exact.median:.2f} s: the network alone {forward:.2f} s, writing {writing:.2f} s; reading "
        f"{read:.2f} s and resizing {reading.median - read:.2f} s of one core, {prepared:.2f} s of all. "
        f"Ingesting is not in it: {ingesting:.2f} s."
    )


def quality_table(network: str, found: dict[str, Any], material: Material) -> Table:
    """Return cosines and accuracies."""
    rows = [
        [module, *(f"{value:.5f}" for value in (*pair["float32_to_loop"], *pair["bfloat16_to_float32"]))]
        for module, pair in found["layers"].items()
    ]
    columns = ["layer", "float32 to loop, mean", "min", "bfloat16 to float32, mean", "min"]
    notes = []
    if found["accuracy"]:
        exact, reduced = (found["accuracy"][precision] for precision in PRECISIONS)
        notes.append(
            f"Accuracy of a linear SVM on `last`, 10 patient-wise folds: float32 {exact:.4f}, bfloat16 {reduced:.4f}, "
            f"{100 * (reduced - exact):+.2f} points."
        )
    return Table(f"{network}: cosines of {material.count} images", columns, rows, [*notes, *material.notes])


def one_network(network: str, material: Material, folder: Path, rounds: int, score: bool) -> dict[str, Any]:
    """Time all contenders on one network, and compare their features."""
    timings = take_turns(network_contenders(network, material, folder), rounds)
    by_name = {timing.name: timing for timing in timings}
    stores = {precision: by_name[end_to_end(precision)].facts[-1]["store"] for precision in PRECISIONS}
    found = once(
        compare,
        network=network,
        images=str(material.images),
        plain=by_name[LOOP].facts[-1]["out"],
        exact=stores["float32"],
        reduced=stores["bfloat16"],
        score=score,
    )
    table, figures = speed_table(network, material, timings)
    tables = [table, quality_table(network, found, material)]
    return {"tables": tables, "timings": timings, "facts": {"speed": figures, "quality": found}}


def shared_reading(material: Material, folder: Path, rounds: int) -> tuple[Table, list[Timing]]:
    """Time two networks in one command against one command for each."""
    options = {"images": material.images, "weights": dict(material.weights)}
    commands = {"one command": [list(NETWORKS)], "two commands": [[name] for name in NETWORKS]}
    contenders = [
        Contender(name, whole, {**options, "commands": given, "folder": folder / name}, material.count)
        for name, given in commands.items()
    ]
    timings = take_turns(contenders, rounds)
    rows = [
        [timing.name, f"{timing.median:.2f}", f"{ratio_of_rounds(timing, timings[-1]):.3f}", timing.remark]
        for timing in timings
    ]
    title = f"Both networks, all layers, {material.count} images: each image read once or twice"
    return Table(title, ["contender", "seconds", "speed-up", "remarks"], rows, material.notes), timings


def early_layer(material: Material, folder: Path, rounds: int) -> tuple[Table, list[Timing]]:
    """Time one early layer against all."""
    name = next(iter(material.weights))
    network, weights, count = NETWORKS[name], material.weights[name], material.count
    shared = {"commands": [[name]], "images": material.images, "weights": {name: weights}}
    alone = {"network": name, "weights": weights, "precision": "float32", "chosen": [network.early]}
    early, bare = f"only {network.early}", f"the network up to {network.early}, alone"
    contenders = [
        Contender("all layers", whole, {**shared, "folder": folder / "every"}, count),
        Contender(early, whole, {**shared, "folder": folder / "early", "chosen": network.early}, count),
        Contender(bare, cut_forward, {**alone, "count": min(_FORWARD_IMAGES, count)}, min(_FORWARD_IMAGES, count)),
    ]
    timings = take_turns(contenders, rounds)
    rows = [
        [timing.name, f"{timing.rate:.1f}", f"{ratio_of_rounds(timing, timings[0]):.2f}", timing.remark]
        for timing in timings
    ]
    title = f"{network.backbone}: one early layer, {count} images"
    return Table(title, ["contender", "images/s", "to all layers", "remarks"], rows, material.notes), timings


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    found = arguments(__doc__ or "")
    found.add_argument("--images", default="500", help="a number, or all (default: %(default)s)")
    found.add_argument("--network", choices=[*NETWORKS, "both"], default="both")
    found.add_argument("--data", type=Path, metavar="DIR", help="patches PATIENT/LABEL/NAME.png")
    found.add_argument("--weights", type=Path, metavar="DIR", help="weights files")
    found.add_argument("--no-svm", action="store_true", help="do not train classifiers")
    return found


def main() -> None:
    """Run what the options say."""
    options = parser().parse_args()
    names = list(NETWORKS) if options.network == "both" else [options.network]
    count = None if options.images == "all" else int(options.images)
    tables: list[Table] = []
    timings: dict[str, Sequence[Timing]] = {}
    facts: dict[str, Any] = {}
    with scratch() as folder:
        material = prepare(folder, count, names, options.data, options.weights)
        for name in names:
            found = one_network(name, material, folder, options.rounds, not options.no_svm)
            tables += found["tables"]
            timings[name], facts[name] = found["timings"], found["facts"]
        if len(names) > 1:
            table, timings["shared reading"] = shared_reading(material, folder, options.rounds)
            tables.append(table)
        table, timings["early layer"] = early_layer(material, folder, options.rounds)
        tables.append(table)
    publish("extraction", vars(options), tables, timings, options.json, facts)


if __name__ == "__main__":
    main()
