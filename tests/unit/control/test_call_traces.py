"""Traces of calls and web requests, as people ask for them and as they are sent to a receiver."""

import asyncio
from dataclasses import replace
from functools import partial
from unittest.mock import ANY

import pytest
from fakes.control import CALLER, DEADLINE
from modal_proto import api_pb2

from freehold.control.services.trace_exports import TraceExports
from freehold.domain.calls import CallKind, Invocation
from freehold.domain.errors import NotFound
from freehold.domain.ids import new_request_ids
from freehold.domain.trace_contexts import TraceParent, call_span, run_span, trace_id

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
R = api_pb2.GenericResult
ITEM = api_pb2.FunctionPutInputsItem(idx=0, input=api_pb2.FunctionInput(args=b""))


class Receiver:
    """Takes what it is sent, or not."""

    def __init__(self):
        self.traces = []
        self.takes = True

    def send(self, traces):
        self.traces += traces if self.takes else []
        return self.takes

    def names(self):
        return [(trace.id, span.name) for trace in self.traces for span in trace.spans]


async def answered(plane, live, task=None, **fields):
    """A call that ran for a second."""
    call = await plane.calls.create(live.function, kind=CallKind.UNARY, invocation=fields.pop("invocation", Invocation.SYNC), **fields)
    task = task or await plane.a_ready_task(live)
    await plane.calls.put_inputs(call.id, [api_pb2.FunctionPutInputsItem(idx=0, input=api_pb2.FunctionInput(args=b""))])
    [item] = await plane.claim(task)
    began = plane.clock.now().timestamp()
    plane.clock.move(1)
    output = api_pb2.FunctionPutOutputsItem(
        input_id=item.input_id,
        result=R(status=R.GENERIC_STATUS_SUCCESS),
        input_started_at=began + 0.25,
        output_created_at=began + 0.75,
    )
    await plane.claims.put_outputs(task.id, [output])
    return call, item.input_id


def a_request(plane, live, *, traceparent=b"", call_id=None, status=200):
    now = plane.clock.now().timestamp()
    seen = (live.id, "GET", status, now, now + 1, now + 1.5, now + 2, "ta-x", traceparent)
    if call_id is None:
        input_id, call_id = new_request_ids()
        plane.traces.context(call_id, input_id, traceparent)
    plane.traces.note(call_id, seen)
    return call_id


def names(trace):
    return [span.name for span in trace.spans]


class TestAsked:
    @pytest.mark.parametrize("invocation", Invocation)
    async def test_of_a_call_its_wait_its_run_and_when_its_code_ran(self, plane, invocation):
        _, live = await plane.deploy("f")
        call, input_id = await answered(plane, live, invocation=invocation)

        trace = await plane.traces.of(call.id)

        assert names(trace) == ["call shop.f", "queue", "run", "user code"]
        assert (trace.spans[3].ends_at - trace.spans[3].begins_at).total_seconds() == pytest.approx(0.5)
        assert trace == await plane.traces.of(input_id)

    async def test_of_what_a_call_calls_the_whole(self, plane):
        _, f, g = await plane.deploy("f", "g")
        outer, outer_input = await answered(plane, f)
        inner, _ = await answered(plane, g, parent_input_id=outer_input)

        trace = await plane.traces.of(inner.id)

        assert trace.id == trace_id(outer.id)
        assert "call shop.g" in names(trace)
        assert next(span for span in trace.spans if span.name == "call shop.g").parent == run_span(outer_input)

    async def test_of_a_web_request_with_what_it_called(self, plane):
        _, site, f = await plane.deploy("site", "f")
        call_id = a_request(plane, site, traceparent=f"00-{TRACE}-{SPAN}-01".encode())
        inner, _ = await answered(plane, f, parent_input_id=f"in{call_id[2:]}")

        trace = await plane.traces.of(call_id)

        assert trace.id == TRACE
        assert names(trace)[:3] == ["GET shop.site", "queue", "run"]
        assert "call shop.f" in names(trace)
        assert trace == await plane.traces.of(inner.id)

    async def test_of_what_is_not_known_it_is_said(self, plane):
        for subject in ("fc-" + "x" * 22, "in-" + "x" * 22, "shop"):
            with pytest.raises(NotFound):
                await plane.traces.of(subject)

    async def test_as_the_command_and_the_page_draw_it(self, plane):
        _, live = await plane.deploy("f")
        call, _ = await answered(plane, live)

        answer = await plane.traces.show({"subject": call.id, "width": 20})

        assert [(row["name"], row["depth"]) for row in answer["spans"]] == [("call shop.f", 0), ("queue", 1), ("run", 1), ("user code", 2)]
        assert answer["spans"][0]["seconds"] == 1.0
        assert answer["spans"][0]["bar"] == "█" * 20


class TestSent:
    @pytest.fixture
    async def receiver(self):
        return Receiver()

    @pytest.fixture
    async def exports(self, plane, receiver, monkeypatch):
        monkeypatch.setattr("freehold.control.services.trace_exports._REST", 0.0)
        exports = TraceExports(traces=plane.traces, sender=receiver)
        plane.calls.report_ends_to(exports.call_ended)
        plane.traces.report_requests_to(exports.request_ended)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(exports.run())
            yield exports
            running.cancel()

    async def done(self, exports, count):
        async with asyncio.timeout(DEADLINE):
            while exports.sent + exports.dropped < count:  # noqa: ASYNC110 — it tells nobody
                await asyncio.sleep(0.01)

    async def test_a_call_is_sent_when_it_ends(self, plane, exports, receiver):
        _, live = await plane.deploy("f")
        call, _ = await answered(plane, live)
        await self.done(exports, 1)

        assert receiver.names() == [(trace_id(call.id), name) for name in ("call shop.f", "queue", "run", "user code")]

    async def test_calls_of_a_web_request_are_in_its_trace_while_it_goes_on(self, plane, exports, receiver):
        _, site, f = await plane.deploy("site", "f")
        input_id, call_id = new_request_ids()
        origin = f"00-{TRACE}-{SPAN}-01".encode()
        assert plane.traces.context(call_id, input_id, origin).decode() == f"00-{TRACE}-{run_span(input_id)}-01"
        await answered(plane, f, parent_input_id=input_id)
        await self.done(exports, 1)
        a_request(plane, site, traceparent=origin, call_id=call_id)
        await self.done(exports, 2)

        assert {trace.id for trace in receiver.traces} == {TRACE}
        assert receiver.traces[0].spans[0].parent == run_span(input_id)
        assert (receiver.traces[1].spans[0].parent, receiver.traces[1].spans[0].id) == (SPAN, call_span(call_id))

    async def test_what_a_caller_does_not_want_to_be_sent_is_not(self, plane, exports, receiver):
        _, site, f = await plane.deploy("site", "f")
        call_id = a_request(plane, site, traceparent=f"00-{TRACE}-{SPAN}-00".encode())
        await answered(plane, f, parent_input_id=f"in{call_id[2:]}")
        kept = a_request(plane, site)
        await self.done(exports, 1)

        assert {trace.id for trace in receiver.traces} == {trace_id(kept)}

    async def test_a_receiver_that_refuses_costs_what_it_refused_and_no_more(self, plane, exports, receiver):
        _, site = await plane.deploy("site")
        receiver.takes = False
        a_request(plane, site)
        await self.done(exports, 1)
        receiver.takes = True
        kept = a_request(plane, site)
        await self.done(exports, 2)

        assert (exports.sent, exports.dropped) == (1, 1)
        assert {trace.id for trace in receiver.traces} == {trace_id(kept)}


class TestContexts:
    """What a call is made in, and what the code that runs for it is told."""

    @pytest.fixture
    async def f(self, plane):
        _, f = await plane.deploy("f")
        return f

    async def told(self, plane, f, task=None, **fields):
        """What the container is told of the input of a new call, and its id."""
        task = task or await plane.a_ready_task(f)
        await plane.calls.create(f.function, kind=CallKind.UNARY, invocation=Invocation.SYNC, items=[ITEM], **fields)
        items = await plane.claim(task)
        return "".join(plane.claims.contexts(items)), items[0].input_id

    async def test_where_traces_are_sent_code_is_within_the_run_of_its_input(self, plane, f):
        plane.traces.report_requests_to(lambda *_: None)

        told, input_id = await self.told(plane, f)
        nested, nested_id = await self.told(plane, f, parent_input_id=input_id)

        trace = trace_id(plane.calls.find_input(input_id).call.id)
        assert told == f"00-{trace}-{run_span(input_id)}-01"
        assert nested == f"00-{trace}-{run_span(nested_id)}-01"
        assert plane.calls.find_input(nested_id).call.record.origin.span_id == run_span(input_id)

    async def test_a_second_try_is_another_run(self, plane, f):
        plane.traces.report_requests_to(lambda *_: None)
        task = await plane.a_ready_task(f)
        told, input_id = await self.told(plane, f, task)
        plane.calls.inputs.lose(plane.calls.find_input(input_id), "test")

        [again] = plane.claims.contexts(await plane.claim(task))

        assert (told[36:52], again[36:52]) == (run_span(input_id, 0), run_span(input_id, 1))

    async def test_a_call_is_in_the_span_that_its_caller_says_and_so_is_what_it_calls(self, plane, f):
        plane.traces.report_requests_to(lambda *_: None)
        origin = TraceParent(TRACE, SPAN, is_sampled=False)

        told, input_id = await self.told(plane, f, origin=origin)
        nested, nested_id = await self.told(plane, f, parent_input_id=input_id)

        assert (told, nested) == tuple(f"00-{TRACE}-{run_span(each)}-00" for each in (input_id, nested_id))

    async def test_where_nothing_is_sent_what_callers_say_goes_through(self, plane, f):
        origin = TraceParent(TRACE, SPAN)

        assert await self.told(plane, f) == ("", ANY)
        told, input_id = await self.told(plane, f, origin=origin)
        assert told == str(origin)
        assert await self.told(plane, f, parent_input_id=input_id) == (str(origin), ANY)

    @pytest.mark.parametrize("is_over", [False, True])
    @pytest.mark.parametrize("is_sent", [False, True])
    async def test_a_call_of_a_web_request_is_in_the_trace_of_its_caller(self, plane, f, is_sent, is_over):
        if is_sent:
            plane.traces.report_requests_to(lambda *_: None)
        request, call_id = new_request_ids()
        plane.traces.context(call_id, request, f"00-{TRACE}-{SPAN}-01".encode())
        if is_over:
            a_request(plane, f, call_id=call_id)

        _, input_id = await self.told(plane, f, parent_input_id=request)

        origin = plane.calls.find_input(input_id).call.record.origin
        assert (origin.trace_id, origin.span_id) == (TRACE, run_span(request) if is_sent else SPAN)

    async def test_what_a_client_sends_with_its_call_is_what_it_is_made_in(self, plane, f):
        for said, origin in ((f"00-{TRACE}-{SPAN}-01", TraceParent(TRACE, SPAN)), ("garbage", None), ("", None)):
            request = api_pb2.FunctionMapRequest(function_id=f.id, pipelined_inputs=[ITEM])
            made = await plane.call_rpcs.FunctionMap(request, replace(CALLER, traceparent=said))

            assert plane.calls.get_live(made.function_call_id).record.origin == origin


async def test_of_more_than_can_be_sent_the_rest_is_counted(plane, monkeypatch):
    monkeypatch.setattr("freehold.control.services.trace_exports._MOST", 2)
    _, site = await plane.deploy("site")
    exports = TraceExports(traces=plane.traces, sender=Receiver())
    plane.traces.report_requests_to(exports.request_ended)

    for _ in range(5):
        a_request(plane, site)

    assert exports.dropped == 3


async def test_where_nothing_is_sent_containers_are_told_what_callers_say(plane):
    context = partial(plane.traces.context, *reversed(new_request_ids()))

    assert (context(b""), context(b"garbage")) == (b"", b"garbage")
