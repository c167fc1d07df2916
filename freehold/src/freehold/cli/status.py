"""`freehold status`: whether the engine runs, and what it says of itself."""

import json
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

_WORDS = {
    "tasks": "containers",
    "tasks_with_own_transport": "of these, on its own socket",
    "tasks_serving_http": "of these, serving HTTP themselves",
    "tasks_with_web_fallback": "of these, taking web requests as inputs",
    "apps": "apps with containers",
}

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def status(*, as_json: AsJson = False) -> None:
    """Show whether the engine runs and what it holds.

    The exit status is 1 if it does not run.
    """
    from freehold.cli import engine
    from freehold.config import Settings

    settings = Settings.load()
    running = engine.find(settings.root)
    facts: dict[str, Any] = {"running": False, "home": str(settings.root)}
    if running:
        facts = {"running": True, "control_url": running.control_url, "gateway_url": running.gateway_url, **engine.health(running)}
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        _print_table(facts)
    if not running:
        raise typer.Exit(1)


def _print_table(facts: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    if not facts["running"]:
        typer.echo(f"No engine runs on {facts['home']}. Start one with `freehold up --detach`.")
        return
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(*_line(name, value))
    Console().print(table)


def _line(name: str, value: object) -> tuple[str, str]:
    if name == "uptime_s" and isinstance(value, int | float):
        return "up since", f"{datetime.now().astimezone() - timedelta(seconds=value):%Y-%m-%d %H:%M:%S}"
    return _WORDS.get(name, name.replace("_", " ")), "yes" if value is True else str(value)
