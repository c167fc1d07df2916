"""One webhook request: signed after the Standard Webhooks specification, and to public addresses only.

The request is written by hand over one connection, because the address that is checked must be the address that is connected to (a name
may mean another one a moment later), and because nothing of the answer but its status is wanted: no redirect is followed, no proxy asked.
"""

import asyncio
import base64
import binascii
import functools
import hashlib
import hmac
import ipaddress
import socket
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import pydantic_core

from modalkit import __version__

_PREFIX = "whsec_"
_SHORTEST_KEY = 16  # bytes; the specification asks for 24 to 64, others issue fewer
_MAX_HEADERS = 100
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # what IPv6 has given out; the rest carries IPv4 in some way, or nothing
_TRY_AGAIN = {408, 409, 425, 429}
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class RefusedError(Exception):
    """The receiver, or this side, will not have this webhook, however often it is sent."""


class TryAgainError(Exception):
    """Another try may succeed, after `pause` seconds if the receiver said so."""

    def __init__(self, detail: str, pause: float = 0.0) -> None:
        super().__init__(detail)
        self.pause = pause


@dataclass(frozen=True, slots=True)
class Target:
    """Where a webhook goes."""

    scheme: str
    host: str
    port: int
    path: str  # with the query

    def __str__(self) -> str:
        """Without the query, where receivers keep their secrets."""
        return f"{self.scheme}://{self.netloc}{self.path.partition('?')[0]}"

    @property
    def netloc(self) -> str:
        is_usual = self.port == (443 if self.scheme == "https" else 80)
        return self.host if is_usual else f"{self.host}:{self.port}"


def read_url(url: str, *, allow_private: bool = False) -> Target:
    """What an address says. Raises ValueError: no http(s), with a password, or an address that is not public."""
    read = pydantic_core.Url(url)  # as browsers read it: 0x7f.1 is 127.0.0.1
    if read.scheme not in ("http", "https") or not read.host:
        msg = "write https://host/path"
        raise ValueError(msg)
    if read.username or read.password:
        msg = "no user or password in it, please"
        raise ValueError(msg)
    port = read.port or (443 if read.scheme == "https" else 80)
    target = Target(read.scheme, read.host, port, (read.path or "/") + (f"?{read.query}" if read.query else ""))
    with suppress(_NotAnAddressError):
        _check_public(_address_of(target.host), allow_private=allow_private)
    return target


def keys_of(text: str) -> list[bytes]:
    """The keys in an environment variable, separated by spaces. Raises ValueError, without saying them."""
    if not text.split():
        msg = "is not set"
        raise ValueError(msg)
    return [_key_of(secret) for secret in text.split()]


def sign(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: one signature a key, so that keys can be changed without a gap."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digests = (hmac.new(key, signed, hashlib.sha256).digest() for key in keys)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


async def post(target: Target, body: bytes, *, message_id: str, keys: Sequence[bytes], allow_private: bool) -> None:
    """Sends one webhook. Raises RefusedError, or TryAgainError and OSError where another try may succeed. Has no time limit of its own."""
    addresses = await _addresses(target, allow_private=allow_private)
    timestamp = int(time.time())
    head = _head(target, body, {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(keys, message_id, timestamp, body),
    })  # fmt: skip
    reader, writer = await _connect(target, addresses)
    try:
        writer.write(head + body)
        await writer.drain()
        _judge(*await _answer(reader))
    finally:
        writer.transport.abort()  # nothing more is wanted of it


def _judge(status: int, retry_after: str) -> None:
    if 200 <= status < 300:  # noqa: PLR2004
        return
    if status in _TRY_AGAIN or status >= 500:  # noqa: PLR2004
        msg = f"answered {status}"
        raise TryAgainError(msg, float(retry_after) if retry_after.isdecimal() else 0.0)
    why = "; redirects are not followed" if 300 <= status < 400 else ""  # noqa: PLR2004
    msg = f"answered {status}{why}"
    raise RefusedError(msg)


async def _connect(target: Target, addresses: Sequence[str]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    secured = {"ssl": _tls(), "server_hostname": target.host.strip("[]")} if target.scheme == "https" else {}
    for address in addresses[:-1]:
        with suppress(OSError):
            return await asyncio.open_connection(address, target.port, **secured)  # type: ignore[arg-type]
    return await asyncio.open_connection(addresses[-1], target.port, **secured)  # type: ignore[arg-type]


async def _addresses(target: Target, *, allow_private: bool) -> list[str]:
    """The addresses of the host that may be connected to."""
    found = await asyncio.get_running_loop().getaddrinfo(target.host.strip("[]"), target.port, type=socket.SOCK_STREAM)
    addresses = [_address_of(str(each[4][0]).partition("%")[0]) for each in found]
    public = [str(address) for address in addresses if allow_private or _is_public(address)]
    if not public:
        msg = f"{target.host} has no public address"
        raise RefusedError(msg)
    return public


async def _answer(reader: asyncio.StreamReader) -> tuple[int, str]:
    """The status and `Retry-After` of the answer; what it says first (1xx) is passed over."""
    while True:
        words = (await reader.readline()).split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():  # noqa: PLR2004
            msg = "answered with something that is not HTTP"
            raise TryAgainError(msg)
        headers = await _headers(reader)
        if (status := int(words[1])) >= 200:  # noqa: PLR2004
            return status, headers.get(b"retry-after", b"").decode("latin-1")


async def _headers(reader: asyncio.StreamReader) -> dict[bytes, bytes]:
    headers = {}
    for _ in range(_MAX_HEADERS):
        name, _, value = (await reader.readline()).partition(b":")
        if not name.strip():
            break
        headers[name.strip().lower()] = value.strip()
    return headers


def _head(target: Target, body: bytes, headers: dict[str, str]) -> bytes:
    said = {
        "Host": target.netloc,
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "User-Agent": f"modalkit/{__version__}",
        "Connection": "close",
        **headers,
    }
    lines = [f"POST {target.path} HTTP/1.1", *(f"{name}: {value}" for name, value in said.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


@functools.cache
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    with suppress(ImportError):  # slim images have no authorities of their own
        import certifi  # noqa: PLC0415

        context.load_verify_locations(certifi.where())
    return context


def _key_of(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True) if secret.startswith(_PREFIX) else secret.encode()
    except binascii.Error:
        msg = "is whsec_ with something that is not base64"
        raise ValueError(msg) from None
    if len(key) < _SHORTEST_KEY:
        msg = f"is shorter than {_SHORTEST_KEY} bytes"
        raise ValueError(msg)
    return key


class _NotAnAddressError(Exception):
    pass


def _address_of(host: str) -> _Address:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError as error:
        raise _NotAnAddressError from error


def _check_public(address: _Address, *, allow_private: bool) -> None:
    if not allow_private and not _is_public(address):
        msg = f"{address} is no public address"
        raise ValueError(msg)


def _is_public(address: _Address) -> bool:
    """Whether it is an address of the internet, also behind the forms in which IPv6 carries one of IPv4."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is not None:
            return _is_public(inner)
        if address not in _GLOBAL_UNICAST:
            return False
    return address.is_global and not address.is_multicast
