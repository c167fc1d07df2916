"""Where the model is: behind the engine, or in this process. Callers see one interface."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import modal
from modal.exception import ConnectionError as ModalConnectionError
from modal.exception import FunctionTimeoutError, NotFoundError, OutputExpiredError, RemoteError

from modalkit._catalogue import default_model, has_model_parameter
from modalkit._parcels import Item, Outcome, Parcel, Reply
from modalkit.errors import DeviceFaultError, InferenceError


class Service(Protocol):
    """The containers that hold the models of one class. Every method raises InferenceError for what the caller should be told."""

    async def run(self, parcel: Parcel) -> Reply:
        """Carries one parcel and waits for its reply."""

    def run_blocking(self, parcel: Parcel) -> Reply:
        """The same, for callers without an event loop."""

    def stream(self, model: str, item: Item) -> AsyncIterator[Any]:
        """The pieces of the answer to one item, as they are made."""

    async def spawn(self, parcel: Parcel) -> str:
        """Begins work that goes on without its caller; the id of the call, to ask for it with."""

    def spawn_blocking(self, parcel: Parcel) -> str:
        """The same, for callers without an event loop."""

    async def poll(self, call_id: str, within: float = 0) -> Outcome | None:
        """The outcome of spawned work, waited for `within` seconds; None while there is none. Raises KeyError for an id that is unknown, Expired, Cancelled."""

    async def cancel(self, call_id: str) -> None:
        """Ends spawned work. Raises KeyError for an id that is unknown."""


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

    async def stream(self, model: str, item: Item) -> AsyncIterator[Any]:
        try:
            async for piece in self._instance(model).stream_request.remote_gen.aio(model, item):
                yield piece
        except Exception as error:
            raise told(error) from error

    async def spawn(self, parcel: Parcel) -> str:
        call = await self._method(parcel.model).spawn.aio(parcel)
        return str(call.object_id)

    def spawn_blocking(self, parcel: Parcel) -> str:
        return str(self._method(parcel.model).spawn(parcel).object_id)

    async def poll(self, call_id: str, within: float = 0) -> Outcome | None:
        try:
            call = await modal.FunctionCall.from_id.aio(call_id)
            reply: Reply = await call.get.aio(timeout=within)
        except TimeoutError:
            return None
        except OutputExpiredError as error:
            raise Expired(call_id) from error
        except NotFoundError as error:
            raise KeyError(call_id) from error
        except Exception as error:
            if _is_cancellation(error):
                raise Cancelled(call_id) from error
            raise told(error) from error
        return reply.outcomes[0]

    async def cancel(self, call_id: str) -> None:
        try:
            call = await modal.FunctionCall.from_id.aio(call_id)
            await call.cancel.aio()
        except NotFoundError as error:
            raise KeyError(call_id) from error

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


def _is_cancellation(error: BaseException) -> bool:
    return "cancel" in type(error).__name__.lower()
