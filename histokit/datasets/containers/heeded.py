"""Options that no file of images heeds, because it has no such thing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from histokit.datasets.containers.archives import PathArchive
from histokit.datasets.containers.container import Container, ContainerOptions
from histokit.datasets.named_columns import refuse_without_table, require_named
from histokit.errors import UsageError


def require_heeded(
    containers: Callable[[], Iterable[Container]], options: ContainerOptions, text: Collection[str]
) -> None:
    """Raise a `UsageError` for an option that names what none of the files has.

    Parameters
    ----------
    containers : callable
        Opens the files, one after the other.
    options : ContainerOptions
    text : collection of str
        The columns that are said to be text.
    """
    of_members = {"pattern": options.pattern and options.pattern.text, "on": options.on}
    for option, given in of_members.items():
        if given and not any(isinstance(container, PathArchive) for container in containers()):
            raise _unheeded(option, given, "Leave it out: it is of the names in an archive.")
    if options.images and all(isinstance(container, PathArchive) for container in containers()):
        advice = "Say which members of an archive are images by a pattern, such as -o pattern='**/{label}/*.png'."
        raise _unheeded("images", ",".join(options.images), advice)
    column = None if options.labels else options.label_column
    if column is not None and all(isinstance(container, PathArchive) for container in containers()):
        refuse_without_table(label_column=column)
    if text:
        known = dict.fromkeys(name for container in containers() for name in container.names())
        require_named({"text": text}, known, lambda _: "Name what stands beside the images, or nothing.")


def _unheeded(option: str, given: str, advice: str) -> UsageError:
    return UsageError(f"The option {option}={given!r} says nothing of these files.", next=advice)
