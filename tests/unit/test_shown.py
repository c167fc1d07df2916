"""Arguments and results as text: plain values as they are, and nothing that a pickle names is ever run."""

import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import cbor2
import pytest
from modal_proto import api_pb2

from freehold.wire.shown import shown_arguments, shown_parameters, shown_result


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
        ((({(1, "a"): 2}, frozenset({(3,)})), {}), "({(1, 'a'): 2}, frozenset({(3,)}))"),
    ],
)
def test_arguments_are_as_in_the_source_of_a_call(value, text):
    assert arguments(value).replace("dashboard.", "") == text


def test_parameters_of_a_class_are_as_in_its_making():
    values = [api_pb2.ClassParameterValue(name="size", int_value=7), api_pb2.ClassParameterValue(name="name", string_value="a")]
    assert shown_parameters(api_pb2.ClassParameterSet(parameters=values).SerializeToString()) == "size=7, name='a'"
    assert shown_parameters(pickle.dumps(((3,), {"loud": True}), protocol=4)) == "(3, loud=True)"
    assert shown_parameters(b"") == ""
    assert shown_parameters(b"pear").startswith("…")


def test_nothing_that_a_pickle_names_is_run(tmp_path):
    trap = tmp_path / "run"
    text = arguments(((Trap(trap),), {}))
    assert not trap.exists()
    assert "Path.touch(…)" in text


@pytest.mark.parametrize("data", [b"", b"\x80\x04", b"garbage", b"cos\nsystem\n(S'true'\ntR.", pickle.dumps(10**5000)])
def test_what_is_no_pickle_is_said_to_be_none(data):
    text = shown_arguments(api_pb2.FunctionInput(args=data, data_format=api_pb2.DATA_FORMAT_PICKLE))
    assert "…" in text


def doubled(times):
    """A pickle of a few bytes a time: a tuple of the one before, twice, and in the end a key."""
    return b"\x80\x04})" + b"2\x86" * times + b"K\x01s."


def shared(times):
    """The same in CBOR, by references."""
    inner = b"\xd8\x1c\x80"
    for index in range(times, 0, -1):
        inner = b"\xd8\x1c\x82" + inner + b"\xd8\x1d" + cbor2.dumps(index)
    return b"\xa1" + inner + b"\x01"


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("data", "data_format"),
    [
        (doubled(60), api_pb2.DATA_FORMAT_PICKLE),
        (b"\x80\x04" + b"]r\xff\xff\xff\x7f.", api_pb2.DATA_FORMAT_PICKLE),  # names part 2147483647: room for that many is 32 GiB
        (shared(60), api_pb2.DATA_FORMAT_CBOR),
    ],
)
def test_few_bytes_that_mean_a_value_without_end_are_shown_at_once(data, data_format):
    assert len(shown_arguments(api_pb2.FunctionInput(args=data, data_format=data_format))) < 500


def test_what_is_large_is_not_read():
    assert arguments((("x" * 100_000,), {})).startswith("…")


def test_results_are_shown_in_both_formats():
    item = api_pb2.FunctionGetOutputsItem(data_format=api_pb2.DATA_FORMAT_CBOR)
    item.result.data = cbor2.dumps({"total": 10})
    assert shown_result(item) == "{'total': 10}"
    item.data_format = api_pb2.DATA_FORMAT_PICKLE
    item.result.data = pickle.dumps([1, None])
    assert shown_result(item) == "[1, None]"
