"""`freehold stats`: requests, errors, latencies and containers of an app over the last hour, or any other time."""

import json
import re
from datetime import datetime
from typing import Annotated, Any

import typer

from freehold.cli.status import AsJson

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_WATCH_SECONDS = 2.0
_THOUSAND = 1000


def stats(
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="An app, app.function, or the id of one.")],
    *,
    since: Annotated[str, typer.Option(metavar="SPAN", help="How far back: 30s, 10m, 2h, 7d.")] = "1h",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Redraw every two seconds, until Ctrl-C.")] = False,
    environment: Annotated[str, typer.Option("--env", help="Environment of the app; the default one if not given.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show requests, errors, latencies, containers, cold starts, and what an app has used and cost.

    Latency is from when a call or web request arrived to its end. Cold starts are containers that became ready.
    """
    from freehold.cli.operator import ask
    from freehold.cli.redraw import redraw

    request = {"subject": subject, "environment": environment, "seconds": _seconds(since)}
    if as_json:
        typer.echo(json.dumps(ask("Stats", **request), indent=2))
    elif watch:
        redraw(lambda: _screen(ask("Stats", **request)), every=_WATCH_SECONDS)
    else:
        from rich.console import Console

        Console().print(_screen(ask("Stats", **request)))


def span(seconds: float | None) -> str:
    """With three digits or so, in the unit that suits: `1.25 ms`, `34.0 ms`, `1.50 s`, `3.2 min`."""
    if seconds is None:
        return "-"
    milliseconds = seconds * _THOUSAND
    if milliseconds < 10:  # noqa: PLR2004
        return f"{milliseconds:.2f} ms"
    if milliseconds < _THOUSAND:
        return f"{milliseconds:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 120 else f"{seconds / 60:.1f} min"  # noqa: PLR2004


def _seconds(text: str) -> float:
    """Raises BadParameter."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if found is None or not float(found[1]):
        msg = f"{text!r} is no span of time. Write 30s, 10m, 2h or 7d."
        raise typer.BadParameter(msg, param_hint="--since")
    return float(found[1]) * _UNITS[found[2]]


def _screen(answer: dict[str, Any]) -> Any:
    from rich.console import Group
    from rich.text import Text

    heading = Text(f"{answer['app']} ({answer['state']}), {_clock(answer['since'])} to {_clock(answer['until'])}")
    rows = answer["functions"]
    if not rows:
        return Group(heading, Text("It has no functions."))
    everything = [*rows, answer["total"]] if len(rows) > 1 else rows
    used = Text(f"used since {_clock(answer['used_since'])}", style="bold")
    return Group(heading, Text(), _calls(everything), Text(), _containers(everything), Text(), used, _used(everything, answer["currency"]))


def _calls(rows: list[dict[str, Any]]) -> Any:
    table = _table("function", "requests", "errors", "", "p50", "p95", "p99", "running", "queued")
    for row in rows:
        share = f"{100 * row['errors'] / row['calls']:.1f} %" if row["calls"] else ""
        latency = (span(row["latency"][name]) for name in ("p50", "p95", "p99"))
        table.add_row(_name(row), f"{row['calls']:,}", f"{row['errors']:,}", share, *latency, f"{row['running']:,}", f"{row['queued']:,}")
    return table


def _containers(rows: list[dict[str, Any]]) -> Any:
    table = _table("function", "containers", "at most", "cold starts", "p50", "p95", "broken", "batch")
    for row in rows:
        batch = f"{row['mean_batch']:.1f}" if row["mean_batch"] is not None else ""
        start = (span(row["start"][name]) for name in ("p50", "p95"))
        now = sum(row["containers"].values())
        table.add_row(
            _name(row), f"{now:,}", f"{row['most_containers']:,}", f"{row['cold_starts']:,}", *start, f"{row['broken_containers']:,}", batch
        )
    return table


def _used(rows: list[dict[str, Any]], currency: str) -> Any:
    table = _table("function", "CPU, core-s", "memory, GiB-s", "GPU, s", f"cost, {currency}")
    for row in rows:
        used = row["used"]
        table.add_row(
            _name(row),
            f"{used['cpu_core_seconds']:,.1f}",
            f"{used['memory_gib_seconds']:,.1f}",
            f"{sum(used['gpu_seconds'].values()):,.1f}",
            f"{float(used['cost']):,.4f}",
        )
    return table


def _table(*headings: str) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "function" else "right", no_wrap=heading != "function", overflow="fold")
    return table


def _name(row: dict[str, Any]) -> Any:
    """As it is: a name may hold what rich takes for markup."""
    from rich.text import Text

    return Text(row["name"].removesuffix(".*"))


def _clock(at: str) -> str:
    return datetime.fromisoformat(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
