"""The state of a training under way, so that one that was killed goes on as if it had not been."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from histokit.errors import BusyError, StoreError, advice_on_store
from histokit.files import PathLock, replaced
from histokit.plugin.digests import digest_file, digest_json
from histokit.store.network_files import flush, reason_of, separate

_STATE = "state.json"


@contextmanager
def trained_alone(folder: Path, run_id: str) -> Iterator[None]:
    """Let one process at a time train the networks of a run; the lock goes with it, however it ends.

    Raises
    ------
    BusyError
        If another one does.
    StoreError
        If the store cannot be written to.
    """
    path = folder.with_suffix(".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    except OSError as error:
        raise StoreError(
            f"The store cannot be written to: {path}: {error.strerror or error}.",
            next=advice_on_store(error),
        ) from error
    busy = BusyError(
        f"Another process is training the run {run_id}.",
        next="Wait for it, and run the same command again: it answers from the store.",
        details={"lock": str(path)},
    )
    with PathLock(path, patience=0).held(busy):
        yield


class Checkpoint:
    """Tensors and plain data in a folder, written whole or not at all.

    Parameters
    ----------
    folder : Path
        Of this training alone.

    Notes
    -----
    The tensors are a safetensors file that is named by its digest; ``state.json`` names it and the training, has a
    digest of itself, and is replaced in one step. A checkpoint of which a bit has changed, or that is of another
    training, counts as none.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def save(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Write a checkpoint in the place of the one before.

        Raises
        ------
        StoreError
            If it cannot be written; the one before it stays.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            part = self.folder / f".tensors.{os.getpid()}.safetensors"
            try:
                save_file(separate(tensors), part)
                flush(part)
                digest = digest_file(part).hex()
                part.replace(self.folder / f"{digest}.safetensors")
            finally:
                part.unlink(missing_ok=True)
            document = {"of": self._of, "state": state, "tensors": digest}
            with replaced(self.folder / _STATE) as part:
                part.write_text(json.dumps({**document, "digest": digest_json(document).hex()}))
                flush(part)
            for old in self.folder.glob("*.safetensors"):
                if old.stem != digest:
                    old.unlink()
        except (OSError, SafetensorError) as error:
            raise StoreError(
                f"The state of the training cannot be written to {self.folder}: {reason_of(error)}.",
                next=advice_on_store(error),
            ) from error

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return what was saved last, or none where there is nothing, or it is damaged."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            document = json.loads((self.folder / _STATE).read_text())
            digest = document.pop("digest")
            file = self.folder / f"{document['tensors']}.safetensors"
            if digest_json(document).hex() != digest or digest_file(file).hex() != document["tensors"]:
                return None
            if document["of"] != self._of:
                return None
            return load_file(file), document["state"]
        except (OSError, ValueError, KeyError, AttributeError, TypeError, SafetensorError):
            return None

    @property
    def _of(self) -> list[str]:
        """The training that it is of: its folder, and the one above."""
        return list(self.folder.parts[-2:])

    @property
    def there(self) -> bool:
        """Whether something is kept, be it damaged or not."""
        return (self.folder / _STATE).exists()

    def forget(self) -> None:
        """Remove it."""
        shutil.rmtree(self.folder, ignore_errors=True)
