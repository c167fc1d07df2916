"""What the `freehold` command asks a running engine: JSON objects over the engine's own gRPC service, beside Modal's."""

import json
from typing import Any

SERVICE = "freehold.Operator"


def encode(message: dict[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False).encode()


def decode(data: bytes) -> dict[str, Any]:
    """Raises ValueError for what is not one JSON object."""
    message = json.loads(data)
    if not isinstance(message, dict):
        msg = "An operator's message is a JSON object."
        raise ValueError(msg)  # noqa: TRY004 — as for text that is no JSON at all
    return message
