"""From an address to a function: which label a request means, and the scope as that function's container sees it."""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from starlette.types import Scope

from freehold.domain.functions import WebKind, WebTarget
from freehold.domain.web import label_of_host, label_of_path

Headers = Iterable[tuple[bytes, bytes]]

# Hop-by-hop fields (RFC 9110, 7.6.1) describe one connection, not the message.
_HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-authorization", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
# The gateway answers `Expect` and speaks WebSocket itself; who asked is told anew, in `client` and the fields that `_told` writes.
_ANSWERED_HERE = frozenset(
    {b"expect", b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-prefix", b"x-forwarded-proto"}
    | {b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-extensions"}
)
_DOC_PATHS = frozenset({"/docs", "/redoc", "/openapi.json"})  # of FastAPI, which wraps an endpoint of one function
# The ASGI specification has `path` include `root_path`. A server of the user's own gets the path alone, and old FastAPI
# versions match on `path` only: an endpoint of one function must work with all of them.
_STRIPPED_KINDS = frozenset({WebKind.FUNCTION, WebKind.SERVER})


@dataclass(frozen=True, slots=True)
class Address:
    """`prefix` is the part of the path that named the function; empty when the host did."""

    label: str
    prefix: str = ""


def address_of(scope: Scope, domain: str) -> Address | None:
    """The function's address in a request; None when the gateway itself is meant."""
    if label := label_of_host(_header(scope, b"host"), domain):
        return Address(label)
    if label := label_of_path(scope["path"]):
        return Address(label, scope["path"][: len(label) + 1])
    return None


def scope_for(target: WebTarget, address: Address, scope: Scope) -> dict[str, Any]:
    """The scope that the function's container gets."""
    visible = {key: scope[key] for key in ("type", "asgi", "http_version", "query_string", "server")}
    for key in ("method", "subprotocols"):  # of a request, of a WebSocket
        if key in scope:
            visible[key] = scope[key]
    caller = _Caller.of(scope)
    visible |= {"root_path": address.prefix, "scheme": caller.scheme, "client": caller.client, **_paths(target, address, scope)}
    visible["headers"] = [*without_hops(scope["headers"], _ANSWERED_HERE), *_told(caller, address)]
    return visible


def without_hops(headers: Headers, also: frozenset[bytes] = frozenset()) -> Iterator[tuple[bytes, bytes]]:
    """The end-to-end fields: without hop-by-hop ones, those that `Connection` names, and `also`."""
    headers = list(headers)
    dropped = _HOP_BY_HOP | also | _named_by_connection(headers)
    return ((name, value) for name, value in headers if name.lower() not in dropped)


@dataclass(frozen=True, slots=True)
class _Caller:
    """Who asks, and how. A proxy on this machine is believed about the caller behind it; nobody else is."""

    client: tuple[str, int] | None
    scheme: str
    host: bytes

    @classmethod
    def of(cls, scope: Scope) -> "_Caller":
        client, scheme, host = scope["client"], scope["scheme"], _header(scope, b"host").encode("latin-1")
        if not (client and ipaddress.ip_address(client[0]).is_loopback):
            return cls(client, scheme, host)
        forwarded_for = _header(scope, b"x-forwarded-for").rpartition(",")[2].strip()
        return cls(
            (forwarded_for, 0) if forwarded_for else tuple(client),
            _proxied_scheme(scheme, _header(scope, b"x-forwarded-proto")),
            _header(scope, b"x-forwarded-host").encode("latin-1") or host,
        )


def _proxied_scheme(scheme: str, told: str) -> str:
    return {"http": "https", "ws": "wss"}.get(scheme, scheme) if told.lower() in {"https", "wss"} else scheme


def _told(caller: _Caller, address: Address) -> Iterator[tuple[bytes, bytes]]:
    """No X-Forwarded-For: the container's own wrapper adds it for servers, from `client`."""
    yield b"x-forwarded-host", caller.host
    yield b"x-forwarded-proto", b"https" if caller.scheme in {"https", "wss"} else b"http"
    if address.prefix:
        yield b"x-forwarded-prefix", address.prefix.encode("latin-1")


def _paths(target: WebTarget, address: Address, scope: Scope) -> dict[str, Any]:
    inner = scope["path"][len(address.prefix) :] or "/"
    if target.kind is WebKind.FUNCTION and inner.rstrip("/") == f"/{target.name}" and inner not in _DOC_PATHS:
        return {"path": "/", "raw_path": b"/"}
    if target.kind in _STRIPPED_KINDS:
        return {"path": inner, "raw_path": _without_first_segment(scope["raw_path"]) if address.prefix else scope["raw_path"]}
    return {"path": address.prefix + inner, "raw_path": scope["raw_path"]}


def _without_first_segment(raw_path: bytes) -> bytes:
    return b"/" + raw_path[1:].partition(b"/")[2]


def _header(scope: Scope, wanted: bytes) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), "")


def _named_by_connection(headers: Headers) -> frozenset[bytes]:
    values = [value for name, value in headers if name.lower() == b"connection"]
    return frozenset(token.strip().lower() for value in values for token in value.split(b","))
