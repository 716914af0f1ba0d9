"""The model card: what the Hugging Face hub shows of a model, and what a person should know before using it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from histokit.errors import counted
from histokit.layout import number_text
from histokit.models.model_folder import NETWORK
from histokit.protocol.metrics import is_shown
from histokit.protocol.run_origin import to_the_second

#: Licences, by the names that the hub has for them.
_LICENCES = frozenset(
    {
        "apache-2.0",
        "bsd-3-clause",
        "mit",
        "cc0-1.0",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc-by-sa-4.0",
        "cc-by-nc-4.0",
        "cc-by-nc-sa-4.0",
        "cc-by-nc-nd-4.0",
    }
)

_BLANKS = re.compile(r"\s+")


def licences(document: Mapping[str, Any]) -> dict[str, str]:
    """Return what the licences are of, and what is known of each.

    Parameters
    ----------
    document : mapping
        The description of a model.
    """
    if document["kind"] == NETWORK:
        parts = {document["network"]["backbone"]: document["network"]["facts"].get("licence")}
    else:
        parts = {network["backbone"]: network["licence"] for network in document["networks"]}
    found = {f"weights of {name}": str(text) for name, text in parts.items() if text}
    data = document["dataset"]
    return {**found, f"data {data['name']}": str(data["licence"] or "not stated")}


def hub_licence(found: Mapping[str, str]) -> str:
    """Return the hub's name of the licence that everything has, or ``other``."""
    known = {_BLANKS.sub("-", text.strip().lower()) for text in found.values()}
    return known.pop() if len(known) == 1 and known <= _LICENCES else "other"


def model_card(document: Mapping[str, Any], name: str) -> str:
    """Return the text of a model card.

    Parameters
    ----------
    document : mapping
        The description of a model.
    name : str
        What the model is called.
    """
    sections = (_what(document, name), _use(document), _training(document), _scores(document), _licences(document))
    body = "\n\n".join("\n".join(lines) for section in sections if (lines := list(section)))
    return f"---\n{_header(document, name)}\n---\n\n{body}\n"


def _header(document: Mapping[str, Any], name: str) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    terms, scores, run = hub_licence(licences(document)), document["scores"], document["run"]
    task = "image-classification" if document["classes"] else "image-regression"
    results = [
        EvalResult(
            task_type=task,
            dataset_type=document["dataset"]["name"],
            dataset_name=document["dataset"]["name"],
            dataset_split=f"test ({run['split']})",
            metric_type=metric,
            metric_name=metric.replace("_", " "),
            metric_value=round(value, 6),
        )
        for metric, value in (_shown_metrics(scores) if scores else {}).items()
        if value is not None
    ]
    card = ModelCardData(
        library_name="histokit",
        license=terms,
        license_name="see-the-model-card" if terms == "other" else None,
        pipeline_tag="image-classification" if document["classes"] else None,
        tags=["histokit", "histopathology", run["classifier"], *_networks(document)],
        model_name=name,
        eval_results=results or None,
    )
    return str(card.to_yaml()).strip()


def _networks(document: Mapping[str, Any]) -> list[str]:
    if document["kind"] == NETWORK:
        return [document["network"]["backbone"]]
    return list(dict.fromkeys(network["architecture"] for network in document["networks"]))


def _what(document: Mapping[str, Any], name: str) -> Iterator[str]:
    run, data = document["run"], document["dataset"]
    networks = " and ".join(_networks(document))
    if document["kind"] == NETWORK:
        network = document["network"]
        what = f"The network {networks}, cut at {network['layer']['name']} and trained by {run['classifier']}"
    elif networks:
        what = f"The classifier {run['classifier']} on the features {_plain(run['address'])}"
    else:
        what = f"The classifier {run['classifier']} on pixels"
    yield f"# {name}"
    yield ""
    yield f"{what}, on the dataset {data['name']}. It was written by histokit {document['histokit']}."
    yield ""
    if document["classes"]:
        yield f"Classes: {', '.join(map(_plain, document['classes']))}."
    else:
        yield f"It predicts the number {_plain(str(run['parameters'].get('target')))}."
    yield f"Images have the channels {', '.join(document['channels'])}."


def _use(document: Mapping[str, Any]) -> Iterator[str]:
    plugins = {network["plugin"] for network in (document.get("networks") or [document.get("network") or {}])
               if network.get("plugin")}  # fmt: skip
    yield "## Use"
    yield ""
    yield "```python"
    yield "import histokit"
    yield ""
    yield 'model = histokit.load_model("FOLDER")  # this folder; no store and no network is needed'
    yield 'model.predict(["image.png"])'
    yield 'model.scores(["image.png"])' + (
        f"  # columns: {', '.join(document['classes'])}" if document["classes"] else ""
    )
    yield "```"
    yield ""
    yield "or, for a whole dataset: `histokit predict FOLDER DATASET`."
    for plugin in sorted(plugins):
        yield f"It needs the plugin {plugin}."
    if document["run"]["parameters"].get("aggregate"):
        yield "It was trained on units of several images: only `histokit predict` can use it."


def _training(document: Mapping[str, Any]) -> Iterator[str]:
    run, data, split = document["run"], document["dataset"], document["split"]
    yield "## Training"
    yield ""
    yield f"- data: {data['name']}, {data['count']} samples, by the plugin {data['plugin']} {data['plugin_version']}"
    if run["parameters"].get("where"):
        yield f"- of these samples only those with {_plain(run['parameters']['where'])}"
    if (count := run["found"].get("final", {}).get("train")) is not None:
        kind = "unit" if run["parameters"].get("aggregate") else "sample"
        yield f"- trained on {counted(count, kind, f'{kind}s')}"
    if data["citation"]:
        yield f"- to be cited: {_plain(data['citation'])}"
    groups = f", groups kept together: {split['group']}" if split["group"] else ""
    if (revision := document["pixels"].get("revision")) is not None:
        yield f"- its images were read by revision {revision} of histokit's readers"
    yield f"- split: {split['name']}, {counted(len(split['folds']), 'fold', 'folds')}{groups}"
    yield f"- metric that it was tuned by: {run['metric']}"
    chosen = run["found"].get("final", {}).get("parameters")
    if chosen:
        yield f"- chosen: {', '.join(f'{key}={value}' for key, value in chosen.items())}"
    yield f"- run {run['id']} of {to_the_second(run['created'])}, with {_versions(run['versions'])}"
    for note in run["notes"]:
        yield f"- note: {_plain(note)}"
    yield "- all values: `histokit.json`"


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items()) or "versions that were not recorded"


def _scores(document: Mapping[str, Any]) -> Iterator[str]:
    scores = document["scores"]
    if not scores:
        return
    level = scores["intervals"]
    bounds = level["metrics"]
    yield "## Scores"
    yield ""
    how = f"by resampling {counted(level['groups'], 'unit', 'units')} ({level['unit']})"
    yield f"Of {scores['n']} test predictions. Intervals of {level['level']:.0%}, {how}."
    yield ""
    yield "| metric | value | interval |"
    yield "|---|---|---|"
    for metric, value in _shown_metrics(scores).items():
        if value is not None:
            pair = bounds.get(metric)
            yield f"| {metric} | {number_text(value)} | {' to '.join(map(number_text, pair)) if pair else ''} |"
    if len(document["split"]["folds"]) > 1:
        yield ""
        yield "They are of the models of the folds; the model of this folder was trained on all training samples."
    for note in scores["notes"]:
        yield ""
        yield f"Note: {_plain(note)}."


def _shown_metrics(scores: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the metrics that people are shown beside the one that counts."""
    return {name: value for name, value in scores["metrics"].items() if is_shown(name, scores["metric"])}


def _licences(document: Mapping[str, Any]) -> Iterator[str]:
    yield "## Licences"
    yield ""
    for what, text in licences(document).items():
        yield f"- {what}: {_plain(text)}"


def _plain(text: str) -> str:
    """Return a text in one line, of which Markdown makes nothing else."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", _BLANKS.sub(" ", text))
