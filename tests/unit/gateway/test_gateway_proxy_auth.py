"""What is taken for a proxy token in a request, and what of it goes on."""

import pytest

from freehold.gateway.heads import Head
from freehold.gateway.proxy_auth import credentials


def a_head(*fields):
    return Head("\r\n".join(["GET / HTTP/1.1", "Host: a.localhost", *fields]).encode())


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["Modal-Key: wk-1", "Modal-Secret: ws-2"], ("wk-1", "ws-2")),
        (["modal-key: wk-1"], ("wk-1", "")),
        (["Modal-Secret: ws-2"], ("", "")),
        (["Authorization: Bearer wk-1.ws-2"], ("wk-1", "ws-2")),
        (["authorization: bearer   wk-1.ws-2"], ("wk-1", "ws-2")),
        (["Authorization: Bearer wk-1"], ("wk-1", "")),
        (["Authorization: Basic wk-1.ws-2"], ("", "")),
        (["Authorization: Bearer eyJhbGciOi.J9.x"], ("", "")),
        (["Modal-Key: wk-1", "Modal-Secret: ws-2", "Authorization: Bearer of-the-app"], ("wk-1", "ws-2")),
        ([], ("", "")),
    ],
)
def test_a_token_comes_in_two_forms(fields, expected):
    assert credentials(a_head(*fields)) == expected


def test_a_bearer_that_is_a_proxy_token_goes_no_further():
    head = a_head("Accept: */*", "Authorization: Bearer wk-1.ws-2", "X-Mine: kept")
    credentials(head)
    assert head.field(b"authorization") == b""
    assert b"ws-2" not in head.lines
    assert head.lines == b"\r\nAccept: */*\r\nX-Mine: kept"


def test_a_bearer_of_the_apps_own_is_passed_on():
    head = a_head("Modal-Key: wk-1", "Modal-Secret: ws-2", "Authorization: Bearer of-the-app")
    credentials(head)
    assert head.field(b"authorization") == b"Bearer of-the-app"
    assert b"of-the-app" in head.lines
    assert b"ws-2" not in head.lines
