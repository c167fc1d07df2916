"""Jobs: taken, asked for, waited for, cancelled, expired, and begun once."""

import re
import threading
import time

import pytest
from builders import Double, Number, a_client, an_app
from pydantic import BaseModel

from modalkit._jobs import job_ids
from modalkit.errors import InferenceError
from modalkit.iomodel import AsyncInputModel
from modalkit.testing import TestClient

SEVEN = {"value": 3.5}


class Patient:
    """Works on nothing until it is let, and says when it has begun."""

    begun, may_end = threading.Event(), threading.Event()

    def predict(self, items):
        self.begun.set()
        assert self.may_end.wait(20)
        return [Double(doubled=2 * item.value) for item in items]


class Failing:
    def predict(self, items):
        msg = "no such flower"
        raise InferenceError(msg, status=418, kind="teapot")


@pytest.fixture
def patient():
    """A client of a model that works only when it is let."""
    Patient.begun, Patient.may_end = threading.Event(), threading.Event()
    with a_client(Patient) as client:
        yield client
        Patient.may_end.set()


def begin(client, body=SEVEN, **options):
    answer = client.post("/predict_async", json=body, **options)
    assert answer.status_code == 202, answer.text
    return answer.json()["job_id"]


def ended(client, job_id):
    return client.get(f"/jobs/{job_id}", params={"wait": 20}).json()


class TestTaking:
    def test_a_job_is_taken_and_where_it_is_is_said(self):
        with a_client() as client:
            answer = client.post("/predict_async", json=SEVEN)

            assert answer.status_code == 202
            assert answer.json()["state"] == "queued"
            assert client.get(answer.headers["location"]).status_code == 200

    def test_a_result_can_be_asked_for_by_the_jobs_id(self):
        """Promised, and with no way to it, in an earlier implementation."""
        with a_client() as client:
            job = ended(client, begin(client))

        assert (job["state"], job["output"], job["error"]) == ("succeeded", {"doubled": 7.0}, None)

    def test_an_order_is_an_object_with_message(self):
        with a_client() as client:
            job = ended(client, begin(client, {"message": SEVEN, "meta": {"mine": [1]}}))

        assert (job["output"], job["meta"]) == ({"doubled": 7.0}, {"mine": [1]})

    @pytest.mark.parametrize(
        ("body", "loc"),
        [
            ({"value": "x"}, ["body", "value"]),
            ({"message": {"value": "x"}}, ["body", "message", "value"]),
            ({"message": SEVEN, "metadata": {}}, ["body", "metadata"]),
            ({"message": SEVEN, "meta": []}, ["body", "meta"]),
            ({"message": SEVEN, "success_queue": "mine"}, ["body", "success_queue"]),
            ({"message": SEVEN, "webhook_url": "file:///etc/passwd"}, ["body", "webhook_url"]),
        ],
    )
    def test_a_wrong_order_is_told_by_the_field_and_is_not_begun(self, body, loc):
        with a_client() as client:
            answer = client.post("/predict_async", json=body)

        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
        assert answer.json()["errors"][0]["loc"] == loc

    def test_an_input_that_has_a_message_itself_is_taken_in_orders_only(self):
        class Letter(BaseModel):
            message: str = ""
            value: float = 0

        with a_client(input_model=Letter) as client:
            assert client.post("/predict_async", json={"message": "a text"}).status_code == 422
            job = ended(client, begin(client, {"message": {"message": "a text", "value": 2}}))
            body = client.get("/openapi.json").json()["paths"]["/predict_async"]["post"]["requestBody"]["content"]["application/json"]

        assert job["output"] == {"doubled": 4.0}
        assert "anyOf" not in body["schema"]

    @pytest.mark.parametrize("input_model", [dict[str, float], list[float], float])
    def test_inputs_without_a_model_of_their_own_are_taken_too(self, input_model):
        class Any:
            def predict(self, items):
                return [Double(doubled=2 * (next(iter(item.values())) if isinstance(item, dict) else item)) for item in items]

        with a_client(Any, input_model=input_model) as client:
            given = {dict[str, float]: {"x": 1}, float: 1}.get(input_model, [1])
            taken = client.post("/predict_async", json={"message": given})

        assert taken.status_code == 202

    def test_openapi_shows_both_bodies_and_the_jobs_own_output(self):
        with a_client() as client:
            document = client.get("/openapi.json").json()

        schemas = document["components"]["schemas"]
        body = document["paths"]["/predict_async"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        names = [each["$ref"].rpartition("/")[2] for each in body["anyOf"]]
        assert names[0] == "Number"
        assert schemas[names[1]]["properties"]["message"] == {"$ref": "#/components/schemas/Number"}
        told = document["paths"]["/jobs/{job_id}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert schemas[told["$ref"].rpartition("/")[2]]["properties"]["output"]["anyOf"][0] == {"$ref": "#/components/schemas/Double"}
        assert all(re.fullmatch(r"[A-Za-z0-9._-]+", each) for each in schemas)

    @pytest.mark.parametrize(
        ("queues", "secret", "queue", "webhook"),
        [
            ({}, "", {"enum": [""]}, {"maxLength": 0}),
            ({"backend": "memory"}, "", {"enum": [""]}, {"maxLength": 0}),
            ({"backend": "memory", "allowed_queues": ["*"]}, "x" * 24, {"maxLength": 512}, {"pattern": "^(https?://[^\\s@]+)?$"}),
            (
                {"backend": "memory", "success_queue": "usual", "allowed_queues": ["mine"]},
                "",
                {"enum": ["", "usual", "mine"]},
                {"maxLength": 0},
            ),
        ],
    )
    def test_openapi_offers_what_this_app_can_do(self, monkeypatch, queues, secret, queue, webhook):
        monkeypatch.setenv("MODALKIT_WEBHOOK_SECRET", secret)
        with a_client(queue_config=queues) as client:
            order = client.get("/openapi.json").json()["components"]["schemas"]["AsyncInputModel_Number"]["properties"]

        assert order["success_queue"].items() >= queue.items()
        assert order["webhook_url"].items() >= webhook.items()


class TestAsking:
    def test_a_failed_job_has_the_problem_that_its_request_would_have_had(self):
        with a_client(Failing) as client:
            job = ended(client, begin(client))

        assert (job["state"], job["output"]) == ("failed", None)
        assert (job["error"]["status"], job["error"]["detail"]) == (418, "no such flower")

    def test_an_output_that_is_not_what_the_app_promises_is_a_failure(self):
        class Wrong:
            def predict(self, items):
                return ["?" for _ in items]

        with a_client(Wrong) as client:
            assert ended(client, begin(client))["error"]["type"] == "urn:modalkit:wrong_output"

    def test_jobs_are_queued_then_running_then_succeeded(self, patient):
        first, second = begin(patient), begin(patient)
        assert Patient.begun.wait(60)
        before = [patient.get(f"/jobs/{each}") for each in (first, second)]
        Patient.may_end.set()

        assert [each.json()["state"] for each in before] == ["running", "queued"]
        assert before[0].headers["retry-after"] == "1"
        assert [ended(patient, each)["state"] for each in (first, second)] == ["succeeded", "succeeded"]

    def test_waiting_ends_with_the_job(self, patient):
        job_id = begin(patient)
        threading.Timer(0.3, Patient.may_end.set).start()

        assert ended(patient, job_id)["state"] == "succeeded"

    def test_waiting_ends_at_its_bound(self):
        Patient.may_end = threading.Event()
        with a_client(Patient, jobs_config={"max_wait_seconds": 0.2}) as client:
            job_id = begin(client)
            began = time.monotonic()
            state = client.get(f"/jobs/{job_id}", params={"wait": 3600}).json()["state"]
            taken = time.monotonic() - began
            Patient.may_end.set()

        assert state in {"queued", "running"}
        assert taken < 60

    @pytest.mark.parametrize("wait", ["-1", "nan", "inf", "x", ""])
    def test_a_wait_that_is_no_time_is_refused(self, wait):
        with a_client() as client:
            assert client.get(f"/jobs/{begin(client)}", params={"wait": wait}).status_code == 422

    def test_a_result_is_shown_for_its_time_only(self):
        with a_client(jobs_config={"result_ttl_seconds": 1}) as client:
            job_id = begin(client)
            states = [ended(client, job_id)["state"]]
            while states[-1] == "succeeded":  # if it was looked at in time
                time.sleep(0.1)
                job = client.get(f"/jobs/{job_id}").json()
                states.append(job["state"])
            job = client.get(f"/jobs/{job_id}").json()

        assert (job["state"], job["output"]) == ("expired", None)


class TestIds:
    @pytest.mark.parametrize("job_id", ["x", "fc-01ABC", "fc-01ABC.", "fc-01ABC." + 32 * "0", "ä.ö", "%00"])
    def test_an_id_that_is_none_is_unknown(self, job_id):
        with a_client() as client:
            answers = client.get(f"/jobs/{job_id}"), client.delete(f"/jobs/{job_id}")

        assert [each.status_code for each in answers] == [404, 404]
        assert answers[0].json()["type"] == "urn:modalkit:unknown_job"

    def test_a_call_of_another_class_or_app_cannot_be_asked_for(self):
        ours, others, elsewhere = an_app(), an_app(), an_app(app_name="another")
        others.Service.user_class.__name__ = "Other"
        call = "fc-01K0000000000000000000000A"
        job_id = job_ids(ours.Service).of(call)

        assert job_ids(ours.Service).call_of(job_id) == call
        for other in (others, elsewhere):
            with pytest.raises(KeyError):
                job_ids(other.Service).call_of(job_id)

    def test_the_key_is_the_same_in_every_container_that_is_given_it(self, monkeypatch):
        monkeypatch.setenv("MODALKIT_JOB_KEY", "one")
        first = job_ids(an_app().Service).of("fc-1")
        again = job_ids(an_app().Service).of("fc-1")
        monkeypatch.setenv("MODALKIT_JOB_KEY", "another")

        assert first == again
        assert job_ids(an_app().Service).of("fc-1") != first


class TestCancelling:
    def test_a_queued_job_is_cancelled(self, patient):
        running, queued = begin(patient), begin(patient)
        assert Patient.begun.wait(60)
        answer = patient.delete(f"/jobs/{queued}")
        Patient.may_end.set()

        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
        assert patient.get(f"/jobs/{queued}").json()["state"] == "cancelled"
        assert ended(patient, running)["state"] == "succeeded"

    def test_a_job_that_runs_beside_others_is_not_taken_from_them(self, patient):
        job_id = begin(patient)
        assert Patient.begun.wait(60)
        answer = patient.delete(f"/jobs/{job_id}")
        Patient.may_end.set()

        assert (answer.status_code, answer.json()["type"]) == (409, "urn:modalkit:running")
        assert ended(patient, job_id)["state"] == "succeeded"

    def test_a_job_that_has_ended_stays_as_it_is(self):
        with a_client() as client:
            job_id = begin(client)
            ended(client, job_id)

            assert client.delete(f"/jobs/{job_id}").json()["state"] == "succeeded"


class TestCalls:
    """Jobs that an app's own functions begin."""

    def test_an_unparametrised_order_is_taken(self):
        """Every asynchronous call failed by it in an earlier implementation."""
        module = an_app()
        with TestClient(module) as client:
            call = module.Service.async_call(module.Service)
            given = [AsyncInputModel(message=Number(value=1)), AsyncInputModel[Number](message=Number(value=1)), Number(value=1)]
            jobs = [ended(client, call(input_data=each).job_id) for each in given]

        assert [job["output"] for job in jobs] == [{"doubled": 2.0}] * 3

    def test_an_order_that_cannot_be_carried_out_is_refused_at_once(self):
        module = an_app()
        with TestClient(module), pytest.raises(InferenceError, match="success_queue: this app has no queues"):
            module.Service.async_call(module.Service)(input_data={"message": {"value": 1}, "success_queue": "mine"})
