"""Function calls: what clients put in and get out. Synchronous calls live in memory; asynchronous ones are on disk before we say so."""

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from modal_proto import api_pb2

from freehold.control.services.call_book import CallBook
from freehold.control.services.call_history import CallHistory
from freehold.control.services.durable_calls import DurableCalls
from freehold.control.services.inputs import Inputs, Measured
from freehold.control.services.live import InputState, LiveCall, LiveInput
from freehold.control.services.outputs import add_lost, cancelled, entry_id, lost, page_of
from freehold.control.services.pools import Pool, Pools
from freehold.control.services.tasks import LiveTask, Tasks
from freehold.control.services.trace_contexts import TraceContexts
from freehold.control.wakeups import Wakeup
from freehold.domain.calls import CallKind, FunctionCall, Invocation
from freehold.domain.clock import Clock
from freehold.domain.errors import InvalidRequest, NotFound, ResourceExhausted
from freehold.domain.functions import Function
from freehold.domain.ids import AppId, CallId, FunctionId, InputId, new_call_id, new_input_id
from freehold.domain.tasks import TaskExit
from freehold.domain.trace_contexts import TraceParent
from freehold.store.ports import Transaction
from freehold.wire.functions import retry_policy_of
from freehold.wire.tickets import InputTicket

_GENERIC = api_pb2.GenericResult
_RESUMPTION = 5.0  # seconds in which a client that still adds inputs to a call sends more of them
_LAST_VALUES = 2.0  # seconds that a generator's end waits for its values to be sent: its caller stops reading at an error


class Draft(NamedTuple):
    """A call with its first inputs, before anybody knows of it."""

    call: LiveCall
    inputs: Sequence[LiveInput]


class Calls:
    def __init__(
        self,
        *,
        durable: DurableCalls,
        tasks: Tasks,
        clock: Clock,
        demand: Wakeup,
        contexts: TraceContexts,
        max_queued_inputs: int,
        measured: Measured | None = None,
    ) -> None:
        self._durable = durable
        self._tasks = tasks
        self._clock = clock
        self._contexts = contexts
        self._max_queued = max_queued_inputs
        self._pools = Pools()
        self._resumed = Wakeup()
        self.inputs = Inputs(
            durable=durable, pools=self._pools, tasks=tasks, clock=clock, demand=demand, done=self._call_done, measured=measured
        )
        self._ended: Callable[[LiveCall], None] | None = None
        self._book = CallBook(clock=clock, forgotten=self.inputs.forget)

    def report_ends_to(self, ended: Callable[[LiveCall], None]) -> None:
        """Calls whose last open input has got its result; perhaps again, when more inputs come."""
        self._ended = ended

    # What clients ask for.

    async def create(
        self,
        function: Function,
        *,
        kind: CallKind,
        invocation: Invocation,
        parent_input_id: str = "",
        origin: TraceParent | None = None,
        request_key: str = "",
        retry_policy: api_pb2.FunctionRetryPolicy | None = None,
        items: Sequence[api_pb2.FunctionPutInputsItem] = (),
        leaves_retries: bool = False,
    ) -> LiveCall:
        """A new call with its first inputs, which are queued at once. `origin` is the span that it is made in, if its caller says one."""
        call = self._new(
            function,
            new_call_id(),
            kind=kind,
            invocation=invocation,
            parent_input_id=parent_input_id,
            origin=origin,
            request_key=request_key,
            retry_policy=retry_policy,
        )
        call.leaves_retries = leaves_retries
        draft = self._with_inputs(call, items)
        if call.is_durable:
            await self._durable.put(call.record, draft.inputs)
        return self.admit(draft)

    def draft(self, function: Function, payload: api_pb2.FunctionInput, retry_policy: api_pb2.FunctionRetryPolicy) -> Draft:
        """An asynchronous call with one input, of which nobody knows yet. It is written, then admitted: then it runs."""
        call = self._new(function, new_call_id(), kind=CallKind.UNARY, invocation=Invocation.ASYNC, retry_policy=retry_policy)
        return self._with_inputs(call, [api_pb2.FunctionPutInputsItem(idx=0, input=payload)])

    async def write(self, tx: Transaction, draft: Draft) -> None:
        """On disk together with what else this transaction writes."""
        await self._durable.put_in(tx, draft.call.record, draft.inputs)

    def admit(self, draft: Draft) -> LiveCall:
        self._book.add(draft.call)
        self.inputs.admit_all(draft.inputs)
        self._book.note_open(draft.call)
        return draft.call

    async def recall_request(self, request_key: str) -> LiveCall | None:
        """The asynchronous call that this request made, before the engine was restarted."""
        found = await self._durable.recall_request(request_key)
        return (self._book.find(found.id) or found) if found else None

    def resume(
        self,
        function: Function,
        call_id: CallId,
        *,
        kind: CallKind,
        parent_input_id: str = "",
        retry_policy: api_pb2.FunctionRetryPolicy | None = None,
    ) -> LiveCall:
        """A synchronous call whose client waits for it still, and which went with an earlier engine: known again, without inputs."""
        call = self._book.find(call_id)
        if call is None:
            call = self._new(
                function, call_id, kind=kind, invocation=Invocation.SYNC, parent_input_id=parent_input_id, retry_policy=retry_policy
            )
            call.epoch = secrets.randbelow(2**31) + 1
            self._book.add(call)
            self._resumed.notify()
        return call

    async def put_inputs(self, call_id: CallId, items: Sequence[api_pb2.FunctionPutInputsItem]) -> list[LiveInput]:
        """Queue inputs of a call. An index that is there already is the same input, sent again."""
        call = self.get_live(call_id)
        by_idx = {item.idx: item for item in items}
        async with call.changing:
            fresh = [self._live_input(call, item) for idx, item in by_idx.items() if idx not in call.inputs]
            self._check_room(len(fresh))
            if call.is_durable and fresh:
                await self._durable.add_inputs(fresh)
                self._book.add(call)  # its reader may have let it go meanwhile
            self.inputs.admit_all(fresh)
        self._book.note_open(call)
        return [call.inputs[idx] for idx in by_idx]

    def retry(self, call: LiveCall, ticket: InputTicket, payload: api_pb2.FunctionInput, attempt: int) -> LiveInput:
        """The client wants one of its synchronous inputs tried again: one that failed, or one that an earlier engine took with it."""
        if call.is_durable or call.record.is_cancelled:
            msg = f"Function call {call.id} takes no retries from its client: it is asynchronous, or was cancelled."
            raise InvalidRequest(msg)
        live = call.inputs.get(ticket.idx)
        if ticket.call_id != call.id or (live is None and self.inputs.find(ticket.input_id) is not None):
            msg = f"Input {ticket.input_id} is not one of function call {call.id}. Call the function again."
            raise InvalidRequest(msg)
        if live is None:
            live = LiveInput(ticket.input_id, call, ticket.idx, payload, attempt=attempt or ticket.attempt)
            self._check_room(1)
            self.inputs.admit_all([live])
        elif live.state is InputState.DONE and (attempt or call.retry_policy.retries):
            live.payload, live.attempt = payload, attempt or live.attempt + 1
            call.latest.pop(live.idx, None)
            self.inputs.queue_again(live)
        self._book.note_open(call)
        return live

    async def outputs(self, request: api_pb2.FunctionGetOutputsRequest, *, sends_again: bool = True) -> api_pb2.FunctionGetOutputsResponse:
        """Outputs that the reader has not had, waiting up to its timeout for the first. `sends_again` says whether the client knows what to
        do when an earlier engine took its inputs with it.
        """
        call_id = CallId(request.function_call_id)
        call = self._book.find_answered(call_id) or await self._durable.recall(call_id)
        if call is None and _is_of_a_map(request) and sends_again:
            call = await self._await_resumption(call_id)
        if call is None:
            return self._of_unknown(call_id, request, sends_again=sends_again)
        if call.record.kind is CallKind.UNARY:
            request = _by_index(request)
        if request.clear_on_success and not request.HasField("start_idx"):
            return self._acknowledge(call)
        missing = _missing(call, request)
        deadline = self._clock.monotonic() + (_RESUMPTION if _is_stale(call, request) else request.timeout)
        while True:
            call.last_seen = self._clock.monotonic()
            generation = call.changed.generation
            response = page_of(call, request)
            if response.outputs or missing or _is_over(call):
                break
            if not await call.changed.wait(generation, deadline - self._clock.monotonic()):
                break
        add_lost(response, missing)
        if response.outputs and call.has_streamed:
            await call.data_out.wait_sent(_LAST_VALUES)
        if request.clear_on_success and response.outputs:
            self._book.note_answered(call)
        return response

    async def _await_resumption(self, call_id: CallId) -> LiveCall | None:
        """A map's reader may come before the map's writer, by whom an earlier engine's call is known again."""
        deadline = self._clock.monotonic() + _RESUMPTION
        while (call := self._book.find(call_id)) is None:
            generation = self._resumed.generation
            if not await self._resumed.wait(generation, deadline - self._clock.monotonic()):
                break
        return call

    def _of_unknown(
        self, call_id: CallId, request: api_pb2.FunctionGetOutputsRequest, *, sends_again: bool
    ) -> api_pb2.FunctionGetOutputsResponse:
        """A waiting client shows its tickets: what it waits for went with an earlier engine, and it will send it again.

        A map's reader that began to wait before there were any will show them when it asks the next time. One that never will, as one of
        an old client, or that waits for one result, would ask for ever.
        """
        mine = _tickets(call_id, request)
        is_done = request.clear_on_success and not request.timeout  # a map's reader has all it wants
        if not mine and not is_done and (_waits_for_one(request) or request.input_jwts or not sends_again):
            raise _unknown(call_id)
        return lost(mine)

    def _acknowledge(self, call: LiveCall) -> api_pb2.FunctionGetOutputsResponse:
        """A map's reader has all it wants."""
        if not call.unfinished:
            self._book.forget(call)
        return api_pb2.FunctionGetOutputsResponse(last_entry_id=entry_id(call, len(call.outputs)), num_unfinished_inputs=call.unfinished)

    def unwatch(self, call: LiveCall) -> None:
        """Nobody will ask for this call's result."""
        call.is_unwatched = True
        if not call.unfinished:
            self._book.forget(call)

    async def cancel(self, call_id: CallId) -> list[LiveInput]:
        """Queued inputs never start, running ones are told. Returns those that were running, of the calls too that they wait for."""
        told: list[LiveInput] = []
        seen: set[CallId] = set()  # what clients send as a parent may be anything, a circle too
        level = [call_id]
        while level:
            seen |= set(level)
            running = [live for each in level for live in await self._cancel(each)]
            level = [child.id for child in self._waited_for_by(running) if child.id not in seen]
            told += running
        return told

    async def _cancel(self, call_id: CallId) -> list[LiveInput]:
        """Those of its own inputs that were running."""
        call = self._book.find(call_id)
        if call is None:
            return []
        async with call.changing:
            record = replace(call.record, is_cancelled=True)
            if call.is_durable:
                await self._durable.put(record)
            call.record = record
            running = [live for live in call.inputs.values() if live.is_running]
            for live in running:
                self.inputs.tell_cancelled(live)
            waiting = [live for live in call.inputs.values() if live.state in (InputState.QUEUED, InputState.PAUSED)]
            await self.inputs.finish_all([(live, cancelled()) for live in waiting])
        return running

    def _waited_for_by(self, running: Iterable[LiveInput]) -> list[LiveCall]:
        """What these inputs wait for. What they have spawned goes on without them."""
        parents = {live.id for live in running}
        calls = self._book.all() if parents else ()
        return [call for call in calls if call.record.parent_input_id in parents and not call.is_durable and call.unfinished]

    async def find_record(self, call_id: CallId) -> LiveCall:
        """The call, in memory or from disk. Raises NotFound."""
        call = self._book.find_answered(call_id) or await self._durable.recall(call_id)
        if call is None:
            raise _unknown(call_id)
        return call

    async def reopen(self, call_id: CallId) -> LiveCall | None:
        """The call, to add inputs to it: an asynchronous one comes back from disk. None if it is not known."""
        call = self._book.find(call_id) or await self._durable.recall(call_id)
        return self._book.add(call) if call else None

    def get_live(self, call_id: CallId) -> LiveCall:
        """The call in memory. Raises NotFound."""
        call = self._book.find(call_id)
        if call is None:
            raise _unknown(call_id)
        return call

    def find_live(self, call_id: CallId) -> LiveCall | None:
        return self._book.find(call_id)

    def live(self) -> Iterable[LiveCall]:
        return self._book.all()

    @property
    def history(self) -> CallHistory:
        return self._book.history

    # What tasks, controllers and ends of tasks ask for.

    def pool(self, function_id: FunctionId, app_id: AppId) -> Pool:
        return self._pools.get(function_id, app_id)

    def pools(self) -> Iterable[Pool]:
        return self._pools.all()

    def find_pool(self, function_id: FunctionId) -> Pool | None:
        return self._pools.find(function_id)

    def find_input(self, input_id: InputId) -> LiveInput | None:
        return self.inputs.find(input_id)

    def context_of(self, input_id: InputId) -> TraceParent | None:
        """What happens while this input runs, or this web request, is in; None for nothing that anybody would know."""
        live = self.inputs.find(input_id)
        return self._contexts.of_input(live) if live else self._contexts.of_request(input_id)

    def take_web_requests_as_inputs(self, task: LiveTask) -> None:
        """The task asks for inputs: web requests that wait for one of its function that serves them go the other way."""
        pool = self._pools.find(task.task.function_id)
        if pool is not None and pool.web.waiting:
            pool.web.send_away()

    async def task_ended(self, task: LiveTask, end: TaskExit) -> None:
        if (pool := self._pools.find(task.task.function_id)) is not None:
            pool.web.lanes.pop(task.id, None)
        await self.inputs.task_ended(task, end)

    async def starts_failed(self, function_id: FunctionId, text: str, failure: bytes) -> None:
        """No container of this function becomes ready: whoever waits for one is told why."""
        said = _GENERIC.FromString(failure) if failure else _GENERIC(status=_GENERIC.GENERIC_STATUS_INIT_FAILURE, exception=text)
        await self.inputs.end_waiting(function_id, said)

    async def stop_function(self, function_id: FunctionId, text: str) -> None:
        """The function is gone: its waiting inputs end."""
        await self.inputs.end_waiting(function_id, _GENERIC(status=_GENERIC.GENERIC_STATUS_TERMINATED, exception=text))

    def has_unfinished(self, app_id: AppId) -> bool:
        return any(pool.app_id == app_id and not pool.is_idle for pool in self._pools.all())

    async def restore(self) -> int:
        """What was acknowledged and has no result: queued again, or still with the task that runs it. How many inputs."""
        last_tries = await self._durable.last_attempts()
        count = 0
        for call in await self._durable.unfinished():
            self._book.add(call)
            count += await self.inputs.restore(call, last_tries)
        return count

    def forget_silent(self) -> None:
        """Drop finished calls that nobody asks for any more, and idle pools."""
        self._book.forget_silent()
        for pool in self._pools.all():
            if pool.is_idle and not self._tasks.of_function(pool.function_id):
                self._pools.drop(pool.function_id)

    def _call_done(self, call: LiveCall) -> None:
        if self._ended is not None:
            self._ended(call)
        self._book.note_done(call)

    def _new(
        self,
        function: Function,
        call_id: CallId,
        *,
        kind: CallKind,
        invocation: Invocation,
        parent_input_id: str = "",
        origin: TraceParent | None = None,
        request_key: str = "",
        retry_policy: api_pb2.FunctionRetryPolicy | None,
    ) -> LiveCall:
        policy = retry_policy or api_pb2.FunctionRetryPolicy()
        is_durable = invocation is Invocation.ASYNC
        record = FunctionCall(
            id=call_id,
            function_id=function.id,
            app_id=function.app_id,
            kind=kind,
            invocation=invocation,
            created_at=self._clock.now(),
            parent_input_id=parent_input_id,
            request_key=request_key if is_durable else "",
            retry_policy=policy.SerializeToString() if is_durable else b"",
            origin=origin or (self.context_of(InputId(parent_input_id)) if parent_input_id else None),
        )
        return LiveCall(record, retry_policy_of(policy), last_seen=self._clock.monotonic())

    def _with_inputs(self, call: LiveCall, items: Sequence[api_pb2.FunctionPutInputsItem]) -> Draft:
        fresh = [self._live_input(call, item) for item in {item.idx: item for item in items}.values()]
        self._check_room(len(fresh))
        return Draft(call, fresh)

    def _check_room(self, more: int) -> None:
        if (missing := len(self.inputs) + more - self._max_queued) > 0:
            self._book.make_room(missing)
        if len(self.inputs) + more > self._max_queued:
            msg = f"The engine holds {self._max_queued} inputs, its bound (FREEHOLD_MAX_QUEUED_INPUTS). Try again when some are done."
            raise ResourceExhausted(msg)

    def _live_input(self, call: LiveCall, item: api_pb2.FunctionPutInputsItem) -> LiveInput:
        if call.record.is_cancelled:
            msg = f"Function call {call.id} was cancelled; it takes no more inputs."
            raise InvalidRequest(msg)
        return LiveInput(new_input_id(), call, item.idx, item.input)


def _unknown(call_id: CallId) -> NotFound:
    return NotFound(
        f"No function call {call_id}: its result was read or is too old, or the engine that waited for it was restarted. "
        "Call the function again."
    )


def _is_of_a_map(request: api_pb2.FunctionGetOutputsRequest) -> bool:
    """From a reader that is not done, and has no tickets to show yet."""
    return not request.HasField("start_idx") and not request.input_jwts and not request.clear_on_success


def _waits_for_one(request: api_pb2.FunctionGetOutputsRequest) -> bool:
    """Clients before 1.1 do not say which."""
    return request.HasField("start_idx") or (request.clear_on_success and request.timeout > 0)


def _by_index(request: api_pb2.FunctionGetOutputsRequest) -> api_pb2.FunctionGetOutputsRequest:
    """A call with one input is read by its index. Clients before 1.1 leave it out."""
    if request.HasField("start_idx"):
        return request
    asked = api_pb2.FunctionGetOutputsRequest()
    asked.CopyFrom(request)
    asked.start_idx = asked.end_idx = 0
    return asked


def _tickets(call_id: CallId, request: api_pb2.FunctionGetOutputsRequest) -> list[InputTicket]:
    tickets = [InputTicket.read(text) for text in request.input_jwts]
    return [ticket for ticket in tickets if ticket.call_id == call_id]


def _is_stale(call: LiveCall, request: api_pb2.FunctionGetOutputsRequest) -> bool:
    """Whether a map's reader asks as it did in an earlier engine's time, and would show more if it asked anew."""
    return bool(call.epoch) and not request.HasField("start_idx")


def _missing(call: LiveCall, request: api_pb2.FunctionGetOutputsRequest) -> list[InputTicket]:
    """What a map's reader waits for and went with an earlier engine, though others of its inputs have come anew."""
    if not _is_stale(call, request):
        return []
    return [ticket for ticket in _tickets(call.id, request) if ticket.idx not in call.inputs]


def _is_over(call: LiveCall) -> bool:
    """Whether no further output can come. The inputs of a map are added bit by bit, so that none is left says nothing yet."""
    return not call.unfinished and (call.record.kind is CallKind.UNARY or call.record.is_cancelled)
