"""How containers end: exit hooks run on every end in good order, and what stays too long is killed."""

import json
import os
import signal
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import modal
import pytest

from conformance.conftest import SETTINGS
from conformance.deployment import Deployment, deploy, deployed, versioned
from conformance.engine import APPS, Engine
from conformance.waiting import eventually

HOOKS = ["said by the exit hook", "said at exit of the interpreter"]
GRACE = 30  # seconds, after which a container is killed


@pytest.fixture
def app(engine: Engine) -> Iterator[Deployment]:
    with deployed(engine, "ends.py") as app:
        yield app


def work(app: Deployment, name: str = "Staying") -> modal.Function:
    return app.cls(name)().work


def idle(app: Deployment) -> str:
    """A container that waits for inputs."""
    return work(app).remote()


def busy(app: Deployment, seconds: float = 60) -> tuple[str, modal.FunctionCall]:
    """A container that runs an input, and its call."""
    container = idle(app)
    call = work(app).spawn(seconds)
    running(work(app), 1)
    return container, call


def running(function: modal.Function, count: int) -> None:
    eventually(lambda: function.get_current_stats().num_running_inputs == count, within=60, what=f"{count} inputs running")


def log_of(app: Deployment, container: str) -> str:
    return app.engine.modal("container", "logs", container).succeeded().output


def gone(app: Deployment, container: str, within: float = 60) -> None:
    eventually(lambda: container not in [task.task_id for task in app.containers()], within=within, what="The end of the container")


def left_in_order(app: Deployment, container: str, words: list[str] = HOOKS) -> None:
    gone(app, container)
    eventually(lambda: all(line in log_of(app, container) for line in words), within=60, what=f"{words} in its log")


def by_scaling_down(app: Deployment, _tmp: Path) -> str:
    return work(app, "Brief").remote()


def by_a_rolling_redeploy(app: Deployment, tmp: Path) -> str:
    container = idle(app)
    deploy(app.engine, versioned("ends.py", tmp, VERSION=2))
    return container


def by_recreating(app: Deployment, tmp: Path) -> str:
    container, call = busy(app)
    script = versioned("ends.py", tmp, VERSION=2)
    app.engine.modal("deploy", "--name", app.name, "--strategy", "recreate", script).succeeded()
    call.cancel()
    return container


def by_a_rollover(app: Deployment, _tmp: Path) -> str:
    container = idle(app)
    app.engine.modal("app", "rollover", app.name).succeeded()
    return container


def by_stopping_the_app(app: Deployment, _tmp: Path) -> str:
    container = idle(app)
    app.engine.modal("app", "stop", "--yes", app.name).succeeded()
    return container


def by_stopping_the_app_while_it_works(app: Deployment, _tmp: Path) -> str:
    container, _ = busy(app)
    app.engine.modal("app", "stop", "--yes", app.name).succeeded()
    return container


def by_stopping_the_container(app: Deployment, _tmp: Path) -> str:
    container = idle(app)
    app.engine.modal("container", "stop", "--yes", container).succeeded()
    return container


def by_stopping_it_while_it_works(app: Deployment, _tmp: Path) -> str:
    container, call = busy(app)
    app.engine.modal("container", "stop", "--yes", container).succeeded()
    gone(app, container)
    call.cancel()
    return container


def by_stopping_it_gracefully(app: Deployment, _tmp: Path) -> str:
    container, call = busy(app, seconds=5)
    app.engine.modal("container", "stop", "--graceful", "--yes", container).succeeded()
    assert call.get(timeout=60) == container, "the input that it ran has finished there"
    return container


def by_fetching_no_more(app: Deployment, _tmp: Path) -> str:
    return app.cls("Staying")().last_input.remote()


def by_single_use(app: Deployment, _tmp: Path) -> str:
    return work(app, "Once").remote()


def by_the_end_of_the_engine(app: Deployment, _tmp: Path) -> str:
    container = idle(app)
    app.engine.stop().succeeded()
    app.engine.start()
    return container


def by_the_end_of_the_engine_while_it_works(app: Deployment, _tmp: Path) -> str:
    container, call = busy(app)
    app.engine.stop().succeeded()
    app.engine.start()
    call.cancel()
    return container


ENDS = [
    by_scaling_down,
    by_a_rolling_redeploy,
    by_recreating,
    by_a_rollover,
    by_stopping_the_app,
    by_stopping_the_app_while_it_works,
    by_stopping_the_container,
    by_stopping_it_while_it_works,
    by_stopping_it_gracefully,
    by_fetching_no_more,
    by_single_use,
    by_the_end_of_the_engine,
    by_the_end_of_the_engine_while_it_works,
]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_exit_hooks_run_when_a_container_ends(app: Deployment, tmp_path: Path, end: Callable[[Deployment, Path], str]) -> None:
    left_in_order(app, end(app, tmp_path))


def test_they_run_when_modal_run_is_done(engine: Engine) -> None:
    ran = engine.modal("run", f"{APPS / 'ends.py'}::Staying.work").succeeded()

    assert all(line in ran.output for line in HOOKS)


def test_they_run_when_modal_run_is_interrupted(engine: Engine) -> None:
    with engine.start_modal("run", f"{APPS / 'ends.py'}::Staying.work", "--seconds", "600") as command:
        command.line("at work")

        command.interrupt(signal.SIGINT)
        command.wait(within=60)

        assert all(line in command.output for line in HOOKS)


class TestOtherFarewells:
    def test_async_code_is_let_finish_its_hook(self, app: Deployment) -> None:
        container = work(app, "Async").remote()
        calls = [work(app, "Async").spawn(60) for _ in range(3)]
        running(work(app, "Async"), 3)

        app.engine.modal("container", "stop", "--yes", container).succeeded()

        left_in_order(app, container, HOOKS[:1])
        running(work(app, "Async"), 3)  # on another one
        for call in calls:
            call.cancel()

    def test_a_generator_is_closed(self, app: Deployment) -> None:
        numbers = app.function("counting").remote_gen()
        assert next(numbers) == 0
        [container] = [task.task_id for task in app.containers()]

        app.engine.modal("app", "stop", "--yes", app.name).succeeded()

        left_in_order(app, container, ["said by the generator"])

    def test_a_lifespan_is_shut_down(self, app: Deployment) -> None:
        host = urllib.parse.urlsplit(app.function("site").get_web_url()).netloc
        with urllib.request.urlopen(urllib.request.Request(app.engine.gateway_url, headers={"Host": host}), timeout=60) as response:
            container = response.read().decode()

        app.engine.modal("container", "stop", "--yes", container).succeeded()

        left_in_order(app, container, ["said by the lifespan"])


@pytest.mark.long(reason="the grace is half a minute")
def test_what_does_not_leave_in_its_grace_is_killed(app: Deployment) -> None:
    app.function("deaf").spawn(600)
    stubborn = work(app, "Stubborn").remote()
    [deaf] = [task.task_id for task in app.containers() if task.task_id != stubborn]
    eventually(lambda: "hears nothing" in log_of(app, deaf), within=60, what="A container that ignores signals")
    stopped_at = time.monotonic()
    for container in (stubborn, deaf):
        app.engine.modal("container", "stop", "--yes", container).succeeded()

    for container in (stubborn, deaf):
        gone(app, container, within=GRACE + 30)

    assert time.monotonic() - stopped_at > GRACE - 5, "they had their grace"
    assert "an exit hook that does not end" in log_of(app, stubborn)
    eventually(lambda: not processes_of(stubborn) + processes_of(deaf), within=60, what="No process left of either")


class TestFetchingNoMore:
    def test_a_new_container_takes_the_next_input(self, app: Deployment) -> None:
        first = app.cls("Staying")().last_input.remote()

        assert app.cls("Staying")().last_input.remote() != first

    def test_inputs_that_wait_get_containers_of_their_own(self, app: Deployment) -> None:
        calls = [app.cls("Staying")().last_input.spawn() for _ in range(4)]

        assert len({call.get(timeout=60) for call in calls}) == 4


class TestSingleUse:
    def test_each_input_has_a_container_of_its_own(self, app: Deployment) -> None:
        assert len(set(work(app, "Once").map([0.2] * 5))) == 5

    def test_with_concurrency_too(self, app: Deployment) -> None:
        assert len(set(work(app, "OnceOfMany").map([0.2] * 4))) == 4

    def test_each_batch_has_one_when_batched(self, app: Deployment) -> None:
        answers = list(app.function("batched_once").map(range(6)))

        containers = {answer.split()[0] for answer in answers}
        sizes = {answer.split()[0]: int(answer.split()[1]) for answer in answers}
        assert sum(sizes.values()) == 6, "one batch for each container"
        assert len(containers) == len(sizes) >= 2

    def test_max_inputs_is_its_older_name(self, engine: Engine, tmp_path: Path) -> None:
        script = tmp_path / "older.py"
        script.write_text(
            "import os, modal\n"
            "app = modal.App('older')\n"
            "@app.function(max_inputs=1)\n"
            "def where(x: int) -> str:\n"
            "    return os.environ['MODAL_TASK_ID']\n"
        )
        with deployed(engine, script) as app:
            assert len(set(app.function("where").map(range(3)))) == 3


class TestSilence:
    @pytest.mark.long(reason="containers have most of a minute to be heard from")
    def test_a_frozen_container_is_killed_and_its_input_runs_elsewhere(self, app: Deployment) -> None:
        function = app.function("sleepy")
        frozen = function.remote(0)
        call = function.spawn(5)
        running(function, 1)

        for process in processes_of(frozen):
            os.kill(process, signal.SIGSTOP)

        limit = float(SETTINGS["heartbeat_timeout"])
        gone(app, frozen, within=limit + 30)
        assert call.get(timeout=60) != frozen

    @pytest.mark.long(reason="the engine waits a minute for a client to be heard from")
    def test_an_app_whose_client_was_killed_ends_with_what_it_runs(self, engine: Engine) -> None:
        with engine.start_modal("run", "--name", "orphan", f"{APPS / 'ends.py'}::sleepy", "--seconds", "600") as command:
            eventually(lambda: _ephemeral(engine, "orphan"), within=60, what="The app running")
            [app_id] = _ephemeral(engine, "orphan")
            eventually(lambda: _tasks(engine, app_id), within=60, what="Its container")
            command.interrupt(signal.SIGKILL)

        eventually(lambda: not _ephemeral(engine, "orphan"), within=90, what="The end of the app, a minute later")
        eventually(lambda: not _tasks(engine, app_id), within=60, what="The end of its container")


def processes_of(container: str) -> list[int]:
    """The container's processes on this machine, by the variable that every one of them has."""
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*") if f"MODAL_TASK_ID={container}" in _environment(folder)]


def _environment(process: Path) -> list[str]:
    try:
        return (process / "environ").read_text(errors="replace").split("\0")
    except OSError:  # it has ended
        return []


def _ephemeral(engine: Engine, description: str) -> list[str]:
    apps = json.loads(engine.modal("app", "list", "--json").succeeded().output)
    return [app["app_id"] for app in apps if app["description"] == description and app["state"] == "ephemeral"]


def _tasks(engine: Engine, app_id: str) -> list[dict[str, str]]:
    return json.loads(engine.modal("container", "list", "--app-id", app_id, "--json").succeeded().output)
