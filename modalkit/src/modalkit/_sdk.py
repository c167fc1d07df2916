"""What differs between versions of the `modal` SDK: which keywords its decorators take, and how concurrency is said.

The SDK takes concurrency only as a decorator (`@modal.concurrent`), and settings come as keywords: `@app.function(**settings)`. So
`App.function` and `App.cls` learn two more keywords here: `allow_concurrent_inputs`, which they had until the decorator came, and
`requires_proxy_auth`, which is a word of the web decorators and is checked against theirs. They are as they were for every call without these.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import modal
from modal._utils.async_utils import synchronizer

from modalkit.errors import ConfigError

CONCURRENCY = "allow_concurrent_inputs"
PROXY_AUTH = "requires_proxy_auth"

_STARTUP = "startup_timeout"
_TIMEOUT = 300  # seconds; the SDK's own default


def accepted(decorator: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Those of `settings` that are given and that `App.<decorator>` of the installed SDK takes. Raises TypeError for one that it does not."""
    given = {key: value for key, value in settings.items() if value not in (None, (), [], {})}
    known = inspect.signature(getattr(modal.App, decorator)).parameters
    if _STARTUP in given and _STARTUP not in known:
        # Earlier versions have one bound for both, so a call may take as long as the start then.
        given["timeout"] = max(given.pop(_STARTUP), given.get("timeout", _TIMEOUT))
    if foreign := sorted(given.keys() - known.keys()):
        msg = f"modal {modal.__version__} does not know {', '.join(foreign)} of @app.{decorator}: leave it out, or install a newer modal"
        raise TypeError(msg)
    return given


def public(app_cls: Any) -> Any:
    """A class as its app knows it. A function that is reached through `@app.cls`'s object is given the SDK's inner objects."""
    return synchronizer._translate_out(app_cls)  # type: ignore[no-untyped-call]  # noqa: SLF001


def is_web(function: Any) -> bool:
    """Whether a function is served over HTTP. The SDK has no public word for it since `App.registered_web_endpoints` is on its way out."""
    return bool(function._is_web_endpoint())  # noqa: SLF001


def call_ids() -> list[str]:
    """Of the calls whose inputs this thread has, in their order; as many as are known. `modal.current_function_call_id` knows a batch's first."""
    from modal._runtime.container_io_manager import _ContainerIOManager  # noqa: PLC0415  # a private module, wanted for jobs alone

    manager: Any = _ContainerIOManager._singleton  # noqa: SLF001
    held: Any = manager and manager.current_inputs.get(modal.current_input_id())
    if held is not None:
        return list(held.function_call_ids)
    first = modal.current_function_call_id()
    return [first] if first else []


def with_concurrency(settings: dict[str, Any], max_inputs: int | None) -> dict[str, Any]:
    """`settings` for a function or class whose containers run `max_inputs` inputs at a time."""
    if max_inputs is None or max_inputs <= 1:
        return settings
    return settings | {CONCURRENCY: max_inputs}


def asks_for_proxy_token(function: Any) -> bool | None:
    """Whether the platform lets in only who has a proxy token, for what a web decorator made; None for what is no web function."""
    inner = synchronizer._translate_in(function)  # type: ignore[no-untyped-call]  # noqa: SLF001
    params = getattr(inner, "params", None)
    web = params.webhook_config if params is not None else getattr(inner, "_webhook_config", None)
    return bool(web.requires_proxy_auth) if web is not None and web.type else None


@functools.cache
def teach_app() -> None:
    """Once for the process."""
    for name in ("function", "cls"):
        setattr(modal.App, name, _taught(getattr(modal.App, name)))


def _taught(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def decorator(self: Any, *args: Any, **settings: Any) -> Any:
        max_inputs = settings.pop(CONCURRENCY, None)
        wants_proxy_auth = settings.pop(PROXY_AUTH, False)
        register = method(self, *args, **settings)
        if max_inputs is None and not wants_proxy_auth:
            return register

        def registered(target: Any) -> Any:
            if wants_proxy_auth:
                _check_proxy_auth(target)
            return register(target if max_inputs is None else modal.concurrent(max_inputs=max_inputs)(target))

        return registered

    return decorator


def _check_proxy_auth(target: Any) -> None:
    if asks_for_proxy_token(target) is False:
        msg = (
            "auth_config.kind is modal_proxy, but this web function does not ask for a proxy token: write"
            " @modal.asgi_app(**modal_config.get_asgi_app_settings()) in place of @modal.asgi_app()"
        )
        raise ConfigError(msg)
