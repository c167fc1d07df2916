"""The seam that puts user code into the engine's spans, around the real OpenTelemetry and the real runtime of modal."""

import asyncio
import contextvars
import sys
import threading
from types import SimpleNamespace

import pytest
from modal._runtime import execution_context
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from freehold.container import traces

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TOLD = f"00-{TRACE}-{SPAN}-01"


@pytest.fixture(autouse=True)
def _seam(monkeypatch):
    monkeypatch.setattr(execution_context, "_set_current_context_ids", execution_context._set_current_context_ids)
    monkeypatch.setattr(traces, "_expected", {})
    monkeypatch.setattr(traces, "_is_installed", [])
    traces.install()


def begin(*input_ids):
    """As modal's entrypoint begins an input, or a batch of them; what it gets ends that."""
    return execution_context._set_current_context_ids(list(input_ids), ["fc-1"] * len(input_ids), [""] * len(input_ids))


def seen():
    """What any code finds."""
    return next((value for variable, value in contextvars.copy_context().items() if variable.name == "traceparent"), "")


def parent():
    """Of a span that is made here."""
    with TracerProvider().get_tracer("test").start_as_current_span("mine") as span:
        return span.parent and (trace.format_trace_id(span.parent.trace_id), trace.format_span_id(span.parent.span_id))


def test_an_input_runs_within_what_came_with_it_and_the_next_one_does_not():
    traces.expect([("in-1", TOLD), ("in-2", "")])

    for input_id, expected in (("in-1", (TOLD, (TRACE, SPAN))), ("in-2", ("", None)), ("in-3", ("", None))):
        end = begin(input_id)
        assert (seen(), parent()) == expected
        assert execution_context.current_input_id() == input_id
        end()
        assert (seen(), parent(), execution_context.current_input_id()) == ("", None, None)


def test_a_batch_is_within_its_first_and_none_is_kept():
    traces.expect([("in-1", TOLD), ("in-2", TOLD.replace(SPAN, "1" * 16))])

    end = begin("in-1", "in-2")

    assert (seen(), traces._expected) == (TOLD, {})
    end()


def test_what_runs_at_once_has_its_own():
    spans = {f"in-{number}": f"{number:016x}" for number in range(1, 9)}
    traces.expect((input_id, f"00-{TRACE}-{span}-01") for input_id, span in spans.items())
    met = threading.Barrier(4)

    def in_a_thread(input_id):
        end = begin(input_id)
        met.wait(30)
        found[input_id] = parent()[1]
        end()

    async def in_a_coroutine(input_id):
        end = begin(input_id)
        await asyncio.sleep(0)
        found[input_id] = parent()[1]
        end()

    async def coroutines():
        await asyncio.gather(*map(in_a_coroutine, list(spans)[4:]))  # noqa: TID251 — nothing of ours

    found = {}
    threads = [threading.Thread(target=in_a_thread, args=(input_id,)) for input_id in list(spans)[:4]]
    for thread in threads:
        thread.start()
    asyncio.run(coroutines())
    for thread in threads:
        thread.join(30)

    assert found == spans


def test_a_call_is_made_in_the_span_that_is_under_way():
    assert traces.current() == ""
    traces.expect([("in-1", TOLD)])

    end = begin("in-1")

    assert traces.current() == TOLD
    with TracerProvider().get_tracer("test").start_as_current_span("mine") as span:
        assert traces.current() == f"00-{TRACE}-{trace.format_span_id(span.get_span_context().span_id)}-01"
    end()


@pytest.mark.parametrize("broken", [None, SimpleNamespace()], ids=["not imported", "somebody else's"])
def test_without_opentelemetry_only_the_variable_says_it(monkeypatch, broken):
    for name in ("opentelemetry.trace", "opentelemetry.context"):
        monkeypatch.setitem(sys.modules, name, broken)
    traces.expect([("in-1", TOLD)])

    end = begin("in-1")

    assert (seen(), traces.current()) == (TOLD, "")
    end()
    assert seen() == ""


def test_what_comes_where_it_is_not_installed_is_not_kept(monkeypatch):
    monkeypatch.setattr(traces, "_is_installed", [])
    traces.expect([("in-1", TOLD)])

    assert traces._expected == {}
