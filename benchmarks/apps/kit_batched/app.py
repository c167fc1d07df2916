"""A model whose call costs 5 ms and 0.1 ms an item: what gathering gains."""

import time
from typing import Any

import modal

from modalkit.inference_pipeline import InferencePipeline
from modalkit.iomodel import InputModel, OutputModel
from modalkit.modal_config import ModalConfig
from modalkit.modal_service import ModalService, create_web_endpoints
from modalkit.settings import Settings

Settings.model_config["yaml_file"] = "modalkit.yaml"
modal_config = ModalConfig()
app = modal.App(name=modal_config.app_name)


class Number(InputModel):
    value: float


class Doubled(OutputModel):
    value: float


class Doubling(InferencePipeline):
    def predict(self, data: list[Number]) -> list[Doubled]:
        time.sleep(0.005 + 0.0001 * len(data))
        return [Doubled.model_construct(value=2 * item.value) for item in data]

    def postprocess(self, raw: Any) -> Any:
        return raw


@app.cls(**modal_config.get_app_cls_settings())
class Model(ModalService):
    inference_implementation = Doubling
    model_name: str = modal.parameter(default="doubling")
    modal_utils: ModalConfig = modal_config


@app.function(**modal_config.get_handler_settings())
@modal.asgi_app()
def web():
    return create_web_endpoints(app_cls=Model, input_model=Number, output_model=Doubled)
