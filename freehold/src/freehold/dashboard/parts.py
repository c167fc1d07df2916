"""What the pages read and change: services of the control plane, joined by the assembly."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from freehold.config import Settings
from freehold.control.services.apps import Apps
from freehold.control.services.call_details import CallDesk
from freehold.control.services.call_records import CallRecords
from freehold.control.services.calls import Calls
from freehold.control.services.claims import Claims
from freehold.control.services.coldstarts import ColdStarts
from freehold.control.services.cost import Costs
from freehold.control.services.deployments import Deployments
from freehold.control.services.environments import Environments
from freehold.control.services.execs import Execs
from freehold.control.services.explanations import Explanations
from freehold.control.services.functions import Functions
from freehold.control.services.images import Images
from freehold.control.services.journal import Journal
from freehold.control.services.listings import Listings
from freehold.control.services.logs import Logs
from freehold.control.services.machines import Machines
from freehold.control.services.metrics import Metrics
from freehold.control.services.proxy_tokens import ProxyTokens
from freehold.control.services.recent_costs import RecentCosts
from freehold.control.services.scaling import Scaling
from freehold.control.services.schedules import Schedules
from freehold.control.services.secrets import Secrets
from freehold.control.services.stories import Stories
from freehold.control.services.task_history import TaskHistory
from freehold.control.services.tasks import Tasks
from freehold.control.services.token_flows import TokenFlows
from freehold.control.services.tokens import Tokens
from freehold.control.services.traces import Traces
from freehold.control.services.usage import UsageBook
from freehold.control.services.version_diffs import VersionDiffs
from freehold.control.services.volume_files import VolumeFiles
from freehold.control.services.volumes import Volumes
from freehold.dashboard.layer_sizes import LayerSizes
from freehold.domain.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    settings: Settings
    status: Callable[[], Mapping[str, Any]]
    apps: Apps
    calls: Calls
    claims: Claims
    cold_starts: ColdStarts
    costs: Costs
    deployments: Deployments
    desk: CallDesk
    diffs: VersionDiffs
    environments: Environments
    execs: Execs
    explanations: Explanations
    functions: Functions
    history: TaskHistory
    images: Images
    journal: Journal
    layer_sizes: LayerSizes
    listings: Listings
    logs: Logs
    machines: Machines
    proxy_tokens: ProxyTokens
    recent_costs: RecentCosts
    records: CallRecords
    scaling: Scaling
    schedules: Schedules
    secrets: Secrets
    stories: Stories
    tasks: Tasks
    token_flows: TokenFlows
    tokens: Tokens
    traces: Traces
    usage: UsageBook
    metrics: Metrics
    clock: Clock
    volumes: Volumes
    volume_files: VolumeFiles
