"""Who is believed to be who, and what the containers of a restricted function may still call."""

from typing import Any

import pytest
from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.rpc import server
from freehold.control.rpc.auth import Authenticator
from freehold.control.rpc.calls import CallRpcs
from freehold.domain.errors import InvalidRequest, PermissionDenied, Unauthenticated
from freehold.domain.ids import TaskId

TASK = {"x-task": "ta-1", "x-task-token": "right"}
CLIENT = {"x-modal-token-id": "ak-1", "x-modal-token-secret": "as-1"}


class Known:
    """One client and one task."""

    def __init__(self, *, restricted: bool = False) -> None:
        self._restricted = restricted

    def accepts(self, token_id: str, token_secret: str) -> bool:
        return (token_id, token_secret) == ("ak-1", "as-1")

    def accepts_task(self, task_id: TaskId, token: str) -> bool:
        return (task_id, token) == ("ta-1", "right")

    def is_restricted(self, task_id: TaskId) -> bool:
        return self._restricted and task_id == "ta-1"


def caller(metadata: dict[str, str], *, rpc: str = "AppList", restricted: bool = False) -> Any:
    known = Known(restricted=restricted)
    return Authenticator(credentials=known, tasks=known).caller(rpc, metadata)


class TestIdentity:
    @pytest.mark.parametrize(
        "metadata",
        [
            {},
            {**CLIENT, "x-modal-token-secret": "as-"},
            {"x-modal-token-id": "ak-1"},
            {**TASK, "x-task-token": "wrong"},
            {**TASK, "x-task": ""},
            {"x-task": "ta-1", **CLIENT},
        ],
        ids=["nothing", "a beginning", "half", "a wrong task token", "no task", "a client's token as a task's"],
    )
    def test_nothing_but_a_whole_and_right_token_is_accepted(self, metadata: dict[str, str]) -> None:
        with pytest.raises(Unauthenticated):
            caller(metadata)

    def test_a_task_is_known_by_its_token(self) -> None:
        assert caller(TASK).task_id == "ta-1"
        assert not caller(CLIENT).is_task

    @pytest.mark.parametrize("version", ["../../etc", "1.6.4 @ file:///etc", "-r /etc/passwd", "1" * 65, "1.6.4\n"])
    def test_a_version_that_is_none_goes_into_no_folder_name(self, version: str) -> None:
        assert caller({**CLIENT, "x-modal-client-version": version}).client_version == ""

    @pytest.mark.parametrize("version", ["1.6.4", "1.6.5.dev3", "0.74.51+local"])
    def test_versions_are_taken_as_they_are(self, version: str) -> None:
        assert caller({**CLIENT, "x-modal-client-version": version}).client_version == version


class TestRestrictedTasks:
    @pytest.mark.parametrize("rpc", ["ContainerHello", "FunctionGetInputs", "FunctionPutOutputs", "BlobCreate", "TaskResult"])
    def test_their_own_work_is_theirs_to_do(self, rpc: str) -> None:
        assert caller(TASK, rpc=rpc, restricted=True).is_restricted

    def test_all_else_is_refused(self) -> None:
        reads_or_changes = [
            name
            for name in server.CLIENT.methods_by_name
            if name.startswith(("App", "Secret", "Environment", "FunctionMap", "FunctionGet"))
        ]
        refused = []
        for name in reads_or_changes:
            try:
                caller(TASK, rpc=name, restricted=True)
            except PermissionDenied:
                refused.append(name)

        assert set(reads_or_changes) - set(refused) == {"FunctionGetDynamicConcurrency", "FunctionGetInputs"}

    def test_other_tasks_speak_for_the_workspace(self) -> None:
        assert caller(TASK, rpc="AppList").is_task

    async def test_a_function_that_says_so_makes_tasks_that_are(self, plane: Any) -> None:
        _, live = await plane.deploy(untrusted=True)
        task = plane.tasks.create(live.function, live.definition_id, "test", is_restricted=live.spec.untrusted)

        assert plane.tasks.is_restricted(task.id)
        assert not plane.tasks.accepts_task(task.id, "tökén")


class TestStreams:
    """What a call streams belongs to the task that runs it."""

    async def test_only_the_task_that_runs_a_call_writes_and_reads_its_streams(self, plane: Any) -> None:
        _, live = await plane.deploy()
        owner, other = await plane.a_ready_task(live), await plane.a_ready_task(live)
        call = await plane.call(live)
        await plane.claim(owner)
        rpcs = CallRpcs(calls=plane.calls, functions=plane.functions, tasks=plane.tasks)

        for task, data in ((other, b"forged"), (owner, b"true")):
            await rpcs.FunctionCallPutDataOut(chunk(call.id, data), Caller(task_id=task.id))

        assert [item.data for item in call.data_out.chunks] == [b"true"]
        for stranger in (Caller(task_id=other.id), Caller()):
            with pytest.raises(PermissionDenied, match="Only the container that runs"):
                await anext(rpcs.FunctionCallGetDataIn(api_pb2.FunctionCallGetDataRequest(function_call_id=call.id), stranger))


def chunk(call_id: str, data: bytes) -> api_pb2.FunctionCallPutDataRequest:
    return api_pb2.FunctionCallPutDataRequest(function_call_id=call_id, data_chunks=[api_pb2.DataChunk(index=1, data=data)])


class TestVersions:
    def test_a_client_that_is_too_old_is_told_what_to_install(self) -> None:
        with pytest.raises(InvalidRequest, match="pip install"):
            caller({**CLIENT, "x-modal-client-version": "0.62.5"})

    def test_a_stranger_is_not_told_so(self) -> None:
        with pytest.raises(Unauthenticated):
            caller({"x-modal-client-version": "0.62.5"})

    def test_a_newer_one_is_served_with_a_caution(self) -> None:
        assert "newer than this engine" in caller({**CLIENT, "x-modal-client-version": "9.0.0"}).cautions[0]
        assert caller({**CLIENT, "x-modal-client-version": "1.6.4"}).cautions == []
