"""Commands and their help pages: panel by panel, as wide as the terminal, with whole words."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from typer import TyperException
from typer.core import TyperCommand, TyperGroup

from histokit import streams
from histokit.arguments import check_arguments

#: Help pages are not wider, and what they say in short is not cut.
_HELP, _LEAST_HELP = 80, 40
_WHOLE = 1000
_UNBROKEN = "\u2011"
#: On narrower pages, what an option means stands below it, indented by so much (and 2), not in a column of few letters.
_BESIDE, _BELOW = 56, 4


class _Helped:
    """A command whose help page goes out as all results do: a full disk is told of, and a closed pipe is no bug.

    What it is given is checked for what holds of the arguments of every command.
    """

    def make_parser(self, ctx: Any) -> Any:
        parser = super().make_parser(ctx)  # type: ignore[misc]
        parse = parser.parse_args

        def parse_args(args: list[str]) -> Any:
            try:
                values, rest, given = parse(args)
            except TyperException as error:
                # The parser does not always say of which command it tells.
                error.ctx = getattr(error, "ctx", None) or ctx  # type: ignore[attr-defined]
                raise
            if not ctx.resilient_parsing:
                check_arguments(values, given)
            return values, rest, given

        parser.parse_args = parse_args
        return parser

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)  # type: ignore[misc]
        if option is not None:
            option.callback = _show_help
        return option


def _show_help(ctx: Any, option: Any, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        ctx.terminal_width = max(min(streams.width(sys.stdout) or _HELP, _HELP), _LEAST_HELP) - 2
        ctx.formatter_class = _whole_words(ctx.formatter_class)
        streams.write("stdout", ctx.get_help().replace(_UNBROKEN, "-") + "\n")
        ctx.exit()


def _whole_words(formatter: Any) -> Any:
    """Return a formatter of help pages that does not break --an-option at its hyphens."""

    class Formatter(formatter):
        def write_dl(self, rows: Any, *args: Any, **kwargs: Any) -> None:
            if self.width - self.current_indent < _BESIDE:
                kwargs["col_max"] = _BELOW
            super().write_dl([(first, second.replace("-", _UNBROKEN)) for first, second in rows], *args, **kwargs)

        def write_text(self, text: str) -> None:
            super().write_text(text.replace("-", _UNBROKEN))

    return Formatter


class Command(_Helped, TyperCommand):
    """A command whose usage line says DATASET, not {DATASET}, and whose help lists the commands beside it."""

    beside: Sequence[Any] = ()

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        pieces = super().collect_usage_pieces(ctx)
        return [piece.replace("{", "").replace("}", "") for piece in pieces]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        super().format_options(ctx, formatter)
        if self.beside:
            with formatter.section("Commands beside it"):
                path = ctx.command_path
                formatter.write_dl([(f"{path} {c.name}", c.get_short_help_str(_WHOLE)) for c in self.beside])


class Group(_Helped, TyperGroup):
    """A group whose help lists its commands panel by panel.

    Where a command has the name of the group, the group is that command for everything but the names of the others.
    """

    #: Names in the order of the help page; Typer puts groups behind commands.
    order: Sequence[str] = ()

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        own = self.commands.get(str(self.name))
        if not isinstance(own, Command) or (args and args[0] in self.commands and args[0] != self.name):
            return super().make_context(info_name, args, parent, **extra)
        own.beside = [command for command in self.commands.values() if command is not own]
        return own.make_context(info_name, args, parent, **extra)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        width = max(map(len, self.commands))
        order = self.order if ctx.parent is None else []
        for name in sorted(self.commands, key=lambda name: order.index(name) if name in order else len(order)):
            command = self.commands[name]
            panel = getattr(command, "rich_help_panel", None) or "Commands"
            short = command.get_short_help_str(_WHOLE)
            panels.setdefault(panel, []).append((name.ljust(width), short))
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)
