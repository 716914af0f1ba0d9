"""Which runs belong to one method, and what to call it: told by the facts of the runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from histokit.compare.feature_layers import shorten
from histokit.compare.run_facts import DERIVED, OF_NO_METHOD, Facts
from histokit.compare.scored import Scored
from histokit.errors import UsageError, did_you_mean
from histokit.finetune.network_question import FINE_TUNING, FROM_SCRATCH
from histokit.plugin.digests import canonical_json

Methods = dict[str, list[Scored]]

#: Named wherever they differ; any other fact only where these leave methods of one name.
_FIRST = ("features", "classifier")
_LONG = 28


def parse_keys(texts: str | Sequence[str] | None, facts: Iterable[Facts], option: str) -> list[str]:
    """Split ``KEY,...`` into names of facts.

    Raises
    ------
    UsageError
        If no run has such a fact.
    """
    listed = [texts] if isinstance(texts, str) else list(texts or [])
    keys = [part.strip() for text in listed for part in text.split(",") if part.strip()]
    known = list(dict.fromkeys(name for entry in facts for name in entry))
    for key in keys:
        if key not in known:
            raise UsageError(
                f"The runs have nothing called {key!r}, which {option} names.",
                next=f"{did_you_mean(key, known)}They have: {', '.join(known)}.",
            )
    return list(dict.fromkeys(keys))


def method_facts(facts: Facts) -> Facts:
    """Return the facts that make the method of a run."""
    return {name: value for name, value in facts.items() if name not in (*OF_NO_METHOD, *DERIVED)}


def same_twice(
    scored: Sequence[Scored], column_of: Callable[[Scored], Any], by_hand: bool
) -> tuple[list[Scored], set[str], list[str]]:
    """Find runs that are the same in every fact and seed: earlier and later runs of one question on other samples.

    Parameters
    ----------
    scored : sequence of Scored
    column_of : callable
        What a run is scored on.
    by_hand : bool
        Whether the runs were named one by one: then all are kept, else the newest.

    Returns
    -------
    list of Scored, set of str, list of str
        Those kept, the ids among them that must be told apart by their id, and notes.
    """
    groups: dict[str, list[Scored]] = {}
    for entry in scored:
        repeat = [entry.facts.get("seed"), entry.facts.get("selection_seed")]
        groups.setdefault(canonical_json([method_facts(entry.facts), repeat, column_of(entry)]), []).append(entry)
    several = [group for group in groups.values() if len(group) > 1]
    if by_hand:
        return list(scored), {entry.run.id for group in several for entry in group}, []
    left_out: dict[str, str] = {}
    for group in several:
        newest = max(group, key=lambda entry: entry.run.created)
        left_out |= {entry.run.id: newest.run.id for entry in group if entry is not newest}
    notes = [
        f"{old} is left out: {new} is a newer run of the same on {_of(scored, new)}" for old, new in left_out.items()
    ]
    return [entry for entry in scored if entry.run.id not in left_out], set(), notes


def _of(scored: Sequence[Scored], run_id: str) -> str:
    return next(entry.run.dataset for entry in scored if entry.run.id == run_id)


def group_methods(scored: Sequence[Scored], keys: Sequence[str], apart: set[str]) -> Methods:
    """Group runs to methods.

    Parameters
    ----------
    scored : sequence of Scored
    keys : sequence of str
        The facts that make a method; all but those of `OF_NO_METHOD` where empty.
    apart : set of str
        Runs that are told from others by their id.

    Returns
    -------
    dict of name to list of Scored
        In the order in which methods first occur.
    """
    groups: dict[str, list[Scored]] = {}
    made: dict[str, Facts] = {}
    for entry in scored:
        facts = {key: entry.facts.get(key) for key in keys} if keys else method_facts(entry.facts)
        if entry.run.id in apart and not keys:
            facts["run"] = entry.run.id
        key = canonical_json(facts)
        made[key] = facts
        groups.setdefault(key, []).append(entry)
    names = name_methods(list(made.values()), keys)
    return dict(zip(names, groups.values(), strict=True))


def by_run(scored: Sequence[Scored]) -> Methods:
    """Return each run as a method of its own, for repeats of a single method."""
    facts = [{**method_facts(e.facts), "seed": e.facts.get("seed"), "run": e.run.id} for e in scored]
    return {name: [entry] for name, entry in zip(name_methods(facts), scored, strict=True)}


def name_methods(facts: Sequence[Facts], keys: Sequence[str] = ()) -> list[str]:
    """Return short names that tell methods apart; equal facts have equal names.

    Parameters
    ----------
    facts : sequence of dict
    keys : sequence of str
        The facts to name; as few as tell the methods apart where empty.
    """
    told = [list(keys)] * len(facts) if keys else _telling(facts)
    meant: dict[str, set[str]] = {}
    names = [_name(entry, shown, _short) for entry, shown in zip(facts, told, strict=True)]
    for name, entry in zip(names, facts, strict=True):
        meant.setdefault(name, set()).add(canonical_json(entry))
    return [
        _name(entry, shown, _whole) if len(meant[name]) > 1 else name
        for entry, shown, name in zip(facts, told, names, strict=True)
    ]


def _telling(facts: Sequence[Facts]) -> list[list[str]]:
    """Return the facts to name each method by: few, and enough to tell it from the others."""
    order = list(dict.fromkeys([*_FIRST, *(name for entry in facts for name in entry)]))
    shown: list[list[str]] = [[] for _ in facts]
    groups = [list(range(len(facts)))]
    for name in order:
        parts = [_apart(facts, members, name) for members in groups]
        differs = any(len(part) > 1 for part in parts)
        for part in parts:
            if len(part) > 1 or (differs and name in _FIRST):
                for member in (m for members in part for m in members):
                    shown[member].append(name)
        groups = [members for part in parts for members in part]
    if len(facts) == 1:
        return [list(_FIRST)]
    alike = not any(name in listed for listed in shown for name in _FIRST)
    # The layer that a network ends with says nothing of its having been trained.
    among_others = len({entry.get("classifier") for entry in facts}) > 1
    for entry, listed in zip(facts, shown, strict=True):
        if among_others and entry.get("classifier") in (FINE_TUNING, FROM_SCRATCH) and "classifier" not in listed:
            listed.insert(listed.index("features") + 1 if "features" in listed else 0, "classifier")
    return [[*_FIRST[1:] * alike, *listed] for listed in shown]


def _apart(facts: Sequence[Facts], members: Sequence[int], name: str) -> list[list[int]]:
    found: dict[str, list[int]] = {}
    for member in members:
        found.setdefault(canonical_json(facts[member].get(name)), []).append(member)
    return list(found.values())


def _name(facts: Facts, shown: Sequence[str], text: Callable[[Any], str]) -> str:
    words = []
    for name in shown:
        value = facts.get(name)
        if name in ("features", "network"):
            words.append(text(value))
        elif name in ("classifier", "strategy", "layer", "kind"):
            words.append(str(value))
        elif name in ("seed", "run"):
            words.append(f"{name} {value}")
        elif value is True:
            words.append(name)
        elif value is not None:
            words.append(f"{name}={text(value)}")
    return " ".join(words) or f"no {', '.join(shown)}"


def _short(value: Any) -> str:
    if isinstance(value, list):
        found = _whole(value)
        return found if len(found) <= _LONG else f"{len(value)} settings"
    return shorten(value) if isinstance(value, str) and "/" in value else _whole(value)


def _whole(value: Any) -> str:
    if isinstance(value, list):
        return "|".join(map(_whole, value))
    if isinstance(value, dict):
        return ",".join(f"{name}={_whole(inner)}" for name, inner in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)
