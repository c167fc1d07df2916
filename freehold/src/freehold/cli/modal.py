"""The modal package's own commands, sent to this engine: `freehold deploy app.py` is `modal deploy app.py` with the profile chosen."""

import itertools
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

if TYPE_CHECKING:
    from freehold.config import Settings

# Those that speak to an engine, with the help line that `freehold --help` gives them.
COMMANDS = {
    "run": "Run a function or local entrypoint.",
    "deploy": "Deploy an app.",
    "serve": "Run an app's web endpoints, with reload on change.",
    "shell": "Open a shell in a container.",
    "logs": "Follow what an app prints; with --since, --until or --tail, show what it printed.",
    "app": "List, follow, stop and roll back apps.",
    "container": "List, follow and stop containers.",
    "function": "Look into functions.",
    "image": "Look into images.",
    "secret": "Create, list and delete secrets.",
    "volume": "Read and change volumes.",
    "dict": "Read and change dicts.",
    "queue": "Read and change queues.",
    "environment": "Create and list environments.",
}
_TAKE_A_VALUE = {"--name", "--env", "-e", "--tag", "--strategy", "--write-result", "-w", "--timestamp"}
_STARTS_THE_ENGINE = {"run", "deploy", "serve"}


def modal(context: typer.Context) -> None:
    """Replaces this process by modal's."""
    become_modal(context, [str(context.info_name), *context.args])


def become_modal(context: typer.Context, arguments: list[str]) -> NoReturn:
    """Replace this process, so that signals, terminal and exit status are modal's own."""
    from freehold.config import Settings

    settings = Settings.load()
    if not {"--help", "-h"}.intersection(context.args):
        _check_script(arguments)
        _require_engine(settings, arguments[0])
    _replace_process(settings, arguments)


def _check_script(arguments: list[str]) -> None:
    """A name that was mistyped is told before an engine is started for it."""
    from freehold.cli import guided
    from freehold.domain.errors import InvalidRequest, NotFound

    command, *rest = arguments
    script = script_in(rest) if command in _STARTS_THE_ENGINE else None
    if script is None:
        return
    if not script.is_file():
        msg = f"There is no file {script}. {guided.no_file(script)}"
        raise NotFound(msg)
    if text := _wrong_syntax(script):
        raise InvalidRequest(text)


def script_in(arguments: Sequence[str]) -> Path | None:
    """The first argument that names a Python file; None where a module is named, or nothing."""
    before = ""
    for argument in itertools.takewhile(lambda word: word != "--", arguments):
        path = Path(argument.partition("::")[0])
        if path.suffix == ".py" and not argument.startswith("-") and before not in _TAKE_A_VALUE:
            return path
        before = argument
    return None


def _wrong_syntax(script: Path) -> str:
    try:
        warnings.simplefilter("ignore")  # modal shows those of the app itself
        compile(script.read_bytes(), script, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        shown = f"\n    {error.text.strip()}" if isinstance(error, SyntaxError) and error.text else ""
        where = f"{script}, line {line}" if line else script
        return f"{where} is not Python: {getattr(error, 'msg', error)}.{shown}\nMend that line, then try again; nothing was started or changed."
    return ""


def _require_engine(settings: "Settings", command: str) -> None:
    from freehold.cli import engine, preflight
    from freehold.domain.errors import Unavailable

    if engine.find(settings.root):
        return
    if command not in _STARTS_THE_ENGINE:
        msg = f"No engine runs on {settings.root}. Start one with `freehold up --detach`."
        raise Unavailable(msg)
    preflight.check(settings)
    engine.start(settings, [])
    typer.echo("The engine was not running, so it was started; `freehold down` ends it.", err=True)


def _replace_process(settings: "Settings", arguments: list[str]) -> NoReturn:
    from freehold.cli.access import access

    environment = os.environ | {"MODAL_" + name.upper(): value for name, value in access(settings).items()}
    environment.pop("MODAL_PROFILE", None)
    # -P: no file of the folder that this runs in is to be taken for a module of Python's.
    program = [sys.executable, "-P", "-m", "freehold.cli.guided"]
    os.execve(program[0], [*program, *arguments], environment)  # noqa: S606 — no shell is wanted
