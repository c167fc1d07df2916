"""What `freehold stats` and `freehold top` print. That they work on a running engine is shown in tests/conformance."""

import pytest
import typer
from rich.console import Console

from freehold.cli import stats, top
from freehold.cli.main import main

NOTHING = {"p50": None, "p95": None, "p99": None}


def a_row(**changes):
    row = {
        "name": "f",
        "calls": 0,
        "errors": 0,
        "timeouts": 0,
        "cancelled": 0,
        "latency": NOTHING,
        "execution": NOTHING,
        "cold_starts": 0,
        "start": NOTHING,
        "broken_containers": 0,
        "most_containers": 0,
        "mean_batch": None,
        "queued": 0,
        "running": 0,
        "waiting": 0.0,
        "containers": {},
        "used": {"cpu_core_seconds": 0.0, "memory_gib_seconds": 0.0, "gpu_seconds": {}, "cost": "0"},
    }
    return row | changes


BUSY = a_row(
    name="Model.*",
    calls=1234,
    errors=37,
    latency={"p50": 0.00123, "p95": 0.0456, "p99": 300.0},
    containers={"ready": 2, "starting": 1},
    queued=5,
    mean_batch=3.25,
    used={"cpu_core_seconds": 12.34, "memory_gib_seconds": 5.0, "gpu_seconds": {"T4": 1.5, "A100": 2.0}, "cost": "0.012345"},
)


def answer(*rows):
    return {
        "app": "[red]shop[/red]",
        "state": "deployed",
        "since": "2026-01-02T03:00:00+00:00",
        "until": "2026-01-02T04:00:00+00:00",
        "used_since": "2026-01-02T03:00:00+00:00",
        "currency": "EUR",
        "functions": list(rows),
        "total": a_row(name="all", calls=1234),
    }


def printed(screen, width=200):
    console = Console(width=width)
    with console.capture() as capture:
        console.print(screen)
    return capture.get()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "-"), (0.0005, "0.50 ms"), (0.0456, "46 ms"), (0.9994, "999 ms"), (1.5, "1.50 s"), (119.0, "119.00 s"), (600.0, "10.0 min")],
)
def test_a_duration_is_told_in_the_unit_that_suits(seconds, words):
    assert stats.span(seconds) == words


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("10m", 600), ("1.5h", 5400), ("7d", 604800)])
def test_a_window_is_a_number_and_a_unit(text, seconds):
    assert stats._seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "10", "-1h", "0h", "1w", "1h 2m"])
def test_another_window_is_refused_with_examples(text):
    with pytest.raises(typer.BadParameter, match="30s, 10m, 2h or 7d"):
        stats._seconds(text)


def test_the_tables_tell_calls_containers_and_cost():
    text = printed(stats._screen(answer(BUSY, a_row())))

    assert "[red]shop[/red] (deployed)" in text
    for words in ("Model ", "1,234", "37", "3.0 %", "1.23 ms", "46 ms", "5.0 min", "3.2", "12.3", "3.5", "0.0123", "cost, EUR"):
        assert words in text
    assert "all" in text


def test_one_function_needs_no_sum():
    assert "all" not in printed(stats._screen(answer(BUSY)))


def test_an_app_without_functions_says_so():
    assert "It has no functions." in printed(stats._screen(answer()))


def test_top_shows_the_busiest_first():
    engine = {
        "uptime_s": 90061.0,
        "cpu_seconds": 1.0,
        "resident_bytes": 200 * 1024**2,
        "containers": {"ready": 3},
        "loop_lag_s": 0.002,
        "commit_s": None,
    }
    rows = [{"app": "b", **a_row(name="idle")}, {"app": "a", **BUSY}]
    text = printed(top._screen({"engine": engine, "functions": rows, "seconds": 60.0, "total": a_row(calls=1234, queued=5)}))

    assert "up 1 d 1 h   memory 200 MiB   loop lag 2.00 ms" in text
    assert "containers: 3 ready" in text
    assert "calls: 21/s" in text
    assert text.index("Model") < text.index("idle")


def test_top_has_a_line_for_each_function_in_eighty_columns():
    rows = [{"app": "shop", **a_row(name="a_function_with_a_name_that_is_long")}, {"app": "shop", **BUSY}]
    engine = {"uptime_s": 5.0, "cpu_seconds": 1.0, "resident_bytes": 0, "containers": {"ready": 0}, "loop_lag_s": 0.0, "commit_s": None}
    lines = printed(top._screen({"engine": engine, "functions": rows, "seconds": 60.0, "total": a_row()}), width=80).rstrip().splitlines()

    assert lines[-3].startswith("function")
    assert lines[-2].startswith("shop.Model")
    assert lines[-1].startswith("shop.a_function")


def test_top_of_an_engine_at_rest_says_so():
    engine = {"uptime_s": 5.0, "cpu_seconds": 1.0, "resident_bytes": 0, "containers": {"ready": 0}, "loop_lag_s": 0.0, "commit_s": None}
    text = printed(top._screen({"engine": engine, "functions": [], "seconds": 60.0, "total": a_row()}))

    assert "containers: none" in text
    assert "No function has a container" in text


@pytest.mark.parametrize("words", [["stats", "shop"], ["stats", "shop", "--json"], ["top", "--once"]])
def test_without_an_engine_it_says_how_to_start_one(home, capsys, words):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 1
    assert "`freehold up --detach`" in capsys.readouterr().err
