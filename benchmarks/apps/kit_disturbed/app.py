"""A model whose factor is a file of a volume, and whose device breaks now and then: what disturbs a service while it is asked."""

import os
from pathlib import Path
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
    value: int


class Scaled(OutputModel):
    value: int
    version: str


class Scaling(InferencePipeline):
    def __init__(self, model_name: str, all_model_data_folder: str, common_settings: dict[str, Any], *, faulty_after: int) -> None:
        super().__init__(model_name, all_model_data_folder, common_settings)
        self.factor = int((Path(all_model_data_folder) / "factor.txt").read_text())
        self.left = faulty_after

    def predict(self, data: list[Number]) -> list[Scaled]:
        self.left -= len(data)
        if self.left < 0:
            msg = "CUDA error: device-side assert triggered"
            raise RuntimeError(msg)
        return [Scaled(value=self.factor * item.value, version=os.environ["VERSION"]) for item in data]


@app.cls(**modal_config.get_app_cls_settings())
class Model(ModalService):
    inference_implementation = Scaling
    model_name: str = modal.parameter(default="scaling")
    modal_utils: ModalConfig = modal_config


@app.function(**modal_config.get_handler_settings())
@modal.asgi_app()
def web():
    return create_web_endpoints(app_cls=Model, input_model=Number, output_model=Scaled)
