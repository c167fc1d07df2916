"""Tensors of the Open Inference Protocol, and the app's own inputs and outputs.

Each field of a model is a tensor of its name; the first dimension counts the items. Texts are BYTES. What no tensor can hold (objects,
unions, lists of unequal lengths) travels as BYTES with one JSON text an item, which `parameters.content_type` says: `json`.
"""

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any, Literal

import pydantic_core
from pydantic import BaseModel, Field, StrictBool, StrictStr, TypeAdapter, ValidationError
from pydantic.json_schema import JsonSchemaMode

from modalkit._web.body import refused

JSON_TEXT = {"content_type": "json"}
_MAX_RANK = 32

Datatype = Literal["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"]


class InputTensor(BaseModel):
    """One tensor of a request; `data` is flat, row by row, or nested as the shape says."""

    name: str
    shape: list[Annotated[int, Field(ge=0, strict=True)]] = Field(min_length=1, max_length=_MAX_RANK)
    datatype: Datatype
    parameters: dict[str, Any] = Field(default_factory=dict)
    data: list[Any]

    @property
    def is_json(self) -> bool:
        return self.datatype == "BYTES" and self.parameters.get("content_type") == "json"


class RequestedOutput(BaseModel):
    """One tensor that the answer should have."""

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class InferRequest(BaseModel):
    """The body of an inference. Without `outputs` the answer has all."""

    id: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: list[InputTensor] = Field(min_length=1)
    outputs: list[RequestedOutput] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Kind:
    """What a tensor holds: the datatype of its elements, and the dimensions of one item, -1 where any size goes."""

    datatype: str
    dims: tuple[int, ...] = ()
    is_json: bool = False


_JSON_KIND = Kind("BYTES", is_json=True)


@dataclass(frozen=True, slots=True)
class Column:
    """One named tensor of a model."""

    name: str
    kind: Kind
    is_required: bool = True

    def metadata(self) -> dict[str, Any]:
        """As the protocol describes it."""
        said: dict[str, Any] = {"name": self.name, "datatype": self.kind.datatype, "shape": [-1, *self.kind.dims]}
        return said | ({"parameters": JSON_TEXT} if self.kind.is_json else {})


@dataclass(frozen=True, slots=True)
class Table:
    """The tensors of a model. One that is no object with fields is a single tensor, `whole`."""

    columns: tuple[Column, ...]
    whole: bool

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)


def table(model: Any, mode: JsonSchemaMode) -> Table:
    """The tensors of a type, from its JSON schema."""
    schema = TypeAdapter(model).json_schema(mode=mode)
    defs = schema.get("$defs", {})
    top = _resolved(schema, defs)
    if top.get("type") != "object" or not top.get("properties"):
        return Table((Column("input" if mode == "validation" else "output", _kind(schema, defs, mode, ())),), whole=True)
    required = set(top.get("required", ()))
    columns = (Column(name, _kind(part, defs, mode, ()), name in required) for name, part in top["properties"].items())
    return Table(tuple(columns), whole=False)


def items(tensors: Sequence[InputTensor], inputs: Table, most: int) -> list[Any]:
    """The items of a request, as JSON values. Raises InferenceError: 400, or 413 for more than `most`."""
    counts = {tensor.shape[0] for tensor in tensors}
    if len(counts) > 1:
        said = ", ".join(f"{tensor.name!r} {tensor.shape[0]}" for tensor in tensors)
        raise refused(400, f"The first dimension counts the items, so it is the same for all tensors; it is: {said}.", "bad_tensor")
    if (count := counts.pop()) > most:
        raise refused(413, f"{count} items; at most {most} in one request.", "too_many_items")
    if len(tensors) == 1 and tensors[0].is_json and tensors[0].name not in inputs.names:
        return _texts(tensors[0])  # the whole inputs
    columns = _columns(tensors, inputs)
    if inputs.whole:
        return columns[inputs.names[0]]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def tensors(values: Sequence[Any], outputs: Table, wanted: Sequence[RequestedOutput]) -> list[dict[str, Any]]:
    """The tensors of an answer from its items' JSON values. Raises InferenceError (400): an output is wanted that there is not."""
    chosen = list(outputs.columns)
    if wanted:
        known = {column.name: column for column in outputs.columns}
        chosen = [known[each.name] if each.name in known else _no_such("output", each.name, outputs.names) for each in wanted]
    return [_tensor(column, [value if outputs.whole else value.get(column.name) for value in values]) for column in chosen]


def _columns(tensors: Sequence[InputTensor], inputs: Table) -> dict[str, list[Any]]:
    known = {column.name: column for column in inputs.columns}
    columns: dict[str, list[Any]] = {}
    for tensor in tensors:
        if tensor.name not in known:
            _no_such("input", tensor.name, inputs.names)
        if tensor.name in columns:
            raise refused(400, f"Input tensor {tensor.name!r} is given twice.", "bad_tensor")
        columns[tensor.name] = _values(tensor, known[tensor.name].kind)
    if missing := [column.name for column in inputs.columns if column.is_required and column.name not in columns]:
        raise refused(400, f"Input tensors are missing: {', '.join(missing)}.", "bad_tensor")
    return columns


def _values(tensor: InputTensor, kind: Kind) -> list[Any]:
    """One value for each item."""
    if tensor.is_json or (kind.is_json and tensor.datatype == "BYTES"):
        return _texts(tensor)
    count, dims = tensor.shape[0], tensor.shape[1:]
    level = _checked(tensor)
    if not kind.dims and not kind.is_json and math.prod(dims) == 1:
        return level  # [n, 1] for what is one number
    if 0 in dims:
        if count and len(dims) > 1:
            raise refused(
                400, f"Input tensor {tensor.name!r} has the shape {tensor.shape}; only the second of two dimensions may be 0.", "bad_tensor"
            )
        return [[] for _ in range(count)]
    for size in reversed(dims):
        level = [level[start : start + size] for start in range(0, len(level), size)]
    return level


def _texts(tensor: InputTensor) -> list[Any]:
    """The values of JSON texts."""
    if math.prod(tensor.shape[1:]) != 1:
        raise refused(400, f"Input tensor {tensor.name!r} holds one JSON text an item; its shape is [{tensor.shape[0]}].", "bad_tensor")
    try:
        return [pydantic_core.from_json(text, allow_inf_nan=False) for text in _checked(tensor)]
    except ValueError as error:
        raise refused(400, f"Input tensor {tensor.name!r} holds a text that is no JSON: {error}", "bad_tensor") from error


def _checked(tensor: InputTensor) -> list[Any]:
    """The elements, row by row, as many as the shape has, each of the datatype."""
    flat, count = _flat(tensor), math.prod(tensor.shape)
    if len(flat) != count:
        raise refused(400, f"Input tensor {tensor.name!r} has {len(flat)} elements; its shape {tensor.shape} has {count}.", "bad_tensor")
    try:
        return _ELEMENTS[tensor.datatype].validate_python(flat)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise refused(
            400, f"Input tensor {tensor.name!r}, element {first['loc'][0]}, is no {tensor.datatype}: {first['msg']}.", "bad_tensor"
        ) from error


def _flat(tensor: InputTensor) -> list[Any]:
    level = tensor.data
    if not level or not isinstance(level[0], list):
        return level
    sizes, wanted = [len(level)], len(tensor.shape)
    while len(sizes) < wanted and all(isinstance(each, list) for each in level) and len({len(each) for each in level}) == 1:
        sizes.append(len(level[0]))
        level = list(chain.from_iterable(level))
        if not level:
            break
    if sizes != tensor.shape[: len(sizes)] or (level and len(sizes) < wanted):
        raise refused(400, f"Input tensor {tensor.name!r} is not nested as its shape {tensor.shape} says.", "bad_tensor")
    return level


def _tensor(column: Column, values: list[Any]) -> dict[str, Any]:
    shape, flat = _shaped(column.kind, values)
    if flat is None:
        texts = [pydantic_core.to_json(value).decode() for value in values]
        return {"name": column.name, "datatype": "BYTES", "shape": [len(values)], "parameters": JSON_TEXT, "data": texts}
    return {"name": column.name, "datatype": column.kind.datatype, "shape": shape, "data": flat}


def _shaped(kind: Kind, values: list[Any]) -> tuple[list[int], list[Any] | None]:
    """The shape of values and their elements; None where no tensor of the kind can hold them."""
    if kind.is_json:
        return [], None
    shape, level = [len(values)], values
    for size in kind.dims:
        lengths = {len(each) if isinstance(each, list) else -1 for each in level} or {max(size, 0)}
        if len(lengths) != 1 or -1 in lengths:
            return [], None
        shape.append(lengths.pop())
        level = list(chain.from_iterable(level))
    try:
        return shape, _ELEMENTS[kind.datatype].validate_python(level)
    except ValidationError:
        return [], None


def _kind(schema: dict[str, Any], defs: dict[str, Any], mode: JsonSchemaMode, seen: tuple[str, ...]) -> Kind:
    """What holds a value of a schema; `seen` are the references that led here."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _JSON_KIND if name in seen else _kind(defs[name], defs, mode, (*seen, name))
    if "enum" in schema or "const" in schema:
        kinds = {_SCALARS.get(type(each)) for each in schema.get("enum", [schema.get("const")])}
        datatype = kinds.pop() if len(kinds) == 1 else None
        return Kind(datatype) if datatype else _JSON_KIND
    if "anyOf" in schema:
        # An input that may be null is left out where it is; an output has its place, and tensors have no null.
        others = [each for each in schema["anyOf"] if each.get("type") != "null" or mode == "serialization"]
        return _kind(others[0], defs, mode, seen) if len(others) == 1 else _JSON_KIND
    if schema.get("type") == "array":
        return _kind_of_array(schema, defs, mode, seen)
    datatype = _TYPES.get(str(schema.get("type")))
    return Kind(datatype) if datatype else _JSON_KIND


def _kind_of_array(schema: dict[str, Any], defs: dict[str, Any], mode: JsonSchemaMode, seen: tuple[str, ...]) -> Kind:
    least, most = schema.get("minItems"), schema.get("maxItems")
    members = schema.get("prefixItems") or [schema.get("items", {})]
    kinds = {_kind(each, defs, mode, seen) for each in members if isinstance(each, dict)}
    if len(kinds) != 1 or (inner := kinds.pop()).is_json or len(inner.dims) >= _MAX_RANK - 1:
        return _JSON_KIND
    return Kind(inner.datatype, (least if least is not None and least == most else -1, *inner.dims))


def _resolved(schema: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = defs[schema["$ref"].rpartition("/")[2]]
    return schema


def _no_such(what: str, name: str, names: Sequence[str]) -> Any:
    near = difflib.get_close_matches(name, names, n=1)
    raise refused(
        400,
        f"There is no {what} tensor {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names)}."),
        "bad_tensor",
    )


def _whole(least: int, most: int) -> TypeAdapter[list[Any]]:
    return TypeAdapter(list[Annotated[int, Field(strict=True, ge=least, le=most)]])


_TYPES = {"boolean": "BOOL", "integer": "INT64", "number": "FP64", "string": "BYTES"}
_SCALARS: dict[type, str] = {bool: "BOOL", int: "INT64", float: "FP64", str: "BYTES"}
_FLOATS: TypeAdapter[list[Any]] = TypeAdapter(list[Annotated[float, Field(strict=True, allow_inf_nan=False)]])
_ELEMENTS: dict[str, TypeAdapter[list[Any]]] = {
    "BOOL": TypeAdapter(list[StrictBool]),
    "BYTES": TypeAdapter(list[StrictStr]),
    **{f"UINT{bits}": _whole(0, 2**bits - 1) for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": _whole(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": _FLOATS for bits in (16, 32, 64)},
}
