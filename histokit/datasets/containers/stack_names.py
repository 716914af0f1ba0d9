"""Which arrays of a file are images, and which are the labels of these, by their names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

#: What people call images, and what then is the name of their labels.
PARTNERS: Mapping[str, tuple[str, ...]] = {
    "images": ("labels", "label", "targets", "target", "classes", "y"),
    "image": ("label", "labels", "target", "targets"),
    "imgs": ("labels", "label", "targets"),
    "img": ("label", "labels", "target"),
    "patches": ("labels", "targets", "label", "classes"),
    "tiles": ("labels", "targets", "label", "classes"),
    "x": ("y", "labels", "label"),
    "data": ("labels", "label", "targets", "target", "y"),
    "arr": ("labels", "label"),
}
_LABELS = frozenset(name for names in PARTNERS.values() for name in names)
_WORD = re.compile(r"[A-Za-z]+")


class Place(NamedTuple):
    """The word of a name that says what an array is, and what stands before and after it."""

    before: str
    word: str
    after: str


def image_place(name: str) -> Place | None:
    """Return the word of a name that says that it is of images; the last one where there are several."""
    found = [match for match in _WORD.finditer(name) if match[0].lower() in PARTNERS]
    if not found or is_of_labels(name):
        return None
    match = found[-1]
    return Place(name[: match.start()], match[0], name[match.end() :])


def is_of_labels(name: str) -> bool:
    """Whether the last word of a name that says what an array is says that it is of labels."""
    told = [word.lower() for word in _WORD.findall(name) if word.lower() in PARTNERS or word.lower() in _LABELS]
    return bool(told) and told[-1] in _LABELS


def partners(name: str) -> Iterator[str]:
    """Yield what the labels of images of some name may be called, the likeliest first."""
    place = image_place(name)
    for word in PARTNERS[place.word.lower()] if place else ():
        for written in dict.fromkeys((word, word.capitalize(), word.upper())):
            yield f"{place.before}{written}{place.after}"  # type: ignore[union-attr]


def partner(name: str, known: Collection[str]) -> str | None:
    """Return which of the names is that of the labels of some images."""
    return next((other for other in partners(name) if other in known), None)


def beside(images: str, name: str) -> str | None:
    """Return what an array beside images is of, such as ``patient`` for ``train_patient`` beside ``train_images``."""
    place = image_place(images)
    before, after = (place.before, place.after) if place else ("", "")
    if not (name.startswith(before) and name.endswith(after)) or len(name) <= len(before) + len(after):
        return None
    return name[len(before) : len(name) - len(after)]
