"""Spans on their way to a receiver of OpenTelemetry: a real one, on loopback."""

from datetime import UTC, datetime, timedelta

import pytest
from expectations import otlp

from freehold.domain.traces import Span, Trace
from freehold.observability.otlp import find_sender

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACE = Trace(
    id="4bf92f3577b34da6a3ce929d0e0e4736",
    spans=[
        Span(
            name="call shop.f",
            id="00f067aa0ba902b7",
            parent="",
            begins_at=NOW,
            ends_at=NOW + timedelta(seconds=1.5),
            attributes={"freehold.inputs": 2},
            is_error=True,
            is_server=True,
        ),
        Span(name="run", id="00f067aa0ba902b8", parent="00f067aa0ba902b7", begins_at=NOW, ends_at=None),
    ],
)


@pytest.fixture(autouse=True)
def _nothing_named(monkeypatch):
    for name in (VARIABLE, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED", "OTEL_SERVICE_NAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def receiver():
    with otlp.serving() as receiver:
        yield receiver


def test_spans_arrive_as_they_are_once_they_are_over(receiver):
    assert find_sender(receiver.endpoint, {"freehold.workspace": "local"}).send([TRACE])

    [span] = receiver.spans
    assert (span.name, span.trace, span.id, span.parent, span.is_error) == ("call shop.f", TRACE.id, "00f067aa0ba902b7", "", True)
    assert span.began == 1767323045678901000
    assert span.ended - span.began == 1_500_000_000
    assert span.attributes == {"freehold.inputs": 2}
    assert (span.resource["service.name"], span.resource["freehold.workspace"]) == ("freehold", "local")


def test_the_standard_variables_name_a_receiver_and_a_service(receiver, monkeypatch):
    monkeypatch.setenv(VARIABLE, receiver.endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")

    assert find_sender("", {}).send([TRACE])

    assert receiver.headers[0]["x-key"] == "secret"
    assert receiver.spans[0].resource["service.name"] == "mine"


def test_a_receiver_that_refuses_is_told_of(receiver):
    receiver.status = 400

    assert not find_sender(receiver.endpoint, {}).send([TRACE])


def test_nobody_is_named_so_nothing_is_sent():
    assert find_sender("", {}) is None


def test_it_can_be_switched_off_as_everywhere(monkeypatch):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")

    assert find_sender("http://127.0.0.1:4318", {}) is None


def test_without_the_extra_the_engine_runs_and_says_what_to_install(monkeypatch):
    monkeypatch.setattr("freehold.observability.otlp._NEEDED", ("opentelemetry.nowhere", "nowhere.at.all"))

    assert find_sender("http://127.0.0.1:4318", {}) is None
