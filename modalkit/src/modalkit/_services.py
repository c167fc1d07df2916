"""Where the model is: behind the engine, or in this process. Callers see one interface."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import modal
from modal.call_graph import InputStatus  # type: ignore[attr-defined]
from modal.exception import ConnectionError as ModalConnectionError
from modal.exception import FunctionTimeoutError, InputCancellation, NotFoundError, OutputExpiredError, RemoteError

from modalkit._catalogue import default_model, has_model_parameter
from modalkit._jobs import job_ids
from modalkit._parcels import Item, Outcome, Parcel, Reply
from modalkit.errors import DeviceFaultError, InferenceError


class Service(Protocol):
    """The containers that hold the models of one class. Every method raises InferenceError for what the caller should be told."""

    async def run(self, parcel: Parcel) -> Reply:
        """Carries one parcel and waits for its reply."""

    def run_blocking(self, parcel: Parcel) -> Reply:
        """The same, for callers without an event loop."""

    def stream(self, model: str, item: Item) -> AsyncGenerator[Any, None]:
        """The pieces of the answer to one item, as they are made."""

    async def spawn(self, parcel: Parcel) -> str:
        """Begins a job: work that goes on without its caller. Its id, which only this class's services take."""

    def spawn_blocking(self, parcel: Parcel) -> str:
        """The same, for callers without an event loop."""

    async def poll(self, job_id: str, within: float = 0) -> Outcome | None:
        """The outcome of a job, waited for `within` seconds; None while there is none.

        Raises KeyError for an id that is no job of this class, Expired, Cancelled, and InferenceError for a job that ended without reply.
        """

    async def is_running(self, job_id: str) -> bool:
        """Whether a container has begun a job that has no outcome; False where that cannot be known. Raises KeyError."""

    async def cancel(self, job_id: str) -> bool:
        """Ends a job; False where it runs already and others' work would end with it. Raises KeyError."""


class Expired(Exception):
    """The result was kept for its time and is gone."""


class Cancelled(Exception):
    """The work was cancelled before it ended."""


class RemoteService:
    """Models in containers of their own, called through the `modal` SDK."""

    def __init__(self, app_cls: Any) -> None:
        self._app_cls = app_cls
        self._default = default_model(app_cls)
        self._is_shared = app_cls.modal_utils.settings.model_settings.share_containers
        is_batched = not hasattr(app_cls.user_class, "stream_request")
        self._is_batched = is_batched and app_cls.modal_utils.settings.app_settings.batch_config.max_batch_size > 1
        self._ids = job_ids(app_cls)
        self._bound: dict[str, Any] = {}

    async def run(self, parcel: Parcel) -> Reply:
        try:
            reply: Reply = await self._method(parcel.model).remote.aio(parcel)
        except Exception as error:
            raise told(error) from error
        return reply

    def run_blocking(self, parcel: Parcel) -> Reply:
        try:
            reply: Reply = self._method(parcel.model).remote(parcel)
        except Exception as error:
            raise told(error) from error
        return reply

    async def stream(self, model: str, item: Item) -> AsyncGenerator[Any, None]:
        try:
            async for piece in self._instance(model).stream_request.remote_gen.aio(model, item):
                yield piece
        except Exception as error:
            raise told(error) from error

    async def spawn(self, parcel: Parcel) -> str:
        try:
            call = await self._method(parcel.model).spawn.aio(parcel)
        except Exception as error:
            raise told(error) from error
        return self._ids.of(call.object_id)

    def spawn_blocking(self, parcel: Parcel) -> str:
        try:
            call = self._method(parcel.model).spawn(parcel)
        except Exception as error:
            raise told(error) from error
        return self._ids.of(call.object_id)

    async def poll(self, job_id: str, within: float = 0) -> Outcome | None:
        call = await self._call(job_id)
        try:
            reply: Reply = await call.get.aio(timeout=within)
        except (OutputExpiredError, NotFoundError) as error:  # it was a call: its id is signed
            raise Expired(job_id) from error
        except FunctionTimeoutError as error:  # a TimeoutError, as is the one before; only what is left of these says: not yet
            raise told(error) from error
        except TimeoutError:
            return None
        except InputCancellation as error:
            raise Cancelled(job_id) from error
        except Exception as error:
            if isinstance(error, RemoteError) and await self._is_cancelled(job_id, error):
                raise Cancelled(job_id) from error
            raise told(error) from error
        return reply.outcomes[0]

    async def is_running(self, job_id: str) -> bool:
        node = await self._node(job_id)
        return node is not None and node.status == InputStatus.PENDING and bool(node.task_id)

    async def cancel(self, job_id: str) -> bool:
        call = await self._call(job_id)
        # A container that is told to cancel one input of a batch drops the batch.
        if self._is_batched and await self.is_running(job_id):
            return False
        with suppress(NotFoundError):
            await call.cancel.aio()
        return True

    async def _call(self, job_id: str) -> Any:
        call_id = self._ids.call_of(job_id)
        # In a thread: older versions of the SDK connect here, newer ones do not want it awaited.
        return await asyncio.to_thread(modal.FunctionCall.from_id, call_id)

    async def _is_cancelled(self, job_id: str, error: Exception) -> bool:
        node = await self._node(job_id)
        return node.status == InputStatus.TERMINATED if node is not None else "cancel" in str(error).lower()

    async def _node(self, job_id: str) -> Any:
        """What the engine's graph of calls says of a job; it is made with a best effort, and may not know of it yet."""
        call = await self._call(job_id)
        try:
            nodes = await call.get_call_graph.aio()
        except Exception:  # noqa: BLE001  # a graph is worth no failure
            return None
        return _find(nodes, self._ids.call_of(job_id))

    def _method(self, model: str) -> Any:
        return self._instance(model).process_request

    def _instance(self, model: str) -> Any:
        pool = self._default if self._is_shared else model
        if pool not in self._bound:
            self._bound[pool] = self._app_cls(model_name=pool) if has_model_parameter(self._app_cls) else self._app_cls()
        return self._bound[pool]


_stand_ins: dict[int, Service] = {}  # by the id of the class


def connect(app_cls: Any) -> Service:
    """The service of a class: in containers, unless `stand_in` put it in this process."""
    return _stand_ins.get(id(app_cls)) or RemoteService(app_cls)


@contextmanager
def stand_in(app_cls: Any, service: Service) -> Iterator[None]:
    """Within the block, who connects to the class is connected to `service`."""
    before = _stand_ins.get(id(app_cls))
    _stand_ins[id(app_cls)] = service
    try:
        yield
    finally:
        if before is None:
            del _stand_ins[id(app_cls)]
        else:
            _stand_ins[id(app_cls)] = before


def told(error: BaseException) -> BaseException:
    """What a caller is told about a call that ended without a reply; anything unknown is passed on as it is."""
    if isinstance(error, InferenceError):
        return error
    if isinstance(error, FunctionTimeoutError):
        return InferenceError("The model took longer than its timeout.", status=504, kind="timeout")
    if isinstance(error, DeviceFaultError) or "DeviceFaultError" in str(error):
        return InferenceError(
            "The model's devices are faulty; the request was tried elsewhere without success.", status=503, kind="device_fault"
        )
    if isinstance(error, (ModalConnectionError, RemoteError)):
        return InferenceError(f"The model's container could not answer: {error}", status=503, kind="unavailable")
    return error


def _find(nodes: Sequence[Any], call_id: str) -> Any:
    """The node of one call in a forest of calls."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node.function_call_id == call_id:
            return node
        waiting.extend(node.children)
    return None
