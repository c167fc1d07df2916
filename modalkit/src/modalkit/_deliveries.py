"""Takes the ends of jobs where their orders want them: to webhooks and queues.

Everything of one batch is sent at the same time, before the batch is answered: so what could not be delivered is seen on the job, and
nothing is lost when a container ends. Receivers may get the same message twice, for example when a container is lost between the delivery
and its answer; `message_id` is the same then.

Sending is done by an event loop in a thread of its own, begun by the first delivery: the calling thread may have a loop or none.
"""

import asyncio
import logging
import os
import random
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from modalkit import _jobs, _webhooks
from modalkit._jobs import JobIds
from modalkit._parcels import Item, JobNote, JobOrder, Outcome, Output
from modalkit.errors import QueueRefusedError
from modalkit.iomodel import Delivery, JobState
from modalkit.settings import AppSettings
from modalkit.task_queue import create_queue

T = TypeVar("T")

log = logging.getLogger("modalkit")

_FIRST_PAUSE = 0.25  # seconds before the second try; doubles with each
_AT_A_TIME = 64  # deliveries under way


@dataclass(frozen=True, slots=True)
class Ended:
    """One item and its outcome; `call_id` is the engine's id of the call that brought it."""

    item: Item
    outcome: Outcome
    call_id: str = ""


@dataclass(frozen=True, slots=True)
class _Errand:
    target: str
    send: Callable[[], Awaitable[None]]
    seconds: float  # that one try may take


@dataclass(frozen=True, slots=True)
class _Try:
    """How one try ended. `pause` is seconds that the receiver wants left alone."""

    detail: str = ""
    pause: float = 0.0
    is_last: bool = False
    is_delivered: bool = False


class Deliverer:
    """Delivers for one container. Raises ConfigError: the configured queue cannot be made."""

    def __init__(self, settings: AppSettings, ids: JobIds) -> None:
        self._jobs = settings.jobs_config
        self._queues = settings.queue_config
        self._ids = ids
        self._queue = create_queue(settings.queue_config)
        self._loop: asyncio.AbstractEventLoop | None = None

    def __call__(self, ended: Sequence[Ended], model: str) -> list[Outcome]:
        """The outcomes, those of jobs with a note of where they went. Takes `delivery_deadline_seconds` at most."""
        errands = [self._errands(each, each.item.order, model) if each.item.order else [] for each in ended]
        told = self._run(self._deliver_all(errands)) if any(errands) else [[] for _ in errands]
        return [_noted(each, deliveries) for each, deliveries in zip(ended, told, strict=True)]

    def close(self) -> None:
        """Ends connections and the thread."""
        if self._loop is None:
            return
        if self._queue is not None:
            self._run(self._queue.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._loop = None

    def _errands(self, ended: Ended, order: JobOrder, model: str) -> list[_Errand]:
        job_id = self._ids.of(ended.call_id) if ended.call_id else ""
        body = _jobs.message(job_id, order, ended.outcome)
        is_success = isinstance(ended.outcome, Output)
        queue = (order.success_queue or self._queues.success_queue) if is_success else (order.failure_queue or self._queues.failure_queue)
        errands = []
        if order.webhook_url:
            errands.append(self._webhook(order, body))
        if queue and self._queue is not None:
            state = JobState.SUCCEEDED if is_success else JobState.FAILED
            attributes = {"job_id": job_id, "state": str(state), "model": model, "message_id": order.message_id}
            errands.append(_Errand(f"queue:{queue}", lambda: self._send(queue, body, attributes), self._queues.timeout_seconds))
        return errands

    def _webhook(self, order: JobOrder, body: bytes) -> _Errand:
        target = _shown(order.webhook_url)

        async def send() -> None:
            private = self._jobs.webhook_allow_private
            try:
                parsed = _webhooks.read_url(order.webhook_url, allow_private=private)
                keys = _webhooks.keys_of(os.environ.get(self._jobs.webhook_secret_variable, ""))
            except ValueError as error:
                raise _webhooks.RefusedError(str(error)) from error
            await _webhooks.post(parsed, body, message_id=order.message_id, keys=keys, allow_private=private)

        return _Errand(target, send, self._jobs.webhook_timeout_seconds)

    async def _send(self, queue: str, body: bytes, attributes: dict[str, str]) -> None:
        assert self._queue is not None
        await self._queue.send(queue, body, attributes)

    async def _deliver_all(self, errands: Sequence[Sequence[_Errand]]) -> list[list[Delivery]]:
        until = asyncio.get_running_loop().time() + self._jobs.delivery_deadline_seconds
        limit = asyncio.Semaphore(_AT_A_TIME)
        async with asyncio.TaskGroup() as group:
            tasks = [[group.create_task(self._deliver(each, until, limit)) for each in mine] for mine in errands]
        return [[task.result() for task in mine] for mine in tasks]

    async def _deliver(self, errand: _Errand, until: float, limit: asyncio.Semaphore) -> Delivery:
        """Tries until it is delivered, refused, or out of tries or time."""
        loop, tries, tried = asyncio.get_running_loop(), 0, _Try()
        for tries in range(1, self._jobs.delivery_attempts + 1):
            tried = await _try(errand, until, limit)
            pause = max(tried.pause, random.uniform(0.5, 1) * _FIRST_PAUSE * 2 ** (tries - 1))  # noqa: S311  # no secret
            if tried.is_last or loop.time() + pause >= until:
                break
            await asyncio.sleep(pause)
        if not tried.is_delivered:
            log.warning("A job could not be delivered to %s: %s (%d tries)", errand.target, tried.detail, tries)
        return Delivery(target=errand.target, is_delivered=tried.is_delivered, attempts=tries, detail=tried.detail)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=_serve, args=(self._loop,), name="modalkit-deliveries", daemon=True).start()
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


async def _try(errand: _Errand, until: float, limit: asyncio.Semaphore) -> _Try:
    try:
        async with asyncio.timeout_at(until), limit, asyncio.timeout(errand.seconds):
            await errand.send()
    except (_webhooks.RefusedError, QueueRefusedError) as error:
        return _Try(str(error), is_last=True)
    except TimeoutError:
        return _Try(f"no answer within {errand.seconds:g} s")
    except _webhooks.TryAgainError as error:
        return _Try(str(error), error.pause)
    except Exception as error:  # noqa: BLE001  # whatever a client raises: the next try may go through
        return _Try(f"{type(error).__name__}: {error}")
    return _Try(is_last=True, is_delivered=True)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


def _noted(ended: Ended, deliveries: Sequence[Delivery]) -> Outcome:
    if (order := ended.item.order) is None:
        return ended.outcome
    note = JobNote(time.time(), order.meta, tuple(each.model_dump() for each in deliveries))
    return replace(ended.outcome, job=note)


def _shown(url: str) -> str:
    try:
        return str(_webhooks.read_url(url, allow_private=True))
    except ValueError:
        return "webhook"
