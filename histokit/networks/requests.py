"""What is asked of `extract`: weights and preprocessing, for one backbone or for several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from histokit.errors import UsageError, did_you_mean
from histokit.networks.resolved import ResolvedBackbone
from histokit.plugin import Preprocess
from histokit.plugin.caffe_files import MEAN_SUFFIX, read_mean
from histokit.plugin.options import parse_pairs
from histokit.ranges import check_ranges

PRECISIONS = ("float32", "bfloat16", "float16")
DEVICES = ("auto", "cpu", "cuda")
ENGINES = ("torch", "openvino")
#: Ways in which channels meet a network of three colours, besides naming those that go in.
ADAPTING = ("each", "replicate", "inflate")
#: Behind the name of the layer that a network is trained from: all positions of its map, one after the other.
FLATTEN = "flatten"
_FOR_ALL = ("pretrained", "random")


def weights_by_backbone(names: Sequence[str], texts: Sequence[str]) -> dict[str, str]:
    """Give each backbone its weights from ``[BACKBONE=]WEIGHTS`` texts.

    Raises
    ------
    UsageError
        If it is not clear whose a file is, or a backbone gets two.
    """
    chosen: dict[str, str] = {}
    for text in texts:
        owner, value = _owner(names, text, "=")
        if not value:
            raise UsageError(
                f"--weights {text!r} names no weights.", next="Give pretrained, random, a file or a folder."
            )
        shared = value.partition(":")[0] in _FOR_ALL
        if owner is None and len(names) > 1 and not shared:
            raise UsageError(
                f"--weights {text} does not say which of the {len(names)} backbones it is for.",
                next=f"Write it as --weights BACKBONE={text}, and what it alone is prepared by as --preprocess "
                f"BACKBONE/KEY=VALUE; BACKBONE is {' or '.join(names)}.",
            )
        for name in names if owner is None else [owner]:
            if name in chosen:
                raise UsageError(f"The backbone {name} is given weights twice.", next="Give --weights once for each.")
            chosen[name] = value
    return {name: chosen.get(name, "pretrained") for name in names}


def preprocess_by_backbone(names: Sequence[str], texts: Sequence[str]) -> dict[str, dict[str, str]]:
    """Give each backbone its preprocessing changes from ``[BACKBONE/]KEY=VALUE`` texts.

    A mean that is the name of a mean image of Caffe (``mean.binaryproto``) becomes its numbers.
    """
    chosen: dict[str, list[str]] = {name: [] for name in names}
    for text in texts:
        owner, value = _owner(names, text, "/")
        for name in names if owner is None else [owner]:
            chosen[name].append(value)
    return {name: _with_means(parse_pairs(changes, "--preprocess")) for name, changes in chosen.items()}


def _with_means(changes: dict[str, str]) -> dict[str, str]:
    mean = changes.get("mean", "")
    if not mean.endswith(MEAN_SUFFIX):
        return changes
    return {**changes, "mean": ",".join(map(str, read_mean(Path(mean).expanduser())))}


def channel_changes(channels: str | Sequence[str], there: Sequence[str]) -> dict[str, str]:
    """Return the changes to preprocessing that an answer to ``--channels`` stands for.

    Parameters
    ----------
    channels : str or sequence of str
        ``each``, ``replicate``, ``inflate``, or names of channels; empty where nothing is asked for.
    there : sequence of str
        The channels of the dataset.

    Raises
    ------
    UsageError
    """
    names = [name.strip() for name in (channels.split(",") if isinstance(channels, str) else channels)]
    names = [name for name in names if name]
    if not names:
        return {}
    # A channel may be called so.
    if len(names) == 1 and names[0] in ADAPTING and names[0] not in there:
        if names[0] == "replicate" and len(there) > 1:
            raise UsageError(
                f"One channel is repeated, but the dataset has {len(there)}: {', '.join(there)}.",
                next=f"Name the one: --channels {there[0]}",
            )
        return {} if names[0] == "replicate" else {"adapter": names[0]}
    for name in names:
        if name not in there:
            known = [*there, *ADAPTING]
            raise UsageError(
                f"The dataset has no channel {name!r}.",
                next=f"{did_you_mean(name, known)}Its channels are: {', '.join(there)}; "
                f"or write {', '.join(ADAPTING)}.",
            )
    return {"channels": ",".join(names)}


def _owner(names: Sequence[str], text: str, separator: str) -> tuple[str | None, str]:
    for name in sorted(names, key=len, reverse=True):
        if text.startswith(name + separator):
            return name, text[len(name) + len(separator) :]
    return None, text


def as_texts(changes: Mapping[str, object]) -> list[str]:
    """Return preprocessing changes that were given as data in the form of texts."""
    joined = {k: ",".join(map(str, v)) if isinstance(v, tuple | list) else str(v) for k, v in changes.items()}
    return [f"{key}={value}" for key, value in joined.items()]


def as_option(name: str, value: object) -> str:
    """Return an option as it is written in a command."""
    return f"--{name}" if value is True else f"--{name} {value}"


def asked_engine(
    engine: str, compile: bool, precision: str, device: str, written: Callable[[str, object], str] = as_option
) -> tuple[str, str]:
    """Return what is to run networks (``torch``, ``inductor`` for torch's compiler, ``openvino``), and the device.

    Parameters
    ----------
    written : callable
        How a name and its value are written where they were asked for, for errors.

    Raises
    ------
    UsageError
        If it cannot run them so.
    """
    if engine not in ENGINES:
        hint = did_you_mean(engine, ENGINES)
        raise UsageError(f"There is no engine {engine!r} for networks.", next=f"{hint}Use one of {', '.join(ENGINES)}.")
    if engine == "torch":
        return "inductor" if compile else engine, device
    possible = (
        ("compile", compile, (False,)),
        ("precision", precision, ("float32",)),
        ("device", device, ("auto", "cpu")),
    )
    wrong = [written(name, value) for name, value, allowed in possible if value not in allowed]
    if wrong:
        raise UsageError(
            f"The engine {engine} runs networks on processors at float32: it does not go with {wrong[0]}.",
            next=f"Leave out {wrong[0]}, or {written('engine', engine)}.",
        )
    if find_spec(engine) is None:
        raise UsageError(
            f"The engine {engine} is not installed.",
            next=f"Install it from the checkout, with: pip install '.[{engine}]'",
        )
    return engine, "cpu"


def engine_of(backbone: ResolvedBackbone, asked: str, dry_run: bool, notes: list[str]) -> str:
    """Return what runs a network, of what was asked for; add to the notes."""
    if asked == "torch":
        return asked
    if backbone.preprocess.resize == "none":
        notes.append(f"{backbone.name} takes images of any size, so that it is not compiled.")
        return "torch"
    if dry_run:
        notes.append(f"Whether {backbone.name} can be compiled here is seen when it runs.")
    return asked


def check_options(
    precision: str = "float32", device: str = "auto", batch_size: int | None = None, workers: int | None = None
) -> None:
    """Raise unless networks can run in such a way.

    Raises
    ------
    UsageError
    """
    if precision not in PRECISIONS:
        hint = did_you_mean(precision, PRECISIONS)
        raise UsageError(f"The precision {precision!r} is unknown.", next=f"{hint}Use one of {', '.join(PRECISIONS)}.")
    if device.partition(":")[0] not in DEVICES:
        raise UsageError(f"There is no device {device!r} for networks.", next="Use auto, cpu or cuda.")
    check_ranges(batch_size=batch_size, workers=workers)


def channels_in(preprocess: Preprocess, channels: Sequence[str]) -> list[int]:
    """Return which of a dataset's channels go into a network, in order.

    Raises
    ------
    UsageError
        If a channel is unknown, or they are not as many as the network takes.
    """
    chosen = [_index(name, channels) for name in preprocess.channels] or list(range(len(channels)))
    depth, count = len(preprocess.mean), len(chosen)
    if preprocess.adapter != "none" or count in (1, depth):
        return chosen
    raise UsageError(
        f"mean and std are given for {depth} channel{'s' * (depth > 1)}; {count} go in: "
        f"{', '.join(channels[place] for place in chosen)}.",
        next=f"Choose {'them' if depth > 1 else 'it'} with --channels {','.join(['NAME'] * depth)}; or let each go in "
        f"on its own (--channels each), or the network take all (--channels inflate). A network that is built for "
        f"{count} needs a mean and a std for each: --preprocess mean={','.join(['0.5'] * count)}.",
    )


def _index(name: str, channels: Sequence[str]) -> int:
    if name not in channels:
        raise UsageError(
            f"The dataset has no channel {name!r}.",
            next=f"{did_you_mean(name, channels)}Its channels are: {', '.join(channels)}.",
        )
    return list(channels).index(name)
