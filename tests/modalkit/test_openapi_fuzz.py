"""Whatever a caller sends to an example, the answer is one that its OpenAPI document promises: schemathesis finds nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from builders import a_client
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema

from modalkit.auth import new_key
from modalkit.iomodel import InputModel
from modalkit.testing import TestClient

EXAMPLES = Path(__file__).parents[2] / "examples"

# The faults that it looks for; what it sends is the same in every run.
CONFIG = {
    "seed": 20250101,
    "continue-on-failure": True,
    "request-timeout": 120,  # seconds; machines that run tests are busy
    "generation": {"max-examples": 15, "deterministic": True, "database": "none"},
}
# A tensor's data must fit its shape, and the tensors the model, which no JSON schema can say.
OF_TENSORS = {"include-path": "/v2/models/{model_name}/infer", "checks": {"positive_data_acceptance": {"enabled": False}}}
NOT_MEANT = {"use_after_free": {"enabled": False}}  # DELETE cancels a job; what became of it can still be asked for

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("default"),  # its own
]


def found_in(client: TestClient, **checks: Any) -> tuple[set[str], list[str]]:
    """The routes that answered with a success at least once, and what is wrong with any answer."""
    headers = {name: value for name, value in client.headers.items() if name == "x-api-key"}
    config: dict[str, Any] = {**CONFIG, "headers": headers, "checks": NOT_MEANT | checks, "operations": [OF_TENSORS]}
    schema = schemathesis.openapi.from_asgi("/openapi.json", client.app, config=SchemathesisConfig.from_dict(config))
    answered: set[str] = set()
    faults: dict[str, str] = {}
    for event in from_schema(schema).execute():
        if isinstance(event, (events.NonFatalError, events.FatalError)):
            faults[repr(event)] = repr(getattr(event, "value", event))
        if isinstance(event, events.ScenarioFinished):
            if any(each.response and each.response.status_code < 300 for each in event.recorder.interactions.values()):
                answered.add(event.recorder.label)
            faults |= dict(_faults(event.recorder))
    return answered, [f"{title}\n{words}" for title, words in faults.items()]


def _faults(recorder: Any) -> Iterator[tuple[str, str]]:
    for case_id, checks in recorder.checks.items():
        for check in checks:
            if check.status == Status.FAILURE:
                failure, sent = check.failure_info.failure, recorder.interactions.get(case_id)
                request = f"{sent.request.method} {sent.request.uri} {sent.request.body!r}" if sent else ""
                answer = f"{sent.response.status_code} {sent.response.content[:300]!r}" if sent and sent.response else ""
                yield f"{recorder.label}: {check.name}: {failure.title}", f"{failure.message}\n{request}\n{answer}"


def test_the_guides_app_keeps_its_word(client: TestClient) -> None:
    answered, faults = found_in(client)

    assert {"POST /predict_sync", "POST /predict_async", "POST /predict_batch", "GET /models", "GET /v2"} <= answered
    assert not faults, "\n\n".join(faults)


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    made = new_key("test")
    monkeypatch.setenv("MODALKIT_API_KEYS", made.line)
    return made.key


def test_the_embeddings_of_texts_keep_their_word(key: str) -> None:
    with TestClient(EXAMPLES / "text_embeddings" / "app.py", function="texts", headers={"x-api-key": key}) as client:
        answered, faults = found_in(client)

    assert {"POST /predict_sync", "POST /predict_batch", "GET /models", "GET /v2"} <= answered
    assert not faults, "\n\n".join(faults)


def test_the_embeddings_of_documents_keep_their_word(key: str) -> None:
    with TestClient(EXAMPLES / "text_embeddings" / "app.py", function="documents", headers={"x-api-key": key}) as client:
        answered, faults = found_in(client)

    assert "POST /predict_stream" in answered
    assert not faults, "\n\n".join(faults)


class Exact(InputModel, strict=True):
    value: float


def raising(error: Exception) -> Any:
    class Broken:
        def predict(self, items: list[Any]) -> Any:
            raise error

    return Broken


def not_loading() -> Any:
    class Missing:
        def __init__(self) -> None:
            raise FileNotFoundError(2, "no such file", "weights.bin")

    return Missing


@pytest.mark.parametrize(
    "pipeline",
    [
        raising(ZeroDivisionError("bug")),
        raising(RuntimeError("CUDA error: device-side assert triggered")),
        raising(MemoryError()),
        not_loading(),
        type("Wrong", (), {"predict": lambda self, items: [None] * (len(items) + 1)}),
        type("Nonsense", (), {"predict": lambda self, items: ["nonsense"] * len(items)}),
    ],
    ids=["a bug", "a broken device", "no memory", "not loading", "a wrong length", "a wrong output"],
)
def test_an_app_whose_model_fails_keeps_its_word(pipeline: Any) -> None:
    with a_client(pipeline, Exact, deployment_config={"retries": 0}) as client:
        answered, faults = found_in(client, not_a_server_error={"enabled": False}, positive_data_acceptance={"enabled": False})

    assert {"GET /health/live", "GET /models"} <= answered
    assert not faults, "\n\n".join(faults)
