"""Commands in running containers, by the client's own commands and classes."""

import hashlib
import io
import json
import os
import random
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from modal._utils.async_utils import synchronizer
from modal.client import _Client
from modal.container_process import _ContainerProcess
from modal.sandbox._sandbox import v1_command_router_access_fetcher
from modal.sandbox._task_command_router_client import TaskCommandRouterClient
from modal_proto import api_pb2
from modal_proto import task_command_router_pb2 as router_pb2
from modal_proto.task_command_router_pb2_grpc import TaskCommandRouterStub

from conformance.deployment import Deployment, deployed
from conformance.engine import Engine
from conformance.screens import Screen
from conformance.waiting import eventually

KINDS = ["forked", "plain"]


@pytest.fixture(scope="module")
def app(engine: Engine) -> Iterator[Deployment]:
    with deployed(engine, "execs.py") as app:
        yield app


@pytest.fixture(scope="module")
def seen(app: Deployment) -> Callable[[str], dict[str, Any]]:
    """What the function of a container sees, by its kind."""
    found: dict[str, dict[str, Any]] = {}

    def look(kind: str) -> dict[str, Any]:
        if kind not in found:
            found[kind] = eventually(lambda: _of_kind(app, kind), within=120, what=f"A container that is {kind}")
        return found[kind]

    return look


def _of_kind(app: Deployment, kind: str) -> dict[str, Any] | None:
    seen: dict[str, Any] = app.function(kind).remote()
    story = str(app.engine.story(seen["container"]))
    if ("'start': 'forked" in story) == (kind == "forked"):
        return seen
    app.rest()
    return None


@pytest.fixture(params=KINDS)
def container(request: pytest.FixtureRequest, seen: Callable[[str], dict[str, Any]]) -> str:
    return str(seen(request.param)["container"])


@pytest.fixture
def forked(seen: Callable[[str], dict[str, Any]]) -> str:
    return str(seen("forked")["container"])


async def _started(task_id: str, argv: list[str], wish: dict[str, Any], text: bool) -> _ContainerProcess[Any]:
    """As `modal container exec` does it, with all that the protocol lets a client wish for."""
    client = await _Client.from_env()
    router = await TaskCommandRouterClient.connect(client, task_id, v1_command_router_access_fetcher(client, task_id))
    exec_id = str(uuid.uuid4())
    await router.exec_start(
        router_pb2.TaskExecStartRequest(
            task_id=task_id,
            exec_id=exec_id,
            command_args=argv,
            **{
                "stdout_config": router_pb2.TASK_EXEC_STDOUT_CONFIG_PIPE,
                "stderr_config": router_pb2.TASK_EXEC_STDERR_CONFIG_PIPE,
                **wish,
            },
        )
    )
    return _ContainerProcess(exec_id, task_id, client, command_router_client=router, text=text)


class Breaking(io.BytesIO):
    """A file that cannot be read beyond its middle at first."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > len(self.getvalue()) // 2 and not hasattr(self, "broke"):
            self.broke = True
            msg = "the disk has gone away for a moment"
            raise OSError(msg)
        return super().read(size)


async def _streamed(process: Any, source: io.BytesIO) -> int:
    return int(await synchronizer._translate_in(process)._stdin_write_stream(source))


async def _read_again(process: Any, offset: int) -> bytes:
    found = synchronizer._translate_in(process)
    read = found._command_router_client.exec_stdio_read(
        found._task_id, found._process_id, api_pb2.FILE_DESCRIPTOR_STDOUT, start_offset=offset
    )
    return b"".join([item.data async for item in read])


_start = synchronizer.create_blocking(_started, "_start", target_module=__name__)
stream_in = synchronizer.create_blocking(_streamed, "stream_in", target_module=__name__)
read_from = synchronizer.create_blocking(_read_again, "read_from", target_module=__name__)


def run(task_id: str, *argv: str, text: bool = True, **wish: Any) -> Any:
    return _start(task_id, list(argv), wish, text)


class TestCommandLine:
    def test_output_of_both_kinds_is_printed(self, engine: Engine, container: str) -> None:
        finished = engine.modal("container", "exec", "--no-pty", container, "--", "sh", "-c", "echo one; echo two >&2").succeeded()

        assert sorted(finished.output.split()) == ["one", "two"]

    def test_large_output_is_printed_to_its_end(self, engine: Engine, forked: str) -> None:
        finished = engine.modal("container", "exec", "--no-pty", forked, "--", "seq", "200000").succeeded()

        assert finished.output.split() == [str(number) for number in range(1, 200_001)]

    def test_what_is_no_program_is_told(self, engine: Engine, container: str) -> None:
        finished = engine.modal("container", "exec", "--no-pty", container, "no-such-program")

        assert '"no-such-program": executable file not found' in finished.output

    def test_what_is_no_running_container_is_told(self, engine: Engine) -> None:
        finished = engine.modal("container", "exec", "--no-pty", "ta-" + 22 * "0", "true")

        assert finished.code != 0
        assert f"No running container ta-{22 * '0'}" in finished.output


class TestTerminal:
    def test_a_shell_in_it_is_as_at_home(self, engine: Engine, container: str) -> None:
        with Screen(engine, "container", "exec", "--pty", container, "bash", rows=33, columns=111) as screen:
            screen.type("stty size; tty; echo $TERM\n")
            screen.shows("33 111\r\n/dev/pts/0\r\nxterm-test\r\n")
            screen.type("echo begun; sleep 1000\n")
            screen.shows("\r\nbegun\r\n")
            screen.type("\x03")
            screen.shows("^C")
            screen.shows("# ")
            screen.type("echo status $?\n")
            screen.shows("status 130\r\n")
            screen.type("exit\n")
            assert screen.ended() == 0

    def test_modal_shell_attaches_to_a_container(self, engine: Engine, forked: str) -> None:
        with Screen(engine, "shell", forked) as screen:
            screen.type("echo in $MODAL_TASK_ID\n")
            screen.shows(f"in {forked}")
            screen.type("\x04")
            assert screen.ended() == 0


class TestProcess:
    def test_status_and_both_outputs(self, container: str) -> None:
        process = run(container, "sh", "-c", "echo one; echo two >&2; exit 3")

        assert process.wait() == 3
        assert process.poll() == 3
        assert (process.stdout.read(), process.stderr.read()) == ("one\n", "two\n")

    def test_input(self, container: str) -> None:
        process = run(container, "sh", "-c", "read line; echo got $line; cat")

        process.stdin.write(b"this\n")
        process.stdin.drain()
        process.stdin.write(b"and that\n")
        process.stdin.write_eof()
        process.stdin.drain()

        assert process.stdout.read() == "got this\nand that\n"
        assert process.wait() == 0

    def test_a_stream_of_input_goes_on_where_it_broke(self, forked: str) -> None:
        data = os.urandom(3_000_000)
        process = run(forked, "sha256sum")

        assert stream_in(process, Breaking(data)) == len(data)

        assert process.stdout.read().split()[0] == hashlib.sha256(data).hexdigest()

    def test_ten_megabytes_arrive_whole(self, container: str) -> None:
        script = "import random, sys; random.seed(7); sys.stdout.buffer.write(random.randbytes(10_000_000))"
        process = run(container, "python", "-c", script, text=False)
        assert process.stdout.read() == random.Random(7).randbytes(10_000_000)
        assert process.wait() == 0

    def test_what_was_read_can_be_read_again(self, forked: str) -> None:
        """As by a client that lost its connection."""
        process = run(forked, "echo", "hello")
        assert process.stdout.read() == "hello\n"

        assert read_from(process, 2) == b"llo\n"

    def test_a_timeout_kills_it(self, forked: str) -> None:
        process = run(forked, "sh", "-c", "sleep 1000 & wait", timeout_secs=1)

        assert process.wait() == 128 + signal.SIGKILL
        assert "timeout of 1 s" in process.stderr.read()

    def test_what_it_is_given_it_has(self, forked: str) -> None:
        process = run(forked, "sh", "-c", "pwd; echo $A $OF_THE_IMAGE", workdir="/tmp", env={"A": "its own"})

        assert process.stdout.read() == "/tmp\nits own 1\n"


def test_it_finds_what_the_function_finds(seen: Callable[[str], dict[str, Any]], container: str) -> None:
    function = next(each for each in map(seen, KINDS) if each["container"] == container)

    command = json.loads(run(container, "python", "-c", "import execs; print(execs.look_in_json())").stdout.read())

    for name in ("folder", "namespaces", "status", "files"):
        assert command[name] == function[name], name
    of_the_task_alone = {"MODAL_CONTAINER_ARGUMENTS_PATH", "MODAL_OVERRIDE_HEADERS", "MODAL_SERVER_URL"}
    assert not of_the_task_alone & set(command["environment"])
    for name in ("OF_THE_IMAGE", "OF_A_SECRET", "MODAL_TASK_ID", "MODAL_ENVIRONMENT", "PATH", "HOME", "PYTHONPATH"):
        assert command["environment"][name] == function["environment"][name], name


def test_the_story_of_the_container_names_who_ran_what_and_how_it_ended(engine: Engine, forked: str) -> None:
    assert run(forked, "sh", "-c", "exit 7", env={"A": "treasure"}).wait() == 7

    events = eventually(lambda: [e for e in engine.story(forked)["events"] if "exec" in e["kind"]][-2:], within=30, what="Its events")

    assert [event["kind"] for event in events] == ["exec_started", "exec_ended"]
    assert events[0]["command"] == "sh -c 'exit 7'"
    assert engine.credentials["MODAL_TOKEN_ID"] in events[0]["cause"]
    assert events[1]["code"] == "7"
    assert "treasure" not in str(events)


class TestWho:
    def test_a_pass_is_good_for_its_container_alone(self, engine: Engine, seen: Callable[[str], dict[str, Any]]) -> None:
        one, other = (str(seen(kind)["container"]) for kind in KINDS)
        access = engine.call("TaskGetCommandRouterAccess", api_pb2.TaskGetCommandRouterAccessRequest(task_id=one))
        request = router_pb2.TaskExecStartRequest(task_id=other, exec_id="mine", command_args=["true"])

        assert refusal(engine, request, access.jwt) is grpc.StatusCode.PERMISSION_DENIED
        assert refusal(engine, request, access.jwt[:-2]) is grpc.StatusCode.UNAUTHENTICATED
        assert refusal(engine, request, "") is grpc.StatusCode.UNAUTHENTICATED


class TestEnds:
    """Of the container, or of the engine, under a command. They come last, for they take the container with them."""

    def test_the_next_engine_ends_what_nobody_can_reach_any_more(self, engine: Engine, forked: str) -> None:
        run(forked, "sleep", "54321")
        eventually(lambda: processes("sleep", "54321"), within=30, what="A command that runs")

        engine.kill_engine()
        engine.await_answer()

        eventually(lambda: not processes("sleep", "54321"), within=60, what="An end of what was executed")
        assert run(forked, "echo", "again").stdout.read() == "again\n", "the container goes on"

    def test_a_container_that_is_stopped_takes_its_commands_with_it(self, engine: Engine, forked: str) -> None:
        process = run(forked, "sleep", "54321")

        engine.modal("container", "stop", "--yes", forked).succeeded()

        assert process.wait() == 128 + signal.SIGKILL
        assert "Its container has ended" in process.stderr.read()
        assert "No running container" in engine.modal("container", "exec", "--no-pty", forked, "true").output


def refusal(engine: Engine, request: router_pb2.TaskExecStartRequest, shown: str) -> grpc.StatusCode | None:
    with grpc.insecure_channel(f"127.0.0.1:{engine.control_port}") as channel, pytest.raises(grpc.RpcError) as caught:
        TaskCommandRouterStub(channel).TaskExecStart(request, metadata=(("authorization", f"Bearer {shown}"),), timeout=30)
    return caught.value.code()


def processes(*argv: str) -> list[Path]:
    wanted = "\0".join(argv) + "\0"
    return [path for path in Path("/proc").glob("[0-9]*/cmdline") if _text(path) == wanted]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended
        return ""
