"""Tasks, the inputs that they take, and who is woken by what."""

from freehold.assembly.foundation import Foundation
from freehold.control.services.activity import Activity
from freehold.control.services.calls import Calls
from freehold.control.services.claims import Claims
from freehold.control.services.decisions import Decisions
from freehold.control.services.durable_calls import DurableCalls
from freehold.control.services.logs import Logs
from freehold.control.services.machines import Machines
from freehold.control.services.metrics import Metrics
from freehold.control.services.tasks import Tasks
from freehold.control.services.trace_contexts import TraceContexts
from freehold.control.services.usage import UsageBook
from freehold.control.wakeups import Wakeup
from freehold.placement.machine import capacity, this_machine
from freehold.worker.gpus import find_gpus


class Work:
    def __init__(self, base: Foundation) -> None:
        settings = base.settings
        counters = base.counters if settings.metrics else None
        self.demand = Wakeup()
        self.tasks_changed = Wakeup(also=self.demand)
        self.images_wanted = Wakeup()
        self.schedules_changed = Wakeup()
        self.tasks = Tasks(clock=base.clock, journal=base.journal, changed=self.tasks_changed, counters=counters)
        self.gpus = find_gpus(settings.pretend_gpus)
        self.machines = Machines(
            tasks=self.tasks,
            machine=this_machine(settings, self.gpus.all),
            largest_booking=capacity(settings),
            gpu_fallback=settings.gpu_fallback,
        )
        self.usage = UsageBook(store=base.store, tasks=self.tasks, clock=base.clock, gpus=self.gpus.all, counters=counters)
        self.decisions = Decisions(journal=base.journal)
        self.trace_contexts = TraceContexts()
        self.calls = Calls(
            durable=DurableCalls(store=base.store, clock=base.clock, journal=base.journal),
            tasks=self.tasks,
            clock=base.clock,
            demand=self.demand,
            contexts=self.trace_contexts,
            max_queued_inputs=settings.max_queued_inputs,
            measured=counters.call_ended if counters else None,
        )
        self.tasks.report_ends_to(self.calls)
        self.claims = Claims(calls=self.calls, tasks=self.tasks, clock=base.clock, batch_taken=counters.batch_taken if counters else None)
        self.activity = Activity(calls=self.calls, tasks=self.tasks, clock=base.clock)
        self.metrics = Metrics(
            store=base.store,
            counters=base.counters,
            activity=self.activity,
            clock=base.clock,
            kept=settings.metrics_ttl,
        )
        self.logs = Logs(store=base.log_store, tasks=self.tasks, clock=base.clock)
