"""ModalKit's apps, deployed by the real CLI. What they answer over HTTP is asked in this process too: tests/modalkit/test_kit_examples.py."""

import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import modal
import pytest
from expectations import otlp
from expectations.embeddings import APP, WEATHER, EmbeddingsExpectations, arrived, configured
from expectations.guide import SETOSA, VIRGINICA, GuideExpectations
from expectations.receiver import SECRET, Receiver

from conformance.deployment import Deployment, deployed
from conformance.engine import APPS, Engine
from conformance.neighbours import Listen, neighbour
from conformance.waiting import eventually
from modalkit.auth import new_key

GUIDE = Path(__file__).parents[2] / "examples" / "deployment_guide"
KEY = new_key("test")


@contextmanager
def site(app: Deployment, function: str, headers: Mapping[str, str] | None = None) -> Iterator[httpx2.Client]:
    """An HTTP client of one web function, by its real address."""
    url = app.function(function).get_web_url()
    assert url
    with httpx2.Client(base_url=app.engine.gateway_url, headers={"Host": urlsplit(url).netloc, **(headers or {})}, timeout=60) as client:
        yield client


class TestDeploymentGuide(GuideExpectations):
    """The guide's own app, with the guide's own keys in its YAML."""

    @pytest.fixture(scope="class")
    @classmethod
    def app(cls, engine: Engine) -> Iterator[Deployment]:
        subprocess.run([sys.executable, GUIDE / "train.py"], check=True)
        guide = deployed(engine, GUIDE / "app.py", name="deployment-guide")
        with engine.restarted(gpu_fallback="cpu"), guide as app, pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(GUIDE)  # what comes back from its functions is made of its models
            yield app

    @pytest.fixture(scope="class")
    @classmethod
    def client(cls, app: Deployment) -> Iterator[httpx2.Client]:
        with site(app, "web_endpoints") as client:
            yield client

    def test_modal_run_takes_the_input_as_json(self, app: Deployment) -> None:
        app.engine.modal("run", f"{GUIDE / 'app.py'}::predict", "--input-data", '{"features": [5.1, 3.5, 1.4, 0.2]}').succeeded()

        refused = app.engine.modal("run", f"{GUIDE / 'app.py'}::predict", "--input-data", '{"features": [5.1, 3.5]}')
        assert refused.code == 1
        assert "List should have at least 4 items" in refused.output

    def test_modal_run_begins_a_job(self, app: Deployment) -> None:
        message = '{"message": {"features": [5.1, 3.5, 1.4, 0.2]}}'

        app.engine.modal("run", f"{GUIDE / 'app.py'}::predict_async", "--input-data", message).succeeded()

    @pytest.mark.parametrize("form", ["its model", "a mapping", "json"])
    def test_its_function_can_be_called(self, app: Deployment, form: str) -> None:
        import iris  # noqa: PLC0415  # of the example

        forms = {"its model": iris.MyInput(**VIRGINICA), "a mapping": VIRGINICA, "json": iris.MyInput(**VIRGINICA).model_dump_json()}

        assert app.function("predict").remote(input_data=forms[form]) == iris.MyOutput(prediction=2, class_name="virginica")

    @pytest.mark.parametrize("form", ["its model", "a mapping"])
    def test_the_result_of_a_job_arrives(self, app: Deployment, client: httpx2.Client, form: str) -> None:
        import iris  # noqa: PLC0415

        forms = {"its model": iris.MyAsyncInput(message=iris.MyInput(**SETOSA)), "a mapping": {"message": SETOSA}}

        begun = app.function("predict_async").remote(input_data=forms[form])

        job = client.get(f"/jobs/{begun.job_id}", params={"wait": 30}).json()
        assert (job["state"], job["output"]) == ("succeeded", {"prediction": 0, "class_name": "setosa"})


class TestTextEmbeddings(EmbeddingsExpectations):
    """A real model, with API keys, a stream, webhooks and traces."""

    @pytest.fixture(scope="class")
    @classmethod
    def listen(cls) -> Iterator[Listen]:
        with neighbour() as listen:
            yield listen

    @pytest.fixture(scope="class")
    @classmethod
    def hooks(cls, listen: Listen) -> Iterator[Receiver]:
        with Receiver(listener=listen()) as hooks:
            yield hooks

    @pytest.fixture(scope="class")
    @classmethod
    def traces(cls, listen: Listen) -> Iterator[otlp.Receiver]:
        with otlp.serving(listen()) as traces:
            yield traces

    @pytest.fixture(scope="class")
    @classmethod
    def app(cls, engine: Engine, traces: otlp.Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
        secret = f"MODALKIT_API_KEYS={KEY.line}", f"MODALKIT_WEBHOOK_SECRET={SECRET}"
        engine.modal("secret", "create", "--force", "text-embeddings", *secret).succeeded()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MODALKIT_CONFIG", configured(tmp_path_factory.mktemp("embeddings"), traces))
            with deployed(engine, APP, name="text-embeddings") as app:
                yield app
        engine.modal("secret", "delete", "--yes", "text-embeddings").succeeded()

    @pytest.fixture(scope="class")
    @classmethod
    def texts(cls, app: Deployment) -> Iterator[httpx2.Client]:
        with site(app, "texts", {"x-api-key": KEY.key}) as client:
            yield client

    @pytest.fixture(scope="class")
    @classmethod
    def documents(cls, app: Deployment) -> Iterator[httpx2.Client]:
        with site(app, "documents", {"x-api-key": KEY.key}) as client:
            yield client

    def test_its_functions_need_no_key(self, app: Deployment) -> None:
        text = f'{{"text": "{WEATHER}"}}'

        app.engine.modal("run", f"{APP}::embed", "--input-data", text).succeeded()

    def test_each_container_sends_its_own_part_of_a_trace(self, texts: httpx2.Client, traces: otlp.Receiver) -> None:
        trace = uuid.uuid4().hex
        texts.post("/predict_sync", json={"text": WEATHER}, headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})

        parts = [arrived(traces, trace, name).resource["service.instance.id"] for name in ("POST /predict_sync", "predict")]

        assert len(set(parts)) == 2
        assert all(each.startswith("ta-") for each in parts)

    def test_traces_survive_the_end_of_their_containers(self, app: Deployment, listen: Listen, tmp_path: Path) -> None:
        """The SDK is told to keep what it has for an hour: it is sent when the containers end, for want of work."""
        keeps = {"app_name": "ending", "build_config": {"env": {"OTEL_BSP_SCHEDULE_DELAY": "3600000"}}}
        trace = uuid.uuid4().hex
        with otlp.serving(listen()) as traces, pytest.MonkeyPatch.context() as patch:
            configuration = configured(tmp_path, traces, deployment_config={"container_idle_timeout": 2}, **keeps)
            patch.setenv("MODALKIT_CONFIG", configuration)
            with deployed(app.engine, APP, name="ending") as ending, site(ending, "texts", {"x-api-key": KEY.key}) as client:
                answer = client.post("/predict_sync", json={"text": WEATHER}, headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
                assert answer.status_code == 200, answer.text

                assert arrived(traces, trace, "POST /predict_sync", within=90).parent
                assert arrived(traces, trace, "predict", within=90).parent

    def test_the_first_chunks_are_there_before_the_last_are_made(self, documents: httpx2.Client) -> None:
        """A document of ten minutes' reading, by lines: what comes first does not wait for the rest."""
        first_line_only = {"text": WEATHER, "words": 100}
        for document in (first_line_only, {"text": WEATHER * 2000, "words": 100}):  # the first has to wait for containers
            began = time.monotonic()
            with documents.stream("POST", "/predict_stream", json=document, headers={"accept": "application/x-ndjson"}) as answer:
                arrivals = [time.monotonic() - began for _ in answer.iter_lines()]

        assert len(arrivals) == 81
        assert arrivals[0] < arrivals[-1] / 2


@pytest.fixture(scope="module")
def probe(engine: Engine) -> Iterator[Deployment]:
    with deployed(engine, "kit_probe/app.py", name="kit-probe") as app, pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(APPS / "kit_probe")
        yield app


def test_the_engine_gathers_batches_of_the_size_that_the_yaml_says(probe: Deployment) -> None:
    """Callers apart from each other: nothing but the engine sees more than one of them."""
    predict = probe.function("predict")

    def largest() -> int:
        with ThreadPoolExecutor(16) as callers:
            told = list(callers.map(lambda number: predict.remote(input_data={"number": number}), range(16)))
        assert [each.number for each in told] == list(range(16))
        return max(each.batch for each in told)

    seen: set[int] = set()
    eventually(lambda: seen.add(largest()) or 4 in seen, within=60, what="A batch of four")
    assert max(seen) == 4


def test_a_broken_device_loses_no_request(probe: Deployment) -> None:
    """Each container of this model has a device-side assert after thirty items."""

    def ask(number: int) -> Any:
        answer = client.post("/predict_sync", params={"model_name": "faulty"}, json={"number": number})
        return answer.status_code, answer.json().get("number"), answer.json().get("container")

    with site(probe, "web") as client, ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(ask, range(150)))

    assert Counter(status for status, _, _ in answers) == {200: 150}
    assert [number for _, number, _ in answers] == list(range(150))
    assert len({container for _, _, container in answers}) >= 4, "containers whose device broke took no more requests"


def test_newer_files_of_a_volume_are_served_without_a_failed_request(probe: Deployment) -> None:
    def put(factor: int) -> None:
        with modal.Volume.from_name("kit-probe-models").batch_upload(force=True) as batch:
            batch.put_file(BytesIO(str(factor).encode()), "/factor.txt")

    def ask() -> int:
        answer = client.post("/predict_sync", params={"model_name": "weights"}, json={"number": 3})
        assert answer.status_code == 200, answer.text
        return int(answer.json()["number"])

    put(2)
    with site(probe, "web") as client:
        assert ask() == 6
        put(5)
        eventually(lambda: ask() == 15, within=60, what="the newer factor")


def test_a_model_that_cannot_be_loaded_is_not_ready_and_says_why(probe: Deployment) -> None:
    with site(probe, "web") as client:
        ready = client.get("/health/ready", params={"model_name": "absent"})
        refused = client.post("/predict_sync", params={"model_name": "absent"}, json={"number": 1})
        sound = client.get("/health/ready")

    assert ready.status_code == refused.status_code == 503
    assert "FileNotFoundError: /root/models/absent.bin" in ready.json()["reason"]
    assert "FileNotFoundError: /root/models/absent.bin" in refused.json()["detail"]
    assert sound.json() == {"status": "ready", "model": "sound"}
