"""The examples in this process, as `modalkit.testing.TestClient` runs them. `tests/conformance/test_modalkit.py` asks the same of the engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from expectations import otlp
from expectations.embeddings import APP, EmbeddingsExpectations, configured
from expectations.guide import SETOSA, GuideExpectations
from expectations.receiver import SECRET, Receiver

from modalkit import _telemetry
from modalkit.auth import new_key
from modalkit.settings import Settings
from modalkit.testing import TestClient

# What the guide says, letter by letter.
APPLICATION = """\
import modal
from modalkit.modal_service import ModalService, create_web_endpoints
from modalkit.modal_config import ModalConfig
from modalkit.settings import Settings
""", """\
# Load configuration
Settings.model_config["yaml_file"] = "modalkit.yaml"
modal_config = ModalConfig()

# Create Modal app
app = modal.App(name=modal_config.app_name)

@app.cls(**modal_config.get_app_cls_settings())
class MyApp(ModalService):
    inference_implementation = MyInference
    model_name: str = modal.parameter(default="my_model")
    modal_utils: ModalConfig = modal_config

@app.function(**modal_config.get_handler_settings())
@modal.asgi_app()
def web_endpoints():
    return create_web_endpoints(
        app_cls=MyApp,
        input_model=MyInput,
        output_model=MyOutput
    )
""", """\
@app.function(**modal_config.get_handler_settings())
def predict(input_data: MyInput):
    return MyApp.sync_call(MyApp)(
        model_name="my_model",
        input_data=input_data
    )
""", """\
@app.function(**modal_config.get_handler_settings())
def predict_async(input_data: MyAsyncInput):
    return MyApp.async_call(MyApp)(
        model_name="my_model",
        input_data=input_data
    )
"""  # fmt: skip
CONFIGURATION = (
    """\
app_settings:
  deployment_config:
    region: "us-west-2"           # Optional: Deployment region
    gpu: "T4"                     # Optional: GPU type or list of types
    concurrency_limit: 5          # Optional: Maximum concurrent requests
    container_idle_timeout: 180   # Optional: Timeout in seconds
""",
    """\
app_settings:
  deployment_config:
    concurrency_limit: 5  # Maximum concurrent requests
    allow_concurrent_inputs: 1  # Concurrent inputs per instance
    allow_concurrent_inputs_handler: 10  # Handler concurrency
  batch_config:
    max_batch_size: 1  # Maximum number of messages in an async inference batch
    wait_ms: 1000  # Maximum wait time in milliseconds to trigger a batch
""",
)
LOADING = """
@modal.enter()
def load_artefacts(self):
    \"""Called when container starts\"""
    settings = self.modal_utils.settings
    self._model_inference_kwargs = settings.model_settings.model_entries[self.model_name]
    self._model_inference_instance = self.base_inference_implementation(
        model_name=self.model_name,
        all_model_data_folder=settings.model_settings.local_model_repository_folder,
        common_settings=settings.model_settings.common,
        **self._model_inference_kwargs,
    )
"""


@pytest.fixture(autouse=True)
def elsewhere() -> Iterator[None]:
    """Nothing is taken out of the environment before each test, since an example is set up once for all of its tests; others begin anew."""
    yield
    Settings.model_config["yaml_file"] = None


class TestDeploymentGuide(GuideExpectations):
    @pytest.fixture(scope="class")
    @classmethod
    def client(cls, guide: Path) -> Iterator[TestClient]:
        with TestClient(guide / "app.py") as client:
            yield client

    def test_it_is_the_guides_own_code(self, guide: Path) -> None:
        code = (guide / "app.py").read_text()

        assert [block for block in APPLICATION if block not in code] == []

    @pytest.mark.parametrize("block", CONFIGURATION)
    def test_its_yaml_says_what_the_guides_does(self, guide: Path, block: str) -> None:
        said = yaml.safe_load((guide / "modalkit.yaml").read_text())["app_settings"]

        for section, values in yaml.safe_load(block)["app_settings"].items():
            assert values.items() <= said[section].items()

    @pytest.mark.parametrize("given", [SETOSA, '{"features": [5.1, 3.5, 1.4, 0.2]}'])
    def test_its_functions_can_be_called(self, client: TestClient, given: object) -> None:
        assert client.call("predict", input_data=given).class_name == "setosa"
        assert client.call("predict_async", input_data={"message": SETOSA}).job_id


def test_a_class_that_loads_its_model_as_the_guide_shows_serves_it(guide: Path, tmp_path: Path) -> None:
    code = (guide / "app.py").read_text()
    method = "".join(f"    {line}".rstrip() + "\n" for line in LOADING.splitlines())
    marker = "    modal_utils: ModalConfig = modal_config\n"
    (tmp_path / "app.py").write_text(code.replace(marker, marker + method))
    (tmp_path / "iris.py").write_text((guide / "iris.py").read_text())
    entry = {"local_model_repository_folder": str(guide / "models"), "model_entries": {"my_model": {"weights": "iris.joblib"}}}
    (tmp_path / "modalkit.yaml").write_text(yaml.safe_dump({"app_settings": {"app_name": "loads"}, "model_settings": entry}))

    with TestClient(tmp_path / "app.py") as client:
        loaded = client.module.MyApp.user_class()  # what the engine makes of it
        assert client.post("/predict_sync", json=SETOSA).json()["class_name"] == "setosa"
        loaded.load_artefacts()

    assert loaded._model_inference_kwargs == {"weights": "iris.joblib"}


class TestTextEmbeddings(EmbeddingsExpectations):
    @pytest.fixture(scope="class")
    @classmethod
    def hooks(cls) -> Iterator[Receiver]:
        with Receiver() as hooks:
            yield hooks

    @pytest.fixture(scope="class")
    @classmethod
    def traces(cls) -> Iterator[otlp.Receiver]:
        with otlp.serving() as traces:
            yield traces
            _telemetry.end()

    @pytest.fixture(scope="class")
    @classmethod
    def texts(cls, traces: otlp.Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
        made = new_key("test")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MODALKIT_API_KEYS", made.line)
            patch.setenv("MODALKIT_WEBHOOK_SECRET", SECRET)
            patch.setenv("MODALKIT_CONFIG", configured(tmp_path_factory.mktemp("embeddings"), traces))
            with TestClient(APP, function="texts", headers={"x-api-key": made.key}) as client:
                yield client

    @pytest.fixture(scope="class")
    @classmethod
    def documents(cls, texts: TestClient) -> Iterator[TestClient]:
        with TestClient(texts.module, function="documents", headers=dict(texts.headers)) as client:
            yield client
