"""The HTTP side: every request has a clear answer, and every error is a problem."""

import asyncio
import gzip
import json
import threading

import pytest
from builders import Double, Doubler, Number, a_client
from pydantic import BaseModel

from modalkit.errors import InferenceError

PROBLEM = "application/problem+json"
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def client():
    with a_client(web_config={"max_body_bytes": 2000, "max_items": 5}) as client:
        yield client


def is_problem(answer, status, words=""):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM
    body = answer.json()
    assert (body["status"], bool(body["title"]), bool(body["type"])) == (status, True, True)
    assert words in body["detail"]
    return body


class TestPredictSync:
    def test_one_input_gives_one_output(self, client):
        answer = client.post("/predict_sync", json={"value": 2.5})
        assert (answer.status_code, answer.json()) == (200, {"doubled": 5})
        assert answer.headers["content-type"] == "application/json"

    def test_an_input_that_is_none_is_422_with_the_path_of_each_fault(self, client):
        """It was 500."""
        body = is_problem(client.post("/predict_sync", json={"value": "x"}), 422, "body.value")
        assert body["errors"][0]["loc"] == ["body", "value"]
        assert body["errors"][0]["type"] == "float_parsing"

    @pytest.mark.parametrize("given", [None, [], "x", 1, {}, {"value": None}, {"value": [1]}, {"value": {}}])
    def test_wrong_types_are_422(self, client, given):
        is_problem(client.post("/predict_sync", content=json.dumps(given), headers=JSON), 422)

    def test_an_unknown_model_names_the_nearest(self, client):
        is_problem(client.post("/predict_sync?model_name=defalt", json={"value": 1}), 404, "did you mean 'default'?")

    def test_an_error_of_the_pipeline_has_its_own_status(self):
        class Refusing:
            def predict(self, items):
                msg = "no face"
                raise InferenceError(msg, status=409, kind="no_face")

        with a_client(Refusing) as client:
            body = is_problem(client.post("/predict_sync", json={"value": 1}), 409, "no face")
        assert body["type"] == "urn:modalkit:no_face"

    def test_a_bug_of_the_pipeline_is_500_with_an_id(self):
        class Broken:
            def predict(self, items):
                return [1 / 0]

        with a_client(Broken) as client:
            body = is_problem(client.post("/predict_sync", json={"value": 1}), 500, "ZeroDivisionError")
        assert body["error_id"].startswith("er-")

    @pytest.mark.parametrize("output", [{"wrong": 1}, "text", None, {"doubled": "x"}])
    def test_an_output_that_the_app_did_not_promise_is_500_that_says_so(self, output):
        class Wrong:
            def predict(self, items):
                return [output for _ in items]

        with a_client(Wrong) as client:
            is_problem(client.post("/predict_sync", json={"value": 1}), 500, "not what the app promises")

    def test_a_mapping_or_another_object_with_the_fields_is_an_output(self):
        class Other:
            doubled = 3.0

        class Mixed:
            def predict(self, items):
                return [{"doubled": 2.0} if item.value else Other() for item in items]

        with a_client(Mixed) as client:
            assert client.post("/predict_sync", json={"value": 1}).json() == {"doubled": 2}
            assert client.post("/predict_sync", json={"value": 0}).json() == {"doubled": 3}

    def test_an_output_that_is_no_number_is_said(self):
        class NoNumber:
            def predict(self, items):
                return [{"doubled": float("nan")} for _ in items]

        with a_client(NoNumber) as client:
            is_problem(client.post("/predict_sync", json={"value": 1}), 500, "finite")

    def test_no_answer_in_time_is_504(self):
        import threading  # noqa: PLC0415

        go_on = threading.Event()

        class Slow:
            def predict(self, items):
                go_on.wait(20)
                return [Double(doubled=1)]

        with a_client(Slow, web_config={"request_timeout": 0.1}) as client:
            is_problem(client.post("/predict_sync", json={"value": 1}), 504, "within 0.1 s")
            go_on.set()

    def test_a_broken_device_is_503(self):
        class Sick:
            def predict(self, items):
                msg = "CUDA error: device-side assert triggered"
                raise RuntimeError(msg)

        with a_client(Sick, deployment_config={"retries": 1}) as client:
            is_problem(client.post("/predict_sync", json={"value": 1}), 503, "devices are faulty")

    def test_what_nobody_foresaw_is_a_problem_too(self):
        with a_client() as client:

            @client.app.get("/broken")
            async def broken():
                raise ZeroDivisionError

            body = is_problem(client.get("/broken"), 500)
        assert body["error_id"].startswith("er-")


class TestBodies:
    """Each strange body has a clear answer; none is 500."""

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"nonsense",
            b"{'value': 1}",
            b'{"value": 1}}',
            b"\xff\xfe\x00",
            b'{"value": "\xff"}',
            b'{"value": NaN}',
            b'{"value": Infinity}',
            b'{"value": -Infinity}',
            b'{"value": "\\ud800"}',
            b"[" * 1500,
            b'{"a":' * 300 + b"1" + b"}" * 300,
            b"\x00",
        ],
    )
    @pytest.mark.parametrize("path", ["/predict_sync", "/predict_batch"])
    def test_what_is_no_json_is_400(self, client, path, body):
        is_problem(client.post(path, content=body, headers=JSON), 400, "no JSON")

    @pytest.mark.parametrize(
        "body", [b'{"value": 1e999}', b'{"value": "NaN"}', b'{"value": "Infinity"}', b'{"value": 1' + b"0" * 400 + b"}"]
    )
    def test_a_number_that_is_none_is_422(self, client, body):
        is_problem(client.post("/predict_sync", content=body, headers=JSON), 422, "finite")

    def test_of_equal_keys_the_last_counts(self, client):
        answer = client.post("/predict_sync", content=b'{"value": 1, "value": 2}', headers=JSON)
        assert answer.json() == {"doubled": 4}

    def test_nan_within_a_text_is_a_text(self):
        class Text(BaseModel):
            text: str

        class Echo:
            def predict(self, items):
                return items

        with a_client(Echo, Text, Text) as client:
            assert client.post("/predict_sync", json={"text": "NaN, Infinity"}).json() == {"text": "NaN, Infinity"}

    def test_a_body_that_is_declared_too_large_is_413(self, client):
        is_problem(client.post("/predict_sync", content=b" " * 2001, headers=JSON), 413, "larger than 2000 bytes")

    def test_a_body_that_grows_too_large_is_413(self, client):
        def chunks():
            for _ in range(100):
                yield b" " * 100

        is_problem(client.post("/predict_sync", content=chunks(), headers=JSON), 413, "larger than 2000 bytes")

    @pytest.mark.parametrize(
        "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/octet-stream", "x"]
    )
    def test_another_kind_of_content_is_415(self, client, kind):
        is_problem(client.post("/predict_sync", content=b'{"value": 1}', headers={"content-type": kind}), 415, "Send application/json")

    @pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.mine+json"])
    def test_every_kind_of_json_is_json(self, client, kind):
        assert client.post("/predict_sync", content=b'{"value": 1}', headers={"content-type": kind}).status_code == 200

    def test_without_a_kind_it_is_json(self, client):
        answer = client.post("/predict_sync", content=b'{"value": 1}')
        assert answer.status_code == 200

    @pytest.mark.parametrize("encoding", ["gzip", "br", "deflate"])
    def test_a_compressed_body_is_415_that_says_what_to_do(self, client, encoding):
        body = gzip.compress(b'{"value": 1}')
        answer = client.post("/predict_sync", content=body, headers={**JSON, "content-encoding": encoding})
        is_problem(answer, 415, f"{encoding} is not taken")


class TestPredictBatch:
    def test_each_item_succeeds_or_fails_alone(self):
        class Picky(Doubler):
            def predict(self, items):
                if any(item.value < 0 for item in items):
                    msg = "negative"
                    raise InferenceError(msg, status=422)
                return super().predict(items)

        with a_client(Picky, batch_config={"max_batch_size": 8, "wait_ms": 20}) as client:
            answer = client.post("/predict_batch", json=[{"value": 1}, {"value": -1}, {"value": 2}])
        assert answer.status_code == 200
        first, second, third = answer.json()
        assert (first, third) == ({"output": {"doubled": 2}}, {"output": {"doubled": 4}})
        assert (second["error"]["status"], second["error"]["detail"]) == (422, "negative")

    def test_no_items_are_no_outputs(self, client):
        assert client.post("/predict_batch", json=[]).json() == []

    def test_a_fault_names_its_item(self, client):
        body = is_problem(client.post("/predict_batch", json=[{"value": 1}, {"value": "x"}]), 422)
        assert body["errors"][0]["loc"] == ["body", 1, "value"]

    def test_more_items_than_allowed_are_413(self, client):
        is_problem(client.post("/predict_batch", json=[{"value": 1}] * 6), 413, "at most 5")

    def test_an_output_that_was_not_promised_fails_its_item_alone(self):
        class Wrong:
            def predict(self, items):
                return [{"doubled": 1.0} if item.value else "wrong" for item in items]

        with a_client(Wrong) as client:
            first, second = client.post("/predict_batch", json=[{"value": 1}, {"value": 0}]).json()
        assert first == {"output": {"doubled": 1}}
        assert second["error"]["type"] == "urn:modalkit:wrong_output"


class Counting:
    """Streams as many numbers as it was asked for."""

    def predict(self, items):
        return [{"doubled": 0.0} for _ in items]

    def stream(self, item):
        if item.value < 0:
            msg = "negative"
            raise InferenceError(msg, status=422)
        for number in range(int(item.value)):
            if number == 3:
                msg = "three"
                raise InferenceError(msg, status=409)
            yield {"number": number}


@pytest.fixture(scope="module")
def streaming():
    with a_client(Counting) as client:
        yield client


class TestPredictStream:
    def test_events_end_with_an_end(self, streaming):
        answer = streaming.post("/predict_stream", json={"value": 2})
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.text == 'data: {"number":0}\n\ndata: {"number":1}\n\nevent: end\ndata: null\n\n'

    def test_lines_for_who_asks_for_them(self, streaming):
        answer = streaming.post("/predict_stream", json={"value": 2}, headers={"accept": "application/x-ndjson"})
        assert [json.loads(line) for line in answer.text.splitlines()] == [{"number": 0}, {"number": 1}]

    def test_no_pieces_are_an_end(self, streaming):
        assert streaming.post("/predict_stream", json={"value": 0}).text == "event: end\ndata: null\n\n"

    def test_an_error_before_the_first_piece_has_its_status(self, streaming):
        is_problem(streaming.post("/predict_stream", json={"value": -1}), 422, "negative")

    def test_an_error_on_the_way_is_said_in_the_stream(self, streaming):
        text = streaming.post("/predict_stream", json={"value": 5}).text
        assert text.count("data: {") == 4
        assert "event: error\n" in text
        assert '"status":409' in text

    def test_a_piece_that_does_not_come_is_an_error_and_ends_the_model(self):
        ended = threading.Event()

        class Stuck:
            async def stream(self, item):
                try:
                    if item.value:
                        yield {"number": 0}
                    await asyncio.Event().wait()
                finally:
                    ended.set()

        with a_client(Stuck, web_config={"request_timeout": 0.2}) as client:
            is_problem(client.post("/predict_stream", json={"value": 0}), 504, "Nothing came")
            assert ended.wait(30)
            assert '"status":504' in client.post("/predict_stream", json={"value": 1}).text

    def test_a_model_that_does_not_stream_has_no_such_route(self):
        with a_client() as client:
            is_problem(client.post("/predict_stream", json={"value": 1}), 404)


class TestOperations:
    def test_live_and_ready(self, client):
        assert client.get("/health/live").json() == {"status": "live"}
        for path in ("/health/ready", "/health"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()) == (200, {"status": "ready", "model": "default"})

    def test_a_model_that_cannot_be_loaded_is_not_ready_and_says_why(self):
        class Missing:
            def __init__(self):
                msg = "weights.bin"
                raise FileNotFoundError(msg)

        with a_client(Missing) as client:
            answer = client.get("/health/ready")
            assert answer.status_code == 503
            assert "FileNotFoundError: weights.bin" in answer.json()["reason"]
            is_problem(client.post("/predict_sync", json={"value": 1}), 503, "weights.bin")

    def test_the_catalogue_says_which_are_loaded(self):
        with a_client(model_settings={"model_entries": {"default": {}, "other": {}}}) as client:
            client.get("/health/ready?model_name=other")
            models = client.get("/models").json()["models"]
        assert models == [
            {"name": "default", "is_default": True, "is_loaded": False},
            {"name": "other", "is_default": False, "is_loaded": True},
        ]

    def test_metrics_count_requests_items_and_errors(self):
        with a_client() as client:
            client.post("/predict_sync", json={"value": 1})
            client.post("/predict_sync", json={"value": "x"})
            text = client.get("/metrics").text
        assert 'modalkit_requests_total{route="/predict_sync",status="200"} 1.0' in text
        assert 'modalkit_requests_total{route="/predict_sync",status="422"} 1.0' in text
        assert 'modalkit_batch_items_count{model="default"} 1.0' in text

    def test_a_path_that_a_caller_chose_is_no_label(self, client):
        client.get("/a-path-that-is-nowhere")
        assert "a-path-that-is-nowhere" not in client.get("/metrics").text

    @pytest.mark.parametrize(
        ("method", "path"), [("GET", "/predict_sync"), ("HEAD", "/predict_sync"), ("OPTIONS", "/predict_batch"), ("POST", "/health")]
    )
    def test_another_method_is_405_with_those_there_are(self, client, method, path):
        answer = client.request(method, path)
        assert answer.status_code == 405
        assert answer.headers["allow"]
        assert answer.headers["content-type"] == PROBLEM

    def test_another_path_is_404(self, client):
        is_problem(client.get("/nowhere"), 404)

    def test_every_promised_route_is_there(self, client):
        """Promised routes were missing."""
        paths = client.get("/openapi.json").json()["paths"]
        assert {"/predict_sync", "/predict_batch", "/health/live", "/health/ready", "/models"} <= paths.keys()


class TestOpenApi:
    def test_it_shows_the_apps_own_models(self, client):
        """The request's schema was empty."""
        document = client.get("/openapi.json").json()
        operation = document["paths"]["/predict_sync"]["post"]
        assert operation["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Number"}
        assert operation["responses"]["200"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Double"}
        assert document["components"]["schemas"]["Number"]["properties"].keys() == {"value"}
        assert operation["responses"]["422"]["content"].keys() == {PROBLEM}

    def test_every_reference_leads_somewhere(self, client):
        document = client.get("/openapi.json").json()
        for found in references(document):
            *_, name = found.split("/")
            assert found.startswith("#/components/schemas/")
            assert name in document["components"]["schemas"]


def references(part):
    if isinstance(part, dict):
        yield from ([part["$ref"]] if isinstance(part.get("$ref"), str) else [])
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from references(each)


class Inner(BaseModel):
    x: float


class Outer(BaseModel):
    inner: Inner
    rest: list[Inner]


class TestNestedModels:
    def test_models_within_models_have_their_own_schemas(self):
        class Echo:
            def predict(self, items):
                return items

        with a_client(Echo, Outer, Outer) as client:
            document = client.get("/openapi.json").json()
            given = {"inner": {"x": 1}, "rest": [{"x": 2}]}
            assert client.post("/predict_sync", json=given).json() == given
        assert {"Outer", "Inner"} <= document["components"]["schemas"].keys()
        assert all(each.split("/")[-1] in document["components"]["schemas"] for each in references(document))

    def test_a_type_without_a_name_is_an_input_too(self):
        class Sum:
            def predict(self, items):
                return [sum(item) for item in items]

        with a_client(Sum, list[float], float) as client:
            assert client.post("/predict_sync", json=[1, 2, 3]).json() == 6
            is_problem(client.post("/predict_sync", json=["x"]), 422, "body.0")


def test_the_default_model_is_answered_where_none_is_named(client):
    assert client.post("/predict_sync", json=Number(value=1).model_dump()).status_code == 200
