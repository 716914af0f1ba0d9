"""The folder of an exported model: what it holds, whether it is whole, and how it is written in one step."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from shutil import rmtree
from typing import Any

from histokit.errors import DataError, StoreError, UsageError, advice_on_writing, first_line, some
from histokit.files import check_folder
from histokit.plugin.digests import digest_file, digest_json
from histokit.store.network_files import flush, reason_of

#: Raised when older versions could no longer read a folder.
MODEL_FORMAT = 1

DESCRIPTION = "histokit.json"
CARD = "README.md"
NETWORK_FILE = "model.safetensors"
CLASSIFIER_FILE = "model.skops"
SEEN_FILE = "seen.safetensors"

#: The two kinds of models.
NETWORK, CLASSIFIER = "network", "classifier"

_NEEDED = ("kind", "classes", "channels", "pixels", "run", "files", "digest")


def as_model_folder(text: str | os.PathLike[str]) -> Path | None:
    """Return the folder that a text names, or none where it is the id of a run: no folder, and without a slash."""
    path = Path(text)
    named = any(mark in os.fspath(text) for mark in (os.sep, os.altsep) if mark)
    return path if named or path.is_dir() else None


def read_description(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the description of a model, once its files are known to be those that were written.

    Parameters
    ----------
    folder : path

    Returns
    -------
    dict
        As it stands in ``histokit.json``.

    Raises
    ------
    UsageError
        If there is no such folder, or no model in it.
    StoreError
        If it was written by a newer version.
    DataError
        If a file is gone, or is not what was written.
    """
    place = Path(folder)
    file = place / DESCRIPTION
    if not file.is_file():
        what = f"holds no {DESCRIPTION}: it is no exported model" if place.is_dir() else "is no folder"
        raise UsageError(f"{folder} {what}.", next="Name a folder of: histokit export-model RUN --out FOLDER")
    try:
        document = json.loads(file.read_text("utf-8"))
        newer = document["format"] > MODEL_FORMAT
        absent = [name for name in _NEEDED if document.get(name) is None]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(place, f"{DESCRIPTION} is no description of a model") from error
    if newer:
        raise StoreError(
            f"{folder} was written by a newer version of histokit ({document.get('histokit')}).",
            next="Update histokit.",
        )
    if absent:
        raise _damaged(place, f"{DESCRIPTION} lacks {some(absent)}")
    try:
        written = signed(document) == document
    except ValueError:
        # A number without end, of which there is no digest.
        written = False
    if not written:
        raise _damaged(place, f"{DESCRIPTION} is not what was written")
    for name, known in document["files"].items():
        _check(place, name, known)
    found: dict[str, Any] = document
    return found


def signed(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description with the digest of all else that it says, by which one that was changed is told."""
    rest = {name: value for name, value in document.items() if name != "digest"}
    return {**rest, "digest": digest_json(rest).hex()}


def _check(folder: Path, name: str, known: dict[str, Any]) -> None:
    path = folder / name
    if not path.is_file():
        raise _damaged(folder, f"{name} is gone")
    size = path.stat().st_size
    if size != known["bytes"]:
        raise _damaged(folder, f"{name} has {size:,} bytes and not the {known['bytes']:,} that were written")
    if digest_file(path).hex() != known["digest"]:
        raise _damaged(folder, f"{name} is not what was written")


def _damaged(folder: Path, what: str) -> DataError:
    again = f"Copy the folder again, or export it again: histokit export-model RUN --out {quote(str(folder))} --force"
    return DataError(f"The model in {folder} is damaged: {what}.", next=again)


def damaged(folder: Path, file: str, error: Exception) -> DataError:
    """Return the error for a file that is what was written, and cannot be read."""
    return _damaged(folder, f"{file} cannot be read ({first_line(error)})")


@contextmanager
def new_folder(out: str | os.PathLike[str], replace: bool) -> Iterator[Path]:
    """Yield a folder to write a model to, which comes to its place in one step once it is whole.

    Parameters
    ----------
    out : path
    replace : bool
        Whether an exported model may be there.

    Raises
    ------
    UsageError
        If something is there that is not to be replaced, or the folder cannot be made.
    StoreError
        If it cannot be written.
    """
    from safetensors import SafetensorError

    place = check_folder(out)
    _check_free(place, replace)
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    old = place.with_name(f".{place.name}.{os.getpid()}.old")
    try:
        rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
        for path in part.iterdir():
            path.chmod(part.stat().st_mode & 0o666)
            flush(path)
        flush(part)
        if place.exists():
            place.replace(old)
        part.replace(place)
        flush(place.parent)
    except (OSError, SafetensorError) as error:
        if old.exists() and not place.exists():
            old.replace(place)
        raise StoreError(
            f"The model cannot be written to {out}: {reason_of(error)}.",
            next=advice_on_writing(error),
        ) from error
    finally:
        rmtree(part, ignore_errors=True)
        rmtree(old, ignore_errors=True)


def _check_free(place: Path, replace: bool) -> None:
    if not place.exists() or not any(place.iterdir()):
        return
    if not (place / DESCRIPTION).is_file():
        raise UsageError(
            f"{place} is there, and holds no exported model.", next="Choose another folder with --out, or empty it."
        )
    if not replace:
        raise UsageError(f"{place} holds a model already.", next="Choose another folder, or replace it with --force.")


def file_facts(folder: Path) -> dict[str, dict[str, Any]]:
    """Return digest and size of each file in a folder."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return {path.name: {"digest": digest_file(path).hex(), "bytes": path.stat().st_size} for path in files}
