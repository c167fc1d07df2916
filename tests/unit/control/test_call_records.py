"""What people ask about calls: under way, past in memory, past on disk."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from fakes.control import CALLER, ControlPlane, an_item
from modal_proto import api_pb2

from freehold.control.rpc.call_records import CallRecordRpcs
from freehold.control.services.call_history import CallHistory
from freehold.control.services.call_records import CallRecords
from freehold.domain.calls import CallKind, Invocation
from freehold.domain.errors import NotFound
from freehold.domain.ids import new_call_id

R = api_pb2.GenericResult
BEGINNING, END = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
async def plane(tmp_path):
    return ControlPlane(tmp_path)


@pytest.fixture
async def live(plane):
    _, live = await plane.deploy()
    return live


@pytest.fixture
def records(plane):
    return CallRecords(store=plane.store, calls=plane.calls, journal=plane.journal)


@pytest.fixture
def rpcs(plane, records):
    return CallRecordRpcs(records=records, functions=plane.functions)


async def a_call(plane, live, *, parent="", invocation=Invocation.SYNC, kind=CallKind.UNARY, inputs=1):
    items = [an_item(i) for i in range(inputs)]
    return await plane.calls.create(live.function, kind=kind, invocation=invocation, parent_input_id=parent, items=items)


async def finish(plane, live, call):
    task = await plane.a_ready_task(live)
    for _ in call.inputs:
        await plane.answer(task, (await plane.claim(task))[0])
    plane.calls.unwatch(call)
    return task


@pytest.mark.parametrize("invocation", Invocation)
class TestOneCall:
    async def test_it_is_told_while_it_waits_runs_and_is_over(self, plane, live, rpcs, invocation):
        call = await a_call(plane, live, invocation=invocation, kind=CallKind.MAP, inputs=2)
        request = api_pb2.FunctionCallGetInfoRequest(function_id=live.id, function_call_id=call.id)
        task = await plane.a_ready_task(live)
        (item,) = await plane.claim(task)
        info = (await rpcs.FunctionCallGetInfo(request, CALLER)).info
        assert (info.total_inputs, info.pending_inputs.total, info.succeeded_inputs.total) == (2, 2, 0)
        await plane.answer(task, item)
        await plane.answer(task, (await plane.claim(task))[0])
        plane.calls.unwatch(call)
        info = (await rpcs.FunctionCallGetInfo(request, CALLER)).info
        assert (info.pending_inputs.total, info.succeeded_inputs.total) == (0, 2)
        assert {latest.task_id for latest in info.succeeded_inputs.latest} == {task.id}

    async def test_lines_say_how_long_what_took_where(self, plane, live, rpcs, invocation):
        call = await a_call(plane, live, invocation=invocation)
        task = await plane.a_ready_task(live)
        plane.clock.move(2)
        (item,) = await plane.claim(task)
        plane.clock.move(3)
        await plane.answer(task, item)
        plane.calls.unwatch(call)
        (line,) = (await rpcs.FunctionCallFetch(api_pb2.FunctionCallFetchRequest(function_id=live.id), CALLER)).function_call_inputs
        assert (line.status, line.container_id) == (api_pb2.FUNCTION_CALL_INPUT_STATUS_SUCCESS, task.id)
        assert (line.started_at.ToDatetime() - line.enqueued_at.ToDatetime(), line.execution_time_seconds) == (timedelta(seconds=2), 3)


class TestLists:
    async def test_newest_first_of_both_kinds_and_of_this_function_only(self, plane, live, rpcs):
        _, other = await plane.deploy("g", name="other")
        await a_call(plane, other)
        calls = []
        for invocation in (Invocation.SYNC, Invocation.ASYNC, Invocation.SYNC):
            plane.clock.move(1)
            calls.append(await a_call(plane, live, invocation=invocation))
        await finish(plane, live, calls[0])
        found = (await rpcs.FunctionCallList(api_pb2.FunctionCallListRequest(function_id=live.id), CALLER)).function_calls
        assert [info.function_call_id for info in found] == [call.id for call in reversed(calls)]

    async def test_a_range_of_time_is_counted_and_fetched(self, plane, live, rpcs):
        for _ in range(3):
            await a_call(plane, live)
            plane.clock.move(60)
        since, until = api_pb2.FunctionCallCountRequest().since, api_pb2.FunctionCallCountRequest().until
        since.FromDatetime(plane.clock.now() - timedelta(seconds=130))
        until.FromDatetime(plane.clock.now())
        counted = await rpcs.FunctionCallCount(
            api_pb2.FunctionCallCountRequest(function_id=live.id, since=since, until=until, bucket_secs=60), CALLER
        )
        assert [bucket.count for bucket in counted.buckets] == [1, 1]
        wanted = api_pb2.FunctionCallFetchRequest.Range(since=since, until=until)
        fetched = await rpcs.FunctionCallFetch(api_pb2.FunctionCallFetchRequest(function_id=live.id, range=wanted), CALLER)
        times = [line.enqueued_at.ToDatetime() for line in fetched.function_call_inputs]
        assert len(times) == 2
        assert times == sorted(times), "oldest first"

    async def test_variants_are_listed_when_they_are_asked_for(self, plane, live, rpcs):
        options = api_pb2.FunctionOptions(timeout_secs=7)
        bound = await plane.functions.bind(live.id, api_pb2.FunctionBindParamsRequest(function_id=live.id, function_options=options))
        await a_call(plane, bound)
        request = api_pb2.FunctionCallFetchRequest(function_id=live.id)
        assert not (await rpcs.FunctionCallFetch(request, CALLER)).function_call_inputs
        request.all_variants = True
        assert len((await rpcs.FunctionCallFetch(request, CALLER)).function_call_inputs) == 1

    async def test_an_unknown_call_is_said_to_be_one(self, records):
        with pytest.raises(NotFound, match="No function call"):
            await records.get(new_call_id())


class TestGraphs:
    async def test_it_begins_with_the_first_caller_and_holds_all_that_came_of_it(self, plane, live, rpcs):
        root = await a_call(plane, live)
        spawned = await a_call(plane, live, parent=root.inputs[0].id, invocation=Invocation.ASYNC)
        leaf = await a_call(plane, live, parent=spawned.inputs[0].id)
        stranger = await a_call(plane, live)
        task = await plane.a_ready_task(live)
        for _ in range(4):
            await plane.answer(task, (await plane.claim(task))[0])
        for call in (root, leaf, stranger):
            plane.calls.unwatch(call)
        for asked in (root, spawned, leaf):
            graph = await rpcs.FunctionGetCallGraph(api_pb2.FunctionGetCallGraphRequest(function_call_id=asked.id), CALLER)
            assert {edge.function_call_id: edge.parent_input_id for edge in graph.function_calls} == {
                root.id: "",
                spawned.id: root.inputs[0].id,
                leaf.id: spawned.inputs[0].id,
            }
            assert {node.status for node in graph.inputs} == {R.GENERIC_STATUS_SUCCESS}
            assert {edge.function_name for edge in graph.function_calls} == {"f"}

    async def test_a_circle_of_parents_ends(self, plane, live, records):
        one = await a_call(plane, live, parent="in-0000000000000000000000")
        two = await a_call(plane, live, parent=one.inputs[0].id)
        one.record = replace(one.record, parent_input_id=two.inputs[0].id)
        assert {call.record.id for call in await records.graph(one.id, 100)} == {one.id, two.id}


class TestHistory:
    async def test_it_is_bounded_by_calls_and_by_their_inputs(self, plane, live):
        history = CallHistory()
        large = await a_call(plane, live, kind=CallKind.MAP, inputs=400)
        small = await a_call(plane, live)
        for _ in range(2):
            history.add(large)
            history.add(small)
        assert [call.record.id for call in history.newest_first()] == [small.id, large.id]
        assert history._inputs == 401
