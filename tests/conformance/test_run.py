"""`modal run`: an app that lives as long as the command does."""

import json
import signal
import uuid

from modal_proto import api_pb2

from conformance.engine import APPS, Engine
from conformance.waiting import eventually

RUN = APPS / "run.py"


def test_a_function_gets_its_arguments_from_the_command_line(engine: Engine, tmp_path) -> None:
    result = tmp_path / "result.txt"

    ran = engine.modal("run", "--write-result", result, f"{RUN}::cube", "--x", "3").succeeded()

    assert "cubing 3" in ran.output
    assert result.read_text() == "27"


def test_what_a_container_writes_to_stderr_is_shown_too(engine: Engine) -> None:
    ran = engine.modal("run", f"{RUN}::cube", "--x", "1").succeeded()

    assert "this goes to stderr" in ran.output


def test_no_line_of_a_long_log_is_lost_or_out_of_order(engine: Engine) -> None:
    ran = engine.modal("run", f"{RUN}::talk_much", "--lines", "3000").succeeded()

    seen = [line for line in ran.output.splitlines() if line.endswith("of many")]
    assert seen == [f"line {number} of many" for number in range(3000)]


def test_a_failing_function_makes_the_command_fail(engine: Engine) -> None:
    ran = engine.modal("run", f"{RUN}::fail")

    assert ran.code == 1
    assert "ValueError" in ran.output
    assert "wrong on purpose" in ran.output


def test_a_local_entrypoint_runs_here_and_calls_functions_there(engine: Engine) -> None:
    ran = engine.modal("run", RUN, "--x", "4").succeeded()

    assert "here on the ground, x is 4" in ran.output
    assert "the cube is 64" in ran.output


def test_a_method_of_a_class_runs_with_its_parameters(engine: Engine) -> None:
    ran = engine.modal("run", f"{RUN}::Greeter.greet", "--greeting", "Salut", "--name", "Ada").succeeded()

    assert "Salut, Ada!" in ran.output


def test_the_app_stops_with_the_command(engine: Engine) -> None:
    engine.modal("run", "--name", "short-lived", f"{RUN}::cube", "--x", "2").succeeded()

    assert _states(engine, "short-lived") == {"stopped"}


def test_logs_are_streamed_and_an_interrupted_command_stops_its_app_and_containers(engine: Engine) -> None:
    with engine.start_modal("run", "--name", "interrupted", f"{RUN}::sleep", "--seconds", "600") as running:
        running.line("asleep")  # while the function runs

        running.interrupt(signal.SIGINT)
        running.wait(within=60)

    eventually(lambda: _states(engine, "interrupted") == {"stopped"}, within=60, what="The app being stopped")
    eventually(lambda: not _containers(engine, "interrupted"), within=60, what="Its container being gone")


def test_a_detached_run_gives_its_result_as_well(engine: Engine, tmp_path) -> None:
    result = tmp_path / "result.txt"

    ran = engine.modal("run", "--detach", "--name", "detached", "--write-result", result, f"{RUN}::cube", "--x", "5").succeeded()

    assert result.read_text() == "125"
    assert "Timed out" not in ran.output


def test_a_detached_app_lives_until_its_work_is_done(engine: Engine) -> None:
    name = f"left-alone-{uuid.uuid4().hex[:8]}"  # the home may know the app of an earlier run
    with engine.start_modal("run", "--detach", "--name", name, f"{RUN}::sleep", "--seconds", "600") as running:
        running.line("asleep")
        running.interrupt(signal.SIGINT)
        running.wait(within=60)
    assert _states(engine, name) == {"ephemeral (detached)"}

    _end_work(engine, name)

    eventually(lambda: _states(engine, name) == {"stopped"}, within=60, what="The end of an app that has nothing to do")


def _end_work(engine: Engine, description: str) -> None:
    [app_id] = [app.app_id for app in engine.call("AppList", api_pb2.AppListRequest()).apps if app.description == description]
    function_id = engine.call("AppGetLayout", api_pb2.AppGetLayoutRequest(app_id=app_id)).app_layout.function_ids["sleep"]
    [call] = engine.call("FunctionCallList", api_pb2.FunctionCallListRequest(function_id=function_id)).function_calls
    engine.call("FunctionCallCancel", api_pb2.FunctionCallCancelRequest(function_call_id=call.function_call_id))


def _states(engine: Engine, description: str) -> set[str]:
    apps = json.loads(engine.modal("app", "list", "--json").succeeded().output)
    return {app["state"] for app in apps if app["description"] == description}


def _containers(engine: Engine, app_name: str) -> list[dict[str, str]]:
    containers = json.loads(engine.modal("container", "list", "--json").succeeded().output)
    return [container for container in containers if container["app_name"] == app_name]
