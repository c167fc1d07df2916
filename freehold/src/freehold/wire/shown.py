"""Arguments and results as text for people. A pickle is a program: here it may build plain values, and what it names stays a name.

Few bytes can mean a value without end: parts that hold themselves twice, each of them. Nothing here goes through all of such a value.
"""

import io
import pickle
import re
import reprlib
from collections.abc import Callable
from typing import Any, ClassVar, Self

import cbor2
from google.protobuf.message import DecodeError
from modal_proto import api_pb2

_LONGEST = 64 * 1024  # bytes that are looked at
_CBOR = api_pb2.DATA_FORMAT_CBOR
_PICKLES = (api_pb2.DATA_FORMAT_PICKLE, api_pb2.DATA_FORMAT_UNSPECIFIED)

_SHARED = re.compile(rb"\xd8\x1d|\xd9\x00\x1d|\xda\x00{3}\x1d|\xdb\x00{7}\x1d")  # CBOR's reference to what came before


def shown_parameters(serialized: bytes) -> str:
    """Of a class, as it is made: `size=7, name='a'`. Pickled ones, of a class with an `__init__`, as arguments are."""
    if serialized.startswith(pickle.PROTO):
        return shown_arguments(api_pb2.FunctionInput(args=serialized, data_format=api_pb2.DATA_FORMAT_PICKLE))
    try:
        values = api_pb2.ClassParameterSet.FromString(serialized).parameters
    except DecodeError as error:
        return _unreadable(error)
    return ", ".join(f"{value.name}={_short.repr(_parameter(value))}" for value in values)


def _parameter(value: api_pb2.ClassParameterValue) -> Any:
    field = value.WhichOneof("value_oneof")
    if field == "pickle_value":
        return _value(value.pickle_value, api_pb2.DATA_FORMAT_PICKLE)
    return getattr(value, field) if field else None


class _Short(reprlib.Repr):
    """Its methods are named after types."""

    def repr_Tuple(self, value: tuple[Any, ...], level: int) -> str:
        return self.repr_tuple(value, level)

    def repr_Set(self, value: frozenset[Any], level: int) -> str:
        return self.repr_frozenset(value, level)


_short = _Short()
_short.maxlevel, _short.maxstring, _short.maxother, _short.maxlong = 4, 300, 300, 60
_short.maxlist = _short.maxtuple = _short.maxdict = _short.maxset = _short.maxfrozenset = 12


def shown_arguments(payload: api_pb2.FunctionInput) -> str:
    """As in the source of a call: `(1, 'a', key=2)`."""
    if payload.WhichOneof("args_oneof") == "args_blob_id":
        return f"(… large arguments, in {payload.args_blob_id})"
    value = _value(payload.args, payload.data_format)
    if not isinstance(value, tuple | list) or len(value) != 2 or not isinstance(value[1], dict):  # noqa: PLR2004 — positional, and by name
        return _text(value)
    try:
        args = [_text(item) for item in value[0]]
        return f"({', '.join(args + [f'{name}={_text(item)}' for name, item in value[1].items()])})"
    except Exception as error:  # noqa: BLE001 — whatever a client sent, a page is shown
        return _unreadable(error)


def shown_result(item: api_pb2.FunctionGetOutputsItem) -> str:
    """What a function returned; empty where that is nothing to show."""
    if item.result.WhichOneof("data_oneof") == "data_blob_id":
        return f"… a large result, in {item.result.data_blob_id}"
    if item.data_format == api_pb2.DATA_FORMAT_GENERATOR_DONE:
        return "its values were yielded"
    return _text(_value(item.result.data, item.data_format)) if item.result.data else ""


class Named:
    """What a pickle names and would make of it: never imported, never called."""

    name = "object"

    def __new__(cls, *_args: Any, **_options: Any) -> Self:
        return super().__new__(cls)

    def __init__(self, *args: Any, **_options: Any) -> None:
        self._args = args

    def __setstate__(self, state: Any) -> None:
        self._args = (state,)

    def __repr__(self) -> str:
        return f"{self.name}(…)"

    def append(self, _item: Any) -> None: ...
    def extend(self, _items: Any) -> None: ...
    def add(self, _item: Any) -> None: ...
    def __setitem__(self, _key: Any, _item: Any) -> None: ...


class Tuple(tuple[Any, ...]):
    """As a key it is itself and no other: its parts, which may be the same ones over and over, need not be looked at."""

    __slots__ = ()
    __eq__ = object.__eq__
    __hash__ = object.__hash__


class Set(frozenset[Any]):
    __slots__ = ()
    __eq__ = object.__eq__
    __hash__ = object.__hash__


def _as(kind: type[Any], opcode: bytes) -> tuple[int, Callable[[Any], None]]:
    load = pickle._Unpickler.dispatch[opcode[0]]  # noqa: SLF001 — as below

    def load_as(reader: Any) -> None:
        load(reader)
        reader.stack[-1] = kind(reader.stack[-1])

    return opcode[0], load_as


class _Reader(pickle._Unpickler):  # noqa: SLF001 — the one in C makes room for as many parts as a pickle says that it will name
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **pickle._Unpickler.dispatch,  # noqa: SLF001
        **dict(_as(Tuple, opcode) for opcode in (pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3)),
        **dict([_as(Set, pickle.FROZENSET)]),
    }

    def find_class(self, module: str, name: str) -> Any:
        return type("Named", (Named,), {"name": f"{module}.{name}"[:200].removeprefix("builtins.")})

    def persistent_load(self, _pid: Any) -> Any:
        return Named()


def _value(data: bytes, data_format: int) -> Any:
    if len(data) > _LONGEST:
        return _Words(f"… {len(data)} bytes")
    try:
        if data_format == _CBOR:
            if _SHARED.search(data):
                return _Words("… cannot be shown (it refers to parts of itself)")
            return cbor2.loads(data)
        if data_format in _PICKLES:
            return _Reader(io.BytesIO(data)).load()
    except Exception as error:  # noqa: BLE001 — as above
        return _Words(_unreadable(error))
    return _Words(f"… {len(data)} bytes")


class _Words(str):
    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _text(value: Any) -> str:
    if isinstance(value, _Words):
        return str(value)
    try:
        return _short.repr(value)
    except Exception as error:  # noqa: BLE001 — as above
        return _unreadable(error)


def _unreadable(error: Exception) -> str:
    return f"… cannot be shown ({type(error).__name__})"
