"""What differs between versions of the `modal` SDK: which keywords its decorators take, and how concurrency is said.

The SDK takes concurrency only as a decorator (`@modal.concurrent`), and settings come as keywords: `@app.function(**settings)`. So
`App.function` and `App.cls` learn one more keyword here, `allow_concurrent_inputs`, which they had until the decorator came. They are as
they were for every call without it.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import modal
from modal._utils.async_utils import synchronizer

CONCURRENCY = "allow_concurrent_inputs"


def accepted(decorator: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Those of `settings` that are given and that `App.<decorator>` of the installed SDK takes. Raises TypeError for one that it does not."""
    given = {key: value for key, value in settings.items() if value not in (None, (), [], {})}
    known = inspect.signature(getattr(modal.App, decorator)).parameters
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


def with_concurrency(settings: dict[str, Any], max_inputs: int | None) -> dict[str, Any]:
    """`settings` for a function or class whose containers run `max_inputs` inputs at a time."""
    if max_inputs is None or max_inputs <= 1:
        return settings
    return settings | {CONCURRENCY: max_inputs}


@functools.cache
def teach_app() -> None:
    """Once for the process."""
    for name in ("function", "cls"):
        setattr(modal.App, name, _taught(getattr(modal.App, name)))


def _taught(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def decorator(self: Any, *args: Any, **settings: Any) -> Any:
        max_inputs = settings.pop(CONCURRENCY, None)
        register = method(self, *args, **settings)
        if max_inputs is None:
            return register
        return lambda target: register(modal.concurrent(max_inputs=max_inputs)(target))

    return decorator
