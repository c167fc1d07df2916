"""`freehold coldstart`: where the time of the last starts went, and which imports were slow."""

import json
from datetime import datetime
from typing import Annotated, Any

import typer

from freehold.cli.status import AsJson

_HEADINGS = {
    "container": "cont.",
    "python": "python",
    "forked": "fork",
    "runtime": "modal",
    "imports": "import",
    "enter": "enter",
    "output": "output",
}


def coldstart(
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="An app, app.function, or the id of a function or container.")],
    *,
    environment: Annotated[str, typer.Option("--env", help="Environment of the app; the default one if not given.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show where the last cold starts of an app spent their time.

    In milliseconds by phase: container (placement, root, network, runc), python or fork, modal's runtime, your imports, enter hooks, first output.
    """
    from freehold.cli.operator import ask

    answer = ask("ColdStart", subject=subject, environment=environment)
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
    elif answer["starts"]:
        _print_starts(answer)
        _print_imports(answer["imports"])
        for function, why in answer["no_snapshot"].items():
            typer.echo(f"\nNo snapshot of {function}: {why}")
    else:
        typer.echo(f"No container of {subject} has become ready lately. Call it, then ask again.")


def _print_starts(answer: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    phases = [phase for phase in _HEADINGS if any(phase in row["phases"] for row in answer["starts"])]
    table = Table(box=None, pad_edge=False)
    for heading in ("at", "function", "start"):
        table.add_column(heading, no_wrap=heading != "function", overflow="fold")
    for heading in (*(_HEADINGS[phase] for phase in phases), "all, ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in answer["starts"]:
        table.add_row(_clock(row["at"]), row["function"], row["start"], *_cells(row, phases))
    for kind, row in sorted(answer["medians"].items()):
        table.add_row("p50", f"of {row['starts']}", kind, *_cells(row, phases), style="bold")
    Console().print(table)


def _cells(row: dict[str, Any], phases: list[str]) -> list[str]:
    return [*(f"{row['phases'][phase]:,.0f}" if phase in row["phases"] else "" for phase in phases), f"{row['all']:,.0f}"]


def _clock(at: str) -> str:
    return datetime.fromisoformat(at).astimezone().strftime("%H:%M:%S")


def _print_imports(imports: list[dict[str, Any]]) -> None:
    if not imports:
        return
    typer.echo("\nSlowest imports (with what they import; without):")
    for item in imports:
        typer.echo(f"  {item['package']:<20} {item['all']:>7,.0f} ms  {item['own']:>7,.0f} ms  {item['origin']}")
    for tip in dict.fromkeys((item["origin"], item["advice"]) for item in imports if item["advice"]):
        typer.echo(f"\nOf the {tip[0]}: {tip[1]}.")
