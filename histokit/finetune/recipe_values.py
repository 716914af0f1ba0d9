"""Values of recipes: set by their keys from texts, converted by their annotations, and checked."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from histokit.errors import UsageError, did_you_mean
from histokit.finetune.recipe import ALL, LAST, TEST, VALIDATION, VALIDATION_LOSS, Augment, Head, NetworkRecipe, Stage
from histokit.plugin import Preprocess
from histokit.plugin.options import convert_options
from histokit.ranges import Range

#: What belongs to a whole recipe and is no single value, or is said in another way.
_PARTS = ("preprocess", "head", "augment", "stages")
_ELSEWHERE = {
    "name": "Put the recipe into a file of its own: histokit presets show NAME --toml",
    "from_scratch": "Use --from-scratch.",
}

#: Of parts that hold values of their own.
_OF_PARTS: dict[str, Any] = {"head": Head, "augment": Augment}

_NUMBERED = re.compile(r"stages\.(\d+)\.(\w+)")

_AT_LEAST_0 = Range(0, math.inf, whole=False)
_COUNT = Range(1, 1_000_000)
_SHARE = Range(0, 1, whole=False)

#: What numbers can be; of tuples, each of them. A share that is marked is below 1.
_RANGES = {
    "batch_size": Range(1, 65_536),
    "huber_delta": _AT_LEAST_0,
    "label_smoothing": _SHARE,
    "mixup": _AT_LEAST_0,
    "cutmix": _AT_LEAST_0,
    "ema": _SHARE,
    "clip": _AT_LEAST_0,
    "patience": Range(0, 1_000_000),
    "head.hidden": _COUNT,
    "head.dropout": _SHARE,
    "augment.shading": _AT_LEAST_0,
    "augment.blur": _SHARE,
    "augment.noise": _AT_LEAST_0,
    "augment.noise_probability": _SHARE,
    "augment.stain": _AT_LEAST_0,
    "epochs": _COUNT,
    "lr": Range(0, 1e30, whole=False),
    "momentum": _SHARE,
    "betas": _SHARE,
    "weight_decay": _AT_LEAST_0,
    "gamma": _AT_LEAST_0,
    "power": Range(-math.inf, math.inf, whole=False),
    "step_epochs": _AT_LEAST_0,
    "warmup_epochs": _AT_LEAST_0,
    "lr_minimum": _AT_LEAST_0,
    "head_lr": _AT_LEAST_0,
    "head_bias_lr": _AT_LEAST_0,
    "bias_lr": _AT_LEAST_0,
    "bias_decay": _AT_LEAST_0,
    "layer_decay": _SHARE,
}
_ABOVE_0 = ("huber_delta", "lr", "gamma", "step_epochs", "layer_decay")
_BELOW_1 = ("label_smoothing", "ema", "head.dropout", "momentum", "betas")

#: Optimisers that are known without looking at timm's, whose import takes seconds.
_USUAL = ("sgd", "nesterov", "adam", "adamw", "rmsprop")

#: What texts can be.
_CHOICES = {
    "loss": ("cross-entropy", "squared", "huber"),
    "class_weight": ("none", "balanced"),
    "choose_epoch": (VALIDATION, VALIDATION_LOSS, LAST, TEST),
    "head.initialisation": ("library", "keras", "xavier", "gaussian"),
    "augment.crop": ("centre", "random"),
    "augment.flip": ("none", "horizontal", "both"),
    "momentum_form": ("torch", "caffe"),
    "schedule": ("constant", "inv", "step", "cosine"),
    "frozen_statistics": ("eval", "train"),
}

#: What is of use only with a value of another: key, the other, which of its values.
_TOGETHER = (
    ("patience", "choose_epoch", (VALIDATION, VALIDATION_LOSS, TEST)),
    ("warmup_epochs", "schedule", ("cosine",)),
    ("lr_minimum", "schedule", ("cosine",)),
    ("huber_delta", "loss", ("huber",)),
    ("class_weight", "loss", ("cross-entropy",)),
    ("label_smoothing", "loss", ("cross-entropy",)),
    ("mixup", "loss", ("cross-entropy",)),
    ("cutmix", "loss", ("cross-entropy",)),
)


def _simple(cls: Any) -> list[str]:
    """Return the names of values that are no parts of their own."""
    return [f.name for f in fields(cls) if f.name not in _PARTS or cls is not NetworkRecipe]


#: Keys that stand for a value of all stages, as they are.
STAGE_KEYS = tuple(_simple(Stage))


def keys(stages: int) -> list[str]:
    """Return the keys of all values of a recipe with some stages, but those of preprocessing."""
    listed = [name for name in _simple(NetworkRecipe) if name not in _ELSEWHERE]
    listed += [f"{part}.{name}" for part, cls in _OF_PARTS.items() for name in _simple(cls)]
    return listed + [f"stages.{number}.{name}" for number in range(1, stages + 1) for name in STAGE_KEYS]


def value_of(recipe: NetworkRecipe, key: str) -> Any:
    """Return the value of a key such as ``head.dropout`` or ``stages.2.lr``."""
    found: Any = recipe
    for part in key.split("."):
        if isinstance(found, Mapping):
            found = found[part]
        else:
            found = found[int(part) - 1] if part.isdigit() else getattr(found, part)
    return found


def as_text(value: Any) -> str:
    """Return a value as `override` takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(as_text, value)) if isinstance(value, list | tuple) else str(value)


def override(recipe: NetworkRecipe, changes: Mapping[str, str]) -> NetworkRecipe:
    """Return a recipe with some values set from texts.

    Parameters
    ----------
    recipe : NetworkRecipe
    changes : mapping
        ``batch_size``, ``head.hidden``, ``augment.flip``, ``preprocess.size``; ``stages.2.lr`` of one stage, ``lr`` or
        ``stages.lr`` of all that are not named.

    Raises
    ------
    UsageError
        If a key is unknown, or a value cannot be converted or meant so.
    """
    changed = with_values(recipe, changes)
    check_recipe(changed)
    return changed


def with_values(recipe: NetworkRecipe, changes: Mapping[str, str]) -> NetworkRecipe:
    """Return a recipe with some values set from texts, see `override`, which are not checked yet.

    Where the last epoch is asked for, all are trained: the patience of the recipe is left out.
    """
    owner = titled(recipe)
    own: dict[str, str] = {}
    parts: dict[str, dict[str, str]] = {part: {} for part in (*_OF_PARTS, "preprocess")}
    staged: list[dict[str, str]] = [{} for _ in recipe.stages]
    # A stage of its own number is set behind all stages.
    for key, text in sorted(changes.items(), key=lambda change: _NUMBERED.fullmatch(change[0]) is not None):
        part, _, name = key.partition(".")
        if numbered := _NUMBERED.fullmatch(key):
            staged[_stage(recipe, key, int(numbered[1]))][_known(recipe, key, numbered[2], Stage)] = text
        elif part in parts and name:
            parts[part][_known(recipe, key, name, _OF_PARTS.get(part, Preprocess))] = text
        elif part == "stages" or key in STAGE_KEYS:
            for stage in staged:
                stage[_known(recipe, key, name or key, Stage)] = text
        else:
            own[_known(recipe, key, key, NetworkRecipe)] = text
    if own.get("choose_epoch") == LAST:
        own.setdefault("patience", "0")
    return replace(
        recipe,
        **convert_options(NetworkRecipe, own, owner),
        **{
            part: replace(getattr(recipe, part), **convert_options(c, parts[part], owner))
            for part, c in _OF_PARTS.items()
        },
        preprocess={**recipe.preprocess, **parts["preprocess"]},
        stages=tuple(
            replace(stage, **convert_options(Stage, texts, owner))
            for stage, texts in zip(recipe.stages, staged, strict=True)
        ),
    )


def canonical(recipe: NetworkRecipe, changes: Mapping[str, str]) -> dict[str, str]:
    """Return the texts of `override` as they are the same for the same values: of ``1e-2`` and ``0.01`` the latter."""
    found = {}
    for key, text in changes.items():
        changed, (part, _, name) = with_values(recipe, {key: text}), key.partition(".")
        of_stages = part == "stages" and not _NUMBERED.fullmatch(key)
        place = f"stages.1.{name}" if of_stages else f"stages.1.{key}" if key in STAGE_KEYS else key
        found[key] = text if part == "preprocess" else as_text(value_of(changed, place))
    return found


def titled(recipe: NetworkRecipe) -> str:
    """Return what messages call a recipe."""
    return f"The preset {recipe.name!r}" if recipe.name else "The recipe"


def _stage(recipe: NetworkRecipe, key: str, number: int) -> int:
    if not 1 <= number <= len(recipe.stages):
        count = len(recipe.stages)
        raise UsageError(
            f"{titled(recipe)} has {'one stage' if count == 1 else f'{count} stages'}: there is no {key!r}.",
            next="Give a stage from 1 on, or none for all stages.",
        )
    return number - 1


def _known(recipe: NetworkRecipe, key: str, name: str, cls: Any) -> str:
    """Return the name of a value; raise where a part of a recipe has none such."""
    if cls is NetworkRecipe and name in _ELSEWHERE:
        raise UsageError(f"{name!r} is not set as a value of a recipe.", next=_ELSEWHERE[name])
    if name in _simple(cls) and (cls, name) != (Preprocess, "transforms"):
        return name
    known = [*keys(len(recipe.stages)), *STAGE_KEYS, *(f"preprocess.{k}" for k in _simple(Preprocess))]
    short = [k for k in known if k.endswith(f".{key}")][:1]
    hint = f"Did you mean {short[0]!r}? " if short else did_you_mean(key, known)
    raise UsageError(f"A recipe has no value {key!r}.", next=f"{hint}All: histokit presets show default --all")


def check_recipe(recipe: NetworkRecipe) -> None:
    """Raise where a value of a recipe cannot be meant so.

    Raises
    ------
    UsageError
        Naming the preset and the key.
    """
    owner = titled(recipe)
    if not recipe.stages:
        raise UsageError(f"{owner} has no stage.", next="Add one: [[stages]]")
    for key, name, value in _values(recipe):
        if (words := _fault(name, value)) is not None:
            raise UsageError(f"{owner}: {key}={as_text(value)} is not {words}.", next=f"Set {key} to {words}.")
    _check_together(owner, recipe, "")
    for number, stage in enumerate(recipe.stages, 1):
        _check_together(owner, stage, f"stages.{number}.")
        _check_stage(owner, stage, f"stages.{number}.")


def _values(recipe: NetworkRecipe) -> Iterator[tuple[str, str, Any]]:
    """Yield the key of each value, the name that it has in the tables, and itself."""
    for key in keys(len(recipe.stages)):
        numbered = _NUMBERED.fullmatch(key)
        yield key, numbered[2] if numbered else key, value_of(recipe, key)


def _fault(name: str, value: Any) -> str | None:
    """Return in words what a value had to be; none where it is that."""
    if name in _CHOICES:
        return None if value in _CHOICES[name] else f"one of {', '.join(_CHOICES[name])}"
    if name == "betas" and len(value) != 2:
        return "two numbers"
    if name not in _RANGES:
        return None if value != "" else "a text"
    allowed = _RANGES[name]
    above, below = name in _ABOVE_0, name in _BELOW_1
    for number in value if isinstance(value, Sequence) else (value,):
        ends = (above and number <= allowed.low) or (below and number >= allowed.high) or math.isinf(number)
        if not allowed.fits(number) or ends:
            return _words(allowed, above, below)
    return None


def _words(allowed: Range, above: bool, below: bool) -> str:
    kind = "a whole number" if allowed.whole else "a number"
    if math.isinf(allowed.low):
        return kind
    low = f"above {allowed.low:g}" if above else f"of at least {allowed.low:g}"
    if math.isinf(allowed.high):
        return f"{kind} {low}"
    return f"{kind} {low} and {'below' if below else 'at most'} {allowed.high:,.12g}"


def _check_together(owner: str, part: NetworkRecipe | Stage, prefix: str) -> None:
    for name, other, values in _TOGETHER:
        if not hasattr(part, name) or getattr(part, name) == getattr(type(part), name):
            continue
        if getattr(part, other) not in values:
            raise UsageError(
                f"{owner}: {prefix}{name}={as_text(getattr(part, name))} is of no use with "
                f"{other}={getattr(part, other)}.",
                next=f"Set {prefix}{name} to {as_text(getattr(type(part), name))}, or {prefix}{other} to "
                f"{' or '.join(values)}.",
            )


def _check_stage(owner: str, stage: Stage, prefix: str) -> None:
    if stage.warmup_epochs >= stage.epochs and stage.warmup_epochs:
        raise UsageError(
            f"{owner}: {prefix}warmup_epochs={stage.warmup_epochs:g} leaves nothing of {stage.epochs} epochs.",
            next=f"Set {prefix}warmup_epochs to less, or {prefix}epochs to more.",
        )
    if stage.lr_minimum > stage.lr:
        raise UsageError(
            f"{owner}: {prefix}lr_minimum={stage.lr_minimum:g} is above lr={stage.lr:g}.",
            next=f"Set {prefix}lr_minimum to less.",
        )
    if stage.optimiser == "nesterov" and stage.momentum_form == "caffe":
        raise UsageError(
            f"{owner}: {prefix}momentum_form=caffe is that of plain momentum, not of Nesterov's.",
            next=f"Set {prefix}momentum_form to torch, or {prefix}optimiser to sgd.",
        )
    if stage.optimiser not in _USUAL:
        from histokit.finetune.optimisers import check_optimiser

        check_optimiser(stage.optimiser)


def trains_all(recipe: NetworkRecipe) -> bool:
    """Return whether every stage trains the whole network."""
    return all(stage.train == ALL for stage in recipe.stages)
