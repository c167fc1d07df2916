"""The Open Inference Protocol: tensors in, tensors out, whatever the app's own models are."""

import json
from enum import StrEnum
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from builders import Doubler, a_client
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter

from modalkit._web.tensors import InputTensor, items, table, tensors
from modalkit.errors import InferenceError
from modalkit.iomodel import InputModel, OutputModel

INFER = "/v2/models/default/infer"


class Features(InputModel):
    features: list[float] = Field(min_length=4, max_length=4)
    label: str = "none"


class Answer(OutputModel):
    total: float
    best: int
    name: str
    is_big: bool
    vector: list[float]


class Summing:
    batches: ClassVar[list[int]] = []

    def predict(self, items: list[Features]) -> list[Answer]:
        self.batches.append(len(items))
        return [
            Answer(
                total=sum(item.features), best=int(np.argmax(item.features)), name=item.label, is_big=sum(item.features) > 10, vector=[1, 2]
            )
            for item in items
        ]


@pytest.fixture(scope="module")
def client():
    with a_client(Summing, Features, Answer, batch_config={"max_batch_size": 8, "wait_ms": 50}, web_config={"max_items": 20}) as client:
        yield client


def a_tensor(name="features", shape=(2, 4), datatype="FP64", data=(1, 2, 3, 4, 5, 6, 7, 8), **more):
    return {"name": name, "shape": list(shape), "datatype": datatype, "data": list(data), **more}


def infer(client, *inputs, path=INFER, **more):
    return client.post(path, json={"inputs": list(inputs), **more})


def is_fault(answer, status, words=""):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json().keys() == {"error"}
    assert words in answer.json()["error"]


class TestServer:
    def test_it_says_what_it_is(self, client):
        said = client.get("/v2").json()
        assert said.keys() == {"name", "version", "extensions"}
        assert said["name"] == "modalkit"

    def test_live_and_ready(self, client):
        assert client.get("/v2/health/live").json() == {"live": True}
        assert client.get("/v2/health/ready").json() == {"ready": True}
        assert client.get("/v2/models/default/ready").json() == {"name": "default", "ready": True}

    def test_a_model_that_cannot_be_loaded_is_not_ready_and_says_why(self):
        class Missing:
            def __init__(self):
                raise FileNotFoundError(2, "no such file", "weights.bin")

        with a_client(Missing) as client:
            for path in ("/v2/health/ready", "/v2/models/default/ready"):
                answer = client.get(path)
                assert (answer.status_code, answer.json()["ready"]) == (503, False)
                assert "weights.bin" in answer.json()["reason"]
            is_fault(infer(client, a_tensor("value", [1], "FP64", [1])), 503, "weights.bin")

    def test_the_index_has_every_model_and_whether_it_is_in_memory(self):
        with a_client(model_settings={"model_entries": {"default": {}, "other": {}}}) as client:
            assert [entry["state"] for entry in client.post("/v2/repository/index").json()] == ["UNAVAILABLE"] * 2
            client.get("/v2/models/other/ready")
            index = {entry["name"]: entry["state"] for entry in client.post("/v2/repository/index", json={}).json()}
            ready = client.post("/v2/repository/index", json={"ready": True}).json()
        assert index == {"default": "UNAVAILABLE", "other": "READY"}
        assert [entry["name"] for entry in ready] == ["other"]

    @pytest.mark.parametrize("path", ["/v2/models/nobody", "/v2/models/nobody/ready", "/v2/nowhere"])
    def test_what_is_not_there_is_said_in_the_protocols_form(self, client, path):
        is_fault(client.get(path), 404)

    def test_an_unknown_model_names_the_nearest(self, client):
        is_fault(infer(client, a_tensor(), path="/v2/models/defualt/infer"), 404, "did you mean 'default'?")

    def test_another_method_is_said_in_the_protocols_form(self, client):
        is_fault(client.get(INFER), 405)


class TestMetadata:
    def test_each_field_is_a_tensor(self, client):
        said = client.get("/v2/models/default").json()
        assert (said["name"], said["platform"]) == ("default", "modalkit")
        assert said["inputs"] == [
            {"name": "features", "datatype": "FP64", "shape": [-1, 4]},
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
        ]
        assert [(each["name"], each["datatype"], each["shape"]) for each in said["outputs"]] == [
            ("total", "FP64", [-1]),
            ("best", "INT64", [-1]),
            ("name", "BYTES", [-1]),
            ("is_big", "BOOL", [-1]),
            ("vector", "FP64", [-1, -1]),
        ]


class TestInfer:
    def test_one_item_for_each_row(self, client):
        answer = infer(client, a_tensor(), a_tensor("label", [2], "BYTES", ["a", "b"]), id="42")
        assert answer.status_code == 200, answer.text
        assert answer.json() == {
            "model_name": "default",
            "id": "42",
            "outputs": [
                {"name": "total", "datatype": "FP64", "shape": [2], "data": [10, 26]},
                {"name": "best", "datatype": "INT64", "shape": [2], "data": [3, 3]},
                {"name": "name", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]},
                {"name": "is_big", "datatype": "BOOL", "shape": [2], "data": [False, True]},
                {"name": "vector", "datatype": "FP64", "shape": [2, 2], "data": [1, 2, 1, 2]},
            ],
        }

    def test_its_items_share_a_batch(self, client):
        Summing.batches.clear()
        infer(client, a_tensor(shape=[8, 4], data=range(32)))
        assert sum(Summing.batches) == 8
        assert len(Summing.batches) < 8

    def test_data_may_be_nested(self, client):
        answer = infer(client, a_tensor(data=[[1, 2, 3, 4], [5, 6, 7, 8]]))
        assert answer.json()["outputs"][0]["data"] == [10, 26]

    def test_a_column_of_single_values_may_have_a_second_dimension(self, client):
        answer = infer(client, a_tensor(), a_tensor("label", [2, 1], "BYTES", ["a", "b"]))
        assert answer.json()["outputs"][2]["data"] == ["a", "b"]

    @pytest.mark.parametrize("datatype", ["FP32", "FP16", "INT32", "UINT8"])
    def test_every_number_is_a_number(self, client, datatype):
        assert infer(client, a_tensor(datatype=datatype)).json()["outputs"][0]["data"] == [10, 26]

    def test_only_the_outputs_that_are_wanted(self, client):
        answer = infer(client, a_tensor(), outputs=[{"name": "best"}])
        assert [each["name"] for each in answer.json()["outputs"]] == ["best"]
        is_fault(infer(client, a_tensor(), outputs=[{"name": "bst"}]), 400, "There is no output tensor 'bst'; did you mean 'best'?")

    def test_no_items_are_no_answers(self, client):
        answer = infer(client, a_tensor(shape=[0, 4], data=[]))
        assert [(each["shape"], each["data"]) for each in answer.json()["outputs"][:2]] == [([0], []), ([0], [])]

    def test_inputs_may_travel_whole_as_json_texts(self, client):
        texts = [json.dumps({"features": [1, 2, 3, 4], "label": "x"})]
        answer = infer(client, a_tensor("input", [1], "BYTES", texts, parameters={"content_type": "json"}))
        assert answer.json()["outputs"][0]["data"] == [10]

    def test_one_bad_item_is_the_answer_to_all_and_is_named(self):
        class Picky(Doubler):
            def predict(self, items):
                if any(item.value < 0 for item in items):
                    raise InferenceError("negative", status=409)  # noqa: EM101
                return super().predict(items)

        with a_client(Picky) as client:
            is_fault(infer(client, a_tensor("value", [3], "FP64", [1, -1, 2])), 409, "Item 1: negative")


class TestFaults:
    @pytest.mark.parametrize(
        ("tensor", "words"),
        [
            (a_tensor("feature"), "There is no input tensor 'feature'; did you mean 'features'?"),
            (a_tensor(shape=[2, 3]), "has 8 elements; its shape [2, 3] has 6"),
            (a_tensor(shape=[8]), "Item 0: features: Input should be a valid array"),
            (a_tensor(shape=[4, 2]), "Item 0: features: List should have at least 4 items"),
            (a_tensor(datatype="INT8", data=[300] * 8), "element 0, is no INT8"),
            (a_tensor(datatype="BYTES"), "element 0, is no BYTES"),
            (a_tensor(data=["1"] * 8), "element 0, is no FP64"),
            (a_tensor(data=[True] * 8), "element 0, is no FP64"),
            (a_tensor(data=[None] * 8), "element 0, is no FP64"),
            (a_tensor(data=[[1, 2, 3, 4], [5, 6, 7]]), "not nested as its shape"),
            (a_tensor(data=[[1, 2], [3, 4], [5, 6], [7, 8]]), "not nested as its shape"),
            (a_tensor(data=[[[1, 2, 3, 4]], [[5, 6, 7, 8]]]), "not nested as its shape"),
            (a_tensor(data=[1, 2, 3, [4], 5, 6, 7, 8]), "element 3, is no FP64"),
            (a_tensor(shape=[2, 0, 0], data=[]), "may be 0"),
            (a_tensor(shape=[2, 0], data=[]), "Item 0: features: List should have at least 4 items"),
            (a_tensor(shape=[2, 10**30], data=[]), "has 0 elements"),
            (a_tensor(datatype="FP128"), "inputs.0.datatype"),
            (a_tensor(shape=[]), "inputs.0.shape"),
            (a_tensor(shape=[-1, 4]), "inputs.0.shape"),
            (a_tensor(shape=[1] * 40, data=[1]), "inputs.0.shape"),
            (a_tensor(datatype="BYTES", shape=[1], data=["{"], parameters={"content_type": "json"}), "is no JSON"),
        ],
    )
    def test_what_is_wrong_with_a_tensor_is_said(self, client, tensor, words):
        is_fault(infer(client, tensor), 400, words)

    def test_tensors_of_different_lengths_are_refused(self, client):
        is_fault(infer(client, a_tensor(), a_tensor("label", [3], "BYTES", "abc")), 400, "'features' 2, 'label' 3")

    def test_a_tensor_given_twice_is_refused(self, client):
        is_fault(infer(client, a_tensor(), a_tensor()), 400, "given twice")

    def test_a_missing_tensor_is_named(self, client):
        is_fault(infer(client, a_tensor("label", [1], "BYTES", "a")), 400, "Input tensors are missing: features.")

    @pytest.mark.parametrize("count", [21, 10**12])
    def test_more_items_than_allowed_are_413(self, client, count):
        is_fault(infer(client, a_tensor(shape=[count, 0], data=[])), 413, "at most 20")

    @pytest.mark.parametrize(
        "body", [b"", b"{", b"[]", b"null", b'{"inputs": []}', b'{"inputs": [1]}', b'{"inputs": [{"name": NaN}]}', b"[" * 5000]
    )
    def test_what_is_no_request_is_400(self, client, body):
        is_fault(client.post(INFER, content=body, headers={"content-type": "application/json"}), 400)

    def test_binary_data_is_refused_with_words(self, client):
        answer = client.post(INFER, content=b"{}", headers={"inference-header-content-length": "2"})
        is_fault(answer, 415, "as JSON")

    def test_another_kind_of_content_is_415(self, client):
        is_fault(client.post(INFER, content=b"{}", headers={"content-type": "text/plain"}), 415)

    def test_whoever_needs_a_key_is_told_in_the_protocols_form(self, monkeypatch):
        monkeypatch.setenv("MODALKIT_API_KEYS", "alice:0123456789abcdef")
        with a_client(auth_config={"kind": "api_key"}) as client:
            is_fault(client.get("/v2"), 401, "API key")
            assert client.get("/v2/health/live").status_code == 200


class Colour(StrEnum):
    RED = "red"


class Part(BaseModel):
    x: int


class Node(BaseModel):
    value: int
    children: list["Node"] = []


KINDS = [
    (int, "INT64", []),
    (float, "FP64", []),
    (bool, "BOOL", []),
    (str, "BYTES", []),
    (Colour, "BYTES", []),
    (Literal[1, 2], "INT64", []),
    (list[int], "INT64", [-1]),
    (list[list[float]], "FP64", [-1, -1]),
    (tuple[float, float], "FP64", [2]),
    (float | None, "FP64", []),
]
AS_JSON = [Part, list[Part], dict[str, int], int | str, Literal[1, "a"], tuple[int, str], Any, Node, list[Any]]


class TestKinds:
    @pytest.mark.parametrize(("annotation", "datatype", "dims"), KINDS)
    def test_what_a_tensor_can_hold_is_one(self, annotation, datatype, dims):
        (column,) = table(_model(annotation), "validation").columns
        assert column.metadata() == {"name": "field", "datatype": datatype, "shape": [-1, *dims]}

    @pytest.mark.parametrize("annotation", AS_JSON, ids=str)
    def test_anything_else_is_json_texts(self, annotation):
        (column,) = table(_model(annotation), "validation").columns
        assert column.metadata() == {"name": "field", "datatype": "BYTES", "shape": [-1], "parameters": {"content_type": "json"}}

    def test_an_output_that_may_be_null_is_json_texts(self):
        (column,) = table(_model(float | None), "serialization").columns
        assert column.kind.is_json

    @pytest.mark.parametrize(("annotation", "mode", "name"), [(list[float], "validation", "input"), (str, "serialization", "output")])
    def test_a_type_without_fields_is_one_tensor(self, annotation, mode, name):
        assert table(annotation, mode).names == (name,)

    def test_objects_within_objects_travel_as_json_texts(self):
        class Outer(BaseModel):
            part: Part
            parts: list[Part]

        class Echo:
            def predict(self, items):
                return items

        given = {"part": {"x": 1}, "parts": [{"x": 2}, {"x": 3}]}
        with a_client(Echo, Outer, Outer) as client:
            sent = [a_tensor(name, [1], "BYTES", [json.dumps(value)]) for name, value in given.items()]
            outputs = infer(client, *sent).json()["outputs"]
        assert {each["name"]: json.loads(each["data"][0]) for each in outputs} == given
        assert all(each["parameters"] == {"content_type": "json"} for each in outputs)

    def test_lists_of_unequal_lengths_travel_as_json_texts(self):
        class Ragged(BaseModel):
            numbers: list[int]

        class Echo:
            def predict(self, items):
                return items

        with a_client(Echo, Ragged, Ragged) as client:
            texts = a_tensor("numbers", [2], "BYTES", ["[1]", "[2, 3]"], parameters={"content_type": "json"})
            (output,) = infer(client, texts).json()["outputs"]
        assert (output["datatype"], output["data"]) == ("BYTES", ["[1]", "[2,3]"])

    def test_a_list_is_an_input_and_a_number_an_output(self):
        class Sum:
            def predict(self, items):
                return [sum(item) for item in items]

        with a_client(Sum, list[float], float) as client:
            (output,) = infer(client, a_tensor("input", [2, 2], "FP64", [1, 2, 3, 4])).json()["outputs"]
        assert output == {"name": "output", "datatype": "FP64", "shape": [2], "data": [3, 7]}


def _model(annotation):
    return type("Model", (BaseModel,), {"__annotations__": {"field": annotation}})


class Row(BaseModel):
    number: float
    whole: int
    text: str
    flag: bool
    pair: tuple[int, int]
    matrix: list[list[float]]
    anything: Any = None


floats = st.floats(allow_nan=False, allow_infinity=False)
int64 = st.integers(-(2**63), 2**63 - 1)
json_values = st.recursive(
    st.none() | st.booleans() | int64 | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5
)


@st.composite
def rows(draw):
    height, width = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    row = st.fixed_dictionaries(
        {
            "number": floats,
            "whole": int64,
            "text": st.text(),
            "flag": st.booleans(),
            "pair": st.lists(int64, min_size=2, max_size=2),
            "matrix": st.lists(st.lists(floats, min_size=width, max_size=width), min_size=height, max_size=height),
            "anything": json_values,
        }
    )
    return draw(st.lists(row, max_size=5))


class TestThereAndBack:
    @given(rows())
    def test_items_come_back_as_they_went(self, given):
        """What goes out as tensors comes in as the same items."""
        out = tensors(given, table(Row, "serialization"), ())
        sent = TypeAdapter(list[InputTensor]).validate_json(json.dumps(out))
        assert items(sent, table(Row, "validation"), 100) == given
