"""Line charts as SVG, by hand: two series over time need no library."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

Point = tuple[float, float]

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 760, 240, 48, 34, 28
_COLOURS = ("#c8c8c8", "#1f6feb", "#d1242f", "#1a7f37")
_MOST_POINTS = 400  # for each line: more cannot be told apart


def lines(path: Path, title: str, series: Mapping[str, Sequence[Point]], *, x: str, y: str) -> None:
    """The first series is drawn as an area: what the others are held against."""
    right = max(point[0] for points in series.values() for point in points) or 1.0
    top = max(point[1] for points in series.values() for point in points) or 1.0
    drawn = [_series(number, points, right, top) for number, points in enumerate(series.values())]
    legend = "".join(
        f'<tspan dx="14" fill="{_COLOURS[number] if number else "#8a8a8a"}">■ {escape(name)}</tspan>' for number, name in enumerate(series)
    )
    body = "".join(
        (
            f'<text x="{_LEFT}" y="18" font-weight="bold">{escape(title)}{legend}</text>',
            *drawn,
            *_axes(right, top, x, y),
        )
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/>{body}</svg>\n'
    )


def _series(number: int, points: Sequence[Point], right: float, top: float) -> str:
    step = max(1, len(points) // _MOST_POINTS)
    placed = " ".join(f"{_x(at, right):.1f},{_y(value, top):.1f}" for at, value in points[::step])
    if number:
        return f'<polyline points="{placed}" fill="none" stroke="{_COLOURS[number]}" stroke-width="1.5"/>'
    floor = _y(0, top)
    return f'<polygon points="{_LEFT},{floor} {placed} {_x(points[-1][0], right):.1f},{floor}" fill="{_COLOURS[0]}"/>'


def _axes(right: float, top: float, x: str, y: str) -> list[str]:
    floor = _y(0, top)
    marks = [
        f'<text x="{_x(right * share, right):.0f}" y="{floor + 16}" text-anchor="middle" fill="#555">{right * share:,.0f}</text>'
        for share in (0, 0.25, 0.5, 0.75)
    ]
    heights = [
        f'<text x="{_LEFT - 6}" y="{_y(top * share, top) + 4:.0f}" text-anchor="end" fill="#555">{top * share:,.0f}</text>'
        for share in (0, 0.5, 1)
    ]
    names = [
        f'<text x="{_WIDTH - 10}" y="{floor + 16}" text-anchor="end" fill="#555">{escape(x)}</text>',
        f'<text x="{_WIDTH - 10}" y="18" text-anchor="end" fill="#555">{escape(y)}</text>',
        f'<line x1="{_LEFT}" y1="{floor}" x2="{_WIDTH - 10}" y2="{floor}" stroke="#555"/>',
    ]
    return [*marks, *heights, *names]


def _x(at: float, right: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - 10) * at / right


def _y(value: float, top: float) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / top
