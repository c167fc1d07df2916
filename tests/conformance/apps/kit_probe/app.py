"""A pipeline that tells what it was given, and breaks as it is asked to."""

import os
import time
from pathlib import Path

import modal

from modalkit.inference_pipeline import InferencePipeline
from modalkit.iomodel import InputModel, OutputModel
from modalkit.modal_config import ModalConfig
from modalkit.modal_service import ModalService, create_web_endpoints
from modalkit.settings import Settings

Settings.model_config["yaml_file"] = "modalkit.yaml"
modal_config = ModalConfig()
app = modal.App(name=modal_config.app_name)


class Ask(InputModel):
    number: int


class Told(OutputModel):
    number: int
    batch: int
    container: str


class Probe(InferencePipeline):
    def __init__(self, model_name, all_model_data_folder, common_settings, *, faulty_after=0, missing="", factor=""):
        super().__init__(model_name, all_model_data_folder, common_settings)
        if missing:
            raise FileNotFoundError(missing)
        self.faulty_after = faulty_after
        self.answered = 0
        self.factor = int((Path(all_model_data_folder) / factor).read_text()) if factor else 1

    def predict(self, asks: list[Ask]) -> list[Told]:
        time.sleep(0.02)
        if self.faulty_after and self.answered >= self.faulty_after:
            msg = "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported"
            raise RuntimeError(msg)
        self.answered += len(asks)
        return [Told(number=self.factor * ask.number, batch=len(asks), container=os.environ["MODAL_TASK_ID"]) for ask in asks]


@app.cls(**modal_config.get_app_cls_settings())
class Probes(ModalService):
    inference_implementation = Probe
    model_name: str = modal.parameter(default="sound")
    modal_utils: ModalConfig = modal_config


@app.function(**modal_config.get_handler_settings())
@modal.asgi_app()
def web():
    return create_web_endpoints(app_cls=Probes, input_model=Ask, output_model=Told)


@app.function(**modal_config.get_handler_settings())
def predict(input_data: Ask):
    return Probes.sync_call(Probes)(input_data=input_data)
