"""What a container is kept from, what it may use, and how its end is told."""

import json
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import grpc
import modal
import pytest
from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from conformance.conftest import SETTINGS
from conformance.deployment import Deployment, deployed
from conformance.engine import Engine
from conformance.waiting import eventually

# Numbers of capabilities with which root inside could become root outside.
DANGEROUS = {
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_MODULE": 16,
    "CAP_SYS_RAWIO": 17,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_BOOT": 22,
    "CAP_SYS_TIME": 25,
    "CAP_MAC_ADMIN": 33,
    "CAP_BPF": 39,
}


@pytest.fixture(scope="module")
def app(engine: Engine) -> Iterator[Deployment]:
    with deployed(engine, "containers.py") as app:
        yield app


@pytest.fixture(scope="module")
def facts(app: Deployment) -> dict:
    return app.function("facts").remote()


class TestIsolation:
    def test_files_of_the_machine_cannot_be_seen(self, app: Deployment, tmp_path) -> None:
        treasure = tmp_path / "treasure"
        treasure.write_text("of this machine")

        assert app.function("exists").remote(str(treasure), str(app.engine.home), "/root/app_modal.py") == [False] * 3

    def test_processes_of_the_machine_cannot_be_seen(self, facts: dict) -> None:
        assert 1 in facts["pids"]
        assert len(facts["pids"]) < 10

    def test_no_privileges_can_be_gained(self, facts: dict) -> None:
        assert facts["status"]["NoNewPrivs"] == "1"

    def test_system_calls_are_filtered(self, facts: dict) -> None:
        assert facts["status"]["Seccomp"] == "2"

    @pytest.mark.parametrize("name", DANGEROUS)
    @pytest.mark.parametrize("kind", ["CapEff", "CapPrm", "CapBnd", "CapInh"])
    def test_dangerous_capabilities_are_dropped(self, facts: dict, kind: str, name: str) -> None:
        assert not int(facts["status"][kind], 16) >> DANGEROUS[name] & 1

    def test_the_machines_environment_stays_outside(self, facts: dict) -> None:
        assert not [name for name in facts["environment"] if name.startswith("FREEHOLD_")]
        assert "MODAL_TOKEN_SECRET" not in facts["environment"]

    def test_it_has_a_name_of_its_own(self, facts: dict) -> None:
        assert facts["hostname"] != socket.gethostname()

    def test_what_one_container_writes_no_other_sees(self, app: Deployment) -> None:
        leave_a_mark = app.function("leave_a_mark")

        assert [leave_a_mark.remote() for _ in range(2)] == [False, False]


class TestNetwork:
    def test_it_has_a_way_out_by_default(self, app: Deployment, facts: dict) -> None:
        assert facts["interfaces"] == ["eth0", "lo"]
        assert app.function("name_server_answers").remote()

    def test_block_network_leaves_only_loopback(self, app: Deployment) -> None:
        assert app.function("network_when_blocked").remote() == (["lo"], False)

    def test_services_of_the_machine_cannot_be_reached(self, app: Deployment, facts: dict) -> None:
        with _listener() as port:
            for address in (facts["gateway"], _own_address()):
                assert not app.function("can_connect").remote(address, port), f"the machine answers at {address}"


class TestLimits:
    def test_memory_above_the_limit_kills_and_says_so(self, app: Deployment) -> None:
        with pytest.raises(modal.exception.Error, match=r"(?i)out of memory"):
            app.function("use_memory").remote(700)

        assert app.function("use_memory").remote(20) == 20, "a new container takes the next input"

    def test_a_share_of_the_cpu_is_a_share(self, app: Deployment) -> None:
        assert app.function("cpu_share").remote(2) < 0.7

    def test_processes_and_threads_are_bounded(self, app: Deployment) -> None:
        assert 50 < app.function("start_threads").remote(2000) < int(SETTINGS["pids_limit"])


class TestEnds:
    def test_a_crash_tells_its_status_and_last_words(self, app: Deployment) -> None:
        with pytest.raises(modal.exception.Error, match=r"code 3\b") as caught:
            app.function("crash").remote(3)

        assert "about to fall" in str(caught.value)
        assert "memory" not in str(caught.value)

    def test_a_fatal_signal_is_told_too(self, app: Deployment) -> None:
        with pytest.raises(modal.exception.Error, match=str(128 + signal.SIGSEGV)):
            app.function("die_of").remote(int(signal.SIGSEGV))

    def test_a_container_that_dies_at_its_start_fails_its_inputs_with_its_last_words(self, app: Deployment) -> None:
        with pytest.raises(modal.exception.Error, match="the cellar is flooded"):
            app.function("never_starts").remote()

    def test_and_it_is_not_started_over_and_over(self, app: Deployment) -> None:
        with pytest.raises(modal.exception.Error):
            app.function("never_starts").spawn().get(timeout=120)

        starts = app.logs().count("the cellar is flooded")
        assert 1 <= starts <= 10

    def test_an_import_that_fails_is_told_with_its_traceback(self, app: Deployment) -> None:
        with pytest.raises(Exception, match="a_module_that_is_nowhere"):
            app.function("broken_import").remote()

    def test_a_container_of_the_past_is_refused(self, app: Deployment) -> None:
        facts = app.function("facts").remote()
        headers = dict(pair.split(":", 1) for pair in facts["environment"]["MODAL_OVERRIDE_HEADERS"].split(","))
        metadata = {**{name.lower(): value for name, value in headers.items()}, "x-modal-client-type": "3"}
        app.engine.call("ContainerHello", Empty(), metadata=metadata)  # it lives

        app.engine.modal("container", "stop", "--yes", facts["environment"]["MODAL_TASK_ID"]).succeeded()

        eventually(lambda: _is_refused(app.engine, metadata), within=60, what="The token being refused")

    def test_a_restricted_function_does_its_work_and_nothing_else(self, app: Deployment) -> None:
        size = 3 * 1024 * 1024  # travels as a blob

        answer, refusals = app.function("restricted").remote(size)

        assert len(answer) == size
        assert refusals == ["PermissionDeniedError"] * 3
        assert list(app.function("restricted_count").remote_gen(3)) == [0, 1, 2]

    def test_a_token_of_another_task_is_refused(self, app: Deployment, facts: dict) -> None:
        metadata = {"x-task": "ta-" + "0" * 22, "x-task-token": "made up", "x-modal-client-type": "3"}

        assert _is_refused(app.engine, metadata)

    def test_a_model_lies_where_the_app_says(self, app: Deployment) -> None:
        assert app.function("model_kind").remote() == "a small model"


class TestCommands:
    def test_container_list_and_logs_show_what_runs(self, app: Deployment) -> None:
        container = app.function("where").remote()

        assert container in app.engine.modal("container", "list", "--json").succeeded().output
        app.engine.modal("container", "logs", container).succeeded()

    def test_container_list_tells_app_and_start_and_keeps_to_an_environment(self, app: Deployment) -> None:
        container = app.function("where").remote()
        app.engine.call("EnvironmentGetOrCreate", api_pb2.EnvironmentGetOrCreateRequest(deployment_name="empty", object_creation_type=1))

        listed = json.loads(app.engine.modal("container", "list", "--json").succeeded().output)
        [row] = [row for row in listed if row["container_id"] == container]

        assert (row["app_id"], row["app_name"]) == (app.app_id, "containers")
        started = datetime.fromisoformat(row["start_time"])
        assert abs((datetime.now(UTC) - started).total_seconds()) < 600
        assert json.loads(app.engine.modal("container", "list", "--json", "--env", "empty").succeeded().output) == []

    def test_a_container_that_was_stopped_is_not_stopped_again(self, app: Deployment) -> None:
        container = app.function("where").remote()
        app.engine.modal("container", "stop", "--yes", container).succeeded()
        eventually(lambda: container not in [task.task_id for task in app.containers()], within=60, what="Its end")

        again = app.engine.modal("container", "stop", "--yes", container)

        assert again.code != 0
        assert "already stopped" in again.output

    @pytest.mark.parametrize("command", ["stop", "logs"])
    def test_a_container_that_never_was_is_told_to_be_none(self, app: Deployment, command: str) -> None:
        options = ("--yes",) if command == "stop" else ()
        refused = app.engine.modal("container", command, *options, "ta-" + "0" * 22)

        assert refused.code != 0
        assert "ta-" + "0" * 22 in refused.output

    def test_a_stopped_input_runs_again_and_costs_no_retry(self, app: Deployment) -> None:
        where = app.function("where")
        container = where.remote()
        call = where.spawn(60, container)
        eventually(lambda: where.get_current_stats().num_running_inputs == 1, within=60, what="It running")

        app.engine.call("ContainerStop", api_pb2.ContainerStopRequest(task_id=container))

        assert call.get(timeout=60) not in ("", container)


def _is_refused(engine: Engine, metadata: dict[str, str]) -> bool:
    try:
        engine.call("ContainerHello", Empty(), metadata=metadata)
    except grpc.RpcError as error:
        return error.code() is grpc.StatusCode.UNAUTHENTICATED
    return False


@contextmanager
def _listener() -> Iterator[int]:
    """A service of this machine, on all of its addresses."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        threading.Thread(target=_accept, args=(server,), daemon=True).start()
        yield server.getsockname()[1]


def _accept(server: socket.socket) -> None:
    try:
        while True:
            server.accept()[0].close()
    except OSError:  # closed by the test
        pass


def _own_address() -> str:
    """The address that others on the network know this machine by. Connecting a datagram socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
