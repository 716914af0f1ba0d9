"""Trained networks: safetensors files beside the tables, each known by the digest of its bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from histokit.errors import StoreError, advice_on_store, out_of_reach
from histokit.plugin.digests import DIGEST_BYTES, digest_bytes, digest_file
from histokit.store.network_files import document_in, flush, read_network, reason_of, separate
from histokit.store.records import RunRecord
from histokit.store.unfinished import FORGOTTEN_AFTER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

FOLDER = "networks"
UNFINISHED = "unfinished"

#: The part of a run that was trained on all of its training samples.
FINAL = "final"

#: The tensor in a file that holds the digests of all images that the network has seen.
CONTENTS = "used.contents"

_AGAIN = "Train it again with --force."


@dataclass(frozen=True)
class StoredNetwork:
    """What a file of a trained network holds.

    Parameters
    ----------
    tensors : dict
        Name → Tensor, on the CPU.
    document : dict
        How the network is built, see `histokit.networks.trainable.NetworkDescription`.
    """

    tensors: dict[str, Tensor]
    document: dict[str, Any]


class Networks:
    """Reads and writes the trained networks of a store.

    A file is named by its run, its part and the digest of its bytes, so that a run that is done again writes other
    files, and its record changes over to them in one step.

    Parameters
    ----------
    root : path
        Of the store.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self.folder = self.root / FOLDER

    def save(
        self,
        run_id: str,
        part: str,
        tensors: Mapping[str, Tensor],
        metadata: Mapping[str, str],
        used: Iterable[bytes] = (),
    ) -> dict[str, Any]:
        """Write a network; equal ones give equal bytes.

        Parameters
        ----------
        run_id : str
        part : str
            ``final``, or ``REPEAT.FOLD``.
        tensors : mapping
            Name → Tensor, on any device.
        metadata : mapping
            Of one key: the order of several is not fixed.
        used : iterable of bytes
            Content digests of all images that the network has seen: those that it was trained on, and those by which
            its epoch was chosen.

        Returns
        -------
        dict
            For ``found["networks"]`` of the run: part, file, digest, bytes; ``samples``, how many different images the
            network has seen, and ``contents``, the digest of theirs.

        Raises
        ------
        StoreError
            If it cannot be written; nothing is left of it then.
        """
        import torch
        from safetensors.torch import save_file

        if len(metadata) > 1:
            raise ValueError("the order of several keys is not fixed in a safetensors file")
        contents = b"".join(sorted(set(used)))
        seen = np.frombuffer(contents, np.uint8).reshape(-1, DIGEST_BYTES).copy()
        held = {**separate(tensors), CONTENTS: torch.from_numpy(seen)}
        part_file = self.folder / run_id / f".{part}.{os.getpid()}.part"
        with self._writing(part_file):
            part_file.parent.mkdir(parents=True, exist_ok=True)
            save_file(held, part_file, dict(metadata))
            # The library makes files that nobody else may read.
            part_file.chmod(part_file.parent.stat().st_mode & 0o666)
            flush(part_file)
            digest = digest_file(part_file).hex()
            path = part_file.with_name(f"{part}.{digest[:12]}.safetensors")
            size = part_file.stat().st_size
            part_file.replace(path)
            flush(path.parent)
        entry = {"part": part, "file": path.relative_to(self.folder).as_posix(), "digest": digest, "bytes": size}
        return {**entry, "samples": len(seen), "contents": digest_bytes(contents).hex()}

    @contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        from safetensors import SafetensorError

        try:
            yield
        except (OSError, SafetensorError) as error:
            with suppress(OSError):
                path.unlink(missing_ok=True)
                path.parent.rmdir()
            raise StoreError(
                f"A network of the store {self.root} cannot be written: {reason_of(error)}.",
                next=advice_on_store(error),
            ) from error

    def path(self, entry: Mapping[str, Any]) -> Path:
        """Return the file of a network, which may be gone."""
        return self.folder / entry["file"]

    def damage(self, entry: Mapping[str, Any]) -> str | None:
        """Return what is wrong with the file of a network, or none; raise where it cannot be read for other reasons."""
        path = self.path(entry)
        try:
            if digest_file(path).hex() == entry["digest"]:
                return None
        except FileNotFoundError:
            return f"its file {path} is gone"
        except OSError as error:
            if unreached := out_of_reach(error, f"The network {path}"):
                raise unreached from error
            return f"its file {path} cannot be read: {error.strerror}"
        return f"its file {path} changed on disk"

    def require(self, run: RunRecord, entry: Mapping[str, Any]) -> Path:
        """Return the file of a network, once it is known to be what was written.

        Raises
        ------
        StoreError
        """
        wrong = self.damage(entry)
        if wrong is not None:
            self._damaged(run, entry, wrong)
        return self.path(entry)

    def _damaged(self, run: RunRecord, entry: Mapping[str, Any], wrong: str) -> NoReturn:
        raise StoreError(
            f"The network {entry['part']!r} of the run {run.id} is damaged: {wrong}.",
            next=f"{_AGAIN} All that is damaged, and what makes it again: histokit store verify",
        )

    def read(self, run: RunRecord, entry: Mapping[str, Any]) -> StoredNetwork:
        """Return a network.

        Raises
        ------
        StoreError
            If it is gone, or not what was written.
        """
        tensors, document = read_network(self.require(run, entry))
        tensors.pop(CONTENTS, None)
        return StoredNetwork(tensors, document)

    def contents(self, run: RunRecord, entry: Mapping[str, Any]) -> set[bytes]:
        """Return the content digests of all images that a network has seen; no deep learning library is imported.

        Raises
        ------
        StoreError
            If they cannot be read, or are not what was written.
        """
        with self._opened(run, entry) as file:
            rows = file.get_tensor(CONTENTS)
        if digest_bytes(rows.tobytes()).hex() != entry["contents"]:
            self._damaged(run, entry, f"its file {self.path(entry)} changed on disk")
        return {row.tobytes() for row in rows}

    @contextmanager
    def _opened(self, run: RunRecord, entry: Mapping[str, Any]) -> Iterator[Any]:
        """Open the file of a network; what cannot be read of it is damaged."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path(entry), framework="numpy") as file:
                yield file
        except (OSError, SafetensorError, ValueError) as error:
            self._damaged(run, entry, self.damage(entry) or str(error))

    def licence(self, run: RunRecord, entry: Mapping[str, Any]) -> str | None:
        """Return the licence of the weights that a network was trained from, where that is known.

        Raises
        ------
        StoreError
            If its file cannot be read.
        """
        with self._opened(run, entry) as file:
            document = document_in(file)
        found: str | None = document.get("facts", {}).get("licence")
        return found

    def unfinished(self, run_id: str) -> Path:
        """Return the folder for what is kept of a training that has not ended yet."""
        return self.folder / UNFINISHED / run_id

    def forget(self, run_id: str) -> None:
        """Remove all networks of a run, and what is kept of its training."""
        rmtree(self.folder / run_id, ignore_errors=True)
        rmtree(self.unfinished(run_id), ignore_errors=True)

    def collect(
        self,
        unfinished: Callable[[], Mapping[str, datetime]],
        runs: Callable[[], Collection[RunRecord]],
        horizon: datetime,
        dry_run: bool,
    ) -> tuple[int, int]:
        """Remove networks that no run names, and what is left of trainings that have ended or are forgotten.

        What was written after the horizon stays, as do the networks of a training that has not ended: it may go on.

        Parameters
        ----------
        unfinished : callable
            Returns run that has not ended → when its last part did.
        runs : callable
            Returns the runs.
        horizon : datetime
        dry_run : bool

        Returns
        -------
        count, freed : int
            Files and bytes.
        """
        # In this order: what ends meanwhile is found in one of them.
        files, parts, records = self._files(), unfinished(), runs()
        ended, named = {run.id for run in records}, {entry["file"] for run in records for entry in entries(run)}
        last = dict(parts)
        for path, status in files.items():
            owner, *_, kept = self._place(path)
            if kept:
                last[owner] = max(last.get(owner, _time(status)), _time(status))
        forgotten = datetime.now(UTC) - FORGOTTEN_AFTER
        going_on = {owner for owner, time in last.items() if time > (horizon if owner in ended else forgotten)}
        removable = [
            path
            for path, status in files.items()
            if (place := self._place(path))[0] not in going_on and place[1] not in named and _time(status) <= horizon
        ]
        freed = sum(files[path].st_size for path in removable)
        for path in () if dry_run else removable:
            path.unlink(missing_ok=True)
            with suppress(OSError):
                path.parent.rmdir()
        return len(removable), freed

    def _files(self) -> dict[Path, os.stat_result]:
        """Return all files as they are, but for locks: one that is removed while it is held holds nobody up."""
        found = {}
        paths = (Path(folder, name) for folder, _, names in os.walk(self.folder) for name in names)
        for path in paths:
            # A training that goes on replaces what it keeps.
            with suppress(FileNotFoundError):
                if path.suffix != ".lock":
                    found[path] = path.stat()
        return found

    def _place(self, path: Path) -> tuple[str, str, bool]:
        """Return of which run a file is, its name in records, and whether it is of a training that has not ended."""
        inside = path.relative_to(self.folder)
        kept = inside.parts[0] == UNFINISHED and len(inside.parts) > 2
        return inside.parts[1 if kept else 0], inside.as_posix(), kept


def entries(run: RunRecord) -> list[dict[str, Any]]:
    """Return what a run knows of its networks; none where it is of another kind."""
    found: list[dict[str, Any]] = run.found.get("networks", []) if run.kind != "predict" else []
    return found


def final_part(run: RunRecord) -> str:
    """Return the part of a run's network that was trained on all training samples, be it that of its only fold."""
    return str(run.found.get("final", {}).get("part", FINAL))


def _time(status: os.stat_result) -> datetime:
    return datetime.fromtimestamp(status.st_mtime, UTC)
