"""Commands in containers, as the control plane sees them: who may, what is recorded, and how the two services tell callers apart."""

from datetime import timedelta

import pytest
from modal_proto import api_pb2
from modal_proto import task_command_router_pb2 as router_pb2

from freehold.control.caller import Caller
from freehold.control.rpc.execs import ExecRpcs, Passes
from freehold.control.rpc.older_execs import OlderExecRpcs
from freehold.control.services.execs import Execs
from freehold.domain.errors import Conflict, InvalidRequest, NotFound, NotSupported, PermissionDenied, Unauthenticated, Unavailable
from freehold.store.keyring import Keyring
from freehold.wire.execs import Command, Errors, ExecEnd, InputStatus, Stream, Terminal

CLIENT = Caller(token_id="ak-1", client_version="1.6.4")


class ListeningExecs:
    """See `wire.execs.WorkerExecs`: one command, which answers with what it was given."""

    def __init__(self):
        self.started = {}
        self.input = b""
        self.output, self.piece = b"", 5
        self.closed = False
        self.refusal = None

    async def start(self, task_id, exec_id, command):
        if self.refusal:
            raise self.refusal
        is_new = exec_id not in self.started
        self.started.setdefault(exec_id, command)
        return is_new

    async def read(self, task_id, exec_id, stream, offset):
        if not self.output:
            yield f"{stream} from {offset}".encode()
        for at in range(offset, len(self.output), self.piece):
            yield self.output[at : at + self.piece]

    async def write(self, task_id, exec_id, offset, data, *, eof=False):
        self.input = self.input[:offset] + data
        self.closed = self.closed or eof

    def input_status(self, task_id, exec_id):
        return InputStatus(written=len(self.input), is_closed=self.closed)

    def poll(self, task_id, exec_id):
        return None

    async def wait(self, task_id, exec_id):
        return ExecEnd(code=3)


class Desk:
    def __init__(self, plane, home):
        self.plane = plane
        self.worker = plane.worker.execs = ListeningExecs()
        self.keyring = Keyring.open(home)
        self.execs = Execs(tasks=plane.tasks, secrets=plane.secrets, journal=plane.journal, keyring=self.keyring, worker=plane.worker)
        self.older = OlderExecRpcs(self.execs)
        self.rpcs = ExecRpcs(execs=self.execs, url="http://127.0.0.1:8970")

    async def task_id(self, name="shop"):
        _, live = await self.plane.deploy(name=name)
        return (await self.plane.a_ready_task(live)).id

    async def holder(self, task_id, caller=CLIENT):
        """Who shows the pass that this caller gets."""
        access = await self.rpcs.TaskGetCommandRouterAccess(api_pb2.TaskGetCommandRouterAccessRequest(task_id=task_id), caller)
        return Passes(self.execs).caller("TaskExecStart", {"authorization": f"Bearer {access.jwt}"})

    async def start(self, task_id, **fields):
        request = router_pb2.TaskExecStartRequest(**{"task_id": task_id, "exec_id": "a", "command_args": ["true"], **fields})
        await self.rpcs.TaskExecStart(request, await self.holder(task_id))
        return self.worker.started[request.exec_id]


@pytest.fixture
def desk(plane, tmp_path):
    return Desk(plane, tmp_path)


class TestPasses:
    async def test_one_names_its_container_and_whose_it_is(self, desk):
        task_id = await desk.task_id()

        holder = await desk.holder(task_id)

        assert (holder.pass_to, holder.token_id, holder.task_id) == (task_id, "ak-1", None)

    async def test_containers_get_none(self, desk):
        task_id = await desk.task_id()
        with pytest.raises(PermissionDenied, match="may not run commands"):
            desk.execs.new_pass(task_id, Caller(task_id=task_id))

    async def test_there_is_none_to_what_does_not_run(self, desk):
        with pytest.raises(NotFound, match="modal container list"):
            desk.execs.new_pass("ta-0", CLIENT)

    @pytest.mark.parametrize("shown", ["", "Basic x", "Bearer ", "Bearer x.y.z"])
    async def test_what_is_none_is_refused(self, desk, shown):
        with pytest.raises(Unauthenticated):
            Passes(desk.execs).caller("TaskExecStart", {"authorization": shown})

    @pytest.mark.parametrize(("claims", "life"), [({"op": "exec"}, -1), ({"op": "get"}, 60)])
    async def test_one_that_has_expired_or_is_for_something_else_is_refused(self, desk, claims, life):
        signed = desk.keyring.sign({"task": "ta-1", "token": "ak-1", **claims}, timedelta(seconds=life))
        with pytest.raises(Unauthenticated):
            desk.execs.holder_of(signed)

    async def test_it_opens_no_other_container(self, desk):
        one, other = await desk.task_id(), await desk.task_id("other")
        with pytest.raises(PermissionDenied, match="another container"):
            await desk.rpcs.TaskExecStart(
                router_pb2.TaskExecStartRequest(task_id=other, exec_id="a", command_args=["true"]), await desk.holder(one)
            )
        assert not desk.worker.started


class TestStart:
    async def test_what_the_client_wishes_reaches_the_worker(self, desk):
        command = await desk.start(
            await desk.task_id(),
            command_args=["sh", "-c", "ls"],
            workdir="/tmp",
            timeout_secs=7,
            env={"A": "1"},
            pty_info=api_pb2.PTYInfo(enabled=True, winsz_rows=33, winsz_cols=1_000_000, env_term="xterm"),
            stdout_config=router_pb2.TASK_EXEC_STDOUT_CONFIG_PIPE,
            stderr_config=router_pb2.TASK_EXEC_STDERR_CONFIG_STDOUT,
        )

        assert command == Command(
            argv=("sh", "-c", "ls"),
            env={"TERM": "xterm", "A": "1"},
            workdir="/tmp",
            timeout=7,
            terminal=Terminal(rows=33, columns=65535),
            keeps_output=True,
            errors=Errors.JOINED,
        )

    async def test_what_it_does_not_wish_is_left_to_the_worker(self, desk):
        command = await desk.start(await desk.task_id())

        assert command == Command(argv=("true",), keeps_output=False, errors=Errors.DROPPED)

    async def test_later_variables_win(self, desk):
        sources = [{"env": {"contents": {"A": "first", "B": "first", "C": "first"}}}, {"env": {"contents": {"B": "second", "C": "second"}}}]

        command = await desk.start(await desk.task_id(), secret_sources=sources, env={"C": "its own"})

        assert command.env == {"A": "first", "B": "second", "C": "its own"}

    async def test_it_is_in_the_story_once_without_its_variables(self, desk):
        task_id = await desk.task_id()
        for _ in range(2):
            await desk.start(task_id, command_args=["sh", "-c", "ls\nls"], env={"A": "treasure"})
        desk.plane.tasks.record_exec_ended(task_id, "a", ExecEnd(code=137, reason="Its container has ended."))

        events = [event for event in await desk.plane.story(task_id) if event.kind.startswith("exec")]

        assert [(event.kind, event.cause) for event in events] == [
            ("exec_started", "client with token ak-1"),
            ("exec_ended", "Its container has ended."),
        ]
        assert events[0].fields == {"exec_id": "a", "command": "sh -c 'ls ls'"}
        assert events[1].fields == {"exec_id": "a", "code": "137"}

    async def test_a_container_that_is_not_there_yet_is_a_conflict(self, desk):
        _, live = await desk.plane.deploy()
        task = desk.plane.tasks.create(live.function, live.definition_id, "test")
        with pytest.raises(Conflict, match="still starting"):
            await desk.start(task.id)

    async def test_steps_of_builds_are_left_alone(self, desk):
        _, live = await desk.plane.deploy()
        task = desk.plane.tasks.create(live.function, live.definition_id, "test", is_build=True)
        with pytest.raises(NotSupported, match="image build"):
            await desk.start(task.id)

    async def test_one_that_its_worker_has_not_taken_over_yet_may_be_asked_again(self, desk):
        task_id = await desk.task_id()
        desk.worker.refusal = NotFound("unknown")
        with pytest.raises(Unavailable, match="taken over"):
            await desk.start(task_id)

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"exec_id": ""}, "id of a command"),
            ({"exec_id": "x" * 200}, "id of a command"),
            ({"command_args": []}, "no command"),
            ({"command_args": ["a\0b"]}, "NUL"),
            ({"env": {"A=B": "1"}}, "names of variables"),
            ({"command_args": ["x" * 200_000]}, "too long"),
            ({"container_id": "co-1"}, "container_id"),
        ],
    )
    async def test_what_cannot_be_run_is_refused_in_words(self, desk, fields, words):
        with pytest.raises(InvalidRequest, match=words):
            await desk.start(await desk.task_id(), **fields)


class TestRpcs:
    async def test_output_is_read_from_an_offset(self, desk):
        task_id = await desk.task_id()
        request = router_pb2.TaskExecStdioReadRequest(
            task_id=task_id, exec_id="a", offset=7, file_descriptor=router_pb2.TASK_EXEC_STDIO_FILE_DESCRIPTOR_STDERR
        )

        found = [answer.data async for answer in desk.rpcs.TaskExecStdioRead(request, await desk.holder(task_id))]

        assert found == [f"{Stream.STDERR} from 7".encode()]

    async def test_a_stream_of_input_is_closed_by_its_end_alone(self, desk):
        task_id = await desk.task_id()
        holder = await desk.holder(task_id)

        async def sent(offset, *messages):
            yield router_pb2.TaskExecStdinWriteStreamRequest(
                start=router_pb2.TaskExecStdinWriteStreamStart(task_id=task_id, exec_id="a", offset=offset)
            )
            for message in messages:
                yield message

        await desk.rpcs.TaskExecStdinWriteStream(sent(0, router_pb2.TaskExecStdinWriteStreamRequest(data=b"one ")), holder)
        status = await desk.rpcs.TaskExecStdinStatus(router_pb2.TaskExecStdinStatusRequest(task_id=task_id, exec_id="a"), holder)
        assert (status.num_bytes_written, status.closed) == (4, False)

        rest = router_pb2.TaskExecStdinWriteStreamRequest(data=b"two")
        end = router_pb2.TaskExecStdinWriteStreamRequest(end=router_pb2.TaskExecStdinWriteStreamEnd())
        await desk.rpcs.TaskExecStdinWriteStream(sent(4, rest, end), holder)
        assert (desk.worker.input, desk.worker.closed) == (b"one two", True)

    async def test_the_end_is_told_when_there_is_one(self, desk):
        task_id = await desk.task_id()
        holder = await desk.holder(task_id)

        polled = await desk.rpcs.TaskExecPoll(router_pb2.TaskExecPollRequest(task_id=task_id, exec_id="a"), holder)
        waited = await desk.rpcs.TaskExecWait(router_pb2.TaskExecWaitRequest(task_id=task_id, exec_id="a"), holder)

        assert polled.WhichOneof("exit_status") is None
        assert (waited.WhichOneof("exit_status"), waited.code) == ("code", 3)


class TestOlderClients:
    async def exec_id(self, desk, **fields):
        request = api_pb2.ContainerExecRequest(task_id=await desk.task_id(), command=["true"], **fields)
        return (await desk.older.ContainerExec(request, CLIENT)).exec_id

    async def output(self, desk, exec_id, after=0):
        request = api_pb2.ContainerExecGetOutputRequest(
            exec_id=exec_id, timeout=55, last_batch_index=after, file_descriptor=api_pb2.FILE_DESCRIPTOR_STDOUT
        )
        return [batch async for batch in desk.older.ContainerExecGetOutput(request, CLIENT)]

    async def put(self, desk, exec_id, index, message, *, eof=False):
        message = api_pb2.RuntimeInputMessage(message=message, message_index=index, eof=eof)
        await desk.older.ContainerExecPutInput(api_pb2.ContainerExecPutInputRequest(exec_id=exec_id, input=message), CLIENT)

    async def test_all_output_is_kept_unless_they_say_otherwise(self, desk):
        exec_id = await self.exec_id(desk)

        assert desk.worker.started[exec_id.partition("/")[2]] == Command(argv=("true",))

    async def test_output_comes_in_whole_characters_and_then_the_status(self, desk):
        exec_id = await self.exec_id(desk)
        desk.worker.output = "Füße ♥ 🙂".encode() + b"\xff\xf0"

        *batches, last = await self.output(desk, exec_id)

        pieces = [batch.items[0].message_bytes for batch in batches]
        assert b"".join(pieces) == desk.worker.output
        assert "".join(piece.decode() for piece in pieces[:-2]).startswith("Füße ♥")
        assert (last.exit_code, last.HasField("exit_code")) == (3, True)

    async def test_output_goes_on_behind_the_batch_that_came_last(self, desk):
        exec_id = await self.exec_id(desk)
        desk.worker.output = b"one two three"
        first, *_ = await self.output(desk, exec_id)

        rest = await self.output(desk, exec_id, after=first.batch_index)

        assert b"".join(item.message_bytes for batch in (first, *rest) for item in batch.items) == b"one two three"

    async def test_a_repeated_input_is_written_where_it_was(self, desk):
        exec_id = await self.exec_id(desk)
        for index, message in ((1, b"one "), (1, b"one "), (2, b"two "), (1, b"one "), (3, b"three")):
            await self.put(desk, exec_id, index, message)
        await self.put(desk, exec_id, 4, b"", eof=True)

        assert (desk.worker.input, desk.worker.closed) == (b"one two three", True)

    async def test_the_end_is_waited_for_as_long_as_they_say(self, desk):
        exec_id = await self.exec_id(desk)
        polled = await desk.older.ContainerExecWait(api_pb2.ContainerExecWaitRequest(exec_id=exec_id), CLIENT)
        waited = await desk.older.ContainerExecWait(api_pb2.ContainerExecWaitRequest(exec_id=exec_id, timeout=10), CLIENT)

        assert not polled.completed
        assert (waited.completed, waited.exit_code) == (True, 3)

    async def test_containers_may_not(self, desk):
        with pytest.raises(PermissionDenied):
            await desk.older.ContainerExec(api_pb2.ContainerExecRequest(task_id="ta-1", command=["true"]), Caller(task_id="ta-1"))

    async def test_an_id_that_is_none_of_ours_is_not_found(self, desk):
        with pytest.raises(NotFound, match="No command ex-1"):
            await self.put(desk, "ex-1", 1, b"")
