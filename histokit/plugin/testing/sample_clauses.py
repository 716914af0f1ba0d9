"""What the contract of a dataset plugin says of samples."""

from __future__ import annotations

import unicodedata
from pathlib import Path, PurePosixPath

from histokit.plugin.dataset import RESERVED_COLUMNS, Dataset, Sample
from histokit.plugin.digests import canonical_json
from histokit.plugin.guarded import Guarded
from histokit.plugin.intensities import parse_scale
from histokit.plugin.options import announced_options
from histokit.plugin.testing.another_process import Listed, listed
from histokit.plugin.testing.checks import require
from histokit.plugin.testing.examined import Examined
from histokit.plugin.values import known

_HANGS = "what is listed must not hang on hash(), the order of a set or a number drawn at random"


def lazy_constructor(examined: Examined) -> None:
    """A dataset is made without looking at its root: work begins with `samples`."""
    nowhere = Path(examined.root) / "histokit-check-no-such-folder"
    try:
        examined.cls(nowhere, **examined.options)
    except Exception as error:
        raise AssertionError(
            f"the constructor fails where the root does not exist ({error}); look at the root in samples()"
        ) from error


def options_as_texts(examined: Examined) -> None:
    """Options have annotations by which the command line's texts are converted, and JSON-serialisable values."""
    for name, parameter in announced_options(examined.cls.__init__).items():
        require(parameter.annotation is not parameter.empty, f"the option {name!r} has no annotation")
    canonical_json(examined.make().options)


def declared_attributes(examined: Examined) -> None:
    """The attributes are of the types that `ingest` takes."""
    Guarded(examined.dataset).check()
    parse_scale(examined.dataset.scale)


def fitted_state(examined: Examined) -> None:
    """What `fit` returns is the same once JSON held it, as the store does."""
    require(isinstance(examined.dataset, Dataset), "the class makes no Dataset")


def samples_exist(examined: Examined) -> None:
    """There is at least one sample, and each is a `Sample`: its image a tuple of texts, its part a text or none."""
    require(examined.samples, f"samples() yields nothing under {examined.root}")
    for sample in examined.samples:
        require(isinstance(sample, Sample), f"samples() yields {sample!r}, which is not a Sample")
        good = isinstance(sample.image, tuple) and all(isinstance(path, str) for path in sample.image)
        require(good, f"the image of {sample.id!r} is {sample.image!r}, which is not a tuple of texts")
        good = sample.part is None or isinstance(sample.part, str)
        require(good, f"the part of {sample.id!r} is {sample.part!r}, which is not a text")


def unique_ids(examined: Examined) -> None:
    """Ids are texts that are not empty, and no two samples have the same."""
    seen: set[str] = set()
    for sample in examined.samples:
        require(isinstance(sample.id, str) and sample.id, f"the id {sample.id!r} is not a text, or empty")
        require(sample.id not in seen, f"the id {sample.id!r} comes twice")
        seen.add(sample.id)


def stable_ids(examined: Examined) -> None:
    """Ids are the same under another instance, and hold no path of this machine."""
    ids = [sample.id for sample in examined.samples]
    require(
        ids == [sample.id for sample in examined.make().samples()],
        "a second instance yields other ids, or in another order",
    )
    root = str(Path(examined.root).resolve())
    for sample in examined.samples:
        require(len(root) < 2 or root not in sample.id, f"the id {sample.id!r} contains the root, which can move")


def two_passes_identical(examined: Examined) -> None:
    """`samples` yields the same samples in the same order when it is called again."""
    before = examined.samples
    again = list(examined.dataset.samples())
    require(len(again) == len(before), f"{len(before)} samples, then {len(again)}")
    for first, second in zip(before, again, strict=True):
        # NaN is not equal to itself.
        require(first == second or repr(first) == repr(second), f"{first!r}, then {second!r}")


def other_processes_list_the_same(examined: Examined) -> None:
    """Opened anew in other processes, the dataset has the same samples, labels, splits and keys, in the same order."""
    here = listed(examined.dataset, examined.looked_at)
    for seen in examined.elsewhere:
        if isinstance(seen.listed, str):
            raise AssertionError(f"in another process, {seen.listed}")
        _require_same(here, seen.listed)


def _require_same(here: Listed, there: Listed) -> None:
    for name, value in here.attributes.items():
        other = there.attributes[name]
        require(value == other, f"in another process, `{name}` is {other} in place of {value}: {_HANGS}")
    ids, others = ([sample[0] for sample in found.samples] for found in (here, there))
    what = "the same ids in another order" if sorted(ids) == sorted(others) else "other ids"
    first = next((pair for pair in zip(ids, others, strict=False) if pair[0] != pair[1]), ("", ""))
    require(ids == others, f"another process lists {what}, such as {first[1]!r} in place of {first[0]!r}: {_HANGS}")
    for (name, label, rest), (_, other_label, other_rest) in zip(here.samples, there.samples, strict=True):
        require(label == other_label, f"{name!r} is {label!r} here and {other_label!r} in another process: {_HANGS}")
        require(rest == other_rest, f"{name!r} has other metadata, files, part or box in another process: {_HANGS}")
    differing = [name for name, rows in here.splits.items() if there.splits.get(name) != rows]
    require(not differing, f"the split {', '.join(map(repr, differing))} has other rows in another process: {_HANGS}")
    require(here.splits.keys() == there.splits.keys(), "another process has other splits")
    require(here.keys == there.keys, f"pixel_key or part_digest is another one in another process: {_HANGS}")


def column_names(examined: Examined) -> None:
    """Columns are named by texts that are none of a sample's own fields."""
    for name in examined.dataset.columns:
        require(isinstance(name, str) and name, f"the column name {name!r} is not a text, or empty")
        require(name not in RESERVED_COLUMNS, f"the column name {name!r} is the name of a sample's own field")


def column_types(examined: Examined) -> None:
    """Every sample has a value of the declared type, or none, for each declared column and for no other."""
    columns = examined.dataset.columns
    for name, kind in columns.items():
        require(kind in (str, int, float, bool), f"the column {name!r} is declared as {kind!r}")
    for sample in examined.samples:
        wrong = set(sample.metadata) ^ set(columns)
        require(not wrong, f"{sample.id!r} and `columns` differ in {', '.join(sorted(map(str, wrong)))}")
        for name, value in sample.metadata.items():
            # A whole number will do for a float; True will not do for an int.
            fits = value is None or type(value) is columns[name] or (columns[name] is float and type(value) is int)
            require(fits, f"{sample.id!r} has {name}={value!r}, declared as {columns[name].__name__}")


def group_and_levels(examined: Examined) -> None:
    """The group and the levels are declared columns, and every sample has a group."""
    dataset = examined.dataset
    for what, names in (("group", [dataset.group] if dataset.group else []), ("level", dataset.levels)):
        for name in names:
            require(name in dataset.columns, f"the {what} {name!r} is not one of `columns`")
    if dataset.group:
        for sample in examined.samples:
            require(sample.metadata.get(dataset.group) is not None, f"{sample.id!r} has no {dataset.group}")


def known_labels(examined: Examined) -> None:
    """Labels are texts or none, and among `classes` where these are given; `classes` has none twice."""
    classes = examined.dataset.classes
    if classes is not None:
        require(len(set(classes)) == len(classes), f"`classes` names one twice: {list(classes)}")
    for sample in examined.samples:
        if sample.label is None:
            continue
        require(isinstance(sample.label, str) and sample.label, f"{sample.id!r} has the label {sample.label!r}")
        require(classes is None or sample.label in classes, f"{sample.id!r} has the unknown label {sample.label!r}")


def names_told_apart(examined: Examined) -> None:
    """Ids, labels, groups and levels differ in more than blanks at their ends and Unicode's form; none is ``nan``."""
    dataset, samples = examined.dataset, examined.samples
    columns = dict.fromkeys([*([dataset.group] if dataset.group else []), *dataset.levels])
    values: dict[str, list[object]] = {"id": [s.id for s in samples], "label": [s.label for s in samples]}
    values |= {name: [sample.metadata.get(name) for sample in samples] for name in columns}
    for what, found in values.items():
        met: dict[str, str] = {}
        for value in dict.fromkeys(value for value in found if isinstance(value, str)):
            missing = f"the {what} {value!r} is what a value that is missing becomes as a text: give None"
            require(what == "id" or known(value) is not None, missing)
            other = met.setdefault(unicodedata.normalize("NFC", value).strip(), value)
            alike = f"the {what}s {other!a} and {value!a} differ in blanks or in the form of a letter alone"
            require(other == value, f"{alike}: make them one, by .strip() and unicodedata.normalize('NFC', …)")


def positive_class(examined: Examined) -> None:
    """The positive class is one of two classes."""
    dataset = examined.dataset
    if dataset.positive is None:
        return
    classes = dataset.classes or sorted({s.label for s in examined.samples if s.label is not None})
    require(dataset.positive in classes, f"positive={dataset.positive!r} is not among {list(classes)}")
    require(len(classes) == 2, f"positive={dataset.positive!r} has a meaning for two classes, not for {len(classes)}")


def boxes_and_scale(examined: Examined) -> None:
    """A box is four whole numbers with a positive width and height; `mpp` is positive or none."""
    for sample in examined.samples:
        if sample.box is not None:
            whole = len(sample.box) == 4 and all(type(number) is int for number in sample.box)
            require(whole, f"the box of {sample.id!r} is {sample.box!r}, not four ints")
            require(min(sample.box[2:]) > 0, f"the box of {sample.id!r} is {sample.box!r}, which is empty")
        require(sample.mpp is None or 0 < sample.mpp < float("inf"), f"{sample.id!r} has mpp={sample.mpp!r}")


def relative_images(examined: Examined) -> None:
    """The paths of images exist under the root, written with slashes, so that the data can move."""
    for sample in examined.samples:
        for path in sample.image:
            require("\\" not in path, f"the path {path!r} of {sample.id!r} has backslashes")
            outside = ".." in PurePosixPath(path).parts
            require(not outside, f"the path {path!r} of {sample.id!r} leads out of the root with '..'")
            require(not Path(path).is_absolute(), f"the path {path!r} of {sample.id!r} is not relative to the root")
            require((examined.dataset.root / path).exists(), f"the path {path!r} of {sample.id!r} does not exist")
