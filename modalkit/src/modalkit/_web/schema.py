"""OpenAPI of routes that read their bodies themselves: the app's own input and output models, and problems."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import JsonSchemaMode

_REF = "#/components/schemas/{model}"
_PROBLEM_REF = {"$ref": _REF.format(model="Problem")}
_JSON = "application/json"

PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "error_id": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
}
MODEL_NAME = {
    "name": "model_name",
    "in": "query",
    "required": False,
    "schema": {"type": "string"},
    "description": "Name of the model; the app's default without it.",
}
_EVENT = {  # each of the stream
    "type": "object",
    "required": ["data"],
    "properties": {
        "event": {"type": "string", "description": "None of a piece; `end` of the last one, `error` of a problem."},
        "data": {"type": "string", "description": "JSON of a piece, or of a problem."},
    },
}
_REFUSALS = {
    400: "The body is no JSON",
    401: "A key is asked for",
    403: "The key may not do this",
    404: "There is no such model",
    413: "The body is too large",
    415: "Another kind of content",
    422: "The body is not what is asked for",
    429: "Too many requests with this key",
    500: "The model failed",
    503: "The model is not ready, or too many requests wait",
    504: "No answer in time",
}


class Schemas:
    """The schemas of one app; models are named once, under `#/components/schemas`."""

    def __init__(self) -> None:
        self.named: dict[str, Any] = {"Problem": PROBLEM}

    def of(self, model: Any, mode: JsonSchemaMode) -> dict[str, Any]:
        """A reference to a model's schema, or the schema of what has no name."""
        schema = TypeAdapter(model).json_schema(mode=mode, ref_template=_REF)
        for name, definition in schema.pop("$defs", {}).items():
            self.named[name] = definition
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return schema
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", model.__name__).strip("_")  # of a generic, `Model[Inner]`
        name = name if self.named.get(name, schema) == schema else f"{name}-{mode}"
        self.named[name] = schema
        return {"$ref": _REF.format(model=name)}

    def one(self, input_model: Any, output_model: Any) -> dict[str, Any]:
        """A route from one input to one output."""
        return operation(self.of(input_model, "validation"), {_JSON: {"schema": self.of(output_model, "serialization")}})

    def many(self, input_model: Any, output_model: Any) -> dict[str, Any]:
        """A route from a list of inputs to a list of outputs and errors."""
        output = {"type": "object", "required": ["output"], "properties": {"output": self.of(output_model, "serialization")}}
        error = {"type": "object", "required": ["error"], "properties": {"error": _PROBLEM_REF}}
        body = {"type": "array", "items": self.of(input_model, "validation")}
        return operation(body, {_JSON: {"schema": {"type": "array", "items": {"oneOf": [output, error]}}}})

    def streamed(self, input_model: Any) -> dict[str, Any]:
        """A route from one input to pieces."""
        content = {"text/event-stream": {"schema": _EVENT}, "application/x-ndjson": {"schema": {"type": "string"}}}
        return operation(self.of(input_model, "validation"), content)

    def install(self, app: FastAPI) -> None:
        """Makes the app's OpenAPI document hold these schemas."""
        make = app.openapi

        def openapi() -> dict[str, Any]:
            document = make()
            document.setdefault("components", {}).setdefault("schemas", {}).update(self.named)
            return document

        app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend the document


def operation(
    body: dict[str, Any] | None, answer: dict[str, Any], *, status: int = 200, parameters: Sequence[dict[str, Any]] = (MODEL_NAME,)
) -> dict[str, Any]:
    """What a route says of its body, its answer and its refusals."""
    said: dict[str, Any] = {
        "parameters": list(parameters),
        "responses": {str(status): {"description": "Answered", "content": answer}} | refusals(),
    }
    if body is not None:
        said["requestBody"] = {"required": True, "content": {_JSON: {"schema": body}}}
    return said


def refusals(statuses: Iterable[int] = tuple(_REFUSALS)) -> dict[str, Any]:
    """The answers that a route may give instead."""
    return {str(status): refusal(_REFUSALS[status]) for status in statuses}


def refusal(words: str) -> dict[str, Any]:
    """A problem as an answer."""
    return {"description": words, "content": {"application/problem+json": {"schema": _PROBLEM_REF}}}
