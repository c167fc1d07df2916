"""`freehold cost`: what was used, and what that cost by the prices of this machine."""

import json
from typing import Annotated, Any

import typer

from freehold.cli.status import AsJson


def cost(
    subject: Annotated[str, typer.Argument(metavar="[SUBJECT]", help="Of one thing alone: fc-…, ta-…, fu-… or ap-….")] = "",
    *,
    by: Annotated[str, typer.Option(metavar="app|function|day", help="What the sums are for.")] = "app",
    since: Annotated[str, typer.Option(help="From when on, by whole hours: 24h, 7d, today, or a date (UTC).")] = "30d",
    as_json: AsJson = False,
) -> None:
    """Show what was used, and what it cost, by app, function or day.

    CPU time, memory and GPUs of all containers, priced by prices.toml in the home of the engine.
    """
    from freehold.cli.operator import ask

    answer = ask("Usage", subject=subject, since=since) if subject else ask("Cost", by=by, since=since)
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
    elif answer["rows"]:
        _print(answer)
    else:
        typer.echo(f"No container has run since {answer['since'][:16].replace('T', ' ')} UTC.")


def _print(answer: dict[str, Any]) -> None:
    from decimal import Decimal

    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column(answer["by"], overflow="fold")
    for heading in ("inputs", "CPU, core-s", "memory, GiB-s", "GPU, s", f"cost, {answer['currency']}"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in answer["rows"]:
        table.add_row(*_cells(row))
    if len(answer["rows"]) > 1:
        table.add_row(*_cells(answer["total"]), style="bold")
    Console().print(table)
    if not Decimal(answer["total"]["cost"]):
        typer.echo("\nAll that was used is priced at 0. Set prices in prices.toml, in the home of the engine (docs/howto/cost.md).")


def _cells(row: dict[str, Any]) -> list[str]:
    from decimal import Decimal

    from freehold.domain.cost import written

    gpus = " ".join(f"{name} {seconds:,.0f}" for name, seconds in sorted(row["gpu_seconds"].items()))
    return [
        row["name"],
        f"{row['inputs']:,}",
        f"{row['cpu_core_seconds']:,.1f}",
        f"{row['memory_gib_seconds']:,.1f}",
        gpus,
        written(Decimal(row["cost"])),
    ]
