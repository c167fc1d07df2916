"""`freehold trace`: where the time of a call or a web request went, as a waterfall."""

import json
from typing import Annotated, Any

import typer

from freehold.cli.status import AsJson

_SHOWN = ("freehold.task_id", "freehold.index", "freehold.start", "freehold.outcome", "http.response.status_code")


def trace(
    subject: Annotated[
        str, typer.Argument(metavar="SUBJECT", help="fc-…: of a call, or a web response's modal-function-call-id; or in-….")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Show where the time of a call or a web request went.

    From what began it, through queue, container start and tries, to all that it called.
    """
    from freehold.cli.operator import ask

    answer = ask("Trace", subject=subject)
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    _print(answer)


def _print(answer: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column(f"trace {answer['trace_id']}", no_wrap=True)
    table.add_column("at, ms", justify="right", no_wrap=True)
    table.add_column("took, ms", justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for row in answer["spans"]:
        style = "red" if row["is_error"] else "" if row["is_over"] else "yellow"
        took = f"{row['seconds'] * 1000:,.1f}{'' if row['is_over'] else ' …'}"
        told = " ".join(str(row["attributes"][name]) for name in _SHOWN if name in row["attributes"])
        table.add_row(
            Text("  " * row["depth"] + row["name"], style=style), Text(row["bar"], style=style), f"{row['offset'] * 1000:,.1f}", took, told
        )
    Console(soft_wrap=True).print(table)
