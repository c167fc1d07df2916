"""What is known of what happened: the answers to people's questions."""

from freehold.assembly.catalog import Catalog
from freehold.assembly.foundation import Foundation
from freehold.assembly.work import Work
from freehold.config import Settings
from freehold.control.services.call_details import CallDesk
from freehold.control.services.call_records import CallRecords
from freehold.control.services.coldstarts import ColdStarts
from freehold.control.services.cost import Costs
from freehold.control.services.explanations import Explanations
from freehold.control.services.listings import Listings
from freehold.control.services.recent_costs import RecentCosts
from freehold.control.services.statistics import Statistics
from freehold.control.services.stories import Stories
from freehold.control.services.task_history import TaskHistory
from freehold.control.services.trace_exports import TraceExports
from freehold.control.services.traces import Traces
from freehold.control.services.version_diffs import VersionDiffs
from freehold.observability.otlp import find_sender


class Insight:
    def __init__(self, base: Foundation, work: Work, catalog: Catalog) -> None:
        settings = base.settings
        self.costs = Costs(usage=work.usage, prices=base.prices, store=base.store, clock=base.clock)
        self.recent_costs = RecentCosts(usage=work.usage, costs=self.costs, clock=base.clock)
        self.records = CallRecords(store=base.store, calls=work.calls, journal=base.journal)
        self.history = TaskHistory(tasks=work.tasks, journal=base.journal, store=base.store)
        self.explanations = Explanations(
            store=base.store,
            apps=catalog.apps,
            functions=catalog.functions,
            calls=work.calls,
            records=self.records,
            tasks=work.tasks,
            history=self.history,
            images=catalog.images,
            decisions=work.decisions,
            journal=base.journal,
            clock=base.clock,
            default_maximum=settings.default_max_containers,
        )
        self.cold_starts = ColdStarts(
            store=base.store,
            journal=base.journal,
            tasks=work.tasks,
            history=self.history,
            apps=catalog.apps,
            functions=catalog.functions,
            explanations=self.explanations,
            imports=base.import_lists,
        )
        self.traces = Traces(
            store=base.store, records=self.records, contexts=work.trace_contexts, cold_starts=self.cold_starts, clock=base.clock
        )
        self.statistics = Statistics(
            store=base.store,
            apps=catalog.apps,
            functions=catalog.functions,
            explanations=self.explanations,
            metrics=work.metrics,
            activity=work.activity,
            counters=base.counters,
            costs=self.costs,
            clock=base.clock,
        )
        self.stories = Stories(
            store=base.store,
            apps=catalog.apps,
            functions=catalog.functions,
            explanations=self.explanations,
            records=self.records,
            journal=base.journal,
        )
        self.desk = CallDesk(store=base.store, records=self.records, calls=work.calls, functions=catalog.functions, journal=base.journal)
        self.diffs = VersionDiffs(store=base.store)
        self.listings = Listings(store=base.store, records=self.records, journal=base.journal)
        self.trace_exports = _trace_exports(settings, self.traces)
        if self.trace_exports:
            self.traces.report_requests_to(self.trace_exports.request_ended)
            work.calls.report_ends_to(self.trace_exports.call_ended)


def _trace_exports(settings: Settings, traces: Traces) -> TraceExports | None:
    """To the receiver that is named, if one is; otherwise nothing of it is there."""
    sender = find_sender(settings.otlp_endpoint, {"freehold.workspace": settings.workspace})
    return TraceExports(traces=traces, sender=sender) if sender else None
