"""`/v2`: the REST side of the Open Inference Protocol, as KServe, Triton and MLServer have it.

Each item of a request is answered like a request of its own, so that items of many requests share batches. The protocol knows no item
that fails alone: one that does is the answer to all.
"""

import asyncio
from typing import Annotated, Any

import pydantic_core
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.responses import Response

import modalkit
from modalkit._parcels import Outcome
from modalkit._web import tensors
from modalkit._web.body import parse, refused
from modalkit._web.front import Front, value_or_raise
from modalkit._web.schema import Schemas
from modalkit.errors import InferenceError, Problem

JSON = "application/json"
_PLATFORM = "modalkit"
_NAME = {"name": "model_name", "in": "path", "required": True, "schema": {"type": "string"}, "description": "Name of the model."}
_REFUSALS = {
    400: "The request is not what is asked for",
    401: "A key is asked for",
    403: "The key may not do this",
    404: "There is no such model",
    413: "The request is too large",
    415: "Another kind of content",
    429: "Too many requests with this key",
    500: "The model failed",
    503: "The model is not ready, or too many requests wait",
    504: "No answer in time",
}


class ServerMetadata(BaseModel):
    name: str
    version: str
    extensions: list[str]


class ServerLive(BaseModel):
    live: bool


class ServerReady(BaseModel):
    ready: bool
    reason: str | None = None


class ModelReady(BaseModel):
    name: str
    ready: bool
    reason: str | None = None


class TensorMetadata(BaseModel):
    name: str
    datatype: tensors.Datatype
    shape: list[int]
    parameters: dict[str, Any] | None = None


class ModelMetadata(BaseModel):
    name: str
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class OutputTensor(BaseModel):
    name: str
    shape: list[int]
    datatype: tensors.Datatype
    parameters: dict[str, Any] | None = None
    data: list[Any]


class InferResponse(BaseModel):
    model_name: str
    id: str | None = None
    outputs: list[OutputTensor]


class IndexRequest(BaseModel):
    """Which models the index should have; `ready`: those in memory alone."""

    model_config = ConfigDict(strict=True)

    repository_name: str = ""
    ready: bool = False


class IndexEntry(BaseModel):
    name: str
    state: Annotated[str, Field(json_schema_extra={"enum": ["READY", "UNAVAILABLE"]})]
    reason: str = ""


class InferenceFault(BaseModel):
    """What the protocol says of every error."""

    error: str


def routes(front: Front, schemas: Schemas, input_model: Any, output_model: Any) -> APIRouter:
    router = APIRouter(tags=["open inference protocol"])
    protocol, said = Protocol(front, Inference(front, input_model, output_model)), _Said(schemas)
    model, asked = "/v2/models/{model_name}", (401, 403, 404, 429)
    infers = said.of(InferResponse, body=tensors.InferRequest, refusals=tuple(_REFUSALS), names_model=True)
    indexes = said.of(list[IndexEntry], body=IndexRequest, needs_body=False, refusals=(400, 401, 413, 415, 429))
    for path, method, answer, extra in (
        ("/v2", "GET", protocol.server, said.of(ServerMetadata, refusals=(401, 429))),
        ("/v2/health/live", "GET", protocol.live, said.of(ServerLive, refusals=())),
        ("/v2/health/ready", "GET", protocol.ready, said.of(ServerReady, refusals=(404,), unready=True)),
        (model, "GET", protocol.metadata, said.of(ModelMetadata, refusals=asked, names_model=True)),
        (f"{model}/ready", "GET", protocol.model_ready, said.of(ModelReady, refusals=asked, names_model=True, unready=True)),
        (f"{model}/infer", "POST", protocol.infer, infers),
        ("/v2/repository/index", "POST", protocol.index, indexes),
    ):
        router.add_api_route(path, answer, methods=[method], openapi_extra=extra)
    return router


class Protocol:
    """What the routes answer."""

    def __init__(self, front: Front, inference: "Inference") -> None:
        self._front = front
        self._inference = inference

    async def server(self) -> Response:
        """What serves here."""
        return _answer(ServerMetadata(name=_PLATFORM, version=modalkit.__version__, extensions=["model_repository"]))

    async def live(self) -> Response:
        """Whether this web container answers."""
        return _answer(ServerLive(live=True))

    async def ready(self) -> Response:
        """Whether the default model can answer; wakes its container. The others are loaded when they are asked for."""
        status = await self._front.status(self._front.catalogue.choose(None))
        return _answer(ServerReady(ready=status.is_ready, reason=status.reason or None), 200 if status.is_ready else 503)

    async def model_ready(self, request: Request) -> Response:
        """Whether a model can answer; wakes its container."""
        name = self._chosen(request)
        status = await self._front.status(name)
        return _answer(ModelReady(name=name, ready=status.is_ready, reason=status.reason or None), 200 if status.is_ready else 503)

    async def metadata(self, request: Request) -> Response:
        """A model's tensors: one for each field of its input and of its output."""
        return _answer(self._inference.metadata(self._chosen(request)))

    async def infer(self, request: Request) -> Response:
        """One answer to a batch: the first dimension of every tensor counts the items."""
        return await self._inference.infer(self._chosen(request), request)

    async def index(self, request: Request) -> Response:
        """The models, and whether each was in memory when it was last asked."""
        body = await self._front.body.bytes(request)
        wanted: IndexRequest = parse(body, _INDEX) if body.strip() else IndexRequest()
        loaded = self._front.loaded()
        names = [name for name in self._front.catalogue.visible if name in loaded or not wanted.ready]
        return Response(pydantic_core.to_json([_entry(name, is_loaded=name in loaded) for name in names]), media_type=JSON)

    def _chosen(self, request: Request) -> str:
        return self._front.catalogue.choose(request.path_params["model_name"])


class Inference:
    """Tensors in, tensors out, for one app's models, which share their input and their output."""

    def __init__(self, front: Front, input_model: Any, output_model: Any) -> None:
        self._front = front
        self._inputs = tensors.table(input_model, "validation")
        self._outputs = tensors.table(output_model, "serialization")
        self._items: TypeAdapter[list[Any]] = TypeAdapter(list[input_model])

    def metadata(self, model: str) -> ModelMetadata:
        inputs, outputs = ([TensorMetadata(**each.metadata()) for each in table.columns] for table in (self._inputs, self._outputs))
        return ModelMetadata(name=model, platform=_PLATFORM, inputs=inputs, outputs=outputs)

    async def infer(self, model: str, request: Request) -> Response:
        """Raises InferenceError, of which the whole answer is made."""
        if "inference-header-content-length" in request.headers:
            raise refused(415, "Tensors are sent as JSON here, not as binary data.", "unsupported_media_type")
        asked: tensors.InferRequest = await self._front.body.read(request, _INFER)
        given = self._validated(tensors.items(asked.inputs, self._inputs, self._front.web.max_items))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._front.answer(model, each)) for each in given]
        values = [self._value(index, task.result(), len(given)) for index, task in enumerate(tasks)]
        answer: dict[str, Any] = {"model_name": model}
        if asked.id is not None:
            answer["id"] = asked.id
        answer["outputs"] = tensors.tensors(values, self._outputs, asked.outputs)
        return Response(pydantic_core.to_json(answer), media_type=JSON)

    def _validated(self, items: list[Any]) -> list[Any]:
        # As JSON, so that an item means what it means to the other routes.
        try:
            return self._items.validate_json(pydantic_core.to_json(items))
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            index, *where = first["loc"] or (0,)
            raise refused(400, f"Item {index}: {'.'.join(map(str, where)) or 'input'}: {first['msg']}", "invalid_input") from error

    def _value(self, index: int, outcome: Outcome, count: int) -> Any:
        try:
            return pydantic_core.from_json(self._front.body_of(value_or_raise(outcome)))
        except InferenceError as error:
            problem = error.problem
            detail = f"Item {index}: {problem.detail}" if count > 1 else problem.detail
            raise InferenceError.of(Problem(problem.status, detail, problem.kind, problem.error_id, problem.retry_after)) from error


class _Said:
    """What OpenAPI says of the protocol's routes."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas

    def of(
        self,
        answer: Any,
        *,
        refusals: tuple[int, ...],
        body: Any = None,
        needs_body: bool = True,
        names_model: bool = False,
        unready: bool = False,
    ) -> dict[str, Any]:
        content = {JSON: {"schema": self._schemas.of(answer, "serialization")}}
        fault = {JSON: {"schema": self._schemas.of(InferenceFault, "serialization")}}
        responses: dict[str, Any] = {"200": {"description": "Answered", "content": content}}
        if unready:
            responses["503"] = {"description": "Not ready", "content": content}
        responses |= {str(status): {"description": _REFUSALS[status], "content": fault} for status in refusals}
        said: dict[str, Any] = {"parameters": [_NAME] if names_model else [], "responses": responses}
        if body is not None:
            said["requestBody"] = {"required": needs_body, "content": {JSON: {"schema": self._schemas.of(body, "validation")}}}
        return said


def _entry(name: str, *, is_loaded: bool) -> IndexEntry:
    if is_loaded:
        return IndexEntry(name=name, state="READY")
    return IndexEntry(name=name, state="UNAVAILABLE", reason="loaded when it is asked for")


def _answer(model: BaseModel, status: int = 200) -> Response:
    return Response(model.model_dump_json(exclude_none=True), status, media_type=JSON)


_INFER: TypeAdapter[Any] = TypeAdapter(tensors.InferRequest)
_INDEX: TypeAdapter[Any] = TypeAdapter(IndexRequest)
