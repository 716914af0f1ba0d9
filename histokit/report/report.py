"""Writing a page on runs, on all runs of a dataset, or on a study."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from histokit import __version__
from histokit.compare.compare import Comparison, compare
from histokit.compare.sheets import comparison_sheets, hidden_rows
from histokit.errors import HistokitError, UsageError, counted, shortened
from histokit.evaluate.evaluate import Evaluation
from histokit.features.feature_store import FeatureStore, StoreLike, open_store
from histokit.figures.ranks import SCORED, draw_comparison
from histokit.files import check_output
from histokit.layout import listed
from histokit.ranges import check_ranges
from histokit.report import provenance
from histokit.report.descriptions import describe_comparison
from histokit.report.lineage import Lineage
from histokit.report.page import Block, DataTable, Facts, Notes, ReportPage, Section
from histokit.report.pictures import figure
from histokit.report.rendering import SUFFIXES, write_page
from histokit.report.runs import as_notes, headline, in_order, is_leak, leaks_of, notes_of, run_sections, scored
from histokit.report.samples import Showing
from histokit.report.studies import StudyPart, study_part
from histokit.store import RunRecord

#: So many runs at most have parts of their own; of more, those that did best on each dataset.
_DETAILED = 12
#: In what notes that are alike differ.
_VARIED = re.compile(r"'[^']*'|\b\d[\d.,]*\b")
_CALM = "No leak is known, and there is nothing else to warn of."


@dataclass(frozen=True)
class Report:
    """What was written.

    Parameters
    ----------
    file : Path
    bytes : int
    runs : list of str
        What it is about.
    detailed : list of str
        Those that have a part of their own.
    notes : list of str
        What stands first on the page.
    """

    file: Path
    bytes: int
    runs: list[str]
    detailed: list[str]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data."""
        return {**vars(self), "file": str(self.file)}


def report(
    store: StoreLike,
    runs: str | Sequence[str] = (),
    *,
    out: str | Path,
    dataset: str | None = None,
    study: str | Path | None = None,
    title: str | None = None,
    bootstrap: int = 1000,
    samples: int = 12,
    seed: int = 0,
    progress: Callable[..., None] = lambda *_: None,
) -> Report:
    """Write one self-contained page of HTML on what the store holds; nothing is fitted again.

    Parameters
    ----------
    store : FeatureStore or path
    runs : str or sequence of str
        Ids, or their beginnings.
    out : path
        A file that ends in .html.
    dataset : str, optional
        All runs on it, in place of `runs`.
    study : path, optional
        A study file, in place of `runs`: those of its runs that are done.
    title : str, optional
    bootstrap : int
        Resamples of groups for intervals.
    samples : int
        How many samples of a kind are shown as pictures of each run; none where 0.
    seed : int
        Of the resamples.
    progress : callable, optional
        ``progress(done, total, detail)``.

    Returns
    -------
    Report

    Raises
    ------
    UsageError
        If not exactly one of runs, dataset and study is given, or the file cannot be written.
    StoreError
        If a run or the dataset is unknown.
    """
    out = check_output(out, SUFFIXES)
    check_ranges(bootstrap=bootstrap, samples=samples, seed=seed)
    named = [runs] if isinstance(runs, str) else list(runs)
    if sum(map(bool, (named, dataset, study))) != 1:
        raise UsageError(
            "A report is about runs, about a dataset or about a study.",
            next="Give run ids, or --dataset D, or --study FILE.toml.",
        )
    store = open_store(store)
    part = study_part(study, store) if study is not None else None
    records = _records(store, named, dataset, part)
    datasets = [dataset] if dataset is not None else list(part.datasets) if part is not None else []
    page = _Making(store, records, part, datasets, bootstrap, Showing(samples), seed, progress)
    made = page.make(title or _title(records, dataset, study))
    path = write_page(made, out)
    return Report(path, path.stat().st_size, [run.id for run in records], page.detailed, page.notes)


def _records(store: FeatureStore, named: Sequence[str], dataset: str | None, part: StudyPart | None) -> list[RunRecord]:
    if part is not None:
        return store.named_runs(part.runs)
    if dataset is not None:
        return store.runs(store.dataset(dataset).name)
    return list({run.id: run for run in store.named_runs(named)}.values())


def _title(records: Sequence[RunRecord], dataset: str | None, study: str | Path | None) -> str:
    if study is not None:
        return f"The study {Path(study).stem}"
    if dataset is not None:
        return f"The dataset {dataset}"
    if len(records) == 1:
        run = records[0]
        return f"{run.classifier} on {shortened(run.address)} of {run.dataset}"
    return f"{len(records)} runs on {shortened(', '.join(dict.fromkeys(run.dataset for run in records)))}"


class _Making:
    """Collects the parts of a page.

    Parameters
    ----------
    store : FeatureStore
    runs : sequence of RunRecord
    study : StudyPart, optional
    datasets : sequence of str
        What it is about beside the runs.
    bootstrap : int
    showing : Showing
    seed : int
    progress : callable
    """

    def __init__(
        self,
        store: FeatureStore,
        runs: Sequence[RunRecord],
        study: StudyPart | None,
        datasets: Sequence[str],
        bootstrap: int,
        showing: Showing,
        seed: int,
        progress: Callable[..., None],
    ):
        self.store, self.runs, self.study, self.progress = store, list(runs), study, progress
        self._datasets = dict.fromkeys([*(run.dataset for run in runs), *datasets])
        self._bootstrap, self._showing, self._seed = bootstrap, showing, seed
        self.notes: list[str] = []
        self.detailed: list[str] = []

    def make(self, title: str) -> ReportPage:
        """Return the page."""
        compared = self._compare() if len(self.runs) > 1 else None
        chosen = self._chosen(compared)
        found: dict[str, Evaluation | None] = {}
        for number, run in enumerate(chosen):
            self.progress(number, len(chosen), run.id)
            found[run.id] = scored(self.store, run, self._bootstrap, self._seed)
        self.detailed = [run.id for run in chosen]
        self.notes = self._notes(compared, chosen, found)
        sections = [Section("What to know first", self._first(found))]
        sections += [self.study.section] if self.study else []
        sections += [_comparison(compared)] if compared else []
        sections += self._of_runs(chosen, found, compared is not None)
        self.progress(len(chosen), len(chosen), "data and features")
        sections += self._rest()
        moment = datetime.now(UTC).isoformat(timespec="minutes")
        about = f"{counted(len(self.runs), 'run', 'runs')} in the store {self.store.uri}"
        return ReportPage(title, about, f"Written by histokit {__version__} on {moment}.", sections)

    def _compare(self) -> Comparison | None:
        options = dict(self.study.options) if self.study else {}
        given = {"bootstrap": self._bootstrap or 1, "seed": self._seed, **options}
        try:
            return compare(self.store, [run.id for run in self.runs], progress=self.progress, **given)
        except HistokitError as error:
            self.notes.append(f"the runs cannot be compared: {error.message}")
            return None

    def _chosen(self, compared: Comparison | None) -> list[RunRecord]:
        """Return the runs that have parts of their own: all, or those of the best methods of each dataset."""
        if len(self.runs) <= _DETAILED or compared is None:
            return self.runs[:_DETAILED]
        best: list[str] = []
        for place in range(1, len(compared.methods) + 1):
            for column in compared.columns:
                cells = [method["cells"].get(column["column"]) for method in compared.methods]
                best += [cell["runs"][0] for cell in cells if cell and cell["place"] == place]
        kept = set(list(dict.fromkeys(best))[:_DETAILED])
        return [run for run in self.runs if run.id in kept]

    def _notes(
        self, compared: Comparison | None, chosen: Sequence[RunRecord], found: dict[str, Evaluation | None]
    ) -> list[str]:
        """Return what stands first: leaks before all else."""
        told: dict[str, list[str]] = {}
        for run in self.runs:
            evaluation = found.get(run.id)
            # A comparison tells of data that were ingested again of all runs at once.
            known = evaluation.changed if compared and evaluation else []
            for text in notes_of(run, evaluation) if run in chosen else leaks_of(run):
                if text not in known:
                    told.setdefault(text, []).append(run.id)
        several = len(self.runs) > 1
        # What is told of its runs, with their ids, is not told of a comparison again.
        texts = [
            *self.notes,
            *(note for note in (compared.notes if compared else []) if not note.endswith(tuple(told))),
        ]
        texts += _once(told) if several else list(told)
        return in_order(dict.fromkeys(texts))

    def _first(self, found: dict[str, Evaluation | None]) -> list[Block]:
        blocks = as_notes(self.notes, _CALM)
        if not self.runs:
            return [Notes(["There are no runs yet: nothing was trained."], "note")]
        if len(self.runs) == 1:
            return [*blocks, Facts(headline(self.runs[0], found[self.runs[0].id]))]
        return blocks

    def _of_runs(
        self, chosen: Sequence[RunRecord], found: dict[str, Evaluation | None], compared: bool
    ) -> Iterator[Section]:
        if len(self.runs) == 1:
            yield from run_sections(self.store, self.runs[0], found[self.runs[0].id], self._showing)
            return
        if not chosen:
            return
        parts = []
        for number, run in enumerate(chosen):
            self.progress(number, len(chosen), f"pictures of {run.id}")
            title = f"{run.id}: {run.classifier or run.kind} on {run.address or run.dataset}, {run.dataset}"
            inner = tuple(run_sections(self.store, run, found[run.id], self._showing))
            known = [Notes(texts, "note")] if (texts := notes_of(run, found[run.id])) else []
            about: list[Block] = [Facts(headline(run, found[run.id])), *known]
            parts.append(Section(title, about, closed=True, sections=inner))
        left = counted(len(self.runs) - len(chosen), "more run is", "more runs are")
        why = "in the tables above only: the best of each dataset are shown" if compared else "not shown"
        others = [Notes([f"{left} {why}."], "plain")] if len(chosen) < len(self.runs) else []
        yield Section("The runs one by one", others, sections=tuple(parts))

    def _rest(self) -> Iterator[Section]:
        yield from provenance.data_sections(self.store, self._datasets)
        if self.runs:
            yield from provenance.split_sections(self.store, self.runs)
            lineage = Lineage(self.store)
            tables = lineage.tables_of(self.runs)
            features = provenance.feature_section(self.store, self.runs, tables)
            yield from [features] if features else []
            yield provenance.command_section(self.store, self.runs, lineage)
            yield provenance.version_section(self.store, self.runs, tables)


def _once(told: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield notes with the runs that they are on; of those that differ in numbers or names in quotes only, the first.

    Leaks are told one by one.
    """
    alike: dict[str, list[str]] = {}
    for text in told:
        alike.setdefault(text if is_leak(text) else _VARIED.sub("…", text), []).append(text)
    for first, *others in alike.values():
        runs = dict.fromkeys(run for text in (first, *others) for run in told[text])
        more = f"; and {len(others)} more with other numbers or names" * bool(others)
        yield f"{first}{more} ({listed(runs, limit=4, what='runs')})"


def _comparison(found: Comparison) -> Section:
    sheets = [DataTable(sheet) for sheet in comparison_sheets(found)]
    of = f"on the first {SCORED} of {len(found.columns)} columns" if len(found.columns) > SCORED else "of methods"
    caption = "Average ranks of methods over datasets." if found.ranking else f"Scores {of}, with 95 % intervals."
    drawn = figure(draw_comparison(found), describe_comparison(found), caption)
    hidden = [Notes([f"{told}: histokit compare --json"], "plain")] if (told := hidden_rows(found)) else []
    return Section("Comparison", [sheets[0], drawn, *sheets[1:], *hidden])
