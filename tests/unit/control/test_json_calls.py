"""Calls in JSON, as the gateway asks for them."""

import asyncio

import cbor2
import pytest
from modal_proto import api_pb2

from freehold.control.services.json_calls import JsonCalls
from freehold.domain.errors import Conflict, InvalidRequest, NotFound
from freehold.domain.json_calls import Fate

CBOR = api_pb2.DATA_FORMAT_CBOR
FORMATS = {"supported_input_formats": [CBOR], "supported_output_formats": [CBOR]}
SUCCESS = api_pb2.GenericResult.GENERIC_STATUS_SUCCESS


@pytest.fixture
def json_calls(plane):
    return JsonCalls(
        apps=plane.apps,
        functions=plane.functions,
        calls=plane.calls,
        blobs=plane.blobs,
        clock=plane.clock,
        max_inline_bytes=1024,
        result_ttl=plane.settings.result_ttl,
    )


async def start(json_calls, function="f", body=b"[1]", **options):
    return await json_calls.start(environment="", app="shop", function=function, body=body, **options)


async def answer(plane, live, value, data_format=CBOR):
    """As a container would; the arguments that it got."""
    task = (plane.tasks_of(live) or [await plane.a_ready_task(live)])[0]
    (item,) = await plane.claim(task)
    result = api_pb2.GenericResult(status=SUCCESS, data=cbor2.dumps(value))
    output = api_pb2.FunctionPutOutputsItem(input_id=item.input_id, result=result, data_format=data_format)
    await plane.claims.put_outputs(task.id, [output])
    return item.input


async def test_a_call_gets_its_arguments_and_gives_its_result(plane, json_calls):
    _, live = await plane.deploy("f", **FORMATS)
    call = await start(json_calls, body=b'{"x": [1, 2]}')

    seen = await answer(plane, live, {"sum": 3})

    assert cbor2.loads(seen.args) == [[], {"x": [1, 2]}]
    outcome = await call.outcome(1)
    assert (outcome.fate, outcome.content) == (Fate.DONE, b'{"sum":3}')
    assert not call.is_kept


async def test_arguments_that_are_too_large_for_a_message_travel_as_a_blob(plane, json_calls):
    _, live = await plane.deploy("f", **FORMATS)
    await plane.content.open()
    await start(json_calls, body=b'["' + b"x" * 2000 + b'"]')

    seen = await answer(plane, live, None)

    assert cbor2.loads(await plane.blobs.read(seen.args_blob_id)) == [["x" * 2000], {}]


async def test_a_call_that_is_not_done_has_no_outcome_yet(plane, json_calls):
    await plane.deploy("f", **FORMATS)
    assert await (await start(json_calls)).outcome(0) is None


async def test_a_cancelled_call_says_so(plane, json_calls):
    await plane.deploy("f", **FORMATS)
    call = await start(json_calls, is_async=True)
    await call.cancel()
    assert (await call.outcome(1)).fate is Fate.CANCELLED


async def test_an_asynchronous_call_is_found_by_its_id(plane, json_calls):
    _, live = await plane.deploy("f", **FORMATS)
    call = await start(json_calls, is_async=True)
    await answer(plane, live, 42)
    found = await json_calls.find(call.id)
    assert found.is_kept
    assert [(await found.outcome(1)).content for _ in range(2)] == [b"42", b"42"]


async def test_calls_with_one_key_are_one_call(plane, json_calls):
    await plane.deploy("f", **FORMATS)
    async with asyncio.TaskGroup() as group:
        same = [group.create_task(start(json_calls, key="k")) for _ in range(2)]
    first, again = (task.result() for task in same)
    other = await start(json_calls, key="other")
    assert first.id == again.id != other.id
    assert first.is_kept


async def test_a_key_is_refused_for_other_arguments(plane, json_calls):
    await plane.deploy("f", **FORMATS)
    await start(json_calls, key="k")
    with pytest.raises(Conflict, match="Idempotency-Key"):
        await start(json_calls, body=b"[2]", key="k")


async def test_a_function_with_retries_is_tried_again_by_the_engine(plane, json_calls):
    await plane.deploy("f", retry_policy=api_pb2.FunctionRetryPolicy(retries=2), **FORMATS)
    assert (await start(json_calls)).is_kept


async def test_a_new_deployment_of_a_name_is_noticed_at_once(plane, json_calls):
    app, live = await plane.deploy("f", **FORMATS)
    await start(json_calls)
    newer = await plane.define(app, "f", existing=live.id)
    await plane.publish(app, newer)
    with pytest.raises(InvalidRequest, match="pickles"):
        await start(json_calls)


async def test_an_app_that_has_stopped_is_not_called(plane, json_calls):
    app, _ = await plane.deploy("f", **FORMATS)
    await start(json_calls)
    await plane.apps.stop(app.id, "test")
    with pytest.raises(NotFound, match="modal app list"):
        await start(json_calls)


async def test_what_was_called_in_pickles_is_no_json(plane, json_calls):
    _, live = await plane.deploy("f", **FORMATS)
    call = await start(json_calls, is_async=True)
    await answer(plane, live, 1, data_format=api_pb2.DATA_FORMAT_PICKLE)
    assert (await call.outcome(1)).fate is Fate.NOT_JSON


async def test_a_generators_values_come_one_by_one(plane, json_calls):
    _, live = await plane.deploy("f", function_type=api_pb2.Function.FUNCTION_TYPE_GENERATOR, **FORMATS)
    call = await start(json_calls)
    assert call.is_generator
    stream = plane.calls.get_live(call.id).data_out
    await stream.append(cbor2.dumps({"n": 1}), CBOR)
    await stream.append(cbor2.dumps({"n": 2}), CBOR)
    await answer(plane, live, None, data_format=api_pb2.DATA_FORMAT_GENERATOR_DONE)
    assert [value async for value in call.values()] == [b'{"n":1}', b'{"n":2}']
    assert (await call.outcome(1)).fate is Fate.DONE
    assert plane.calls.find_live(call.id) is None, "its values are not kept"


async def test_a_generator_is_not_kept(plane, json_calls):
    await plane.deploy("f", function_type=api_pb2.Function.FUNCTION_TYPE_GENERATOR, **FORMATS)
    for options in ({"is_async": True}, {"key": "k"}):
        with pytest.raises(InvalidRequest, match="generator"):
            await start(json_calls, **options)


async def test_a_container_that_cannot_start_is_told(plane, json_calls):
    _, live = await plane.deploy("f", **FORMATS)
    call = await start(json_calls)
    await plane.calls.starts_failed(live.id, "no such module", b"")
    outcome = await call.outcome(1)
    assert (outcome.fate, outcome.detail) == (Fate.BROKEN, "no such module")
