"""What the example of text embeddings answers over HTTP, wherever it runs.

Subclasses give the clients `texts` and `documents`, and who hears of jobs and traces: `hooks` and `traces`.
"""

import json
import math
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from expectations import otlp
from expectations.receiver import SECRET, Receiver

APP = Path(__file__).parents[2] / "examples" / "text_embeddings" / "app.py"

WEATHER, SUNNY, STADIUM = "The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."
BOOK = " ".join(f"Sentence {number} of a long book about the weather." for number in range(150))  # 1,350 words
NDJSON = {"accept": "application/x-ndjson"}


class EmbeddingsExpectations:
    def test_a_text_has_the_vector_that_the_model_is_known_for(self, texts: Any) -> None:
        """The numbers that its authors' own library prints for this sentence."""
        answer = texts.post("/predict_sync", json={"text": "This is an example sentence"})

        assert answer.status_code == 200
        assert len(answer.json()["embedding"]) == 384
        assert answer.json()["embedding"][:5] == pytest.approx([0.0676569, 0.0634959, 0.0487131, 0.0793050, 0.0374481], abs=2e-6)
        assert math.hypot(*answer.json()["embedding"]) == pytest.approx(1, abs=1e-4)

    def test_texts_of_one_meaning_are_near_each_other(self, texts: Any) -> None:
        """The similarities that the library's documentation shows."""
        answers = texts.post("/predict_batch", json=[{"text": WEATHER}, {"text": SUNNY}, {"text": STADIUM}]).json()
        weather, sunny, stadium = (each["output"]["embedding"] for each in answers)

        assert [dot(weather, sunny), dot(weather, stadium), dot(sunny, stadium)] == pytest.approx([0.6660, 0.1046, 0.1411], abs=2e-4)

    def test_a_text_in_a_batch_has_the_vector_that_it_has_alone(self, texts: Any) -> None:
        alone = texts.post("/predict_sync", json={"text": STADIUM}).json()
        among = texts.post("/predict_batch", json=[{"text": WEATHER * 5}, {"text": STADIUM}]).json()[1]["output"]

        assert among["embedding"] == pytest.approx(alone["embedding"], abs=2e-6)
        assert among["tokens"] == alone["tokens"] == 8

    def test_what_the_model_does_not_read_is_said(self, texts: Any) -> None:
        answer = texts.post("/predict_sync", json={"text": "word " * 1000}).json()

        assert (answer["tokens"], answer["is_truncated"]) == (256, True)

    def test_each_model_answers_in_its_own_way(self, texts: Any) -> None:
        def ask(model: str) -> list[float]:
            vector: list[float] = texts.post("/predict_sync", params={"model_name": model}, json={"text": WEATHER}).json()["embedding"]
            return vector

        whole, raw, first = ask("minilm"), ask("minilm-raw"), ask("minilm-cls")

        assert [value / math.hypot(*raw) for value in raw] == pytest.approx(whole, abs=2e-6)
        assert math.hypot(*raw) > 2
        assert dot(whole, first) < 0.95

    def test_the_models_are_listed(self, texts: Any) -> None:
        names = {each["name"]: each["is_default"] for each in texts.get("/models").json()["models"]}

        assert names == {"minilm": True, "minilm-raw": False, "minilm-cls": False}

    def test_an_empty_text_is_refused_alone(self, texts: Any) -> None:
        answer = texts.post("/predict_sync", json={"text": ""})

        assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["body", "text"])

    def test_requests_at_the_same_time_are_answered_together(self, texts: Any) -> None:
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda number: texts.post("/predict_sync", json={"text": f"Text {number}"}), range(48)))

        assert {each.status_code for each in answers} == {200}
        assert batches_and_items(texts)[0] < batches_and_items(texts)[1]

    def test_a_document_comes_chunk_by_chunk(self, documents: Any) -> None:
        with documents.stream("POST", "/predict_stream", json={"text": BOOK, "words": 50}, headers=NDJSON) as answer:
            assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
            chunks = [json.loads(line) for line in answer.iter_lines()]

        assert [each["index"] for each in chunks] == list(range(27))
        assert all(before["end"] + 1 == after["start"] for before, after in pairwise(chunks))
        assert (chunks[0]["start"], chunks[-1]["end"]) == (0, len(BOOK))
        assert all(len(each["embedding"]) == 384 for each in chunks)

    def test_the_same_document_at_once(self, documents: Any) -> None:
        document = {"text": BOOK[:2000], "words": 50}
        answer = documents.post("/predict_sync", json=document)
        with documents.stream("POST", "/predict_stream", json=document) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            events = stream.read().decode().split("\n\n")

        streamed = [json.loads(event.removeprefix("data: ")) for event in events if event.startswith("data: ")]
        assert [each["index"] for each in streamed] == [each["index"] for each in answer.json()["chunks"]]
        assert streamed[-1]["embedding"] == pytest.approx(answer.json()["chunks"][-1]["embedding"], abs=2e-6)
        assert "event: end" in events[-2]

    def test_a_document_that_is_wrong_is_refused_before_the_stream_begins(self, documents: Any) -> None:
        answer = documents.post("/predict_stream", json={"text": "a", "words": 1})

        assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["body", "words"])

    def test_a_job_is_taken_once_and_its_result_waits_and_goes_to_its_webhook(self, texts: Any, hooks: Receiver) -> None:
        order = {"message": {"text": STADIUM}, "webhook_url": hooks.url, "meta": {"order": 17}}
        once = {"idempotency-key": str(uuid.uuid4())}
        taken, again = (texts.post("/predict_async", json=order, headers=once) for _ in range(2))
        assert (taken.status_code, again.status_code) == (202, 202), taken.text
        assert taken.json()["job_id"] == again.json()["job_id"]

        job = texts.get(taken.headers["location"], params={"wait": 60}).json()

        assert (job["state"], job["meta"]) == ("succeeded", {"order": 17})
        assert job["output"] == texts.post("/predict_sync", json=order["message"]).json()
        assert [(each["is_delivered"], each["detail"]) for each in job["deliveries"]] == [(True, "")]
        [hook] = [each for each in hooks.received if each.job["job_id"] == job["job_id"]]
        assert hook.is_signed_with(SECRET)
        assert hook.job["output"] == job["output"]

    def test_a_job_of_another_service_is_not_known_here(self, texts: Any, documents: Any) -> None:
        taken = texts.post("/predict_async", json={"text": STADIUM})

        assert documents.get(taken.headers["location"]).status_code == 404
        assert texts.get(taken.headers["location"], params={"wait": 60}).json()["state"] == "succeeded"

    def test_a_trace_goes_from_the_caller_to_the_steps_of_the_model(self, texts: Any, traces: otlp.Receiver) -> None:
        trace, caller = uuid.uuid4().hex, "00f067aa0ba902b7"
        answer = texts.post("/predict_sync", json={"text": WEATHER}, headers={"traceparent": f"00-{trace}-{caller}-01"})
        assert answer.status_code == 200, answer.text
        assert trace in answer.headers["traceresponse"]

        request = arrived(traces, trace, "POST /predict_sync")
        batch = arrived(traces, trace, "modalkit.batch")
        call = arrived(traces, trace, "modalkit.call")
        arrived(traces, trace, "postprocess")

        assert (request.parent, call.parent, batch.parent) == (caller, request.id, call.id)
        assert [step.name for step in traces.children(batch)] == ["preprocess", "predict", "postprocess"]
        assert request.resource["service.name"] == "text-embeddings"
        assert request.attributes["http.response.status_code"] == 200
        assert request.attributes["modalkit.api_key"] == "test"

    def test_a_stream_is_traced_until_its_last_piece(self, documents: Any, traces: otlp.Receiver) -> None:
        trace = uuid.uuid4().hex
        documents.post("/predict_stream", json={"text": BOOK[:500]}, headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})

        assert arrived(traces, trace, "modalkit.stream").attributes["modalkit.model"] == "minilm"

    @pytest.mark.parametrize(
        ("content", "kind", "status"),
        [
            (b'{"text": 5}', "application/json", 422),
            (b'{"text": NaN}', "application/json", 400),
            (b'{"text": ' + b"[" * 100_000, "application/json", 400),
            (b"text=a", "application/x-www-form-urlencoded", 415),
            (b" " * (10 * 2**20 + 1), "application/json", 413),
        ],
        ids=["a wrong type", "nan", "deep", "form", "huge"],
    )
    def test_what_is_no_input_is_refused_with_its_reason(self, documents: Any, content: bytes, kind: str, status: int) -> None:
        answer = documents.post("/predict_stream", content=content, headers={"content-type": kind})

        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert answer.json()["detail"]

    def test_a_model_that_is_unknown_is_refused_with_the_nearest(self, texts: Any) -> None:
        answer = texts.post("/predict_sync", params={"model_name": "minilm-wra"}, json={"text": "a"})

        assert (answer.status_code, "did you mean 'minilm-raw'?" in answer.json()["detail"]) == (404, True)

    def test_who_has_no_key_is_refused(self, texts: Any, documents: Any) -> None:
        for client in (texts, documents):
            without = client.post("/predict_sync", json={"text": WEATHER}, headers={"x-api-key": ""})
            wrong = client.post("/predict_sync", json={"text": WEATHER}, headers={"x-api-key": "mk-wrong"})

            assert (without.status_code, wrong.status_code) == (401, 401)
            assert client.get("/health/ready", headers={"x-api-key": ""}).status_code == 200


def dot(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def batches_and_items(client: Any) -> tuple[float, float]:
    """What the model was given so far, by the service's own counts."""
    found = {"modalkit_batch_items_count": 0.0, "modalkit_batch_items_sum": 0.0}
    for line in client.get("/metrics").text.splitlines():
        name = line.partition("{")[0]
        if name in found:
            found[name] += float(line.rpartition(" ")[2])
    return found["modalkit_batch_items_count"], found["modalkit_batch_items_sum"]


def arrived(traces: otlp.Receiver, trace: str, name: str, within: float = 60) -> otlp.Span:
    """A span of a trace, once it came: containers send what they have every few seconds."""
    deadline = time.monotonic() + within
    while not (found := [span for span in traces.spans if (span.trace, span.name) == (trace, name)]):
        assert time.monotonic() < deadline, f"{name} did not come; there are {[each.name for each in traces.spans if each.trace == trace]}"
        time.sleep(0.05)
    [span] = found
    return span


def configured(folder: Path, traces: otlp.Receiver, **more: Any) -> str:
    """The example's own YAML with what is of this test alone, as `MODALKIT_CONFIG` takes it."""
    here = folder / "here.yaml"
    said = {
        "jobs_config": {"webhook_allow_private": True, "delivery_hold_seconds": 60},
        "observability_config": {"endpoint": traces.endpoint},
    } | more
    here.write_text(json.dumps({"app_settings": said}))
    return f"{APP.with_name('modalkit.yaml')},{here}"
