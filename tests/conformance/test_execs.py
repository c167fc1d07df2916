"""Commands in running containers, by the client's own commands and classes."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from modal._utils.async_utils import synchronizer
from modal.client import _Client
from modal.container_process import _ContainerProcess
from modal.sandbox._sandbox import v1_command_router_access_fetcher
from modal.sandbox._task_command_router_client import TaskCommandRouterClient
from modal_proto import task_command_router_pb2 as router_pb2

from conformance.deployment import Deployment, deployed
from conformance.engine import Engine
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


_start = synchronizer.create_blocking(_started, "_start", target_module=__name__)


def run(task_id: str, *argv: str, text: bool = True, **wish: Any) -> Any:
    return _start(task_id, list(argv), wish, text)


class TestCommandLine:
    def test_output_of_both_kinds_is_printed(self, engine: Engine, container: str) -> None:
        finished = engine.modal("container", "exec", "--no-pty", container, "--", "sh", "-c", "echo one; echo two >&2").succeeded()

        assert sorted(finished.output.split()) == ["one", "two"]


class TestProcess:
    def test_status_and_both_outputs(self, container: str) -> None:
        process = run(container, "sh", "-c", "echo one; echo two >&2; exit 3")

        assert process.wait() == 3
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
