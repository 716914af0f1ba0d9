"""The pages of the site, looked at without building it: their places, their links, and what they must not lack."""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer

import histokit
from histokit import finetune, plugin, select, study
from histokit.app import build_app
from histokit.finetune.presets import load_preset
from histokit.plugin import hookspecs, testing
from histokit.plugin.manager import registry
from histokit.plugin.options import announced_options
from histokit.study.json_schema import study_schema
from tests.docs.pages import DOCS, PAGES, ROOT, blocks

LINK = re.compile(r"\[(?:[^\]\[]|\[[^\]]*\])*\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]*))?\)")
FENCE = re.compile(r"^```(.*?)$\n(.*?)^```$", re.DOTALL | re.MULTILINE)
#: Pages elsewhere, which link to those of the documentation or are linked from there.
ELSEWHERE = [ROOT / "CONTRIBUTING.md", *ROOT.glob("benchmarks/**/README.md"), *ROOT.glob("plugins/*/README.md")]


def prose(page: Path) -> str:
    return re.sub(r"`[^`\n]+`", "`", FENCE.sub("", page.read_text()))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def names_of(page: str, directive: str = r"auto\w+") -> set[str]:
    return set(re.findall(rf"^\.\. {directive}:: (\S+)", (DOCS / page).read_text(), flags=re.MULTILINE))


@pytest.mark.parametrize("page", [*PAGES, *ELSEWHERE], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    lost = []
    for path, anchor in LINK.findall(prose(page)):
        meant = Path(os.path.normpath(page.parent / path)) if path else page
        if not meant.exists() or (anchor and anchor not in anchors(meant)):
            lost.append(f"{path}#{anchor}")
    assert not lost


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_is_whole(page: Path) -> None:
    text = page.read_text()
    assert re.match(r"# \S", text), "begins with its title"
    assert "```" not in FENCE.sub("", text), "a fence is never closed"
    languages = {language for language, _ in FENCE.findall(text)}
    known = {"bash", "console", "text", "python", "toml", "snakemake", "{eval-rst}", "{commands}"}
    assert languages <= known, languages - known


@pytest.mark.parametrize("page", [*PAGES, *ELSEWHERE], ids=lambda page: str(page.relative_to(ROOT)))
def test_rows_of_tables_have_as_many_cells(page: Path) -> None:
    """A line in code cuts a cell as well, unless it is written as ``\\|``."""
    tables = re.findall(r"(?:^\|.*\n)+", FENCE.sub("", page.read_text()), flags=re.MULTILINE)
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1, table


def test_every_page_has_its_place() -> None:
    made = [DOCS / "_build", DOCS / "checkout"]
    there = [page for page in DOCS.rglob("*.md") if not any(page.is_relative_to(folder) for folder in made)]
    assert sorted(there) == sorted(PAGES[1:])


def test_every_public_name_has_a_place_in_the_reference() -> None:
    public = {f"histokit.{name}" for name in histokit.__all__ if name != "study"}
    for room in (study, select, finetune):
        public |= {f"{room.__name__}.{name}" for name in room.__all__}
    assert names_of("reference/python.md") == public


def test_every_name_for_authors_of_plugins_has_a_place_in_the_reference() -> None:
    public = {f"histokit.plugin.{name}" for name in plugin.__all__ if name != "hookimpl"}
    public |= {f"histokit.plugin.testing.{name}" for name in testing.__all__}
    hooks = {name for name, found in vars(hookspecs).items() if hasattr(found, f"{hookspecs.PROJECT}_spec")}
    assert names_of("reference/plugins.md") == public | {f"histokit.plugin.hookspecs.{name}" for name in hooks}


def test_the_reference_of_commands_is_made_by_the_commands() -> None:
    assert (DOCS / "reference" / "commands.md").read_text().count("{commands}") == 1


def commands_in(block: str) -> list[list[str]]:
    """The words of each command of histokit in lines of a shell."""
    lines = re.sub(r"\\\n\s*", "", re.sub(r"<<'END'\n.*?^END$", "", block, flags=re.DOTALL | re.MULTILINE))
    found = re.findall(r"histokit ((?:'[^']*'|\"(?:[^\"\\]|\\.)*\"|\$\([^)]*\)|[^\n)#>;|&'\"])*)", lines)
    return [shlex.split(re.sub(r"\$\([^)]*\)|\$", "x", words)) for words in found]


@pytest.fixture(scope="module")
def app() -> Any:
    return typer.main.get_command(build_app())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_that_are_not_run_are_understood(page: Path, app: Any) -> None:
    """What needs data or networks that are not there has options, plugins, presets that are."""
    for words in (words for block in blocks("console", page) for words in commands_in(block)):
        command, context, name = app, app.make_context("histokit", list(words)), ""
        while inner := getattr(command, "commands", {}).get(words[0]):
            command, name, words = inner, f"{name} {words[0]}".lstrip(), words[1:]
        given = command.make_context(name, list(words), parent=context).params
        if "plugin" in given and "root" in given:
            options = announced_options(registry().dataset(given["plugin"]).__init__)
            asked = {pair.split("=")[0] for pair in given["option"] or ()}
            assert asked <= options.keys(), words
        if given.get("preset"):
            load_preset(given["preset"])


def test_study_files_keep_to_the_schema() -> None:
    studies = [table for block in blocks("toml") if "datasets" in (table := tomllib.loads(block))]
    assert len(studies) > 0
    for study_file in studies:
        jsonschema.validate(study_file, study_schema())
