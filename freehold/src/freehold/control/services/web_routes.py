"""Which function a web address means: computed from names, kept in memory, rebuilt from the store at every start."""

from collections.abc import Mapping

from modal_proto import api_pb2

from freehold.control.wakeups import Wakeup
from freehold.domain.apps import App, AppState
from freehold.domain.domains import checked_domain, of_host
from freehold.domain.environments import Environment
from freehold.domain.errors import NotFound
from freehold.domain.functions import Function, WebKind, WebTarget
from freehold.domain.ids import FunctionId
from freehold.domain.web import DEFAULT_DEV_SUFFIX, Label, Origin, label_of_host, web_label, web_url
from freehold.wire.functions import web_config, web_kind


class WebRoutes:
    """`publish` before the addresses are told to anyone; of two functions with one label or domain the later has it."""

    def __init__(self, *, workspace: str, domain: str, origin: Origin) -> None:
        self._workspace = workspace
        self._domain = domain
        self._origin = origin
        self._targets: dict[str, WebTarget] = {}  # by label
        self._owners: dict[str, WebTarget] = {}  # by custom domain
        self.domains_changed = Wakeup()

    def publish(self, app: App, environment: Environment, function: Function, message: api_pb2.Function) -> dict[str, str]:
        """Method name → URL ("" is the function itself) of everything in this definition that answers on the web."""
        self.withdraw(function.id)
        urls: dict[str, str] = {}
        for method, (tag, config) in _web_parts(message).items():
            label = self._label(app, environment.web_suffix, tag, config)
            target = _target(environment, function, method, tag, config)
            self._targets[label.text] = target
            self._owners |= dict.fromkeys(self._domains(app, config), target)
            urls[method] = web_url(label.text, self._domain, self._origin)
        self.domains_changed.notify()
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
        for targets in (self._targets, self._owners):
            for name in [name for name, target in targets.items() if target.function_id == function_id]:
                del targets[name]

    def target(self, label: str) -> WebTarget:
        target = self._targets.get(label)
        if target is None:
            msg = f"No web function answers at {label!r}. `modal app list` shows what is deployed; `modal deploy` prints each address."
            raise NotFound(msg)
        return target

    def target_of_host(self, host: str) -> WebTarget | None:
        """The function whose custom domain this is."""
        return of_host(self._owners, host)

    def answers_at(self, host: str) -> bool:
        """Whether a request for this host would reach a function, by its label or its custom domain, or the engine by its domain."""
        return host == self._domain or label_of_host(host, self._domain) in self._targets or self.target_of_host(host) is not None

    def covers(self, host: str) -> bool:
        """Whether this host is the engine's to answer, be it with a 404."""
        return label_of_host(host, self._domain) is not None or self.target_of_host(host) is not None

    def custom_domains(self) -> list[str]:
        return sorted(self._owners)

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
