"""Function calls: what clients put in and get out. Synchronous calls live in memory; asynchronous ones are on disk before we say so."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from modal_proto import api_pb2

from freehold.control.services.durable_calls import DurableCalls
from freehold.control.services.live import InputState, LiveCall, LiveInput, Pool
from freehold.control.services.outputs import failed, page_of
from freehold.control.services.tasks import LiveTask, Tasks
from freehold.control.wakeups import Wakeup
from freehold.domain import retries
from freehold.domain.calls import CallKind, FunctionCall, Invocation
from freehold.domain.clock import Clock
from freehold.domain.errors import InvalidRequest, NotFound, ResourceExhausted
from freehold.domain.functions import Function
from freehold.domain.ids import AppId, CallId, FunctionId, InputId, new_call_id, new_input_id
from freehold.domain.tasks import TaskExit

_GENERIC = api_pb2.GenericResult
_FATES = {
    retries.Fate.FAIL: _GENERIC.GENERIC_STATUS_FAILURE,
    retries.Fate.FAIL_OUT_OF_MEMORY: _GENERIC.GENERIC_STATUS_KERNEL_OOM_KILL,
}
_FORGET_AFTER = 600.0  # seconds that a finished call of a silent caller stays in memory


class Calls:
    def __init__(self, *, durable: DurableCalls, tasks: Tasks, clock: Clock, demand: Wakeup, max_queued_inputs: int) -> None:
        self._durable = durable
        self._tasks = tasks
        self._clock = clock
        self._demand = demand
        self._max_queued = max_queued_inputs
        self._calls: dict[CallId, LiveCall] = {}
        self._inputs: dict[InputId, LiveInput] = {}
        self._pools: dict[FunctionId, Pool] = {}

    # What clients ask for.

    async def create(
        self,
        function: Function,
        *,
        kind: CallKind,
        invocation: Invocation,
        parent_input_id: str = "",
        retry_policy: api_pb2.FunctionRetryPolicy | None = None,
        items: Sequence[api_pb2.FunctionPutInputsItem] = (),
    ) -> LiveCall:
        """A new call with its first inputs, which are queued at once."""
        record = FunctionCall(
            id=new_call_id(),
            function_id=function.id,
            app_id=function.app_id,
            kind=kind,
            invocation=invocation,
            created_at=self._clock.now(),
            parent_input_id=parent_input_id,
        )
        call = LiveCall(record, retry_policy or api_pb2.FunctionRetryPolicy(), last_seen=self._clock.monotonic())
        fresh = [self._live_input(call, item) for item in {item.idx: item for item in items}.values()]
        self._check_room(len(fresh))
        if call.is_durable:
            await self._durable.put(record, fresh)
        self._calls[call.id] = call
        self._admit_all(fresh)
        return call

    async def put_inputs(self, call_id: CallId, items: Sequence[api_pb2.FunctionPutInputsItem]) -> list[LiveInput]:
        """Queue inputs of a call. An index that is there already is the same input, sent again."""
        call = self._get(call_id)
        by_idx = {item.idx: item for item in items}
        async with call.changing:
            fresh = [self._live_input(call, item) for idx, item in by_idx.items() if idx not in call.inputs]
            self._check_room(len(fresh))
            if call.is_durable and fresh:
                await self._durable.add_inputs(fresh)
            self._admit_all(fresh)
        return [call.inputs[idx] for idx in by_idx]

    async def retry(self, input_id: InputId, payload: api_pb2.FunctionInput, attempt: int) -> LiveInput:
        """The client wants one of its synchronous inputs tried again."""
        live = self._inputs.get(input_id)
        if live is None or live.state is not InputState.DONE:
            msg = f"Input {input_id} cannot be retried: it is not known here, or has no result yet."
            raise NotFound(msg)
        live.payload = payload
        live.attempt = attempt or live.attempt + 1
        live.call.latest.pop(live.idx, None)
        live.call.unfinished += 1
        self._requeue(live)
        return live

    async def outputs(self, request: api_pb2.FunctionGetOutputsRequest) -> api_pb2.FunctionGetOutputsResponse:
        """Outputs that the reader has not had, waiting up to its timeout for the first."""
        call_id = CallId(request.function_call_id)
        call = self._calls.get(call_id) or await self._recall(call_id)
        if request.clear_on_success and not request.HasField("start_idx"):
            return self._acknowledge(call)
        deadline = self._clock.monotonic() + request.timeout
        while True:
            call.last_seen = self._clock.monotonic()
            generation = call.changed.generation
            response = page_of(call, request)
            if response.outputs or _is_over(call):
                break
            if not await call.changed.wait(generation, deadline - self._clock.monotonic()):
                break
        if request.clear_on_success and response.outputs and not call.unfinished and not _is_still_read(call):
            self._forget(call)
        return response

    def _acknowledge(self, call: LiveCall) -> api_pb2.FunctionGetOutputsResponse:
        """A map's reader has all it wants."""
        if not call.unfinished:
            self._forget(call)
        return api_pb2.FunctionGetOutputsResponse(last_entry_id=f"{len(call.outputs)}-0", num_unfinished_inputs=call.unfinished)

    def unwatch(self, call: LiveCall) -> None:
        """Nobody will ask for this call's result."""
        call.is_unwatched = True
        if not call.unfinished:
            self._forget(call)

    async def cancel(self, call_id: CallId) -> list[LiveInput]:
        """Queued inputs never start, running ones are told. Returns those that were running."""
        call = self._calls.get(call_id)
        if call is None:
            return []
        async with call.changing:
            call.record = replace(call.record, is_cancelled=True)
            if call.is_durable:
                await self._durable.put(call.record)
            queued = self.pool(call.function_id, call.record.app_id).withdraw(call)
            running = [live for live in call.inputs.values() if live.is_running]
            for live in running:
                self._tell_cancelled(live)
            for live in queued:
                await self.finish(live, _cancelled())
        return running

    async def find_record(self, call_id: CallId) -> LiveCall:
        return self._calls.get(call_id) or await self._recall(call_id)

    def get_live(self, call_id: CallId) -> LiveCall:
        return self._get(call_id)

    def find_live(self, call_id: CallId) -> LiveCall | None:
        return self._calls.get(call_id)

    # What tasks, controllers and ends of tasks ask for.

    def pool(self, function_id: FunctionId, app_id: AppId) -> Pool:
        if function_id not in self._pools:
            self._pools[function_id] = Pool(function_id, app_id)
        return self._pools[function_id]

    def pools(self) -> Iterable[Pool]:
        return list(self._pools.values())

    def find_pool(self, function_id: FunctionId) -> Pool | None:
        return self._pools.get(function_id)

    def find_input(self, input_id: InputId) -> LiveInput | None:
        return self._inputs.get(input_id)

    async def finish(self, live: LiveInput, item: api_pb2.FunctionGetOutputsItem) -> None:
        """Write an input's result, once. On disk before anyone learns of it, for asynchronous calls."""
        if live.state is InputState.DONE:
            return
        item.idx, item.input_id, item.retry_count = live.idx, live.id, live.attempt
        self._leave_task(live)
        live.state = InputState.DONE
        call = live.call
        if call.is_durable:
            await self._durable.record_result(live.id, item)
        call.outputs.append(item)
        call.latest[live.idx] = item
        call.unfinished -= 1
        call.last_seen = self._clock.monotonic()
        if call.record.kind is CallKind.UNARY:
            call.data_in.close()
            call.data_out.close()
        call.changed.notify()
        if call.is_unwatched and not call.unfinished:
            self._forget(call)

    async def task_ended(self, task: LiveTask, end: TaskExit) -> None:
        for live in list(task.running.values()):
            live.losses += 1
            verdict = retries.after_exit(end, live.losses)
            if live.is_cancelled:
                await self.finish(live, _cancelled())
            elif verdict.fate is retries.Fate.QUEUE_AGAIN:
                self._requeue(live)
            else:
                await self.finish(live, failed(_FATES[verdict.fate], verdict.text))

    async def starts_failed(self, function_id: FunctionId, text: str, failure: bytes) -> None:
        """No container of this function becomes ready: whoever waits for one is told why."""
        said = _GENERIC.FromString(failure) if failure else _GENERIC(status=_GENERIC.GENERIC_STATUS_INIT_FAILURE, exception=text)
        await self._end_waiting(function_id, said)

    async def stop_function(self, function_id: FunctionId, text: str) -> None:
        """The function is gone: its waiting inputs end."""
        await self._end_waiting(function_id, _GENERIC(status=_GENERIC.GENERIC_STATUS_TERMINATED, exception=text))

    def has_unfinished(self, app_id: AppId) -> bool:
        return any(pool.app_id == app_id and (len(pool) or pool.running) for pool in self._pools.values())

    async def restore(self) -> int:
        """Queue again what was acknowledged and has no result; after a start of the engine. How many inputs."""
        return sum([await self._restore(call) for call in await self._durable.unfinished()])

    def forget_silent(self) -> None:
        """Drop finished calls whose caller has not asked for a while (results of asynchronous ones stay on disk), and idle pools."""
        limit = self._clock.monotonic() - _FORGET_AFTER
        for call in [call for call in self._calls.values() if not call.unfinished and call.last_seen < limit]:
            self._forget(call)
        for function_id in [function_id for function_id, pool in self._pools.items() if not len(pool) and not pool.running]:
            if not self._tasks.of_function(function_id):
                del self._pools[function_id]

    async def _end_waiting(self, function_id: FunctionId, result: api_pb2.GenericResult) -> None:
        pool = self._pools.get(function_id)
        while pool is not None and (live := pool.take()) is not None:
            await self.finish(live, api_pb2.FunctionGetOutputsItem(result=result))

    def _get(self, call_id: CallId) -> LiveCall:
        call = self._calls.get(call_id)
        if call is None:
            msg = f"No function call {call_id}: it is finished and forgotten, or the engine was restarted since. Call the function again."
            raise NotFound(msg)
        return call

    async def _recall(self, call_id: CallId) -> LiveCall:
        """A call that is on disk only: finished in the past, or before a restart."""
        return await self._durable.recall(call_id) or self._get(call_id)

    async def _restore(self, call: LiveCall) -> int:
        call.last_seen = self._clock.monotonic()
        self._calls[call.id] = call
        self._inputs |= {live.id: live for live in call.inputs.values()}
        waiting = [live for live in call.inputs.values() if live.state is InputState.QUEUED]
        for live in waiting:
            if call.record.is_cancelled:
                await self.finish(live, _cancelled())
            else:
                self._queue(live)
        return len(waiting)

    def _check_room(self, more: int) -> None:
        if len(self._inputs) + more > self._max_queued:
            msg = f"The engine holds {self._max_queued} inputs, its bound (FREEHOLD_MAX_QUEUED_INPUTS). Try again when some are done."
            raise ResourceExhausted(msg)

    def _live_input(self, call: LiveCall, item: api_pb2.FunctionPutInputsItem) -> LiveInput:
        if call.record.is_cancelled:
            msg = f"Function call {call.id} was cancelled; it takes no more inputs."
            raise InvalidRequest(msg)
        return LiveInput(new_input_id(), call, item.idx, item.input)

    def _admit_all(self, fresh: Sequence[LiveInput]) -> None:
        taken = [self._admit(live) for live in fresh]
        if not all(taken):
            self._demand.notify()

    def _admit(self, live: LiveInput) -> bool:
        """Whether a task that waits already will take it."""
        live.call.inputs[live.idx] = live
        live.call.unfinished += 1
        self._inputs[live.id] = live
        return self._queue(live)

    def _queue(self, live: LiveInput, *, first: bool = False) -> bool:
        live.state = InputState.QUEUED
        live.queued_at = self._clock.monotonic()
        return self.pool(live.call.function_id, live.call.record.app_id).add(live, first=first)

    def _requeue(self, live: LiveInput) -> None:
        self._leave_task(live)
        live.call.data_in.closed = live.call.data_out.closed = False
        self._queue(live, first=True)
        self._demand.notify()

    def _leave_task(self, live: LiveInput) -> None:
        if not live.is_running:
            return
        if (pool := self._pools.get(live.call.function_id)) is not None:
            pool.running -= 1
        if live.task_id and (task := self._tasks.find(live.task_id)):
            task.running.pop(live.id, None)
            if not task.running:
                task.idle_since = self._clock.monotonic()
        live.task_id = None

    def _tell_cancelled(self, live: LiveInput) -> None:
        live.is_cancelled = True
        if live.task_id and (task := self._tasks.find(live.task_id)):
            task.cancellations.notify()

    def _forget(self, call: LiveCall) -> None:
        self._calls.pop(call.id, None)
        for live in call.inputs.values():
            self._inputs.pop(live.id, None)


def _is_over(call: LiveCall) -> bool:
    """Whether no further output can come. The inputs of a map are added bit by bit, so that none is left says nothing yet."""
    return not call.unfinished and (call.record.kind is CallKind.UNARY or call.record.is_cancelled)


def _cancelled() -> api_pb2.FunctionGetOutputsItem:
    return failed(_GENERIC.GENERIC_STATUS_TERMINATED, "The function call was cancelled.")


def _is_still_read(call: LiveCall) -> bool:
    """Its reader may come back: to try again, or for the rest of what a generator yielded."""
    return bool(call.retry_policy.retries or call.data_out.last_index)
