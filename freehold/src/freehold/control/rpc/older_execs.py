"""Commands in running containers as older clients run them: by four RPCs of their own service, with ids that the engine makes.

The id of a command holds its container's, and the index of a batch of output is the offset behind it, so next to nothing is kept here.
"""

import codecs
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator

import anyio
from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.rpc import mapping
from freehold.control.services.execs import Execs
from freehold.domain.errors import NotFound
from freehold.domain.ids import SecretId, TaskId
from freehold.wire.execs import Command, Errors, Stream

_STREAMS = {api_pb2.FILE_DESCRIPTOR_STDOUT: Stream.STDOUT, api_pb2.FILE_DESCRIPTOR_STDERR: Stream.STDERR}
_ERRORS = {api_pb2.EXEC_OUTPUT_OPTION_DEVNULL: Errors.DROPPED, api_pb2.EXEC_OUTPUT_OPTION_STDOUT: Errors.JOINED}
_MOST_INPUTS = 1000  # commands whose last input is remembered
_UTF_8 = codecs.getincrementaldecoder("utf-8")


class OlderExecRpcs:
    def __init__(self, execs: Execs) -> None:
        self._execs = execs
        self._inputs: OrderedDict[str, tuple[int, int]] = OrderedDict()  # by command: the index of its last input, and where that begins

    async def ContainerExec(self, request: api_pb2.ContainerExecRequest, caller: Caller) -> api_pb2.ContainerExecResponse:
        self._execs.check_may(caller)
        task_id, exec_id = TaskId(request.task_id), caller.idempotency_key or secrets.token_hex(16)
        named = [SecretId(secret_id) for secret_id in request.secret_ids]
        await self._execs.start(task_id, exec_id, _command(request), caller.actor, named)
        return api_pb2.ContainerExecResponse(exec_id=f"{task_id}/{exec_id}")

    async def ContainerExecGetOutput(
        self, request: api_pb2.ContainerExecGetOutputRequest, caller: Caller
    ) -> AsyncIterator[api_pb2.RuntimeOutputBatch]:
        """One stream of it; then its exit status, if that comes in time. Otherwise the client asks again, from where it was."""
        self._execs.check_may(caller)
        task_id, exec_id = _parts(request.exec_id)
        index, stream = request.last_batch_index, _STREAMS.get(request.file_descriptor, Stream.STDOUT)
        with anyio.move_on_after(request.timeout):
            async for data in _characters(self._execs.read(task_id, exec_id, stream, index)):
                index += len(data)
                item = api_pb2.RuntimeOutputMessage(file_descriptor=request.file_descriptor, message_bytes=data)
                yield api_pb2.RuntimeOutputBatch(items=[item], batch_index=index)
            end = await self._execs.wait(task_id, exec_id)
            yield api_pb2.RuntimeOutputBatch(batch_index=index, exit_code=end.code)

    async def ContainerExecPutInput(self, request: api_pb2.ContainerExecPutInputRequest, caller: Caller) -> Empty:
        self._execs.check_may(caller)
        task_id, exec_id = _parts(request.exec_id)
        given = request.input
        index, offset = self._inputs.get(request.exec_id, (0, 0))
        if given.message_index > index:
            offset = self._execs.input_status(task_id, exec_id).written
            self._inputs[request.exec_id] = given.message_index, offset
            if len(self._inputs) > _MOST_INPUTS:
                self._inputs.popitem(last=False)
        if given.message_index >= index:  # an older one was written long ago
            await self._execs.write(task_id, exec_id, offset, given.message, eof=given.eof)
        return Empty()

    async def ContainerExecWait(self, request: api_pb2.ContainerExecWaitRequest, caller: Caller) -> api_pb2.ContainerExecWaitResponse:
        self._execs.check_may(caller)
        task_id, exec_id = _parts(request.exec_id)
        end = self._execs.poll(task_id, exec_id)
        if request.timeout > 0:
            with anyio.move_on_after(request.timeout):
                end = await self._execs.wait(task_id, exec_id)
        return api_pb2.ContainerExecWaitResponse(completed=True, exit_code=end.code) if end else api_pb2.ContainerExecWaitResponse()


async def _characters(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes, in pieces that end with a whole character: these clients decode each by itself."""
    rest = b""
    async for piece in pieces:
        data = rest + piece
        cut = _whole(data)
        rest = data[cut:]
        if cut:
            yield data[:cut]
    if rest:
        yield rest


def _whole(data: bytes) -> int:
    """How many bytes there are without the beginning of a character at the end."""
    decoder = _UTF_8("ignore")
    decoder.decode(data)
    begun, _ = decoder.getstate()
    return len(data) - len(begun)


def _parts(text: str) -> tuple[TaskId, str]:
    task_id, slash, exec_id = text.partition("/")
    if not slash:
        msg = f"No command {text}: commands are in a container, and are called by its id and theirs."
        raise NotFound(msg)
    return TaskId(task_id), exec_id


def _command(request: api_pb2.ContainerExecRequest) -> Command:
    return Command(
        argv=tuple(request.command),
        env=mapping.terminal_env(request.pty_info),
        workdir=request.workdir,
        timeout=request.timeout_secs or None,
        terminal=mapping.terminal(request.pty_info) if request.HasField("pty_info") else None,
        keeps_output=request.stdout_output != api_pb2.EXEC_OUTPUT_OPTION_DEVNULL,
        errors=_ERRORS.get(request.stderr_output, Errors.KEPT),
    )
