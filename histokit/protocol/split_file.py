"""Splits that a user keeps in a CSV or Parquet file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from histokit.datasets.cells import as_text, tidy_text
from histokit.datasets.formulas import guarded_text
from histokit.datasets.own_splits import ROLES
from histokit.datasets.tables import read_cells
from histokit.errors import DataError, did_you_mean
from histokit.protocol.split_drawing import MOST_FOLDS, Labelled
from histokit.store.split_records import split_rows

_SHOWN = 5


def read_split_file(
    path: str | Path, samples: pa.Table, *, root: str = "", group: str | None = None
) -> list[tuple[int, int, str, str]]:
    """Read the rows of a split from a table.

    Parameters
    ----------
    path : path
        A CSV or Parquet file with the columns ``id``, ``image`` or that of the groups, ``role`` or ``split`` (train,
        val or test), and optionally ``fold`` and ``repeat``; or with the columns ``train``, ``val`` and ``test``, which
        list ids, images or groups. An image and a group stand for all their samples, however often they are listed.
    samples : pyarrow.Table
        The dataset's samples, with columns id and image.
    root : str
        What paths of images may begin with.
    group : str, optional
        The column of the groups.

    Returns
    -------
    list of (repeat, fold, sample id, role)

    Raises
    ------
    DataError
        If the file is absent, lacks a column, names an unknown sample or role, or names a sample twice in a fold.
    """
    columns = _columns(Path(path))
    known = {"id": "id", "image": "image", **({group.lower(): group} if group else {})}
    if "role" not in columns and columns.keys() & ROLES.keys():
        return _listed(columns, {name: _members(samples, name, root) for name in known.values()}, path)
    roled = next((columns[name] for name in ("role", "split") if name in columns), None)
    key = next((name for name in known if name in columns), None)
    if key is None or roled is None:
        by = f"id, image or {group}" if group else "id or image"
        raise DataError(
            f"{path} has the columns {', '.join(sorted(filter(None, columns))) or 'none'}.",
            next=f"It needs a header with {by}, and role, and may have fold and repeat; or with train and test.",
        )
    texts = [(role or "").lower() for role in roled]
    _check_known(dict.fromkeys(texts), ROLES, "role", path)
    roles = [ROLES[text] for text in texts]
    members = _members(samples, known[key], root)
    keys = [value or "" for value in columns[key]]
    _check_known(dict.fromkeys(keys), members, key, path)
    places = zip(*(_numbers(columns, name, len(keys), path) for name in ("repeat", "fold")), strict=True)
    rows = [
        (*place, sample_id, role)
        for place, value, role in zip(places, keys, roles, strict=True)
        for sample_id in members[value]
    ]
    return _once(rows, key, path)


def read_labelled_rows(path: str | Path, samples: pa.Table, data: Labelled, root: str, group: str | None) -> pa.Table:
    """Return the rows of a split from a table, as `read_split_file` does, those of labelled samples.

    Raises
    ------
    DataError
        Also if a fold is left without training or test samples.
    """
    labelled = set(data.ids)
    rows = [row for row in read_split_file(path, samples, root=root, group=group) if row[2] in labelled]
    roles_of: dict[tuple[int, int], set[str]] = {}
    for repeat, fold, _, role in rows:
        roles_of.setdefault((repeat, fold), set()).add(role)
    for place in sorted(roles_of) or [(0, 0)]:
        roles = roles_of.get(place, set())
        if not {"train", "test"} <= roles:
            lacking = " and no ".join(role for role in ("train", "test") if role not in roles)
            raise DataError(
                f"Fold {place[1]} of repeat {place[0]} in {path} has no {lacking} samples with a label.",
                next="Give each fold both train and test.",
            )
    return split_rows(rows)


def _listed(
    columns: Mapping[str, Sequence[str | None]], known: Mapping[str, Mapping[str, list[str]]], path: str | Path
) -> list[tuple[int, int, str, str]]:
    """Return the rows of a file whose columns are called as the parts of the split, and list what is in them."""
    parts = {name: [value for value in columns[name] if value] for name in columns if name in ROLES}
    named = [value for values in parts.values() for value in values]
    key = next((name for name, members in known.items() if not named or named[0] in members), "image")
    members = known[key]
    _check_known(dict.fromkeys(named), members, key, path)
    rows: list[tuple[int, int, str, str]] = [
        (0, 0, each, ROLES[name]) for name, values in parts.items() for value in values for each in members[value]
    ]
    return _once(rows, key, path)


def _columns(path: Path) -> dict[str, list[str | None]]:
    table = read_cells(path)
    names = [name.lower() for name in table.column_names]
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise DataError(f"{path} has several columns named {twice[0]!r}.", next="Keep one.")
    plain = {n: c for n, c in zip(names, table.columns, strict=True) if not pa.types.is_nested(c.type)}
    return {name: as_text(column).to_pylist() for name, column in plain.items()}


def _members(samples: pa.Table, key: str, root: str) -> Mapping[str, list[str]]:
    """Return the samples that each text stands for: an id, a path of an image with the root or without, or a group."""
    ids = samples.column("id").to_pylist()
    if key == "id":
        # As they are in a CSV file that was exported, as they are in any, and as they are.
        return {**{guarded_text(i): [i] for i in ids}, **{tidy_text(i): [i] for i in ids}, **{i: [i] for i in ids}}
    column = samples.column(key)
    values = column.to_pylist() if key == "image" else [[text] for text in as_text(column).to_pylist()]
    found: dict[str, list[str]] = {}
    for sample_id, names in zip(ids, values, strict=True):
        for name in filter(None, names):
            found.setdefault(tidy_text(name), []).append(sample_id)
    whole = {f"{root.rstrip('/')}/{name}": ids for name, ids in found.items()} if key == "image" else {}
    return {**{guarded_text(name): ids for name, ids in found.items()}, **whole, **found}


def _check_known(values: object, known: object, what: str, path: str | Path) -> None:
    unknown = [v for v in values if v not in known]  # type: ignore[attr-defined, operator]
    if unknown:
        shown = ", ".join(repr(v) for v in unknown[:_SHOWN])
        hint = did_you_mean(unknown[0], known)  # type: ignore[arg-type]
        example = next(iter(known), "none")  # type: ignore[call-overload]
        raise DataError(
            f"{path} names {len(unknown)} unknown {what}{'s' if len(unknown) > 1 else ''}: {shown}.",
            next=f"{hint}Known: train, val, test." if what == "role" else f"{hint}One of the dataset's is {example!r}.",
        )


def _numbers(columns: Mapping[str, Sequence[str | None]], name: str, count: int, path: str | Path) -> list[int]:
    """Return the numbers of folds or repeats; 0 where the file tells none."""
    texts = columns.get(name)
    if texts is None or not any(texts):
        return [0] * count
    for row, text in enumerate(texts, start=1):
        if text is None or not text.removesuffix(".0").isdecimal():
            shown = "no" if text is None else "the"
            raise DataError(
                f"{path} has {shown} {name}{'' if text is None else f' {text!r}'} in row {row}.",
                next=f"Give {name} as whole numbers from 0.",
            )
    numbers = [int(str(text).removesuffix(".0")) for text in texts]
    if max(numbers) > MOST_FOLDS:
        row = numbers.index(max(numbers)) + 1
        raise DataError(
            f"{path} has the {name} {max(numbers):,} in row {row}.",
            next=f"Number them from 0 to {MOST_FOLDS:,} at most.",
        )
    return numbers


def _once(rows: list[tuple[int, int, str, str]], key: str, path: str | Path) -> list[tuple[int, int, str, str]]:
    """Return each row once, unless ids are listed twice or a sample has two roles."""
    seen: dict[tuple[int, int, str], str] = {}
    for repeat, fold, sample_id, role in rows if key == "id" else dict.fromkeys(rows):
        place = (repeat, fold, sample_id)
        if place in seen:
            raise DataError(
                f"{path} names the sample {sample_id!r} twice in fold {fold} (as {seen[place]} and {role}).",
                next="Give each sample one role in each fold.",
            )
        seen[place] = role
    return [(*place, role) for place, role in seen.items()]
