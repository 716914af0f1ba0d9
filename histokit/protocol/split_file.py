"""Splits that a user keeps in a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from histokit.errors import DataError, did_you_mean

ROLES = ("train", "val", "test")
_SHOWN = 5


def read_split_file(path: str | Path, samples: pa.Table) -> list[tuple[int, int, str, str]]:
    """Read the rows of a split from a CSV file with a header.

    Parameters
    ----------
    path : path
        Columns ``id`` or ``image``, ``role`` (train, val or test), and optionally ``fold`` and
        ``repeat``. An image stands for all its samples.
    samples : pyarrow.Table
        The dataset's samples, with columns id and image.

    Returns
    -------
    list of (repeat, fold, sample id, role)

    Raises
    ------
    DataError
        If the file is absent, lacks a column, names an unknown sample or role, or names a sample twice in a fold.
    """
    lines = _read_lines(Path(path))
    columns = set(lines[0]) if lines else set()
    key = "id" if "id" in columns else "image"
    if key not in columns or "role" not in columns:
        raise DataError(
            f"{path} has the columns {', '.join(sorted(filter(None, columns))) or 'none'}.",
            next="It needs a header with id (or image) and role, and may have fold and repeat.",
        )
    roles = [(line["role"] or "").strip().lower() for line in lines]
    _check_known(set(roles), ROLES, "role", path)
    members = _members(samples, key)
    keys = [(line[key] or "").strip() for line in lines]
    _check_known(dict.fromkeys(keys), members, key, path)
    places = [(_number(line, "repeat", path), _number(line, "fold", path)) for line in lines]
    rows = [
        (*place, sample_id, role)
        for place, value, role in zip(places, keys, roles, strict=True)
        for sample_id in members[value]
    ]
    _check_once(rows, path)
    return rows


def _read_lines(path: Path) -> list[dict[str, str | None]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
            return [{k: v for k, v in line.items() if isinstance(k, str)} for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}.", next="Give a CSV file with id and role.") from error


def _members(samples: pa.Table, key: str) -> Mapping[str, list[str]]:
    ids = samples.column("id").to_pylist()
    if key == "id":
        return {sample_id: [sample_id] for sample_id in ids}
    found: dict[str, list[str]] = {}
    for sample_id, images in zip(ids, samples.column("image").to_pylist(), strict=True):
        for image in images:
            found.setdefault(image, []).append(sample_id)
    return found


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


def _number(line: Mapping[str, str | None], column: str, path: str | Path) -> int:
    text = (line.get(column) or "0").strip()
    if not text.isdigit():
        raise DataError(f"{path} has the {column} {text!r}.", next=f"Give {column} as whole numbers from 0.")
    return int(text)


def _check_once(rows: list[tuple[int, int, str, str]], path: str | Path) -> None:
    seen: dict[tuple[int, int, str], str] = {}
    for repeat, fold, sample_id, role in rows:
        place = (repeat, fold, sample_id)
        if place in seen:
            raise DataError(
                f"{path} names the sample {sample_id!r} twice in fold {fold} (as {seen[place]} and {role}).",
                next="Give each sample one role in each fold.",
            )
        seen[place] = role
