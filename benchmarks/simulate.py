"""`make simulate`: what the autoscaler does under made and recorded traffic, and how fast it decides for a thousand machines.

`--docs` also writes the charts that docs/explanation/autoscaling.md shows.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import charts
import traffic
from figures import percentile
from rich.console import Console
from rich.table import Table
from simulation import Measured, Simulation
from traffic import Traffic

from freehold.domain.functions import AutoscalerSettings
from freehold.domain.placement import Amounts, Machine

_CHECKOUT = Path(__file__).parents[1]
_CHARTS = _CHECKOUT / "build" / "simulation"
_DOCS = _CHECKOUT / "docs" / "explanation" / "autoscaling"
_TRACE = Path(__file__).parent / "traces" / "waves.json"

_DEFAULT = "by halves (the default)"
_AT_ONCE = "all at once"
_BUFFER = "buffer_containers=2"
_SHORT = "scaledown_window=10"
_POLICIES = {
    _DEFAULT: {},
    _AT_ONCE: {"scaledown_rate_limit": 10**6},
    _BUFFER: {"buffer_containers": 2},
    _SHORT: {"scaledown_window": timedelta(seconds=10)},
}


def main() -> None:
    kinds = [traffic.constant(), traffic.diurnal(), traffic.ramp(), traffic.bursts(), traffic.heavy_tailed(), traffic.many_small()]
    measured = {kind.name: {policy: _run(kind, policy, machines=50) for policy in _POLICIES} for kind in kinds}
    _show({f"{kind}, {policy}": found for kind, by_policy in measured.items() for policy, found in by_policy.items()}, "Policies")
    _replay()
    _scale()
    _draw(measured, _CHARTS)
    if "--docs" in sys.argv[1:]:
        _draw({name: measured[name] for name in ("bursts", "diurnal")}, _DOCS)


def _run(kind: Traffic, policy: str, *, machines: int) -> Measured:
    total = Amounts(tasks=64, milli_cpu=64_000, memory_mib=65_536)
    fleet = [Machine(id=f"m-{number:04}", total=total) for number in range(machines)]
    changes = _POLICIES[policy]
    return Simulation(kind, fleet, lambda settings: _changed(settings, changes)).run()


def _changed(settings: AutoscalerSettings, changes: Mapping[str, object]) -> AutoscalerSettings:
    return replace(settings, **changes)  # type: ignore[arg-type]


def _replay() -> None:
    """The recorded trace beside what the engine did with it."""
    kind = traffic.recorded(_TRACE)
    found = _run(kind, _DEFAULT, machines=1)
    table = Table("recorded traffic", "p50 wait, s", "p99 wait, s", title="Simulated and real")
    for name, waits in (("the engine", kind.real_waits), ("the simulation", found.waits)):
        table.add_row(name, f"{percentile(waits, 0.5):.3f}", f"{percentile(waits, 0.99):.3f}")
    _print(table)


def _scale() -> None:
    total = Amounts(tasks=16, milli_cpu=16_000, memory_mib=16_384)
    fleet = [Machine(id=f"m-{number:04}", total=total) for number in range(1000)]
    found = Simulation(traffic.at_scale(), fleet, lambda settings: settings).run()
    _show({"at scale, 1,000 machines": found}, "Scale")
    table = Table("at scale", "", title="Speed of the decisions themselves, one core")
    table.add_row("most containers at a time", f"{found.most:,}")
    table.add_row("decisions", f"{found.decisions:,}")
    table.add_row("decisions per second", f"{found.decisions / found.deciding:,.0f}")
    table.add_row("placements", f"{found.placements:,}")
    table.add_row("placements per second", f"{found.placements / found.placing:,.0f}")
    _print(table)


def _show(rows: Mapping[str, Measured], title: str) -> None:
    table = Table(
        "traffic, policy",
        "inputs",
        "p50 wait, s",
        "p99 wait, s",
        "waited, input-s",
        "idle, container-s",
        "idle share",
        "starts",
        title=title,
    )
    for name, found in rows.items():
        table.add_row(
            name,
            f"{len(found.waits):,}",
            f"{percentile(found.waits, 0.5):.2f}",
            f"{percentile(found.waits, 0.99):.2f}",
            f"{sum(found.waits):,.0f}",
            f"{found.idle:,.0f}",
            f"{found.idle / max(found.paid, 1e-9):.0%}",
            f"{found.starts:,}",
        )
    _print(table)


def _draw(measured: Mapping[str, Mapping[str, Measured]], folder: Path) -> None:
    for kind, by_policy in measured.items():
        series: dict[str, Sequence[tuple[float, float]]] = {
            "needed": [(at, needed) for at, _, needed in by_policy[_DEFAULT].series],
            **{policy: [(at, there) for at, there, _ in by_policy[policy].series] for policy in (_DEFAULT, _AT_ONCE)},
        }
        charts.lines(folder / f"{kind.replace(' ', '-')}.svg", kind, series, x="seconds", y="containers")


def _print(table: Table) -> None:
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
