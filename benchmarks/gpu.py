"""Extraction on a GPU, end to end: histokit, a hand-written script, and the network alone, in turns.

Without options: what is wanted of an H200 or H100 with 16 cores, on 50,000 JPEG images of 224 pixels. `--backbone`,
`--precision`, `--layers`, `--format` and `--side` replace that in every row, and may be repeated. Only 1,024 images
are drawn. The others are copies, in whose files a comment tells which copy it is: they decode to the same pixels at the
same cost, but histokit goes by the bytes of files, and pushes each through the network.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common import (
    Contender,
    Table,
    Timing,
    arguments,
    cores,
    keep,
    progress,
    ratio_of_rounds,
    scratch,
    show,
    take_turns,
)
from gpu_contenders import Case, draw_for, end_to_end, network_alone, scripted_loop, weights_for
from work import FORMATS

RATE, ALONE, LOOP = "images/s", "to the network alone", "to the script"
_SHOWN = {RATE: "{:,.0f}", ALONE: "{:.0%}", LOOP: "{:.2f}"}

VIT = "timm:vit_large_patch16_224"

#: At least, on 50,000 images.
WANTED: dict[Case, Mapping[str, float]] = {
    Case("resnet50", "bfloat16", "last"): {RATE: 9_000, LOOP: 3.0},
    Case("resnet50", "bfloat16", "all"): {RATE: 5_500, LOOP: 3.0},
    Case("resnet50", "float32", "all"): {ALONE: 0.85},
    Case("densenet201", "bfloat16", "all"): {ALONE: 0.8},
    Case(VIT, "bfloat16", "last"): {ALONE: 0.9},
}

_IMAGES, _LARGE, _LARGE_IMAGES = 50_000, 512, 8_192
_CHOICES = {
    "backbone": {"metavar": "B"},
    "precision": {"choices": ["float32", "bfloat16", "float16"]},
    "layers": {"choices": ["last", "all"]},
    "format": {"choices": FORMATS, "dest": "form"},
    "side": {"type": int, "metavar": "PIXELS"},
}


@dataclass(frozen=True)
class Result:
    """The timings of a case.

    Parameters
    ----------
    case : Case
    alone, script, whole : Timing
    """

    case: Case
    alone: Timing
    script: Timing
    whole: Timing

    def measures(self, timing: Timing) -> dict[str, float]:
        """Return how fast one of them is, alone and to the others."""
        shares = {ALONE: ratio_of_rounds(timing, self.alone), LOOP: ratio_of_rounds(timing, self.script)}
        return {RATE: timing.rate, **shares}

    def goals(self) -> list[dict[str, Any]]:
        """Return what is wanted of histokit, and what it reached."""
        found = self.measures(self.whole)
        wanted = WANTED.get(self.case, {})
        return [{"measure": m, "wanted": at_least, "reached": found[m]} for m, at_least in wanted.items()]

    def rows(self) -> list[list[str]]:
        """Return the rows of the table."""
        return [self._row(timing) for timing in (self.alone, self.script, self.whole)]

    def _row(self, timing: Timing) -> list[str]:
        goals = self.goals() if timing is self.whole else []
        shown = [_SHOWN[name].format(value) for name, value in self.measures(timing).items()]
        wanted = [f"{_SHOWN[goal['measure']].format(goal['wanted'])} {goal['measure']}" for goal in goals]
        reached = ["yes" if goal["reached"] >= goal["wanted"] else "no" for goal in goals]
        notes = {note: None for facts in timing.facts for note in facts.get("notes", [])}
        remark = "; ".join(text for text in (timing.remark, *notes) if text)
        return [f"{self.case}: {timing.name}", *shown, "; ".join(wanted), "; ".join(reached), remark]


def cases(options: argparse.Namespace) -> list[Case]:
    """Return the rows that the options ask for."""
    asked = {field: getattr(options, field) for field in ("backbone", "precision", "layers", "form", "side")}
    found = list(WANTED)
    for field, values in {**asked, "compile": [True] * options.compile}.items():
        if values:
            found = [case._replace(**{field: value}) for value in values for case in found]
    return list(dict.fromkeys(found))


def count_of(case: Case, asked: int | None) -> int:
    """Return how many images a case has."""
    return asked or (_LARGE_IMAGES if case.side > _LARGE else _IMAGES)


def measured(case: Case, options: argparse.Namespace, folder: Any) -> Result:
    """Let the three contenders of a case take turns."""
    count = count_of(case, options.images)
    weights = weights_for(case.backbone, folder)
    shared: dict[str, Any] = {"case": case, "weights": weights, "device": options.device}
    places = {**shared, **draw_for(case, count, folder)}
    own = {**places, "folder": folder / "stores", "workers": options.workers}
    contenders = [
        Contender("network alone", network_alone, {**shared, "count": count}, count),
        Contender("script", scripted_loop, {**places, "folder": folder / "script"}, count),
        Contender("histokit", end_to_end, own, count, f"{count:,} images"),
    ]
    return Result(case, *take_turns(contenders, options.rounds))


def table_of(device: str, results: Sequence[Result]) -> Table:
    """Return the table of all cases."""
    columns = ["contender", RATE, ALONE, LOOP, "wanted at least", "reached", "remarks"]
    notes = [
        "Files of random weights. The script: a DataLoader of as many processes as cores, pinned memory, the network "
        "cast to the precision, hooks, poolings, one .npz.",
        "Start-up is in it (reading weights, starting readers, compiling); imports and ingesting are not.",
        "What is wanted is meant for an H200 or H100 with 16 cores and 50,000 images.",
    ]
    return Table(f"{device}, {cores()} cores", columns, [row for result in results for row in result.rows()], notes)


def main() -> None:
    """Run what the options say."""
    parser = arguments(__doc__ or "", rounds=3)
    for name, how in _CHOICES.items():
        parser.add_argument(f"--{name}", action="append", **how)
    parser.add_argument("--images", type=int, help=f"default: {_IMAGES}; {_LARGE_IMAGES} of more than {_LARGE} pixels")
    parser.add_argument("--compile", action="store_true", help="histokit and the network alone by torch's compiler")
    parser.add_argument("--workers", type=int, help="reader processes (default: histokit's own choice)")
    parser.add_argument("--device", default="cuda", help="cpu only to see that this runs (default: %(default)s)")
    options = parser.parse_args()
    import torch

    if options.device.startswith("cuda") and not torch.cuda.is_available():
        table = Table("GPU", ["contender"], [], ["There is no CUDA device that torch can use: nothing was measured."])
        show([table])
        keep("gpu", vars(options), [table], {}, options.json)
        return
    device = torch.cuda.get_device_name(options.device) if options.device.startswith("cuda") else "cpu"
    results: list[Result] = []
    with scratch() as folder:
        for case in cases(options):
            results.append(measured(case, options, folder))
            # Before the table of all, which whoever ends it does not see.
            for name, rate, _, _, wanted, reached, _ in results[-1].rows():
                progress(f"{name}  {rate} images/s{f'  (wanted: {wanted}; reached: {reached})' * bool(wanted)}")
            # After each, because what runs for hours may be ended.
            timings = {str(one.case): (one.alone, one.script, one.whole) for one in results}
            goals = [{**one.case._asdict(), **goal} for one in results for goal in one.goals()]
            facts = {"device": device, "wanted": goals}
            keep("gpu", vars(options), [table_of(device, results)], timings, options.json, facts)
    show([table_of(device, results)])


if __name__ == "__main__":
    main()
