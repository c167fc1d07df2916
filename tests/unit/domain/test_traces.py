"""Waterfalls from what the engine has recorded."""

from datetime import UTC, datetime, timedelta

import pytest

from freehold.domain.calls import Attempt
from freehold.domain.coldstarts import ColdStart, Phase
from freehold.domain.trace_contexts import TraceParent, call_span, read_traceparent, run_span, trace_id, within_run
from freehold.domain.traces import (
    CallFacts,
    InputFacts,
    RequestFacts,
    Trace,
    in_order,
    parent_of,
    spans_of_call,
    spans_of_request,
)
from freehold.domain.waterfalls import waterfall

NOW = datetime(2026, 1, 2, tzinfo=UTC)
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def at(seconds):
    return NOW + timedelta(seconds=seconds)


def a_try(number=0, begin=1.0, end=None, outcome="", task="ta-1"):
    return Attempt(
        input_id="in-1",
        number=number,
        call_id="fc-1",
        task_id=task,
        started_at=at(begin),
        ended_at=None if end is None else at(end),
        outcome=outcome,
    )


def an_input(*tries, id_="in-1", finished=None, **fields):
    return InputFacts(id=id_, idx=fields.pop("idx", 0), tries=tries, finished_at=None if finished is None else at(finished), **fields)


def a_call(*inputs, id_="fc-1", function="shop.f", **fields):
    return CallFacts(id=id_, function=function, created_at=NOW, inputs=inputs, **fields)


def a_start(at_=0.0, **moments):
    return ColdStart(
        task_id="ta-1", function_id="fu-1", at=at(at_), kind="plain", moments={Phase(name): value for name, value in moments.items()}
    )


def drawn(spans, now=100.0):
    """Depth, name, and when it began and ended."""
    rows = waterfall(Trace(id=TRACE, spans=in_order(spans)), at(now))
    return [(row.depth, row.span.name, row.offset, row.offset + row.seconds) for row in rows]


class TestCalls:
    def test_one_that_waits_runs_and_ends(self):
        spans = spans_of_call(a_call(an_input(a_try(begin=1, end=3), finished=3, ran=(at(1.5), at(2.5)))), {})

        assert drawn(spans) == [(0, "call shop.f", 0, 3), (1, "queue", 0, 1), (1, "run", 1, 3), (2, "user code", 1.5, 2.5)]

    def test_what_lasts_is_drawn_up_to_now(self):
        waiting = spans_of_call(a_call(an_input()), {})
        running = spans_of_call(a_call(an_input(a_try(begin=1))), {})

        assert drawn(waiting, now=5) == [(0, "call shop.f", 0, 5), (1, "queue", 0, 5)]
        assert drawn(running, now=5) == [(0, "call shop.f", 0, 5), (1, "queue", 0, 1), (1, "run", 1, 5)]
        assert [span.ends_at for span in running if span.name != "queue"] == [None, None]

    def test_a_container_that_it_waited_for_is_part_of_the_wait_with_its_phases(self):
        start = a_start(0.1, container=0.2, python=0.5, imports=0.8, enter=0.9)

        spans = spans_of_call(a_call(an_input(a_try(begin=1, end=2), finished=2)), {"ta-1": start})

        assert [(depth, name) for depth, name, *_ in drawn(spans)] == [
            (0, "call shop.f"),
            (1, "queue"),
            (2, "container start"),
            (3, "container"),
            (3, "python"),
            (3, "imports"),
            (3, "enter"),
            (1, "run"),
        ]
        assert [span.ends_at for span in spans if span.name in ("container start", "enter")] == [at(1.0), at(1.0)]

    def test_a_container_that_was_there_is_no_part_of_it(self):
        start = a_start(-100, container=0.2, enter=0.9)

        spans = spans_of_call(a_call(an_input(a_try(begin=1, end=2), finished=2)), {"ta-1": start})

        assert "container start" not in {span.name for span in spans}

    def test_each_try_has_its_wait_and_says_how_it_ended(self):
        tries = (a_try(begin=1, end=2, outcome="lost with its container"), a_try(1, begin=4, end=6, task="ta-2"))

        spans = spans_of_call(a_call(an_input(*tries, finished=6, end="failed", is_failure=True)), {})

        assert drawn(spans) == [(0, "call shop.f", 0, 6), (1, "queue", 0, 1), (1, "run", 1, 2), (1, "queue", 2, 4), (1, "run", 4, 6)]
        runs = [span for span in spans if span.name == "run"]
        assert [span.attributes["freehold.outcome"] for span in runs] == ["lost with its container", "failed"]
        assert [span.is_error for span in spans] == [True, False, True, False, True]

    def test_a_clock_of_a_container_that_is_wrong_leaves_its_code_within_the_try(self):
        spans = spans_of_call(a_call(an_input(a_try(begin=1, end=3), finished=3, ran=(at(-50), at(50)))), {})

        assert drawn(spans)[-1] == (2, "user code", 1, 3)

    def test_inputs_of_a_map_are_told_by_their_index_and_not_all_of_them(self):
        inputs = [an_input(a_try(begin=1, end=2), id_=f"in-{idx}", idx=idx, finished=2) for idx in range(150)]

        spans = spans_of_call(a_call(*inputs), {})

        assert spans[0].attributes["freehold.inputs"] == 150
        assert [span.attributes["freehold.index"] for span in spans if span.name == "run"] == list(range(100))

    def test_inputs_that_wait_for_one_container_stand_together_each_and_its_start_is_told_once(self):
        inputs = [an_input(a_try(begin=1, end=2 + idx), id_=f"in-{idx}", idx=idx, finished=2 + idx) for idx in range(2)]

        spans = spans_of_call(a_call(*inputs), {"ta-1": a_start(0.1, container=0.2, enter=0.9)})

        told = ["call shop.f", "queue", "container start", "container", "enter", "run", "queue", "run"]
        assert [name for _, name, *_ in drawn(spans)] == told

    def test_what_a_try_calls_is_within_it(self):
        tries = (a_try(begin=1, end=2, outcome="lost"), a_try(1, begin=3, end=9))
        outer = spans_of_call(a_call(an_input(*tries, finished=9)), {})
        inner = spans_of_call(a_call(id_="fc-2", function="shop.g"), {}, parent=parent_of("in-1", tries, at(4)))

        assert (2, "call shop.g", 0, 0) in drawn([*inner, *outer])
        assert inner[0].parent == run_span("in-1", 1)

    def test_ids_are_the_same_whenever_they_are_asked_for(self):
        call = a_call(an_input(a_try(begin=1, end=3), finished=3))

        assert spans_of_call(call, {}) == spans_of_call(call, {})
        assert len({span.id for span in spans_of_call(call, {})}) == 3


class TestRequests:
    FACTS = RequestFacts(
        call_id="fc-1",
        function="shop.site",
        method="GET",
        status=200,
        began_at=at(0),
        booked_at=at(1),
        answered_at=at(2),
        ended_at=at(3),
        task_id="ta-1",
    )

    def test_one_waits_for_a_container_and_runs_there(self):
        spans = spans_of_request(self.FACTS, "in-1", a_start(0.2, container=0.1, enter=0.7))

        assert drawn(spans)[0] == (0, "GET shop.site", 0, 3)
        assert [name for _, name, *_ in drawn(spans)] == ["GET shop.site", "queue", "container start", "container", "enter", "run"]
        assert spans[-1].attributes["freehold.time_to_response"] == 1.0

    def test_it_goes_on_with_its_callers_trace_and_so_does_its_container(self):
        origin = TraceParent(TRACE, SPAN)
        spans = spans_of_request(RequestFacts(**{**self._fields(), "origin": origin}), "in-1")

        told = within_run("fc-1", "in-1", 0, origin)

        assert spans[0].parent == SPAN
        assert str(told) == f"00-{TRACE}-{spans[-1].id}-01"

    def test_without_one_it_begins_one(self):
        told = within_run("fc-1", "in-1", 0, None)

        assert (told.trace_id, told.span_id, told.is_sampled) == (trace_id("fc-1"), run_span("in-1"), True)
        assert call_span("fc-1") != told.span_id

    @pytest.mark.parametrize(("status", "is_error"), [(200, False), (404, False), (500, True), (0, True)])
    def test_what_the_server_is_at_fault_for_is_an_error(self, status, is_error):
        assert spans_of_request(RequestFacts(**{**self._fields(), "status": status}), "in-1")[0].is_error is is_error

    def _fields(self):
        return {name: getattr(self.FACTS, name) for name in self.FACTS.__slots__}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"00-{TRACE}-{SPAN}-01", TraceParent(TRACE, SPAN)),
        (f"00-{TRACE}-{SPAN}-00", TraceParent(TRACE, SPAN, is_sampled=False)),
        (f"cc-{TRACE}-{SPAN}-03-what-comes-later", TraceParent(TRACE, SPAN)),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        ("garbage", None),
        ("", None),
    ],
)
def test_a_traceparent_is_read_by_the_rules_of_w3c(text, found):
    assert read_traceparent(text) == found


def test_a_bar_is_as_long_as_its_part_of_the_whole():
    spans = spans_of_call(a_call(an_input(a_try(begin=1, end=4), finished=4)), {})

    rows = waterfall(Trace(id=TRACE, spans=in_order(spans)), at(9), width=8)

    assert [row.bar for row in rows] == ["████████", "██", "  ██████"]


def test_a_parent_that_is_missing_or_a_circle_loses_no_span():
    call = spans_of_call(a_call(id_="fc-1"), {}, parent="somewhere")
    one, other = (spans_of_call(a_call(id_=id_), {}, parent=call_span(parent))[0] for id_, parent in (("fc-2", "fc-3"), ("fc-3", "fc-2")))

    assert in_order(call) == call
    assert {span.id for span in in_order([*call, one, other])} == {span.id for span in (*call, one, other)}
