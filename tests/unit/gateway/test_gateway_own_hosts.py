"""By which names the engine's own pages can be reached."""

import pytest
from starlette.responses import PlainTextResponse

from freehold.gateway.own_hosts import OwnHosts

PAGES = OwnHosts(PlainTextResponse("a page"), domain="apps.example.com")
PROXIED = (b"x-forwarded-for", b"203.0.113.9")


async def status(host, *fields):
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", host.encode()), *fields]}
    await PAGES(scope, receive, send)
    return sent[0]["status"]


@pytest.mark.parametrize("host", ["127.0.0.1:8980", "localhost", "mybox:8980", "[::1]:8980", "apps.example.com", "a.tunnel.example.org"])
async def test_whoever_comes_directly_gets_them(host):
    assert await status(host) == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("apps.example.com", 200),
        ("APPS.example.com:443", 200),
        ("10.1.2.3", 200),
        ("[::1]", 200),
        ("mybox", 200),
        ("api.example.com", 404),
        ("api.example.com:443", 404),
        ("gone--app.apps.example.com", 404),
    ],
)
async def test_through_a_proxy_they_are_not_at_the_names_of_functions(host, expected):
    assert await status(host, PROXIED) == expected
