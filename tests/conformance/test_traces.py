"""Traces: a waterfall for everybody, and the same spans for a receiver of OpenTelemetry."""

import asyncio
import json
import re
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.request import Request, urlopen

import pytest
from expectations import otlp
from modal._serialization import deserialize, serialize
from modal_proto import api_pb2

from conformance.deployment import Deployment, deployed
from conformance.engine import Engine
from conformance.neighbours import neighbour
from conformance.waiting import eventually

WITHIN = 60


@pytest.fixture(scope="module")
def receiver() -> Iterator[otlp.Receiver]:
    with neighbour() as listen, otlp.serving(listen()) as receiver:
        yield receiver


@pytest.fixture(scope="module")
def app(engine: Engine, receiver: otlp.Receiver) -> Iterator[Deployment]:
    with pytest.MonkeyPatch.context() as patch, engine.restarted(otlp_endpoint=receiver.endpoint):
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        with deployed(engine, "traces.py") as app:
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


def test_from_a_web_request_to_the_last_span_of_the_users_all_is_in_the_trace_of_the_caller(
    engine: Engine, app: Deployment, receiver: otlp.Receiver
) -> None:
    """Gateway, its container, what that calls, the spans that the user makes there, what is called in them, and so on."""
    trace, caller = uuid.uuid4().hex, uuid.uuid4().hex[:16]

    told, call_id = asked(app, f"00-{trace}-{caller}-01")

    chain = ["GET traces.front", "run", "call traces.order", "run", "ordering", "call traces.pack", "run", "packing", "call traces.double"]
    spans = eventually(lambda: chained(receiver, trace, caller, chain), within=WITHIN, what="Each within the one before")
    assert told == f"00-{trace}-{spans[1].id}-01"
    assert [span.resource["service.name"] == "freehold" for span in spans].count(False) == 2
    assert shown(engine, call_id)["trace_id"] == trace
    assert shown(engine, call_id)["spans"][0]["id"] == spans[0].id


def chained(receiver: otlp.Receiver, trace: str, parent: str, names: list[str]) -> list[otlp.Span] | None:
    """The spans of these names, each the child of the one before, when all have come."""
    found: list[otlp.Span] = []
    for name in names:
        span = next((span for span in receiver.named(name) if (span.trace, span.parent) == (trace, parent)), None)
        if span is None:
            return None
        found.append(span)
        parent = span.id
    return found


def test_inputs_that_run_at_once_each_have_their_own_spans_in_a_generator_too(app: Deployment, receiver: otlp.Receiver) -> None:
    calls = [app.function("count").remote_gen(begin) for begin in (10, 20)]
    assert [[next(call) for call in calls] for _ in range(2)] == [[10, 20], [11, 21]]
    for call in calls:
        call.close()

    def parents() -> dict[str, str] | None:
        runs = {span.id: span.attributes["freehold.input_id"] for span in receiver.named("run") if "freehold.input_id" in span.attributes}
        found = [(span.attributes["input"], runs[span.parent]) for span in receiver.named("counting") if span.parent in runs]
        return dict(found) if len(found) == 4 else None

    found = eventually(parents, within=WITHIN, what="Each run, and what was within it") or {}
    assert all(own == parent for own, parent in found.items())
    assert len(found) == 2


def test_code_without_opentelemetry_finds_what_it_is_told(engine: Engine, app: Deployment, receiver: otlp.Receiver) -> None:
    """In the trace of its caller, if that says one with its call."""
    trace, caller = uuid.uuid4().hex, uuid.uuid4().hex[:16]
    function = app.function("told")
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", function.remote())

    item = api_pb2.FunctionPutInputsItem(
        idx=0, input=api_pb2.FunctionInput(args=serialize(((), {})), data_format=api_pb2.DATA_FORMAT_PICKLE)
    )
    request = api_pb2.FunctionMapRequest(function_id=function.object_id, function_call_type=api_pb2.FUNCTION_CALL_TYPE_UNARY)
    request.pipelined_inputs.append(item)
    call = engine.call("FunctionMap", request, metadata={**engine.client_metadata(), "traceparent": f"00-{trace}-{caller}-01"})
    wanted = api_pb2.FunctionGetOutputsRequest(function_call_id=call.function_call_id, timeout=50, start_idx=0, end_idx=0)
    [output] = engine.call("FunctionGetOutputs", wanted, timeout=WITHIN).outputs

    spans = eventually(lambda: chained(receiver, trace, caller, ["call traces.told", "run"]), within=WITHIN, what="The call, and its run")
    assert deserialize(output.result.data, None) == f"00-{trace}-{spans[1].id}-01"


def test_how_much_was_sent_is_told(engine: Engine, app: Deployment, receiver: otlp.Receiver) -> None:
    app.function("double").remote(1)
    receiver.eventually("user code", seconds=WITHIN)

    assert " sent, 0 dropped" in engine.freehold("status").succeeded().output
