"""Web endpoints of every kind. The image has no FastAPI, and the plain ASGI and WSGI apps need none."""

import json
import time
from collections.abc import Callable, Iterable

import modal

app = modal.App("web")


@app.function()
@modal.fastapi_endpoint()
def hello(name: str = "world") -> dict[str, str]:
    return {"hello": name}


@app.function()
@modal.fastapi_endpoint(method="POST")
def predict(item: dict) -> dict[str, float]:
    return {"sum": sum(item["features"])}


@app.function()
@modal.fastapi_endpoint(label="my-own-label")
def labelled() -> str:
    return "found by its label"


@app.function()
@modal.fastapi_endpoint()
def broken_code() -> None:
    message = "this endpoint has a bug"
    raise RuntimeError(message)


@app.function(image=modal.Image.debian_slim().env({"PYTHONHOME": "/nowhere"}))
@modal.fastapi_endpoint()
def cannot_start() -> None:
    pass


@app.cls()
class Greeter:
    @modal.enter()
    def start(self) -> None:
        self.greeting = "good day"

    @modal.fastapi_endpoint()
    def greet(self, name: str) -> str:
        return f"{self.greeting}, {name}"


@app.function()
@modal.concurrent(max_inputs=20)
@modal.asgi_app()
def asgi() -> Callable:
    return _asgi


async def _asgi(scope: dict, receive: Callable, send: Callable) -> None:
    handlers = {"/echo": _echo, "/drip": _drip, "/scope": _scope, "/socket": _socket}
    if scope["type"] != "lifespan":
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        await handlers.get(path, _not_found)(scope, receive, send)


async def _start(send: Callable, status: int = 200) -> None:
    headers = [(b"content-type", b"text/plain"), (b"x-two", b"one"), (b"x-two", b"two")]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _echo(scope: dict, receive: Callable, send: Callable) -> None:
    """Sends each piece of the request's body back as soon as it comes."""
    await _start(send)
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        await send({"type": "http.response.body", "body": message.get("body", b""), "more_body": more})


async def _drip(scope: dict, receive: Callable, send: Callable) -> None:
    import asyncio

    await _start(send)
    for number in range(3):
        await send({"type": "http.response.body", "body": b"drop %d %f\n" % (number, time.time()), "more_body": True})
        await asyncio.sleep(1)
    await send({"type": "http.response.body", "body": b"dry"})


async def _scope(scope: dict, receive: Callable, send: Callable) -> None:
    seen = {
        "method": scope["method"],
        "path": scope["path"],
        "query": scope["query_string"].decode(),
        "headers": {name.decode(): value.decode() for name, value in scope["headers"]},
    }
    await _start(send)
    await send({"type": "http.response.body", "body": json.dumps(seen).encode()})


async def _not_found(scope: dict, receive: Callable, send: Callable) -> None:
    await _start(send, 404)
    await send({"type": "http.response.body", "body": b"the app itself knows no such page"})


async def _socket(scope: dict, receive: Callable, send: Callable) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("text") == "close":
            await send({"type": "websocket.close", "code": 4001, "reason": "as you wish"})
            return
        await send({"type": "websocket.send", **{k: v for k, v in message.items() if k in ("text", "bytes") and v is not None}})


@app.function()
@modal.wsgi_app()
def wsgi() -> Callable:
    def application(environ: dict, start_response: Callable) -> Iterable[bytes]:
        body = environ["wsgi.input"].read()
        start_response("201 Created", [("Content-Type", "text/plain")])
        return [environ["REQUEST_METHOD"].encode(), b" ", environ["PATH_INFO"].encode(), b" ", body]

    return application
