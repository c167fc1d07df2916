"""What the engine's own log says of an unexpected error, and what it keeps to itself."""

import json
from collections.abc import Iterator

import pytest
import structlog

from freehold.observability import logging


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("fmt", ["json", "console"])
def test_a_traceback_shows_where_and_no_values_of_variables(fmt: str, capsys: pytest.CaptureFixture[str]) -> None:
    logging.configure("info", fmt)

    try:
        _fail("hunter" + str(2))
    except ValueError:
        structlog.get_logger().exception("rpc_failed")

    printed = capsys.readouterr().err
    assert "_fail" in printed
    assert "hunter2" not in printed


def test_in_json_each_line_is_one_event(capsys: pytest.CaptureFixture[str]) -> None:
    logging.configure("info", "json")

    structlog.get_logger().warning("start_failed", task_id="ta-1")

    event = json.loads(capsys.readouterr().err)
    assert (event["event"], event["level"], event["task_id"]) == ("start_failed", "warning", "ta-1")


def _fail(secret: str) -> None:
    kept = {"password": secret}
    msg = f"{len(kept)} things went wrong"
    raise ValueError(msg)
