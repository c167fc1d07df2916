"""What the deployment guide's app answers over HTTP, wherever it runs: subclasses give `client`."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

SETOSA = {"features": [5.1, 3.5, 1.4, 0.2]}
VIRGINICA = {"features": [6.7, 3.0, 5.2, 2.3]}
PROBLEM = "application/problem+json"


class GuideExpectations:
    def test_one_input_has_one_output(self, client: Any) -> None:
        answer = client.post("/predict_sync", json=SETOSA)

        assert (answer.status_code, answer.json()) == (200, {"prediction": 0, "class_name": "setosa"})

    def test_the_model_may_be_named(self, client: Any) -> None:
        answer = client.post("/predict_sync", params={"model_name": "my_model"}, json=VIRGINICA)

        assert answer.json() == {"prediction": 2, "class_name": "virginica"}

    def test_an_unknown_model_is_named_in_the_answer(self, client: Any) -> None:
        answer = client.post("/predict_sync", params={"model_name": "my_modle"}, json=SETOSA)

        assert (answer.status_code, answer.headers["content-type"]) == (404, PROBLEM)
        assert "did you mean 'my_model'?" in answer.json()["detail"]

    def test_requests_at_the_same_time_all_get_their_own_answer(self, client: Any) -> None:
        flowers = [SETOSA, VIRGINICA] * 8
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda flower: client.post("/predict_sync", json=flower).json()["class_name"], flowers))

        assert answers == ["setosa", "virginica"] * 8

    def test_a_list_has_an_answer_for_each_in_order(self, client: Any) -> None:
        answer = client.post("/predict_batch", json=[VIRGINICA, SETOSA])

        assert [each["output"]["class_name"] for each in answer.json()] == ["virginica", "setosa"]

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"features": [1, 2, 3]}, ["body", "features"]),
            ({}, ["body", "features"]),
            ({"features": [1, 2, 3, "x"]}, ["body", "features", 3]),
        ],
    )
    def test_a_wrong_input_is_told_by_the_field(self, client: Any, body: Any, field: list[Any]) -> None:
        answer = client.post("/predict_sync", json=body)

        assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
        assert answer.json()["errors"][0]["loc"] == field

    @pytest.mark.parametrize(
        ("content", "kind", "status"),
        [
            (b"{", "application/json", 400),
            (b'{"features": [NaN, 1, 2, 3]}', "application/json", 400),
            (b"[" * 100_000, "application/json", 400),
            (b"features=1", "application/x-www-form-urlencoded", 415),
            (b" " * (10 * 2**20 + 1), "application/json", 413),
        ],
        ids=["no json", "nan", "deep", "form", "huge"],
    )
    def test_what_is_no_input_at_all_is_refused_with_its_reason(self, client: Any, content: bytes, kind: str, status: int) -> None:
        answer = client.post("/predict_sync", content=content, headers={"content-type": kind})

        assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
        assert answer.json()["detail"]

    def test_a_job_is_taken_and_its_result_can_be_asked_for(self, client: Any) -> None:
        taken = client.post("/predict_async", json=VIRGINICA)
        assert (taken.status_code, taken.json()["state"]) == (202, "queued")

        job = client.get(taken.headers["location"], params={"wait": 30}).json()

        assert (job["state"], job["output"]) == ("succeeded", {"prediction": 2, "class_name": "virginica"})
        assert client.get("/jobs/fc-01234567890123456789.abc").status_code == 404

    def test_it_speaks_the_open_inference_protocol(self, client: Any) -> None:
        assert client.get("/v2/health/live").status_code == client.get("/v2/health/ready").status_code == 200
        assert client.get("/v2/models/my_model/ready").status_code == 200
        about = client.get("/v2/models/my_model").json()
        assert (about["name"], [tensor["name"] for tensor in about["inputs"]]) == ("my_model", ["features"])

        flowers = {"name": "features", "shape": [2, 4], "datatype": "FP64", "data": [SETOSA["features"], VIRGINICA["features"]]}
        answer = client.post("/v2/models/my_model/infer", json={"inputs": [flowers]})

        outputs = {tensor["name"]: tensor["data"] for tensor in answer.json()["outputs"]}
        assert outputs == {"prediction": [0, 2], "class_name": ["setosa", "virginica"]}

    def test_a_path_or_a_method_that_is_not_served_is_a_problem_too(self, client: Any) -> None:
        answers = client.get("/predict"), client.get("/predict_sync")

        assert [(each.status_code, each.headers["content-type"]) for each in answers] == [(404, PROBLEM), (405, PROBLEM)]

    def test_it_is_live_and_ready(self, client: Any) -> None:
        assert client.get("/health/live").json() == {"status": "live"}
        ready = client.get("/health/ready")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready", "model": "my_model"})
        assert client.get("/health").status_code == 200

    def test_its_models_are_listed(self, client: Any) -> None:
        client.get("/health/ready")

        assert client.get("/models").json() == {"models": [{"name": "my_model", "is_default": True, "is_loaded": True}]}

    def test_requests_are_counted(self, client: Any) -> None:
        client.post("/predict_sync", json=SETOSA)
        lines = client.get("/metrics").text.splitlines()

        assert any(line.startswith('modalkit_requests_total{route="/predict_sync",status="200"}') for line in lines)
        assert any(line.startswith('modalkit_batch_items_count{model="my_model"}') for line in lines)

    def test_a_job_gives_what_the_request_would_have_given(self, client: Any) -> None:
        taken = client.post("/predict_async", json={"message": VIRGINICA, "meta": {"mine": 1}})

        assert taken.status_code == 202
        job = client.get(taken.headers["location"], params={"wait": 60}).json()
        assert (job["state"], job["meta"]) == ("succeeded", {"mine": 1})
        assert job["output"] == {"prediction": 2, "class_name": "virginica"}

    def test_openapi_shows_the_apps_own_models(self, client: Any) -> None:
        document = client.get("/openapi.json").json()
        body = document["paths"]["/predict_sync"]["post"]["requestBody"]["content"]["application/json"]["schema"]

        assert body == {"$ref": "#/components/schemas/MyInput"}
        features = document["components"]["schemas"]["MyInput"]["properties"]["features"]
        assert (features["minItems"], features["maxItems"], features["items"]) == (4, 4, {"type": "number"})
        assert set(document["components"]["schemas"]["MyOutput"]["required"]) == {"prediction", "class_name"}
