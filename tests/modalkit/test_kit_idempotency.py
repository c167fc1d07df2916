"""`Idempotency-Key`: the same key begins one job."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from builders import a_client, an_app

from modalkit._web.idempotency import OwnMemory
from modalkit.auth import new_key
from modalkit.errors import InferenceError
from modalkit.testing import TestClient

SEVEN, NINE = {"value": 3.5}, {"value": 4.5}


def begin(client, body=SEVEN, key="k", **options):
    return client.post("/predict_async", json=body, headers={"Idempotency-Key": key}, **options)


def test_the_same_key_and_body_give_the_same_job():
    with a_client() as client:
        first, again, other = begin(client), begin(client), begin(client, key="another")

    assert first.status_code == again.status_code == 202
    assert first.json()["job_id"] == again.json()["job_id"] != other.json()["job_id"]
    assert first.headers["location"] == again.headers["location"]


def test_the_same_key_with_another_body_or_model_is_refused():
    with TestClient(an_app(model_settings={"model_entries": {"default": {}, "other": {}}})) as client:
        begin(client)
        answers = begin(client, NINE), begin(client, params={"model_name": "other"})

    assert [(each.status_code, each.json()["type"]) for each in answers] == [(409, "urn:modalkit:key_reused")] * 2


def test_requests_at_the_same_time_begin_one_job():
    with a_client() as client, ThreadPoolExecutor(8) as pool:
        ids = {answer.json()["job_id"] for answer in pool.map(lambda _: begin(client), range(16))}

    assert len(ids) == 1


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "ä"])
def test_a_key_that_is_none_is_refused(key):
    with a_client() as client:
        assert client.post("/predict_async", json=SEVEN, headers={"Idempotency-Key": key.encode()}).status_code == 422


def test_callers_with_keys_of_their_own_do_not_share_a_job(monkeypatch):
    alice, bob = new_key("alice"), new_key("bob")
    monkeypatch.setenv("MODALKIT_API_KEYS", f"{alice.line} {bob.line}")
    with a_client(auth_config={"kind": "api_key"}) as client:
        ids = [
            client.post("/predict_async", json=SEVEN, headers={"Idempotency-Key": "k", "x-api-key": each.key}).json()["job_id"]
            for each in (alice, bob, alice)
        ]

    assert ids[0] == ids[2] != ids[1]


class TestOwnMemory:
    async def test_only_the_newest_keys_are_kept(self):
        memory, ids = OwnMemory(60, most=2), iter("abcdefgh")
        for key in ("1", "2", "3"):
            await memory.once(key, "f", lambda: _next(ids))

        assert [await memory.once(key, "f", lambda: _next(ids)) for key in ("3", "2", "1")] == ["c", "b", "d"]

    async def test_a_key_is_kept_for_its_time_only(self):
        memory, ids = OwnMemory(-1, most=2), iter("ab")

        assert [await memory.once("k", f, lambda: _next(ids)) for f in ("f", "g")] == ["a", "b"]

    async def test_a_job_that_could_not_begin_leaves_its_key_free(self):
        memory = OwnMemory(60, most=2)

        async def fail():
            msg = "no room"
            raise InferenceError(msg)

        with pytest.raises(InferenceError, match="no room"):
            await memory.once("k", "f", fail)
        assert await memory.once("k", "another", lambda: _next(iter("a"))) == "a"


async def _next(ids):
    return next(ids)
