"""API keys from AWS Systems Manager, which moto's server plays."""

import time

import boto3
import pytest
from builders import a_client
from moto.server import ThreadedMotoServer

from modalkit._ssm import SsmKeys
from modalkit.auth import find_key, new_key
from modalkit.settings import SsmConfig

NUMBER = {"value": 2}


@pytest.fixture
def aws(monkeypatch):
    for name, value in {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "eu-west-1"}.items():
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server
    server.stop()


def endpoint(server):
    return f"http://127.0.0.1:{server.get_host_and_port()[1]}"


@pytest.fixture
def put(aws):
    client = boto3.client("ssm", endpoint_url=endpoint(aws))
    return lambda name, value: client.put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)


def config(aws, *parameters, ttl=300.0):
    return SsmConfig.model_construct(parameters=list(parameters), region=None, endpoint_url=endpoint(aws), ttl_seconds=ttl)


def with_ssm(aws, *parameters, **auth_config):
    ssm = {"parameters": list(parameters), "endpoint_url": endpoint(aws)}
    return a_client(auth_config={"kind": "api_key", "ssm": ssm, **auth_config})


def status(client, key):
    return client.post("/predict_sync", json=NUMBER, headers={"x-api-key": key}).status_code


def eventually(fact):
    deadline = time.monotonic() + 20
    while not fact():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)


def test_keys_come_from_parameters(aws, put):
    alice, bob = new_key("alice"), new_key("bob")
    put("/prod/keys", f"{alice.line}\n{bob.line}")
    put("/prod/partner", "one-key-of-a-partner-itself")
    with with_ssm(aws, "/prod/keys", "/prod/partner") as client:
        statuses = [status(client, key) for key in (alice.key, bob.key, "one-key-of-a-partner-itself", "wrong")]

    assert statuses == [200, 200, 200, 401]


def test_a_parameter_with_one_key_alone_names_it(aws, put):
    put("/prod/partner", new_key("x").line.removeprefix("x:"))
    keys = SsmKeys(config(aws, "/prod/partner"))
    keys.start()
    eventually(lambda: keys.keys)
    keys.stop()

    assert [key.name for key in keys.keys] == ["partner"]


def test_keys_of_the_environment_are_taken_beside_them(aws, put, monkeypatch):
    alice, bob = new_key("alice"), new_key("bob")
    put("/keys", alice.line)
    monkeypatch.setenv("MODALKIT_API_KEYS", bob.line)
    with with_ssm(aws, "/keys") as client:
        assert [status(client, each.key) for each in (alice, bob)] == [200, 200]


def test_a_new_key_is_known_without_a_restart_and_an_old_one_forgotten(aws, put):
    old, new = new_key("alice"), new_key("alice")
    put("/keys", old.line)
    keys = SsmKeys(config(aws, "/keys", ttl=0.05))
    keys.start()
    eventually(lambda: keys.keys and find_key(keys.keys, old.key))

    put("/keys", new.line)

    eventually(lambda: find_key(keys.keys, new.key))
    keys.stop()
    assert find_key(keys.keys, old.key) is None


def test_a_parameter_that_is_gone_takes_its_keys_with_it(aws, put):
    put("/keys", new_key("alice").line)
    keys = SsmKeys(config(aws, "/keys", ttl=0.05))
    keys.start()
    eventually(lambda: keys.keys)

    boto3.client("ssm", endpoint_url=endpoint(aws)).delete_parameter(Name="/keys")

    eventually(lambda: keys.keys == ())
    keys.stop()


@pytest.mark.parametrize("trouble", ["aws is gone", "the text is no key"])
def test_a_read_that_fails_leaves_the_keys_as_they_are(trouble, aws, put, caplog):
    alice = new_key("alice")
    put("/keys", alice.line)
    keys = SsmKeys(config(aws, "/keys", ttl=0.05))
    keys.start()
    eventually(lambda: keys.keys)

    if trouble == "aws is gone":
        aws.stop()
    else:
        put("/keys", "alice:sha256:half-a-hash and more")

    eventually(lambda: "those that were read before stay" in caplog.text)
    keys.stop()
    assert find_key(keys.keys, alice.key)
    assert "half-a-hash" not in caplog.text


def test_while_no_key_was_ever_read_requests_are_refused_as_unavailable(aws):
    aws.stop()
    with with_ssm(aws, "/keys") as client:
        answer = client.post("/predict_sync", json=NUMBER, headers={"x-api-key": "any"})
        health = client.get("/health/live")

    assert (answer.status_code, answer.json()["type"], answer.headers["retry-after"]) == (503, "urn:modalkit:keys_unavailable", "10")
    assert health.status_code == 200
