"""One port for HTTPS and HTTP, and the certificates that it shows: real connections over loopback."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import anyio
import pytest
import uvloop
from fakes.asgi_apps import echo
from fakes.gateway import a_gateway

from freehold.domain.clock import SystemClock
from freehold.gateway import doors
from freehold.gateway.certificates import Certificates
from freehold.store.authority import LEAF_LIFE, Authority

OWN = ("localhost", "127.0.0.1")


class Greeting(asyncio.Protocol):
    """Says whether it was reached over TLS, to whoever says anything."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write((b"tls " if self.transport.get_extra_info("sslcontext") else b"plain ") + data)


class MovedClock(SystemClock):
    """TLS libraries know only the real time, so this one begins there."""

    moved = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.moved


class Site:
    def __init__(self, home):
        self.clock = MovedClock()
        self.authority = Authority.open(home, self.clock.now())
        self.ours = {"api.example.com", "one.localhost"}
        self.certificates = Certificates(authority=self.authority, own=OWN, is_ours=self.ours.__contains__, clock=self.clock)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with doors.serving(listener, Greeting, self.certificates.context):
                yield listener.getsockname()[1]

    def trusting(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.authority.path))
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path / "home")


async def talk(port, context=None, name=None):
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
        writer.write(b"hello")
        answer = await reader.read(100)
        chosen = writer.get_extra_info("ssl_object")
        writer.close()
        await writer.wait_closed()
        return answer, chosen


async def test_https_and_http_are_served_on_one_port(site):
    async with site.open() as port:
        assert (await talk(port, site.trusting(), "localhost"))[0] == b"tls hello"
        assert (await talk(port))[0] == b"plain hello"


async def test_http_1_1_is_agreed_upon(site):
    async with site.open() as port:
        _, chosen = await talk(port, site.trusting(), "localhost")
    assert chosen.selected_alpn_protocol() == "http/1.1"
    assert chosen.version() == "TLSv1.3"


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "api.example.com", "one.localhost"])
async def test_each_name_of_ours_has_a_certificate(site, name):
    async with site.open() as port:
        assert (await talk(port, site.trusting(), name))[0] == b"tls hello"


async def test_other_names_have_none(site):
    async with site.open() as port:
        with pytest.raises(ssl.SSLCertVerificationError):
            await talk(port, site.trusting(), "other.example.com")


async def test_a_name_that_is_added_later_has_one_at_once(site):
    async with site.open() as port:
        site.ours.add("later.example.com")
        assert (await talk(port, site.trusting(), "later.example.com"))[0] == b"tls hello"


async def test_who_does_not_trust_us_is_not_served_and_others_are(site):
    async with site.open() as port:
        with pytest.raises(ssl.SSLCertVerificationError):
            await talk(port, ssl.create_default_context(), "localhost")
        assert (await talk(port))[0] == b"plain hello"


async def test_old_versions_of_tls_are_refused(site):
    old = site.trusting()
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
    assert site.certificates.context.minimum_version is ssl.TLSVersion.TLSv1_2
    async with site.open() as port:
        assert (await talk(port, old, "localhost"))[1].version() == "TLSv1.2"


async def test_who_says_nothing_is_in_nobodys_way(site):
    async with site.open() as port:
        silent = socket.create_connection(("127.0.0.1", port))
        gone = socket.create_connection(("127.0.0.1", port))
        gone.close()
        assert (await talk(port))[0] == b"plain hello"
        silent.close()


async def test_of_too_many_who_say_nothing_the_oldest_have_to_go(site, monkeypatch):
    monkeypatch.setattr(doors, "_MOST_UNDECIDED", 2)
    async with site.open() as port:
        first, *others = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        async with asyncio.timeout(30):
            assert await first[0].read() == b"", "it was closed"
        assert (await talk(port, site.trusting(), "localhost"))[0] == b"tls hello"
        for _, writer in (first, *others):
            writer.close()


def test_who_came_in_while_the_doors_were_closed_can_be_spoken_to(site):
    """uvloop and asyncio do not end a cancelled welcome in the same way; the engine runs on uvloop."""
    guests, closings = [], []

    class Guest(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport
            guests.append(self)
            closings[0].cancel()

        def connection_lost(self, exc):
            guests.remove(self)

    async def visit():
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as caller:
            with anyio.CancelScope() as closing:
                closings.append(closing)
                async with doors.serving(listener, Guest, site.certificates.context):
                    caller.connect(listener.getsockname())
                    caller.send(b"hello")
                    await anyio.sleep(10)
            await anyio.sleep(0.05)
            assert closing.cancelled_caught
            for guest in guests:
                guest.transport.write(b"welcome")
                guest.transport.close()

    uvloop.run(visit())


async def test_an_answer_is_not_lost_with_the_rest_of_an_upload(site):
    async with a_gateway(ssl_context=site.certificates.context, http_max_body_bytes=1000) as gateway:
        gateway.calls.deploy("local--site", echo)
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, ssl=site.trusting(), server_hostname="localhost")
        writer.write(b"PUT / HTTP/1.1\r\nHost: local--site.localhost\r\nContent-Length: 50000000\r\n\r\n")
        async with asyncio.timeout(30):
            for _ in range(50):
                writer.write(bytes(1_000_000))
                await writer.drain()
            assert (await reader.read()).startswith(b"HTTP/1.1 413")
        writer.close()


def test_a_certificate_is_kept_and_renewed_before_it_ends(site):
    first = site.certificates.of(("api.example.com",))
    assert site.certificates.of(("api.example.com",)) is first
    site.clock.moved = LEAF_LIFE - timedelta(days=29)
    assert site.certificates.of(("api.example.com",)) is not first
