"""ASGI messages ↔ `api_pb2.Asgi`, field for field as the client does it in the container; and the scope as the input's arguments.

One table per direction: a kind of message is one line in each.
"""

import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from modal_proto import api_pb2

Message = Mapping[str, Any]

_Asgi = api_pb2.Asgi

_PICKLE_PROTOCOL = 4  # the newest that every Python of every client's containers reads
# `state`, `app` and `extensions` hold objects of this process; the container's own wrapper refuses `state`.
_SCOPE_KEYS = (
    "type",
    "asgi",
    "http_version",
    "method",
    "scheme",
    "path",
    "raw_path",
    "query_string",
    "root_path",
    "headers",
    "client",
    "server",
    "subprotocols",
)


def scope_bytes(scope: Message) -> bytes:
    """The scope as the arguments of a web input (DATA_FORMAT_PICKLE): plain values only."""
    plain = {key: scope[key] for key in _SCOPE_KEYS if key in scope}
    plain["headers"] = [(bytes(name), bytes(value)) for name, value in scope["headers"]]
    for key in ("client", "server"):
        if plain.get(key) is not None:
            plain[key] = tuple(plain[key])
    return pickle.dumps(((plain,), {}), protocol=_PICKLE_PROTOCOL)


def to_proto(message: Message) -> api_pb2.Asgi:
    """An ASGI message (or scope) for the wire. A kind that the protocol does not have becomes the empty message."""
    encode = _ENCODERS.get(message["type"])
    return encode(message) if encode else api_pb2.Asgi()


def from_proto(asgi: api_pb2.Asgi) -> dict[str, Any] | None:
    """The ASGI message of the wire; None for the empty one, which says nothing."""
    kind = asgi.WhichOneof("type")
    return _DECODERS[kind](getattr(asgi, kind)) if kind else None


def _headers(message: Message) -> list[bytes]:
    return [part for header in message.get("headers", ()) for part in header]


def _given(message: Message, *names: str) -> dict[str, Any]:
    """The fields that are there: None is how ASGI says "not given", and no value of a field."""
    return {name: message[name] for name in names if message.get(name) is not None}


def _caller(scope: Message) -> dict[str, Any]:
    host, port = scope.get("client") or (None, None)
    return {"client_host": host, "client_port": port}


def _http(scope: Message) -> _Asgi.Http:
    optional = {"http_version": "1.1", "scheme": "http"} | _given(scope, "http_version", "scheme", "query_string") | _caller(scope)
    return _Asgi.Http(method=scope["method"], path=scope["path"], headers=_headers(scope), **optional)


def _websocket(scope: Message) -> _Asgi.Websocket:
    given = _given(scope, "http_version", "scheme", "query_string", "subprotocols")
    optional = {"http_version": "1.1", "scheme": "ws"} | given | _caller(scope)
    return _Asgi.Websocket(path=scope["path"], headers=_headers(scope), **optional)


_ENCODERS: dict[str, Callable[[Message], _Asgi]] = {
    "http": lambda m: _Asgi(http=_http(m)),
    "http.request": lambda m: _Asgi(http_request=_Asgi.HttpRequest(**_given(m, "body", "more_body"))),
    "http.response.start": lambda m: _Asgi(
        http_response_start=_Asgi.HttpResponseStart(status=m["status"], headers=_headers(m), **_given(m, "trailers"))
    ),
    "http.response.body": lambda m: _Asgi(http_response_body=_Asgi.HttpResponseBody(**_given(m, "body", "more_body"))),
    "http.response.trailers": lambda m: _Asgi(
        http_response_trailers=_Asgi.HttpResponseTrailers(headers=_headers(m), **_given(m, "more_trailers"))
    ),
    "http.disconnect": lambda _: _Asgi(http_disconnect=_Asgi.HttpDisconnect()),
    "websocket": lambda m: _Asgi(websocket=_websocket(m)),
    "websocket.connect": lambda _: _Asgi(websocket_connect=_Asgi.WebsocketConnect()),
    "websocket.accept": lambda m: _Asgi(websocket_accept=_Asgi.WebsocketAccept(headers=_headers(m), **_given(m, "subprotocol"))),
    "websocket.receive": lambda m: _Asgi(websocket_receive=_Asgi.WebsocketReceive(**_given(m, "bytes", "text"))),
    "websocket.send": lambda m: _Asgi(websocket_send=_Asgi.WebsocketSend(**_given(m, "bytes", "text"))),
    "websocket.disconnect": lambda m: _Asgi(websocket_disconnect=_Asgi.WebsocketDisconnect(**_given(m, "code"))),
    "websocket.close": lambda m: _Asgi(websocket_close=_Asgi.WebsocketClose(**_given(m, "code", "reason"))),
}


def _pairs(flat: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(flat[::2], flat[1::2], strict=False))


def _client(scope: Any) -> dict[str, Any]:
    return {"client": (scope.client_host, scope.client_port)} if scope.HasField("client_host") else {}


def _optional(message: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(message, name) for name in names if message.HasField(name)}


def _scope(message: Any) -> dict[str, Any]:
    return {
        "http_version": message.http_version,
        "scheme": message.scheme,
        "path": message.path,
        "query_string": message.query_string,
        "headers": _pairs(message.headers),
        **_client(message),
    }


_DECODERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "http": lambda m: {"type": "http", "method": m.method, "extensions": {"http.response.trailers": {}}, **_scope(m)},
    "http_request": lambda m: {"type": "http.request", "body": m.body, "more_body": m.more_body},
    "http_response_start": lambda m: {
        "type": "http.response.start",
        "status": m.status,
        "headers": _pairs(m.headers),
        "trailers": m.trailers,
    },
    "http_response_body": lambda m: {"type": "http.response.body", "body": m.body, "more_body": m.more_body},
    "http_response_trailers": lambda m: {"type": "http.response.trailers", "headers": _pairs(m.headers), "more_trailers": m.more_trailers},
    "http_disconnect": lambda _: {"type": "http.disconnect"},
    "websocket": lambda m: {"type": "websocket", "subprotocols": list(m.subprotocols), **_scope(m)},
    "websocket_connect": lambda _: {"type": "websocket.connect"},
    "websocket_accept": lambda m: {
        "type": "websocket.accept",
        "subprotocol": None,
        "headers": _pairs(m.headers),
        **_optional(m, "subprotocol"),
    },
    "websocket_receive": lambda m: {"type": "websocket.receive", "bytes": None, "text": None, **_optional(m, "bytes", "text")},
    "websocket_send": lambda m: {"type": "websocket.send", **_optional(m, "bytes", "text")},
    # Defaults of the WebSocket protocol (RFC 6455): 1005 is "no code was given", 1000 a normal end.
    "websocket_disconnect": lambda m: {"type": "websocket.disconnect", "code": 1005, **_optional(m, "code")},
    "websocket_close": lambda m: {"type": "websocket.close", "code": 1000, "reason": m.reason, **_optional(m, "code")},
}
