"""Which function a web address means: computed from names, kept in memory, rebuilt from the store at every start."""

from collections.abc import Mapping

from modal_proto import api_pb2

from freehold.domain.apps import App, AppState
from freehold.domain.domains import checked_domain, of_host
from freehold.domain.environments import Environment
from freehold.domain.errors import NotFound
from freehold.domain.functions import Function, WebKind, WebRoute, WebTarget
from freehold.domain.ids import FunctionId
from freehold.domain.web import DEFAULT_DEV_SUFFIX, Label, Origin, label_of_host, web_label, web_url
from freehold.wire.functions import spec_of, web_config, web_kind


class WebRoutes:
    """`publish` before the addresses are told to anyone; of two functions with one label or domain the later has it."""

    def __init__(self, *, workspace: str, domain: str, origin: Origin) -> None:
        self._workspace = workspace
        self._domain = domain
        self._origin = origin
        self._routes: dict[str, WebRoute] = {}  # by label
        self._owners: dict[str, WebRoute] = {}  # by custom domain

    def publish(self, app: App, environment: Environment, function: Function, message: api_pb2.Function) -> dict[str, str]:
        """Method name → URL ("" is the function itself) of everything in this definition that answers on the web."""
        self.withdraw(function.id)
        urls: dict[str, str] = {}
        for method, (tag, config) in _web_parts(message).items():
            label = self._label(app, environment.web_suffix, tag, config)
            route = _route(message, config, _target(environment, function, method, tag, config))
            self._routes[label.text] = route
            self._owners |= dict.fromkeys(self._domains(app, config), route)
            urls[method] = web_url(label.text, self._domain, self._origin)
        return urls

    def urls(self, app: App, environment: Environment, message: api_pb2.Function) -> dict[str, str]:
        """The URLs that `publish` would give."""
        parts = _web_parts(message).items()
        labels = {method: self._label(app, environment.web_suffix, tag, config).text for method, (tag, config) in parts}
        return {method: web_url(label, self._domain, self._origin) for method, label in labels.items()}

    def domain_urls(self, app: App, message: api_pb2.Function) -> dict[str, list[str]]:
        """Method name → URLs under the custom domains of what answers on the web."""
        return {
            method: [self._origin.url(name) for name in self._domains(app, config)] for method, (_, config) in _web_parts(message).items()
        }

    def check(self, message: api_pb2.Function) -> None:
        """Raises InvalidRequest for a custom domain that cannot be one."""
        for _, config in _web_parts(message).values():
            for domain in config.custom_domains:
                checked_domain(domain.name, self._domain)

    def withdraw(self, function_id: FunctionId) -> None:
        for routes in (self._routes, self._owners):
            for name in [name for name, route in routes.items() if route.target.function_id == function_id]:
                del routes[name]

    def target(self, label: str) -> WebTarget:
        return self.route(label).target

    def route(self, label: str) -> WebRoute:
        """Raises NotFound."""
        route = self._routes.get(label)
        if route is None:
            msg = f"No web function answers at {label!r}. `modal app list` shows what is deployed; `modal deploy` prints each address."
            raise NotFound(msg)
        return route

    def route_of_host(self, host: str) -> WebRoute | None:
        """What a custom domain means."""
        return of_host(self._owners, host)

    def answers_at(self, host: str) -> bool:
        """Whether a request for this host would reach a function, by its label or its custom domain, or the engine by its domain."""
        return host == self._domain or label_of_host(host, self._domain) in self._routes or self.route_of_host(host) is not None

    def covers(self, host: str) -> bool:
        """Whether this host is the engine's to answer, be it with a 404."""
        return label_of_host(host, self._domain) is not None or self.route_of_host(host) is not None

    def _domains(self, app: App, config: api_pb2.WebhookConfig) -> list[str]:
        """Only deployed apps have their domains: trying one out with `modal serve` takes nothing from it."""
        names = config.custom_domains if _is_deployed(app) else ()
        return [checked_domain(domain.name, self._domain) for domain in names]

    def _label(self, app: App, suffix: str, tag: str, config: api_pb2.WebhookConfig) -> Label:
        return web_label(
            workspace=self._workspace,
            environment_suffix=suffix,
            app=app.name or app.description,
            function=tag,
            label=config.requested_suffix,
            dev_suffix="" if _is_deployed(app) else (config.ephemeral_suffix or DEFAULT_DEV_SUFFIX),
        )


def _web_parts(message: api_pb2.Function) -> Mapping[str, tuple[str, api_pb2.WebhookConfig]]:
    """Method name → (tag, configuration) of what is web in a definition."""
    parts = {name: (method.function_name, method.webhook_config) for name, method in message.method_definitions.items()}
    parts[""] = (message.function_name, web_config(message))
    return {name: part for name, part in parts.items() if web_kind(part[1]) is not WebKind.NONE}


def _is_deployed(app: App) -> bool:
    return app.name is not None or app.state in {AppState.INITIALIZING, AppState.DEPLOYED}


def _route(message: api_pb2.Function, config: api_pb2.WebhookConfig, target: WebTarget) -> WebRoute:
    return WebRoute(
        target=target,
        timeout=spec_of(message).timeout.total_seconds(),
        needs_proxy_auth=config.requires_proxy_auth,
        has_sessions=message.is_server,
    )


def _target(environment: Environment, function: Function, method: str, tag: str, config: api_pb2.WebhookConfig) -> WebTarget:
    return WebTarget(
        function_id=function.id,
        app_id=function.app_id,
        name=tag.rpartition(".")[2],
        kind=web_kind(config),
        method_name=method,
        needs_proxy_auth=config.requires_proxy_auth,
        environment_id=environment.id,
    )
