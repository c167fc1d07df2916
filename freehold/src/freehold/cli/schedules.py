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
    """Show schedules, and run or pause one.

    Times are those of this machine's time zone. `missed` counts the due times that got no run of their own because the engine was down, since the rule was set.
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
    for heading in ("function", "rule", "next run", "last run", "missed"):
        table.add_column(heading, justify="right" if heading == "missed" else "left", no_wrap=heading.endswith("run"), overflow="fold")
    for row in rows:
        name = row["name"] if len(environments) == 1 else f"{row['name']} ({row['environment']})"
        rule = row["rule"] if row["timezone"] == "UTC" else f"{row['rule']}\n{row['timezone']}"
        table.add_row(name, rule, _next_run(row, now, "\n"), _last_run(row), str(row["missed"]))
    Console().print(table)


def _next_run(row: dict[str, Any], now: datetime, gap: str = " ") -> str:
    if row["is_paused"]:
        return "paused"
    if row["next_at"] is None:
        return "never"
    moment = datetime.fromisoformat(row["next_at"])
    return f"{_local(moment)}{gap}(in {_span(max(moment - now, timedelta(0)))})"


def _last_run(row: dict[str, Any]) -> str:
    return f"{_local(datetime.fromisoformat(row['last_at']))}\n{row['last_state']}" if row["last_at"] else "none yet"


def _local(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


def _span(span: timedelta) -> str:
    """In the two largest units that say something: `3 h 12 min`."""
    minutes, seconds = divmod(round(span.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    first = next((index for index, (value, _) in enumerate(parts) if value), len(parts) - 1)
    return " ".join(f"{value} {unit}" for value, unit in parts[first : first + 2])
