"""`freehold top`: what the engine and all functions do now, busiest first."""

import json
from typing import Annotated, Any

import typer

from freehold.cli.stats import span
from freehold.cli.status import AsJson

_SECONDS = 2.0
_MIB = 1024 * 1024


def top(
    *,
    once: Annotated[bool, typer.Option("--once", help="Print it once instead of redrawing it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what all functions do now, busiest first; Ctrl-C ends it.

    Rates and latencies are those of the last minute.
    """
    from freehold.cli.operator import ask
    from freehold.cli.redraw import redraw

    if as_json:
        typer.echo(json.dumps(ask("Top"), indent=2))
    elif once:
        from rich.console import Console

        Console().print(_screen(ask("Top")))
    else:
        redraw(lambda: _screen(ask("Top")), every=_SECONDS, whole=True)


def _screen(answer: dict[str, Any]) -> Any:
    from rich.console import Group
    from rich.text import Text

    rows = sorted(answer["functions"], key=lambda row: (-row["calls"], -sum(row["containers"].values()), row["app"], row["name"]))
    if not rows:
        return Group(*_heading(answer), Text(), Text("No function has a container, or was called in the last minute."))
    return Group(*_heading(answer), Text(), _functions(rows, answer["seconds"]))


def _heading(answer: dict[str, Any]) -> list[Any]:
    from rich.text import Text

    engine, total = answer["engine"], answer["total"]
    states = ", ".join(f"{count} {state}" for state, count in engine["containers"].items() if count) or "none"
    return [
        Text(f"up {_long(engine['uptime_s'])}   memory {engine['resident_bytes'] / _MIB:,.0f} MiB   loop lag {span(engine['loop_lag_s'])}"),
        Text(f"containers: {states}"),
        Text(
            f"calls: {_rate(total['calls'], answer['seconds'])}/s   errors: {_rate(total['errors'], answer['seconds'])}/s   "
            f"running: {total['running']:,}   queued: {total['queued']:,}"
        ),
    ]


def _functions(rows: list[dict[str, Any]], seconds: float) -> Any:
    from rich.table import Table
    from rich.text import Text

    # One line each, also where the terminal has 80 columns: a name that has no room is cut.
    table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="bold")
    table.add_column("function", no_wrap=True, overflow="ellipsis", min_width=16)
    for heading in ("calls/s", "err/s", "p50", "p95", "runs", "queue", "waits", "cont."):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            Text(f"{row['app']}.{row['name']}"),
            _rate(row["calls"], seconds),
            _rate(row["errors"], seconds),
            span(row["latency"]["p50"]),
            span(row["latency"]["p95"]),
            f"{row['running']:,}",
            f"{row['queued']:,}",
            span(row["waiting"]) if row["queued"] else "",
            f"{sum(row['containers'].values()):,}",
        )
    return table


def _rate(count: int, seconds: float) -> str:
    rate = count / seconds if seconds else 0.0
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2f}"  # noqa: PLR2004


def _long(seconds: float) -> str:
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"
