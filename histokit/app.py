"""The Typer app: collects the commands, maps errors to exit codes."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from histokit import console, interruption, options, streams
from histokit.commands import CARE, LOOK, STEPS, Entry
from histokit.compare import command as compare
from histokit.errors import ExitCode, HistokitError, UsageError, not_of_histokit
from histokit.evaluate import command as evaluate
from histokit.explain import command as explain
from histokit.extract import command as extract
from histokit.features import command as features
from histokit.finetune import command as finetune
from histokit.help_pages import Command, Group
from histokit.ingest import command as ingest
from histokit.models import command as models
from histokit.neighbours import command as neighbours
from histokit.plugin import command as plugin
from histokit.report import command as report
from histokit.select import command as select
from histokit.store import command as store
from histokit.study import command as study
from histokit.train import command as train

#: The rooms that have commands. What has no place in the order is listed behind what has.
_ROOMS = (
    *(ingest, extract, select, train, finetune, evaluate, explain, neighbours, compare, features, models),
    *(study, report, store, plugin),
)
_ORDER = (
    *("ingest", "split", "extract", "select", "train", "finetune", "evaluate", "predict", "predictions"),
    *("show", "explain", "neighbours", "scatter", "compare", "curves", "report", "demo"),
    *("export", "export-model", "import-features"),
    *("doctor", "list", "presets"),
    *("study", "plugins", "store"),
)


def _place(entry: Entry) -> int:
    name = entry.group or entry.name
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


COMMANDS = tuple(sorted((entry for room in _ROOMS for entry in room.COMMANDS), key=_place))

GROUPS = {
    "select": ("Find the smallest set of features that does as well.", STEPS),
    "study": ("Do a whole study from one file, or plan it.", STEPS),
    "explain": ("Show where in an image a model looks.", STEPS),
    "list": ("List datasets, splits, features, runs, backbones, …", LOOK),
    "presets": ("Look at recipes for training networks.", LOOK),
    "plugins": ("Check a plugin against its contract.", CARE),
    "store": ("Check the store, merge fragments, remove what is old.", CARE),
}

#: Command and an option that it has not → the command that does that.
_INSTEAD = {
    ("study run", "--dry-run"): "Use histokit study plan FILE: what is done, what is missing, how long it takes. "
}

_COMMON: dict[str, Any] = {
    "store_": Annotated[str | None, typer.Option("--store", metavar="FOLDER", help="The store. [env: HISTOKIT_STORE]")],
    "json_": Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")],
    "quiet_": Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors and warnings beside the result.")],
    "debug_": Annotated[bool, typer.Option("--debug", help="Show the traceback of errors.")],
}


def build_app(asked: str = "") -> typer.Typer:
    """Collect the commands in one app: all, or only those of the name that is asked for, if there is one.

    Inspecting the parameters of every command takes longer than many a command itself.
    """
    entries = [entry for entry in COMMANDS if (entry.group or entry.name) == asked] or COMMANDS

    class Root(Group):
        order = tuple(dict.fromkeys(group or name for group, name, _, _ in entries))

    app = typer.Typer(
        name="histokit",
        cls=Root,
        no_args_is_help=True,
        invoke_without_command=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        help="Transfer learning on histopathology and cell images: extract the features of many layers once, "
        "then choose, merge, eliminate and classify in seconds.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_with_common_options(_histokit))
    groups = {"": app}
    for name in dict.fromkeys(entry.group for entry in entries if entry.group):
        text, panel = GROUPS[name]
        groups[name] = typer.Typer(cls=Group, no_args_is_help=True, rich_markup_mode=None)
        app.add_typer(groups[name], name=name, help=text, rich_help_panel=panel)
    for group, name, function, panel in entries:
        register = groups[group].command(name or group, cls=Command, rich_help_panel=panel or None)
        command = " ".join(dict.fromkeys(filter(None, (group, name))))
        register(_with_common_options(function, command))
    return app


def _histokit(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from histokit import __version__

        console.emit(__version__, {"version": __version__})
        raise typer.Exit
    if context.invoked_subcommand is None:
        context.fail("Missing command.")


def _with_common_options(function: Callable[..., None], called: str = "") -> Callable[..., None]:
    signature = inspect.signature(function, eval_str=True)
    own = [p.replace(annotation=options.of_command(p.annotation, called)) for p in signature.parameters.values()]
    kind = inspect.Parameter.KEYWORD_ONLY
    defaults = {"store_": None}
    common = [inspect.Parameter(n, kind, annotation=a, default=defaults.get(n, False)) for n, a in _COMMON.items()]

    @functools.wraps(function)
    def command(*args: Any, **kwargs: Any) -> None:
        for name in _COMMON:
            value = kwargs.pop(name)
            if value and name == "store_" and console.state.store:
                raise UsageError("--store is given twice: before the command and behind it.", next="Give it once.")
            if value:
                setattr(console.state, name.rstrip("_"), value)
        function(*args, **kwargs)

    command.__signature__ = signature.replace(parameters=[*own, *common])  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in [*own, *common]}
    return command


def _warn_of_broken_plugins() -> None:
    manager = sys.modules.get("histokit.plugin.manager")
    if manager is not None and manager.registry.cache_info().currsize:
        for plugin in manager.registry().broken:
            console.warn(str(plugin))
            if console.state.debug:
                streams.write("stderr", plugin.traceback())


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit code."""
    as_json = "--json" in arguments
    try:
        console.state.__init__()  # type: ignore[misc]
        interruption.reset(as_json)
        return _finished(_run(arguments, as_json))
    except KeyboardInterrupt:
        return _interrupted(as_json)


def _finished(code: int) -> int:
    """Write what is left of the streams; return the code of the whole."""
    failed = streams.finish()
    if failed is not None and code == ExitCode.OK:
        error = streams.unwritten(failed)
        code = _fail(error.code, error.message, error.next, False)
    streams.finish("stderr")
    return code


def _run(arguments: list[str], as_json: bool) -> int:
    try:
        return _answered(arguments, as_json)
    except KeyboardInterrupt:
        return _interrupted(as_json)


def _interrupted(as_json: bool) -> int:
    return _fail(ExitCode.INTERRUPTED, interruption.MESSAGE, interruption.NEXT, as_json)


def _answered(arguments: list[str], as_json: bool) -> int:
    try:
        _invoke(arguments)
        return ExitCode.OK
    except typer.Exit as done:
        return done.exit_code
    except HistokitError as error:
        return _told(error, arguments, as_json)
    except typer.TyperException as error:
        return _usage(error, as_json)
    except BrokenPipeError:
        streams.abandon(sys.stdout)
        return ExitCode.OK
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        known = not_of_histokit(error)
        return _bug(error, as_json) if known is None else _told(known, arguments, as_json)


def _told(error: HistokitError, arguments: list[str], as_json: bool) -> int:
    _unless_interrupted(error)
    if "--debug" in arguments:
        streams.write("stderr", traceback.format_exc())
    return _fail(error.code, error.message, error.next, as_json, error.to_json())


def _unless_interrupted(error: BaseException) -> None:
    """Raise where Ctrl-C was pressed: libraries tell of it as of errors of many kinds."""
    if interruption.state.came:
        raise KeyboardInterrupt from error


def _bug(error: BaseException, as_json: bool) -> int:
    _unless_interrupted(error)
    streams.write("stderr", traceback.format_exc())
    message = f"A bug in histokit: {type(error).__name__}: {error}"
    return _fail(ExitCode.BUG, message, "Report it with the lines above and the command.", as_json)


def _check_text(arguments: list[str]) -> None:
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            shown = os.fsencode(argument).decode("utf-8", "backslashreplace")
            raise UsageError(
                f"The argument '{shown}' is not valid UTF-8.",
                next="Rename the file or folder, or set the locale to UTF-8.",
            ) from error


def _invoke(arguments: list[str]) -> None:
    _check_text(arguments)
    if "_HISTOKIT_COMPLETE" in os.environ:
        with _exits_as_typer():
            build_app()(arguments, prog_name="histokit")
    # Typer's own main would answer an interruption and a closed pipe in its own way.
    command = typer.main.get_command(build_app(*arguments[:1]))
    with _exits_as_typer():
        # Here --show-completion and --install-completion do their work and exit.
        made = command.make_context("histokit", arguments)
    with made as context:
        try:
            command.invoke(context)
        finally:
            _warn_of_broken_plugins()


@contextlib.contextmanager
def _exits_as_typer() -> Iterator[None]:
    """Let what ends the process in Typer's own code be no bug."""
    try:
        yield
    except SystemExit as answered:
        raise typer.Exit(int(answered.code or 0)) from answered


def _usage(error: Any, as_json: bool) -> int:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "histokit"
    if context and error.message == context.get_help():
        console.tell(error.message)
        return ExitCode.USAGE
    instead = _INSTEAD.get((path.partition(" ")[2], getattr(error, "option_name", "")), "")
    instead = instead or _argument_of_that_name(error) or _option_of_that_form(error)
    message = error.message if instead else error.format_message()
    return _fail(ExitCode.USAGE, message, f"{instead}See: {path} --help", as_json)


def _argument_of_that_name(error: Any) -> str:
    """Return what to type where an option that there is not is called as an argument is; else nothing."""
    name, context = getattr(error, "option_name", "").lstrip("-"), getattr(error, "ctx", None)
    if not name or context is None:
        return ""
    known = [each for each in context.command.params if each.param_type_name == "argument"]
    called = [str(each.metavar or each.name) for each in known]
    found = next((each for each in called if each.lower() == name.lower()), None)
    return f"Write the {found} without --{name}: {' '.join([context.command_path, *called])}. " if found else ""


def _option_of_that_form(error: Any) -> str:
    """Return what to type where a KEY=VALUE stands without its option, of which the command has one; else nothing."""
    context, given = getattr(error, "ctx", None), re.search(r"extra arguments?\b.* \((\S+=.*)\)$", error.message)
    forms = [each for each in context.command.params if str(each.metavar).endswith("KEY=VALUE")] if context else []
    return f"Write {forms[0].opts[0]} before each: {forms[0].opts[0]} {given[1]}. " if given and len(forms) == 1 else ""


def _fail(code: ExitCode, message: str, next: str, as_json: bool, document: dict[str, Any] | None = None) -> int:
    if as_json and not interruption.state.document:
        error = document or {"code": int(code), "message": message, "next": next}
        with contextlib.suppress(HistokitError):
            console.print_json({"error": error})
    console.tell(f"error: {message}\n{next}")
    return int(code)
