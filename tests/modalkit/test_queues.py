"""Ends of jobs in queues: every back-end against the real thing, and what is said of one that cannot be made."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time

import boto3
import pytest
import servers
from builders import a_client, a_config, an_app
from redis import Redis

from modalkit import task_queue
from modalkit.errors import ConfigError, InferenceError
from modalkit.modal_config import used_extras
from modalkit.settings import QueueConfig, Settings
from modalkit.task_queue import MemoryQueue, backend_names, create_queue, register_backend

SEVEN = {"value": 3.5}
NONE_OF_THESE = "'mine' is none of the queues that this app allows (queue_config.allowed_queues)"


class Failing:
    def predict(self, items):
        msg = "no such flower"
        raise InferenceError(msg, status=418)


@pytest.fixture(scope="module")
def redis_url():
    with servers.redis() as url:
        yield url


@pytest.fixture(scope="module")
def sqs():
    """A client of moto's SQS, and the settings that reach it."""
    with servers.moto() as url:
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in keys.items():
                patch.setenv(name, value)
            client = boto3.client("sqs", region_name="us-west-2", endpoint_url=url)
            yield client, {"allowed_queues": ["*"], "backend": "sqs", "region": "us-west-2", "endpoint_url": url}
            client.close()


def job_with(client, **order):
    """An ended job that was ordered with queues."""
    answer = client.post("/predict_async", json={"message": SEVEN, **order})
    assert answer.status_code == 202, answer.text
    return client.get(f"/jobs/{answer.json()['job_id']}", params={"wait": 30}).json()


def told(job):
    return {name: job[name] for name in ("job_id", "state", "output", "error", "meta")}


class TestMemory:
    def test_a_job_s_end_arrives_with_its_attributes(self):
        with a_client(queue_config={"allowed_queues": ["*"], "backend": "memory"}) as client:
            job = job_with(client, success_queue="done", failure_queue="failed", meta={"mine": 1})

        (message,) = MemoryQueue.take("done")
        assert MemoryQueue.take("failed") == []
        assert json.loads(message.body) == told(job)
        assert message.attributes == {
            "job_id": job["job_id"],
            "state": "succeeded",
            "model": "default",
            "message_id": message.attributes["message_id"],
        }
        assert job["deliveries"] == [{"target": "queue:done", "is_delivered": True, "attempts": 1, "detail": ""}]

    def test_a_failure_goes_to_its_own_queue(self):
        with a_client(Failing, queue_config={"allowed_queues": ["*"], "backend": "memory"}) as client:
            job = job_with(client, success_queue="done", failure_queue="failed")

        assert MemoryQueue.take("done") == []
        assert json.loads(MemoryQueue.take("failed")[0].body)["error"] == job["error"]

    def test_jobs_that_name_no_queue_go_to_the_configured_ones(self):
        with a_client(queue_config={"allowed_queues": ["*"], "backend": "memory", "success_queue": "usual"}) as client:
            client.get(f"/jobs/{client.post('/predict_async', json=SEVEN).json()['job_id']}", params={"wait": 30})
            job_with(client, success_queue="special")

        assert [len(MemoryQueue.take(each)) for each in ("usual", "special")] == [1, 1]

    def test_inputs_that_are_no_jobs_go_nowhere(self):
        with a_client(queue_config={"allowed_queues": ["*"], "backend": "memory", "success_queue": "usual"}) as client:
            client.post("/predict_sync", json=SEVEN)

        assert MemoryQueue.take("usual") == []

    @pytest.mark.parametrize(
        ("queue", "config", "why"),
        [
            ("mine", {}, "this app has no queues"),
            ("mine", {"backend": "memory", "allowed_queues": ["yours"]}, NONE_OF_THESE),
            ("mine", {"backend": "memory", "success_queue": "yours"}, NONE_OF_THESE),
            ("a\nb", {"backend": "memory", "allowed_queues": ["*"]}, "a queue's name is printable text"),
        ],
    )
    def test_a_queue_that_cannot_be_is_refused_before_the_job_begins(self, queue, config, why):
        with a_client(queue_config=config) as client:
            answer = client.post("/predict_async", json={"message": SEVEN, "success_queue": queue})

        assert (answer.status_code, answer.json()["detail"]) == (422, f"success_queue: {why}.")

    def test_a_job_may_name_the_configured_queues(self):
        """And no others, unless they are allowed: a queue's name may be that of any task, stream or queue that the app's credentials reach."""
        with a_client(queue_config={"backend": "memory", "success_queue": "usual", "failure_queue": "trouble"}) as client:
            job_with(client, success_queue="trouble")

        assert len(MemoryQueue.take("trouble")) == 1


class TestSqs:
    def test_a_job_s_end_arrives_with_its_attributes(self, sqs):
        aws, config = sqs
        queue = aws.create_queue(QueueName="done")["QueueUrl"]
        with a_client(queue_config=config) as client:
            job = job_with(client, success_queue="done")
        (message,) = aws.receive_message(QueueUrl=queue, MessageAttributeNames=["All"])["Messages"]

        assert json.loads(message["Body"]) == told(job)
        assert message["MessageAttributes"]["job_id"]["StringValue"] == job["job_id"]
        assert job["deliveries"][0]["is_delivered"]

    def test_a_fifo_queue_gets_a_group_and_an_id_against_doubles(self, sqs):
        aws, config = sqs
        queue = aws.create_queue(QueueName="done.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
        with a_client(queue_config=config) as client:
            job_with(client, success_queue="done.fifo")
        (message,) = aws.receive_message(QueueUrl=queue, MessageAttributeNames=["All"], AttributeNames=["All"])["Messages"]

        assert message["Attributes"]["MessageDeduplicationId"] == message["MessageAttributes"]["message_id"]["StringValue"]

    def test_a_queue_that_is_not_there_is_told_on_the_job_and_not_tried_again(self, sqs):
        with a_client(queue_config=sqs[1]) as client:
            job = job_with(client, success_queue="nowhere")

        assert (job["state"], job["output"]) == ("succeeded", {"doubled": 7.0})
        assert (job["deliveries"][0]["is_delivered"], job["deliveries"][0]["attempts"]) == (False, 1)
        assert "NonExistentQueue" in job["deliveries"][0]["detail"]

    def test_an_address_is_no_name_of_a_queue(self, sqs):
        """The request would be signed with this app's credentials."""
        with a_client(queue_config=sqs[1]) as client:
            job = job_with(client, success_queue="https://sqs.example.com/1/mine")

        assert "no name of an SQS queue" in job["deliveries"][0]["detail"]

    def test_a_server_that_is_away_is_told_on_the_job(self, sqs):
        config = sqs[1] | {"endpoint_url": f"http://127.0.0.1:{servers.free_port()}"}
        with a_client(queue_config=config, jobs_config={"delivery_attempts": 2, "delivery_hold_seconds": 30}) as client:
            delivery = job_with(client, success_queue="done")["deliveries"][0]

        assert (delivery["is_delivered"], delivery["attempts"]) == (False, 2)
        assert "EndpointConnectionError" in delivery["detail"]


class TestRedis:
    def test_a_job_s_end_arrives_with_its_attributes(self, redis_url):
        with a_client(queue_config={"allowed_queues": ["*"], "backend": "redis", "url": redis_url}) as client:
            job = job_with(client, success_queue="done")
        with Redis.from_url(redis_url, decode_responses=True) as redis:
            ((_, fields),) = redis.xrange("done")

        assert json.loads(fields["message"]) == told(job)
        assert (fields["job_id"], fields["state"]) == (job["job_id"], "succeeded")

    def test_a_key_of_another_kind_is_told_on_the_job(self, redis_url):
        with Redis.from_url(redis_url) as redis:
            redis.set("text", "1")
        with a_client(queue_config={"allowed_queues": ["*"], "backend": "redis", "url": redis_url}) as client:
            delivery = job_with(client, success_queue="text")["deliveries"][0]

        assert (delivery["is_delivered"], delivery["attempts"]) == (False, 1)

    def test_a_server_that_comes_back_gets_what_was_to_be_sent(self):
        port = servers.free_port()
        config = {"allowed_queues": ["*"], "backend": "redis", "url": f"redis://127.0.0.1:{port}/0"}
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        with a_client(queue_config=config, jobs_config={"delivery_hold_seconds": 30, "delivery_attempts": 20}) as client:
            job_id = client.post("/predict_async", json={"message": SEVEN, "success_queue": "done"}).json()["job_id"]
            with socket.create_server(("127.0.0.1", port)) as nobody:  # to see that there was a try
                nobody.settimeout(60)
                nobody.accept()[0].close()
            with servers.running(command, port):
                job = client.get(f"/jobs/{job_id}", params={"wait": 30}).json()

        assert job["deliveries"][0]["is_delivered"]
        assert job["deliveries"][0]["attempts"] > 1

    def test_web_containers_share_their_memory_of_keys(self, redis_url):
        settings = {"jobs_config": {"idempotency_url": redis_url}}
        options = {"json": SEVEN, "headers": {"Idempotency-Key": "shared"}}
        with a_client(**settings) as one, a_client(**settings) as two, a_client(app_name="else", **settings) as elsewhere:
            first, again = one.post("/predict_async", **options), two.post("/predict_async", **options)
            other = two.post("/predict_async", **(options | {"json": {"value": 1}}))
            apart = elsewhere.post("/predict_async", **options)

        assert first.json()["job_id"] == again.json()["job_id"] != apart.json()["job_id"]
        assert other.status_code == 409

    def test_a_memory_of_keys_that_is_away_is_an_answer(self):
        url = f"redis://127.0.0.1:{servers.free_port()}/0"
        with a_client(jobs_config={"idempotency_url": url}) as client:
            answer = client.post("/predict_async", json=SEVEN, headers={"Idempotency-Key": "k"})
            without = client.post("/predict_async", json=SEVEN)

        assert (answer.status_code, without.status_code) == (503, 202)


WORKER = """
from pathlib import Path
from taskiq_redis import RedisStreamBroker

broker = RedisStreamBroker("{url}")

@broker.task(task_name="done")
async def done(job: str) -> None:
    Path("{path}").write_text(job)
"""


class TestTaskiq:
    def test_a_real_worker_runs_the_task_of_the_queue_s_name(self, redis_url, tmp_path):
        url, got = redis_url.replace("/0", "/3"), tmp_path / "got.json"
        (tmp_path / "kit_worker.py").write_text(WORKER.format(url=url, path=got))
        with a_client(queue_config={"allowed_queues": ["*"], "backend": "taskiq", "url": url}) as client:
            job = job_with(client, success_queue="done")
        assert job["deliveries"] == [{"target": "queue:done", "is_delivered": True, "attempts": 1, "detail": ""}]

        command = [sys.executable, "-m", "taskiq", "worker", "--workers", "1", "kit_worker:broker"]
        worker = subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)}, stderr=subprocess.DEVNULL)
        try:
            _wait_for(got)
        finally:
            worker.terminate()
            worker.wait(20)

        assert json.loads(got.read_text()) == told(job)

    def test_a_broker_of_one_s_own_is_used_as_it_is(self, tmp_path, monkeypatch):
        text = "from taskiq import InMemoryBroker\nbroker, got = InMemoryBroker(), []\n@broker.task(task_name='done')\nasync def done(job):\n    got.append(job)\n"
        (tmp_path / "kit_own_broker.py").write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path))
        with a_client(queue_config={"allowed_queues": ["*"], "backend": "taskiq", "taskiq_broker": "kit_own_broker:broker"}) as client:
            job = job_with(client, success_queue="done")

        assert job["deliveries"][0]["is_delivered"]
        assert json.loads(sys.modules["kit_own_broker"].got[0]) == told(job)


class Counting:
    """A back-end of one's own."""

    made = 0
    closed = 0

    def __init__(self, config):
        type(self).made += 1
        assert isinstance(config, QueueConfig)

    async def send(self, queue, message, attributes):
        if queue == "never":
            await asyncio.sleep(60)

    async def close(self):
        type(self).closed += 1


class TestBackends:
    @pytest.mark.parametrize(
        "config",
        [
            {"backend": "memory"},
            {"backend": "sqs", "region": "us-west-2"},
            {"backend": "redis", "url": "redis://localhost"},
            {"backend": "taskiq", "url": "redis://localhost"},
        ],
    )
    def test_every_back_end_is_made_of_its_settings_alone(self, config):
        """Made with arguments that they did not take, in an earlier implementation."""
        assert create_queue(QueueConfig(**config)) is not None

    def test_every_documented_back_end_is_registered(self):
        """Documented and not registered, in an earlier implementation."""
        documented = QueueConfig.model_fields["backend"].description.partition(", a name")[0]

        assert [each.strip("` ") for each in documented.split(",")] == ["memory", "sqs", "redis", "taskiq"]
        assert set(backend_names()) >= {"memory", "sqs", "redis", "taskiq"}

    @pytest.mark.parametrize(
        ("config", "words"),
        [
            ({"backend": "sqss"}, "did you mean sqs?"),
            ({"backend": "rabbit"}, "there are memory, redis, sqs, taskiq, and package.module:factory"),
            ({"backend": "redis"}, "url is missing"),
            ({"backend": "redis", "url": "http://localhost"}, "redis cannot be made: ValueError"),
            ({"backend": "redis", "url": "redis://:a/secret@localhost:6379"}, "url is no address of a Redis"),
            ({"backend": "taskiq", "url": "redis://:a/secret@localhost:6379"}, "url is no address of a Redis"),
            ({"backend": "taskiq"}, "url is missing"),
            ({"backend": "taskiq", "taskiq_broker": "nothing:here"}, "queue_config.taskiq_broker: 'nothing:here' cannot be imported"),
            ({"backend": "no.such:Queue"}, "queue_config.backend: 'no.such:Queue' cannot be imported"),
            ({"backend": "sqs", "endpoint_url": "nonsense", "region": "us-west-2"}, "sqs cannot be made"),
        ],
    )
    def test_one_that_cannot_be_made_is_told_when_the_app_is_loaded(self, config, words):
        with pytest.raises(ConfigError, match=words.replace("?", r"\?")) as raised:
            task_queue.check(QueueConfig(**config))
        assert "secret" not in str(raised.value)
        with pytest.raises(ConfigError):
            an_app(queue_config=config).Service.user_class().load_artefacts()
        with pytest.raises(ConfigError):
            a_client(queue_config=config)

    @pytest.mark.parametrize(("backend", "extra"), [("sqs", "sqs"), ("redis", "redis"), ("taskiq", "taskiq")])
    def test_one_that_is_not_installed_names_the_extra(self, backend, extra, monkeypatch):
        monkeypatch.setattr(task_queue.importlib.util, "find_spec", lambda _: None)
        with pytest.raises(ConfigError, match=rf"pip install 'modalkit\[{extra}\]'"):
            create_queue(QueueConfig(backend=backend))

    @pytest.mark.parametrize(
        ("settings", "extras"),
        [
            ({}, set()),
            ({"queue_config": {"backend": "memory"}}, set()),
            ({"queue_config": {"backend": "sqs"}}, {"sqs"}),
            ({"queue_config": {"backend": "taskiq"}, "jobs_config": {"idempotency_url": "redis://x"}}, {"taskiq", "redis"}),
        ],
    )
    def test_images_install_what_the_settings_use(self, settings, extras):
        assert used_extras(Settings(app_settings=settings)) & {"sqs", "redis", "taskiq"} == extras

    def test_one_of_your_own_is_registered_by_its_name(self):
        register_backend("counting", Counting, extra="mine")
        with a_client(queue_config={"allowed_queues": ["*"], "backend": "counting"}) as client:
            job = job_with(client, success_queue="any")

        assert job["deliveries"][0]["is_delivered"]
        assert Counting.closed > 0
        assert "mine" in used_extras(a_config(queue_config={"allowed_queues": ["*"], "backend": "counting"}).settings)

    def test_one_of_your_own_is_found_by_its_place(self):
        with a_client(queue_config={"allowed_queues": ["*"], "backend": f"{__name__}:Counting"}) as client:
            assert job_with(client, success_queue="any")["deliveries"][0]["is_delivered"]

    def test_a_queue_that_never_answers_takes_its_time_and_no_more(self):
        config = {"allowed_queues": ["*"], "backend": f"{__name__}:Counting", "timeout_seconds": 0.1}
        with a_client(queue_config=config, jobs_config={"delivery_attempts": 2, "delivery_hold_seconds": 30}) as client:
            began = time.monotonic()
            delivery = job_with(client, success_queue="never")["deliveries"][0]

        assert (delivery["is_delivered"], delivery["attempts"], delivery["detail"]) == (False, 2, "no answer within 0.1 s")
        assert time.monotonic() - began < 30


def _wait_for(path):
    until = time.monotonic() + 60
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < until, "no worker has run the task"
        time.sleep(0.05)
