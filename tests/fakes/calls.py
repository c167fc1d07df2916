"""One function, its calls and its tasks, over a store and without containers: the tests play the tasks."""

import asyncio
from dataclasses import replace

from modal_proto import api_pb2

from freehold.control.services.calls import Calls
from freehold.control.services.claims import Claims
from freehold.control.services.counters import Counters
from freehold.control.services.durable_calls import DurableCalls
from freehold.control.services.journal import Journal
from freehold.control.services.tasks import Tasks
from freehold.control.services.trace_contexts import TraceContexts
from freehold.control.wakeups import Wakeup
from freehold.domain.calls import CallKind, Invocation
from freehold.domain.clock import SystemClock
from freehold.domain.functions import Function
from freehold.domain.ids import AppId, DefinitionId, new_function_id
from freehold.store.memory.store import MemoryStore
from freehold.wire.tickets import InputTicket

R = api_pb2.GenericResult


class World:
    """One function, its calls and its tasks."""

    def __init__(self, *, store=None, clock=None, **settings):
        self.clock = clock = clock or SystemClock()
        self.store = store or MemoryStore()
        self.demand = Wakeup()
        self.journal = Journal(store=self.store, clock=clock)
        self.counters = Counters(clock)
        self.tasks = Tasks(clock=clock, journal=self.journal, changed=Wakeup(also=self.demand), counters=self.counters)
        limits = {"max_queued_inputs": 1000, **settings}
        durable = DurableCalls(store=self.store, clock=clock, journal=self.journal)
        self.contexts = TraceContexts()
        self.calls = Calls(
            durable=durable,
            tasks=self.tasks,
            clock=clock,
            demand=self.demand,
            contexts=self.contexts,
            measured=self.counters.call_ended,
            **limits,
        )
        self.tasks.report_ends_to(self.calls)
        self.claims = Claims(calls=self.calls, tasks=self.tasks, clock=clock, batch_taken=self.counters.batch_taken)
        self.function = Function(id=new_function_id(), app_id=AppId("ap-x"), tag="f")

    async def call(self, *, kind=CallKind.UNARY, invocation=Invocation.SYNC, inputs=1, retries=0, initial_delay_ms=0, **fields):
        policy = api_pb2.FunctionRetryPolicy(retries=retries, backoff_coefficient=1.0, initial_delay_ms=initial_delay_ms)
        call = await self.calls.create(self.function, kind=kind, invocation=invocation, retry_policy=policy, **fields)
        await self.calls.put_inputs(call.id, [an_item(i) for i in range(inputs)])
        return call

    def a_task(self):
        return self.tasks.create(self.function, DefinitionId("de-1"), "test")

    def adopt(self, task):
        """A task of an earlier engine, alive and ready."""
        self.function = replace(self.function, id=task.task.function_id)
        return self.tasks.adopt(task.task, is_restricted=False)

    def an_output(self, call, result):
        live = call.inputs[0]
        return api_pb2.FunctionGetOutputsItem(idx=live.idx, input_id=live.id, result=result)

    async def claim(self, task, **batch):
        async with asyncio.timeout(30):
            return list((await self.claims.claim(task.id, **batch)).inputs)

    async def answer(self, task, item, data=b"result", status=R.GENERIC_STATUS_SUCCESS):
        output = api_pb2.FunctionPutOutputsItem(input_id=item.input_id, retry_count=item.retry_count, result=R(status=status, data=data))
        await self.claims.put_outputs(task.id, [output])

    async def outputs(self, call, **request):
        async with asyncio.timeout(30):
            return await self.calls.outputs(api_pb2.FunctionGetOutputsRequest(function_call_id=call.id, **request))


def ticket_of(call, idx=0):
    live = call.inputs[idx]
    return InputTicket(call.id, live.id, idx, live.attempt)


def an_item(idx, args=b"args"):
    return api_pb2.FunctionPutInputsItem(idx=idx, input=api_pb2.FunctionInput(args=args))
