"""ASGI messages on the wire, judged by the client's own functions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modal._serialization import _deserialize_asgi, _serialize_asgi, deserialize_data_format
from modal_proto import api_pb2

from freehold.wire.asgi import from_proto, scope_bytes, to_proto

HEADERS = st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=8)), max_size=3)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
BYTES = st.binary(max_size=64)
MAYBE = st.none
CLIENT = st.tuples(TEXT, st.integers(0, 65535))


def message(kind: str, required: dict | None = None, **optional):
    return st.fixed_dictionaries({"type": st.just(kind), **(required or {})}, optional=optional)


SCOPE_FIELDS = {"http_version": TEXT, "scheme": TEXT, "headers": HEADERS, "client": MAYBE() | CLIENT, "query_string": BYTES}
MESSAGES = st.one_of(
    message("http", {"method": TEXT, "path": TEXT}, **SCOPE_FIELDS),
    message("http.request", body=MAYBE() | BYTES, more_body=st.booleans()),
    message("http.response.start", {"status": st.integers(100, 599)}, headers=HEADERS, trailers=st.booleans()),
    message("http.response.body", body=MAYBE() | BYTES, more_body=st.booleans()),
    message("http.response.trailers", headers=HEADERS, more_trailers=st.booleans()),
    message("http.disconnect"),
    message("websocket", {"path": TEXT}, subprotocols=st.lists(TEXT, max_size=3), **SCOPE_FIELDS),
    message("websocket.connect"),
    message("websocket.accept", subprotocol=MAYBE() | TEXT, headers=HEADERS),
    message("websocket.receive", {"bytes": BYTES}),
    message("websocket.receive", {"bytes": MAYBE(), "text": TEXT}),
    message("websocket.send", {"text": TEXT}),
    message("websocket.send", {"bytes": BYTES}),
    message("websocket.disconnect", code=st.integers(1000, 4999)),
    message("websocket.close", code=st.integers(1000, 4999), reason=MAYBE() | TEXT),
    message("something.new"),
)


@given(MESSAGES)
def test_messages_are_written_as_the_client_writes_them(asgi_message):
    assert to_proto(asgi_message) == _serialize_asgi(asgi_message)


@given(MESSAGES)
def test_messages_are_read_as_the_client_reads_them(asgi_message):
    written = _serialize_asgi(asgi_message)

    assert from_proto(written) == _deserialize_asgi(written)


@pytest.mark.parametrize(
    "asgi_message",
    [
        {"type": "http.request", "body": b"\x00\xff", "more_body": True},
        {"type": "http.response.start", "status": 418, "headers": [(b"a", b"1"), (b"a", b"2")], "trailers": False},
        {"type": "websocket.receive", "bytes": None, "text": ""},
        {"type": "websocket.close", "code": 4000, "reason": "tea time"},
    ],
)
def test_a_message_comes_back_as_it_went(asgi_message):
    assert from_proto(to_proto(asgi_message)) == asgi_message


def test_the_scope_becomes_the_arguments_of_the_input():
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"a=1",
        "root_path": "",
        "headers": [[bytearray(b"host"), b"x"]],
        "client": ["127.0.0.1", 1234],
        "server": None,
        "state": {"lifespan": object()},
        "app": lambda: None,
        "extensions": {"http.response.debug": object()},
    }

    args, kwargs = deserialize_data_format(scope_bytes(scope), api_pb2.DATA_FORMAT_PICKLE, None)

    plain = {name: value for name, value in scope.items() if name not in {"state", "app", "extensions"}}
    assert args == (plain | {"headers": [(b"host", b"x")], "client": ("127.0.0.1", 1234)},)
    assert kwargs == {}
