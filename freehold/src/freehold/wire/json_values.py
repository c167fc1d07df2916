"""Arguments and results of calls in JSON as containers take and give them: in CBOR, which knows nothing that could run code here."""

import json
from typing import Any

import cbor2
from modal_proto import api_pb2

from freehold.domain.errors import InvalidRequest
from freehold.domain.json_calls import Arguments, NotJson, arguments_of, plain

_TYPES = {str: ("string", api_pb2.PARAM_TYPE_STRING), bool: ("bool", api_pb2.PARAM_TYPE_BOOL), int: ("int", api_pb2.PARAM_TYPE_INT)}
_NAMES = {api_pb2.PARAM_TYPE_STRING: "text", api_pb2.PARAM_TYPE_BOOL: "true or false", api_pb2.PARAM_TYPE_INT: "a whole number"}
_INT64 = range(-(2**63), 2**63)


def read_arguments(body: bytes) -> Arguments:
    """From the body of a request; none at all is a call without arguments."""
    if not body.strip():
        return Arguments()
    try:
        return arguments_of(json.loads(body, parse_constant=_refuse_constant))
    except (ValueError, RecursionError) as error:
        msg = f"The body is not JSON: {error}"
        raise InvalidRequest(msg) from error


def encode(arguments: Arguments) -> bytes:
    return cbor2.dumps([list(arguments.args), dict(arguments.kwargs)])


def to_json(data: bytes, *, bytes_as_base64: bool = False) -> bytes:
    """A result as JSON text. Raises NotJson."""
    try:
        value = cbor2.loads(data)
    except (cbor2.CBORDecodeError, RecursionError) as error:
        msg = f"The result cannot be read: {error}"
        raise NotJson(msg) from error
    honest = plain(value, most=len(data), bytes_as_base64=bytes_as_base64)
    return json.dumps(honest, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def parameters_of(arguments: Arguments, info: api_pb2.ClassParameterInfo) -> bytes:
    """Constructor parameters in the form in which modal's own client sends them, so that both use the same containers. b"": none."""
    if info.format != api_pb2.ClassParameterInfo.PARAM_SERIALIZATION_FORMAT_PROTO:
        _check_none(arguments)
        return b""
    given = dict(arguments.parameters)
    for spec in info.schema:
        if spec.name not in given and not spec.has_default:
            msg = f'The class needs the parameter {spec.name!r}: send {{"parameters": {{"{spec.name}": …}}, "kwargs": {{…}}}}.'
            raise InvalidRequest(msg)
    specs = {spec.name: spec for spec in info.schema}
    if unknown := sorted(given.keys() - specs):
        msg = f"The class has no parameter {unknown[0]!r}. It has: {', '.join(specs) or 'none'}."
        raise InvalidRequest(msg)
    values = [_parameter(specs[name], value) for name, value in given.items()]
    values += [_default(spec) for spec in info.schema if spec.name not in given]
    return api_pb2.ClassParameterSet(parameters=values).SerializeToString(deterministic=True)


def _check_none(arguments: Arguments) -> None:
    if arguments.parameters:
        msg = "The class takes no parameters from other languages: it has none, or an __init__ of its own in place of modal.parameter()."
        raise InvalidRequest(msg)


def _parameter(spec: api_pb2.ClassParameterSpec, value: Any) -> api_pb2.ClassParameterValue:
    wanted = spec.full_type.base_type or spec.type
    field, kind = _TYPES.get(type(value), ("", None))
    if kind != wanted or (kind == api_pb2.PARAM_TYPE_INT and value not in _INT64):
        msg = f"The parameter {spec.name!r} is to be {_NAMES.get(wanted, 'of a type that JSON does not have')}."
        raise InvalidRequest(msg)
    message = api_pb2.ClassParameterValue(name=spec.name, type=wanted)
    setattr(message, f"{field}_value", value)
    return message


def _default(spec: api_pb2.ClassParameterSpec) -> api_pb2.ClassParameterValue:
    field = spec.WhichOneof("default_oneof")
    message = api_pb2.ClassParameterValue(name=spec.name, type=spec.full_type.base_type or spec.type)
    if field is not None:
        setattr(message, f"{field.removesuffix('_default')}_value", getattr(spec, field))
    return message


def _refuse_constant(name: str) -> None:
    msg = f"{name} is no JSON number"
    raise ValueError(msg)
