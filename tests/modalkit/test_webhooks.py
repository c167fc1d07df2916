"""Ends of jobs at a webhook: signed, tried again, bounded, and to public addresses only."""

import asyncio
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from builders import Double, a_client, an_app
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from expectations.receiver import SECRET, Receiver

from modalkit import _deliveries, _webhooks
from modalkit.errors import InferenceError
from modalkit.testing import TestClient

SEVEN = {"value": 3.5}
PRIVATE = {"webhook_allow_private": True, "delivery_hold_seconds": 30}


@pytest.fixture(autouse=True)
def _secret(monkeypatch):
    monkeypatch.setenv("MODALKIT_WEBHOOK_SECRET", SECRET)


class Failing:
    def predict(self, items):
        msg = "no such flower"
        raise InferenceError(msg, status=418)


def job_with(client, url, **order):
    """An ended job that was ordered with a webhook."""
    answer = client.post("/predict_async", json={"message": SEVEN, "webhook_url": url, **order})
    assert answer.status_code == 202, answer.text
    return client.get(f"/jobs/{answer.json()['job_id']}", params={"wait": 30}).json()


class TestDelivery:
    def test_an_ended_job_arrives_signed_and_is_told_as_delivered(self):
        with Receiver() as receiver, a_client(jobs_config=PRIVATE) as client:
            job = job_with(client, receiver.url, meta={"mine": 1})

        (received,) = receiver.received
        assert received.is_signed_with(SECRET)
        assert received.headers["content-type"] == "application/json"
        assert received.path == "/hook?token=t"
        told = {name: job[name] for name in ("job_id", "state", "output", "error", "meta")}
        assert received.job == told
        assert told["output"] == {"doubled": 7.0}
        shown = receiver.url.removesuffix("?token=t")
        assert job["deliveries"] == [{"target": shown, "is_delivered": True, "attempts": 1, "detail": ""}]

    def test_a_failed_job_arrives_with_its_problem(self):
        with Receiver() as receiver, a_client(Failing, jobs_config=PRIVATE) as client:
            job_with(client, receiver.url)

        assert receiver.received[0].job["state"] == "failed"
        assert receiver.received[0].job["error"]["detail"] == "no such flower"

    def test_a_function_s_job_is_delivered_in_the_same_way(self):
        module = an_app(jobs_config=PRIVATE)
        with Receiver() as receiver, TestClient(module) as client:
            given = {"message": SEVEN, "webhook_url": receiver.url}
            job_id = module.Service.async_call(module.Service)(input_data=given).job_id
            client.get(f"/jobs/{job_id}", params={"wait": 30})

        assert receiver.received[0].is_signed_with(SECRET)
        assert receiver.received[0].job["job_id"] == job_id

    def test_every_key_signs_while_keys_are_changed(self, monkeypatch):
        other = "whsec_" + 6 * "bmV3"
        monkeypatch.setenv("MODALKIT_WEBHOOK_SECRET", f"{SECRET} {other}")
        with Receiver() as receiver, a_client(jobs_config=PRIVATE) as client:
            job_with(client, receiver.url)

        assert receiver.received[0].is_signed_with(SECRET)
        assert receiver.received[0].is_signed_with(other)

    def test_what_is_tried_again_has_the_same_id(self):
        with Receiver(500, (429, {"retry-after": "1"}), 204) as receiver, a_client(jobs_config=PRIVATE) as client:
            began = time.monotonic()
            job = job_with(client, receiver.url)
            taken = time.monotonic() - began

        assert job["deliveries"][0] | {"target": ""} == {"target": "", "is_delivered": True, "attempts": 3, "detail": ""}
        assert len({each.headers["webhook-id"] for each in receiver.received}) == 1
        assert all(each.is_signed_with(SECRET) for each in receiver.received)
        assert taken > 1, "as long as the receiver asked for"

    def test_a_receiver_that_refuses_is_not_asked_again(self):
        with Receiver(410) as receiver, a_client(jobs_config=PRIVATE) as client:
            job = job_with(client, receiver.url)

        assert len(receiver.received) == 1
        assert job["state"] == "succeeded"
        assert job["deliveries"][0] | {"target": ""} == {"target": "", "is_delivered": False, "attempts": 1, "detail": "answered 410"}

    def test_redirects_are_not_followed(self):
        with Receiver() as elsewhere, Receiver((302, {"location": elsewhere.url})) as receiver, a_client(jobs_config=PRIVATE) as client:
            job = job_with(client, receiver.url)

        assert elsewhere.received == []
        assert job["deliveries"][0]["detail"] == "answered 302; redirects are not followed"

    def test_a_silent_receiver_takes_its_deadline_and_no_more(self):
        config = PRIVATE | {"delivery_deadline_seconds": 1, "webhook_timeout_seconds": 0.3}
        with Receiver(5.0) as receiver, a_client(jobs_config=config) as client:
            began = time.monotonic()
            job = job_with(client, receiver.url)
            taken = time.monotonic() - began

        assert job["deliveries"][0]["detail"] == "no answer within 0.3 s"
        assert 1 <= job["deliveries"][0]["attempts"] <= 4
        assert taken < 30

    def test_a_receiver_that_is_not_there_is_told_on_the_job(self):
        with Receiver() as receiver:
            url = receiver.url
        with a_client(jobs_config=PRIVATE | {"delivery_attempts": 2}) as client:
            delivery = job_with(client, url)["deliveries"][0]

        assert (delivery["is_delivered"], delivery["attempts"]) == (False, 2)
        assert "Connect" in delivery["detail"]

    def test_all_of_a_batch_are_delivered_at_the_same_time(self):
        """Eight jobs have come while the model was busy; no receiver answers before all eight are asked."""
        begun, may_work, all_asked = threading.Event(), threading.Event(), threading.Barrier(8)

        class Busy:
            def predict(self, items):
                begun.set()
                assert may_work.wait(60)
                return [Double(doubled=2 * item.value) for item in items]

        class Together(Receiver):
            def _wait(self, answer):
                all_asked.wait(60)

        config = {"batch_config": {"max_batch_size": 8, "wait_ms": 0}, "jobs_config": PRIVATE | {"webhook_timeout_seconds": 60}}
        with Together() as receiver, a_client(Busy, **config) as client:
            client.post("/predict_async", json=SEVEN)
            assert begun.wait(60)
            order = {"message": SEVEN, "webhook_url": receiver.url}
            ids = [client.post("/predict_async", json=order).json()["job_id"] for _ in range(8)]
            may_work.set()
            jobs = [client.get(f"/jobs/{each}", params={"wait": 60}).json() for each in ids]

        assert [job["state"] for job in jobs] == ["succeeded"] * 8
        assert [job["deliveries"][0]["attempts"] for job in jobs] == [1] * 8
        assert sorted(each.job["job_id"] for each in receiver.received) == sorted(ids)

    def test_what_is_under_way_when_the_app_ends_is_delivered(self):
        """Lost with the tasks that nobody awaited in an earlier implementation."""
        with Receiver(0.3) as receiver:
            with a_client(jobs_config=PRIVATE) as client:
                client.post("/predict_async", json={"message": SEVEN, "webhook_url": receiver.url})

            assert len(receiver.received) == 1


class TestBesideTheBatch:
    """What a batch does not wait for."""

    def test_a_receiver_that_does_not_answer_holds_up_no_batch(self):
        """The next request is answered while the receiver is silent: it speaks only after that."""
        may_answer = threading.Event()

        class Silent(Receiver):
            def _wait(self, answer):
                assert may_answer.wait(30)

        with Silent() as receiver, a_client(jobs_config=PRIVATE | {"delivery_hold_seconds": 0, "webhook_timeout_seconds": 30}) as client:
            job = job_with(client, receiver.url)
            assert client.post("/predict_sync", json=SEVEN).json() == {"doubled": 7.0}
            may_answer.set()

        assert job["state"] == "succeeded"
        assert job["deliveries"][0] | {"target": ""} == {"target": "", "is_delivered": None, "attempts": 0, "detail": "under way"}
        assert receiver.received[0].job["job_id"] == job["job_id"]

    def test_the_job_shows_why_its_first_try_failed(self):
        config = PRIVATE | {"delivery_hold_seconds": 1}
        with Receiver(500, (429, {"retry-after": "3"}), 204) as receiver, a_client(jobs_config=config) as client:
            delivery = job_with(client, receiver.url)["deliveries"][0]

        assert (delivery["is_delivered"], delivery["detail"]) == (None, f"answered {500 if delivery['attempts'] == 1 else 429}")
        assert len(receiver.received) == 3, "it was tried again until the app ended"

    def test_what_has_no_room_in_time_is_told_on_the_job(self, monkeypatch):
        monkeypatch.setattr(_deliveries.Room, "take", lambda *_, **__: False)
        with Receiver() as receiver, a_client(jobs_config=PRIVATE) as client:
            job = job_with(client, receiver.url)

        assert job["state"] == "succeeded"
        assert (job["deliveries"][0]["is_delivered"], job["deliveries"][0]["detail"]) == (
            False,
            "too many deliveries wait in this container",
        )

    def test_the_end_waits_for_what_is_under_way_only_so_long(self, monkeypatch, caplog):
        monkeypatch.setattr(_deliveries, "CLOSE_SECONDS", 0.2)
        config = PRIVATE | {"delivery_hold_seconds": 0, "webhook_timeout_seconds": 60}
        with Receiver(60.0) as receiver:
            with a_client(jobs_config=config) as client:
                job_with(client, receiver.url)
                began = time.monotonic()

            assert time.monotonic() - began < 30
        assert "the container ended first" in caplog.text

    def test_the_log_has_no_more_of_an_address_than_its_host(self, caplog):
        with Receiver(410) as receiver, a_client(jobs_config=PRIVATE) as client:
            job_with(client, receiver.url.replace("/hook", "/services/T0/B0/secret"))

        assert "could not be delivered to 127.0.0.1" in caplog.text
        assert "secret" not in caplog.text

    def test_an_output_that_json_cannot_hold_fails_its_own_job_alone(self):
        class Circular:
            def predict(self, items):
                endless = []
                endless.append(endless)
                return [endless if item.value < 0 else Double(doubled=1) for item in items]

        config = {"batch_config": {"max_batch_size": 2, "wait_ms": 3000}, "jobs_config": PRIVATE}
        with Receiver() as receiver, a_client(Circular, **config) as client:
            orders = [{"message": {"value": value}, "webhook_url": receiver.url} for value in (-1, 1)]
            ids = [client.post("/predict_async", json=order).json()["job_id"] for order in orders]
            jobs = [client.get(f"/jobs/{each}", params={"wait": 30}).json() for each in ids]

        assert [job["state"] for job in jobs] == ["failed", "succeeded"]
        told = {each.job["job_id"]: each.job for each in receiver.received}
        assert [told[job_id]["state"] for job_id in ids] == ["failed", "succeeded"]
        assert told[ids[0]]["error"]["type"] == "urn:modalkit:wrong_output"


class TestRoom:
    def test_messages_and_their_bytes_are_bounded(self):
        room = _deliveries.Room(2, 100)

        assert [room.take(60, within=0), room.take(60, within=0), room.take(40, within=0), room.take(0, within=0)] == [
            True,
            False,
            True,
            False,
        ]
        room.leave(60)
        assert room.take(60, within=0)

    def test_one_message_has_room_whatever_its_size(self):
        assert _deliveries.Room(2, 100).take(1000, within=0)

    def test_who_waits_has_the_room_that_another_leaves(self):
        room = _deliveries.Room(1, 100)
        room.take(1, within=0)
        threading.Timer(0.05, room.leave, (1,)).start()

        assert room.take(1, within=20)


class TestHttps:
    @pytest.fixture
    def secured(self, tmp_path):
        """A receiver with a certificate for `localhost`, and the file of the authority that vouches for it: itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - timedelta(1), now + timedelta(1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(key, hashes.SHA256())
        )
        file, secret = tmp_path / "authority.pem", serialization.NoEncryption()
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret)
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        with Receiver() as receiver:
            receiver._server.socket = context.wrap_socket(receiver._server.socket, server_side=True)
            receiver.url = receiver.url.replace("http://127.0.0.1", "https://localhost")
            yield receiver, file
        _webhooks._tls.cache_clear()

    def test_a_webhook_goes_to_whom_the_certificate_names(self, secured, monkeypatch):
        receiver, authority = secured
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        _webhooks._tls.cache_clear()
        with a_client(jobs_config=PRIVATE) as client:
            assert job_with(client, receiver.url)["deliveries"][0]["is_delivered"]

        assert receiver.received[0].is_signed_with(SECRET)

    def test_nobody_else_gets_it(self, secured):
        receiver, _ = secured
        _webhooks._tls.cache_clear()
        with a_client(jobs_config=PRIVATE | {"delivery_attempts": 1}) as client:
            delivery = job_with(client, receiver.url)["deliveries"][0]

        assert "CERTIFICATE_VERIFY_FAILED" in delivery["detail"]
        assert receiver.received == []


class TestLoops:
    async def test_delivering_blocks_no_event_loop(self):
        """Run inside a loop that was running already, and swallowed, in an earlier implementation."""
        module = an_app(jobs_config=PRIVATE)
        beats = 0
        with Receiver(0.5) as receiver, TestClient(module):
            job = await module.Service.async_call(module.Service).aio(input_data={"message": SEVEN, "webhook_url": receiver.url})
            while not receiver.received:
                await asyncio.sleep(0.01)
                beats += 1

        assert job.job_id
        assert beats > 0
        assert receiver.received[0].job["job_id"] == job.job_id

    def test_no_thread_is_there_before_the_first_delivery(self):
        with a_client(jobs_config=PRIVATE) as client:
            client.post("/predict_sync", json=SEVEN)

            assert "modalkit-deliveries" not in {thread.name for thread in threading.enumerate()}


class TestRefusals:
    def test_without_a_secret_no_webhook_is_promised(self, monkeypatch):
        monkeypatch.delenv("MODALKIT_WEBHOOK_SECRET")
        with a_client(jobs_config=PRIVATE) as client:
            answer = client.post("/predict_async", json={"message": SEVEN, "webhook_url": "https://example.com"})

        assert answer.status_code == 422
        assert answer.json()["detail"] == "webhook_url: this app cannot sign webhooks: MODALKIT_WEBHOOK_SECRET is not set."

    @pytest.mark.parametrize("secret", ["a little", "whsec_$%", "whsec_" + "YQ=="])
    def test_a_secret_that_is_none_is_told_without_saying_it(self, monkeypatch, secret):
        monkeypatch.setenv("MODALKIT_WEBHOOK_SECRET", secret)
        with a_client() as client:
            answer = client.post("/predict_async", json={"message": SEVEN, "webhook_url": "https://example.com"})

        assert answer.status_code == 422
        assert secret.removeprefix("whsec_") not in answer.json()["detail"]

    @pytest.mark.parametrize(
        "url",
        [
            "http://127.0.0.1/",
            "http://localhost:8000/",
            "http://0x7f.1/",
            "http://2130706433/",
            "http://10.1.2.3/",
            "http://169.254.169.254/latest/meta-data",
            "http://100.64.0.1/",
            "http://0.0.0.0/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[64:ff9b:1::7f00:1]/",
            "http://[::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "http://[fd00::1]/",
            "http://[fe80::1]/",
            "http://224.0.0.1/",
        ],
    )
    def test_addresses_that_are_not_public_are_never_connected_to(self, url):
        with a_client() as client:
            answer = client.post("/predict_async", json={"message": SEVEN, "webhook_url": url})

        if answer.status_code == 202:  # a name: what it means is only known when it is sent
            assert "localhost" in url
        else:
            assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["body", "webhook_url"])

    @pytest.mark.parametrize("url", ["ftp://example.com/", "https://me:pw@example.com/", "//example.com", "https://", "x", "http://a b/"])
    def test_what_is_no_address_of_a_webhook_is_refused(self, url):
        with a_client() as client:
            assert client.post("/predict_async", json={"message": SEVEN, "webhook_url": url}).status_code == 422

    def test_a_name_that_means_a_private_address_is_refused_when_it_is_sent(self):
        with Receiver() as receiver, a_client(jobs_config={"delivery_hold_seconds": 30}) as client:
            job = job_with(client, receiver.url.replace("127.0.0.1", "localhost"))

        assert receiver.received == []
        assert job["deliveries"][0]["detail"] == "localhost has no public address"
        assert job["deliveries"][0]["attempts"] == 1

    def test_nothing_of_an_address_can_become_a_header(self):
        target = _webhooks.read_url("https://example.com/a\r\nx: y?b=\r\nz c#d")

        assert not {"\r", "\n", " "} & set(target.path)


class TestOutputs:
    def test_an_output_of_any_kind_can_be_sent(self):
        class Strange:
            def predict(self, items):
                return [{"doubled": np.float32(0.5), "of": np.array([1, 2]), "at": threading} for _ in items]

        with Receiver() as receiver, a_client(Strange, jobs_config=PRIVATE) as client:
            job_with(client, receiver.url)

        output = receiver.received[0].job["output"]
        assert (output["doubled"], output["of"]) == (0.5, [1, 2])
        assert output["at"].startswith("<module")
