"""From an address to a function: which label a request means, and the scope as that function's container sees it."""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

from starlette.types import Scope

from freehold.domain.errors import NotFound
from freehold.domain.functions import WebKind, WebRoute, WebTarget
from freehold.domain.web import label_of_host, label_of_path
from freehold.gateway.errors import NotDeployed
from freehold.gateway.heads import Head
from freehold.gateway.ports import Lanes

Headers = Iterable[tuple[bytes, bytes]]

# Hop-by-hop fields (RFC 9110, 7.6.1) describe one connection, not the message.
_HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-authorization", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
# The gateway answers `Expect` and speaks WebSocket itself; who asked is told anew, in `client` and the fields that `_told` writes; the
# proxy token was for the gateway.
_ANSWERED_HERE = frozenset(
    {
        b"expect",
        b"modal-key",
        b"modal-secret",
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-prefix",
        b"x-forwarded-proto",
    }
    | {b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-extensions"}
)
_KNOWN_HOSTS = 4096
_DOC_PATHS = frozenset({"/docs", "/redoc", "/openapi.json"})  # of FastAPI, which wraps an endpoint of one function
# The ASGI specification has `path` include `root_path`. A server of the user's own gets the path alone, and old FastAPI
# versions match on `path` only: an endpoint of one function must work with all of them.
_STRIPPED_KINDS = frozenset({WebKind.FUNCTION, WebKind.SERVER})


@dataclass(frozen=True, slots=True)
class Address:
    """`prefix` is the part of the path that named the function; empty when the host did."""

    label: str
    prefix: str = ""


class Addresses:
    """Which function a host or a path means."""

    def __init__(self, lanes: Lanes[Any], domain: str) -> None:
        self.domain = domain
        self._lanes = lanes
        self._label_of_host = lru_cache(_KNOWN_HOSTS)(partial(label_of_host, domain=domain))

    def find(self, host: str, path: str) -> tuple[Address, WebRoute] | None:
        """None when the gateway itself is meant. Raises NotDeployed."""
        if label := self._label_of_host(host):
            return Address(label), self._route(label)
        if route := self._lanes.route_of_host(host):
            return Address(host), route
        if label := label_of_path(path):
            return Address(label, path[: len(label) + 1]), self._route(label)
        return None

    def _route(self, label: str) -> WebRoute:
        try:
            return self._lanes.route(label)
        except NotFound as error:
            raise NotDeployed(*error.args) from error


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and how."""

    client: tuple[str, int] | None
    scheme: str
    host: bytes


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection. A proxy on this machine is believed about the caller behind it; nobody else is."""

    address: tuple[str, int] | None
    scheme: str
    is_local: bool = field(kw_only=True)
    server: tuple[str, int] | None = None  # our end

    def caller(self, host: bytes, told: Mapping[bytes, bytes]) -> Caller:
        if not self.is_local:
            return Caller(self.address, self.scheme, host)
        forwarded_for = told.get(b"x-forwarded-for", b"").rpartition(b",")[2].strip().decode("latin-1")
        return Caller(
            (forwarded_for, 0) if forwarded_for else self.address,
            _proxied_scheme(self.scheme, told.get(b"x-forwarded-proto", b"").decode("latin-1")),
            told.get(b"x-forwarded-host") or host,
        )


def target_for(target: WebTarget, address: Address, head: Head) -> bytes:
    """The target of a request as its app is to see it: with the prefix, or without."""
    if not address.prefix and target.kind is not WebKind.FUNCTION:
        return head.target
    path, mark, query = head.target.partition(b"?")
    inner = path[len(address.prefix) :] or b"/"
    if target.kind is WebKind.FUNCTION and _is_own_name(target, inner.decode("ascii")):
        inner = b"/"
    elif target.kind not in _STRIPPED_KINDS:
        inner = address.prefix.encode() + inner
    return inner + mark + query


def told_to_container(caller: Caller, address: Address, target: WebTarget) -> bytes:
    """The field lines that say who asked, by which address, and for which method of a class."""
    client = caller.client[0] if caller.client else ""
    lines = b"\r\nx-forwarded-for: %s\r\nx-forwarded-host: %s\r\nx-forwarded-proto: %s" % (
        client.encode("latin-1"),
        caller.host,
        caller.scheme.encode(),
    )
    if address.prefix:
        lines += b"\r\nx-forwarded-prefix: " + address.prefix.encode()
    if target.method_name and target.kind is not WebKind.SERVER:  # to servers of our own
        lines += b"\r\nx-freehold-method: " + target.method_name.encode()
    return lines


def scope_for(target: WebTarget, address: Address, scope: Scope) -> dict[str, Any]:
    """The scope that the function's container gets."""
    visible = {key: scope[key] for key in ("type", "asgi", "http_version", "query_string", "server")}
    for key in ("method", "subprotocols"):  # of a request, of a WebSocket
        if key in scope:
            visible[key] = scope[key]
    caller = _peer(scope).caller(_header(scope, b"host").encode("latin-1"), _joined(scope["headers"]))
    visible |= {"root_path": address.prefix, "scheme": caller.scheme, "client": caller.client, **_paths(target, address, scope)}
    visible["headers"] = [*without_hops(scope["headers"], _ANSWERED_HERE), *_told(caller, address)]
    return visible


def without_hops(headers: Headers, also: frozenset[bytes] = frozenset()) -> Iterator[tuple[bytes, bytes]]:
    """The end-to-end fields: without hop-by-hop ones, those that `Connection` names, and `also`."""
    headers = list(headers)
    dropped = _HOP_BY_HOP | also | _named_by_connection(headers)
    return ((name, value) for name, value in headers if name.lower() not in dropped)


def _proxied_scheme(scheme: str, told: str) -> str:
    return {"http": "https", "ws": "wss"}.get(scheme, scheme) if told.lower() in {"https", "wss"} else scheme


def _peer(scope: Scope) -> Peer:
    client = scope["client"]
    is_local = bool(client) and ipaddress.ip_address(client[0]).is_loopback
    return Peer(tuple(client) if client else None, scope["scheme"], is_local=is_local)


def _told(caller: Caller, address: Address) -> Iterator[tuple[bytes, bytes]]:
    """No X-Forwarded-For: the container's own wrapper adds it for servers, from `client`."""
    yield b"x-forwarded-host", caller.host
    yield b"x-forwarded-proto", b"https" if caller.scheme in {"https", "wss"} else b"http"
    if address.prefix:
        yield b"x-forwarded-prefix", address.prefix.encode("latin-1")


def _paths(target: WebTarget, address: Address, scope: Scope) -> dict[str, Any]:
    inner = scope["path"][len(address.prefix) :] or "/"
    if target.kind is WebKind.FUNCTION and _is_own_name(target, inner):
        return {"path": "/", "raw_path": b"/"}
    if target.kind in _STRIPPED_KINDS:
        return {"path": inner, "raw_path": _without_first_segment(scope["raw_path"]) if address.prefix else scope["raw_path"]}
    return {"path": address.prefix + inner, "raw_path": scope["raw_path"]}


def _is_own_name(target: WebTarget, inner: str) -> bool:
    return inner.rstrip("/") == f"/{target.name}" and inner not in _DOC_PATHS


def _without_first_segment(raw_path: bytes) -> bytes:
    return b"/" + raw_path[1:].partition(b"/")[2]


def _joined(headers: Headers) -> dict[bytes, bytes]:
    """A field that comes twice is one with both values; proxies commonly add theirs as another line."""
    told: dict[bytes, bytes] = {}
    for name, value in headers:
        told[name] = told[name] + b", " + value if name in told else value
    return told


def _header(scope: Scope, wanted: bytes) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), "")


def _named_by_connection(headers: Headers) -> frozenset[bytes]:
    values = [value for name, value in headers if name.lower() == b"connection"]
    return frozenset(token.strip().lower() for value in values for token in value.split(b","))
