"""The gRPC edge, over a real connection: who is served, what errors become, and what happens when a caller hangs up."""

import asyncio
import socket
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest
from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2, api_pb2_grpc

from freehold.control.caller import Caller
from freehold.control.rpc import mapping, server
from freehold.control.rpc.errors import CODES, code_of
from freehold.domain import errors
from freehold.domain.apps import AppState

# What the client tries again by itself: never the answer to a request that is wrong.
_RETRIED = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED}


class Everyone:
    """An authenticator that asks nothing."""

    def caller(self, name, metadata):
        return Caller(task_id=metadata.get("x-task"), idempotency_key=metadata.get("x-idempotency-key", ""))


async def greet(request):
    return {"greeting": f"hello {request['name']}"}


OPERATIONS = {"Greet": greet}


class Held:
    """Handlers that wait until they are let go, and say whether they came to their end."""

    def __init__(self):
        self.begun, self.may_end, self.ended, self.cancelled = (asyncio.Event() for _ in range(4))

    async def _hold(self):
        self.begun.set()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        self.ended.set()

    async def AppStop(self, request, caller):
        await self._hold()
        return Empty()

    async def FunctionGetInputs(self, request, caller):
        await self._hold()
        return api_pb2.FunctionGetInputsResponse()


class Refusing:
    async def AppCreate(self, request, caller):
        msg = "x" * 10_000
        raise errors.InvalidRequest(msg)

    async def AppList(self, request, caller):
        msg = "a detail that is nobody's business"
        raise RuntimeError(msg)

    async def AppGetLogs(self, request, caller):
        yield api_pb2.TaskLogsBatch(entry_id="1")
        msg = "gone"
        raise errors.NotFound(msg)


@asynccontextmanager
async def connected(folder, *resources):
    """A client of a server with these resources."""
    async with channel_to(folder, *resources) as channel:
        yield api_pb2_grpc.ModalClientStub(channel)


@asynccontextmanager
async def channel_to(folder, *resources):
    path = folder / "control.sock"
    async with (
        asyncio.timeout(30),
        server.serve(
            resources, operations=OPERATIONS, authenticator=Everyone(), passes=Everyone(), address="127.0.0.1:0", socket_path=path
        ),
        grpc.aio.insecure_channel(f"unix:{path}") as channel,
    ):
        yield channel


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


class TestTable:
    def test_each_rpc_is_found_by_its_name(self):
        assert set(server.served_by([Held(), Refusing()])) == {"AppStop", "FunctionGetInputs", "AppCreate", "AppList", "AppGetLogs"}

    def test_a_name_that_is_served_twice_stops_the_start(self):
        with pytest.raises(ValueError, match="AppStop is served by Held and by another class"):
            server.served_by([Held(), Held()])

    async def test_a_name_that_nobody_serves_is_refused_in_words(self, tmp_path):
        async with connected(tmp_path) as client:
            error = await refused(client.AppStop(api_pb2.AppStopRequest()))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "does not serve AppStop" in error.details()

    @pytest.mark.parametrize("name", ["AppDeploySingleObject", "SomethingOfTomorrow"])
    async def test_a_name_of_another_version_is_refused_in_words(self, tmp_path, name):
        async with channel_to(tmp_path) as channel:
            error = await refused(channel.unary_unary(f"/modal.client.ModalClient/{name}")(b""))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        assert f"does not know {name}" in error.details()

    async def test_a_port_that_is_taken_says_which_setting_moves_it(self, tmp_path):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            with pytest.raises(errors.Unavailable, match="FREEHOLD_CONTROL_PORT"):
                async with server.serve(
                    [], operations={}, authenticator=Everyone(), passes=Everyone(), address=address, socket_path=tmp_path / "s"
                ):
                    pass


class TestOperations:
    async def test_the_owner_asks_in_json(self, tmp_path):
        async with channel_to(tmp_path) as channel:
            answer = await channel.unary_unary("/freehold.Operator/Greet")(b'{"name": "Ada"}')
        assert answer == b'{"greeting": "hello Ada"}'

    @pytest.mark.parametrize("request_bytes", [b"", b"[]", b"{", b"\xff"])
    async def test_what_is_no_json_object_is_refused(self, tmp_path, request_bytes):
        async with channel_to(tmp_path) as channel:
            error = await refused(channel.unary_unary("/freehold.Operator/Greet")(request_bytes))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT

    async def test_a_container_may_not_ask(self, tmp_path):
        async with channel_to(tmp_path) as channel:
            error = await refused(channel.unary_unary("/freehold.Operator/Greet")(b'{"name": "Ada"}', metadata=(("x-task", "ta-1"),)))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED


class TestErrors:
    def test_every_refusal_has_a_code_and_none_is_tried_again_in_vain(self):
        kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and kind is not errors.FreeholdError}
        assert kinds == set(CODES)
        assert not _RETRIED & set(CODES.values())

    def test_a_narrower_kind_has_the_code_of_the_one_above(self):
        class NoSuchVolume(errors.NotFound):
            pass

        assert code_of(NoSuchVolume()) is grpc.StatusCode.NOT_FOUND

    async def test_a_long_text_is_shortened_so_that_it_arrives(self, tmp_path):
        async with connected(tmp_path, Refusing()) as client:
            error = await refused(client.AppCreate(api_pb2.AppCreateRequest()))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert 1000 < len(error.details()) < 3000

    async def test_an_unexpected_error_shows_nothing_of_itself(self, tmp_path):
        async with connected(tmp_path, Refusing()) as client:
            error = await refused(client.AppList(api_pb2.AppListRequest()))
        assert error.code() is grpc.StatusCode.INTERNAL
        assert "nobody's business" not in error.details()

    async def test_a_stream_says_what_it_has_before_it_is_refused(self, tmp_path):
        async with connected(tmp_path, Refusing()) as client:
            stream = client.AppGetLogs(api_pb2.AppGetLogsRequest())
            assert (await stream.read()).entry_id == "1"
            error = await refused(stream.read())
        assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "gone")


class TestCallersWhoHangUp:
    async def test_a_change_is_carried_through(self, tmp_path):
        held = Held()
        async with connected(tmp_path, held) as client:
            call = client.AppStop(api_pb2.AppStopRequest())
            await held.begun.wait()
            call.cancel()
            held.may_end.set()
            await held.ended.wait()
        assert not held.cancelled.is_set()

    async def test_a_wait_ends(self, tmp_path):
        held = Held()
        async with connected(tmp_path, held) as client:
            call = client.FunctionGetInputs(api_pb2.FunctionGetInputsRequest())
            await held.begun.wait()
            call.cancel()
            await held.cancelled.wait()
        assert not held.ended.is_set()

    async def test_the_server_ends_after_the_last_change(self, tmp_path):
        held = Held()
        async with connected(tmp_path, held) as client:
            call = client.AppStop(api_pb2.AppStopRequest())
            await held.begun.wait()
            call.cancel()
            held.may_end.set()
        assert held.ended.is_set()


class TestMapping:
    @pytest.mark.parametrize("state", list(AppState))
    async def test_every_state_of_an_app_comes_back_as_itself(self, plane, state):
        app = await plane.an_app(state=state)
        assert mapping.app_state(mapping.lifecycle(app).app_state) is state

    def test_a_state_that_is_not_given_is_none(self):
        assert mapping.app_state(api_pb2.APP_STATE_UNSPECIFIED) is None

    async def test_an_app_in_a_list_counts_its_running_tasks(self, plane):
        app, live = await plane.deploy()
        await plane.a_ready_task(live)
        item = mapping.app_list_item(app, mapping.count_by_app(plane.tasks.all())[app.id])
        assert (item.name, item.n_running_tasks, item.stopped_at) == ("shop", 1, 0)

    async def test_a_publication_keeps_its_layout_and_its_commit(self, plane):
        _, live = await plane.deploy()
        request = api_pb2.AppPublishRequest(function_ids={"f": live.id}, definition_ids={live.id: live.definition_id})
        layout = mapping.layout_of(request)
        assert (layout.function_ids["f"], layout.definition_ids[live.id]) == (live.id, live.definition_id)

    async def test_a_version_in_the_history_shows_where_its_code_came_from(self, plane):
        commit = api_pb2.CommitInfo(commit_hash="abc")
        app = await plane.an_app()
        _, deployment = await plane.publish(app, tag="v1", commit_info=commit.SerializeToString())
        message = mapping.deployment(deployment, live=1)
        assert (message.version, message.tag, message.commit_info.commit_hash) == (1, "v1", "abc")
