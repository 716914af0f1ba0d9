"""Samples that were looked at, as a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from histokit.extract.shown_samples import SeenSample, SeenSamples
from histokit.figures.contact import ContactSheet, Thumbnail
from histokit.plugin.sample_pixels import RGB
from histokit.reading.thumbnails import as_square

#: Of more samples, the first are drawn.
MOST, MOST_BY_CHANNEL = 210, 60
#: With more classes than these among them, all stand in one row.
_ROWS = 12


def shown_sheet(found: SeenSamples) -> ContactSheet:
    """Return samples as pictures: a row for each class, or for each sample where channels are looked at one by one."""
    drawn = found.samples[: MOST_BY_CHANNEL if found.apart else MOST]
    first = f" · the first {len(drawn)} of them" if len(drawn) < len(found.samples) else ""
    below = f"class, id{f', {found.group}' if found.group else ''}"
    reasons = ", and why it could not be used" if found.problems else ""
    colours = _colours(found.channels)
    texts = [f"Below each: {below}{reasons}.", colours]
    if found.apart:
        texts = [f"Of the first picture, {below}{reasons} are below it.", colours, "Beside it each channel alone."]
    if found.network:
        how = found.network["preprocess"]
        texts.append(f"{found.network['described']}. Drawn after resizing ({how['resize']}), before mean and std.")
    rows = [_channel_row(each, found.channels) for each in drawn] if found.apart else _class_rows(drawn)
    return ContactSheet(f"{found.title}{first}", rows, " ".join(filter(None, texts)))


def _colours(channels: Sequence[str]) -> str:
    """Say which channels a picture shows, and as what, unless they are its colours."""
    if tuple(channels) == RGB:
        return ""
    if len(channels) == 1:
        return f"Shown is {channels[0]}."
    shown = zip(channels, ("red", "green", "blue"), strict=False)
    return f"Shown is {', '.join(f'{channel} as {colour}' for channel, colour in shown)}."


def _class_rows(samples: Sequence[SeenSample]) -> list[list[Thumbnail]]:
    several = len({each.label for each in samples}) <= _ROWS
    rows: dict[str | None, list[Thumbnail]] = {}
    for each in samples:
        rows.setdefault(each.label if several else None, []).append(_thumbnail(each))
    return list(rows.values())


def _thumbnail(each: SeenSample) -> Thumbnail:
    square = None if each.pixels is None else as_square(each.pixels)
    label = "no class" if each.label is None else each.label
    return Thumbnail(square, label, each.id, each.group or "", reason=_short(each))


def _short(each: SeenSample) -> str:
    """Return why a sample cannot be used, with the names of files in place of their paths."""
    reason = each.reason or ""
    for path in (each.image or "").split(";"):
        reason = reason.replace(path, Path(path).name) if path else reason
    return reason


def _channel_row(each: SeenSample, channels: Sequence[str]) -> list[Thumbnail]:
    lead = _thumbnail(each)
    row = [Thumbnail(lead.pixels, lead.label, lead.name, lead.facts, "lead", lead.reason)]
    if each.pixels is not None:
        planes = np.moveaxis(each.pixels, -1, 0)
        row += [Thumbnail(as_square(p[..., None]), name) for name, p in zip(channels, planes, strict=True)]
    return row
