"""The base class of model services, and the web app in front of them.

    @app.cls(**modal_config.get_app_cls_settings())
    class MyApp(ModalService):
        inference_implementation = MyInference
        model_name: str = modal.parameter(default="my_model")
        modal_utils: ModalConfig = modal_config

The engine calls one method of it: `process_request`, batched as this app's own `batch_config` says. A pipeline that streams has a second
one, `stream_request`, and no method is batched then: the SDK allows no other beside a batched one.
"""

import inspect
import logging
import os
from collections.abc import AsyncIterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import modal
import modal.experimental

from modalkit import _sdk, _telemetry
from modalkit._calls import AsyncCall, SyncCall
from modalkit._catalogue import streams
from modalkit._deliveries import Deliverer
from modalkit._handler import Handler, stream_pieces
from modalkit._jobs import job_ids
from modalkit._models import Models, Reloader
from modalkit._parcels import Item, Parcel, Reply
from modalkit.errors import ConfigError, DeviceFaultError
from modalkit.modal_config import ModalConfig
from modalkit.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["ModalService", "create_web_endpoints"]

log = logging.getLogger("modalkit")


class ModalService:
    """One container's model. Subclasses name the pipeline and the configuration; `model_name` is the model that they hold."""

    inference_implementation: ClassVar[Any]
    modal_utils: ClassVar[ModalConfig]
    user_class: ClassVar[type["ModalService"]]  # the class itself, also where `@app.cls` put its own object in its place
    model_name: str = ""
    _reloader: Reloader | None = None

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        if hasattr(cls, "modal_utils") and hasattr(cls, "inference_implementation"):
            cls.user_class = cls
            _add_methods(cls)

    @staticmethod
    def sync_call(app_cls: Any) -> SyncCall:
        """`sync_call(MyApp)(model_name=…, input_data=…)`: the output of one input; `.aio(…)` to await it. Raises InferenceError."""
        return SyncCall(app_cls)

    @staticmethod
    def async_call(app_cls: Any) -> AsyncCall:
        """`async_call(MyApp)(model_name=…, input_data=…)`: a job that goes on by itself; `.aio(…)` to await its beginning."""
        return AsyncCall(app_cls)

    @property
    def base_inference_implementation(self) -> Any:
        """The pipeline's class, by the name that earlier apps use."""
        return self.inference_implementation

    @modal.enter()
    def load_artefacts(self) -> None:
        """Called when the container starts. A model that cannot be loaded makes it not ready, with the reason, and is tried again later.

        A subclass may load by itself and leave its pipeline as `_model_inference_instance`.
        """
        self._handler.handle([Parcel(self.model_name, asks_status=True)])

    @modal.exit()
    def unload_artefacts(self) -> None:
        """Called when the container ends."""
        if self._reloader is not None:
            self._reloader.stop()
        if (deliverer := self.__dict__.get("_deliverer")) is not None:
            deliverer.close()
        self._models.unload()
        _telemetry.flush()

    @cached_property
    def _models(self) -> Models:
        return Models(self._load, self.modal_utils.settings.model_settings.memory_budget_bytes)

    @cached_property
    def _handler(self) -> Handler:
        settings = self.modal_utils.settings
        _telemetry.begin(settings, self.modal_utils.app_name)
        self._reloader = self._start_reloader(settings)
        container = os.environ.get("MODAL_TASK_ID", "local")
        return Handler(self._models, settings.app_settings.batch_config.max_batch_size, container, self._deliverer)

    @cached_property
    def _deliverer(self) -> Deliverer:
        return Deliverer(self.modal_utils.settings.app_settings, job_ids(type(self)))

    def _load(self, model_name: str) -> Any:
        if model_name == self.model_name and (loaded := self.__dict__.pop("_model_inference_instance", None)) is not None:
            return loaded
        settings = self.modal_utils.settings.model_settings
        return build_pipeline(
            self.inference_implementation,
            model_name,
            self.modal_utils.model_folder,
            settings.common,
            settings.model_entries.get(model_name, {}),
        )

    def _start_reloader(self, settings: Settings) -> Reloader | None:
        interval = settings.app_settings.deployment_config.volume_reload_interval_seconds
        if not interval or interval < 0:
            return None
        reloader = Reloader(self._models, self.modal_utils.model_folder, interval, self.modal_utils.reload_volumes)
        reloader.start()
        return reloader

    def _handle(self, parcels: Sequence[Parcel]) -> list[Reply]:
        try:
            return self._handler.handle(parcels, _sdk.call_ids)
        except DeviceFaultError:
            # Raised on, so that the engine runs these parcels again; in another container, since this one takes no more.
            log.exception("The device of this container is faulty; it takes no more requests")
            modal.experimental.stop_fetching_inputs()
            raise


def create_web_endpoints(app_cls: Any, input_model: Any, output_model: Any) -> "FastAPI":
    """The app that serves a class: what `@modal.asgi_app()` returns.

    `app_cls` is the class as `@app.cls` made it; `input_model` and `output_model` are pydantic models, or any type that pydantic knows.
    Raises ConfigError: it is no model service.
    """
    _check_service(app_cls)
    from modalkit._web import app  # noqa: PLC0415  # FastAPI takes longer to import than all the rest, and only web containers need it

    return app.create_web_endpoints(app_cls, input_model, output_model)


def _check_service(app_cls: Any) -> None:
    name = getattr(app_cls, "__name__", None) or str(app_cls)
    if not hasattr(app_cls, "sync_call"):
        msg = f"app_cls: {name} is no model service: write class {name}(ModalService), under @app.cls(…)"
        raise ConfigError(msg)
    for wanted, what in (("inference_implementation", "the class of its pipeline"), ("modal_utils", "its ModalConfig")):
        if not hasattr(app_cls, wanted):
            msg = f"app_cls: {name} has no {wanted}: write {wanted} = {what}, in the body of the class"
            raise ConfigError(msg)


def build_pipeline(implementation: Any, model_name: str, folder: str, common: dict[str, Any], entry: dict[str, Any]) -> Any:
    """One pipeline. A plain class is given as much of this as its constructor has names for."""
    given = {"model_name": model_name, "all_model_data_folder": folder, "common_settings": common, **entry}
    parameters = inspect.signature(implementation).parameters
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return implementation(**given)
    return implementation(**entry, **{key: value for key, value in given.items() if key in parameters and key not in entry})


def _add_methods(cls: Any) -> None:
    """Gives a subclass its methods for the engine, with the settings of its own configuration."""
    if streams(cls):
        cls.process_request = modal.method()(_Streaming.process_request)
        cls.stream_request = modal.method(is_generator=True)(_Streaming.stream_request)
    else:
        cls.process_request = modal.batched(**cls.modal_utils.get_batched_method_settings())(_Batched.process_request)


class _Batched:
    """The method of a class that does not stream."""

    def process_request(self, parcels: list[Parcel]) -> list[Reply]:
        return self._handle(parcels)  # type: ignore[attr-defined,no-any-return]


class _Streaming:
    """The methods of a class that streams."""

    def process_request(self, parcel: Parcel) -> Reply:
        return self._handle([parcel])[0]  # type: ignore[attr-defined,no-any-return]

    async def stream_request(self, model: str, item: Item) -> AsyncIterator[Any]:
        async for piece in stream_pieces(self._models, model, item):  # type: ignore[attr-defined]
            yield piece
