"""How a command asks the running engine: one JSON object there, one back."""

from typing import Any

from freehold.config import Settings

_ANSWER_SECONDS = 30.0


def ask(operation: str, **request: Any) -> dict[str, Any]:
    """Ask the engine of this home. Raises Unavailable if none runs, and its own words for what it refuses."""
    from freehold.cli import engine
    from freehold.domain.errors import Unavailable

    settings = Settings.load()
    if engine.find(settings.root) is None:
        msg = f"No engine runs on {settings.root}. Start one with `freehold up --detach`."
        raise Unavailable(msg)
    return _call(settings, operation, request)


def ask_at(settings: Settings, operation: str, **request: Any) -> dict[str, Any]:
    """The same of an engine that is known to run, with settings that flags may have changed."""
    return _call(settings, operation, request)


def _call(settings: Settings, operation: str, request: dict[str, Any]) -> dict[str, Any]:
    import grpc

    from freehold.cli.access import access
    from freehold.domain.errors import FreeholdError
    from freehold.wire import operator

    entry = access(settings)
    credentials = (("x-modal-token-id", entry["token_id"]), ("x-modal-token-secret", entry["token_secret"]))
    with grpc.insecure_channel(entry["server_url"].removeprefix("http://")) as channel:
        method = channel.unary_unary(
            f"/{operator.SERVICE}/{operation}", request_serializer=operator.encode, response_deserializer=operator.decode
        )
        try:
            answer: dict[str, Any] = method(request, metadata=credentials, timeout=_ANSWER_SECONDS)
        except grpc.RpcError as error:
            raise FreeholdError(error.details() or str(error.code())) from error
    return answer
