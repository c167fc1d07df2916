"""Calls that are tried again, time out, are cancelled, form batches, outlive the engine, and can be looked at."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import modal
import pytest
from modal_proto import api_pb2

from conformance.deployment import Deployment, Place, deployed
from conformance.engine import Engine
from conformance.waiting import eventually

CANCELLED = (modal.exception.RemoteError, modal.exception.InputCancellation, modal.exception.ExecutionError)
NAPS = ["sync_nap", "async_nap", "threaded_nap", "interleaved_nap"]


@pytest.fixture(scope="module")
def app(engine: Engine) -> Iterator[Deployment]:
    with deployed(engine, "calls.py") as app:
        yield app


def begun(app: Deployment, name: str) -> None:
    eventually(lambda: f"{name} begins" in app.logs(), within=60, what=f"{name} under way")


class TestRetries:
    def test_a_spawned_call_is_tried_again_by_the_engine(self, app: Deployment) -> None:
        assert app.function("passes_at").spawn("spawned", 3).get(timeout=60) == 3

    def test_a_spawned_call_fails_when_its_retries_are_used_up(self, app: Deployment) -> None:
        with pytest.raises(ValueError, match="not yet, only try 4"):
            app.function("passes_at").spawn("hopeless", 99).get(timeout=60)

    def test_a_remote_call_and_a_map_are_tried_again_by_the_client(self, app: Deployment) -> None:
        assert app.function("passes_at").remote("waited for", 2) == 2
        assert sorted(app.function("passes_at").starmap([("a", 1), ("b", 2), ("c", 3)])) == [1, 2, 3]

    def test_pauses_grow(self, app: Deployment) -> None:
        call = app.function("times_of_tries").spawn("pauses")
        with pytest.raises(ValueError, match="try 3 at") as last:
            call.get(timeout=60)
        first, second, third = json.loads(str(last.value).partition(" at ")[2])
        assert second - first > 0.9
        assert third - second > 1.9, "one second, then two"

    def test_a_container_that_dies_is_a_try_that_failed(self, app: Deployment) -> None:
        assert app.function("dies_until").spawn(time.time() + 1).get(timeout=60) == "alive"


class TestTimeouts:
    def test_the_one_that_is_stuck_is_told_apart_from_its_neighbours(self, app: Deployment, place: Place) -> None:
        function = app.function("shared")
        function.remote(0)
        with ThreadPoolExecutor() as pool:
            stuck = pool.submit(function.remote, 60)
            time.sleep(6)  # most of the time that it has, so that the other has as much when that is over
            neighbour = pool.submit(function.remote, 0, place.name)
            with pytest.raises(modal.exception.FunctionTimeoutError):
                stuck.result(timeout=60)
            place.go()
            task_id = neighbour.result(timeout=60)
        assert function.remote(0) != task_id, "nobody knows whether the stuck thread still runs, so the container is replaced"

    def test_a_container_that_cannot_be_interrupted_is_replaced(self, app: Deployment) -> None:
        function = app.function("alone")
        before = function.remote(0)
        with pytest.raises(modal.exception.FunctionTimeoutError):
            function.remote(120)
        assert function.remote(0) != before


class TestCancellation:
    @pytest.mark.parametrize("nap", NAPS)
    def test_a_running_input_is_stopped(self, app: Deployment, nap: str) -> None:
        name = f"running {nap}"
        call = app.function(nap).spawn(60, name)
        begun(app, name)
        call.cancel()
        with pytest.raises(CANCELLED):
            call.get(timeout=50)
        assert f"{name} ends" not in app.logs()

    def test_a_queued_input_never_starts(self, app: Deployment) -> None:
        holder = app.function("sync_nap").spawn(60, "holder")
        begun(app, "holder")
        waiting = app.function("sync_nap").spawn(0, "the queued one")
        waiting.cancel()
        with pytest.raises(CANCELLED):
            waiting.get(timeout=50)
        holder.cancel()
        app.function("sync_nap").remote(0, "afterwards")
        assert "the queued one begins" not in app.logs()

    def test_neighbours_of_an_async_input_go_on(self, app: Deployment, place: Place) -> None:
        with ThreadPoolExecutor() as pool:
            neighbour = pool.submit(app.function("interleaved_nap").remote, 0, "neighbour", place.name)
            call = app.function("interleaved_nap").spawn(60, "cancelled one")
            begun(app, "neighbour")
            begun(app, "cancelled one")
            call.cancel()
            with pytest.raises(CANCELLED):
                call.get(timeout=60)
            place.go()
            assert neighbour.result(timeout=60)
        assert app.logs().count("neighbour begins") == 1

    def test_terminating_the_containers_moves_their_other_inputs(self, app: Deployment, place: Place) -> None:
        with ThreadPoolExecutor() as pool:
            neighbour = pool.submit(app.function("interleaved_nap").remote, 0, "moved", place.name)
            call = app.function("interleaved_nap").spawn(60, "terminated one")
            begun(app, "moved")
            begun(app, "terminated one")
            before = {task.task_id for task in app.containers()}
            call.cancel(terminate_containers=True)
            with pytest.raises(CANCELLED):
                call.get(timeout=60)
            place.go()
            assert neighbour.result(timeout=90) not in before
        assert app.logs().count("moved begins") == 2, "it began again in another container"


class TestBatches:
    def test_items_that_come_together_are_one_batch_and_none_is_too_large(self, app: Deployment) -> None:
        results = list(app.function("together").map(range(10)))
        assert [number for number, _ in results] == list(range(10))
        assert max(size for _, size in results) <= 4
        assert max(size for _, size in results) >= 2

    def test_a_lonely_item_does_not_wait_for_others_for_ever(self, app: Deployment) -> None:
        assert tuple(app.function("together").remote(7)) == (7, 1)


class TestRestart:
    """A client that waits while the engine is killed, and started again by its supervisor."""

    def during_restart(self, app: Deployment, name: str, wait: Callable[[], object]) -> object:
        """What the client gets whose input of this function runs when the engine is killed."""
        found: list[object] = []
        waiting = threading.Thread(target=lambda: found.append(wait()))
        waiting.start()
        function = app.function(name)
        eventually(lambda: function.get_current_stats().num_running_inputs, within=60, what="It running")
        before = app.engine.pid
        app.engine.kill_engine()
        waiting.join(120)
        assert app.engine.pid != before
        assert found, "the client was left without an answer"
        return found[0]

    def test_a_remote_call_gets_its_result(self, app: Deployment) -> None:
        assert self.during_restart(app, "slow", lambda: app.function("slow").remote(5, 5)) == 25

    def test_its_container_goes_on_with_what_it_runs(self, app: Deployment) -> None:
        app.function("sync_nap").remote(0, "warm")
        self.during_restart(app, "sync_nap", lambda: app.function("sync_nap").remote(8, "over the restart"))
        assert app.logs().count("over the restart begins") == 1

    def test_a_map_gets_all_its_results(self, app: Deployment) -> None:
        def squares() -> list[int]:
            return list(app.function("slow").map([0.5] * 30, range(30)))

        assert self.during_restart(app, "slow", squares) == [x * x for x in range(30)]

    def test_what_has_no_retries_is_run_once(self, app: Deployment) -> None:
        """Though clients of an engine that was killed send inputs again."""
        for number in (1, 2):
            with pytest.raises(LookupError, match=f"broken by {number}"):
                app.function("breaks").remote(number)
        eventually(lambda: "breaks at 2" in app.logs(), within=60, what="Both in the log")
        assert [app.logs().count(f"breaks at {number}") for number in (1, 2)] == [1, 1]


class TestRecords:
    def test_the_graph_shows_who_called_whom(self, app: Deployment) -> None:
        call = app.function("top").spawn(1)
        call.get(timeout=60)
        (root,) = modal.FunctionCall.from_id(call.object_id).get_call_graph()
        assert (root.function_name, root.status.name) == ("top", "SUCCESS")
        below = sorted(child.function_name for child in root.children)
        assert below == ["leaf", "middle"]
        (middle,) = [child for child in root.children if child.function_name == "middle"]
        assert [child.function_name for child in middle.children] == ["leaf"] * 3

    def test_recent_calls_are_listed(self, app: Deployment) -> None:
        app.function("slow").remote(0, 1)
        call = app.function("slow").spawn(0, 2)
        call.get(timeout=60)
        listed = app.engine.modal("function", "calls", "calls/slow", "--json").succeeded().output
        assert call.object_id in listed
        assert "success" in listed.lower()
        for flags in (["--since", "1h"], ["--tail", "3"]):  # the client ends a time range with the last whole second
            eventually(lambda: call.object_id in _listed(app, *flags), within=60, what=f"The call in {flags}")  # noqa: B023

    def test_a_call_says_how_far_it_is(self, app: Deployment) -> None:
        call = app.function("slow").spawn(0, 3)
        call.get(timeout=60)
        info = app.engine.call("FunctionCallGetInfo", api_pb2.FunctionCallGetInfoRequest(function_call_id=call.object_id)).info
        assert (info.total_inputs, info.succeeded_inputs.total) == (1, 1)
        function_id = app.function("slow").hydrate().object_id
        listed = app.engine.call("FunctionCallList", api_pb2.FunctionCallListRequest(function_id=function_id)).function_calls
        assert call.object_id in {item.function_call_id for item in listed}


def _listed(app: Deployment, *flags: str) -> str:
    return app.engine.modal("function", "calls", "calls/slow", *flags, "--json").succeeded().output
