"""Commands that people run in running containers: who may, what they get, and the record of it."""

import shlex
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from freehold.control.caller import Caller
from freehold.control.services.journal import Journal
from freehold.control.services.secrets import Secrets
from freehold.control.services.tasks import Tasks
from freehold.domain.errors import Conflict, InvalidRequest, NotFound, NotSupported, PermissionDenied, Unauthenticated, Unavailable
from freehold.domain.ids import SecretId, TaskId
from freehold.domain.tasks import TaskState
from freehold.store.keyring import Keyring
from freehold.wire.execs import Command, ExecEnd, InputStatus, Stream, Terminal
from freehold.wire.worker import WorkerControl

_OPERATION = "exec"
_PASS_LIFE = timedelta(minutes=10)  # clients ask for a new one when it has expired
_LONGEST_ID = 128
_LONGEST_COMMAND = 128 * 1024  # bytes of arguments and variables together; the kernel takes not much more
_LONGEST_SHOWN = 500


class Execs:
    """`exec_id` is chosen by whoever starts a command, and makes the start repeatable. For the rest see `wire.execs.WorkerExecs`."""

    def __init__(self, *, tasks: Tasks, secrets: Secrets, journal: Journal, keyring: Keyring, worker: WorkerControl) -> None:
        self._tasks = tasks
        self._secrets = secrets
        self._journal = journal
        self._keyring = keyring
        self._worker = worker

    def check_may(self, caller: Caller) -> None:
        """Raises PermissionDenied."""
        if caller.is_task:
            msg = "A container may not run commands in others, nor in itself in this way. It can start processes of its own."
            raise PermissionDenied(msg)

    def new_pass(self, task_id: TaskId, caller: Caller) -> str:
        """What a client shows to run commands in this one container, for ten minutes."""
        self.check_may(caller)
        self._tasks.get(task_id)
        return self._keyring.sign({"op": _OPERATION, "task": task_id, "token": caller.token_id}, _PASS_LIFE)

    def holder_of(self, text: str) -> Caller:
        """Who shows this pass. Raises Unauthenticated."""
        claims = self._keyring.verify(text)
        if claims.get("op") != _OPERATION:
            msg = "This is not a pass to a container."
            raise Unauthenticated(msg)
        return Caller(token_id=str(claims["token"]), pass_to=TaskId(str(claims["task"])))

    async def start(
        self, task_id: TaskId, exec_id: str, command: Command, actor: str, secrets: Sequence[SecretId | Mapping[str, str]] = ()
    ) -> None:
        """Returns when it runs. `secrets`, or the variables of some, come below its own variables. `actor` is who wants it, for the record."""
        _check(exec_id, command)
        live = self._tasks.get(task_id)
        if live.is_build:
            msg = f"Container {task_id} is a step of an image build. Commands run in containers of functions."
            raise NotSupported(msg)
        if live.state is TaskState.PENDING:
            msg = f"Container {task_id} is still starting. Try again in a moment; `freehold why {task_id}` says what it waits for."
            raise Conflict(msg)
        command = replace(command, env={**await self._opened(secrets), **command.env})
        if await self._start(task_id, exec_id, command):
            shown = " ".join(shlex.join(command.argv).split())[:_LONGEST_SHOWN]
            self._journal.event(task_id, "exec_started", cause=actor, fields={"exec_id": exec_id, "command": shown})

    async def _start(self, task_id: TaskId, exec_id: str, command: Command) -> bool:
        try:
            return await self._worker.execs.start(task_id, exec_id, command)
        except NotFound as error:
            if (live := self._tasks.find(task_id)) is None or live.is_stopping:
                raise
            msg = f"Container {task_id} is being taken over from an engine that has died. Try again in a moment."
            raise Unavailable(msg) from error

    async def _opened(self, secrets: Sequence[SecretId | Mapping[str, str]]) -> dict[str, str]:
        env: dict[str, str] = {}
        for source in secrets:
            env |= await self._secrets.env_of([source]) if isinstance(source, str) else source
        return env

    def read(self, task_id: TaskId, exec_id: str, stream: Stream = Stream.STDOUT, offset: int = 0) -> AsyncIterator[bytes]:
        return self._worker.execs.read(task_id, exec_id, stream, offset)

    async def write(self, task_id: TaskId, exec_id: str, offset: int, data: bytes, *, eof: bool = False) -> None:
        await self._worker.execs.write(task_id, exec_id, offset, data, eof=eof)

    def input_status(self, task_id: TaskId, exec_id: str) -> InputStatus:
        return self._worker.execs.input_status(task_id, exec_id)

    def resize(self, task_id: TaskId, exec_id: str, rows: int, columns: int) -> None:
        self._worker.execs.resize(task_id, exec_id, Terminal(rows=rows, columns=columns))

    def poll(self, task_id: TaskId, exec_id: str) -> ExecEnd | None:
        return self._worker.execs.poll(task_id, exec_id)

    async def wait(self, task_id: TaskId, exec_id: str) -> ExecEnd:
        return await self._worker.execs.wait(task_id, exec_id)

    def stop(self, task_id: TaskId, exec_id: str, actor: str) -> None:
        self._worker.execs.stop(task_id, exec_id, f"It was stopped by {actor}.")


def _check(exec_id: str, command: Command) -> None:
    if not 0 < len(exec_id) <= _LONGEST_ID:
        msg = f"The id of a command is a text of up to {_LONGEST_ID} characters."
        raise InvalidRequest(msg)
    if not command.argv or not command.argv[0]:
        msg = "There is no command to run. Name a program, as in `modal container exec ta-… bash`."
        raise InvalidRequest(msg)
    words = [*command.argv, *command.env, *command.env.values(), command.workdir]
    if any("\0" in word for word in words) or any("=" in name or not name for name in command.env):
        msg = "Arguments and variables cannot hold NUL bytes, nor names of variables `=`."
        raise InvalidRequest(msg)
    if sum(len(word.encode(errors="replace")) for word in words) > _LONGEST_COMMAND:
        msg = f"The command is too long: {_LONGEST_COMMAND // 1024} KiB of arguments and variables are the most. Write them to its input."
        raise InvalidRequest(msg)
