"""The iris model served by ModalKit. With BY_HAND it is the same FastAPI app as one writes it without."""

import modal
from flower import FlowerInference, FlowerInput, FlowerOutput

from modalkit.modal_config import ModalConfig
from modalkit.modal_service import ModalService, create_web_endpoints
from modalkit.settings import Settings

Settings.model_config["yaml_file"] = "modalkit.yaml"
modal_config = ModalConfig()
app = modal.App(name=modal_config.app_name)


@app.cls(**modal_config.get_app_cls_settings())
class Flower(ModalService):
    inference_implementation = FlowerInference
    model_name: str = modal.parameter(default="iris")
    modal_utils: ModalConfig = modal_config


@app.function(**modal_config.get_handler_settings())
@modal.asgi_app()
def web():
    return create_web_endpoints(app_cls=Flower, input_model=FlowerInput, output_model=FlowerOutput)
