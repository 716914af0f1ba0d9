"""Recipes and their targets: what is of classes alone is left out of a preset where numbers are predicted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from histokit.errors import UsageError
from histokit.finetune.recipe import CROSS_ENTROPY, OF_NUMBERS, SQUARED, NetworkRecipe
from histokit.finetune.recipe_values import as_text, check_recipe, titled, with_values

#: What of a recipe is of classes alone → what it is of numbers.
_OF_CLASSES: Mapping[str, Any] = {"class_weight": "none", "label_smoothing": 0.0, "mixup": 0.0, "cutmix": 0.0}


def recipe_for_target(
    recipe: NetworkRecipe, changes: Mapping[str, str], numbers: bool
) -> tuple[NetworkRecipe, list[str]]:
    """Return a recipe with some values set, for targets of a kind.

    A recipe that is made for classes takes the squared loss where numbers are predicted.

    Parameters
    ----------
    recipe : NetworkRecipe
        Of a preset.
    changes : mapping
        Key → text, see `override`.
    numbers : bool

    Returns
    -------
    NetworkRecipe
    list of str
        What of the preset was left out.

    Raises
    ------
    UsageError
        If a value that is asked for is one of classes and numbers are predicted, or the other way round.
    """
    notes = []
    if numbers and recipe.loss == CROSS_ENTROPY:
        left = [key for key, rest in _OF_CLASSES.items() if getattr(recipe, key) != rest and key not in changes]
        if left:
            listed = ", ".join(f"{key}={as_text(getattr(recipe, key))}" for key in left)
            notes.append(
                f"{titled(recipe).lower()} is made for classes: numbers have the {SQUARED} loss, and no {listed}"
            )
        recipe = replace(recipe, loss=SQUARED, **_OF_CLASSES)
    changed = with_values(recipe, changes)
    _check_kind(changed, numbers)
    check_recipe(changed)
    return changed, notes


def _check_kind(recipe: NetworkRecipe, numbers: bool) -> None:
    if not numbers:
        if recipe.loss in OF_NUMBERS:
            raise UsageError(
                f"{titled(recipe)}: loss={recipe.loss} is for numbers, and the target is a class.",
                next=f"Set loss to {CROSS_ENTROPY}; or, where its values are numbers, pass --target-type number.",
            )
        return
    wrong = {key: getattr(recipe, key) for key, rest in _OF_CLASSES.items() if getattr(recipe, key) != rest}
    wrong |= {"loss": recipe.loss} if recipe.loss == CROSS_ENTROPY else {}
    for key, value in wrong.items():
        instead = f"Set loss to {' or '.join(OF_NUMBERS)}" if key == "loss" else f"Leave {key} out"
        raise UsageError(
            f"{titled(recipe)}: {key}={as_text(value)} is for classes, and the target is a number.",
            next=f"{instead}; or, where its values are classes, pass --target-type class.",
        )
