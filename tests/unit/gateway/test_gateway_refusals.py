"""Requests that could be read in two ways, as the public literature on HTTP desynchronisation has them, and what each is answered.

A container never hears of a refused one, and what follows it on its connection is not read.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fakes.gateway import DEADLINE, a_gateway
from fakes.lanes import FakeLanes

LABEL = "local--iris-predict"
HOST = f"Host: {LABEL}.localhost"
POST = f"POST / HTTP/1.1\r\n{HOST}\r\n"
GET = f"GET / HTTP/1.1\r\n{HOST}\r\n"
SMUGGLED = f"GET /smuggled HTTP/1.1\r\n{HOST}\r\n\r\n"


class Container:
    """Answers each request head that it gets with 200, and remembers them."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []

    async def speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heads.append(head)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def a_site(tmp_path, **settings) -> AsyncIterator[tuple[int, Container]]:
    container, lanes = Container(), FakeLanes()
    path = tmp_path / "http.sock"
    async with await asyncio.start_unix_server(container.speak, path), a_gateway(lanes=lanes, **settings) as gateway:
        lanes.deploy(LABEL, str(path))
        yield gateway.port, container


async def answer_to(port: int, *pieces: str | bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(DEADLINE):
            for piece in pieces:
                writer.write(piece if isinstance(piece, bytes) else piece.encode("latin-1"))
                await writer.drain()
            return await reader.read(65536)
    except ConnectionError:
        return b""
    finally:
        writer.close()


CASES = {
    # Two lengths.
    "CL.CL, different": (POST + "Content-Length: 6\r\nContent-Length: 5\r\n\r\n12345G", 400),
    "CL.CL, the same": (POST + "Content-Length: 5\r\nContent-Length: 5\r\n\r\n12345", 400),
    "CL as a list": (POST + "Content-Length: 5, 5\r\n\r\n12345", 400),
    "CL.TE": (POST + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", 400),
    "TE.CL": (POST + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\nGPOST\r\n0\r\n\r\n", 400),
    "CL with a sign": (POST + "Content-Length: +5\r\n\r\n12345", 400),
    "CL below zero": (POST + "Content-Length: -1\r\n\r\n", 400),
    "CL in hexadecimal": (POST + "Content-Length: 0x5\r\n\r\n12345", 400),
    "CL with an underscore": (POST + "Content-Length: 1_0\r\n\r\n1234567890", 400),
    "CL with a fraction": (POST + "Content-Length: 5.0\r\n\r\n12345", 400),
    "CL with a space inside": (POST + "Content-Length: 1 0\r\n\r\n1234567890", 400),
    "CL empty": (POST + "Content-Length:\r\n\r\n", 400),
    "CL beyond every integer": (POST + "Content-Length: 99999999999999999999\r\n\r\n", 400),
    "CL in other digits": (POST + "Content-Length: \xb2\r\n\r\n12", 400),
    "CL by a name that some take for it": (POST + "Content_Length: 5\r\n\r\n12345", 400),
    # Transfer-Encoding that one reader sees and another does not.
    "TE twice": (POST + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "TE twice, one unknown": (POST + "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n", 400),
    "TE xchunked": (POST + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "TE identity": (POST + "Transfer-Encoding: identity\r\n\r\n", 400),
    "TE gzip, chunked": (POST + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "TE chunked, identity": (POST + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    "TE quoted": (POST + 'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 400),
    "TE with a parameter": (POST + "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", 400),
    "TE empty": (POST + "Transfer-Encoding:\r\n\r\n", 400),
    "TE after a vertical tab": (POST + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    "TE with a space before the colon": (POST + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    "TE with a tab before the colon": (POST + "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", 400),
    "TE behind a space": (POST + " Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "TE folded": (POST + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400),
    "TE behind a bare CR": (POST + "X: x\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "TE behind a bare LF": (POST + "X: x\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "TE with an underscore": (POST + "Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "TE in HTTP/1.0": (f"POST / HTTP/1.0\r\n{HOST}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "TE with NUL": (POST + "Transfer-Encoding: chunked\x00\r\n\r\n0\r\n\r\n", 400),
    # Chunks.
    "chunk size with 0x": (POST + "Transfer-Encoding: chunked\r\n\r\n0x5\r\n12345\r\n0\r\n\r\n", 400),
    "chunk size with a sign": (POST + "Transfer-Encoding: chunked\r\n\r\n+5\r\n12345\r\n0\r\n\r\n", 400),
    "chunk size with an underscore": (POST + "Transfer-Encoding: chunked\r\n\r\n1_0\r\n12345\r\n0\r\n\r\n", 400),
    "chunk size empty": (POST + "Transfer-Encoding: chunked\r\n\r\n\r\n12345\r\n0\r\n\r\n", 400),
    "chunk size that overflows": (POST + "Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\n12345\r\n0\r\n\r\n", 400),
    "chunk size before a space": (POST + "Transfer-Encoding: chunked\r\n\r\n5 \r\n12345\r\n0\r\n\r\n", 400),
    "chunk longer than its size": (POST + "Transfer-Encoding: chunked\r\n\r\n5\r\n123456\r\n0\r\n\r\n", 400),
    "chunk ended by a bare LF": (POST + "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\n0\r\n\r\n", 400),
    "chunk size ended by a bare LF": (POST + "Transfer-Encoding: chunked\r\n\r\n5\n12345\r\n0\r\n\r\n", 400),
    "chunk extension with a bare LF": (POST + "Transfer-Encoding: chunked\r\n\r\n5;x\n12345\r\n0\r\n\r\n", 400),
    "chunk extension with a bare CR": (POST + "Transfer-Encoding: chunked\r\n\r\n5;x\ry\r\n12345\r\n0\r\n\r\n", 400),
    "chunk extension of great length": (POST + "Transfer-Encoding: chunked\r\n\r\n5;" + "x" * 2000 + "\r\n12345\r\n0\r\n\r\n", 400),
    "trailing field that is folded": (POST + "Transfer-Encoding: chunked\r\n\r\n0\r\nX: 1\r\n 2\r\n\r\n", 400),
    "trailing field without a colon": (POST + "Transfer-Encoding: chunked\r\n\r\n0\r\nGET / HTTP/1.1\r\n\r\n", 400),
    # Lines and fields.
    "lines ended by bare LFs": (f"GET / HTTP/1.1\n{HOST}\n\n", 400),
    "bare CR as an end": (f"GET / HTTP/1.1\r{HOST}\r\n\r\n", 400),
    "obsolete folding": (GET + "X: a\r\n b\r\n\r\n", 400),
    "folding of the first field": (f"GET / HTTP/1.1\r\n {HOST}\r\n\r\n", 400),
    "NUL in a value": (GET + "X: a\x00b\r\n\r\n", 400),
    "control character in a value": (GET + "X: a\x08b\r\n\r\n", 400),
    "DEL in a value": (GET + "X: a\x7fb\r\n\r\n", 400),
    "field without a colon": (GET + "Transfer-Encoding chunked\r\n\r\n", 400),
    "field without a name": (GET + ": x\r\n\r\n", 400),
    "bracket in a name": (GET + "X[]: x\r\n\r\n", 400),
    "letters beyond ASCII in a name": (GET + "X\xe9: x\r\n\r\n", 400),
    "too many fields": (GET + "X: y\r\n" * 300 + "\r\n", 431),
    "an address without end": ("GET /" + "a" * 200_000, 431),
    # Whose request it is.
    "no Host": ("GET / HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (GET + "Host: local--other.localhost\r\n\r\n", 400),
    "two equal Hosts": (GET + HOST + "\r\n\r\n", 400),
    "Host with a path": ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "Host with credentials": ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
    "Host as a list": ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    "Host with a port of letters": ("GET / HTTP/1.1\r\nHost: a:http\r\n\r\n", 400),
    "absolute form of another host": (f"GET http://local--other.localhost/ HTTP/1.1\r\n{HOST}\r\n\r\n", 400),
    "absolute form with credentials": (f"GET http://x@{LABEL}.localhost/ HTTP/1.1\r\n{HOST}\r\n\r\n", 400),
    "absolute form of another scheme": (f"GET file:///etc/passwd HTTP/1.1\r\n{HOST}\r\n\r\n", 400),
    # The first line.
    "CONNECT": (f"CONNECT {LABEL}.localhost:443 HTTP/1.1\r\n{HOST}\r\n\r\n", 400),
    "CONNECT to a path, whose body some do not see": (f"CONNECT / HTTP/1.1\r\n{HOST}\r\nContent-Length: 5\r\n\r\n12345", 400),
    "CONNECT to a URL": (f"CONNECT http://{LABEL}.localhost/ HTTP/1.1\r\n{HOST}\r\n\r\n", 400),
    "an asterisk": (f"OPTIONS * HTTP/1.1\r\n{HOST}\r\n\r\n", 400),
    "a path without a slash": (f"GET path HTTP/1.1\r\n{HOST}\r\n\r\n", 400),
    "a fragment": (f"GET /#x HTTP/1.1\r\n{HOST}\r\n\r\n", 400),
    "a space in the target": (f"GET /a b HTTP/1.1\r\n{HOST}\r\n\r\n", 400),
    "two spaces": (f"GET  / HTTP/1.1\r\n{HOST}\r\n\r\n", 400),
    "a tab for a space": (f"GET\t/ HTTP/1.1\r\n{HOST}\r\n\r\n", 400),
    "bytes beyond ASCII in the target": (f"GET /\xe9 HTTP/1.1\r\n{HOST}\r\n\r\n", 400),
    "a method in small letters": (f"get / HTTP/1.1\r\n{HOST}\r\n\r\n", 400),
    "HTTP/0.9": ("GET /\r\n\r\n", 400),
    "HTTP/1.2": (f"GET / HTTP/1.2\r\n{HOST}\r\n\r\n", 505),
    "the preface of HTTP/2": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "a version of two digits": (f"GET / HTTP/1.10\r\n{HOST}\r\n\r\n", 400),
    "a version in small letters": (f"GET / http/1.1\r\n{HOST}\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "an expectation that nobody knows": (POST + "Content-Length: 1\r\nExpect: tea\r\n\r\n1", 417),
}


@pytest.mark.parametrize(("request_", "status"), CASES.values(), ids=CASES.keys())
async def test_it_is_refused_and_nobody_hears_of_it(tmp_path, request_, status):
    whole = request_ if isinstance(request_, bytes) else request_.encode("latin-1")
    async with a_site(tmp_path) as (port, container):
        answer = await answer_to(port, whole + SMUGGLED.encode())
        assert answer.startswith(b"HTTP/1.1 %d " % status), answer
        assert answer.count(b"\r\n\r\n") == 1, "what follows is not read"
        assert b"connection: close" in answer
        assert b'"detail"' in answer
        assert not any(b"smuggled" in head for head in container.heads)


PASSES = {
    "absolute form": (f"GET http://{LABEL}.localhost/x?y HTTP/1.1\r\n{HOST}\r\n\r\n", b"GET /x?y HTTP/1.1\r\n"),
    "absolute form without a path": (f"GET http://{LABEL}.localhost HTTP/1.1\r\n{HOST}\r\n\r\n", b"GET / HTTP/1.1\r\n"),
    "an empty line first": (f"\r\n{GET}\r\n", b"GET / HTTP/1.1\r\n"),
    "a space and a tab around a value": (GET + "X: \t a \r\n\r\n", b"X: \t a"),
    "letters beyond ASCII in a value": (GET + "X: \xe9\r\n\r\n", b"X: \xe9"),
    "a method of one's own": (f"PURGE / HTTP/1.1\r\n{HOST}\r\n\r\n", b"PURGE / HTTP/1.1\r\n"),
    "Host without a port, in capitals": (f"GET / HTTP/1.1\r\nHost: {LABEL.upper()}.LOCALHOST\r\n\r\n", b"GET / "),
    "h2c, which is passed over": (GET + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n", b"GET / "),
}


@pytest.mark.parametrize(("request_", "expected"), PASSES.values(), ids=PASSES.keys())
async def test_what_is_merely_unusual_passes(tmp_path, request_, expected):
    async with a_site(tmp_path) as (port, container):
        assert (await answer_to(port, request_)).startswith(b"HTTP/1.1 200 ")
    assert expected in container.heads[0]
    assert b"pgrade" not in container.heads[0]
    assert b"settings" not in container.heads[0].lower()


async def test_fields_that_connection_names_do_not_take_what_the_gateway_says(tmp_path):
    """`Connection` may take away fields of the message, not the frame of it and not who asked."""
    named = "Connection: close, X-Forwarded-For, X-Freehold-Ids, Host, Content-Length, X-Mine\r\nX-Mine: 1\r\nContent-Length: 0\r\n\r\n"
    async with a_site(tmp_path) as (port, container):
        await answer_to(port, POST + named)
    head = container.heads[0].lower()
    assert all(name in head for name in (b"x-forwarded-for:", b"x-freehold-ids: in-", b"host:", b"content-length: 0"))
    assert b"x-mine" not in head


async def test_chunks_are_written_anew_without_extensions_and_trailers(tmp_path):
    body = "4;name=value\r\nabcd\r\n0\r\nX-Sum: 1\r\n\r\n"
    seen = bytearray()

    async def speak(reader, writer):
        while b"0\r\n\r\n" not in seen:
            seen.extend(await reader.read(65536))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.read()
        writer.close()

    lanes = FakeLanes()
    async with await asyncio.start_unix_server(speak, tmp_path / "s"), a_gateway(lanes=lanes) as gateway:
        lanes.deploy(LABEL, str(tmp_path / "s"))
        assert (await answer_to(gateway.port, POST + "Transfer-Encoding: chunked\r\n\r\n" + body)).startswith(b"HTTP/1.1 200")
    assert seen.partition(b"\r\n\r\n")[2] == b"4\r\nabcd\r\n0\r\n\r\n"


class TestLimits:
    async def test_a_body_above_the_limit_is_refused(self, tmp_path):
        async with a_site(tmp_path, http_max_body_bytes=10) as (port, container):
            assert (await answer_to(port, POST + "Content-Length: 11\r\n\r\n12345678901")).startswith(b"HTTP/1.1 413")
            assert not container.heads
            chunks = "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n6\r\n123456\r\n0\r\n\r\n"
            assert (await answer_to(port, POST + chunks)).startswith(b"HTTP/1.1 413")
            assert (await answer_to(port, POST + "Content-Length: 10\r\n\r\n1234567890")).startswith(b"HTTP/1.1 200")

    async def test_a_head_that_does_not_end_is_given_up(self, tmp_path):
        async with a_site(tmp_path, http_head_timeout=0.3) as (port, _):
            assert (await answer_to(port, GET)).startswith(b"HTTP/1.1 408")

    async def test_a_head_that_does_not_end_is_given_up_also_after_a_request(self, tmp_path):
        async with a_site(tmp_path, http_head_timeout=0.3) as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            async with asyncio.timeout(DEADLINE):
                writer.write(f"{GET}\r\n{GET}".encode())
                answer = await reader.read()
            writer.close()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"okHTTP/1.1 408 " in answer

    async def test_a_body_that_makes_no_progress_is_given_up(self, tmp_path):
        async def speak(reader, writer):
            await reader.read()
            writer.close()

        lanes = FakeLanes()
        async with await asyncio.start_unix_server(speak, tmp_path / "s"), a_gateway(lanes=lanes, http_body_timeout=0.3) as gateway:
            lanes.deploy(LABEL, str(tmp_path / "s"))
            assert (await answer_to(gateway.port, POST + "Content-Length: 10\r\n\r\nhalf")).startswith(b"HTTP/1.1 408")
            assert not lanes.lanes[0].booked

    async def test_more_connections_than_there_may_be_are_told_so(self, tmp_path):
        async with a_site(tmp_path, http_connections=2) as (port, _):
            kept = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            assert (await answer_to(port, f"{GET}\r\n")).startswith(b"HTTP/1.1 429")
            kept[0][1].close()
            async with asyncio.timeout(DEADLINE):  # it is seen a moment later
                while not (await answer_to(port, f"{GET}\r\n")).startswith(b"HTTP/1.1 200"):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            kept[1][1].close()
