"""What clients before 1.1 ask in other words, and what those before 1.0 do not do by themselves."""

import asyncio

import pytest
from fakes.control import ControlPlane, an_item
from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.rpc.calls import CallRpcs
from freehold.domain.errors import NotFound

R = api_pb2.GenericResult
UNARY, MAP = api_pb2.FUNCTION_CALL_TYPE_UNARY, api_pb2.FUNCTION_CALL_TYPE_MAP
OLD, NEW = Caller(client_version="0.72.58"), Caller(client_version="1.0.5")
RETRIES = api_pb2.FunctionRetryPolicy(retries=1, backoff_coefficient=1.0, initial_delay_ms=1)


@pytest.fixture
async def plane(tmp_path):
    return ControlPlane(tmp_path)


def rpcs_of(plane):
    return CallRpcs(calls=plane.calls, functions=plane.functions, tasks=plane.tasks)


async def a_call(plane, live, caller, *, kind=UNARY):
    request = api_pb2.FunctionMapRequest(function_id=live.id, function_call_type=kind, pipelined_inputs=[an_item(0)])
    return await rpcs_of(plane).FunctionMap(request, caller)


async def asked(plane, call, caller, *, wait=5.0, clear=True):
    """As `.remote()`, and with `clear=False` the reader of a map, ask: without naming an index."""
    request = api_pb2.FunctionGetOutputsRequest(
        function_call_id=call.function_call_id, timeout=wait, last_entry_id="0-0", clear_on_success=clear
    )
    async with asyncio.timeout(20):
        return await rpcs_of(plane).FunctionGetOutputs(request, caller)


async def answer_next(plane, live, status=R.GENERIC_STATUS_SUCCESS, data=b"result"):
    task = await plane.a_ready_task(live)
    (item,) = await plane.claim(task)
    output = api_pb2.FunctionPutOutputsItem(input_id=item.input_id, retry_count=item.retry_count, result=R(status=status, data=data))
    await plane.claims.put_outputs(task.id, [output])


@pytest.mark.parametrize("caller", [OLD, NEW])
async def test_a_reader_that_names_no_index_gets_its_one_result(plane, caller):
    _, live = await plane.deploy()
    call = await a_call(plane, live, caller)
    await answer_next(plane, live)
    (output,) = (await asked(plane, call, caller)).outputs
    assert output.result.data == b"result"


async def test_a_reader_that_names_no_index_waits(plane):
    _, live = await plane.deploy()
    call = await a_call(plane, live, OLD)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(asked(plane, call, OLD))
        await answer_next(plane, live)
    assert len(waiting.result().outputs) == 1


async def test_a_failure_reaches_an_old_client_as_it_is(plane):
    """It knows of no status after which it must not try again, so it is not told that it may."""
    _, live = await plane.deploy()
    call = await a_call(plane, live, OLD)
    assert call.retry_policy.retries == 0
    await answer_next(plane, live, R.GENERIC_STATUS_FAILURE)
    (output,) = (await asked(plane, call, OLD)).outputs
    assert output.result.status == R.GENERIC_STATUS_FAILURE


async def test_what_went_with_an_earlier_engine_ends_with_words_for_who_cannot_send_it_again(plane, tmp_path):
    _, live = await plane.deploy()
    one, many = await a_call(plane, live, OLD), await a_call(plane, live, OLD, kind=MAP)
    reborn = ControlPlane(tmp_path, store=plane.store)
    for call, clear in ((one, True), (many, False)):
        with pytest.raises(NotFound, match="Call the function again"):
            await asked(reborn, call, OLD, clear=clear)


async def test_a_map_that_is_done_may_say_so_to_any_engine(plane, tmp_path):
    _, live = await plane.deploy()
    call = await a_call(plane, live, OLD, kind=MAP)
    reborn = ControlPlane(tmp_path, store=plane.store)
    assert not (await asked(reborn, call, OLD, wait=0)).outputs


@pytest.mark.parametrize(("caller", "expected"), [(OLD, R.GENERIC_STATUS_SUCCESS), (NEW, R.GENERIC_STATUS_FAILURE)])
async def test_failed_inputs_of_a_map_are_tried_again_by_the_engine_where_the_client_does_not(plane, caller, expected):
    _, live = await plane.deploy(retry_policy=RETRIES)
    call = await a_call(plane, live, caller, kind=MAP)
    await answer_next(plane, live, R.GENERIC_STATUS_FAILURE)
    if caller is OLD:
        await answer_next(plane, live)
    (output,) = (await asked(plane, call, caller, clear=False)).outputs
    assert output.result.status == expected
