"""The directive ``commands``: every command with what its ``--help`` tells, from the command line itself."""

from __future__ import annotations

import re
from typing import Any

import typer
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from histokit.app import COMMANDS, build_app

#: What every command takes is told once.
COMMON = ("--store", "--json", "--quiet", "--debug")


class Commands(SphinxDirective):
    """A section for each command, behind one of what all of them take."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        app = typer.main.get_command(build_app())
        top = typer.Context(app, info_name="histokit")
        common = nodes.section("", nodes.title(text="What every command takes"), ids=["common-options"])
        common += _definitions([p.get_help_record(top) for p in app.params if set(COMMON) & set(p.opts)])
        return [common, *(self.section(app, top, *(word for word in entry[:2] if word)) for entry in COMMANDS)]

    def section(self, app: Any, top: Any, *words: str) -> nodes.section:
        """Return the section of a command: how it is called, what it does, and what it takes."""
        command, context = app, top
        for word in words if len(words) > 1 or not hasattr(app.commands[words[0]], "commands") else words * 2:
            command = command.commands[word]
            context = typer.Context(command, info_name=word, parent=context)
        called = " ".join(("histokit", *words))
        section = nodes.section("", nodes.title(text=called), ids=[called.replace(" ", "-")])
        usage = " ".join((called, *command.collect_usage_pieces(context)))
        section += nodes.literal_block(usage, usage, language="none")
        for paragraph in (command.help or "").split("\n\n"):
            section += nodes.paragraph("", "", *_spoken(" ".join(paragraph.split())))
        for title, kind in (("Arguments", "argument"), ("Options", "option")):
            own = (p for p in command.params if p.param_type_name == kind and not set(COMMON) & set(p.opts))
            if rows := [row for p in own if (row := p.get_help_record(context))]:
                section += nodes.rubric(text=title)
                section += _definitions(rows)
        return section


def _definitions(rows: list[tuple[str, str]]) -> nodes.definition_list:
    items = nodes.definition_list(classes=["options"])
    for name, text in rows:
        term = nodes.term("", "", nodes.literal(text=name))
        items += nodes.definition_list_item("", term, nodes.definition("", nodes.paragraph("", "", *_spoken(text))))
    return items


def _spoken(text: str) -> list[nodes.Node]:
    """Return a text with options, and what stands between backticks, set as code."""
    parts = re.split(r"`([^`]+)`|(?<![\w-])(--[a-z][a-z-]*)", text)
    told = [nodes.literal(text=part) if number % 3 else nodes.Text(part) for number, part in enumerate(parts) if part]
    return list(told)


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
