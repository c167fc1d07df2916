"""The service in this process keeps the engine's rules: batches, retries elsewhere, jobs."""

import asyncio
import threading
from typing import ClassVar

import pytest
from builders import Number, an_app

from modalkit._local import LocalService
from modalkit._parcels import Item, Output, Parcel
from modalkit._services import Cancelled, RemoteService, connect, stand_in, told
from modalkit.errors import DeviceFaultError, InferenceError

SECONDS = 20


def a_parcel(*values, model="default"):
    return Parcel(model, tuple(Item(Number(value=each)) for each in values))


@pytest.fixture
def start():
    """Starts services of a pipeline; ends them after the test."""
    begun = []

    def start(pipeline, **settings):
        begun.append(LocalService(an_app(pipeline, **settings).Service))
        return begun[-1]

    yield start
    for service in begun:
        service.close()


async def until(is_so):
    """Returns when it is."""
    for _ in range(100 * SECONDS):
        if is_so():
            return
        await asyncio.sleep(0.01)
    pytest.fail("It never was.")


def values(reply):
    return [outcome.value for outcome in reply.outcomes]


def a_pipeline(work, *, before=lambda: None):
    """A pipeline that remembers its batches over all containers."""

    class Pipeline:
        batches: ClassVar[list] = []
        containers: ClassVar[list] = []

        def __init__(self):
            before()
            self.containers.append(self)

        def predict(self, items):
            given = [item.value for item in items]
            self.batches.append(given)
            return work(given)

    return Pipeline


class TestBatches:
    async def together(self, service, count):
        async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
            tasks = [group.create_task(service.run(a_parcel(each))) for each in range(count)]
        return [values(task.result())[0] for task in tasks]

    async def test_parcels_that_come_while_the_model_is_busy_are_one_batch(self, start):
        gate = threading.Event()

        def work(given):
            assert gate.wait(SECONDS)
            return given

        pipeline = a_pipeline(work)
        service = start(pipeline, batch_config={"max_batch_size": 4, "wait_ms": 2000})
        async with asyncio.TaskGroup() as group:
            group.create_task(service.run(a_parcel(100)))
            await until(lambda: pipeline.batches)
            others = group.create_task(self.together(service, 8))
            (container,) = service._containers.values()
            await until(lambda: container._queue.qsize() == 8)
            gate.set()
        assert others.result() == list(range(8))
        assert [len(batch) for batch in pipeline.batches] == [1, 4, 4]

    async def test_a_batch_that_is_not_full_does_not_wait(self, start):
        """Company is waited for in front, by the couriers."""
        service = start(a_pipeline(lambda given: given), batch_config={"max_batch_size": 100, "wait_ms": 600_000})
        assert await self.together(service, 3) == [0, 1, 2]

    async def test_a_batch_of_one_does_not_wait(self, start):
        service = start(a_pipeline(lambda given: given), batch_config={"max_batch_size": 1, "wait_ms": 600_000})
        async with asyncio.timeout(SECONDS):
            assert values(await service.run(a_parcel(1))) == [1]

    def test_a_parcel_of_many_items_keeps_the_size(self, start):
        pipeline = a_pipeline(lambda given: given)
        service = start(pipeline, batch_config={"max_batch_size": 2, "wait_ms": 0})
        assert values(service.run_blocking(a_parcel(1, 2, 3))) == [1, 2, 3]
        assert [len(batch) for batch in pipeline.batches] == [2, 1]

    def test_each_model_has_a_container_of_its_own(self, start):
        pipeline = a_pipeline(lambda given: given)
        service = start(pipeline, model_settings={"model_entries": {"a": {}, "b": {}}})
        for model in "aba":
            service.run_blocking(a_parcel(1, model=model))
        assert len(service._containers) == 2

    def test_models_that_share_containers_share_one(self, start):
        service = start(a_pipeline(lambda given: given), model_settings={"model_entries": {"a": {}, "b": {}}, "share_containers": True})
        for model in "ab":
            assert values(service.run_blocking(a_parcel(1, model=model))) == [1]
        assert len(service._containers) == 1


def breaks(times):
    """Work whose device breaks that often."""
    left = [times]

    def work(given):
        if left[0]:
            left[0] -= 1
            msg = "CUDA error: device-side assert triggered"
            raise RuntimeError(msg)
        return given

    return work


class TestLoading:
    async def test_others_are_answered_while_a_model_is_loaded(self, start):
        """The load waits for what only the loop can do."""
        may_load = threading.Event()
        service = start(a_pipeline(lambda given: given, before=lambda: may_load.wait(SECONDS) or pytest.fail("nobody else had a turn")))
        asyncio.get_running_loop().call_later(0.05, may_load.set)

        assert values(await service.run(a_parcel(4))) == [4]


class TestDeviceFaults:
    def test_the_batch_runs_in_another_container(self, start):
        """CUDA faults ended the container, and the batch was lost with it."""
        pipeline = a_pipeline(breaks(1))
        service = start(pipeline)
        assert values(service.run_blocking(a_parcel(1, 2))) == [1, 2]
        assert len(pipeline.containers) == 2

    def test_not_more_often_than_retries(self, start):
        pipeline = a_pipeline(breaks(100))
        service = start(pipeline, deployment_config={"retries": 2})
        with pytest.raises(InferenceError) as raised:
            service.run_blocking(a_parcel(1))
        assert (raised.value.problem.status, raised.value.problem.kind) == (503, "device_fault")
        assert len(pipeline.batches) == 3

    def test_the_next_parcel_finds_a_new_container(self, start):
        service = start(a_pipeline(breaks(1)), deployment_config={"retries": 0})
        with pytest.raises(InferenceError):
            service.run_blocking(a_parcel(1))
        assert values(service.run_blocking(a_parcel(2))) == [2]

    async def test_a_stream_says_it_as_a_call_does(self, start):
        class Streaming:
            def predict(self, items):
                return items

            def stream(self, item):
                yield 1
                msg = "CUDA error: device-side assert triggered"
                raise RuntimeError(msg)

        with pytest.raises(InferenceError, match="devices are faulty"):
            async for _ in start(Streaming).stream("default", Item(Number(value=1))):
                pass

    def test_a_model_that_does_not_load_again_answers_with_the_reason(self, start):
        loads = []

        def before():
            loads.append(1)
            if len(loads) > 1:
                raise OSError("no file")  # noqa: EM101

        service = start(a_pipeline(breaks(1), before=before))
        reply = service.run_blocking(a_parcel(1))
        assert "no file" in reply.outcomes[0].problem.detail


class TestJobs:
    async def test_a_job_goes_on_by_itself_and_is_asked_for_by_its_id(self, start):
        go_on = threading.Event()

        def work(given):
            assert go_on.wait(SECONDS)
            return given

        service = start(a_pipeline(work))
        job = await service.spawn(a_parcel(7))
        assert await service.poll(job) is None
        assert await service.poll(job, 0.01) is None
        go_on.set()
        assert await service.poll(job, SECONDS) == Output(7)
        assert await service.poll(job) == Output(7)

    async def test_a_job_that_was_cancelled_is_not_run(self, start):
        begun, go_on = threading.Event(), threading.Event()

        def work(given):
            begun.set()
            assert go_on.wait(SECONDS)
            return given

        pipeline = a_pipeline(work)
        service = start(pipeline)
        first = await service.spawn(a_parcel(1))
        assert await asyncio.to_thread(begun.wait, SECONDS)
        second = await service.spawn(a_parcel(2))
        await service.cancel(second)
        go_on.set()
        with pytest.raises(Cancelled):
            await service.poll(second)
        assert await service.poll(first, SECONDS) == Output(1)
        assert pipeline.batches == [[1]]

    async def test_an_unknown_id_is_a_key_error(self, start):
        service = start(a_pipeline(list))
        with pytest.raises(KeyError):
            await service.poll("fc-nobody")
        with pytest.raises(KeyError):
            await service.cancel("fc-nobody")


class TestConnecting:
    def test_a_class_is_in_containers_unless_something_stands_in(self):
        service_class = an_app().Service
        assert isinstance(connect(service_class), RemoteService)
        stand = object()
        with stand_in(service_class, stand):
            assert connect(service_class) is stand
            assert isinstance(connect(an_app().Service), RemoteService)
        assert isinstance(connect(service_class), RemoteService)


class TestTold:
    def test_what_the_pipeline_said_is_passed_on(self):
        error = InferenceError("x", status=418)
        assert told(error) is error

    def test_a_broken_device_and_a_lost_container_are_503(self):
        from modal.exception import RemoteError  # noqa: PLC0415

        assert told(DeviceFaultError("x")).problem.kind == "device_fault"
        assert told(RemoteError("container lost")).problem.status == 503

    def test_a_timeout_is_504(self):
        from modal.exception import FunctionTimeoutError  # noqa: PLC0415

        assert told(FunctionTimeoutError("x")).problem.status == 504

    def test_anything_unknown_is_left_as_it_is(self):
        error = ZeroDivisionError()
        assert told(error) is error
