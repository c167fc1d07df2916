"""Clients that are killed, and clients that wait while the engine is."""

import re
import threading
import time
from typing import Any

import grpc
import pytest
from conformance.waiting import Running, eventually
from modal._serialization import serialize
from modal_proto import api_pb2

from faults.conftest import APPS
from faults.database import reading
from faults.workload import Workload


def accepted_by(loop: Running) -> dict[str, str]:
    return dict(re.findall(r"^accepted (fc-\w+) (\S+)$", loop.output, re.MULTILINE))


def answers_of(script: Running) -> list[str]:
    return re.findall(r"^answered (\S+)$", script.output, re.MULTILINE)


def test_what_was_accepted_from_a_client_that_is_killed_in_a_spawn_loop_is_run(work: Workload) -> None:
    with work.engine.start_python(APPS / "spawn_loop.py", "killed-loop") as loop:
        loop.line("killed-loop-60")
        loop.process.kill()
        loop.wait(within=90)

    work.accepted |= accepted_by(loop)
    assert len(work.accepted) > 60


def test_what_was_accepted_in_a_spawn_loop_is_run_though_engine_and_client_are_killed(work: Workload) -> None:
    with work.engine.start_python(APPS / "spawn_loop.py", "both-killed") as loop:
        loop.line("both-killed-60")
        work.engine.kill()
        loop.process.kill()
        loop.wait(within=90)
    work.engine.start()

    work.accepted |= accepted_by(loop)
    assert len(work.accepted) > 60


def test_a_client_that_is_killed_in_the_middle_of_a_map_leaves_nothing_running(work: Workload) -> None:
    with work.engine.start_python(APPS / "map_all.py", "killed-map", "300", "1") as script:
        script.line("answered killed-map-10")
        script.process.kill()

    assert work.function("quick").remote("after-killed-map") == "after-killed-map"


def test_a_waiting_caller_gets_its_answer_though_the_engine_is_killed_in_the_middle(work: Workload) -> None:
    with work.engine.start_python(APPS / "remote_one.py", "alone", "waiting-caller", "4") as script:
        work.wait_until_running("waiting-caller")

        work.engine.kill_engine()

        assert script.wait(within=90) == 0, script.output
        assert answers_of(script) == ["waiting-caller"]


def test_a_map_gives_each_result_once_though_the_engine_is_killed_in_the_middle(work: Workload) -> None:
    with work.engine.start_python(APPS / "map_all.py", "waiting-map", "300", "0.5") as script:
        script.line("answered waiting-map-40")

        work.engine.kill_engine()

        assert script.wait(within=90) == 0, script.output
        assert answers_of(script) == [f"waiting-map-{number}" for number in range(300)]


@pytest.mark.parametrize("after", [0.03, 0.1, 0.5])
def test_a_map_is_complete_though_the_engine_is_killed_before_its_first_result(work: Workload, after: float) -> None:
    """While its inputs are being put, or all of them run: what its client asks then is older than what it must know of."""
    prefix = f"early-map-{after}"
    with work.engine.start_python(APPS / "map_all.py", prefix, "12", "1") as script:
        script.line("mapping")
        time.sleep(after)

        work.engine.kill_engine()

        assert script.wait(within=90) == 0, script.output
        assert answers_of(script) == [f"{prefix}-{number}" for number in range(12)]


def test_a_request_that_is_sent_again_to_the_next_engine_is_the_same_call(work: Workload) -> None:
    """Killed between accepting and acknowledging: the client cannot know, and sends it again with the same key."""
    request = spawn_request(work, "sent-twice")
    before = call_ids(work)
    sending = threading.Thread(target=send, args=(work, request, "the-same-key"))
    sending.start()
    (first,) = eventually(lambda: call_ids(work) - before, within=60, what="The call on disk")
    work.engine.kill()
    sending.join()
    work.engine.start()

    again = send(work, request, "the-same-key", attempt=1)

    assert again.function_call_id == first
    assert call_ids(work) - before == {first}
    work.accepted[first] = "sent-twice"


def spawn_request(work: Workload, token: str) -> api_pb2.FunctionMapRequest:
    """What `.spawn(token)` sends."""
    function = work.function("quick")
    function.hydrate()
    args = api_pb2.FunctionInput(args=serialize(((token,), {})), data_format=api_pb2.DATA_FORMAT_PICKLE)
    return api_pb2.FunctionMapRequest(
        function_id=function.object_id,
        function_call_type=api_pb2.FUNCTION_CALL_TYPE_UNARY,
        function_call_invocation_type=api_pb2.FUNCTION_CALL_INVOCATION_TYPE_ASYNC,
        pipelined_inputs=[api_pb2.FunctionPutInputsItem(idx=0, input=args)],
    )


def send(work: Workload, request: api_pb2.FunctionMapRequest, key: str, *, attempt: int = 0) -> Any:
    """The answer; None if the engine died before it came. The headers are those of the client's own tries."""
    metadata = {**work.engine.client_metadata(), "x-idempotency-key": key, "x-retry-attempt": str(attempt)}
    try:
        return work.engine.call("FunctionMap", request, metadata=metadata)
    except grpc.RpcError:
        return None


def call_ids(work: Workload) -> set[str]:
    with reading(work.engine.home) as database:
        return {row[0] for row in database.execute("SELECT id FROM calls")}
