"""A model service in this process: what the engine does for it, done by one thread. For tests and for `modalkit dev`.

Gathers batches by the rules of `@modal.batched` (what has come goes together, at most `max_batch_size` parcels, first come first served), and replaces a container whose device is faulty by a new one that runs the same parcels again.
"""

import asyncio
import contextlib
import logging
import queue
import threading
import uuid
from asyncio import wrap_future
from collections.abc import AsyncGenerator
from concurrent.futures import Future
from typing import Any

from modalkit._handler import stream_pieces
from modalkit._jobs import job_ids
from modalkit._parcels import Item, Outcome, Parcel, Reply
from modalkit._services import Cancelled, told
from modalkit.errors import DeviceFaultError

log = logging.getLogger("modalkit")

_MOST_JOBS = 10_000  # whose results are kept


class LocalService:
    """Implements `_services.Service` over instances of the class in this process, one for each model."""

    def __init__(self, app_cls: Any) -> None:
        self._user_class = app_cls.user_class
        self._settings = app_cls.modal_utils.settings
        self._containers: dict[str, _Container] = {}
        self._starting = threading.Lock()
        self._is_shared = self._settings.model_settings.share_containers
        self._jobs: dict[str, Future[Reply]] = {}
        self._ids = job_ids(app_cls)

    async def run(self, parcel: Parcel) -> Reply:
        try:
            return await wrap_future((await self._started(parcel.model)).submit(parcel))
        except Exception as error:
            raise told(error) from error

    def run_blocking(self, parcel: Parcel) -> Reply:
        try:
            return self._container(parcel.model).submit(parcel).result()
        except Exception as error:
            raise told(error) from error

    async def stream(self, model: str, item: Item) -> AsyncGenerator[Any, None]:
        instance = (await self._started(model)).instance
        try:
            async for piece in stream_pieces(instance._models, model, item):  # noqa: SLF001
                yield piece
        except Exception as error:
            raise told(error) from error

    async def spawn(self, parcel: Parcel) -> str:
        await self._started(parcel.model)
        return self.spawn_blocking(parcel)

    def spawn_blocking(self, parcel: Parcel) -> str:
        call_id = f"fc-local-{uuid.uuid4().hex}"
        self._forget_old_jobs()
        self._jobs[call_id] = self._container(parcel.model).submit(parcel, call_id)
        return self._ids.of(call_id)

    async def poll(self, job_id: str, within: float = 0) -> Outcome | None:
        future = self._jobs[self._ids.call_of(job_id)]
        if not future.done():
            await _wait(future, within)
        if not future.done():
            return None
        if future.cancelled():
            raise Cancelled(job_id)
        try:
            return future.result().outcomes[0]
        except Exception as error:
            raise told(error) from error

    async def is_running(self, job_id: str) -> bool:
        return self._jobs[self._ids.call_of(job_id)].running()

    async def cancel(self, job_id: str) -> bool:
        future = self._jobs[self._ids.call_of(job_id)]
        return future.cancel() or future.done()

    def close(self) -> None:
        """Ends every container; what runs is waited for."""
        for container in self._containers.values():
            container.close()

    def _forget_old_jobs(self) -> None:
        if len(self._jobs) <= _MOST_JOBS:
            return
        ended = [call_id for call_id, future in self._jobs.items() if future.done()]
        for call_id in ended[: len(self._jobs) - _MOST_JOBS]:
            del self._jobs[call_id]

    async def _started(self, model: str) -> "_Container":
        """In a thread where it must be started: that loads its model, and others of this loop are answered meanwhile."""
        if (started := self._containers.get(self._pool(model))) is not None:
            return started
        return await asyncio.to_thread(self._container, model)

    def _container(self, model: str) -> "_Container":
        pool = self._pool(model)
        with self._starting:
            if pool not in self._containers:
                self._containers[pool] = _Container(self._user_class, model, self._settings)
            return self._containers[pool]

    def _pool(self, model: str) -> str:
        return "" if self._is_shared else model


_Sent = tuple[Parcel, "Future[Reply]", str]  # with the call's id


class _Container:
    """One instance of the class and the thread that runs it."""

    def __init__(self, user_class: Any, model: str, settings: Any) -> None:
        self._user_class = user_class
        self._model = model
        batch = settings.app_settings.batch_config
        is_batched = not hasattr(user_class, "stream_request")
        self._max_parcels = batch.max_batch_size if is_batched else 1
        self._retries = settings.app_settings.deployment_config.retries
        self._queue: queue.Queue[_Sent | None] = queue.Queue()
        self.instance = self._start()
        self._thread = threading.Thread(target=self._serve, name=f"modalkit-{model}", daemon=True)
        self._thread.start()

    def submit(self, parcel: Parcel, call_id: str = "") -> "Future[Reply]":
        future: Future[Reply] = Future()
        self._queue.put((parcel, future, call_id))
        return future

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()
        self.instance.unload_artefacts()

    def _start(self) -> Any:
        instance = self._user_class()
        instance.model_name = self._model
        instance.load_artefacts()
        return instance

    def _replace(self) -> None:
        """A new container for one whose device is broken; where none starts, the old one answers that its device is."""
        try:
            self.instance = self._start()
        except Exception:
            log.exception("A new container of %r did not start", self._model)

    def _serve(self) -> None:
        while (batch := self._next_batch()) is not None:
            if wanted := [each for each in batch if each[1].set_running_or_notify_cancel()]:
                self._answer(wanted)

    def _next_batch(self) -> "list[_Sent] | None":
        first = self._queue.get()
        if first is None:
            return None
        batch = [first]
        while len(batch) < self._max_parcels:
            try:
                more = self._queue.get_nowait()
            except queue.Empty:
                break
            if more is None:
                self._queue.put(None)
                break
            batch.append(more)
        return batch

    def _answer(self, batch: "list[_Sent]") -> None:
        parcels = [parcel for parcel, _, _ in batch]
        call_ids = [call_id for _, _, call_id in batch]
        for attempt in range(self._retries + 1):
            try:
                replies = self.instance._handler.handle(parcels, lambda: call_ids)  # noqa: SLF001
            except DeviceFaultError as error:
                if attempt == self._retries:
                    _fail(batch, error)
                self._replace()
            except Exception as error:  # noqa: BLE001  # it is each waiting caller's
                _fail(batch, error)
                return
            else:
                for (_, future, _), reply in zip(batch, replies, strict=True):
                    future.set_result(reply)
                return


async def _wait(future: "Future[Reply]", seconds: float) -> None:
    """Not by awaiting the future itself: who gives up must not cancel the job."""
    done, loop = asyncio.Event(), asyncio.get_running_loop()
    future.add_done_callback(lambda _: loop.call_soon_threadsafe(done.set))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await done.wait()


def _fail(batch: "list[_Sent]", error: Exception) -> None:
    for _, future, _ in batch:
        future.set_exception(error)
