"""Calls from other languages: JSON over HTTP, as curl or any HTTP library would send it."""

import json
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, IncompleteRead
from typing import Any

import modal
import pytest

from conformance.deployment import Deployment, deployed
from conformance.engine import Engine
from conformance.waiting import eventually


@pytest.fixture(scope="module")
def app(engine: Engine) -> Iterator[Deployment]:
    with deployed(engine, "json_calls.py") as app:
        yield app


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def token(engine: Engine) -> str:
    return f"{engine.credentials['MODAL_TOKEN_ID']}:{engine.credentials['MODAL_TOKEN_SECRET']}"


def send(app: Deployment, path: str, body: object = None, *, method: str = "POST", data: bytes | None = None, **headers: str) -> Answer:
    """One request, as plain as it gets. `authorization` replaces the token of the engine."""
    sent = {"authorization": f"Bearer {token(app.engine)}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    connection = HTTPConnection("127.0.0.1", app.engine.gateway_port, timeout=120)
    try:
        connection.request(method, path, data if data is not None else (b"" if body is None else json.dumps(body)), sent)
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read().decode())
    finally:
        connection.close()


def call(app: Deployment, function: str, body: object = None, **options: str) -> Answer:
    return send(app, f"/call/{app.name}/{function}", body, **options)


class TestArguments:
    def test_an_object_is_keyword_arguments(self, app: Deployment) -> None:
        answer = call(app, "add", {"x": 2, "y": 3})

        assert (answer.status, answer.json) == (200, 5)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["modal-function-call-id"].startswith("fc-")

    def test_an_array_is_positional_arguments(self, app: Deployment) -> None:
        assert call(app, "add", [2, 3]).json == 5

    def test_both_can_be_given(self, app: Deployment) -> None:
        assert call(app, "add", {"args": [2], "kwargs": {"y": 4}}).json == 6

    def test_every_value_of_json_arrives_as_pythons_own(self, app: Deployment) -> None:
        values = [1, -(2**70), 1.5, "é\u0000", True, None, [1, [2]], {"a": {"b": []}}]

        answer = call(app, "describe", values)

        assert answer.json["args"] == values
        assert answer.json["types"] == ["int", "int", "float", "str", "bool", "NoneType", "list", "dict"]

    def test_no_body_is_a_call_without_arguments(self, app: Deployment) -> None:
        assert call(app, "describe").json == {"args": [], "kwargs": {}, "types": []}

    def test_large_arguments_and_results_pass(self, app: Deployment) -> None:
        assert call(app, "size", {"text": "x" * 5_000_000}).json == 5_000_000
        assert len(call(app, "long_text", {"length": 5_000_000}).json) == 5_000_000

    @pytest.mark.parametrize("data", [b"{", b'"text"', b"3", b"[NaN]", b"[" * 100_000, b"\xff", b'{"args": 3}'])
    def test_what_is_no_json_of_arguments_is_refused(self, app: Deployment, data: bytes) -> None:
        answer = call(app, "add", data=data)

        assert (answer.status, answer.json["error"]) == (400, "invalid_request")

    def test_more_than_the_limit_is_refused(self, app: Deployment) -> None:
        assert call(app, "size", {"text": "x" * (17 * 1024 * 1024)}).status == 413


class TestClasses:
    def test_a_method_is_called_by_class_and_name(self, app: Deployment) -> None:
        assert call(app, "Greeter.greet", {"name": "Ada"}).json == "good day, Ada"

    def test_parameters_of_the_class_can_be_given(self, app: Deployment) -> None:
        body = {"parameters": {"greeting": "hello", "times": 2}, "kwargs": {"name": "Ada"}}

        assert call(app, "Greeter.greet", body).json == "hello, hello, Ada"

    def test_the_same_containers_serve_python_and_json(self, app: Deployment) -> None:
        assert app.cls("Greeter")(greeting="hi", times=1).greet.remote("Bob") == "hi, Bob"
        before = {task.task_id for task in app.containers()}

        body = {"parameters": {"greeting": "hi", "times": 1}, "args": ["Eve"]}

        assert call(app, "Greeter.greet", body).json == "hi, Eve"
        assert {task.task_id for task in app.containers()} <= before

    @pytest.mark.parametrize("parameters", [{"greeting": 3}, {"colour": "red"}, {"times": True}, {"times": 2**80}])
    def test_wrong_parameters_are_refused(self, app: Deployment, parameters: dict[str, object]) -> None:
        assert call(app, "Greeter.greet", {"parameters": parameters, "args": ["Ada"]}).status == 400


class TestNames:
    @pytest.mark.parametrize(
        ("path", "words"),
        [
            ("no-such-app/add", "modal app list"),
            ("json-calls/nothing", "It has:"),
            ("json-calls/Greeter", "one of its methods"),
            ("json-calls/Greeter.wave", "greet"),
            ("json-calls/add?environment=nowhere", "No environment"),
        ],
    )
    def test_what_is_not_there_is_a_404_that_says_what_is(self, app: Deployment, path: str, words: str) -> None:
        answer = send(app, f"/call/{path}", {})

        assert answer.status == 404
        assert words in answer.json["detail"]

    def test_an_environment_can_be_named(self, app: Deployment) -> None:
        assert call(app, "add?environment=main", [1, 2]).json == 3

    def test_a_web_function_says_where_it_answers(self, app: Deployment) -> None:
        answer = call(app, "page")

        assert answer.status == 400
        assert "json-calls-page" in answer.json["detail"]

    def test_an_unknown_parameter_is_refused(self, app: Deployment) -> None:
        assert call(app, "add?asinc=1", [1]).status == 400


class TestWho:
    @pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer nobody:nothing", "Bearer a.b.c", "Basic abc"])
    def test_nobody_calls_without_the_token(self, app: Deployment, authorization: str) -> None:
        for method, path in (("POST", f"/call/{app.name}/add"), ("GET", "/call/fc-x"), ("DELETE", "/call/fc-x")):
            answer = send(app, path, [1], method=method, authorization=authorization)

            assert (answer.status, answer.json["error"]) == (401, "unauthorized")
            assert answer.headers["www-authenticate"].startswith("Bearer")

    def test_half_a_token_is_not_enough(self, app: Deployment) -> None:
        half = app.engine.credentials["MODAL_TOKEN_ID"] + ":as-wrong"

        assert call(app, "add", [1], authorization=f"Bearer {half}").status == 401

    def test_a_proxy_token_opens_web_functions_only(self, app: Deployment) -> None:
        made = app.engine.modal("workspace", "proxy-tokens", "create", "--json").succeeded()

        assert call(app, "add", [1], authorization=json.loads(made.output)["Authorization"]).status == 401


class TestResults:
    def test_an_exception_comes_with_type_message_and_traceback(self, app: Deployment) -> None:
        answer = call(app, "fall", {"words": "down\nthe stairs"})

        assert (answer.status, answer.json["error"]) == (500, "function_failed")
        raised = answer.json["exception"]
        assert (raised["type"], raised["message"]) == ("ValueError", "it fell: down\nthe stairs")
        assert "in fall" in raised["traceback"]

    def test_wrong_arguments_are_told_as_python_tells_them(self, app: Deployment) -> None:
        raised = call(app, "add", {"z": 1}).json["exception"]

        assert raised["type"] == "TypeError"
        assert "'z'" in raised["message"]

    def test_a_function_that_takes_too_long_is_a_504(self, app: Deployment) -> None:
        answer = call(app, "too_slow")

        assert (answer.status, answer.json["error"]) == (504, "timeout")

    def test_a_function_with_retries_is_tried_again(self, app: Deployment) -> None:
        assert call(app, "falls_twice").json == "try 3"

    def test_what_json_has_not_is_named_with_its_place(self, app: Deployment) -> None:
        answer = call(app, "raw")

        assert (answer.status, answer.json["error"]) == (422, "not_json")
        assert "$.picture" in answer.json["detail"]

    def test_bytes_come_as_base64_where_asked_for(self, app: Deployment) -> None:
        assert call(app, "raw?bytes=base64").json == {"picture": "AP8=", "at": "2026-01-02T03:04:05+00:00"}

    def test_what_no_other_language_has_is_told(self, app: Deployment) -> None:
        assert call(app, "not_even_cbor").status == 422


class TestGenerators:
    def test_its_values_are_an_array(self, app: Deployment) -> None:
        assert [value["number"] for value in call(app, "count", {"n": 3}).json] == [0, 1, 2]
        assert call(app, "count", {"n": 0}).json == []

    def test_its_values_come_line_by_line_as_they_are_yielded(self, app: Deployment) -> None:
        headers = {"Authorization": f"Bearer {token(app.engine)}", "Accept": "application/x-ndjson"}
        with closing(HTTPConnection("127.0.0.1", app.engine.gateway_port, timeout=60)) as connection:
            connection.request("POST", f"/call/{app.name}/count_when_told", json.dumps({"n": 3}), headers)
            with connection.getresponse() as response:
                for number in range(3):
                    assert json.loads(response.readline()) == number
                    assert call(app, "count_when_told", {"n": 0}).json == ["go on"]
                assert response.read() == b""

        assert response.getheader("content-type") == "application/x-ndjson"

    def test_one_that_fails_says_so_and_is_not_taken_for_whole(self, app: Deployment) -> None:
        assert call(app, "count", {"n": 3, "fall_at": 1}).json["exception"]["message"] == "fell at 1"

        with pytest.raises(IncompleteRead) as caught:
            call(app, "count", {"n": 3, "fall_at": 1}, accept="application/x-ndjson")

        first, last = [json.loads(line) for line in caught.value.partial.splitlines()]
        assert first["number"] == 0
        assert last["exception"]["message"] == "fell at 1"

    def test_it_cannot_be_fetched_later(self, app: Deployment) -> None:
        assert call(app, "count?async=1", {"n": 3}).status == 400


class TestLater:
    def test_an_asynchronous_call_is_polled_at_its_url(self, app: Deployment) -> None:
        accepted = call(app, "when_told?async=1", {})

        assert accepted.status == 202
        path = accepted.headers["location"]
        assert accepted.json["url"] == f"http://127.0.0.1:{app.engine.gateway_port}{path}"
        polled = send(app, path, method="GET")
        assert (polled.status, polled.json["status"]) == (202, "running")
        assert call(app, "when_told", {"tells": True}).json == "told"
        done = send(app, f"{path}&wait=30", method="GET")
        assert (done.status, done.json) == (200, "it was told")
        assert send(app, path, method="GET").json == "it was told", "it can be asked for again"

    def test_it_survives_the_engine(self, app: Deployment) -> None:
        path = call(app, "add?async=1", [20, 22]).headers["location"]
        assert send(app, f"{path}&wait=30", method="GET").json == 42

        app.engine.stop().succeeded()
        app.engine.start()

        assert send(app, path, method="GET").json == 42

    def test_what_was_kept_once_is_gone_not_unknown(self, app: Deployment) -> None:
        nobody = "fc-" + "x" * 22

        assert send(app, f"/call/{nobody}?expires=1", method="GET").status == 410
        assert send(app, f"/call/{nobody}", method="GET").status == 404
        assert send(app, "/call/nonsense", method="GET").status == 404

    def test_a_call_can_be_cancelled(self, app: Deployment) -> None:
        path = call(app, "nap?async=1", {"seconds": 60}).headers["location"]

        assert send(app, path.partition("?")[0], method="DELETE").status == 204

        answer = send(app, f"{path}&wait=30", method="GET")
        assert (answer.status, answer.json["error"]) == (409, "cancelled")

    def test_a_result_of_python_is_not_json(self, app: Deployment) -> None:
        spawned = app.function("add").spawn(1, 2)

        assert send(app, f"/call/{spawned.object_id}?wait=30", method="GET").status == 422
        assert spawned.get(timeout=30) == 3

    def test_python_reads_what_was_called_in_json(self, app: Deployment) -> None:
        accepted = call(app, "add?async=1", [1, 2])

        assert modal.FunctionCall.from_id(accepted.json["call_id"]).get(timeout=30) == 3


class TestIdempotency:
    def test_a_call_that_is_sent_again_is_made_once(self, app: Deployment) -> None:
        key = uuid.uuid4().hex

        first, again = (call(app, "nap", {"seconds": 0.1}, idempotency_key=key) for _ in range(2))

        assert (first.status, again.status) == (200, 200)
        assert first.headers["modal-function-call-id"] == again.headers["modal-function-call-id"]

    def test_a_key_belongs_to_its_arguments(self, app: Deployment) -> None:
        key = uuid.uuid4().hex
        call(app, "add", [1, 2], idempotency_key=key)

        assert call(app, "add", [1, 3], idempotency_key=key).status == 409


def test_curl_is_enough(app: Deployment) -> None:
    command = ["curl", "-sS", "-H", f"Authorization: Bearer {token(app.engine)}", "-d", '{"x": 40, "y": 2}']

    ran = subprocess.run([*command, f"{app.engine.gateway_url}/call/{app.name}/add"], capture_output=True, text=True, check=True)

    assert ran.stdout == "42"


def test_a_caller_who_leaves_ends_the_call(app: Deployment) -> None:
    connection = HTTPConnection("127.0.0.1", app.engine.gateway_port, timeout=60)
    connection.request("POST", f"/call/{app.name}/nap", json.dumps({"seconds": 45}), {"Authorization": f"Bearer {token(app.engine)}"})
    nap = app.function("nap").hydrate()
    eventually(lambda: nap.get_current_stats().num_running_inputs == 1, within=60, what="A call that runs")

    connection.close()

    eventually(lambda: nap.get_current_stats().num_running_inputs == 0, within=60, what="A call that is cancelled")
