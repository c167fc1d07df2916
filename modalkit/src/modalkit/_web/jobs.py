"""`/predict_async` and `/jobs/{id}`."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pydantic_core
from fastapi import APIRouter, Request
from pydantic import TypeAdapter
from starlette.responses import Response

from modalkit import _calls, _jobs
from modalkit._parcels import Failure, JobNote, JobOrder, Outcome, Parcel
from modalkit._services import Cancelled, Expired
from modalkit._web import idempotency
from modalkit._web.body import parse, refused
from modalkit._web.front import Front
from modalkit._web.schema import MODEL_NAME, Schemas, operation, refusal
from modalkit.auth import current_caller
from modalkit.errors import InferenceError, Problem
from modalkit.iomodel import AsyncInputModel, AsyncOutputModel, Delivery, JobModel, JobState

JSON = "application/json"

_LONGEST_KEY = 255
_AFTER_CANCEL = 5.0  # seconds that a cancelled job is given to end
_UNFINISHED = (JobState.QUEUED, JobState.RUNNING)

_JOB_ID = {"name": "job_id", "in": "path", "required": True, "schema": {"type": "string"}}
_WAIT = {
    "name": "wait",
    "in": "query",
    "required": False,
    "schema": {"type": "number", "minimum": 0},
    "description": "Seconds to wait for the job's end; more than the app's `max_wait_seconds` are as many as these.",
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": _LONGEST_KEY, "pattern": "^[!-~]+$"},
    "description": "The same key with the same request gives the same job.",
}


def routes(front: Front, schemas: Schemas, input_model: Any, output_model: Any) -> APIRouter:
    router = APIRouter(tags=["jobs"])
    intake = Intake(front, input_model, schemas.of(input_model, "validation"), schemas.named)
    desk = Desk(front, intake, idempotency.memory_of(front.settings.app_settings.jobs_config, front.name))
    said = _said(schemas, intake, output_model)
    router.add_api_route("/predict_async", desk.predict_async, methods=["POST"], status_code=202, openapi_extra=said["order"])
    router.add_api_route("/jobs/{job_id}", desk.job, methods=["GET"], openapi_extra=said["look"])
    router.add_api_route("/jobs/{job_id}", desk.cancel, methods=["DELETE"], openapi_extra=said["cancel"])
    return router


class Desk:
    """What the routes do: from requests to jobs, and back."""

    def __init__(self, front: Front, intake: "Intake", memory: idempotency.Memory) -> None:
        self._front = front
        self._intake = intake
        self._memory = memory
        self._jobs = Jobs(front)
        self._is_keyed = front.settings.app_settings.auth_config.kind == "api_key"
        front.on_close(memory.close)

    async def predict_async(self, request: Request) -> Response:
        """One input, or an order with the input as its `message`; the answer is a job."""
        model = self._front.catalogue.choose(request.query_params.get("model_name"))
        body = await self._front.body.bytes(request)
        given, order = self._intake.read(body)

        async def begin() -> str:
            return await self._front.service.spawn(Parcel(model, (self._front.item(given, order),)))

        key = self._own_key(_key_of(request))
        async with _in_time(self._front.web.request_timeout):
            job_id = await (self._memory.once(key, idempotency.fingerprint_of(model, body), begin) if key else begin())
        where = f"{request.scope.get('root_path', '')}/jobs/{job_id}"
        return Response(AsyncOutputModel(job_id=job_id).model_dump_json(), 202, {"Location": where}, media_type=JSON)

    async def job(self, request: Request) -> Response:
        """A job as it is; with `wait`, once it has ended or that time is over."""
        wait = min(_wait_of(request), self._front.settings.app_settings.jobs_config.max_wait_seconds)
        async with _in_time(self._front.web.request_timeout + wait):
            return _shown(await self._jobs.look(request.path_params["job_id"], wait))

    async def cancel(self, request: Request) -> Response:
        """Cancels a job; one that has ended stays as it is."""
        async with _in_time(self._front.web.request_timeout):
            return _shown(await self._jobs.cancel(request.path_params["job_id"]))

    def _own_key(self, key: str) -> str:
        """Two callers who choose the same key mean two jobs."""
        caller = current_caller() if self._is_keyed else None
        return f"{caller.name}\n{key}" if key and caller else key


class Intake:
    """Reads what `/predict_async` is sent: an input, or an order, which is an object with `message`.

    Where the input itself could be an object with `message`, only orders are taken, so that no body can be read in two ways.
    """

    def __init__(self, front: Front, input_model: Any, schema: dict[str, Any], named: dict[str, Any]) -> None:
        self._app_settings = front.settings.app_settings
        self._inputs = front.inputs
        self._input_model = input_model
        self._order_model: Any = AsyncInputModel[input_model]
        self._orders: TypeAdapter[Any] = TypeAdapter(self._order_model)
        self._takes_inputs = not _may_have_message(schema, named)

    def read(self, body: bytes) -> tuple[Any, JobOrder]:
        """The input and what else is ordered. Raises InferenceError: 400, 422."""
        if self._takes_inputs and not _has_message(body):
            return parse(body, self._inputs), JobOrder()
        given, order = _calls.job_order(parse(body, self._orders))
        _jobs.check_order(order, self._app_settings)
        return given, order

    def schema(self, schemas: Schemas) -> dict[str, Any]:
        """Of the body."""
        order = schemas.of(self._order_model, "validation")
        for name, narrower in _jobs.order_schema(self._app_settings).items():
            schemas.named[order["$ref"].rpartition("/")[2]]["properties"][name].update(narrower)
        return {"anyOf": [schemas.of(self._input_model, "validation"), order]} if self._takes_inputs else order


class Jobs:
    """The jobs of one app, as callers see them."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._config = front.settings.app_settings.jobs_config

    async def look(self, job_id: str, wait: float = 0.0) -> JobModel:
        """A job now, or after at most `wait` seconds. Raises InferenceError (404)."""
        try:
            outcome = await self._front.service.poll(job_id, wait)
        except KeyError:
            raise _unknown() from None
        except Expired:
            return JobModel(job_id=job_id, state=JobState.EXPIRED)
        except Cancelled:
            return JobModel(job_id=job_id, state=JobState.CANCELLED)
        except InferenceError as error:
            return JobModel(job_id=job_id, state=JobState.FAILED, error=error.problem.as_json())
        if outcome is None:
            is_running = await self._front.service.is_running(job_id)
            return JobModel(job_id=job_id, state=JobState.RUNNING if is_running else JobState.QUEUED)
        return self._ended(job_id, outcome)

    async def cancel(self, job_id: str) -> JobModel:
        """The job after its end. Raises InferenceError: 404, 409 where it runs in a batch with others."""
        if (job := await self.look(job_id)).state not in _UNFINISHED:
            return job
        if not await self._front.service.cancel(job_id):
            raise refused(409, "The job runs already, in a batch with others that would end with it.", "running")
        return await self.look(job_id, _AFTER_CANCEL)

    def _ended(self, job_id: str, outcome: Outcome) -> JobModel:
        note = outcome.job or JobNote(time.time())
        if time.time() - note.ended > self._config.result_ttl_seconds:
            return JobModel(job_id=job_id, state=JobState.EXPIRED)
        said: dict[str, Any] = {"job_id": job_id, "meta": note.meta, "deliveries": [Delivery(**each) for each in note.deliveries]}
        if isinstance(outcome, Failure):
            return JobModel(state=JobState.FAILED, error=outcome.problem.as_json(), **said)
        try:
            output = pydantic_core.from_json(self._front.body_of(outcome.value))
        except InferenceError as error:
            return JobModel(state=JobState.FAILED, error=error.problem.as_json(), **said)
        return JobModel(state=JobState.SUCCEEDED, output=output, **said)


@asynccontextmanager
async def _in_time(seconds: float) -> AsyncIterator[None]:
    """Raises InferenceError (504): the engine did not answer within the block."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise refused(504, f"No answer within {seconds:g} s.", "timeout") from None


def _shown(job: JobModel) -> Response:
    headers = {"Cache-Control": "no-store"} | ({"Retry-After": "1"} if job.state in _UNFINISHED else {})
    return Response(pydantic_core.to_json(job, fallback=str), 200, headers, media_type=JSON)


def _unknown() -> InferenceError:
    return InferenceError.of(Problem(404, "This app has no job with that id.", "unknown_job"))


def _wait_of(request: Request) -> float:
    text = request.query_params.get("wait", "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise refused(422, f"wait: {text!r} is no number of seconds.", "invalid_input")
    return seconds


def _key_of(request: Request) -> str:
    key = request.headers.get("idempotency-key")
    if key is None:
        return ""
    if not 0 < len(key) <= _LONGEST_KEY or not all("!" <= each <= "~" for each in key):
        raise refused(422, f"Idempotency-Key: write 1 to {_LONGEST_KEY} visible ASCII characters.", "invalid_input")
    return key


def _has_message(body: bytes) -> bool:
    if b"message" not in body and b"\\u" not in body:
        return False
    try:
        given = pydantic_core.from_json(body)
    except ValueError:
        return False  # whoever parses it next says what is wrong
    return isinstance(given, dict) and "message" in given


def _may_have_message(schema: dict[str, Any], named: dict[str, Any]) -> bool:
    """Whether what a schema describes can be an object with the key `message`."""
    if "$ref" in schema:
        return _may_have_message(named[schema["$ref"].rpartition("/")[2]], named)
    kinds: Sequence[dict[str, Any]] = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]
    if kinds:
        return any(_may_have_message(each, named) for each in kinds)
    if schema.get("type", "object") != "object":
        return False
    is_open = bool(schema.get("additionalProperties", False)) or "properties" not in schema
    return is_open or "message" in schema["properties"]


def _said(schemas: Schemas, intake: Intake, output_model: Any) -> dict[str, dict[str, Any]]:
    """What OpenAPI says of the routes."""
    taken = {JSON: {"schema": schemas.of(AsyncOutputModel, "serialization")}}
    order = operation(intake.schema(schemas), taken, status=202, parameters=(MODEL_NAME, _KEY))
    order["responses"]["202"]["headers"] = {"Location": {"schema": {"type": "string"}, "description": "Where the job is."}}
    order["responses"]["409"] = refusal("This Idempotency-Key was used for another request, or the first one with it is still begun")
    told = {JSON: {"schema": _schema_of_job(schemas, output_model)}}
    cancel = operation(None, told, parameters=(_JOB_ID,))
    cancel["responses"]["409"] = refusal("The job runs already, in a batch with others")
    return {"order": order, "look": operation(None, told, parameters=(_JOB_ID, _WAIT)), "cancel": cancel}


def _schema_of_job(schemas: Schemas, output_model: Any) -> dict[str, Any]:
    """A job whose output is the app's own."""
    job = schemas.of(JobModel, "serialization")
    schemas.named["JobModel"]["properties"]["output"] = {"anyOf": [schemas.of(output_model, "serialization"), {"type": "null"}]}
    return job
