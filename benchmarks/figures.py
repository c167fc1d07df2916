"""Figures: what was measured, what stands beside it, and how both are shown."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

_ALL = "all"  # the last column: from the call to the answer
_WIDTH = 110  # also where the output is no terminal


@dataclass(frozen=True)
class Figure:
    """One measured value. `beside` is what it is compared with: a goal, or another server in the same run."""

    value: float
    unit: str
    beside: float | None = None
    whose: str = ""  # what `beside` is, in words

    @property
    def ratio(self) -> float | None:
        return None if self.beside is None else self.value / self.beside


Figures = Mapping[str, Figure]


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: a value that was really measured."""
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]


def write(figures: Figures, path: Path, *, is_whole: bool = True) -> None:
    """As JSON. Where not all was measured, what the file has of the rest stays."""
    known = {} if is_whole or not path.exists() else json.loads(path.read_text())
    content = known | {
        name: {"value": _short(figure.value), "unit": figure.unit, "beside": _short(figure.beside), "ratio": _short(figure.ratio)}
        for name, figure in figures.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def show(figures: Figures) -> None:
    table = Table("figure", "value", "unit", "beside", "ratio", title="Measured")
    for name, figure in figures.items():
        beside = "" if figure.beside is None else f"{_short(figure.beside):,} ({figure.whose})"
        table.add_row(name, f"{_short(figure.value):,}", figure.unit, beside, "" if figure.ratio is None else f"{_short(figure.ratio):,}")
    _print(table)


def show_phases(phases: Mapping[str, Mapping[str, float]]) -> None:
    """Where the milliseconds of a cold start go, a row for each kind."""
    names = [*dict.fromkeys(name for parts in phases.values() for name in parts if name != _ALL), _ALL]
    table = Table("cold start, ms", *names, title="Phases (median of each)")
    for kind, parts in phases.items():
        table.add_row(kind, *(f"{parts[name]:,.0f}" if name in parts else "" for name in names))
    _print(table)


def _print(table: Table) -> None:
    Console(width=_WIDTH).print(table)


def _short(value: float | None) -> float | None:
    """Four digits say all that one run on one machine can."""
    return None if value is None else float(f"{value:.4g}")
