"""Seam: a web function serves HTTP itself, on a socket that the engine's gateway connects to; its requests are no inputs.

Modal's own code does all up to that point (imports, enter hooks, the start of the app's lifespan) and after it. What it calls in between,
`call_function`, is replaced in the container that turns out to be one of a web function. The engine hears where the app is served, or
why it is not (`SERVE`, JSON: {"address": "http.sock" or the user's own port, "why_not": "" or the reason}), and answers when the
container is to leave. Where something is not as expected, the stock way serves: over the data channel, as inputs.

A class of `@app.server` starts a server of its own and has no inputs at all: in `call_server` it is waited for, and offered likewise.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Callable

from .frames import SERVE
from .link import Link, Refused, Unusable, link_to_engine

_FOLDER, _SOCKET = "/__freehold/web", "http.sock"
_PATIENCE = 300.0  # seconds without an engine, and so without requests, after which the container leaves
_FEW_WORDS = 5.0  # seconds for the engine to hear why not
_PROBE_PAUSE = 0.01  # seconds
_ENTRYPOINT = "modal._container_entrypoint"
MAY_BE_QUICK = [True]  # not where the loop may have to be taken over by forks (`snapshot.py`)


class _CannotServe(Exception):
    """With the reason."""


@dataclass(frozen=True)
class _Web:
    """One web function or method: what modal has made of it. `port` is that of the user's own server."""

    app: Any
    lifespan: Any
    port: int


def install() -> None:
    """Raises when this client is not as we know it; then nothing was changed."""
    from modal._runtime import user_code_imports

    stock: Any = user_code_imports.construct_webhook_callable
    if stock.__code__.co_varnames[:3] != ("user_defined_callable", "webhook_config", "container_io_manager"):
        raise TypeError
    found: dict[Any, _Web] = {}

    def construct_webhook_callable(user_defined_callable: Any, webhook_config: Any, container_io_manager: Any) -> Any:
        made, seen = _watched(stock, user_defined_callable, webhook_config, container_io_manager)
        if len(seen) == 1 and _is_replaced(found):
            found[made[0]] = _described(seen[0], webhook_config)
        return made

    user_code_imports.construct_webhook_callable = construct_webhook_callable
    _install_for_servers(user_code_imports)
    _install_loop()


def _install_for_servers(user_code_imports: Any) -> None:
    """What the entrypoint imports from there is ours: it has not run yet."""
    stock: Any = user_code_imports.import_server_service
    if stock.__code__.co_varnames[0] != "function_def":
        raise TypeError

    def import_server_service(function_def: Any, *rest: Any) -> Any:
        _replace("call_server", lambda stock, event_loop: _stand(stock, event_loop, function_def.http_config))
        return stock(function_def, *rest)

    user_code_imports.import_server_service = import_server_service


def _install_loop() -> None:
    """The user's code runs on uvloop, which carries more than twice the requests, where the engine has put a server into the container."""
    from modal._runtime.user_code_event_loop import UserCodeEventLoop

    loop_class: Any = UserCodeEventLoop
    stock = loop_class.__enter__

    def enter(loop: Any) -> Any:
        entered = stock(loop)
        quick = quick_loop()
        if quick is not None:
            loop.loop.close()
            loop.loop = quick
        return entered

    loop_class.__enter__ = enter


def quick_loop() -> Any:
    """None where that could be noticed: by a fork from a snapshot, or by nest_asyncio, which knows asyncio's own loop only."""
    if not MAY_BE_QUICK[0] or find_spec("freehold_web") is None or find_spec("nest_asyncio"):
        return None
    try:
        return import_apart("freehold_web.uvloop").new_event_loop()
    except Exception:  # noqa: BLE001 — asyncio's own does it too
        return None


def _watched(stock: Any, *args: Any) -> tuple[Any, list[tuple[Any, Any]]]:
    """What the stock function returns, and the apps that went into it, each with the manager of its lifespan."""
    from modal._runtime import asgi

    wrapper: Any = asgi.asgi_app_wrapper
    seen: list[tuple[Any, Any]] = []

    def asgi_app_wrapper(asgi_app: Any, container_io_manager: Any) -> Any:
        wrapped = wrapper(asgi_app, container_io_manager)
        seen.append((asgi_app, wrapped[1]))
        return wrapped

    asgi.asgi_app_wrapper = asgi_app_wrapper
    try:
        return stock(*args), seen
    finally:
        asgi.asgi_app_wrapper = wrapper


def _described(seen: tuple[Any, Any], config: Any) -> _Web:
    from modal_proto.api_pb2 import WEBHOOK_TYPE_WEB_SERVER

    app, lifespan = seen
    port = config.web_server_port if config.type == WEBHOOK_TYPE_WEB_SERVER else 0
    return _Web(app, lifespan, port)


def _is_replaced(found: dict[Any, _Web]) -> bool:
    """Put ours where the stock `call_function` was, once. Enter and exit hooks are among the functions, though nobody calls them."""

    def call_function(stock: Any, event_loop: Any, container_io_manager: Any, functions: Any, *rest: Any) -> None:
        declared = container_io_manager.function_def.method_definitions
        served = {name: found.get(functions[name].callable) for name in functions if not name or declared[name].function_name}
        if not _has_served(event_loop, served):
            stock(event_loop, container_io_manager, functions, *rest)

    return bool(found) or _replace("call_function", call_function)


def _replace(name: str, ours: Callable[..., None]) -> bool:
    """Put ours where the entrypoint looks a function of its own up; it gets the stock one first. The entrypoint runs as the main module."""
    main: Any = sys.modules["__main__"]
    if getattr(main.__spec__, "name", "") != _ENTRYPOINT:
        return False
    setattr(main, name, partial(ours, getattr(main, name)))
    return True


def _has_served(event_loop: Any, functions: Mapping[str, _Web | None]) -> bool:
    """False: nothing was served, and nothing has changed."""
    try:
        link = link_to_engine(dict)
    except (KeyError, ValueError):
        return False
    try:
        served = event_loop.run(_serve(link, functions))
    finally:
        link.close()
    return served is not False


async def _serve(link: Link, functions: Mapping[str, _Web | None]) -> bool:
    try:
        address, server = await _server(functions)
    except Exception as error:  # noqa: BLE001 — whatever it is: the stock way does not need it
        await _explain(link, str(error) if isinstance(error, _CannotServe) else f"its server does not start: {error!r}")
        return False
    # A full collection over all that was imported takes a tenth of a second, in which nobody is answered.
    gc.freeze()
    try:
        return await _until_told_to_leave(link, address, server)
    except BaseException:
        await server.interrupt()
        raise


async def _until_told_to_leave(link: Link, address: str, server: Any) -> bool:
    try:
        await link.ask(SERVE, _offer(address), patience=_PATIENCE)
    except Unusable as error:
        if not link.has_worked or isinstance(error, Refused):
            await server.interrupt()
            return False
    await server.leave()
    link.report()
    return True


async def _explain(link: Link, why_not: str) -> None:
    with contextlib.suppress(Unusable, asyncio.TimeoutError):
        await asyncio.wait_for(link.ask(SERVE, _offer(why_not=why_not), patience=_FEW_WORDS), _FEW_WORDS)


def _offer(address: str = "", why_not: str = "") -> bytes:
    return json.dumps({"address": address, "why_not": why_not}).encode()


async def _server(functions: Mapping[str, _Web | None]) -> tuple[str, Any]:
    """Where the functions are served from now on, and by what."""
    webs = {name: web for name, web in functions.items() if web is not None}
    if len(webs) != len(functions):
        msg = "its class mixes web and other methods"
        raise _CannotServe(msg)
    if any(web.port for web in webs.values()):
        return _own_server(list(webs.values()))
    return _SOCKET, await _started(webs)


def _own_server(webs: list[_Web]) -> tuple[str, Any]:
    if len(webs) != 1:
        msg = "its class has a web server beside other web methods"
        raise _CannotServe(msg)
    return str(webs[0].port), _OwnServer()


async def _started(webs: Mapping[str, _Web]) -> Any:
    serving = import_apart("freehold_web.serving")
    sites = {name: serving.Site(web.app, web.lifespan.state) for name, web in webs.items()}
    server = serving.Server(sites)
    await server.start(f"{_FOLDER}/{_SOCKET}")
    return server


def import_apart(module: str) -> Any:
    """Import a part of our copies. Compiled ones enter themselves under their first names too: they and the user's must not meet."""
    kept = {name: sys.modules.pop(name) for name in _compiled()}
    try:
        return import_module(module)
    finally:
        for name in _compiled():
            del sys.modules[name]
        sys.modules.update(kept)


def _compiled() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] in {"httptools", "uvloop"}]


def _stand(stock: Any, event_loop: Any, config: Any) -> None:
    """As the stock `call_server`: returns when the container is to leave."""
    try:
        link = link_to_engine(dict)
    except (KeyError, ValueError):
        stock(event_loop)
        return
    try:
        is_told = event_loop.run(_wait_and_serve(link, config.port, config.startup_timeout))
    finally:
        link.close()
    if is_told is False:
        stock(event_loop)


async def _wait_and_serve(link: Link, port: int, patience: float) -> bool:
    await _wait_for_port(port, patience)
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await _until_told_to_leave(link, str(port), _OwnServer())
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def _wait_for_port(port: int, patience: float) -> None:
    """Asked for at the address that others see, as modal does it for `web_server`."""
    deadline = time.monotonic() + patience
    while True:
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(_address(), port), 1.0)
        except (OSError, asyncio.TimeoutError) as error:
            if time.monotonic() > deadline:
                msg = (
                    f"Nothing accepts connections at port {port} after {patience:g} s (startup_timeout). The server must listen on 0.0.0.0."
                )
                raise TimeoutError(msg) from error
        else:
            writer.close()
            return
        await asyncio.sleep(_PROBE_PAUSE)


def _address() -> str:
    """Of this container in its network; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


class _OwnServer:
    """The user's: it listens already, and ends with the container."""

    async def leave(self) -> None:
        pass

    async def interrupt(self) -> None:
        pass
