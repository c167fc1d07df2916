"""`freehold doctor`: what this machine can do for an engine, and what mends each lack."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from freehold.worker.inspect import Finding

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def doctor(*, as_json: AsJson = False) -> None:
    """Show what this machine can do, and the fix of each lack.

    The exit status is 1 if an engine could not run containers here.
    """
    import anyio

    from freehold.config import Settings
    from freehold.worker.inspect import inspect_machine

    settings = Settings.load()
    findings = anyio.run(inspect_machine, settings.root, settings.pretend_gpus)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print_table(findings)
    if not all(finding.is_ok for finding in findings if finding.is_required):
        raise typer.Exit(1)


def _print_table(findings: "list[Finding]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None)
    for finding in findings:
        table.add_row(_verdict(finding), finding.subject, Text(finding.detail))
        if not finding.is_ok:
            table.add_row("", "", Text(finding.fix, style="bold"))
    Console().print(table)


def _verdict(finding: "Finding") -> str:
    if finding.is_ok:
        return "[green]ok[/green]"
    return "[red]missing[/red]" if finding.is_required else "[yellow]lacking[/yellow]"
