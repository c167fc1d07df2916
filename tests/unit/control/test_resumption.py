"""A synchronous call whose engine was restarted while its client waited: the client shows its tickets, and its inputs run again."""

import asyncio

import pytest
from fakes.control import CALLER, ControlPlane, an_item
from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.rpc.calls import CallRpcs
from freehold.domain.errors import InvalidRequest, NotFound

R = api_pb2.GenericResult
UNARY, MAP = api_pb2.FUNCTION_CALL_TYPE_UNARY, api_pb2.FUNCTION_CALL_TYPE_MAP
ASYNC, SYNC = api_pb2.FUNCTION_CALL_INVOCATION_TYPE_ASYNC, api_pb2.FUNCTION_CALL_INVOCATION_TYPE_SYNC


def rpcs_of(plane):
    return CallRpcs(calls=plane.calls, functions=plane.functions, tasks=plane.tasks)


@pytest.fixture
async def plane(tmp_path):
    return ControlPlane(tmp_path)


@pytest.fixture
async def live(plane):
    _, live = await plane.deploy()
    return live


def restarted(plane, tmp_path):
    return ControlPlane(tmp_path, store=plane.store)


async def a_call(plane, live, *, kind=UNARY, invocation=SYNC, caller=CALLER):
    request = api_pb2.FunctionMapRequest(
        function_id=live.id, function_call_type=kind, function_call_invocation_type=invocation, pipelined_inputs=[an_item(0)]
    )
    return await rpcs_of(plane).FunctionMap(request, caller)


async def outputs(plane, call, **fields):
    request = api_pb2.FunctionGetOutputsRequest(function_call_id=call.function_call_id, **fields)
    async with asyncio.timeout(30):
        return await rpcs_of(plane).FunctionGetOutputs(request, CALLER)


async def waiting_for(plane, call):
    return await outputs(plane, call, start_idx=0, end_idx=0, clear_on_success=True, input_jwts=[call.pipelined_inputs[0].input_jwt])


async def retry(plane, call, ticket, count=0):
    item = api_pb2.FunctionRetryInputsItem(input_jwt=ticket, input=an_item(0).input, retry_count=count)
    request = api_pb2.FunctionRetryInputsRequest(function_call_jwt=call.function_call_jwt, inputs=[item])
    return await rpcs_of(plane).FunctionRetryInputs(request, CALLER)


async def answer_next(plane, live, data=b"result", status=R.GENERIC_STATUS_SUCCESS):
    task = await plane.a_ready_task(await plane.functions.live(live.id))
    (item,) = await plane.claim(task)
    output = api_pb2.FunctionPutOutputsItem(input_id=item.input_id, retry_count=item.retry_count, result=R(status=status, data=data))
    await plane.claims.put_outputs(task.id, [output])


class TestOneValue:
    async def test_the_client_is_told_to_send_it_again_and_gets_its_result(self, plane, live, tmp_path):
        call = await a_call(plane, live)
        reborn = restarted(plane, tmp_path)
        (told,) = (await waiting_for(reborn, call)).outputs
        assert told.result.status == R.GENERIC_STATUS_INTERNAL_FAILURE
        await retry(reborn, call, call.pipelined_inputs[0].input_jwt)
        await answer_next(reborn, live)
        (output,) = (await waiting_for(reborn, call)).outputs
        assert output.result.data == b"result"

    async def test_a_failure_without_retries_is_the_last_word(self, plane, live):
        call = await a_call(plane, live)
        await answer_next(plane, live, b"pickled", R.GENERIC_STATUS_FAILURE)
        (output,) = (await waiting_for(plane, call)).outputs
        assert (output.result.status, output.result.data) == (R.GENERIC_STATUS_TERMINATED, b"pickled")

    async def test_a_timeout_stays_one_though_the_client_asks_for_a_retry(self, plane, live):
        call = await a_call(plane, live)
        await answer_next(plane, live, b"", R.GENERIC_STATUS_TIMEOUT)
        for _ in range(2):
            (output,) = (await waiting_for(plane, call)).outputs
            assert output.result.status == R.GENERIC_STATUS_TIMEOUT
            await retry(plane, call, call.pipelined_inputs[0].input_jwt)
        assert not len(plane.calls.find_pool(live.id))

    async def test_a_function_with_retries_keeps_its_own_policy(self, plane):
        _, live = await plane.deploy(retry_policy=api_pb2.FunctionRetryPolicy(retries=5, backoff_coefficient=2.0, initial_delay_ms=10))
        call = await a_call(plane, live)
        assert call.retry_policy == live.message.retry_policy
        await answer_next(plane, live, b"pickled", R.GENERIC_STATUS_FAILURE)
        (output,) = (await waiting_for(plane, call)).outputs
        assert output.result.status == R.GENERIC_STATUS_FAILURE

    async def test_a_reader_without_tickets_is_told_that_the_call_is_gone(self, plane, live, tmp_path):
        call = await a_call(plane, live)
        with pytest.raises(NotFound, match="Call the function again"):
            await outputs(restarted(plane, tmp_path), call, start_idx=0, end_idx=0)

    async def test_the_ticket_of_another_call_opens_nothing(self, plane, live, tmp_path):
        call, other = await a_call(plane, live), await a_call(plane, live)
        with pytest.raises(NotFound):
            await outputs(restarted(plane, tmp_path), call, start_idx=0, end_idx=0, input_jwts=[other.pipelined_inputs[0].input_jwt])

    async def test_a_function_that_is_gone_takes_nothing_back(self, plane, live, tmp_path):
        call = await a_call(plane, live)
        await plane.apps.stop(live.function.app_id, "test")
        with pytest.raises(NotFound, match="has stopped"):
            await retry(restarted(plane, tmp_path), call, call.pipelined_inputs[0].input_jwt)

    @pytest.mark.parametrize("ticket", ["", "x.y.z.1", "fc-1"])
    async def test_a_forged_ticket_is_refused(self, plane, live, ticket):
        call = await a_call(plane, live)
        with pytest.raises(InvalidRequest):
            await retry(plane, call, ticket)

    async def test_a_cancelled_call_takes_no_retries(self, plane, live):
        call = await a_call(plane, live)
        await plane.calls.cancel(call.function_call_id)
        with pytest.raises(InvalidRequest, match="cancelled"):
            await retry(plane, call, call.pipelined_inputs[0].input_jwt)


class TestMaps:
    async def test_outputs_go_on_after_those_that_the_reader_has(self, plane, live, tmp_path):
        call = await a_call(plane, live, kind=MAP)
        await answer_next(plane, live, b"before")
        page = await outputs(plane, call, last_entry_id="0-0", timeout=1)
        more = await rpcs_of(plane).FunctionPutInputs(
            api_pb2.FunctionPutInputsRequest(function_id=live.id, function_call_id=call.function_call_id, inputs=[an_item(1)]), CALLER
        )
        reborn = restarted(plane, tmp_path)
        (lost,) = (await outputs(reborn, call, last_entry_id=page.last_entry_id, input_jwts=[more.inputs[0].input_jwt])).outputs
        assert (lost.result.status, lost.idx) == (R.GENERIC_STATUS_INTERNAL_FAILURE, 1)
        retried = await retry(reborn, call, more.inputs[0].input_jwt, count=1)
        await answer_next(reborn, live, b"after")
        page = await outputs(reborn, call, last_entry_id=page.last_entry_id, input_jwts=retried.input_jwts, timeout=1)
        assert [(item.idx, item.retry_count, item.result.data) for item in page.outputs] == [(1, 1, b"after")]

    async def test_a_writer_goes_on_with_a_call_that_the_engine_does_not_know(self, plane, live, tmp_path):
        call = await a_call(plane, live, kind=MAP)
        reborn = restarted(plane, tmp_path)
        request = api_pb2.FunctionPutInputsRequest(function_id=live.id, function_call_id=call.function_call_id, inputs=[an_item(5)])
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(outputs(reborn, call, last_entry_id="7-0", timeout=5))
            await asyncio.sleep(0.01)
            await rpcs_of(reborn).FunctionPutInputs(request, CALLER)
            await answer_next(reborn, live, b"5")
        assert [item.result.data for item in reading.result().outputs] == [b"5"]


class TestRepeatedRequests:
    async def test_a_spawn_that_the_last_engine_heard_is_not_made_twice(self, plane, live, tmp_path):
        first = await a_call(plane, live, invocation=ASYNC, caller=Caller(client_version="1.6.4", idempotency_key="k"))
        reborn = restarted(plane, tmp_path)
        await reborn.calls.restore()
        again = Caller(client_version="1.6.4", idempotency_key="k", is_repeating=True)
        second = await a_call(reborn, live, invocation=ASYNC, caller=again)
        assert second.function_call_id == first.function_call_id
        assert second.pipelined_inputs == first.pipelined_inputs
        assert len(reborn.calls.find_pool(live.id)) == 1

    async def test_a_spawn_that_nobody_heard_is_made(self, plane, live):
        again = Caller(client_version="1.6.4", idempotency_key="k", is_repeating=True)
        assert (await a_call(plane, live, invocation=ASYNC, caller=again)).function_call_id
