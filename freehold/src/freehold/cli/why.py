"""`freehold why`: why something is as it is, in sentences first and numbers after."""

import json
from datetime import datetime
from typing import Annotated, Any

import typer

_OWN = ("at", "kind", "cause")


def why(
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="fu-…, fc-…, in-…, ta-…, or app.function.")],
    *,
    environment: Annotated[str, typer.Option("--env", help="Environment of the app; the default one if not given.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say why something waits, runs or ended.

    Why a call waits and what became of it, what a function's containers are for, why a container started or ended.
    """
    from freehold.cli.operator import ask

    answer = ask("Why", subject=subject, environment=environment)
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    for sentence in answer["sentences"]:
        typer.echo(sentence)
    if answer["numbers"]:
        typer.echo("\n" + "  ".join(f"{name}={value}" for name, value in answer["numbers"].items()))
    if answer["events"]:
        typer.echo("\nWhat happened last:")
        for event in answer["events"]:
            typer.echo(f"  {_line(event)}")


def _line(event: dict[str, Any]) -> str:
    at = datetime.fromisoformat(event["at"]).astimezone().strftime("%H:%M:%S.%f")[:-3]
    fields = " ".join(f"{name}={value}" for name, value in event.items() if name not in _OWN and value and "\n" not in value)
    return f"{at}  {event['kind']:<16} {event['cause']}{'  ' + fields if fields else ''}".rstrip()
