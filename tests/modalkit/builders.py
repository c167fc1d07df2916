"""Small apps for the tests of ModalKit: a pipeline, two models, settings, and what is said nowhere else."""

import types

import modal

from modalkit.iomodel import InputModel, OutputModel
from modalkit.modal_config import ModalConfig
from modalkit.modal_service import ModalService, create_web_endpoints
from modalkit.settings import Settings
from modalkit.testing import TestClient


class Number(InputModel):
    value: float


class Double(OutputModel):
    doubled: float


class Doubler:
    """A plain class, which is enough for a simple model."""

    def predict(self, items):
        return [Double(doubled=2 * item.value) for item in items]


def a_config(*, model_settings=None, app_name="test", **app_settings):
    return ModalConfig(Settings(app_settings={"app_name": app_name, **app_settings}, model_settings=model_settings or {}))


def an_app(pipeline=Doubler, input_model=Number, output_model=Double, **settings):
    """A module as a user writes it: `app`, `Service` and `web`."""
    config = a_config(**{"batch_config": {"max_batch_size": 1, "wait_ms": 0}, **settings})
    app = modal.App(name=config.app_name)

    class Service(ModalService):
        inference_implementation = pipeline
        model_name: str = modal.parameter(default="default")
        modal_utils: ModalConfig = config

    module = types.ModuleType("an_app")
    module.app = app
    module.Service = service = app.cls(serialized=True, **config.get_app_cls_settings())(Service)

    @app.function(serialized=True, **config.get_handler_settings())
    @modal.asgi_app()
    def web():
        return create_web_endpoints(app_cls=service, input_model=input_model, output_model=output_model)

    module.web = web
    return module


def a_client(pipeline=Doubler, input_model=Number, output_model=Double, **settings):
    """The whole app in this process, to be used as a context manager."""
    return TestClient(an_app(pipeline, input_model, output_model, **settings))
