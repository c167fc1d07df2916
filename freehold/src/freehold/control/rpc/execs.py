"""Commands in running containers: access to them, by the client's own service; then the commands, by the service of the command router.

Both are served at the same address. To the second a client shows the pass that the first has given it, good for one container.
"""

from collections.abc import AsyncIterator, Mapping

from modal_proto import api_pb2
from modal_proto import task_command_router_pb2 as router_pb2

from freehold.control.caller import Caller
from freehold.control.rpc import mapping
from freehold.control.services.execs import Execs
from freehold.domain.errors import InvalidRequest, PermissionDenied, Unauthenticated
from freehold.domain.ids import SecretId, TaskId
from freehold.wire.execs import Command, Errors, ExecEnd, Stream

_BEARER = "Bearer "
_STREAMS = {
    router_pb2.TASK_EXEC_STDIO_FILE_DESCRIPTOR_STDOUT: Stream.STDOUT,
    router_pb2.TASK_EXEC_STDIO_FILE_DESCRIPTOR_STDERR: Stream.STDERR,
}
_ERRORS = {
    router_pb2.TASK_EXEC_STDERR_CONFIG_DEVNULL: Errors.DROPPED,
    router_pb2.TASK_EXEC_STDERR_CONFIG_PIPE: Errors.KEPT,
    router_pb2.TASK_EXEC_STDERR_CONFIG_STDOUT: Errors.JOINED,
}


class Passes:
    """Who calls the command router: see `edge.Callers`."""

    def __init__(self, execs: Execs) -> None:
        self._execs = execs

    def caller(self, rpc: str, metadata: Mapping[str, str]) -> Caller:
        shown = metadata.get("authorization", "")
        if not shown.startswith(_BEARER):
            msg = f"{rpc} takes the pass to a container, which TaskGetCommandRouterAccess gives."
            raise Unauthenticated(msg)
        return self._execs.holder_of(shown.removeprefix(_BEARER))


class ExecRpcs:
    def __init__(self, *, execs: Execs, url: str) -> None:
        self._execs = execs
        self._url = url

    async def TaskGetCommandRouterAccess(
        self, request: api_pb2.TaskGetCommandRouterAccessRequest, caller: Caller
    ) -> api_pb2.TaskGetCommandRouterAccessResponse:
        return api_pb2.TaskGetCommandRouterAccessResponse(jwt=self._execs.new_pass(TaskId(request.task_id), caller), url=self._url)

    async def TaskExecStart(self, request: router_pb2.TaskExecStartRequest, caller: Caller) -> router_pb2.TaskExecStartResponse:
        task_id = _allowed(request.task_id, caller)
        if request.container_id:
            msg = "A container of a function has no further containers in it: leave container_id away."
            raise InvalidRequest(msg)
        await self._execs.start(task_id, request.exec_id, _command(request), caller.actor, _sources(request))
        return router_pb2.TaskExecStartResponse()

    async def TaskExecStdioRead(
        self, request: router_pb2.TaskExecStdioReadRequest, caller: Caller
    ) -> AsyncIterator[router_pb2.TaskExecStdioReadResponse]:
        task_id, stream = _allowed(request.task_id, caller), _STREAMS.get(request.file_descriptor, Stream.STDOUT)
        async for data in self._execs.read(task_id, request.exec_id, stream, request.offset):
            yield router_pb2.TaskExecStdioReadResponse(data=data)

    async def TaskExecStdinWrite(
        self, request: router_pb2.TaskExecStdinWriteRequest, caller: Caller
    ) -> router_pb2.TaskExecStdinWriteResponse:
        task_id = _allowed(request.task_id, caller)
        await self._execs.write(task_id, request.exec_id, request.offset, request.data, eof=request.eof)
        return router_pb2.TaskExecStdinWriteResponse()

    async def TaskExecStdinWriteStream(
        self, requests: AsyncIterator[router_pb2.TaskExecStdinWriteStreamRequest], caller: Caller
    ) -> router_pb2.TaskExecStdinWriteStreamResponse:
        """A start, the data, and an end, which closes the input. Without that it stays open, for the rest to come in another stream."""
        start = (await anext(requests, router_pb2.TaskExecStdinWriteStreamRequest())).start
        task_id, offset = _allowed(start.task_id, caller), start.offset
        async for request in requests:
            is_end = request.HasField("end")
            await self._execs.write(task_id, start.exec_id, offset, request.data, eof=is_end)
            offset += len(request.data)
        return router_pb2.TaskExecStdinWriteStreamResponse()

    async def TaskExecStdinStatus(
        self, request: router_pb2.TaskExecStdinStatusRequest, caller: Caller
    ) -> router_pb2.TaskExecStdinStatusResponse:
        status = self._execs.input_status(_allowed(request.task_id, caller), request.exec_id)
        return router_pb2.TaskExecStdinStatusResponse(num_bytes_written=status.written, closed=status.is_closed)

    async def TaskExecPoll(self, request: router_pb2.TaskExecPollRequest, caller: Caller) -> router_pb2.TaskExecPollResponse:
        end = self._execs.poll(_allowed(request.task_id, caller), request.exec_id)
        return router_pb2.TaskExecPollResponse(code=end.code) if end else router_pb2.TaskExecPollResponse()

    async def TaskExecWait(self, request: router_pb2.TaskExecWaitRequest, caller: Caller) -> router_pb2.TaskExecWaitResponse:
        end: ExecEnd = await self._execs.wait(_allowed(request.task_id, caller), request.exec_id)
        return router_pb2.TaskExecWaitResponse(code=end.code)


def _allowed(task_id: str, caller: Caller) -> TaskId:
    """The container that is meant, if the caller's pass is to it."""
    if caller.pass_to is None or caller.pass_to != task_id:
        msg = f"The pass is to another container than {task_id}."
        raise PermissionDenied(msg)
    return caller.pass_to


def _command(request: router_pb2.TaskExecStartRequest) -> Command:
    return Command(
        argv=tuple(request.command_args),
        env={**mapping.terminal_env(request.pty_info), **request.env},
        workdir=request.workdir,
        timeout=request.timeout_secs or None,
        terminal=mapping.terminal(request.pty_info) if request.HasField("pty_info") else None,
        keeps_output=request.stdout_config == router_pb2.TASK_EXEC_STDOUT_CONFIG_PIPE,
        errors=_ERRORS.get(request.stderr_config, Errors.DROPPED),
    )


def _sources(request: router_pb2.TaskExecStartRequest) -> list[SecretId | Mapping[str, str]]:
    """Secrets, and variables that the client has instead of one, in the order in which they count."""
    if not request.secret_sources:  # clients before 1.6
        return [SecretId(secret_id) for secret_id in request.secret_ids]
    return [SecretId(source.secret_id) if source.secret_id else source.env.contents for source in request.secret_sources]
