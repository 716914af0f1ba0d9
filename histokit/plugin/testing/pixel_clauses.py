"""What the contract of a dataset plugin says of pixels."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from histokit.plugin.dataset import Dataset, Sample
from histokit.plugin.digests import DIGEST_BYTES
from histokit.plugin.options import announced_options
from histokit.plugin.testing.another_process import digest_of
from histokit.plugin.testing.checks import Advice, require
from histokit.plugin.testing.examined import Examined
from histokit.plugin.testing.pauses import THREADS, read_at_once


def readable_images(examined: Examined) -> None:
    """`read` returns a non-empty (H, W, C) array, uint8 or uint16, with as many channels as declared."""
    channels = len(examined.dataset.channels)
    for sample in examined.looked_at:
        pixels = examined.dataset.read(sample)
        good = isinstance(pixels, np.ndarray) and pixels.dtype in (np.uint8, np.uint16) and pixels.ndim == 3
        shown = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        require(good, f"read({sample.id!r}) returns {shown} instead of a uint8 or uint16 array (H, W, C)")
        require(pixels.size, f"read({sample.id!r}) returns no pixels: {pixels.shape}")
        require(pixels.shape[2] == channels, f"read({sample.id!r}) has {pixels.shape[2]} channels, not {channels}")
        bits = examined.dataset.bits if pixels.dtype == np.uint16 else None
        more = bits is not None and int(pixels.max()) >> bits
        require(not more, f"read({sample.id!r}) gives {pixels.max()}, more than the {bits} bits that `bits` declares")


def pixels_repeat(examined: Examined) -> None:
    """`read` gives the same pixels again, from another instance and in another order."""
    other = examined.another()
    second = {sample.id: other.read(sample) for sample in reversed(examined.looked_at)}
    for sample in examined.looked_at:
        same = np.array_equal(examined.dataset.read(sample), second[sample.id])
        require(same, f"read({sample.id!r}) gives other pixels the second time")


def pixels_differ(examined: Examined) -> None:
    """Samples have pixels of their own; advised only, for images may be blank."""
    found = {digest_of(examined.dataset.read(sample)) for sample in examined.looked_at}
    if len(found) == 1 and len(examined.looked_at) > 1:
        raise Advice(f"see why all {len(examined.looked_at)} samples that were looked at have the same pixels")


def threads_read_the_same(examined: Examined) -> None:
    """Threads that read at once, as they do for a network, get the same pixels as one after the other."""
    if type(examined.dataset).read is Dataset.read:
        return
    samples, dataset = examined.looked_at[:THREADS], examined.another()
    read_at_once(
        [f"read({sample.id!r})" for sample in samples],
        lambda place: digest_of(dataset.read(samples[place])),
        type(dataset).__module__,
        "threads share the dataset: hold a lock from seeking to reading, or open the file anew for each read",
    )


def other_processes_read_the_same(examined: Examined) -> None:
    """Opened anew in another process, which gets the samples pickled, the dataset gives the same pixels."""
    shown = [digest_of(examined.dataset.read(sample)) for sample in examined.looked_at]
    for seen in examined.elsewhere:
        require(not isinstance(seen.pixels, str), f"in another process, {seen.pixels}: open there what is held open")
        for sample, here, there in zip(examined.looked_at, shown, seen.pixels, strict=True):
            require(here == there, f"read({sample.id!r}) gives other pixels in another process")


def pixel_key_repeats(examined: Examined) -> None:
    """`pixel_key` returns the same bytes again, from another instance, and tells file-less samples apart."""
    other = examined.another()
    keys: dict[tuple[Any, ...], str] = {}
    for sample in examined.samples:
        key = examined.dataset.pixel_key(sample)
        require(isinstance(key, bytes), f"pixel_key({sample.id!r}) returns {type(key).__name__} instead of bytes")
        require(key == other.pixel_key(sample), f"pixel_key({sample.id!r}) differs between two instances")
        if not sample.image:
            twin = keys.setdefault((key, sample.part, sample.box), sample.id)
            require(twin == sample.id, f"{twin!r} and {sample.id!r} have no file and the same part, box and pixel_key")


def part_digest_repeats(examined: Examined) -> None:
    """`part_digest` returns the same 16 bytes again, from another instance, or none for files that are read whole."""
    other = examined.make()
    for sample in reversed(examined.looked_at):
        digest = examined.dataset.part_digest(sample)
        if digest is None:
            continue
        good = isinstance(digest, bytes) and len(digest) == DIGEST_BYTES
        require(good, f"part_digest({sample.id!r}) returns {digest!r}, which is not {DIGEST_BYTES} bytes")
        require(digest == other.part_digest(sample), f"part_digest({sample.id!r}) differs between two instances")


def pixel_key_moves(examined: Examined) -> None:
    """Where changing an option changes the pixels of a sample, its box, part, files or `pixel_key` change too."""
    known = announced_options(examined.cls.__init__)
    unknown = sorted(set(examined.dataset.pixel_options or ()) - set(known))
    require(not unknown, f"`pixel_options` names {unknown}, which are not options")
    for name in known:
        changed = _with_other_option(examined, name)
        if changed is None:
            continue
        by_id = {sample.id: sample for sample in changed.samples()}
        for sample in examined.looked_at:
            twin = by_id.get(sample.id)
            if twin is None or _identity(examined.dataset, sample) != _identity(changed, twin):
                continue
            same = np.array_equal(examined.dataset.read(sample), changed.read(twin))
            require(same, f"the option {name!r} changes the pixels of {sample.id!r}, but not its pixel_key")


def _with_other_option(examined: Examined, name: str) -> Dataset | None:
    for value in _other_values(examined.dataset.options.get(name), examined, name):
        try:
            changed = examined.fitted(**{name: value})
            if next(iter(changed.samples()), None) is not None:
                return changed
        except Exception:
            continue
    return None


def _other_values(value: Any, examined: Examined, name: str) -> list[Any]:
    hint = get_type_hints(examined.cls.__init__).get(name)
    if get_origin(hint) is Literal:
        return [other for other in get_args(hint) if other != value]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value * 2, value - 1]
    # Twice nothing is nothing, and twice a share may be more than all.
    return [value * 2 or 0.5, value + 0.5, value / 2] if isinstance(value, float) else []


def _identity(dataset: Dataset, sample: Sample) -> tuple[Any, ...]:
    return sample.image, sample.part, sample.box, dataset.pixel_key(sample)
