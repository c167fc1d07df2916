"""`modalkit new`: a service that runs at once."""

import re
from pathlib import Path
from string import Template

from modalkit.errors import ModalKitError

APP = '''"""The service: what `modal deploy app.py` deploys and `modalkit dev app.py` serves here."""

import modal
from modalkit.modal_config import ModalConfig
from modalkit.modal_service import ModalService, create_web_endpoints
from modalkit.settings import Settings

from pipeline import Input, Line, Output

Settings.model_config["yaml_file"] = "modalkit.yaml"
modal_config = ModalConfig()

app = modal.App(name=modal_config.app_name)


@app.cls(**modal_config.get_app_cls_settings())
class Service(ModalService):
    inference_implementation = Line
    model_name: str = modal.parameter(default="line")
    modal_utils: ModalConfig = modal_config


@app.function(**modal_config.get_handler_settings())
@modal.asgi_app()
def web():
    return create_web_endpoints(app_cls=Service, input_model=Input, output_model=Output)


@app.function(**modal_config.get_handler_settings())
def predict(input_data: Input):
    return Service.sync_call(Service)(input_data=input_data)
'''

PIPELINE = '''"""The model: what goes in, what comes out, and the work between, over a batch at a time."""

from modalkit.inference_pipeline import InferencePipeline
from modalkit.iomodel import InputModel, OutputModel


class Input(InputModel):
    x: float


class Output(OutputModel):
    y: float


class Line(InferencePipeline):
    """A line instead of a model. Load yours in the constructor, from files in `all_model_data_folder`."""

    def __init__(self, model_name, all_model_data_folder, common_settings, *, slope: float, intercept: float = 0.0):
        super().__init__(model_name, all_model_data_folder, common_settings)
        self.slope = slope
        self.intercept = intercept

    def preprocess(self, inputs: list[Input]) -> list[float]:
        return [each.x for each in inputs]

    def predict(self, data: list[float]) -> list[float]:
        return [self.slope * x + self.intercept for x in data]

    def postprocess(self, raw: list[float]) -> list[Output]:
        return [Output(y=y) for y in raw]
'''

CONFIG = """app_settings:
  app_name: $name
  build_config:
    python_sources: [pipeline]    # modules that app.py imports
    pip_packages: []              # what the model needs, such as numpy==2.2.6
  deployment_config:
    max_containers: 5
    scaledown_window: 180         # seconds before an idle container ends
    # gpu: T4
  batch_config:
    max_batch_size: 16            # items that the model is given at once
    wait_ms: 5                    # longest time that one of them waits for others
model_settings:
  model_entries:
    line: { slope: 2.0, intercept: 1.0 }    # keywords of the pipeline's constructor
"""

TEST = '''"""The whole service in this process: `pytest`."""

import app
import pytest
from modalkit.testing import TestClient


@pytest.fixture
def client():
    with TestClient(app) as client:
        yield client


def test_a_prediction(client):
    assert client.post("/predict_sync", json={"x": 2.0}).json() == {"y": 5.0}


def test_an_input_of_the_wrong_type_is_refused(client):
    assert client.post("/predict_sync", json={"x": "two"}).status_code == 422


def test_a_list_is_answered_in_order(client):
    answers = client.post("/predict_batch", json=[{"x": 0.0}, {"x": 1.0}]).json()
    assert answers == [{"output": {"y": 1.0}}, {"output": {"y": 3.0}}]
'''

README = """# $name

    modalkit dev app.py                                      # serve here, and again after each change
    modalkit invoke http://127.0.0.1:8000 '{"x": 2.0}'       # {"y": 5.0}
    pytest && modalkit check app.py && modal deploy app.py   # or: freehold deploy app.py
"""

FILES = {"app.py": APP, "pipeline.py": PIPELINE, "modalkit.yaml": CONFIG, "test_app.py": TEST, "README.md": README}


def make(given: str) -> Path:
    """Writes a service into a new folder. Raises ModalKitError: no name for an app, or there is something of that name."""
    folder = Path(given)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", folder.name):
        msg = f"{folder.name or given!r} cannot be the name of an app: letters, digits, '-', '_' and '.', at most 63, beginning with a letter or a digit."
        raise ModalKitError(msg)
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        msg = f"There is a {given} already. Nothing was changed; choose another name."
        raise ModalKitError(msg) from None
    except OSError as error:
        msg = f"{given} cannot be made: {error.strerror}."
        raise ModalKitError(msg) from None
    for name, text in FILES.items():
        (folder / name).write_text(text if name.endswith(".py") else Template(text).substitute(name=folder.name), encoding="utf-8")
    return folder
