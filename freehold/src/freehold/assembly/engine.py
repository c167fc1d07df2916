"""One engine: the control plane, the gateway and this machine's worker in one process.

Parts are started in order and stopped in reverse; if one of them dies, all of them stop.
"""

import gc
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import anyio
import structlog
from anyio.abc import TaskGroup

from freehold.assembly.control import ControlPlane
from freehold.assembly.controllers import controllers, farewell, restart
from freehold.assembly.health import Health
from freehold.assembly.machine import Machine, this_machine
from freehold.assembly.pages import Pages, tls
from freehold.assembly.rpcs import Rpcs, operations
from freehold.config import Settings
from freehold.control.controllers import loop
from freehold.control.rpc import server
from freehold.control.services.execs import Execs
from freehold.dashboard.layer_sizes import LayerSizes
from freehold.gateway.server import Gateway
from freehold.stopping import Stopping
from freehold.supervision import Supervision

log = structlog.get_logger()

_CONTROL_SOCKET = "run/control/control.sock"


class Engine:
    """All parts of one engine, joined and not yet started."""

    def __init__(
        self, settings: Settings, supervision: Supervision | None = None, *, machine_of: Callable[[ControlPlane], Machine] = this_machine
    ) -> None:
        self.settings = settings
        self.control = ControlPlane(settings)
        self.machine = machine_of(self.control)
        self.health = Health(self.control, self.machine.zygotes)
        execs = self._execs()
        self.pages = Pages(self.control, execs=execs, status=self.health.status, layer_sizes=LayerSizes(self.machine.layer_path))
        self.rpcs = Rpcs(self.control, execs)
        self._supervision = supervision or Supervision()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start everything in order; stop it in reverse. Containers leave before the control plane that they talk to."""
        async with AsyncExitStack() as stack:
            await self.control.base.open()
            stack.push_async_callback(self.control.close)
            await restart(self.control, self.machine.worker).restore()
            await self.control.restore()
            await stack.enter_async_context(self._rpc_server())
            await stack.enter_async_context(self.rpcs.inputs_socket())
            await stack.enter_async_context(self._gateway())
            await stack.enter_async_context(self.machine.running)
            stack.push_async_callback(farewell(self.control, self.machine.worker).say)
            self._start_background(await stack.enter_async_context(_background()))
            yield

    def _execs(self) -> Execs:
        base, resources, work = self.control.base, self.control.resources, self.control.work
        return Execs(tasks=work.tasks, secrets=resources.secrets, journal=base.journal, keyring=base.keyring, worker=self.machine.worker)

    def _rpc_server(self) -> AbstractAsyncContextManager[None]:
        settings = self.settings
        return server.serve(
            self.rpcs.resources,
            operations=operations(self.control, self.health, self.pages),
            authenticator=self.rpcs.authenticator,
            passes=self.rpcs.passes,
            address=f"{settings.host}:{settings.control_port}",
            socket_path=settings.root / _CONTROL_SOCKET,
            before_bind=self._supervision.free_port,
        )

    def _gateway(self) -> Gateway:
        resources, serving, counters = self.control.resources, self.control.serving, self.control.base.counters
        return Gateway(
            settings=self.settings,
            lanes=serving.lanes,
            proxy_tokens=resources.proxy_tokens,
            web_calls=serving.web_calls,
            blobs=resources.blobs,
            status=self.health.status,
            traces=self.control.insight.traces,
            measurements=self.health.measurements,
            measured=counters.request_ended if self.settings.metrics else None,
            routes=self.pages.routes,
            listener=self._supervision.gateway,
            ssl_context=tls(self.control),
        )

    def _start_background(self, group: TaskGroup) -> None:
        base, exports = self.control.base, self.control.insight.trace_exports
        group.start_soon(base.journal.run)
        group.start_soon(base.loop_lag.run)
        group.start_soon(self.pages.dashboard.hub.run)
        if exports:
            group.start_soon(exports.run)
        for controller in controllers(self.control, self.machine.worker):
            group.start_soon(loop.run, controller)


@asynccontextmanager
async def _background() -> AsyncIterator[TaskGroup]:
    """A task group whose tasks end with its block."""
    async with anyio.create_task_group() as group:
        try:
            yield group
        finally:
            group.cancel_scope.cancel()


async def serve(settings: Settings, *, supervision: Supervision, on_ready: Callable[[str], None]) -> None:
    """Run one engine until SIGTERM or SIGINT, and not much longer; `on_ready` is called once when it answers, with a link to its pages."""
    stopping = Stopping()
    stopping.heed_signals()
    try:
        engine = Engine(settings, supervision)
        async with engine.running():
            log.info("engine_ready", control=settings.control_url, gateway=settings.gateway_url, home=str(settings.root))
            gc.freeze()  # a full collection over all that was loaded takes a tenth of a second, in which nobody is answered
            on_ready((await engine.pages.link({}))["url"])
            await stopping.asked.wait()
            log.info("engine_stopping")
    except ExceptionGroup as group:
        raise _first_cause(group) from group


def _first_cause(error: Exception) -> Exception:
    """Task groups wrap what went wrong; people are told the thing itself."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
