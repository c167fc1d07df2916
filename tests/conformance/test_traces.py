"""Traces: a waterfall for everybody, and the same spans for a receiver of OpenTelemetry."""

import asyncio
import json
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.request import Request, urlopen

import pytest
from expectations import otlp

from conformance.deployment import Deployment, deployed
from conformance.engine import Engine
from conformance.waiting import eventually

WITHIN = 60


@pytest.fixture(scope="module")
def receiver() -> Iterator[otlp.Receiver]:
    with otlp.serving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def app(engine: Engine, receiver: otlp.Receiver) -> Iterator[Deployment]:
    with engine.restarted(otlp_endpoint=receiver.endpoint), deployed(engine, "traces.py") as app:
        yield app


def asked(app: Deployment, traceparent: str) -> tuple[str, str]:
    """What the container was told, and the id of the request's call."""
    url = asyncio.run(app.url("front"))
    gateway = Request(app.engine.gateway_url, headers={"Host": url.split("/")[2], "traceparent": traceparent})
    with urlopen(gateway, timeout=WITHIN) as answer:
        return answer.read().decode(), answer.headers["modal-function-call-id"]


def shown(engine: Engine, subject: str) -> dict[str, Any]:
    return dict(json.loads(engine.freehold("trace", subject, "--json").succeeded().output))


def test_a_call_is_shown_with_the_start_that_it_waited_for(engine: Engine, app: Deployment) -> None:
    call = app.function("double").spawn(21)
    call.get(timeout=WITHIN)

    def complete() -> dict[str, Any] | None:
        """What a container reports of its start comes a little later than its first result."""
        rows = {row["name"]: row for row in shown(engine, call.object_id)["spans"]}
        return rows if {"call traces.double", "queue", "container start", "imports", "run", "user code"} <= rows.keys() else None

    rows = eventually(complete, within=WITHIN, what="All of its spans") or {}

    assert rows["container start"]["parent"] == rows["queue"]["id"]
    assert rows["user code"]["parent"] == rows["run"]["id"]
    assert rows["call traces.double"]["seconds"] >= rows["run"]["seconds"] >= rows["user code"]["seconds"]
    assert "user code" in engine.freehold("trace", call.object_id).succeeded().output


def test_a_web_request_its_container_and_what_it_calls_are_in_the_trace_of_its_caller(
    engine: Engine, app: Deployment, receiver: otlp.Receiver
) -> None:
    trace, caller = uuid.uuid4().hex, uuid.uuid4().hex[:16]

    told, call_id = asked(app, f"00-{trace}-{caller}-01")

    def mine(name: str) -> otlp.Span:
        def arrived() -> otlp.Span | None:
            return next((span for span in receiver.named(name) if span.trace == trace), None)

        return eventually(arrived, within=WITHIN, what=f"{name} of this trace")

    request, call = mine("GET traces.front"), mine("call traces.double")
    run = next(span for span in receiver.children(request) if span.name == "run")  # they come together
    assert request.parent == caller
    assert told == f"00-{trace}-{run.id}-01"
    assert call.parent == run.id
    assert request.resource["service.name"] == "freehold"
    assert shown(engine, call_id)["spans"][0]["id"] == request.id


def test_how_much_was_sent_is_told(engine: Engine, app: Deployment, receiver: otlp.Receiver) -> None:
    app.function("double").remote(1)
    receiver.eventually("user code", seconds=WITHIN)

    assert " sent, 0 dropped" in engine.freehold("status").succeeded().output
