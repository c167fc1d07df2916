"""A pipeline that works as long as it is asked to, and tells what arrived where its jobs were delivered: in its own container."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import modal

from modalkit.errors import InferenceError
from modalkit.iomodel import InputModel, OutputModel
from modalkit.modal_config import ModalConfig
from modalkit.modal_service import ModalService, create_web_endpoints
from modalkit.settings import Settings
from modalkit.task_queue import MemoryQueue

Settings.model_config["yaml_file"] = "modalkit.yaml"
modal_config = ModalConfig()
one_at_a_time = ModalConfig(
    Settings(app_settings={"batch_config": {"max_batch_size": 1, "wait_ms": 0}, "deployment_config": {"timeout": 12, "retries": 0}})
)
app = modal.App(name=modal_config.app_name)


class Ask(InputModel):
    number: int
    seconds: float = 0
    reads: str = ""


class Told(OutputModel):
    number: int
    batch: int
    arrived: list[str]


class Receiver(BaseHTTPRequestHandler):
    arrived: ClassVar[list[bytes]] = []

    def do_POST(self):
        self.arrived.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(204)
        self.end_headers()


class Slow:
    def __init__(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", 8123), Receiver)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def predict(self, asks: list[Ask]) -> list[Told]:
        time.sleep(max(ask.seconds for ask in asks))
        return [self._tell(ask, len(asks)) for ask in asks]

    def _tell(self, ask: Ask, batch: int) -> Told | InferenceError:
        if ask.number < 0:
            return InferenceError("negative", status=418)
        bodies = Receiver.arrived if ask.reads == "webhook" else [message.body for message in MemoryQueue.take(ask.reads)]
        return Told(number=ask.number, batch=batch, arrived=[body.decode() for body in bodies])


@app.cls(**modal_config.get_app_cls_settings())
class Together(ModalService):
    inference_implementation = Slow
    model_name: str = modal.parameter(default="slow")
    modal_utils: ModalConfig = modal_config


@app.cls(**one_at_a_time.get_app_cls_settings())
class Alone(ModalService):
    inference_implementation = Slow
    model_name: str = modal.parameter(default="slow")
    modal_utils: ModalConfig = one_at_a_time


@app.function(**modal_config.get_handler_settings())
@modal.asgi_app()
def web():
    return create_web_endpoints(app_cls=Together, input_model=Ask, output_model=Told)


@app.function(**modal_config.get_handler_settings())
@modal.asgi_app()
def alone():
    return create_web_endpoints(app_cls=Alone, input_model=Ask, output_model=Told)
