"""The model's side of a call: parcels in, replies out. Knows nothing of the engine that carried them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

from modalkit import _telemetry
from modalkit._batches import Batches
from modalkit._deliveries import Ended
from modalkit._faults import Fault, classify, problem_of
from modalkit._models import Models
from modalkit._parcels import Failure, Item, ModelStatus, Outcome, Parcel, Receipt, Reply
from modalkit.errors import DeviceFaultError, InferenceError

Deliver = Callable[[Sequence[Ended], str], list[Outcome]]
CallIds = Callable[[], Sequence[str]]


class Handler:
    """Answers for one container. `deliver` takes the outcomes of jobs where they are wanted, and notes how that went."""

    def __init__(self, models: Models, max_batch_size: int, container: str, deliver: Deliver | None = None) -> None:
        self._models = models
        self._max_batch_size = max_batch_size
        self._container = container
        self._deliver = deliver

    def handle(self, parcels: Sequence[Parcel], call_ids: CallIds = tuple) -> list[Reply]:
        """One reply for each parcel. Raises DeviceFaultError: no parcel is answered, all may run elsewhere.

        `call_ids` tells the engine's id of each parcel's call; it is asked where a parcel holds a job.
        """
        replies: dict[int, Reply] = {}
        ids = _ids_of_jobs(parcels, call_ids)
        for model in dict.fromkeys(parcel.model for parcel in parcels):
            own = [(index, parcel) for index, parcel in enumerate(parcels) if parcel.model == model]
            answered = self._one_model(model, [parcel for _, parcel in own], [ids.get(index, "") for index, _ in own])
            replies |= {index: reply for (index, _), reply in zip(own, answered, strict=True)}
        return [replies[index] for index in range(len(parcels))]

    def _one_model(self, model: str, parcels: Sequence[Parcel], call_ids: Sequence[str]) -> list[Reply]:
        items = [item for parcel in parcels for item in parcel.items]
        ids = [call_id for parcel, call_id in zip(parcels, call_ids, strict=True) for _ in parcel.items]
        began = time.time()
        outcomes, receipt, status = self._run(model, items)
        _telemetry.batch_done(model, receipt, [max(0.0, began - item.sent) for item in items if item.sent], outcomes)
        outcomes = self._delivered(items, outcomes, ids, model)
        replies, start = [], 0
        for parcel in parcels:
            end = start + len(parcel.items)
            waits = tuple(max(0.0, began - item.sent) for item in parcel.items if item.sent)
            mine = replace(receipt, waits=waits)
            replies.append(Reply(tuple(outcomes[start:end]), mine, status if parcel.asks_status else None))
            receipt, start = Receipt(self._container), end  # what the whole batch took is told once
        return replies

    def _run(self, model: str, items: Sequence[Item]) -> tuple[list[Outcome], Receipt, ModelStatus]:
        try:
            with _telemetry.batch_span(model, [item.trace for item in items]) as span, self._models.use(model) as loaded, loaded.turn:
                batches = Batches(loaded.steps, self._max_batch_size, _telemetry.span)
                outcomes = batches.run([item.input for item in items])
                span.ended(outcomes)
        except InferenceError as error:  # the model is not ready
            status = ModelStatus(model, is_ready=False, reason=error.problem.detail, loaded=self._models.names)
            return [Failure(error.problem)] * len(items), Receipt(self._container), status
        receipt = Receipt(self._container, batches.seconds, len(items), tuple(batches.sizes), loads=self._take_loads())
        return outcomes, receipt, ModelStatus(model, is_ready=True, loaded=self._models.names)

    def _delivered(self, items: Sequence[Item], outcomes: list[Outcome], ids: Sequence[str], model: str) -> list[Outcome]:
        if self._deliver is None or not any(item.order for item in items):
            return outcomes
        return self._deliver([Ended(*each) for each in zip(items, outcomes, ids, strict=True)], model)

    def _take_loads(self) -> tuple[tuple[str, float], ...]:
        loads = tuple(self._models.loads)
        self._models.loads.clear()
        return loads


def _ids_of_jobs(parcels: Sequence[Parcel], call_ids: CallIds) -> dict[int, str]:
    """The id of each parcel's call, by its place; empty where nobody wants them."""
    if not any(item.order for parcel in parcels for item in parcel.items):
        return {}
    return dict(enumerate(call_ids()))


async def stream_pieces(models: Models, model: str, item: Item) -> AsyncIterator[Any]:
    """The pieces of the answer to one item. Raises InferenceError: the model is not ready, or the pipeline failed."""
    with contextlib.ExitStack() as held, _telemetry.stream_span(model, item.trace):
        # In a thread, since a model that must be loaded takes its time and other streams share this loop.
        loaded = await asyncio.to_thread(held.enter_context, models.use(model))
        try:
            async for piece in _pieces(loaded.pipeline.stream(item.input)):
                yield piece
        except Exception as error:
            fault = classify(error)
            if fault is Fault.DEVICE:
                raise DeviceFaultError(str(error)) from error
            raise InferenceError.of(problem_of(error, fault)) from error


async def _pieces(made: Any) -> AsyncIterator[Any]:
    if hasattr(made, "__aiter__"):
        async for piece in made:
            yield piece
        return
    for piece in made:
        yield piece
        await asyncio.sleep(0)  # other streams of this loop have their turn
