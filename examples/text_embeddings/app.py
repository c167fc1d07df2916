"""Text embeddings: `Texts` in batches that the engine gathers, `Documents` as a stream; three models in the containers of each."""

import modal
from embeddings import AsyncText, Chunks, Document, DocumentEmbedder, Embedding, Text, TextEmbedder

from modalkit.modal_config import ModalConfig
from modalkit.modal_service import ModalService, create_web_endpoints
from modalkit.settings import Settings

Settings.model_config["yaml_file"] = "modalkit.yaml"
modal_config = ModalConfig()

app = modal.App(name=modal_config.app_name)


@app.cls(**modal_config.get_app_cls_settings())
class Texts(ModalService):
    inference_implementation = TextEmbedder
    model_name: str = modal.parameter(default="minilm")
    modal_utils: ModalConfig = modal_config


@app.cls(**modal_config.get_app_cls_settings())
class Documents(ModalService):
    inference_implementation = DocumentEmbedder
    model_name: str = modal.parameter(default="minilm")
    modal_utils: ModalConfig = modal_config


@app.function(**modal_config.get_handler_settings())
@modal.asgi_app(**modal_config.get_asgi_app_settings())
def texts():
    return create_web_endpoints(app_cls=Texts, input_model=Text, output_model=Embedding)


@app.function(**modal_config.get_handler_settings())
@modal.asgi_app(**modal_config.get_asgi_app_settings())
def documents():
    return create_web_endpoints(app_cls=Documents, input_model=Document, output_model=Chunks)


@app.function(**modal_config.get_handler_settings())
def embed(input_data: Text):
    return Texts.sync_call(Texts)(input_data=input_data)


@app.function(**modal_config.get_handler_settings())
def embed_async(input_data: AsyncText):
    return Texts.async_call(Texts)(input_data=input_data)
