"""`freehold schedules`: what is called by itself, when next, and what came of it last."""

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from freehold.cli.status import AsJson

Name = Annotated[str, typer.Argument(metavar="APP.FUNCTION", help="As `freehold schedules` lists it.")]
Environment = Annotated[str, typer.Option("--env", "-e", help="Only this environment; all of them if not given.")]

schedules = typer.Typer(rich_markup_mode=None, add_completion=False)


@schedules.callback(invoke_without_command=True)
def show(context: typer.Context, *, env: Environment = "", as_json: AsJson = False) -> None:
    """Show the schedules of deployed functions: rule, next run, last run and how it ended.

    `missed` counts the due times that got no run of their own because the engine was down, since the rule was set.
    """
    if context.invoked_subcommand is not None:
        return
    from freehold.cli.operator import ask

    rows = ask("ScheduleList", environment=env)["schedules"]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    elif rows:
        _print_table(rows, datetime.now(UTC))
    else:
        typer.echo("No deployed function has a schedule. Give one with `@app.function(schedule=modal.Period(hours=1))` and deploy it.")


@schedules.command()
def run(name: Name, *, env: Environment = "") -> None:
    """Run a scheduled function once, now, and print the id of the call.

    Its schedule goes on as it was, also if it is paused.
    """
    from freehold.cli.operator import ask

    typer.echo(ask("ScheduleRun", name=name, environment=env)["call_id"])


@schedules.command()
def pause(name: Name, *, env: Environment = "") -> None:
    """Stop the runs of a schedule until it is resumed, over restarts and redeploys.

    What is running already goes on.
    """
    from freehold.cli.operator import ask

    ask("SchedulePause", name=name, environment=env)
    typer.echo(f"{name} is paused. `freehold schedules resume {name}` lets it go on.")


@schedules.command()
def resume(name: Name, *, env: Environment = "") -> None:
    """Let a schedule go on, with the next time that its rule has from now.

    What passed meanwhile is not made up for.
    """
    from freehold.cli.operator import ask

    answer = ask("ScheduleResume", name=name, environment=env)
    typer.echo(f"{name} runs next at {_next_run(answer, datetime.now(UTC))}.")


def _print_table(rows: list[dict[str, Any]], now: datetime) -> None:
    from rich.console import Console
    from rich.table import Table

    environments = {row["environment"] for row in rows}
    table = Table(box=None, pad_edge=False)
    for heading in ("app", "function", "rule", "time zone", "next run", "last run", "missed"):
        table.add_column(heading, justify="right" if heading == "missed" else "left", overflow="fold")
    for row in rows:
        app = row["app"] if len(environments) == 1 else f"{row['app']} ({row['environment']})"
        cells = (app, row["function"], row["rule"], row["timezone"], _next_run(row, now), _last_run(row), str(row["missed"]))
        table.add_row(*cells)
    Console().print(table)


def _next_run(row: dict[str, Any], now: datetime) -> str:
    if row["is_paused"]:
        return "paused"
    if row["next_at"] is None:
        return "never"
    moment = datetime.fromisoformat(row["next_at"])
    return f"{_local(moment)} (in {_span(max(moment - now, timedelta(0)))})"


def _last_run(row: dict[str, Any]) -> str:
    return f"{_local(datetime.fromisoformat(row['last_at']))}, {row['last_state']}" if row["last_at"] else "none yet"


def _local(moment: datetime) -> str:
    return moment.astimezone().isoformat(sep=" ", timespec="seconds")


def _span(span: timedelta) -> str:
    """In the two largest units that say something: `3 h 12 min`."""
    minutes, seconds = divmod(round(span.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    first = next((index for index, (value, _) in enumerate(parts) if value), len(parts) - 1)
    return " ".join(f"{value} {unit}" for value, unit in parts[first : first + 2])
