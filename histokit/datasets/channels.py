"""Channels as people name them: in files of their own, or within the file of an image."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from histokit.datasets.patterns import PathPattern
from histokit.datasets.walk import Tally
from histokit.errors import DataError, UsageError, counted

#: The field of a pattern that says which channel of an image a file is.
CHANNEL = "channel"


class Channels(NamedTuple):
    """Channels by name, and what each is in files: the text of `CHANNEL` in a path, or a name or number within one."""

    names: tuple[str, ...]
    values: tuple[str, ...]

    @classmethod
    def parsed(cls, texts: Sequence[str]) -> Channels:
        """Return what texts such as ``DAPI:1`` stand for; a name alone is its own value.

        Raises
        ------
        UsageError
            If a name or a value comes twice, or is empty.
        """
        pairs = [text.partition(":") for text in texts]
        names = [name.strip() for name, _, _ in pairs]
        values = [value.strip() or name for name, (_, _, value) in zip(names, pairs, strict=True)]
        for what, found in (("name", names), ("channel of the files", values)):
            if not all(found) or len(set(found)) < len(found):
                raise UsageError(
                    f"The option channels={','.join(texts)} gives a {what} twice, or none.",
                    next="Write it like channels=DAPI:1,Tubulin:2,Actin:4.",
                )
        return cls(tuple(names), tuple(values))


def are_columns(values: Sequence[str], columns: Sequence[str], image: str) -> bool:
    """Whether values of channels are meant as columns of a table: all of them are, or some and no column is `image`."""
    known = {*values} & {*columns}
    return bool(known) and (known == {*values} or image not in columns)


@dataclass
class ChannelFiles:
    """Gathers the files that are the channels of one image.

    Parameters
    ----------
    pattern : PathPattern
        With the field `CHANNEL`.
    channels : Channels
    """

    pattern: PathPattern
    channels: Channels
    others: Tally = field(default_factory=Tally)
    incomplete: Tally = field(default_factory=Tally)
    _images: dict[tuple[str, ...], dict[str, str]] = field(default_factory=dict)

    def add(self, path: str, found: dict[str, str]) -> None:
        """Take a file that matches the pattern.

        Parameters
        ----------
        path : str
        found : dict
            The fields of the pattern.

        Raises
        ------
        DataError
            If another file is the same channel of the same image.
        """
        channel = found[CHANNEL]
        if channel not in self.channels.values:
            self.others.add(path)
            return
        image = self._images.setdefault(tuple(text for name, text in found.items() if name != CHANNEL), {})
        first = image.setdefault(channel, path)
        if first != path:
            raise DataError(
                f"{first!r} and {path!r} are both the channel {channel} of one image by the pattern "
                f"{self.pattern.text!r}.",
                next="Give what tells them apart a name in the pattern, such as {site}.",
            )

    def images(self) -> Iterator[tuple[str, tuple[str, ...], dict[str, str]]]:
        """Yield the id, the files in the order of channels, and the fields of each image that has all of them."""
        names = [name for name in self.pattern.fields if name != CHANNEL]
        for key, files in self._images.items():
            fields = dict(zip(names, key, strict=True))
            missing = [value for value in self.channels.values if value not in files]
            if missing:
                self.incomplete.add(f"{next(iter(files.values()))} (no {', '.join(missing)})")
                continue
            yield self._id(fields), tuple(files[value] for value in self.channels.values), fields

    def _id(self, fields: dict[str, str]) -> str:
        filled = re.sub(r"\{(\w+)\}", lambda name: fields.get(name[1], "*"), self.pattern.text)
        return re.sub(r"\*{2,}(?=[^/])|(?<=[^/*])\*{2,}", "*", filled)

    def remarks(self) -> Iterator[str]:
        """Yield what the user should know of files that were left out."""
        if self.incomplete:
            what = counted(self.incomplete.count, "image lacks a channel and was", "images lack a channel and were")
            yield f"{what} left out, for example {self.incomplete.examples[0]}"
        if self.others:
            what = counted(self.others.count, "file of another channel was", "files of other channels were")
            yield f"{what} left out, for example {self.others.examples[0]!r}"
