"""What `freehold schedules` prints. That it works on a running engine is shown in tests/conformance."""

from datetime import UTC, datetime, timedelta

import pytest

from freehold.cli.main import main
from freehold.cli.schedules import _next_run, _print_table, _span

NOW = datetime(2026, 1, 2, 3, 0, tzinfo=UTC)


def a_row(**changes):
    row = {"name": "shop.f", "app": "shop", "environment": "main", "function": "f", "rule": "every 1 hour", "timezone": "UTC", "missed": 0}
    return row | {"is_paused": False, "next_at": "2026-01-02T04:30:00+00:00", "last_at": None, "last_state": None} | changes


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.6, "1 min 0 s"),
        (75, "1 min 15 s"),
        (3600, "1 h 0 min"),
        (90061, "1 d 1 h"),
        (86400 * 400, "400 d 0 h"),
    ],
)
def test_a_span_is_told_in_its_two_largest_units(seconds, words):
    assert _span(timedelta(seconds=seconds)) == words


def test_the_next_run_is_told_by_the_clock_on_the_wall_and_as_a_span():
    local = datetime(2026, 1, 2, 4, 30, tzinfo=UTC).astimezone().strftime("%Y-%m-%d %H:%M")
    assert _next_run(a_row(), NOW) == f"{local} (in 1 h 30 min)"
    assert _next_run(a_row(is_paused=True, next_at=None), NOW) == "paused"
    assert _next_run(a_row(next_at=None), NOW) == "never"


def test_the_table_names_environments_only_where_there_are_several(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    _print_table([a_row(last_at="2026-01-02T02:30:00+00:00", last_state="failure", missed=3)], NOW)
    one = capsys.readouterr().out
    _print_table([a_row(), a_row(environment="dev")], NOW)
    two = capsys.readouterr().out
    assert "failure" in one
    assert " 3\n" in one
    assert "none yet" in two
    assert "(main)" not in one
    assert "shop.f (main)" in two
    assert "shop.f (dev)" in two


def test_the_table_fits_into_a_narrow_terminal_without_breaking_a_time(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _print_table(
        [a_row(name="shop.refresh", timezone="America/Los_Angeles", last_at="2026-01-02T02:30:00+00:00", last_state="failure")], NOW
    )
    shown = capsys.readouterr().out
    for moment in (datetime(2026, 1, 2, 4, 30, tzinfo=UTC), datetime(2026, 1, 2, 2, 30, tzinfo=UTC)):
        assert moment.astimezone().strftime("%Y-%m-%d %H:%M") in shown
    assert "America/Los_Angeles" in shown


@pytest.mark.parametrize("words", [[], ["run", "shop.f"], ["pause", "shop.f"], ["resume", "shop.f"]])
def test_without_an_engine_it_says_how_to_start_one(home, capsys, words):
    with pytest.raises(SystemExit) as end:
        main(["schedules", *words])
    assert end.value.code == 1
    assert "`freehold up --detach`" in capsys.readouterr().err
