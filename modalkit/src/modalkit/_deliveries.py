"""Takes the ends of jobs where their orders want them: to webhooks and queues.

Everything of one batch is begun at once. The batch waits for it only so long (`delivery_hold_seconds`), so that the job can show how it went;
what takes longer goes on beside the next batches, within its deadline and within bounds on what waits here, and is waited for when the
container ends. Receivers may get the same message twice, for example when a container is lost between the delivery and its answer;
`message_id` is the same then.

Sending is done by an event loop in a thread of its own, begun by the first delivery: the calling thread may have a loop or none.
"""

import asyncio
import logging
import os
import random
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from typing import Any

from modalkit import _jobs, _telemetry, _webhooks
from modalkit._jobs import JobIds
from modalkit._parcels import Item, JobNote, JobOrder, Outcome
from modalkit.errors import QueueRefusedError
from modalkit.iomodel import Delivery, JobState
from modalkit.settings import AppSettings
from modalkit.task_queue import create_queue

log = logging.getLogger("modalkit")

CLOSE_SECONDS = 15.0  # that the end of a container waits for deliveries; the engine gives it about 30
MOST_PENDING = 1000  # deliveries of one container, waiting or under way
MOST_BYTES = 64 * 2**20  # of their messages

_FIRST_PAUSE = 0.25  # seconds before the second try; doubles with each
_AT_A_TIME = 64  # deliveries under way


@dataclass(frozen=True, slots=True)
class Ended:
    """One item and its outcome; `call_id` is the engine's id of the call that brought it."""

    item: Item
    outcome: Outcome
    call_id: str = ""


@dataclass(slots=True)
class _Errand:
    kind: str  # "webhook" or "queue"
    place: str  # for logs and traces: no part of an address that may be secret
    send: Callable[[], Awaitable[None]]
    seconds: float  # that one try may take
    size: int  # bytes of the message
    trace: dict[str, str]
    told: Delivery  # as it stands


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
        self._room = Room(MOST_PENDING, MOST_BYTES)
        self._limit = asyncio.Semaphore(_AT_A_TIME)
        self._loop: asyncio.AbstractEventLoop | None = None

    def __call__(self, ended: Sequence[Ended], model: str) -> list[Outcome]:
        """The outcomes, those of jobs with a note of where they go, as it stands after `delivery_hold_seconds` at most."""
        errands = [self._errands(each, each.item.order, model) if each.item.order else [] for each in ended]
        wait([self._begin(errand) for mine in errands for errand in mine], self._jobs.delivery_hold_seconds)
        return [_noted(each, [errand.told for errand in mine]) for each, mine in zip(ended, errands, strict=True)]

    def close(self) -> None:
        """Waits for what is under way, `CLOSE_SECONDS` at most; ends connections and the thread."""
        if self._loop is None:
            return
        loop, self._loop = self._loop, None
        try:
            asyncio.run_coroutine_threadsafe(self._end(), loop).result(CLOSE_SECONDS + self._queues.timeout_seconds + 5)
        except Exception:
            log.exception("The end of deliveries failed")
        loop.call_soon_threadsafe(loop.stop)

    def _errands(self, ended: Ended, order: JobOrder, model: str) -> list[_Errand]:
        job_id = self._ids.of(ended.call_id) if ended.call_id else ""
        state, body = _jobs.message(job_id, order, ended.outcome)
        is_success = state is JobState.SUCCEEDED
        queue = (order.success_queue or self._queues.success_queue) if is_success else (order.failure_queue or self._queues.failure_queue)
        errands = []
        if order.webhook_url:
            errands.append(self._webhook(order, body, ended.item.trace))
        if queue and self._queue is not None:
            attributes = {"job_id": job_id, "state": str(state), "model": model, "message_id": order.message_id}
            errands.append(self._to_queue(queue, body, attributes, ended.item.trace))
        return errands

    def _webhook(self, order: JobOrder, body: bytes, trace: dict[str, str]) -> _Errand:
        async def send() -> None:
            private = self._jobs.webhook_allow_private
            try:
                parsed = _webhooks.read_url(order.webhook_url, allow_private=private)
                keys = _webhooks.keys_of(os.environ.get(self._jobs.webhook_secret_variable, ""))
            except ValueError as error:
                raise _webhooks.RefusedError(str(error)) from error
            await _webhooks.post(parsed, body, message_id=order.message_id, keys=keys, allow_private=private)

        target, host = _shown(order.webhook_url)
        return _Errand("webhook", host, send, self._jobs.webhook_timeout_seconds, len(body), trace, _under_way(target))

    def _to_queue(self, queue: str, body: bytes, attributes: dict[str, str], trace: dict[str, str]) -> _Errand:
        async def send() -> None:
            assert self._queue is not None
            await self._queue.send(queue, body, attributes)

        return _Errand("queue", queue, send, self._queues.timeout_seconds, len(body), trace, _under_way(f"queue:{queue}"))

    def _begin(self, errand: _Errand) -> "Future[None]":
        if not self._room.take(errand.size, within=self._jobs.delivery_deadline_seconds):
            errand.told = _ended(errand.told, "too many deliveries wait in this container")
            return _done()
        return self._start(self._deliver(errand))

    async def _deliver(self, errand: _Errand) -> None:
        began = time.perf_counter()
        try:
            with _telemetry.delivery_span(errand.kind, errand.place, errand.trace) as span:
                await self._try_until_over(errand)
                told = errand.told
                span.delivered(is_delivered=bool(told.is_delivered), attempts=told.attempts, detail=told.detail)
        except asyncio.CancelledError:
            errand.told = _ended(errand.told, f"the container ended first; {errand.told.detail}")
            raise
        finally:
            self._room.leave(errand.size)
            told = errand.told
            _telemetry.delivery_done(errand.kind, is_delivered=bool(told.is_delivered), seconds=time.perf_counter() - began)
            if not told.is_delivered:
                log.warning("A job could not be delivered to %s: %s (%d tries)", errand.place, told.detail, told.attempts)

    async def _try_until_over(self, errand: _Errand) -> None:
        """Tries until it is delivered, refused, or out of tries or time."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._jobs.delivery_deadline_seconds
        for tries in range(1, self._jobs.delivery_attempts + 1):
            tried = await self._try(errand, until)
            pause = max(tried.pause, random.uniform(0.5, 1) * _FIRST_PAUSE * 2 ** (tries - 1))  # noqa: S311  # no secret
            is_over = tried.is_last or tries == self._jobs.delivery_attempts or loop.time() + pause >= until
            is_delivered = tried.is_delivered if is_over else None
            errand.told = errand.told.model_copy(update={"is_delivered": is_delivered, "attempts": tries, "detail": tried.detail})
            if is_over:
                return
            await asyncio.sleep(pause)

    async def _try(self, errand: _Errand, until: float) -> _Try:
        detail = "too many deliveries wait in this container"
        try:
            async with asyncio.timeout_at(until), self._limit:
                detail = f"no answer within {errand.seconds:g} s"
                async with asyncio.timeout(errand.seconds):
                    await errand.send()
        except (_webhooks.RefusedError, QueueRefusedError) as error:
            return _Try(str(error), is_last=True)
        except TimeoutError:
            return _Try(detail)
        except _webhooks.TryAgainError as error:
            return _Try(str(error), error.pause)
        except Exception as error:  # noqa: BLE001  # whatever a client raises: the next try may go through
            return _Try(f"{type(error).__name__}: {error}")
        return _Try(is_last=True, is_delivered=True)

    async def _end(self) -> None:
        under_way = asyncio.all_tasks() - {asyncio.current_task()}
        if under_way:
            _, late = await asyncio.wait(under_way, timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1)
        if self._queue is not None:
            async with asyncio.timeout(self._queues.timeout_seconds):
                await self._queue.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> "Future[None]":
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=_serve, args=(self._loop,), name="modalkit-deliveries", daemon=True).start()
        return asyncio.run_coroutine_threadsafe(work, self._loop)


class Room:
    """A bound on what waits: so many messages, and so many bytes of them. One message has room whatever its size."""

    def __init__(self, messages: int, size: int) -> None:
        self._messages = messages
        self._size = size
        self._held: tuple[int, int] = (0, 0)
        self._changed = threading.Condition()

    def take(self, size: int, *, within: float) -> bool:
        """Waits for room, and has it; False where there is none within these seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._fits(size), within):
                return False
            self._held = (self._held[0] + 1, self._held[1] + size)
            return True

    def leave(self, size: int) -> None:
        with self._changed:
            self._held = (self._held[0] - 1, self._held[1] - size)
            self._changed.notify_all()

    def _fits(self, size: int) -> bool:
        messages, held = self._held
        return not messages or (messages < self._messages and held + size <= self._size)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


def _noted(ended: Ended, deliveries: Sequence[Delivery]) -> Outcome:
    if (order := ended.item.order) is None:
        return ended.outcome
    note = JobNote(time.time(), order.meta, tuple(each.model_dump() for each in deliveries))
    return replace(ended.outcome, job=note)


def _under_way(target: str) -> Delivery:
    return Delivery(target=target, is_delivered=None, attempts=0, detail="under way")


def _ended(told: Delivery, detail: str) -> Delivery:
    return told.model_copy(update={"is_delivered": False, "detail": detail})


def _done() -> "Future[None]":
    future: Future[None] = Future()
    future.set_result(None)
    return future


def _shown(url: str) -> tuple[str, str]:
    """A webhook's address as its job shows it, and as logs may."""
    try:
        target = _webhooks.read_url(url, allow_private=True)
    except ValueError:
        return "webhook", "webhook"
    return str(target), target.netloc
