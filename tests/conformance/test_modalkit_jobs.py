"""ModalKit's jobs on a live engine. What does not need one is in tests/modalkit/test_jobs.py, test_webhooks.py and test_queues.py."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from conformance.deployment import Deployment, deployed
from conformance.engine import Engine
from conformance.test_modalkit import site
from conformance.waiting import eventually


@pytest.fixture(scope="module")
def app(engine: Engine) -> Iterator[Deployment]:
    with deployed(engine, "kit_jobs/app.py", name="kit-jobs") as app:
        yield app


@pytest.fixture(scope="module")
def client(app: Deployment) -> Iterator[httpx2.Client]:
    """Of a class that batches."""
    with site(app, "web") as client:
        yield client


@pytest.fixture(scope="module")
def alone(app: Deployment) -> Iterator[httpx2.Client]:
    """Of a class that takes one at a time."""
    with site(app, "alone") as client:
        yield client


def begin(client: httpx2.Client, number: int, *, seconds: float = 0.0, **order: Any) -> str:
    answer = client.post("/predict_async", json={"message": {"number": number, "seconds": seconds}, **order})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def state(client: httpx2.Client, job_id: str) -> str:
    return str(client.get(f"/jobs/{job_id}").json()["state"])


def ended(client: httpx2.Client, job_id: str) -> Any:
    return client.get(f"/jobs/{job_id}", params={"wait": 60}).json()


def test_each_job_of_a_batch_is_delivered_with_its_own_id(client: httpx2.Client) -> None:
    """The container learns of which calls its inputs are, also of those after the first."""
    with ThreadPoolExecutor(8) as callers:
        ids = list(callers.map(lambda number: begin(client, number, seconds=1, meta={"number": number}), range(8)))
    jobs = [ended(client, job_id) for job_id in ids]

    arrived = client.post("/predict_sync", json={"number": 0, "reads": "done"}).json()["arrived"]

    assert [job["output"]["number"] for job in jobs] == list(range(8))
    assert max(job["output"]["batch"] for job in jobs) > 1
    told = {body["job_id"]: body["meta"]["number"] for body in map(json.loads, arrived)}
    assert told == {job_id: number for number, job_id in enumerate(ids)}
    assert all(job["deliveries"][0]["is_delivered"] for job in jobs)


def test_a_webhook_and_the_queue_of_failures_are_told_of_a_failure(client: httpx2.Client) -> None:
    job = ended(client, begin(client, -1, webhook_url="http://127.0.0.1:8123/hook"))
    by_webhook, by_queue = (
        client.post("/predict_sync", json={"number": 0, "reads": place}).json()["arrived"] for place in ("webhook", "failed")
    )

    assert (job["state"], job["error"]["status"]) == ("failed", 418)
    assert [each["is_delivered"] for each in job["deliveries"]] == [True, True]
    assert (
        json.loads(by_webhook[-1]) == json.loads(by_queue[-1]) == {key: job[key] for key in ("job_id", "state", "output", "error", "meta")}
    )


def test_a_job_in_a_batch_is_cancelled_only_before_it_runs(client: httpx2.Client) -> None:
    running = begin(client, 1, seconds=8)
    eventually(lambda: state(client, running) == "running", within=60, what="running")
    queued = begin(client, 2)

    refused, cancelled = client.delete(f"/jobs/{running}"), client.delete(f"/jobs/{queued}")

    assert (refused.status_code, refused.json()["type"]) == (409, "urn:modalkit:running")
    assert cancelled.json()["state"] == "cancelled"
    assert state(client, queued) == "cancelled"
    assert ended(client, running)["state"] == "succeeded"


def test_a_job_that_runs_alone_is_cancelled_while_it_runs(alone: httpx2.Client) -> None:
    running = begin(alone, 1, seconds=60)
    eventually(lambda: state(alone, running) == "running", within=60, what="running")

    assert alone.delete(f"/jobs/{running}").json()["state"] == "cancelled"
    assert ended(alone, begin(alone, 2))["output"]["number"] == 2


def test_a_job_that_runs_into_its_timeout_has_failed(alone: httpx2.Client) -> None:
    """And is not said to be under way: the SDK's error of it is the same kind as that of a look in vain."""
    job = ended(alone, begin(alone, 1, seconds=60))

    assert (job["state"], job["error"]["type"], job["error"]["status"]) == ("failed", "urn:modalkit:timeout", 504)


def test_a_job_of_another_class_is_unknown(client: httpx2.Client, alone: httpx2.Client) -> None:
    job_id = begin(client, 1)

    assert [alone.get(f"/jobs/{job_id}").status_code, alone.delete(f"/jobs/{job_id}").status_code] == [404, 404]
    assert ended(client, job_id)["state"] == "succeeded"
