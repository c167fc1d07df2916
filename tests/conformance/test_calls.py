"""Calls that are tried again, time out, are cancelled, form batches, outlive the engine, and can be looked at."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import modal
import pytest
from modal_proto import api_pb2

from conformance.deployment import Deployment, deployed
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
        with pytest.raises(ValueError, match="try 3") as last:
            app.function("times_of_tries").spawn("pauses").get(timeout=60)
        assert "try 3 at" in str(last.value)
        call = app.function("times_of_tries").spawn("again")
        started = time.time()
        with pytest.raises(ValueError, match="try 3"):
            call.get(timeout=60)
        assert time.time() - started > 2.9, "one second, then two"

    def test_a_container_that_dies_is_a_try_that_failed(self, app: Deployment) -> None:
        assert app.function("dies_until").spawn(time.time() + 1).get(timeout=60) == "alive"


class TestTimeouts:
    def test_the_one_that_is_stuck_is_told_apart_from_its_neighbours(self, app: Deployment) -> None:
        function = app.function("shared")
        function.remote(0)
        with ThreadPoolExecutor() as pool:
            stuck = pool.submit(function.remote, 30)
            time.sleep(1.5)
            neighbour = pool.submit(function.remote, 2.5)
            with pytest.raises(modal.exception.FunctionTimeoutError):
                stuck.result(timeout=30)
            task_id, seconds = neighbour.result(timeout=30)
        assert seconds == 2.5
        after, _ = function.remote(0)
        assert after != task_id, "nobody knows whether the stuck thread still runs, so the container is replaced"

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
        started = time.monotonic()
        call.cancel()
        with pytest.raises(CANCELLED):
            call.get(timeout=40)
        assert time.monotonic() - started < 35
        assert f"{name} ends" not in app.logs()

    def test_a_queued_input_never_starts(self, app: Deployment) -> None:
        holder = app.function("sync_nap").spawn(60, "holder")
        begun(app, "holder")
        waiting = app.function("sync_nap").spawn(0, "the queued one")
        waiting.cancel()
        with pytest.raises(CANCELLED):
            waiting.get(timeout=10)
        holder.cancel()
        app.function("sync_nap").remote(0, "afterwards")
        assert "the queued one begins" not in app.logs()

    def test_neighbours_of_an_async_input_go_on(self, app: Deployment) -> None:
        with ThreadPoolExecutor() as pool:
            neighbour = pool.submit(app.function("interleaved_nap").remote, 12, "neighbour")
            call = app.function("interleaved_nap").spawn(60, "cancelled one")
            begun(app, "neighbour")
            begun(app, "cancelled one")
            call.cancel()
            with pytest.raises(CANCELLED):
                call.get(timeout=30)
            assert neighbour.result(timeout=60)
        assert app.logs().count("neighbour begins") == 1

    def test_terminating_the_containers_moves_their_other_inputs(self, app: Deployment) -> None:
        with ThreadPoolExecutor() as pool:
            neighbour = pool.submit(app.function("interleaved_nap").remote, 12, "moved")
            call = app.function("interleaved_nap").spawn(60, "terminated one")
            begun(app, "moved")
            begun(app, "terminated one")
            before = {task.task_id for task in app.containers()}
            call.cancel(terminate_containers=True)
            with pytest.raises(CANCELLED):
                call.get(timeout=40)
            assert neighbour.result(timeout=90) not in before
        assert app.logs().count("moved begins") == 2, "it began again in another container"


class TestBatches:
    def test_items_that_come_together_are_one_batch_and_none_is_too_large(self, app: Deployment) -> None:
        results = list(app.function("together").map(range(10)))
        assert [number for number, _ in results] == list(range(10))
        assert max(size for _, size in results) <= 4
        assert max(size for _, size in results) >= 2

    def test_a_lonely_item_waits_no_longer_than_it_was_said(self, app: Deployment) -> None:
        function = app.function("together")
        function.remote(0)
        started = time.monotonic()
        assert function.remote(7) == [7, 1] or function.remote(7) == (7, 1)
        assert time.monotonic() - started < 2


class TestRestart:
    """A client that waits while the engine is killed, and started again by its supervisor."""

    def during_restart(self, app: Deployment, wait: Callable[[], object]) -> object:
        found: list[object] = []
        waiting = threading.Thread(target=lambda: found.append(wait()))
        waiting.start()
        time.sleep(3)
        before = app.engine.pid
        app.engine.kill_engine()
        waiting.join(120)
        assert app.engine.pid != before
        assert found, "the client was left without an answer"
        return found[0]

    def test_a_remote_call_gets_its_result(self, app: Deployment) -> None:
        assert self.during_restart(app, lambda: app.function("slow").remote(8, 5)) == 25

    def test_its_container_goes_on_with_what_it_runs(self, app: Deployment) -> None:
        app.function("sync_nap").remote(0, "warm")
        self.during_restart(app, lambda: app.function("sync_nap").remote(10, "over the restart"))
        assert app.logs().count("over the restart begins") == 1

    def test_a_map_gets_all_its_results(self, app: Deployment) -> None:
        def squares() -> list[int]:
            return list(app.function("slow").map([0.5] * 30, range(30)))

        assert self.during_restart(app, squares) == [x * x for x in range(30)]

    def test_an_error_is_raised_once_and_without_delay(self, app: Deployment) -> None:
        app.function("slow").remote(0)
        with pytest.raises(LookupError, match="broken by 1"):
            app.function("breaks").remote(1)
        started = time.monotonic()
        with pytest.raises(LookupError, match="broken by 2"):
            app.function("breaks").remote(2)
        assert time.monotonic() - started < 0.8, "no client waits to retry what has no retries"


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
        call.get(timeout=30)
        listed = app.engine.modal("function", "calls", "calls/slow", "--json").succeeded().output
        assert call.object_id in listed
        assert "success" in listed.lower()
        for flags in (["--since", "1h"], ["--tail", "3"]):  # the client ends a time range with the last whole second
            eventually(lambda: call.object_id in _listed(app, *flags), within=20, what=f"The call in {flags}")  # noqa: B023

    def test_a_call_says_how_far_it_is(self, app: Deployment) -> None:
        call = app.function("slow").spawn(0, 3)
        call.get(timeout=30)
        info = app.engine.call("FunctionCallGetInfo", api_pb2.FunctionCallGetInfoRequest(function_call_id=call.object_id)).info
        assert (info.total_inputs, info.succeeded_inputs.total) == (1, 1)
        function_id = app.function("slow").hydrate().object_id
        listed = app.engine.call("FunctionCallList", api_pb2.FunctionCallListRequest(function_id=function_id)).function_calls
        assert call.object_id in {item.function_call_id for item in listed}


def _listed(app: Deployment, *flags: str) -> str:
    return app.engine.modal("function", "calls", "calls/slow", *flags, "--json").succeeded().output
