"""`check_backbone`: whether a backbone plugin keeps its contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from histokit.plugin.backbone import Backbone, BackboneRequest
from histokit.plugin.testing import network_clauses, weights_clauses
from histokit.plugin.testing.checks import Check, CheckResult, raise_failures, run_checks
from histokit.plugin.testing.probed import Probed

Loader = Callable[[BackboneRequest], Backbone]

#: The clauses, in the order in which a plugin's author would look at them.
CLAUSES: tuple[Callable[[Probed], None], ...] = (
    network_clauses.named_cut_points,
    network_clauses.known_poolings,
    network_clauses.cut_points_exist,
    network_clauses.depth_order,
    network_clauses.last_exists,
    network_clauses.valid_preprocess,
    network_clauses.evaluation_mode,
    network_clauses.one_vector_an_image,
    network_clauses.channels_where_declared,
    network_clauses.input_stays,
    network_clauses.finite_output,
    network_clauses.extreme_images,
    network_clauses.two_passes_identical,
    network_clauses.companions_do_not_matter,
    weights_clauses.stated_weights,
    weights_clauses.licence_of_pretrained,
    weights_clauses.two_builds_identical,
    weights_clauses.stated_version,
)

#: Clauses that ask a loader for other weights.
REQUEST_CLAUSES: tuple[Callable[[Probed], None], ...] = (
    weights_clauses.seeds_honoured,
    weights_clauses.pretrained_is_not_random,
    weights_clauses.foreign_weights_refused,
    weights_clauses.missing_weights_refused,
    weights_clauses.incomplete_weights_refused,
)


def check_backbone(backbone: Backbone | Loader, name: str = "checked", weights: str = "random:0") -> list[CheckResult]:
    """Check that a backbone plugin keeps its contract, clause by clause.

    Parameters
    ----------
    backbone : Backbone or callable
        The backbone, or its loader as it is registered, for which five more clauses about weights are checked.
    name : str
        By which a loader is asked; behind a prefix, ``timm:resnet18`` for instance.
    weights : str
        That a loader is asked for; random ones need no file.

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
    >>> from histokit.backbones.texture import texture
    >>> results = check_backbone(texture, "texture", weights="none")
    >>> all(result.passed for result in results)
    True
    """
    results = run_checks(iter_backbone_checks(backbone, name, weights))
    subject = backbone.name if isinstance(backbone, Backbone) else name
    raise_failures(f"The backbone {subject!r}", results)
    return results


def iter_backbone_checks(
    backbone: Backbone | Loader, name: str = "checked", weights: str = "random:0"
) -> Iterator[Check]:
    """Yield each clause of the contract as a check, to be run one by one.

    Nothing is built before a check runs, so that pytest can be parametrised with
    ``list(iter_backbone_checks(...))``.

    Examples
    --------
    >>> from histokit.backbones.texture import texture
    >>> next(iter_backbone_checks(texture, "texture", "none")).name
    'named cut points'
    """
    probed = Probed(backbone, name, weights)
    clauses = CLAUSES if isinstance(backbone, Backbone) else CLAUSES + REQUEST_CLAUSES
    for clause in clauses:
        description = (clause.__doc__ or "").splitlines()[0]
        yield Check(clause.__name__.replace("_", " "), description, partial(clause, probed))
