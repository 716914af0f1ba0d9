"""`check_dataset`: whether a dataset plugin keeps its contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from histokit.plugin.dataset import Dataset
from histokit.plugin.options import convert_options
from histokit.plugin.testing import pixel_clauses, sample_clauses, split_clauses
from histokit.plugin.testing.checks import Check, CheckResult, raise_failures, run_checks
from histokit.plugin.testing.examined import Examined

#: The clauses, in the order in which a plugin's author would look at them.
CLAUSES: tuple[Callable[[Examined], None], ...] = (
    sample_clauses.lazy_constructor,
    sample_clauses.options_as_texts,
    sample_clauses.fitted_state,
    sample_clauses.declared_attributes,
    sample_clauses.samples_exist,
    sample_clauses.unique_ids,
    sample_clauses.stable_ids,
    sample_clauses.two_passes_identical,
    sample_clauses.other_processes_list_the_same,
    sample_clauses.column_names,
    sample_clauses.column_types,
    sample_clauses.group_and_levels,
    sample_clauses.known_labels,
    sample_clauses.names_told_apart,
    sample_clauses.positive_class,
    sample_clauses.boxes_and_scale,
    sample_clauses.relative_images,
    pixel_clauses.readable_images,
    pixel_clauses.pixels_repeat,
    pixel_clauses.pixels_differ,
    pixel_clauses.threads_read_the_same,
    pixel_clauses.other_processes_read_the_same,
    pixel_clauses.pixel_key_repeats,
    pixel_clauses.part_digest_repeats,
    pixel_clauses.pixel_key_moves,
    split_clauses.split_rows,
    split_clauses.splits_repeat,
    split_clauses.splits_have_train_and_test,
    split_clauses.groups_within_splits,
)


def check_dataset(
    dataset: Dataset | type[Dataset], /, root: str | Path | None = None, **options: Any
) -> list[CheckResult]:
    """Check that a dataset plugin keeps its contract, clause by clause.

    Parameters
    ----------
    dataset : Dataset or its class
    root : path, optional
        Where small data of its kind lie; with an instance, its own root where not given.
    **options
        The plugin's options, as values or as texts.

    Returns
    -------
    list of CheckResult
        All passed.

    Raises
    ------
    CheckFailure
        If a check fails; names every one that does, with its reason.

    Examples
    --------
    >>> from histokit.datasets.synthetic import Synthetic
    >>> results = check_dataset(Synthetic, slides=2, per_slide=4)
    >>> all(result.passed for result in results)
    True
    """
    results = run_checks(iter_dataset_checks(dataset, root, **options))
    cls = type(dataset) if isinstance(dataset, Dataset) else dataset
    raise_failures(f"The dataset plugin {cls.__name__}", results)
    return results


def iter_dataset_checks(
    dataset: Dataset | type[Dataset], /, root: str | Path | None = None, **options: Any
) -> Iterator[Check]:
    """Yield each clause of the contract as a check, to be run one by one.

    Nothing of the dataset is touched before a check runs, so that pytest can be parametrised with
    ``list(iter_dataset_checks(...))``.

    Examples
    --------
    >>> from histokit.datasets.synthetic import Synthetic
    >>> checks = iter_dataset_checks(Synthetic, slides=2, per_slide=2)
    >>> next(checks).name
    'lazy constructor'
    """
    if isinstance(dataset, Dataset):
        cls, given = type(dataset), dataset.options
        root = dataset.root if root is None else root
    else:
        cls, given = dataset, {}
    converted = convert_options(cls.__init__, {**given, **options}, cls.name or cls.__name__)
    examined = Examined(cls, "." if root is None else root, converted)
    for clause in CLAUSES:
        name = clause.__name__.replace("_", " ")
        yield Check(name, (clause.__doc__ or "").splitlines()[0], partial(clause, examined))
