"""A dataset whose methods are called with care: what its plugin raises, or gives wrongly, is told as the plugin's."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from pathlib import Path
from typing import Any

from histokit.errors import HistokitError, UsageError
from histokit.plugin.calls import shown, shown_error, shown_value
from histokit.plugin.dataset import RESERVED_COLUMNS, Dataset, PublishedSplit, Sample
from histokit.plugin.declared import ATTRIBUTES, check_attributes, check_declared, plain
from histokit.plugin.digests import DIGEST_BYTES, FileState, as_json, canonical_json, joint_state, state_of
from histokit.plugin.kept_streams import working_folder
from histokit.plugin.manager import dataset_caller
from histokit.plugin.names import SPLIT_NAME, is_split_name
from histokit.plugin.plain_fields import WrongValueError, plain_sample, plain_split

#: Attributes by which images are read.
READ_BY = ("channels", "bits", "scale", "scale_over", "file_channels")

#: Those, and the ones by which samples are kept: images are read later, where nobody asks for the samples first.
_KNOWN_FIRST = ("name", "version", "root", "options", "columns", *READ_BY)


class Guarded:
    """Calls the methods of a dataset.

    Parameters
    ----------
    dataset : Dataset
        Errors of histokit's own plugins stay what they are.
    """

    def __init__(self, dataset: Dataset):
        self.dataset = dataset
        self.caller = dataset_caller(type(dataset))

    def check(self) -> None:
        """Look at the attributes.

        Raises
        ------
        PluginError
            If one of them is not what it has to be.
        """
        if not self.caller.ours:
            check_declared(self.caller, self.dataset)

    def mistake(self, attribute: str, error: UsageError) -> HistokitError:
        """Return whose mistake the value of an attribute is: the user's who gave it as an option, or the plugin's."""
        if self.caller.ours or getattr(self.dataset, attribute) in self.dataset.options.values():
            return error
        value = shown_value(getattr(self.dataset, attribute))
        return self.caller.wrong(f"its attribute {attribute}", f"{value}: {error.message} {error.next}")

    def fit(self) -> Any:
        """Return what `Dataset.fit` returns, once the dataset has it as its state.

        Raises
        ------
        PluginError
            If it cannot be kept as JSON.
        """
        with self.caller.call("fit()"):
            before = self._known_first()
            state = self.dataset.fit()
        if not self.caller.ours:
            self._refuse_change("fit()", before)
        try:
            # As it comes back from the store, so that what is read now is what is read then.
            canonical_json(state := as_json(state)).encode()
        except BaseException as error:
            raise self.caller.wrong("fit()", f"what JSON cannot hold ({shown_error(error)})") from error
        with self.caller.call("its attribute state"):
            self.dataset.state = state
        return state

    def resolve_root(self) -> Path:
        """Let the root be an absolute path without links."""
        with self.caller.call("its attribute root"):
            self.dataset.root = self.dataset.root.resolve()
        return self.dataset.root

    def samples(self) -> Iterator[Sample]:
        """Yield the samples.

        Raises
        ------
        PluginError
            If one of them is none, or has a field of another type; or if an attribute changes by which it is read.
        """
        with self.caller.call("samples()"):
            before = self._known_first()
            found, folder = self.dataset.samples(), working_folder()
        items = self.caller.items("samples()", found, folder)
        if self.caller.ours:
            yield from items
            return
        columns, files = dict(self.dataset.columns), type(self.dataset).read is Dataset.read
        for number, sample in enumerate(items):
            if not number:
                self._refuse_change("samples()", before)
                before["group"] = self.dataset.group
            yield self._plain(number, sample, columns, files)
        self._refuse_change("samples()", before)

    def _known_first(self) -> dict[str, Any]:
        return {name: copy(getattr(self.dataset, name)) for name in _KNOWN_FIRST}

    def _refuse_change(self, method: str, before: Mapping[str, Any]) -> None:
        """Raise where a method changed an attribute; others, such as the classes, may be found out by it."""
        check_declared(self.caller, self.dataset)
        for name, value in before.items():
            if plain(now := getattr(self.dataset, name)) != plain(value):
                what = f"its attribute {name} the value {shown_value(now)} in place of {shown_value(value)}"
                raise self.caller.wrong(method, f"{what}, although only the constructor sets it where images are read,")

    def _plain(self, number: int, sample: Any, columns: Mapping[str, type], files: bool) -> Sample:
        about = f"sample {number}"
        # An object may lie about its class.
        if not issubclass(type(sample), Sample):
            raise self.caller.wrong("samples()", f"{shown(sample)} in place of a Sample", about)
        try:
            return plain_sample(sample, columns, files)
        except WrongValueError as error:
            about = f"{about} ({shown_value(sample.id)})"
            raise self.caller.wrong("samples()", str(error), about) from error
        except BaseException:
            with self.caller.call("samples()", about):
                raise

    def warnings(self) -> tuple[str, ...]:
        """Return what the user should know of the data, once all samples were there.

        Raises
        ------
        PluginError
            If they are no texts.
        """
        check_attributes(self.caller, self.dataset, [each for each in ATTRIBUTES if each.name == "warnings"])
        return tuple(self.dataset.warnings)

    def splits(self, ids: Iterable[str] | None = None) -> dict[str, PublishedSplit]:
        """Return the published splits by name.

        Parameters
        ----------
        ids : iterable of str, optional
            Of the samples, where they are known; gone through for each split.

        Raises
        ------
        PluginError
            If they are none, or break their contract.
        """
        with self.caller.call("splits()"):
            found = self.dataset.splits()
            found = dict(found) if isinstance(found, Mapping) else found
        if type(found) is not dict:
            raise self.caller.wrong("splits()", f"{shown(found)} in place of name → PublishedSplit")
        return dict(self._split(name, split, ids) for name, split in found.items())

    def _split(self, name: Any, split: Any, ids: Iterable[str] | None) -> tuple[str, PublishedSplit]:
        name = str.__str__(name) if issubclass(type(name), str) else name
        if type(name) is not str or not is_split_name(name):
            raise self.caller.wrong("splits()", f"the name {shown_value(name)}: names are of {SPLIT_NAME}")
        about = f"the split {name!r}"
        if not issubclass(type(split), PublishedSplit):
            raise self.caller.wrong("splits()", f"{shown(split)} in place of a PublishedSplit", about)
        columns = (*RESERVED_COLUMNS, *self.dataset.columns)
        try:
            with self.caller.call("splits()", about, through=(WrongValueError,)):
                return name, plain_split(split, ids, columns)
        except WrongValueError as error:
            raise self.caller.wrong("splits()", str(error), about) from error

    def pixel_key(self, sample: Sample) -> bytes:
        """Return what `Dataset.pixel_key` returns.

        Raises
        ------
        PluginError
            If it is not bytes.
        """
        if self.caller.ours:
            return self.dataset.pixel_key(sample)
        about = f"the sample {sample.id!r}"
        with self.caller.call("pixel_key()", about):
            key = self.dataset.pixel_key(sample)
        if not issubclass(type(key), bytes):
            raise self.caller.wrong("pixel_key()", f"{shown(key)} in place of bytes", about)
        return key

    def file_state(self, path: str) -> FileState:
        """Return the state of a file, given relative to the root, with that of the files beside it.

        Raises
        ------
        OSError
            If it is not there.
        DataError, PluginError
            If what lies beside it cannot be found out.
        """
        full = os.path.join(self.dataset.root, path)
        if type(self.dataset).files_beside is Dataset.files_beside:
            return state_of(os.stat(full))
        with self.caller.call("files_beside()", path, through=(OSError,)):
            return joint_state(full, self.dataset.files_beside(Path(full)))

    def file_digest(self, path: Path) -> bytes:
        """Return what `Dataset.file_digest` returns; what the system says of a file that cannot be read goes through.

        Raises
        ------
        OSError, ValueError
        PluginError
            If it is not of 16 bytes.
        """
        with self.caller.call("file_digest()", str(path), through=(OSError,)):
            digest = self.dataset.file_digest(path)
        if not issubclass(type(digest), bytes) or len(digest) != DIGEST_BYTES:
            raise self.caller.wrong("file_digest()", f"{shown(digest)} in place of {DIGEST_BYTES} bytes", str(path))
        return digest

    def part_digest(self, sample: Sample) -> bytes | None:
        """Return what `Dataset.part_digest` returns.

        Raises
        ------
        DataError
            If the part cannot be read.
        PluginError
            If it is neither none nor of 16 bytes.
        """
        if type(self.dataset).part_digest is Dataset.part_digest:
            return None
        about = f"the sample {sample.id!r}"
        with self.caller.call("part_digest()", about):
            digest = self.dataset.part_digest(sample)
        if digest is not None and (not issubclass(type(digest), bytes) or len(digest) != DIGEST_BYTES):
            raise self.caller.wrong("part_digest()", f"{shown(digest)} in place of {DIGEST_BYTES} bytes", about)
        return digest

    def read(self, sample: Sample) -> Any:
        """Return what `Dataset.read` returns."""
        with self.caller.call("read()", f"the sample {sample.id!r}"):
            return self.dataset.read(sample)
