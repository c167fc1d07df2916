"""TestClient runs the whole app in this process; functions call the model as the guide writes it."""

import asyncio
import sys
import textwrap
from typing import ClassVar

import modal
import pytest
from builders import Double, Doubler, Number, a_client, a_config, an_app

from modalkit._calls import job_order
from modalkit._services import RemoteService, connect
from modalkit.errors import ConfigError, InferenceError, ModalKitError
from modalkit.iomodel import AsyncInputModel, InputModel
from modalkit.modal_service import ModalService, create_web_endpoints
from modalkit.testing import TestClient

APP = """
import modal
from beside import Doubling
from pydantic import BaseModel
from modalkit.modal_config import ModalConfig
from modalkit.modal_service import ModalService, create_web_endpoints
from modalkit.settings import Settings

Settings.model_config["yaml_file"] = "modalkit.yaml"
modal_config = ModalConfig()
app = modal.App(name=modal_config.app_name)


class Number(BaseModel):
    value: int


@app.cls(**modal_config.get_app_cls_settings())
class MyApp(ModalService):
    inference_implementation = Doubling
    model_name: str = modal.parameter(default="my_model")
    modal_utils: ModalConfig = modal_config


@app.function(**modal_config.get_handler_settings())
@modal.asgi_app()
def web_endpoints():
    return create_web_endpoints(app_cls=MyApp, input_model=Number, output_model=Number)


@app.function(**modal_config.get_handler_settings())
def predict(input_data: Number):
    return MyApp.sync_call(MyApp)(model_name="my_model", input_data=input_data)
"""
BESIDE = """
class Doubling:
    def predict(self, items):
        return [{"value": 2 * item.value} for item in items]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An app as it is deployed from another folder: its YAML and a module of its own beside it."""
    folder = tmp_path / "service"
    folder.mkdir()
    (folder / "app.py").write_text(textwrap.dedent(APP))
    (folder / "beside.py").write_text(textwrap.dedent(BESIDE))
    (folder / "modalkit.yaml").write_text(
        "app_settings: {app_name: from-its-yaml, batch_config: {wait_ms: 0}}\nmodel_settings: {model_entries: {my_model:}}\n"
    )
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield folder
    for name in ("app", "beside"):
        sys.modules.pop(name, None)


class TestApps:
    def test_an_app_is_taken_by_the_path_of_its_file(self, folder):
        with TestClient(folder / "app.py") as client:
            assert client.post("/predict_sync", json={"value": 2}).json() == {"value": 4}
            assert client.get("/openapi.json").json()["info"]["title"] == "from-its-yaml"

    def test_its_functions_are_called_by_name(self, folder):
        with TestClient(str(folder / "app.py")) as client:
            assert client.call("predict", input_data=client.module.Number(value=3)) == {"value": 6}

    def test_a_module_without_a_web_function_says_so_and_leaves_nothing_behind(self):
        module = an_app()
        del module.web
        with pytest.raises(ModalKitError, match="an_app has no web function"):
            TestClient(module)
        assert isinstance(connect(module.Service), RemoteService)

    def test_of_several_web_functions_one_is_named(self):
        module = an_app()
        module.other = module.web
        with pytest.raises(ModalKitError, match=r"has 2 web functions \(web, other\); name one"):
            TestClient(module)
        with TestClient(module, function="other") as client:
            assert client.get("/health/live").status_code == 200

    def test_after_it_the_class_is_in_containers_again(self):
        with a_client() as client:
            service = client.module.Service
            assert not isinstance(connect(service), RemoteService)
        assert isinstance(connect(service), RemoteService)

    def test_without_a_context_it_is_closed_by_hand(self):
        client = a_client()
        assert client.post("/predict_sync", json={"value": 1}).status_code == 200
        client.close()
        assert isinstance(connect(client.module.Service), RemoteService)

    def test_models_are_unloaded_at_the_end(self):
        class Leaving(Doubler):
            left: ClassVar[list] = []

            def unload(self):
                self.left.append(1)

        with a_client(Leaving) as client:
            client.post("/predict_sync", json={"value": 1})
        assert Leaving.left == [1]


class Named:
    """Says which model it is, and the settings of its entry."""

    def __init__(self, model_name, suffix=""):
        self.name = model_name + suffix

    def predict(self, items: list[Number]):
        return [f"{self.name}:{item.value:g}" for item in items]


ENTRIES = {"model_settings": {"model_entries": {"default": {}, "other": {"suffix": "!"}}}}


@pytest.fixture
def service():
    with a_client(Named, Number, str, **ENTRIES) as client:
        yield client.module.Service


class TestCalls:
    def test_the_class_itself_is_given(self, service):
        """`type(app_cls)` was taken of it, which is another class."""
        assert service.sync_call(service)(model_name="default", input_data=Number(value=1)) == "default:1"

    def test_the_named_model_answers(self, service):
        """The name was set as an attribute, not as the class's parameter, so always the default answered."""
        assert service.sync_call(service)(model_name="other", input_data=Number(value=1)) == "other!:1"

    def test_without_a_name_the_default_answers(self, service):
        assert service.sync_call(service)(input_data=Number(value=1)) == "default:1"

    @pytest.mark.parametrize("given", [{"value": 2}, '{"value": 2}', b'{"value": 2}'])
    def test_json_becomes_the_input_that_the_pipeline_names(self, service, given):
        assert service.sync_call(service)(input_data=given) == "default:2"

    @pytest.mark.parametrize("given", [{"value": "x"}, "{", "[]", {}])
    def test_what_is_no_input_is_422(self, service, given):
        with pytest.raises(InferenceError) as raised:
            service.sync_call(service)(input_data=given)
        assert raised.value.problem.status == 422

    async def test_within_a_running_loop_it_is_awaited(self, service):
        """`asyncio.run` within a running loop failed, and the failure was swallowed."""
        assert await service.sync_call(service).aio(input_data=Number(value=1)) == "default:1"
        job = await service.async_call(service).aio(input_data=Number(value=1))
        assert job.job_id

    async def test_within_a_running_loop_the_plain_call_works_too(self, service):
        assert await asyncio.to_thread(lambda: service.sync_call(service)(input_data=Number(value=1))) == "default:1"
        assert service.sync_call(service)(input_data=Number(value=1)) == "default:1"

    def test_an_item_that_failed_raises_its_own_error(self):
        class Refusing:
            def predict(self, items):
                msg = "no"
                raise InferenceError(msg, status=409)

        with a_client(Refusing) as client, pytest.raises(InferenceError) as raised:
            client.module.Service.sync_call(client.module.Service)(input_data=Number(value=1))
        assert raised.value.problem.status == 409


class TestJobs:
    @pytest.mark.parametrize(
        "given",
        [
            Number(value=5),
            AsyncInputModel[Number](message=Number(value=5)),
            AsyncInputModel(message=Number(value=5)),
            AsyncInputModel(message={"value": 5}),
            {"message": {"value": 5}},
            '{"message": {"value": 5}}',
            {"value": 5},
        ],
        ids=["the input", "parametrised", "unparametrised", "unparametrised of a mapping", "a mapping", "text", "a mapping of the input"],
    )
    def test_every_form_of_an_input_makes_a_job(self, service, given):
        """An unparametrised generic model made every asynchronous call fail."""
        job = service.async_call(service)(model_name="other", input_data=given)
        outcome = asyncio.run(connect(service).poll(job.job_id, 20))
        assert outcome.value == "other!:5"

    def test_what_a_job_wants_besides_its_result_travels_with_it(self):
        given = AsyncInputModel[Number](message=Number(value=1), success_queue="ok", meta={"a": 1})
        message, order = job_order(given)
        assert message == Number(value=1)
        assert (order.success_queue, order.failure_queue, order.meta) == ("ok", "", {"a": 1})


class TestServiceClass:
    def test_it_has_no_constructor_of_its_own(self):
        """The SDK refuses one on a class with `modal.parameter()`."""
        assert ModalService.__init__ is object.__init__
        assert isinstance(an_app().Service, modal.Cls)

    def test_a_pipeline_that_streams_has_two_methods_and_another_one(self):
        class Streaming(Doubler):
            def stream(self, item):
                yield item

        assert hasattr(an_app(Streaming).Service.user_class, "stream_request")
        assert not hasattr(an_app().Service.user_class, "stream_request")

    def test_a_plain_class_is_given_what_its_constructor_has_names_for(self):
        class Wants:
            def __init__(self, all_model_data_folder, size):
                self.given = (all_model_data_folder, size)

            def predict(self, items):
                return [Double(doubled=self.given[1]) for _ in items]

        with a_client(Wants, model_settings={"model_entries": {"default": {"size": 7}}}) as client:
            assert client.post("/predict_sync", json={"value": 1}).json() == {"doubled": 7}

    def test_a_setting_that_the_constructor_does_not_take_is_the_reason_that_it_is_not_ready(self):
        class Strict:
            def __init__(self, size):
                self.size = size

            def predict(self, items):
                return items

        with a_client(Strict, model_settings={"model_entries": {"default": {"sise": 7}}}) as client:
            answer = client.get("/health/ready")
        assert answer.status_code == 503
        assert "sise" in answer.json()["reason"]

    def test_a_class_that_is_no_service_is_named_when_the_web_app_is_made(self):
        class Plain:
            pass

        class Bare(ModalService):
            modal_utils = a_config()

        for app_cls, words in ((Plain, r"write class Plain\(ModalService\)"), (Bare, "Bare has no inference_implementation")):
            with pytest.raises(ConfigError, match=words):
                create_web_endpoints(app_cls, Number, Double)

    def test_where_no_default_is_a_model_must_be_named(self):
        module = an_app(**ENTRIES)
        module.Service.user_class.model_name = modal.parameter()
        with TestClient(module) as client:
            answer = client.post("/predict_sync", json={"value": 1})

        assert (answer.status_code, answer.json()["detail"]) == (404, "Name a model by model_name; there are: default, other.")


class TestModels:
    def test_modal_run_passes_an_input_as_text(self):
        """`modal run` reads the type of a parameter from its `str()`."""

        class Mine(InputModel):
            value: int

        assert str(Mine) == "Any"
        assert repr(Mine(value=1)) == "Mine(value=1)"
