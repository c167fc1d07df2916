"""Arguments and results as text: plain values as they are, and nothing that a pickle names is ever run."""

import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import cbor2
import pytest
from modal_proto import api_pb2

from freehold.wire.shown import shown_arguments, shown_result


@dataclass
class Basket:
    item: str


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def arguments(value):
    return shown_arguments(api_pb2.FunctionInput(args=pickle.dumps(value), data_format=api_pb2.DATA_FORMAT_PICKLE))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((("apple", 3), {"loud": True}), "('apple', 3, loud=True)"),
        (((), {}), "()"),
        (((Basket("apple"),), {}), "(test_shown.Basket(…))"),
        (((list(range(100)),), {}), "([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ...])"),
        (((OrderedDict(a=1),), {}), "(collections.OrderedDict(…))"),
    ],
)
def test_arguments_are_as_in_the_source_of_a_call(value, text):
    assert arguments(value).replace("dashboard.", "") == text


def test_nothing_that_a_pickle_names_is_run(tmp_path):
    trap = tmp_path / "run"
    text = arguments(((Trap(trap),), {}))
    assert not trap.exists()
    assert "Path.touch(…)" in text


@pytest.mark.parametrize("data", [b"", b"\x80\x04", b"garbage", b"cos\nsystem\n(S'true'\ntR.", pickle.dumps(10**5000)])
def test_what_is_no_pickle_is_said_to_be_none(data):
    text = shown_arguments(api_pb2.FunctionInput(args=data, data_format=api_pb2.DATA_FORMAT_PICKLE))
    assert "…" in text


def test_what_is_large_is_not_read():
    assert arguments((("x" * 100_000,), {})).startswith("…")


def test_results_are_shown_in_both_formats():
    item = api_pb2.FunctionGetOutputsItem(data_format=api_pb2.DATA_FORMAT_CBOR)
    item.result.data = cbor2.dumps({"total": 10})
    assert shown_result(item) == "{'total': 10}"
    item.data_format = api_pb2.DATA_FORMAT_PICKLE
    item.result.data = pickle.dumps([1, None])
    assert shown_result(item) == "[1, None]"
