"""Web endpoints of every kind. The image has no FastAPI, and the plain ASGI and WSGI apps need none."""

import asyncio
import json
import os
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


@app.function(max_containers=1)
@modal.concurrent(max_inputs=20)
@modal.asgi_app()
def asgi() -> Callable:
    return _asgi


async def _asgi(scope: dict, receive: Callable, send: Callable) -> None:
    handlers = {"/echo": _echo, "/drip": _drip, "/on": _on, "/scope": _scope, "/socket": _socket}
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


going_on = asyncio.Semaphore(0)


async def _on(scope: dict, receive: Callable, send: Callable) -> None:
    """Lets a response go on that waits for it."""
    going_on.release()
    await _start(send)
    await send({"type": "http.response.body", "body": b""})


async def _drip(scope: dict, receive: Callable, send: Callable) -> None:
    await _start(send)
    for number in range(3):
        await send({"type": "http.response.body", "body": b"drop %d\n" % number, "more_body": True})
        await asyncio.wait_for(going_on.acquire(), 60)
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


@app.cls()
class Mixed:
    @modal.fastapi_endpoint()
    def page(self) -> str:
        return os.environ["MODAL_TASK_ID"]

    @modal.method()
    def work(self, x: int) -> int:
        return x * x


@app.cls()
class Pair:
    @modal.enter()
    def start(self) -> None:
        self.size = 2

    @modal.fastapi_endpoint()
    def first(self) -> str:
        return f"the first of {self.size}"

    @modal.fastapi_endpoint()
    async def second(self) -> str:
        return f"the second of {self.size}"


@app.function(max_containers=1)
@modal.concurrent(max_inputs=20)
@modal.asgi_app()
def tell() -> Callable:
    return _tell


async def _tell(scope: dict, receive: Callable, send: Callable) -> None:
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["word"] = "started"
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    handlers = {"ids": _ids, "state": _state, "events": _events, "on": _on, "forever": _forever}
    await handlers[scope["path"].split("/")[1]](scope, receive, send)


async def _ids(scope: dict, receive: Callable, send: Callable) -> None:
    seen = {"input": modal.current_input_id(), "call": modal.current_function_call_id()}
    print(f"input {seen['input']} says so")
    await _start(send)
    await send({"type": "http.response.body", "body": json.dumps(seen).encode()})


async def _state(scope: dict, receive: Callable, send: Callable) -> None:
    await _start(send)
    await send({"type": "http.response.body", "body": scope["state"]["word"].encode()})


async def _events(scope: dict, receive: Callable, send: Callable) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for number in range(3):
        await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
        await asyncio.wait_for(going_on.acquire(), 60)
    await send({"type": "http.response.body", "body": b""})


async def _forever(scope: dict, receive: Callable, send: Callable) -> None:
    caller = scope["path"].split("/")[2]
    print(f"{caller} waits")
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        print(f"{caller} was cancelled")
        raise


@app.cls(scaledown_window=2)
class Leaving:
    @modal.asgi_app(label="web-leaving")
    def site(self) -> Callable:
        return _leaving

    @modal.exit()
    def end(self) -> None:
        print("the exit hook has run")


async def _leaving(scope: dict, receive: Callable, send: Callable) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("the lifespan has ended")
        await send({"type": "lifespan.shutdown.complete"})
        return
    await _start(send)
    await send({"type": "http.response.body", "body": b"soon"})


@app.function()
@modal.concurrent(max_inputs=20)
@modal.web_server(8000)
def own_server() -> None:
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            seen = {"method": self.command, "path": self.path, "body": body, "headers": dict(self.headers)}
            content = json.dumps(seen).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    threading.Thread(target=ThreadingHTTPServer(("0.0.0.0", 8000), Handler).serve_forever, daemon=True).start()
