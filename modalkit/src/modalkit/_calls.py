"""Calls from functions: `sync_call(MyApp)(…)` and `async_call(MyApp)(…)`."""

import contextlib
import time
from contextlib import AbstractContextManager
from typing import Any

import pydantic_core
from pydantic import TypeAdapter, ValidationError

from modalkit import _jobs, _sdk, _telemetry
from modalkit._catalogue import default_model, input_type
from modalkit._parcels import Item, JobOrder, Outcome, Output, Parcel
from modalkit._services import connect
from modalkit._spans import Span
from modalkit.errors import InferenceError
from modalkit.iomodel import AsyncInputModel, AsyncOutputModel


class SyncCall:
    """Gives the output of one input. Raises InferenceError for an item that failed, with its status, detail and error id."""

    def __init__(self, app_cls: Any) -> None:
        self._app_cls = _sdk.public(app_cls)

    def __call__(self, *, input_data: Any, model_name: str | None = None) -> Any:
        with _span(self._app_cls, model_name) as span:
            outcomes = connect(self._app_cls).run_blocking(_parcel(self._app_cls, model_name, input_data)).outcomes
            span.ended(outcomes)
        return _value(outcomes[0])

    async def aio(self, *, input_data: Any, model_name: str | None = None) -> Any:
        with _span(self._app_cls, model_name) as span:
            outcomes = (await connect(self._app_cls).run(_parcel(self._app_cls, model_name, input_data))).outcomes
            span.ended(outcomes)
        return _value(outcomes[0])


class AsyncCall:
    """Begins a job, and gives its id for `GET /jobs/{job_id}`. Raises InferenceError (422): this app cannot do what the order asks for.

    The engine's own id of the call is the part of `job_id` before its point.
    """

    def __init__(self, app_cls: Any) -> None:
        self._app_cls = _sdk.public(app_cls)

    def __call__(self, *, input_data: Any, model_name: str | None = None) -> AsyncOutputModel:
        with _span(self._app_cls, model_name):
            parcel = _parcel(self._app_cls, model_name, input_data, is_job=True)
            return AsyncOutputModel(job_id=connect(self._app_cls).spawn_blocking(parcel))

    async def aio(self, *, input_data: Any, model_name: str | None = None) -> AsyncOutputModel:
        with _span(self._app_cls, model_name):
            parcel = _parcel(self._app_cls, model_name, input_data, is_job=True)
            return AsyncOutputModel(job_id=await connect(self._app_cls).spawn(parcel))


def _span(app_cls: Any, model_name: str | None) -> AbstractContextManager[Span]:
    """The call, in the trace of whoever makes it. A function's container may be one that sends nothing else."""
    config = app_cls.modal_utils
    _telemetry.begin(config.settings, config.app_name)
    return _telemetry.call_span(model_name or default_model(app_cls))


def job_order(given: Any) -> tuple[Any, JobOrder]:
    """The message of an asynchronous input, and what else it wants. Text and mappings with a `message` are one, too."""
    if isinstance(given, (str, bytes)):
        with contextlib.suppress(ValueError):
            given = pydantic_core.from_json(given)
    if isinstance(given, dict) and "message" in given:
        try:
            given = AsyncInputModel[Any].model_validate(given)
        except ValidationError as error:
            raise InferenceError(str(error), status=422, kind="invalid_order") from error
    if not isinstance(given, AsyncInputModel):
        return given, JobOrder()
    return given.message, JobOrder(given.success_queue, given.failure_queue, given.webhook_url, given.meta)


def _parcel(app_cls: Any, model_name: str | None, given: Any, *, is_job: bool = False) -> Parcel:
    order = None
    if is_job:
        given, order = job_order(given)
        _jobs.check_order(order, app_cls.modal_utils.settings.app_settings)
    item = Item(_validated(given, app_cls), trace=_telemetry.carrier(), order=order, sent=time.time())
    return Parcel(model_name or default_model(app_cls), (item,))


def _validated(given: Any, app_cls: Any) -> Any:
    """Text (from `modal run`) and mappings become the input that the pipeline says it takes; anything else is passed as it is."""
    wanted = input_type(app_cls)
    if wanted is None or not isinstance(given, (str, bytes, dict)) or wanted in (str, dict):
        return given
    try:
        if isinstance(given, dict):
            return TypeAdapter(wanted).validate_python(given)
        return TypeAdapter(wanted).validate_json(given)
    except ValidationError as error:
        raise InferenceError(str(error), status=422, kind="invalid_input") from error


def _value(outcome: Outcome) -> Any:
    if isinstance(outcome, Output):
        return outcome.value
    raise InferenceError.of(outcome.problem)
