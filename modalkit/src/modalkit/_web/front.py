"""What all routes share: the models, the way to them, and what they take and give."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from modalkit import _telemetry
from modalkit._catalogue import Catalogue, streams
from modalkit._courier import Courier
from modalkit._metrics import Metrics
from modalkit._parcels import Failure, Item, JobOrder, ModelStatus, Outcome, Output, Parcel
from modalkit._services import Service, connect
from modalkit._web.body import BodyReader
from modalkit.auth import may_use
from modalkit.errors import InferenceError, Problem, new_error_id
from modalkit.settings import Settings


class Front:
    """One web app's view of its models."""

    def __init__(self, app_cls: Any, input_model: Any, output_model: Any, settings: Settings) -> None:
        self.settings = settings
        self.web = settings.app_settings.web_config
        self.catalogue = Catalogue(app_cls, settings, may_use)
        self.service: Service = connect(app_cls)
        self.inputs: TypeAdapter[Any] = TypeAdapter(input_model)
        self.outputs: TypeAdapter[Any] = TypeAdapter(output_model)
        self.is_streaming = streams(app_cls)
        self.body = BodyReader(self.web.max_body_bytes)
        self.metrics = Metrics()
        self.name = f"{app_cls.modal_utils.app_name}/{app_cls.user_class.__name__}"
        self._output_model = output_model
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self._couriers: dict[str, Courier] = {}
        self._statuses: dict[str, tuple[float, ModelStatus]] = {}

    async def answer(self, model: str, given: Any) -> Outcome:
        """The outcome of one input, within `request_timeout`."""
        with _telemetry.call_span(model) as span:
            outcome = await self._carried(model, given)
            span.ended([outcome])
        if isinstance(outcome, Failure):
            self.metrics.failed(model, outcome.problem.kind)
        return outcome

    async def _carried(self, model: str, given: Any) -> Outcome:
        try:
            async with asyncio.timeout(self.web.request_timeout):
                return await self._courier(model).carry(self.item(given))
        except TimeoutError:
            return Failure(Problem(504, f"No answer within {self.web.request_timeout:g} s.", "timeout"))
        except InferenceError as error:
            return Failure(error.problem)

    def item(self, given: Any, order: JobOrder | None = None) -> Item:
        return Item(given, _telemetry.carrier(), order, time.time())

    def body_of(self, value: Any) -> bytes:
        """An output as JSON. Raises InferenceError (500): the pipeline's output is not what the app promises."""
        if type(value) is self._output_model and isinstance(value, BaseModel):
            return value.__pydantic_serializer__.to_json(value, by_alias=True)
        try:
            return self.outputs.dump_json(self.outputs.validate_python(value, from_attributes=True), by_alias=True)
        except (ValidationError, ValueError) as error:
            problem = Problem(500, f"The pipeline's output is not what the app promises: {error}", "wrong_output", new_error_id())
            raise InferenceError.of(problem) from error

    async def status(self, model: str) -> ModelStatus:
        """Whether a model is ready; loads it where it is not loaded yet. What was asked a second ago is not asked again."""
        at, known = self._statuses.get(model, (0.0, None))
        if known is not None and time.monotonic() - at < 1:
            return known
        status = await self._ask_status(model)
        self._statuses[model] = (time.monotonic(), status)
        return status

    def loaded(self) -> set[str]:
        """The models that were in memory when it was last asked."""
        return {name for _, status in self._statuses.values() for name in status.loaded}

    async def _ask_status(self, model: str) -> ModelStatus:
        try:
            async with asyncio.timeout(self.web.ready_timeout):
                reply = await self.service.run(Parcel(model, asks_status=True))
        except TimeoutError:
            return ModelStatus(model, is_ready=False, reason=f"No container answered within {self.web.ready_timeout:g} s.")
        except InferenceError as error:
            return ModelStatus(model, is_ready=False, reason=error.problem.detail)
        self.metrics.note(model, reply.receipt)
        assert reply.status is not None
        return reply.status

    async def close(self) -> None:
        for courier in self._couriers.values():
            await courier.close()
        for close in self._closers:
            await close()

    def on_close(self, close: Callable[[], Awaitable[None]]) -> None:
        """Has `close` called when the app ends, after what is under way."""
        self._closers.append(close)

    def _courier(self, model: str) -> Courier:
        if (courier := self._couriers.get(model)) is None:
            courier = self._couriers[model] = self._new_courier(model)
        return courier

    def _new_courier(self, model: str) -> Courier:
        batch = self.settings.app_settings.batch_config
        return Courier(
            model,
            self.service.run,
            max_waiting=self.web.max_waiting,
            on_receipt=self.metrics.note,
            batch=batch.max_batch_size,
            wait=batch.wait_ms / 1000 if batch.max_batch_size > 1 else 0.0,
        )


def value_or_raise(outcome: Outcome) -> Any:
    """The output's value. Raises InferenceError for a failure."""
    if isinstance(outcome, Output):
        return outcome.value
    raise InferenceError.of(outcome.problem)
