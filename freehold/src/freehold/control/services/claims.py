"""Inputs on their way to tasks, and results on their way back."""

import math
from collections.abc import Callable, Mapping, Sequence

from modal_proto import api_pb2

from freehold.control.services.calls import Calls
from freehold.control.services.live import LiveInput
from freehold.control.services.outputs import cut_short, failed
from freehold.control.services.pools import Pool
from freehold.control.services.tasks import LiveTask, Tasks
from freehold.domain.calls import Invocation
from freehold.domain.clock import Clock
from freehold.domain.ids import AppId, FunctionId, InputId, TaskId
from freehold.domain.seams import Transport
from freehold.domain.tasks import TaskState

_POLL = 50.0  # seconds that a task waits before it asks again
_HEARTBEAT = 12.0  # the client gives up after 15.1 s
_KILL_SWITCH = api_pb2.FunctionGetInputsResponse(inputs=[api_pb2.FunctionGetInputsItem(kill_switch=True)])
_INVOCATIONS = {
    Invocation.SYNC: api_pb2.FUNCTION_CALL_INVOCATION_TYPE_SYNC,
    Invocation.ASYNC: api_pb2.FUNCTION_CALL_INVOCATION_TYPE_ASYNC,
}


class Claims:
    def __init__(
        self, *, calls: Calls, tasks: Tasks, clock: Clock, batch_taken: Callable[[FunctionId, AppId, int], None] | None = None
    ) -> None:
        """`batch_taken` is told how many inputs a container got that asked for a batch."""
        self._calls = calls
        self._tasks = tasks
        self._clock = clock
        self._batch_taken = batch_taken

    async def claim(
        self,
        task_id: TaskId,
        *,
        batch: int = 0,
        linger: float = 0.0,
        request_key: str = "",
        transport: Transport = Transport.STOCK,
    ) -> api_pb2.FunctionGetInputsResponse:
        """Inputs for this task, waiting for the first; empty after a while without one, the kill switch once it drains.

        A batch closes when it is full, or `linger` seconds after its oldest input was queued. A request with the key of the one before
        is the same one again: its answer was lost on the way.
        """
        task = self._tasks.get(task_id)
        self._tasks.record_ready(task, transport)
        self._calls.take_web_requests_as_inputs(task)
        if request_key and request_key == task.last_request_key:
            task.undelivered |= task.last_delivery
        items = _undelivered(task, max(batch, 1)) or await self._take(task, batch, linger)
        if items is None:
            return _KILL_SWITCH
        task.last_request_key, task.last_delivery = request_key, {live.id: live.attempt for live in items}
        return api_pb2.FunctionGetInputsResponse(inputs=[_delivery(live) for live in items])

    async def _take(self, task: LiveTask, batch: int, linger: float) -> list[LiveInput] | None:
        """None if the task is to leave."""
        pool = self._calls.pool(task.task.function_id, task.task.app_id)
        await self._wait_for_first(task, pool)
        if batch > 1:
            await self._wait_for_more(task, pool, batch, linger)
        if task.state is not TaskState.READY or task.is_stopping:
            pool.pass_on()
            return None
        items: list[LiveInput] = []
        while len(items) < max(batch, 1) and (live := pool.take()) is not None:
            self._calls.inputs.lease(task, pool, live)
            items.append(live)
            self._tasks.note_input(task)
        task.remember(items)
        if items and batch > 1 and self._batch_taken is not None:
            self._batch_taken(pool.function_id, pool.app_id, len(items))
        if items and task.is_single_use:
            self._tasks.drain(task, "it is used once")
        return items

    def contexts(self, delivered: Sequence[api_pb2.FunctionGetInputsItem]) -> list[str]:
        """The field `traceparent` of each of these inputs, in their order; empty for none, and no list if none has one."""
        told = [self._calls.context_of(InputId(item.input_id)) for item in delivered]
        return [str(context or "") for context in told] if any(told) else []

    def recover(self, task_id: TaskId, held: Mapping[InputId, int]) -> None:
        """The task's connection is new. Of what it runs for us, it has these attempts in hand; the others were lost on the way to it."""
        task = self._tasks.get(task_id)
        task.undelivered = {live.id: live.attempt for live in task.running.values() if held.get(live.id) != live.attempt}
        self._calls.inputs.take_back(task, held)

    async def _wait_for_first(self, task: LiveTask, pool: Pool) -> None:
        deadline = self._clock.monotonic() + _POLL
        while task.state is TaskState.READY and not task.is_stopping and not len(pool):
            left = deadline - self._clock.monotonic()
            if left <= 0:
                return
            await pool.wait(task.id, left, _idle_since(task))

    async def _wait_for_more(self, task: LiveTask, pool: Pool, batch: int, linger: float) -> None:
        while 0 < len(pool) < batch and task.state is TaskState.READY:
            left = (pool.oldest_queued_at or 0.0) + linger - self._clock.monotonic()
            if left <= 0:
                return
            await pool.wait_for_more(task.id, left, _idle_since(task))

    def drain(self, task: LiveTask, reason: str) -> None:
        """No new inputs for this task, and it is told now if it waits for some."""
        self._tasks.drain(task, reason)
        self.dismiss(task)

    def dismiss(self, task: LiveTask) -> None:
        """A task that drains and waits is told now rather than at the end of its wait."""
        task.leaving.notify()
        if (pool := self._calls.find_pool(task.task.function_id)) is not None:
            pool.dismiss(task.id)

    async def put_outputs(self, task_id: TaskId, items: list[api_pb2.FunctionPutOutputsItem]) -> None:
        """Results of tries that this task has made. Others are late: someone else has answered, or will."""
        task = self._tasks.get(task_id)
        self._tasks.note_output(task)
        results = []
        for item in items:
            self._calls.inputs.note_answered(InputId(item.input_id))
            live = self._calls.find_input(InputId(item.input_id))
            if live is None or not _is_expected(task, live, item.retry_count) or _is_told_again(task, live, item):
                continue
            if not _was_interrupted(task, live, item):
                results.append((live, _output(task_id, item)))
            elif live.call.can_begin_again:
                self._calls.inputs.lose(live, "interrupted with its container")
            else:
                results.append((live, cut_short()))
        await self._calls.inputs.settle_all(results)

    async def heartbeat(self, task_id: TaskId) -> api_pb2.ContainerHeartbeatResponse:
        """Waits for cancellations to pass on; empty after a while without one.

        One is passed on until its input has ended: the container ignores it while it is still taking the input in.
        """
        task = self._tasks.get(task_id)
        self._tasks.hear(task)
        if not task.cancelled_inputs():
            await task.cancellations.wait(task.cancellations.generation, _HEARTBEAT)
        if not (input_ids := task.cancelled_inputs()):
            return api_pb2.ContainerHeartbeatResponse()
        return api_pb2.ContainerHeartbeatResponse(cancel_input_event=api_pb2.CancelInputEvent(input_ids=input_ids))

    async def fail_start(self, task_id: TaskId, result: api_pb2.GenericResult) -> None:
        """The task does not come so far as to take inputs: callers get this result when it ends."""
        self._tasks.get(task_id).failure = result.SerializeToString()

    async def time_out(self, live: LiveInput, seconds: float) -> None:
        text = f"Task's current input in {live.id} hit its timeout of {seconds:g}s"
        await self._calls.inputs.settle(live, failed(api_pb2.GenericResult.GENERIC_STATUS_TIMEOUT, text))


def _undelivered(task: LiveTask, most: int) -> list[LiveInput]:
    """Inputs that the task holds and may not have received. One that it did receive, it skips."""
    held: list[LiveInput] = []
    while task.undelivered and len(held) < most:
        input_id, attempt = task.undelivered.popitem()
        live = task.running.get(input_id)
        if live is not None and live.attempt == attempt:
            held.append(live)
    return held


def _idle_since(task: LiveTask) -> float:
    """One that runs an input and has room for more is not idle at all."""
    return math.inf if task.load else task.idle_since


def _is_expected(task: LiveTask, live: LiveInput, attempt: int) -> bool:
    """Also from a task that an earlier engine had given the input to, while it waits for a second try."""
    return live.call.function_id == task.task.function_id and live.attempt == attempt and not live.is_recording


def _is_told_again(task: LiveTask, live: LiveInput, item: api_pb2.FunctionPutOutputsItem) -> bool:
    """An interruption of what was taken from the task for it: another has the input by now, or will."""
    is_cut = item.result.status == api_pb2.GenericResult.GENERIC_STATUS_TERMINATED
    return is_cut and live.task_id != task.id and not live.is_cancelled


def _was_interrupted(task: LiveTask, live: LiveInput, item: api_pb2.FunctionPutOutputsItem) -> bool:
    """A container that is told to stop cancels all that it runs. Only what was cancelled itself has its end by that."""
    is_cut = item.result.status == api_pb2.GenericResult.GENERIC_STATUS_TERMINATED
    is_leaving = task.is_stopping or any(other.is_cancelled for other in task.running.values())
    return is_cut and is_leaving and live.is_running and not live.is_cancelled


def _output(task_id: TaskId, item: api_pb2.FunctionPutOutputsItem) -> api_pb2.FunctionGetOutputsItem:
    return api_pb2.FunctionGetOutputsItem(
        result=item.result,
        data_format=item.data_format,
        task_id=task_id,
        input_started_at=item.input_started_at,
        output_created_at=item.output_created_at,
    )


def _delivery(live: LiveInput) -> api_pb2.FunctionGetInputsItem:
    return api_pb2.FunctionGetInputsItem(
        input_id=live.id,
        input=live.payload,
        function_call_id=live.call.id,
        function_call_invocation_type=_INVOCATIONS[live.call.record.invocation],
        retry_count=live.attempt,
        function_map_idx=live.idx,
    )
