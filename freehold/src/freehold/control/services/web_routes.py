"""Which function a web address means: computed from names, kept in memory, rebuilt from the store at every start."""

from collections.abc import Mapping

from modal_proto import api_pb2

from freehold.domain.apps import App, AppState
from freehold.domain.errors import NotFound
from freehold.domain.functions import Function, WebKind, WebTarget
from freehold.domain.ids import AppId, FunctionId
from freehold.domain.web import DEFAULT_DEV_SUFFIX, Label, web_label, web_url
from freehold.wire.functions import web_kind


class WebRoutes:
    """`publish` before the addresses are told to anyone; of two functions with one label the later has it."""

    def __init__(self, *, workspace: str, domain: str, port: int) -> None:
        self._workspace = workspace
        self._domain = domain
        self._port = port
        self._targets: dict[str, WebTarget] = {}

    def publish(self, app: App, suffix: str, function: Function, message: api_pb2.Function) -> dict[str, str]:
        """Method name → URL ("" is the function itself) of everything in this definition that answers on the web."""
        self.withdraw(function.id)
        urls: dict[str, str] = {}
        for method, (tag, config) in _web_parts(message).items():
            label = self._label(app, suffix, tag, config)
            self._targets[label.text] = _target(app.id, function.id, method, tag, web_kind(config))
            urls[method] = web_url(label.text, self._domain, self._port)
        return urls

    def urls(self, app: App, suffix: str, message: api_pb2.Function) -> dict[str, str]:
        """The URLs that `publish` would give."""
        labels = {method: self._label(app, suffix, tag, config).text for method, (tag, config) in _web_parts(message).items()}
        return {method: web_url(label, self._domain, self._port) for method, label in labels.items()}

    def withdraw(self, function_id: FunctionId) -> None:
        for label in [label for label, target in self._targets.items() if target.function_id == function_id]:
            del self._targets[label]

    def target(self, label: str) -> WebTarget:
        target = self._targets.get(label)
        if target is None:
            msg = f"No web function answers at {label!r}. `modal app list` shows what is deployed; `modal deploy` prints each address."
            raise NotFound(msg)
        return target

    def _label(self, app: App, suffix: str, tag: str, config: api_pb2.WebhookConfig) -> Label:
        is_deployed = app.name is not None or app.state in {AppState.INITIALIZING, AppState.DEPLOYED}
        return web_label(
            workspace=self._workspace,
            environment_suffix=suffix,
            app=app.name or app.description,
            function=tag,
            label=config.requested_suffix,
            dev_suffix="" if is_deployed else (config.ephemeral_suffix or DEFAULT_DEV_SUFFIX),
        )


def _web_parts(message: api_pb2.Function) -> Mapping[str, tuple[str, api_pb2.WebhookConfig]]:
    """Method name → (tag, configuration) of what is web in a definition."""
    parts = {name: (method.function_name, method.webhook_config) for name, method in message.method_definitions.items()}
    parts[""] = (message.function_name, message.webhook_config)
    return {name: part for name, part in parts.items() if web_kind(part[1]) is not WebKind.NONE}


def _target(app_id: AppId, function_id: FunctionId, method: str, tag: str, kind: WebKind) -> WebTarget:
    return WebTarget(function_id=function_id, app_id=app_id, name=tag.rpartition(".")[2], kind=kind, method_name=method)
