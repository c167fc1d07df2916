"""The socket for inputs and results: the engine's end and the container's own, over a real connection."""

import ast
import asyncio
import itertools
import json
import os
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modal_proto import api_pb2

import freehold.container
from freehold.container.frames import (
    GET_INPUTS,
    HELLO,
    HELLO_CALLS,
    LONGEST,
    PUT_OUTPUTS,
    REFUSED,
    RPC,
    FrameTooLong,
    Splitter,
    contexts_of,
    frame,
    with_contexts,
)
from freehold.container.link import Link, Unusable
from freehold.control.rpc import inputs_socket
from freehold.domain.ids import TaskId
from freehold.domain.seams import Transport
from freehold.domain.tasks import ExitKind, TaskExit

DEADLINE = 30
PATIENCE = 30.0


@pytest.fixture
async def container(plane):
    """Makes containers for tasks; their connections end with the test."""
    made = []

    def make(task, **kwargs):
        made.append(Container(plane, task, **kwargs))
        return made[-1]

    yield make
    for each in made:
        each.hang_up()
    await asyncio.sleep(0.001)


@asynccontextmanager
async def served(plane):
    async with (
        asyncio.timeout(2 * DEADLINE),
        inputs_socket.serve(plane.behind_sockets, path_of(plane)),
    ):
        yield


def path_of(plane):
    return plane.settings.root / "run/control/inputs.sock"


class Container:
    """The container's code, without modal's around it."""

    def __init__(self, plane, task, token=None):
        self.held = {}
        self.link = Link(str(path_of(plane)), task.id, token or task.token, lambda: self.held)

    async def get(self, **request):
        answer = await self.link.ask(GET_INPUTS, api_pb2.FunctionGetInputsRequest(**request).SerializeToString(), patience=PATIENCE)
        return list(api_pb2.FunctionGetInputsResponse.FromString(answer).inputs)

    async def put(self, item, data=b"result"):
        result = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS, data=data)
        output = api_pb2.FunctionPutOutputsItem(input_id=item.input_id, retry_count=item.retry_count, result=result)
        await self.link.ask(PUT_OUTPUTS, api_pb2.FunctionPutOutputsRequest(outputs=[output]).SerializeToString(), patience=PATIENCE)

    def hang_up(self):
        """The connection breaks; what was on its way is lost."""
        if self.link._wire is not None:
            self.link._wire.close()

    async def is_asking(self, plane, live):
        """Returns when the engine holds its long poll."""
        async with asyncio.timeout(DEADLINE):
            while (pool := plane.calls.find_pool(live.id)) is None or not pool._claims:  # noqa: ASYNC110 — nobody tells
                await asyncio.sleep(0.001)


@asynccontextmanager
async def asking(container, plane, live):
    """A long poll that is under way."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(container.get())
        await container.is_asking(plane, live)
        yield task
        task.cancel()


async def one_output(plane, call):
    async with asyncio.timeout(DEADLINE):
        return await plane.calls.outputs(api_pb2.FunctionGetOutputsRequest(function_call_id=call.id, timeout=DEADLINE))


async def stranger(plane, *sent):
    """A connection that says just this; what it is told until it is closed."""
    reader, writer = await asyncio.open_unix_connection(str(path_of(plane)))
    writer.write(b"".join(sent))
    told = await _read_out(reader)
    writer.close()
    return told


async def _read_out(reader):
    """Until the engine hangs up."""
    try:
        async with asyncio.timeout(DEADLINE):
            return await reader.read()
    except OSError:
        return b""


def is_open(descriptor):
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def hello(task, **changes):
    return frame(HELLO, 1, json.dumps({"task": task.id, "token": task.token, "held": {}, **changes}).encode())


class TestInputs:
    async def test_an_input_goes_out_and_its_result_comes_back(self, plane, container):
        _, live = await plane.deploy()
        mine = container(task := await plane.a_ready_task(live))
        call = await plane.call(live)
        async with served(plane):
            [item] = await mine.get()
            await mine.put(item)
        assert (await one_output(plane, call)).outputs[0].result.data == b"result"
        assert task.transport is Transport.OWN

    async def test_the_events_of_a_task_say_how_it_gets_its_inputs(self, plane, container):
        _, live = await plane.deploy()
        task = plane.tasks.create(live.function, live.definition_id, "test")
        await plane.call(live)
        async with served(plane):
            await container(task).get()
        await plane.journal.flush()
        async with plane.store.transaction() as tx:
            ready = [event for event in await tx.events.of(task.id) if event.kind == "task_ready"]
        assert [event.fields for event in ready] == [{"transport": "own"}]

    async def test_who_waits_is_answered_when_an_input_comes(self, plane, container):
        _, live = await plane.deploy()
        mine = container(await plane.a_ready_task(live))
        async with served(plane), asking(mine, plane, live) as asked:
            await plane.call(live)
            assert len(await asked) == 1

    async def test_a_batch_comes_in_one_answer(self, plane, container):
        _, live = await plane.deploy()
        mine = container(await plane.a_ready_task(live))
        await plane.call(live, inputs=3)
        async with served(plane):
            assert len(await mine.get(batch_max_size=3, batch_linger_ms=1000)) == 3

    async def test_a_draining_task_gets_the_kill_switch(self, plane, container):
        _, live = await plane.deploy()
        mine = container(task := await plane.a_ready_task(live))
        async with served(plane), asking(mine, plane, live) as asked:
            plane.claims.drain(task, "test")
            assert (await asked)[0].kill_switch

    async def test_a_large_input_goes_through_whole(self, plane, container):
        _, live = await plane.deploy()
        mine = container(await plane.a_ready_task(live))
        call = await plane.call(live)
        async with served(plane):
            [item] = await mine.get()
            await mine.put(item, b"x" * 5_000_000)
        assert len((await one_output(plane, call)).outputs[0].result.data) == 5_000_000

    async def test_who_no_longer_waits_takes_nothing(self, plane, container):
        _, live = await plane.deploy()
        mine, other = [container(await plane.a_ready_task(live)) for _ in range(2)]
        async with served(plane):
            async with asking(mine, plane, live):
                pass
            await plane.call(live)
            async with asyncio.timeout(DEADLINE):
                assert len(await other.get()) == 1

    async def test_a_connection_that_ends_gives_up_its_wait(self, plane, container):
        _, live = await plane.deploy()
        mine, other = [container(await plane.a_ready_task(live)) for _ in range(2)]
        async with served(plane):
            async with asking(mine, plane, live) as asked:
                asked.cancel()
                mine.hang_up()
            await plane.call(live)
            assert len(await other.get()) == 1


class TestBrokenConnections:
    async def test_an_answer_that_was_lost_is_delivered_again(self, plane, container):
        """The engine has leased the input; the container has never heard of it, and says so when it is back."""
        _, live = await plane.deploy()
        mine = container(await plane.a_ready_task(live))
        call = await plane.call(live)
        async with served(plane):
            [lost] = await mine.get()
            mine.hang_up()
            [item] = await mine.get()
            assert (item.input_id, item.retry_count) == (lost.input_id, lost.retry_count)
            await mine.put(item)
        assert len((await one_output(plane, call)).outputs) == 1

    async def test_what_the_container_has_in_hand_is_not_delivered_again(self, plane, container):
        _, live = await plane.deploy()
        mine = container(await plane.a_ready_task(live))
        await plane.call(live)
        async with served(plane):
            [item] = await mine.get()
            mine.held[item.input_id] = item.retry_count
            mine.hang_up()
            async with asking(mine, plane, live):
                pass
            mine.hang_up()
            await mine.put(item)

    async def test_a_lost_answer_of_a_cancelled_call_is_delivered_and_then_cancelled(self, plane, container):
        """Only a container can end what it may be running."""
        _, live = await plane.deploy()
        mine = container(task := await plane.a_ready_task(live))
        call = await plane.call(live)
        async with served(plane):
            [lost] = await mine.get()
            mine.hang_up()
            await plane.calls.cancel(call.id)
            assert [item.input_id for item in await mine.get()] == [lost.input_id]
            heartbeat = await plane.claims.heartbeat(task.id)
            assert heartbeat.cancel_input_event.input_ids == [lost.input_id]

    async def test_a_lost_answer_of_a_task_that_dies_is_queued_again(self, plane, container):
        _, live = await plane.deploy()
        mine, other = [container(await plane.a_ready_task(live)) for _ in range(2)]
        await plane.call(live)
        async with served(plane):
            [lost] = await mine.get()
            mine.hang_up()
            await plane.tasks.record_exit(TaskId(mine.link._identity["task"]), TaskExit(kind=ExitKind.LOST))
            assert [item.input_id for item in await other.get()] == [lost.input_id]

    async def test_a_result_is_offered_until_an_engine_takes_it(self, plane, container):
        """The engine goes and comes back on a socket of the same name; the container waits and connects again."""
        _, live = await plane.deploy()
        mine = container(await plane.a_ready_task(live))
        call = await plane.call(live)
        async with served(plane):
            [item] = await mine.get()
            mine.held[item.input_id] = item.retry_count
        async with asyncio.TaskGroup() as group:
            group.create_task(mine.put(item))
            await asyncio.sleep(0.2)
            async with served(plane):
                assert len((await one_output(plane, call)).outputs) == 1

    async def test_a_container_at_work_tells_the_next_engine_unasked(self, plane, container):
        """Else that would give the input to another."""
        _, live = await plane.deploy()
        mine = container(task := await plane.a_ready_task(live))
        await plane.call(live)
        async with served(plane):
            [item] = await mine.get()
            mine.held[item.input_id] = item.retry_count
            task.undelivered[item.input_id] = item.retry_count  # as after a restart, until it says that it has it
        async with served(plane):
            while task.undelivered:  # noqa: ASYNC110 — nobody tells
                await asyncio.sleep(0.001)

    async def test_a_container_without_work_comes_back_when_it_asks(self, plane, container):
        _, live = await plane.deploy()
        mine = container(await plane.a_ready_task(live))
        async with served(plane), asking(mine, plane, live):
            pass
        assert mine.link._returning is None

    async def test_without_an_engine_patience_has_an_end(self, plane, container):
        _, live = await plane.deploy()
        mine = container(await plane.a_ready_task(live))
        await plane.call(live)
        async with served(plane):
            await mine.get()
        with pytest.raises(Unusable):
            await mine.link.ask(GET_INPUTS, b"", patience=0.1)

    async def test_a_newer_connection_replaces_the_older(self, plane, container):
        _, live = await plane.deploy()
        task = await plane.a_ready_task(live)
        async with served(plane):
            reader, writer = await asyncio.open_unix_connection(str(path_of(plane)))
            writer.write(hello(task))
            await reader.readexactly(9)
            async with asking(container(task), plane, live):
                await _read_out(reader)
            writer.close()

    async def test_a_forked_child_keeps_its_hands_off(self, plane, container):
        """Its copy of the connection must neither keep that open nor speak on it."""
        _, live = await plane.deploy()
        mine = container(await plane.a_ready_task(live))
        await plane.call(live)
        async with served(plane):
            await mine.get()
            connection = mine.link._wire.sock.fileno()
            may_end, end = os.pipe()
            child = os.fork()
            if not child:
                os.close(end)
                os.read(may_end, 1)
                os._exit(1 if is_open(connection) else 0)
            os.close(may_end)
            try:
                mine.hang_up()
                assert len(await mine.get()) == 1
            finally:
                os.close(end)
                _, status = await asyncio.to_thread(os.waitpid, child, 0)
            assert os.waitstatus_to_exitcode(status) == 0


class TestStrangers:
    async def test_a_token_that_is_not_the_tasks_is_refused_for_good(self, plane, container):
        _, live = await plane.deploy()
        mine = container(await plane.a_ready_task(live), token="guessed")
        async with served(plane):
            for _ in range(2):
                with pytest.raises(Unusable):
                    await mine.get()

    async def test_an_engine_that_does_not_know_the_task_says_so(self, plane):
        """What a container meets after a restart that its task did not survive: it goes on in the stock way, which ends it."""
        _, live = await plane.deploy()
        task = await plane.a_ready_task(live)
        await plane.tasks.record_exit(task.id, TaskExit(kind=ExitKind.LOST))
        async with served(plane):
            [(kind, number, text)] = Splitter().feed(await stranger(plane, hello(task)))
        assert (kind, number) == (REFUSED, 1)
        assert b"is not one of this engine's running tasks" in text

    async def test_without_an_engine_there_is_nothing_to_wait_for(self, plane, container):
        """The very first connection fails: this engine has no such socket."""
        _, live = await plane.deploy()
        mine = container(await plane.a_ready_task(live))
        async with asyncio.timeout(DEADLINE):
            with pytest.raises(Unusable):
                await mine.get()

    @pytest.mark.parametrize(
        "sent",
        [
            frame(GET_INPUTS, 1),
            frame(HELLO, 1, b"{}"),
            frame(HELLO, 1, b"[" * 100_000),
            frame(HELLO, 1, b'{"task": "ta-1", "token": "x", "held": 7}'),
            frame(HELLO, 1, b"x" * 1_000_000),
        ],
        ids=["no greeting", "empty", "deep", "odd", "long"],
    )
    async def test_who_does_not_greet_properly_is_hung_up_on(self, plane, sent):
        async with served(plane):
            assert await stranger(plane, sent) == b""

    async def test_who_says_nothing_is_hung_up_on(self, plane, monkeypatch):
        monkeypatch.setattr(inputs_socket, "_GREETING", 0.05)
        async with served(plane):
            assert await stranger(plane) == b""

    async def test_many_who_say_nothing_keep_nobody_out(self, plane, container, monkeypatch):
        monkeypatch.setattr(inputs_socket, "_MOST_STRANGERS", 3)
        _, live = await plane.deploy()
        mine = container(await plane.a_ready_task(live))
        await plane.call(live)
        async with served(plane):
            silent = [await asyncio.open_unix_connection(str(path_of(plane))) for _ in range(5)]
            assert len(await mine.get()) == 1
            for _, writer in silent:
                writer.close()

    @pytest.mark.parametrize(
        "sent",
        [frame(HELLO, 2, b"{}"), frame(77, 2), (LONGEST + 1).to_bytes(4, "big") + bytes(5), frame(GET_INPUTS, 2) * 2],
        ids=["greets twice", "unknown kind", "too long", "same number twice"],
    )
    async def test_a_task_that_sends_what_nobody_sends_is_hung_up_on(self, plane, sent):
        _, live = await plane.deploy()
        task = await plane.a_ready_task(live)
        async with served(plane):
            assert len(await stranger(plane, hello(task), sent)) <= 9

    async def test_too_many_requests_at_once_are_too_many(self, plane, monkeypatch):
        monkeypatch.setattr(inputs_socket, "_MOST_REQUESTS", 3)
        _, live = await plane.deploy()
        async with served(plane):
            await stranger(plane, hello(await plane.a_ready_task(live)), *[frame(GET_INPUTS, n) for n in range(2, 7)])

    async def test_a_request_that_cannot_be_read_is_refused_alone(self, plane, container):
        _, live = await plane.deploy()
        mine = container(await plane.a_ready_task(live))
        await plane.call(live)
        async with served(plane):
            with pytest.raises(Unusable):
                await mine.link.ask(PUT_OUTPUTS, b"\xff\xff", patience=1)
            assert len(await mine.get()) == 1


FRAMES = st.lists(st.tuples(st.integers(0, 255), st.integers(0, 2**32 - 1), st.binary(max_size=200)), max_size=8)


class TestFrames:
    @given(frames=FRAMES, cuts=st.lists(st.integers(0, 2000), max_size=12))
    def test_frames_are_whole_however_they_are_cut(self, frames, cuts):
        data = b"".join(frame(*parts) for parts in frames)
        edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
        splitter = Splitter()
        assert [found for start, end in itertools.pairwise(edges) for found in splitter.feed(data[start:end])] == frames

    @given(length=st.integers(101, 2**32 - 1))
    def test_a_frame_that_is_too_long_is_known_by_its_header(self, length):
        with pytest.raises(FrameTooLong):
            Splitter(100).feed(length.to_bytes(4, "big") + bytes(5))

    async def test_nonsense_over_the_wire_harms_nobody(self, plane, container):
        """Before and after a greeting; whoever comes next is served."""
        _, live = await plane.deploy()
        task, other = await plane.a_ready_task(live), await plane.a_ready_task(live)
        pieces = st.one_of(st.binary(max_size=300), st.builds(frame, st.integers(0, 8), st.integers(0, 5), st.binary(max_size=40)))
        tried = []

        @settings(max_examples=80, database=None)
        @given(is_greeting=st.booleans(), pieces=st.lists(pieces, max_size=6))
        def collect(is_greeting, pieces):
            tried.append((hello(task) if is_greeting else b"") + b"".join(pieces))

        collect()
        async with (
            asyncio.timeout(60),
            inputs_socket.serve(plane.behind_sockets, path_of(plane)),
        ):
            for sent in tried:
                reader, writer = await asyncio.open_unix_connection(str(path_of(plane)))
                writer.write(sent)
                writer.write_eof()
                await _read_out(reader)
                writer.close()
            await plane.call(live)
            assert len(await container(other).get()) == 1


class TestContainerCode:
    """What runs inside users' containers."""

    @pytest.mark.parametrize("module", sorted(Path(freehold.container.__file__).parent.glob("*.py")), ids=lambda path: path.name)
    def test_it_is_readable_for_python_3_9(self, module):
        ast.parse(module.read_text(), feature_version=(3, 9))


class Calling:
    """A container's code that calls functions."""

    def __init__(self, plane, task):
        self.link = Link(str(path_of(plane)), task.id, task.token, dict, greeting=HELLO_CALLS)

    async def ask(self, name, request, traceparent=""):
        given = request if isinstance(request, bytes) else request.SerializeToString()
        return await self.link.ask(RPC, f"{name} {traceparent}".strip().encode() + b"\0" + given, patience=0)

    async def map(self, live, data=b"given", traceparent=""):
        item = api_pb2.FunctionPutInputsItem(input=api_pb2.FunctionInput(args=data))
        request = api_pb2.FunctionMapRequest(
            function_id=live.function.id,
            function_call_type=api_pb2.FUNCTION_CALL_TYPE_UNARY,
            function_call_invocation_type=api_pb2.FUNCTION_CALL_INVOCATION_TYPE_SYNC,
            pipelined_inputs=[item],
        )
        return api_pb2.FunctionMapResponse.FromString(await self.ask("FunctionMap", request, traceparent))

    async def outputs(self, call_id):
        request = api_pb2.FunctionGetOutputsRequest(function_call_id=call_id, timeout=DEADLINE)
        return api_pb2.FunctionGetOutputsResponse.FromString(await self.ask("FunctionGetOutputs", request))


class TestTraces:
    """What is said of them beside the messages, on both ways."""

    async def test_an_input_comes_with_its_context_and_a_client_that_does_not_know_of_it_reads_the_same(self, plane, container):
        _, live = await plane.deploy()
        mine, calling = container(task := await plane.a_ready_task(live)), Calling(plane, task)
        async with served(plane):
            await calling.map(live, traceparent=(said := f"00-{'1' * 32}-{'2' * 16}-01"))
            answer = await mine.link.ask(GET_INPUTS, b"", patience=PATIENCE)
        assert contexts_of(answer) == [said]
        assert [item.input.args for item in api_pb2.FunctionGetInputsResponse.FromString(answer).inputs] == [b"given"]

    async def test_where_there_is_nothing_to_say_nothing_is_added(self, plane, container):
        _, live = await plane.deploy()
        mine = container(await plane.a_ready_task(live))
        await plane.call(live)
        async with served(plane):
            answer = await mine.link.ask(GET_INPUTS, b"", patience=PATIENCE)
        assert contexts_of(answer) == []
        assert api_pb2.FunctionGetInputsResponse.FromString(answer).SerializeToString() == answer

    @pytest.mark.parametrize("contexts", [[], ["", "00-1", ""], ["x" * 127] * 50])
    def test_contexts_come_as_they_went(self, contexts):
        message = api_pb2.FunctionGetInputsResponse(inputs=[api_pb2.FunctionGetInputsItem(input_id="in-1")])
        sent = with_contexts(message.SerializeToString(), contexts)
        assert contexts_of(sent) == contexts
        assert api_pb2.FunctionGetInputsResponse.FromString(sent).inputs == message.inputs


class TestCalls:
    async def test_a_container_calls_a_function_and_gets_its_result(self, plane, container):
        _, live = await plane.deploy()
        mine = container(task := await plane.a_ready_task(live))
        calling = Calling(plane, task)
        async with served(plane):
            made = await calling.map(live)
            [item] = await mine.get()
            await mine.put(item)
            answer = await calling.outputs(made.function_call_id)
        assert item.input.args == b"given"
        assert answer.outputs[0].result.data == b"result"

    async def test_its_connection_and_that_of_its_inputs_leave_each_other_alone(self, plane, container):
        _, live = await plane.deploy()
        mine = container(task := await plane.a_ready_task(live))
        async with served(plane), asking(mine, plane, live) as asked:
            await Calling(plane, task).map(live)
            async with asyncio.timeout(DEADLINE):
                assert len(await asked) == 1

    async def test_what_is_wrong_is_refused_so_that_grpc_says_it(self, plane):
        _, live = await plane.deploy()
        calling = Calling(plane, await plane.a_ready_task(live))
        async with served(plane):
            for wrong in (b"\xff", api_pb2.FunctionMapRequest(function_id="fu-unknown")):
                with pytest.raises(Unusable):
                    await calling.ask("FunctionMap", wrong)
            assert (await calling.map(live)).function_call_id

    async def test_a_heartbeat_waits_until_there_is_something_to_say(self, plane, container):
        _, live = await plane.deploy()
        mine = container(task := await plane.a_ready_task(live))
        calling = Calling(plane, task)
        async with served(plane), asyncio.TaskGroup() as group:
            beating = group.create_task(calling.ask("ContainerHeartbeat", api_pb2.ContainerHeartbeatRequest()))
            call = await plane.call(live)
            [item] = await mine.get()
            assert not beating.done()
            await plane.calls.cancel(call.id)
            async with asyncio.timeout(DEADLINE):
                said = api_pb2.ContainerHeartbeatResponse.FromString(await beating)
        assert list(said.cancel_input_event.input_ids) == [item.input_id]

    async def test_a_restricted_task_may_not_call(self, plane):
        _, live = await plane.deploy()
        task = await plane.a_ready_task(live)
        task.is_restricted = True
        calling = Calling(plane, task)
        async with served(plane):
            with pytest.raises(Unusable, match="may not call"):
                await calling.map(live)
            assert await calling.ask("ContainerHello", b"") == b""

    async def test_a_task_that_has_ended_may_not_call_over_a_connection_that_stands(self, plane):
        _, live = await plane.deploy()
        task = await plane.a_ready_task(live)
        calling = Calling(plane, task)
        async with served(plane):
            await calling.map(live)
            await plane.tasks.record_exit(task.id, TaskExit(kind=ExitKind.FINISHED))
            with pytest.raises(Unusable):
                await calling.map(live)

    @pytest.mark.parametrize(
        ("greeting", "then"),
        [(HELLO_CALLS, frame(GET_INPUTS, 2)), (HELLO, frame(RPC, 2, b"ContainerHello\0")), (HELLO_CALLS, frame(RPC, 2, b"AppStop\0"))],
    )
    async def test_each_connection_is_for_its_own_kinds(self, plane, greeting, then):
        _, live = await plane.deploy()
        task = await plane.a_ready_task(live)
        said = json.dumps({"task": task.id, "token": task.token, "held": {}}).encode()
        async with served(plane):
            told = await stranger(plane, frame(greeting, 1, said), then)
        assert [number for _, number, _ in Splitter().feed(told)] in ([], [1])  # and hung up on
