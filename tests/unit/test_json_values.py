"""JSON to containers and back, over CBOR."""

import cbor2
import pytest
from modal._serialization import apply_defaults, serialize_proto_params
from modal_proto import api_pb2

from freehold.domain.errors import InvalidRequest
from freehold.domain.json_calls import Arguments, NotJson
from freehold.wire.json_values import encode, parameters_of, read_arguments, to_json

PROTO = api_pb2.ClassParameterInfo.PARAM_SERIALIZATION_FORMAT_PROTO


def of_type(kind):
    return api_pb2.GenericPayloadType(base_type=kind)


INFO = api_pb2.ClassParameterInfo(
    format=PROTO,
    schema=[
        api_pb2.ClassParameterSpec(name="name", full_type=of_type(api_pb2.PARAM_TYPE_STRING)),
        api_pb2.ClassParameterSpec(name="size", full_type=of_type(api_pb2.PARAM_TYPE_INT), has_default=True, int_default=3),
        api_pb2.ClassParameterSpec(name="loud", full_type=of_type(api_pb2.PARAM_TYPE_BOOL), has_default=True, bool_default=False),
    ],
)


def test_arguments_travel_as_modals_own_runtime_reads_them():
    args, kwargs = cbor2.loads(encode(read_arguments(b'{"args": [1, "two"], "kwargs": {"x": null}}')))

    assert (args, kwargs) == ([1, "two"], {"x": None})


@pytest.mark.parametrize("body", [b"", b" \n"])
def test_no_body_means_no_arguments(body):
    assert read_arguments(body) == Arguments()


@pytest.mark.parametrize("body", [b"{", b"[Infinity]", b"\xff\xfe", b"[" * 100_000, b"[1]]"])
def test_what_is_no_json_is_refused(body):
    with pytest.raises(InvalidRequest):
        read_arguments(body)


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x9f", b"\x81" * 5000, cbor2.dumps(cbor2.CBORTag(4711, "x")), cbor2.dumps({1.5: 2})])
def test_a_result_that_is_no_json_is_refused(data):
    with pytest.raises(NotJson):
        to_json(data)


def test_a_result_keeps_its_letters():
    assert to_json(cbor2.dumps({"é": [1.0, None, True]})) == '{"é":[1.0,null,true]}'.encode()


def test_references_that_mean_billions_of_values_are_refused():
    bomb = []
    for _ in range(40):
        bomb = [bomb, bomb]
    with pytest.raises(NotJson):
        to_json(cbor2.dumps(bomb, value_sharing=True))


class TestParameters:
    @pytest.mark.parametrize("given", [{"name": "a"}, {"size": 9, "name": "a"}, {"name": "a", "loud": True, "size": -1}])
    def test_they_are_what_the_real_client_sends(self, given):
        expected = serialize_proto_params(apply_defaults(given, INFO.schema))

        assert parameters_of(Arguments(parameters=given), INFO) == expected

    @pytest.mark.parametrize("given", [{}, {"name": 1}, {"name": "a", "size": True}, {"name": "a", "size": 1.0}, {"name": "a", "x": 1}])
    def test_wrong_ones_are_refused(self, given):
        with pytest.raises(InvalidRequest):
            parameters_of(Arguments(parameters=given), INFO)

    def test_a_class_without_any_takes_none(self):
        assert parameters_of(Arguments(), api_pb2.ClassParameterInfo()) == b""
        with pytest.raises(InvalidRequest):
            parameters_of(Arguments(parameters={"x": 1}), api_pb2.ClassParameterInfo())
