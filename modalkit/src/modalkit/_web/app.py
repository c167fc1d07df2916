"""The FastAPI app of a model service, put together."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import modalkit
from modalkit import _telemetry
from modalkit._metrics import Metrics
from modalkit._web import direct, guard, health, jobs, oip, predict, problems, tracing
from modalkit._web.front import Front
from modalkit._web.schema import Schemas

CLOSE_SECONDS = 15.0  # that the end of a container waits for what is under way; the engine gives it about 30, and traces are sent after


def create_web_endpoints(app_cls: Any, input_model: Any, output_model: Any) -> FastAPI:
    """The app that serves a class: what `@modal.asgi_app()` returns.

    `app_cls` is the class as `@app.cls` made it; `input_model` and `output_model` are pydantic models, or any type that pydantic knows.
    """
    settings = app_cls.modal_utils.settings
    _telemetry.begin(settings, app_cls.modal_utils.app_name)
    front = Front(app_cls, input_model, output_model, settings)
    schemas = Schemas()
    doorkeeper = guard.doorkeeper(settings, front.catalogue, app_cls.modal_utils.app_name)
    app = FastAPI(
        title=app_cls.modal_utils.app_name, version=modalkit.__version__, lifespan=_lifespan(front, doorkeeper), **tracing.options()
    )
    app.state.models = (input_model, output_model)  # for `modalkit check`
    predictions = predict.routes(front, schemas, input_model, output_model)
    app.include_router(predictions)
    direct.install(app, predictions)
    app.include_router(jobs.routes(front, schemas, input_model, output_model))
    app.include_router(health.routes(front))
    app.include_router(oip.routes(front, schemas, input_model, output_model))
    problems.install(app)
    schemas.install(app)
    if doorkeeper is not None:
        guard.install(app, doorkeeper, settings.app_settings.auth_config)
    app.add_middleware(_Counted, metrics=front.metrics)
    tracing.install(app)
    return app


def _lifespan(front: Front, doorkeeper: guard.Doorkeeper | None) -> Any:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if doorkeeper is not None:
            doorkeeper.start()
        yield
        if doorkeeper is not None:
            doorkeeper.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await front.close()
        await asyncio.to_thread(_telemetry.flush)

    return lifespan


class _Counted:
    """Counts requests by route and status; a plain ASGI layer, since it is in the way of every request."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, noted)
        finally:
            self._metrics.in_flight.dec()
            route = getattr(scope.get("route"), "path", "")
            self._metrics.answered(scope["method"], route, status, time.perf_counter() - began)
