"""The life of an input: queued, leased to a task, tried again where that is due, and done once with a result.

An input of an asynchronous call is tried again here, by its function's retry policy; one of a synchronous call by the client that waits
for it. A try that was lost with its container, by no doing of the function, counts against neither: it is made again, up to a bound.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from modal_proto import api_pb2

from freehold.control.services.durable_calls import DurableCalls
from freehold.control.services.live import InputState, LiveCall, LiveInput
from freehold.control.services.outputs import cancelled, cut_short, failed, say_cancelled, summary_of
from freehold.control.services.pools import Pool, Pools
from freehold.control.services.tasks import LiveTask, Tasks
from freehold.control.wakeups import Wakeup
from freehold.domain import retries
from freehold.domain.calls import Attempt, CallKind
from freehold.domain.clock import Clock
from freehold.domain.errors import Unavailable
from freehold.domain.ids import AppId, FunctionId, InputId, TaskId
from freehold.domain.tasks import ExitKind, TaskExit

Result = tuple[LiveInput, api_pb2.FunctionGetOutputsItem]

_GENERIC = api_pb2.GenericResult
_FATES = {
    retries.Fate.FAIL: _GENERIC.GENERIC_STATUS_FAILURE,
    retries.Fate.FAIL_OUT_OF_MEMORY: _GENERIC.GENERIC_STATUS_KERNEL_OOM_KILL,
}
_FAILURES = {  # what a function may do better the next time
    _GENERIC.GENERIC_STATUS_FAILURE,
    _GENERIC.GENERIC_STATUS_TIMEOUT,
    _GENERIC.GENERIC_STATUS_KERNEL_OOM_KILL,
}


Measured = Callable[[FunctionId, AppId, int, float, float], None]


class Inputs:
    """`done` is called with a call whose last open input has got its result. `measured` is told of each result: its status, the seconds
    since the input came, and those since a container took it (0 where none has).
    """

    def __init__(
        self,
        *,
        durable: DurableCalls,
        pools: Pools,
        tasks: Tasks,
        clock: Clock,
        demand: Wakeup,
        done: Callable[[LiveCall], None],
        measured: Measured | None = None,
    ) -> None:
        self._durable = durable
        self._pools = pools
        self._tasks = tasks
        self._clock = clock
        self._demand = demand
        self._done = done
        self._measured = measured
        self._inputs: dict[InputId, LiveInput] = {}
        self._in_hand: dict[InputId, tuple[TaskId, int]] = {}  # attempts that tasks have from an earlier engine

    def __len__(self) -> int:
        return len(self._inputs)

    def find(self, input_id: InputId) -> LiveInput | None:
        return self._inputs.get(input_id)

    def pool_of(self, call: LiveCall) -> Pool:
        return self._pools.get(call.function_id, call.record.app_id)

    # Into the queue.

    def admit_all(self, fresh: Sequence[LiveInput]) -> None:
        taken = [self._admit(live) for live in fresh]
        if not all(taken):
            self._demand.notify()

    def queue_again(self, live: LiveInput) -> None:
        """Its next try, before those that have not waited yet."""
        live.call.unfinished += live.state is InputState.DONE
        self._leave_task(live)
        live.call.reopen_streams()
        self._queue(live, first=True)
        self._demand.notify()

    def forget(self, call: LiveCall) -> None:
        for live in call.inputs.values():
            if self._inputs.get(live.id) is live:
                del self._inputs[live.id]

    # On a task.

    def take_back(self, task: LiveTask, held: Mapping[InputId, int]) -> None:
        """A task of an earlier engine says what it has in hand: it goes on with that, and nobody else begins with it. Of synchronous
        inputs this engine may not know yet; their clients bring them.
        """
        self._forget_hands(task)
        for input_id, attempt in held.items():
            live = self._inputs.get(input_id)
            if live is None:
                self._in_hand[input_id] = (task.id, attempt)
            elif live.state is InputState.QUEUED and live.attempt == attempt and live.call.function_id == task.task.function_id:
                self._leave_queue(live)
                self._lease_again(task, live)

    def note_answered(self, input_id: InputId) -> None:
        """Whoever had it in hand has it no more: if its client brings it yet, it is run again."""
        self._in_hand.pop(input_id, None)

    def lease(self, task: LiveTask, pool: Pool, live: LiveInput) -> None:
        live.claimed_at = self._clock.monotonic()
        self._hold(task, pool, live)
        attempt = live.begin_try(task.id, self._clock.now())
        if live.call.is_durable:
            self._durable.note(attempt)

    def _hold(self, task: LiveTask, pool: Pool, live: LiveInput) -> None:
        live.state = InputState.RUNNING
        live.task_id = task.id
        live.metered_since = task.meter.begin(live.claimed_at)
        task.running[live.id] = live
        pool.running += 1

    def tell_cancelled(self, live: LiveInput) -> None:
        live.is_cancelled = True
        live.cancelled_at = self._clock.monotonic()
        if live.task_id and (task := self._tasks.find(live.task_id)):
            task.cancellations.notify()

    async def task_ended(self, task: LiveTask, end: TaskExit) -> None:
        """A cancelled input may take its container with it: its neighbours lost that by no doing of theirs."""
        self._forget_hands(task)
        held = [live for live in task.running.values() if not live.is_recording]
        is_innocent = any(live.is_cancelled for live in held)
        results = [(live, self._fate(live, end, is_innocent=is_innocent or _has_not_arrived(task, live, end))) for live in held]
        try:
            await self.settle_all([(live, item) for live, item in results if item is not None])
        except BaseException:  # nobody brings these results again
            self._let_go([live for live in held if live.task_id == task.id and not live.is_recording])
            raise

    def _fate(self, live: LiveInput, end: TaskExit, *, is_innocent: bool) -> api_pb2.FunctionGetOutputsItem | None:
        """The result of an input whose container has ended; None if it was queued again."""
        if live.is_cancelled:
            return cancelled()
        losses = live.losses + 1
        verdict = retries.after_loss(losses) if is_innocent else retries.after_exit(end, losses)
        if verdict.fate is not retries.Fate.QUEUE_AGAIN:
            return failed(_FATES[verdict.fate], verdict.text)
        if not live.call.can_begin_again:
            return cut_short()
        self.lose(live, f"lost with its container ({end.kind})")
        return None

    def lose(self, live: LiveInput, outcome: str) -> None:
        """Its try came to nothing, by no doing of its own: it is made again."""
        live.losses += 1
        self._end_try(live, outcome)
        self.queue_again(live)

    # To its end.

    async def settle_all(self, results: Sequence[Result]) -> None:
        """What tries have come to. An asynchronous input that failed and has a retry left is tried again; all others are done."""
        final: list[Result] = []
        for live, item, attempt in [(live, item, live.attempt) for live, item in results]:
            if live.is_recording or live.attempt != attempt:
                continue  # whoever brought the same result too was faster
            pause = self._pause_before_retry(live, item)
            if pause is None:
                final.append((live, item))
            else:
                await self._try_again(live, item, pause)
        await self.finish_all(final)

    async def settle(self, live: LiveInput, item: api_pb2.FunctionGetOutputsItem) -> None:
        await self.settle_all([(live, item)])

    async def finish_all(self, results: Sequence[Result]) -> None:
        """Write results, one for each input and once. On disk before anyone learns of them, for asynchronous calls."""
        fresh = [(live, item) for live, item in results if live.state is not InputState.DONE and not live.is_recording]
        for live, item in fresh:
            item.idx, item.input_id, item.retry_count = live.idx, live.id, live.attempt
            if live.is_cancelled:
                say_cancelled(item.result)
            self._leave_queue(live)
        durable = [result for result in fresh if result[0].call.is_durable]
        for live, item in fresh:
            if not live.call.is_durable:
                self._close(live, item)
        await self._record(durable)
        for live, item in durable:
            self._close(live, item)

    async def end_waiting(self, function_id: FunctionId, result: api_pb2.GenericResult) -> None:
        """All inputs and web requests that wait for a task of this function, or for their next try, get this result."""
        if (pool := self._pools.find(function_id)) is not None:
            pool.web.send_away(Unavailable(result.exception))
            waiting = [*pool.waiting(), *pool.paused]
            await self.finish_all([(live, api_pb2.FunctionGetOutputsItem(result=result)) for live in waiting])

    # After a restart.

    async def restore(self, call: LiveCall, last_tries: Mapping[InputId, Attempt]) -> int:
        """Queue what has no result, or leave it with the task that runs it still. How many inputs."""
        self._inputs |= {live.id: live for live in call.inputs.values()}
        waiting = [live for live in call.inputs.values() if live.state is InputState.QUEUED]
        for live in waiting:
            self._restore(live, last_tries.get(live.id))
        if call.record.is_cancelled:
            await self.finish_all([(live, cancelled()) for live in waiting if not live.is_running])
        return len(waiting)

    def _restore(self, live: LiveInput, attempt: Attempt | None) -> None:
        live.admitted_at = self._clock.monotonic()
        live.tries = (attempt,) if attempt else ()
        task = self._tasks.find(attempt.task_id) if attempt and attempt.ended_at is None else None
        if task is None:
            self._end_try(live, "lost with the engine")
            self._queue(live)
            return
        live.claimed_at = self._clock.monotonic()
        self._hold(task, self.pool_of(live.call), live)
        task.remember([live])
        task.undelivered[live.id] = live.attempt  # whether it had arrived, the last engine took with it
        if live.call.record.is_cancelled:
            self.tell_cancelled(live)

    # The steps.

    def _admit(self, live: LiveInput) -> bool:
        """Whether a task that waits already will take it."""
        live.call.inputs[live.idx] = live
        live.call.unfinished += 1
        self._inputs[live.id] = live
        live.admitted_at = self._clock.monotonic()
        return self._is_in_hand(live) or self._queue(live)

    def _is_in_hand(self, live: LiveInput) -> bool:
        """Whether a task has it already, from an earlier engine: then that goes on with it."""
        task_id, attempt = self._in_hand.pop(live.id, (None, 0))
        task = self._tasks.find(task_id) if task_id else None
        if task is None or attempt != live.attempt or task.task.function_id != live.call.function_id:
            return False
        self._lease_again(task, live)
        return True

    def _forget_hands(self, task: LiveTask) -> None:
        self._in_hand = {input_id: held for input_id, held in self._in_hand.items() if held[0] != task.id}

    def _lease_again(self, task: LiveTask, live: LiveInput) -> None:
        self.lease(task, self.pool_of(live.call), live)
        task.remember([live])

    def _queue(self, live: LiveInput, *, first: bool = False) -> bool:
        live.state = InputState.QUEUED
        live.queued_at = self._clock.monotonic()
        return self.pool_of(live.call).add(live, first=first)

    def _pause_before_retry(self, live: LiveInput, item: api_pb2.FunctionGetOutputsItem) -> float | None:
        """Seconds; None if this is its last word."""
        is_open = live.state in (InputState.RUNNING, InputState.QUEUED) and not live.is_recording
        if not is_open or not live.call.is_retried_here or live.is_cancelled or item.result.status not in _FAILURES:
            return None
        pause = live.call.retry_policy.pause_before(live.attempt + 1)
        return None if pause is None else pause.total_seconds()

    async def _try_again(self, live: LiveInput, item: api_pb2.FunctionGetOutputsItem, pause: float) -> None:
        """The count goes to disk first: a restart gives no input more tries than its policy has."""
        self._leave_queue(live)
        if live.call.is_durable:
            await self._record_retry(live)
        live.attempt += 1
        self._end_try(live, summary_of(item.result))
        if live.is_cancelled or live.call.record.is_cancelled:
            await self.finish_all([(live, cancelled())])
            return
        self._leave_task(live)
        live.state = InputState.PAUSED
        self.pool_of(live.call).paused.add(live)
        live.next_try = asyncio.get_running_loop().call_later(pause, self._resume, live)

    async def _record_retry(self, live: LiveInput) -> None:
        live.is_recording = True
        try:
            await self._durable.record_retry(live.id, live.attempt + 1)
        except BaseException:
            self._let_go([live])
            raise
        live.is_recording = False

    def _resume(self, live: LiveInput) -> None:
        self._leave_pause(live)
        self.queue_again(live)

    async def _record(self, results: Sequence[Result]) -> None:
        if not results:
            return
        for live, _ in results:
            live.is_recording = True
        try:
            await self._durable.record_results(results)
        except BaseException:
            self._let_go([live for live, _ in results])
            raise
        for live, _ in results:
            live.is_recording = False

    def _let_go(self, inputs: Sequence[LiveInput]) -> None:
        """Their results are not on disk. Whoever brought them will bring them again; if that has ended meanwhile, they run again."""
        for live in inputs:
            live.is_recording = False
            is_left = live.is_running and (live.task_id is None or self._tasks.find(live.task_id) is None)
            if is_left or live.state is InputState.PAUSED:
                self.queue_again(live)

    def _close(self, live: LiveInput, item: api_pb2.FunctionGetOutputsItem) -> None:
        self._end_try(live, "", noted=False)
        self._leave_task(live)
        live.state = InputState.DONE
        call = live.call
        call.outputs.append(item)
        call.latest[live.idx] = item
        call.unfinished -= 1
        call.last_seen = now = self._clock.monotonic()
        if self._measured is not None:
            took = now - live.claimed_at if live.claimed_at else 0.0
            self._measured(call.function_id, call.record.app_id, item.result.status, now - live.admitted_at, took)
        if call.record.kind is CallKind.UNARY:
            call.close_streams()
        call.changed.notify()
        if not call.unfinished:
            self._done(call)

    def _leave_queue(self, live: LiveInput) -> None:
        """Nobody takes it any more, not while its result is on the way to disk either."""
        if live.state is InputState.QUEUED:
            self.pool_of(live.call).withdraw(live)
            live.state = InputState.PAUSED
        self._leave_pause(live)

    def _leave_pause(self, live: LiveInput) -> None:
        if live.next_try is not None:
            live.next_try.cancel()
            live.next_try = None
            self.pool_of(live.call).paused.discard(live)

    def _leave_task(self, live: LiveInput) -> None:
        if not live.is_running:
            return
        if (pool := self._pools.find(live.call.function_id)) is not None:
            pool.running -= 1
        if live.task_id and (task := self._tasks.find(live.task_id)):
            task.running.pop(live.id, None)
            now = self._clock.monotonic()
            task.meter.end(now, live.metered_since, live.call.id, is_kept=live.call.is_durable)
            if not task.load:
                task.idle_since = now
        live.task_id = None

    def _end_try(self, live: LiveInput, outcome: str, *, noted: bool = True) -> None:
        """That a try gave the result is known from the result: only the others are noted."""
        ended = live.end_try(outcome, self._clock.now())
        if noted and ended is not None and live.call.is_durable:
            self._durable.note(ended)


def _has_not_arrived(task: LiveTask, live: LiveInput, end: TaskExit) -> bool:
    """A task that left in good order without an input that was lost on the way to it."""
    return end.kind is ExitKind.FINISHED and task.undelivered.get(live.id) == live.attempt
