"""`/health…`, `/models` and `/metrics`."""

import json
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from modalkit._metrics import CONTENT_TYPE
from modalkit._web.front import Front


def routes(front: Front) -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.get("/health/live")
    async def live() -> dict[str, str]:
        """Whether this web container answers."""
        return {"status": "live"}

    @router.get("/health/ready")
    @router.get("/health", include_in_schema=False)
    async def ready(request: Request) -> Response:
        """Whether the model can answer; wakes its container. 503 with the reason while it cannot."""
        model = front.catalogue.choose(request.query_params.get("model_name"))
        status = await front.status(model)
        body: dict[str, Any] = {"status": "ready" if status.is_ready else "not ready", "model": model}
        if not status.is_ready:
            body["reason"] = status.reason
        return Response(json.dumps(body), 200 if status.is_ready else 503, media_type="application/json")

    @router.get("/models")
    async def models() -> dict[str, Any]:
        """The catalogue. `loaded` are the models in memory where that was last asked."""
        loaded = front.loaded()
        entries = [
            {"name": name, "is_default": name == front.catalogue.default, "is_loaded": name in loaded} for name in front.catalogue.visible
        ]
        return {"models": entries}

    @router.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(front.metrics.text(), media_type=CONTENT_TYPE)

    return router
