"""What people and programs see over HTTP besides their functions."""

import ssl
from typing import Any

from starlette.routing import BaseRoute

from freehold.assembly.control import ControlPlane
from freehold.control.services.execs import Execs
from freehold.dashboard.access import Access
from freehold.dashboard.app import Dashboard
from freehold.dashboard.layer_sizes import LayerSizes
from freehold.dashboard.parts import Parts
from freehold.gateway.app import Status
from freehold.gateway.ask import AskRoutes
from freehold.gateway.call_api import CallRoutes
from freehold.gateway.certificates import Certificates
from freehold.gateway.tokens import TokenRoutes
from freehold.gateway.volumes import VolumeRoutes
from freehold.store.authority import Authority


class Pages:
    """The dashboard, and what else the gateway's bare host serves."""

    def __init__(self, control: ControlPlane, *, execs: Execs, status: Status, layer_sizes: LayerSizes) -> None:
        base, work, resources = control.base, control.work, control.resources
        self._settings = control.settings
        self._access = Access(keyring=base.keyring, tokens=resources.tokens, clock=base.clock)
        self.dashboard = Dashboard(
            _parts(control, execs, status, layer_sizes),
            self._access,
            changed=(work.tasks_changed, work.schedules_changed, work.images_wanted),
        )
        self.routes: list[BaseRoute] = [
            *CallRoutes(control.serving.json_calls, resources.tokens, patience=self._settings.http_request_timeout).routes,
            *AskRoutes(control.catalog.routes).routes,
            *VolumeRoutes(resources.volume_files).routes,
            *TokenRoutes(resources.token_flows).routes,
            *self.dashboard.routes,
        ]

    async def link(self, _request: dict[str, Any]) -> dict[str, Any]:
        """The address of a page that lets one visitor in, once."""
        settings = self._settings
        origin = f"{'https' if settings.tls else 'http'}://{settings.host}:{settings.gateway_port}"
        return {"url": origin + self._access.new_link()}


def tls(control: ControlPlane) -> ssl.SSLContext | None:
    """For HTTPS with the home's own authority, if that is wanted."""
    settings, clock, routes = control.settings, control.base.clock, control.catalog.routes
    if not settings.tls:
        return None
    authority = Authority.open(settings.root, clock.now())
    own = dict.fromkeys(("localhost", settings.domain, settings.host, "127.0.0.1", "::1"))
    return Certificates(authority=authority, own=[*own], is_ours=routes.covers, clock=clock).context


def _parts(control: ControlPlane, execs: Execs, status: Status, layer_sizes: LayerSizes) -> Parts:
    base, resources, work, catalog, insight = control.base, control.resources, control.work, control.catalog, control.insight
    return Parts(
        settings=control.settings,
        status=status,
        apps=catalog.apps,
        calls=work.calls,
        claims=work.claims,
        clock=base.clock,
        cold_starts=insight.cold_starts,
        costs=insight.costs,
        deployments=catalog.deployments,
        desk=insight.desk,
        diffs=insight.diffs,
        environments=resources.environments,
        execs=execs,
        explanations=insight.explanations,
        functions=catalog.functions,
        history=insight.history,
        images=catalog.images,
        journal=base.journal,
        layer_sizes=layer_sizes,
        listings=insight.listings,
        logs=work.logs,
        machines=work.machines,
        metrics=work.metrics,
        proxy_tokens=resources.proxy_tokens,
        recent_costs=insight.recent_costs,
        records=insight.records,
        scaling=catalog.scaling,
        schedules=catalog.schedules,
        secrets=resources.secrets,
        stories=insight.stories,
        tasks=work.tasks,
        token_flows=resources.token_flows,
        tokens=resources.tokens,
        traces=insight.traces,
        usage=work.usage,
        volume_files=resources.volume_files,
        volumes=resources.volumes,
    )
