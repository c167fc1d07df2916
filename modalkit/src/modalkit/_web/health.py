"""`/health…`, `/models` and `/metrics`."""

import json
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from modalkit._metrics import CONTENT_TYPE
from modalkit._web.front import Front
from modalkit._web.schema import MODEL_NAME, refusals

_STATUS = {
    "type": "object",
    "required": ["status", "model"],
    "properties": {"status": {"enum": ["ready", "not ready"]}, "model": {"type": "string"}, "reason": {"type": "string"}},
}
_READY = {
    "parameters": [MODEL_NAME],
    "responses": {
        "200": {"content": {"application/json": {"schema": _STATUS}}},
        "503": {"description": "Not ready, and why", "content": {"application/json": {"schema": _STATUS}}},
    }
    | refusals((401, 403, 404, 429)),  # all but 404 where a model is named
}
_MODEL = {
    "type": "object",
    "required": ["name", "is_default", "is_loaded"],
    "properties": {"name": {"type": "string"}, "is_default": {"type": "boolean"}, "is_loaded": {"type": "boolean"}},
}
_MODELS = {"type": "object", "required": ["models"], "properties": {"models": {"type": "array", "items": _MODEL}}}


def routes(front: Front) -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.get("/health/live")
    async def live() -> dict[str, str]:
        """Whether this web container answers."""
        return {"status": "live"}

    @router.get("/health/ready", openapi_extra=_READY)
    @router.get("/health", include_in_schema=False)
    async def ready(request: Request) -> Response:
        """Whether the model can answer; wakes its container. 503 with the reason while it cannot."""
        model = front.catalogue.choose(request.query_params.get("model_name"))
        status = await front.status(model)
        body: dict[str, Any] = {"status": "ready" if status.is_ready else "not ready", "model": model}
        if not status.is_ready:
            body["reason"] = status.reason
        return Response(json.dumps(body), 200 if status.is_ready else 503, media_type="application/json")

    @router.get(
        "/models", openapi_extra={"responses": {"200": {"content": {"application/json": {"schema": _MODELS}}}} | refusals((401, 429))}
    )
    async def models() -> Response:
        """The catalogue. `loaded` are the models in memory where that was last asked."""
        loaded = front.loaded()
        entries = [
            {"name": name, "is_default": name == front.catalogue.default, "is_loaded": name in loaded} for name in front.catalogue.visible
        ]
        return Response(json.dumps({"models": entries}), media_type="application/json")

    @router.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(front.metrics.text(), media_type=CONTENT_TYPE)

    return router
