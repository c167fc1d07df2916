"""Traces and metrics, as they arrive at a receiver."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from builders import Double, Doubler, Number, a_client, a_config, an_app
from expectations import otlp

from modalkit import _telemetry
from modalkit.auth import new_key
from modalkit.errors import InferenceError
from modalkit.inference_pipeline import InferencePipeline, StreamingPipeline
from modalkit.modal_config import used_extras
from modalkit.testing import TestClient

SERVER, CLIENT, CONSUMER = 2, 3, 5
CALLERS_TRACE, CALLERS_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{CALLERS_TRACE}-{CALLERS_SPAN}-01"
TOGETHER = {"max_batch_size": 4, "wait_ms": 3000}


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Nothing is sent before a test and after it."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    _telemetry.end()
    _telemetry._was_told = False
    yield
    _telemetry.end()


@pytest.fixture
def receiver():
    with otlp.serving() as receiver:
        yield receiver
        _telemetry.end()  # while there is somebody to take the last of it


def watched(receiver, pipeline=Doubler, *, batch_config=None, **watch):
    batch_config = batch_config or {"max_batch_size": 1, "wait_ms": 0}
    return an_app(pipeline, batch_config=batch_config, observability_config={"endpoint": receiver.endpoint, **watch})


class InSteps(InferencePipeline):
    def __init__(self, *args, **entry):
        super().__init__(*args, **entry)

    def preprocess(self, inputs):
        return [item.value for item in inputs]

    def predict(self, data):
        if -1 in data:
            msg = "no negative numbers"
            raise InferenceError(msg, status=400, kind="negative")
        if -2 in data:
            msg = "a bug"
            raise ValueError(msg)
        return [2 * value for value in data]

    def postprocess(self, raw):
        return [Double(doubled=value) for value in raw]


class Counting(StreamingPipeline):
    def predict(self, items):
        return [Double(doubled=0) for _ in items]

    def stream(self, item):
        yield from range(int(item.value))


def at_once(client, count, value=lambda index: index):
    """As many requests at the same time; each in a trace of its own."""
    answers = [None] * count

    def ask(index):
        answers[index] = client.post("/predict_sync", json={"value": value(index)})

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


class TestOneRequest:
    def test_a_trace_goes_from_the_request_through_the_call_and_the_batch_to_the_three_steps(self, receiver):
        with TestClient(watched(receiver, InSteps)) as client:
            answer = client.post("/predict_sync", json={"value": 2})

        assert answer.json() == {"doubled": 4}
        request = receiver.one("POST /predict_sync")
        [call] = receiver.children(request)
        [batch] = receiver.children(call)
        steps = receiver.children(batch)
        assert (request.kind, call.kind, batch.kind) == (SERVER, CLIENT, CONSUMER)
        assert (request.parent, call.name, batch.name) == ("", "modalkit.call", "modalkit.batch")
        assert [step.name for step in steps] == ["preprocess", "predict", "postprocess"]
        assert batch.links == [(call.trace, call.id)]
        assert request.began <= call.began <= batch.began <= steps[0].began <= steps[2].ended <= batch.ended <= call.ended <= request.ended

    def test_it_says_what_was_asked_and_what_was_answered(self, receiver):
        with TestClient(watched(receiver)) as client:
            client.post("/predict_sync?model_name=default", json={"value": 2})

        request, call = receiver.one("POST /predict_sync"), receiver.one("modalkit.call")
        assert request.attributes == {
            "http.request.method": "POST",
            "http.route": "/predict_sync",
            "http.response.status_code": 200,
            "url.path": "/predict_sync",
            "url.scheme": "http",
        }
        assert call.attributes == {"modalkit.model": "default"}
        assert request.resource["service.name"] == "test"
        assert request.resource["service.instance.id"]

    def test_a_trace_that_the_caller_began_goes_on(self, receiver):
        with TestClient(watched(receiver)) as client:
            client.post("/predict_sync", json={"value": 2}, headers={"traceparent": TRACEPARENT, "tracestate": "vendor=1"})

        request = receiver.one("POST /predict_sync")
        assert (request.trace, request.parent) == (CALLERS_TRACE, CALLERS_SPAN)
        assert {span.trace for span in receiver.spans} == {CALLERS_TRACE}

    def test_the_answer_says_which_trace_it_is(self, receiver):
        with TestClient(watched(receiver)) as client:
            told = client.post("/predict_sync", json={"value": 2}).headers["traceresponse"]

        request = receiver.one("POST /predict_sync")
        assert told.rpartition("-")[0] == f"00-{request.trace}-{request.id}"

    @pytest.mark.parametrize("sent", ["garbage", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", TRACEPARENT + "-more", "ff" + TRACEPARENT[2:]])
    def test_what_is_no_traceparent_begins_a_trace(self, sent, receiver):
        with TestClient(watched(receiver)) as client:
            assert client.post("/predict_sync", json={"value": 2}, headers={"traceparent": sent}).status_code == 200

        assert receiver.one("POST /predict_sync").parent == ""

    def test_an_input_at_fault_is_no_error_of_the_service_and_a_bug_is(self, receiver):
        with TestClient(watched(receiver, InSteps)) as client:
            statuses = [client.post("/predict_sync", json={"value": value}).status_code for value in (-1, -2)]

        assert statuses == [400, 500]
        assert [(span.attributes["error.type"], span.is_error) for span in receiver.named("modalkit.call")] == [
            ("negative", False),
            ("inference_failed", True),
        ]
        assert [span.is_error for span in receiver.named("POST /predict_sync")] == [False, True]
        assert receiver.named("modalkit.batch")[1].attributes["modalkit.error_id"].startswith("er-")

    def test_a_model_that_cannot_be_loaded_is_an_error_of_the_batch(self, receiver):
        class Broken(Doubler):
            def __init__(self):
                msg = "no weights"
                raise FileNotFoundError(msg)

        with TestClient(watched(receiver, Broken)) as client:
            assert client.post("/predict_sync", json={"value": 1}).status_code == 503

        batch = receiver.one("modalkit.batch")
        assert (batch.attributes["error.type"], batch.is_error) == ("model_not_ready", True)

    def test_each_item_of_predict_batch_has_its_own_call_in_one_trace(self, receiver):
        with TestClient(watched(receiver)) as client:
            client.post("/predict_batch", json=[{"value": 1}, {"value": 2}, {"value": 3}])

        request = receiver.one("POST /predict_batch")
        assert [span.name for span in receiver.children(request)] == ["modalkit.call"] * 3

    def test_a_stream_is_one_span_until_its_end(self, receiver):
        with TestClient(watched(receiver, Counting)) as client:
            assert client.post("/predict_stream", json={"value": 3}, headers={"accept": "application/x-ndjson"}).text == "0\n1\n2\n"

        assert [span.name for span in receiver.children(receiver.one("POST /predict_stream"))] == ["modalkit.stream"]

    def test_a_call_from_a_function_is_a_trace_too(self, receiver):
        app = watched(receiver)
        with TestClient(app):
            assert app.Service.sync_call(app.Service)(input_data=Number(value=2)).doubled == 4
        call = receiver.one("modalkit.call")
        assert (call.parent, [span.name for span in receiver.children(call)]) == ("", ["modalkit.batch"])

    def test_a_job_is_in_the_trace_of_who_began_it(self, receiver):
        app = watched(receiver)
        with TestClient(app):
            app.Service.async_call(app.Service)(input_data=Number(value=2))
        call = receiver.one("modalkit.call")
        assert [span.name for span in receiver.children(call)] == ["modalkit.batch"]

    def test_a_delivery_is_in_the_trace_of_who_began_the_job(self, receiver):
        config = {"jobs_config": {"delivery_hold_seconds": 30}, "queue_config": {"backend": "memory", "success_queue": "done"}}
        with a_client(observability_config={"endpoint": receiver.endpoint}, **config) as client:
            job_id = client.post("/predict_async", json={"value": 2}).json()["job_id"]
            client.get(f"/jobs/{job_id}?wait=30")

        request, delivery, batch = (receiver.one(name) for name in ("POST /predict_async", "modalkit.delivery", "modalkit.batch"))
        assert (delivery.trace, delivery.parent, batch.parent) == (request.trace, request.id, request.id)
        assert delivery.attributes == {
            "modalkit.delivery.to": "queue",
            "messaging.destination.name": "done",
            "modalkit.delivery.attempts": 1,
        }
        assert [(_key(attributes), value["count"]) for attributes, value in receiver.metrics["modalkit.delivery.duration"]] == [
            (("queue", "delivered"), 1)
        ]

    def test_a_delivery_that_failed_is_an_error(self, receiver, monkeypatch):
        monkeypatch.setenv("MODALKIT_WEBHOOK_SECRET", "x" * 24)
        config = {"jobs_config": {"delivery_hold_seconds": 30, "delivery_attempts": 2, "webhook_allow_private": True}}
        with a_client(observability_config={"endpoint": receiver.endpoint}, **config) as client:
            order = {"message": {"value": 2}, "webhook_url": "http://127.0.0.1:9/hooks/secret"}
            client.get(f"/jobs/{client.post('/predict_async', json=order).json()['job_id']}?wait=30")

        delivery = receiver.one("modalkit.delivery")
        assert (delivery.is_error, delivery.attributes["modalkit.delivery.attempts"]) == (True, 2)
        assert delivery.attributes["server.address"] == "127.0.0.1:9"
        assert "secret" not in str(receiver.spans)

    def test_the_id_of_a_job_is_not_shown_whole(self, receiver):
        """Who has it may see and cancel the job."""
        with TestClient(watched(receiver)) as client:
            job_id = client.post("/predict_async", json={"value": 2}).json()["job_id"]
            client.get(f"/jobs/{job_id}?wait=30")

        assert receiver.one("GET /jobs/{job_id}").attributes["url.path"] == f"/jobs/{job_id.partition('.')[0]}"
        assert job_id.partition(".")[2] not in str(receiver.spans)

    def test_the_key_is_named_and_never_shown(self, receiver, monkeypatch):
        alice = new_key("alice")
        monkeypatch.setenv("MODALKIT_API_KEYS", alice.line)
        with a_client(auth_config={"kind": "api_key"}, observability_config={"endpoint": receiver.endpoint}) as client:
            client.post("/predict_sync", json={"value": 2}, headers={"x-api-key": alice.key})
            client.post("/predict_sync", json={"value": 2})

        answered, refused = receiver.named("POST /predict_sync") + receiver.named("POST")
        assert (answered.attributes["modalkit.api_key"], refused.attributes["http.response.status_code"]) == ("alice", 401)
        assert alice.key not in str(receiver.spans)

    def test_what_machines_ask_every_few_seconds_is_not_traced(self, receiver):
        with TestClient(watched(receiver)) as client:
            for path in ("/health", "/health/live", "/health/ready", "/metrics", "/models"):
                client.get(path)

        assert {span.name for span in receiver.spans} == {"GET /models"}


class TestBatches:
    def test_one_span_of_a_batch_is_linked_to_every_request_in_it(self, receiver):
        with TestClient(watched(receiver, InSteps, batch_config=TOGETHER)) as client:
            answers = at_once(client, 4)

        calls = receiver.named("modalkit.call")
        batch = receiver.one("modalkit.batch")
        assert [answer.json()["doubled"] for answer in answers] == [0, 2, 4, 6]
        assert len({call.trace for call in calls}) == 4
        assert sorted(batch.links) == sorted((call.trace, call.id) for call in calls)
        assert (batch.parent, batch.trace in {call.trace for call in calls}) == ("", False)
        assert [step.name for step in receiver.children(batch)] == ["preprocess", "predict", "postprocess"]

    def test_each_requests_own_trace_shows_its_part_of_the_batch(self, receiver):
        with TestClient(watched(receiver, InSteps, batch_config=TOGETHER)) as client:
            at_once(client, 4)

        batch = receiver.one("modalkit.batch")
        items = [item for call in receiver.named("modalkit.call") for item in receiver.children(call)]
        assert [item.name for item in items] == ["modalkit.item"] * 4
        assert all(item.links == [(batch.trace, batch.id)] for item in items)
        assert sorted(item.attributes["modalkit.batch.position"] for item in items) == [0, 1, 2, 3]
        assert {item.attributes["modalkit.batch.items"] for item in items} == {4}
        assert all(item.began == batch.began and item.ended <= batch.ended for item in items)

    def test_one_bad_item_is_an_error_of_its_own_trace_alone(self, receiver):
        with TestClient(watched(receiver, InSteps, batch_config=TOGETHER)) as client:
            answers = at_once(client, 4, value=lambda index: -2 if index == 1 else index)

        assert [answer.status_code for answer in answers] == [200, 500, 200, 200]
        assert sorted(item.is_error for item in receiver.named("modalkit.item")) == [False, False, False, True]
        assert receiver.one("modalkit.batch").is_error is False

    def test_a_batch_is_kept_when_one_of_its_requests_is(self, receiver):
        kept, left = TRACEPARENT, f"00-{'a' * 32}-{'b' * 16}-00"
        with TestClient(watched(receiver, batch_config={"max_batch_size": 2, "wait_ms": 3000}, sample_ratio=0)) as client:
            threads = [
                threading.Thread(
                    target=client.post, args=("/predict_sync",), kwargs={"json": {"value": 1}, "headers": {"traceparent": each}}
                )
                for each in (kept, left)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        assert {span.trace for span in receiver.spans if span.name != "modalkit.batch" and span.parent} >= {CALLERS_TRACE}
        assert not [span for span in receiver.spans if span.trace == "a" * 32]
        assert receiver.one("modalkit.item").trace == CALLERS_TRACE
        assert len(receiver.one("modalkit.batch").links) == 2

    def test_more_items_than_the_sdks_bound_are_linked(self, receiver):
        config = a_config(observability_config={"endpoint": receiver.endpoint})
        with (
            _telemetry.sending(config.settings, "test"),
            _telemetry.batch_span("m", [{"traceparent": f"00-{i:032x}-{i:016x}-01"} for i in range(1, 501)]),
        ):
            pass

        assert receiver.one("modalkit.batch").links == [(f"{i:032x}", f"{i:016x}") for i in range(1, 501)]


class TestUsersCode:
    def test_spans_of_a_pipeline_are_in_the_step_that_makes_them(self, receiver):
        """In a process of its own: the provider of all is set once."""
        script = """
import sys
from builders import *
from opentelemetry import trace
class Traced(Doubler):
    def predict(self, items):
        with trace.get_tracer("mine").start_as_current_span("tokenise"):
            return super().predict(items)
with a_client(Traced, observability_config={"endpoint": sys.argv[1]}) as client:
    assert client.post("/predict_sync", json={"value": 2}).json() == {"doubled": 4}
"""
        run(script, receiver.endpoint)

        assert [span.name for span in receiver.children(receiver.one("predict"))] == ["tokenise"]
        assert not [span.name for span in receiver.spans if span.name.startswith("fastapi")]
        assert len(receiver.named("POST /predict_sync")) == 1

    def test_what_is_left_is_sent_at_the_end_of_the_process(self, receiver):
        script = """
import sys
from builders import *
from modalkit import _telemetry
config = a_config(observability_config={"endpoint": sys.argv[1]})
_telemetry.begin(config.settings, "a function")
with _telemetry.call_span("default"):
    pass
"""
        run(script, receiver.endpoint)

        assert receiver.one("modalkit.call").resource["service.name"] == "a function"


class TestSettings:
    def test_a_service_has_the_name_that_settings_say(self, receiver):
        with TestClient(watched(receiver, service_name="iris", headers={"authorization": "Basic x"})) as client:
            client.get("/models")

        assert receiver.one("GET /models").resource["service.name"] == "iris"
        assert {headers["authorization"] for headers in receiver.headers} == {"Basic x"}

    def test_the_standard_variables_are_enough(self, receiver, monkeypatch):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=secret")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "from-environment")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
        with a_client() as client:
            client.get("/models")

        assert receiver.one("GET /models").resource["service.name"] == "from-environment"
        assert receiver.one("GET /models").resource["deployment.environment"] == "test"
        assert receiver.headers[0]["api-key"] == "secret"

    @pytest.mark.parametrize(("ratio", "kept"), [(0.0, 0), (1.0, 3)])
    def test_the_share_of_traces_that_begin_here_is_kept(self, ratio, kept, receiver):
        with TestClient(watched(receiver, sample_ratio=ratio, metrics=False)) as client:
            for _ in range(3):
                client.get("/models")

        assert len(receiver.spans) == kept

    @pytest.mark.parametrize("watch", [{"enabled": False}, {"traces": False, "metrics": False}])
    def test_nothing_is_sent_where_settings_say_so(self, watch, receiver):
        with TestClient(watched(receiver, **watch)) as client:
            client.post("/predict_sync", json={"value": 2})
        _telemetry.flush()

        assert receiver.requests == 0

    def test_nothing_is_sent_where_the_sdk_is_disabled(self, receiver, monkeypatch):
        monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
        with TestClient(watched(receiver)) as client:
            client.post("/predict_sync", json={"value": 2})

        assert receiver.requests == 0

    def test_wanted_without_a_receiver_is_said_in_the_log(self, caplog):
        with a_client(observability_config={"enabled": True}) as client:
            assert client.get("/models").status_code == 200

        assert "OTEL_EXPORTER_OTLP_ENDPOINT says where to send" in caplog.text

    @pytest.mark.parametrize(
        ("settings", "is_used"),
        [
            ({}, False),
            ({"observability_config": {"endpoint": "http://collector:4318"}}, True),
            ({"observability_config": {"enabled": True}}, True),
            ({"build_config": {"env": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}}}, True),
            ({"observability_config": {"endpoint": "http://collector:4318", "enabled": False}}, False),
        ],
    )
    def test_the_image_has_opentelemetry_where_it_is_used(self, settings, is_used):
        assert ("otel" in used_extras(a_config(**settings).settings)) is is_used


class TestTrouble:
    def test_a_receiver_that_is_not_there_costs_no_answer(self, monkeypatch):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        with a_client(observability_config={"endpoint": "http://127.0.0.1:9"}) as client:
            assert [client.post("/predict_sync", json={"value": 2}).status_code for _ in range(3)] == [200] * 3

    def test_the_end_waits_for_a_receiver_that_does_not_answer_only_so_long(self, monkeypatch):
        monkeypatch.setattr(_telemetry, "FLUSH_SECONDS", 0.2)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
        config = a_config(observability_config={"endpoint": "http://127.0.0.1:9", "metrics": False})
        _telemetry.begin(config.settings, "test")
        with _telemetry.call_span("m"):
            pass

        began = time.monotonic()
        _telemetry.flush()

        assert time.monotonic() - began < 30

    def test_without_opentelemetry_installed_the_service_answers_and_the_log_says_why(self, receiver):
        script = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
from builders import *
with a_client(observability_config={"endpoint": sys.argv[1]}) as client:
    assert client.post("/predict_sync", json={"value": 2}).json() == {"doubled": 4}
"""
        said = run(script, receiver.endpoint)

        assert "OpenTelemetry is not installed: pip install 'modalkit[otel]'" in said
        assert receiver.requests == 0

    def test_what_cannot_begin_is_said_once_and_not_tried_with_every_call(self, receiver, monkeypatch, caplog):
        tries = []

        def fail(*_):
            tries.append(1)
            msg = "no"
            raise RuntimeError(msg)

        monkeypatch.setattr("modalkit._otel.Otel", fail)
        app = watched(receiver)
        with TestClient(app) as client:
            assert [app.Service.sync_call(app.Service)(input_data=Number(value=2)).doubled for _ in range(3)] == [4] * 3
            assert client.get("/models").status_code == 200

        assert (len(tries), caplog.text.count("Traces and metrics cannot be sent")) == (1, 1)


class TestOff:
    def test_nothing_of_it_is_imported_while_it_is_off(self):
        script = """
import sys
from builders import *
with a_client() as client:
    assert client.post("/predict_sync", json={"value": 2}).json() == {"doubled": 4}
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter", "modalkit._otel"))])
"""
        assert run(script).strip().endswith("[]")

    def test_nothing_travels_with_an_item(self):
        assert _telemetry.carrier() == {}
        assert _telemetry.span("predict") is _telemetry.call_span("m") is _telemetry.batch_span("m", [{}])


class TestMetrics:
    def test_requests_waits_batches_errors_and_loads_are_measured(self, receiver):
        with TestClient(watched(receiver, InSteps)) as client:
            statuses = [client.post("/predict_sync", json={"value": value}).status_code for value in (1, 2, -1)]
            client.get("/nowhere")

        assert statuses == [200, 200, 400]
        counted = {name: {_key(attributes): value for attributes, value in points} for name, points in receiver.metrics.items()}
        requests = counted["http.server.request.duration"]
        assert requests["POST", 200, "/predict_sync"]["count"] == 2
        assert requests["POST", 400, "/predict_sync"]["count"] == 1
        assert requests["GET", 404]["count"] == 1
        assert counted["modalkit.items"] == {("default", "ok"): 2, ("default", "negative"): 1}
        assert counted["modalkit.errors"] == {("negative", "default"): 1}
        assert counted["modalkit.queue.wait"]["default",]["count"] == 3
        assert counted["modalkit.batch.items"]["default",] == {"count": 3, "sum": 3}
        assert counted["modalkit.batch.duration"]["default",]["count"] == 3
        assert counted["modalkit.model.load.duration"]["default",]["count"] == 1


def _key(attributes):
    return tuple(attributes[name] for name in sorted(attributes))


def run(script, *arguments):
    """What a Python of its own prints while it runs this; it ends well."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr
