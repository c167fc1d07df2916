"""Pages of functions do not share an origin with the engine's own."""

import pytest
from fakes.asgi_apps import echo
from fakes.gateway import a_gateway

NAVIGATES = {"Sec-Fetch-Mode": "navigate"}


async def asked(path, *, host="127.0.0.1", headers=NAVIGATES, **settings):
    """Status and address that a request by path is answered with."""
    async with a_gateway(**settings) as gateway:
        gateway.calls.deploy("local--shop-api", echo)
        given = {"Host": f"{host}:{gateway.port}", **headers}
        async with gateway.http.get(gateway.url + path, headers=given, allow_redirects=False) as answer:
            return answer.status, answer.headers.get("location", "").replace(str(gateway.port), "PORT")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_a_browser_is_shown_a_page_at_the_functions_own_host(host):
    assert await asked("/local--shop-api/a%20b?x=1", host=host) == (307, "http://local--shop-api.localhost:PORT/a%20b?x=1")


async def test_the_bare_path_is_the_root_there():
    assert await asked("/local--shop-api") == (307, "http://local--shop-api.localhost:PORT/")


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Mode": "cors"}])
async def test_programs_and_scripts_stay(headers):
    assert (await asked("/local--shop-api", headers=headers))[0] != 307


@pytest.mark.parametrize("host", ["192.0.2.7", "gpubox"])
async def test_who_could_not_find_that_host_stays(host):
    assert (await asked("/local--shop-api", host=host))[0] != 307


async def test_at_a_domain_of_the_owners():
    there = await asked("/local--shop-api/", host="ml.example.com", domain="ml.example.com")
    assert there == (307, "http://local--shop-api.ml.example.com:PORT/")


async def test_a_path_that_looks_like_another_host_stays_a_path():
    assert await asked("/local--shop-api//evil.example/") == (307, "http://local--shop-api.localhost:PORT//evil.example/")
