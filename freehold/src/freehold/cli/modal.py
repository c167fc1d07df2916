"""The modal package's own commands, sent to this engine: `freehold deploy app.py` is `modal deploy app.py` with the profile chosen."""

import os
import sys
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
_STARTS_THE_ENGINE = {"run", "deploy", "serve"}


def modal(context: typer.Context) -> None:
    """Replaces this process, so that signals, terminal and exit status are modal's own."""
    from freehold.config import Settings

    command = str(context.info_name)
    settings = Settings.load()
    if not {"--help", "-h"}.intersection(context.args):
        _require_engine(settings, command)
    _become_modal(settings, [command, *context.args])


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


def _become_modal(settings: "Settings", arguments: list[str]) -> NoReturn:
    from freehold.cli.access import access

    environment = os.environ | {"MODAL_" + name.upper(): value for name, value in access(settings).items()}
    environment.pop("MODAL_PROFILE", None)
    program = str(Path(sys.executable).with_name("modal"))
    os.execve(program, ["modal", *arguments], environment)  # noqa: S606 — no shell is wanted
