"""What the container's scope says about the caller, where the peer decides whom to believe."""

import pytest

from freehold.domain.functions import WebKind, WebTarget
from freehold.domain.ids import new_app_id, new_function_id
from freehold.gateway.routing import Address, scope_for

TOLD = [(b"host", b"x"), (b"x-forwarded-for", b"192.0.2.7"), (b"x-forwarded-proto", b"https"), (b"x-forwarded-host", b"api.example.org")]


def a_scope(peer: str, kind: str = "http"):
    common = {"type": kind, "asgi": {}, "http_version": "1.1", "query_string": b"", "server": ("127.0.0.1", 8980), "root_path": ""}
    return common | {
        "client": (peer, 5000),
        "scheme": "ws" if kind == "websocket" else "http",
        "path": "/",
        "raw_path": b"/",
        "headers": TOLD,
    }


def seen(scope):
    target = WebTarget(function_id=new_function_id(), app_id=new_app_id(), name="f", kind=WebKind.ASGI)
    return scope_for(target, Address("local--f"), scope)


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1"])
def test_a_proxy_on_this_machine_speaks_for_its_caller(peer):
    scope = seen(a_scope(peer))

    assert (scope["client"], scope["scheme"]) == (("192.0.2.7", 0), "https")
    assert (b"x-forwarded-host", b"api.example.org") in scope["headers"]


def test_a_peer_elsewhere_speaks_for_itself_only():
    scope = seen(a_scope("198.51.100.4"))

    assert (scope["client"], scope["scheme"]) == (("198.51.100.4", 5000), "http")
    assert (b"x-forwarded-host", b"x") in scope["headers"]
    assert (b"x-forwarded-proto", b"http") in scope["headers"]


def test_a_websocket_behind_tls_is_a_wss():
    scope = seen(a_scope("127.0.0.1", "websocket"))

    assert scope["scheme"] == "wss"
    assert (b"x-forwarded-proto", b"https") in scope["headers"]
