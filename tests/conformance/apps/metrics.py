"""Things to measure: a function that may fail, a batched one, a web endpoint and a server."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import modal

app = modal.App("metrics")


@app.function()
def divide(number: int, by: int) -> float:
    return number / by


@app.function()
@modal.batched(max_batch_size=4, wait_ms=1000)
def squares(numbers: list[int]) -> list[int]:
    return [number * number for number in numbers]


@app.function()
@modal.fastapi_endpoint()
def page(status: int = 200) -> object:
    from fastapi.responses import PlainTextResponse

    return PlainTextResponse("seen", status)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content = json.dumps({"path": self.path}).encode()
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@app.server(port=8000, unauthenticated=True)
class Site:
    @modal.enter()
    def start(self) -> None:
        threading.Thread(target=ThreadingHTTPServer(("0.0.0.0", 8000), Handler).serve_forever, daemon=True).start()
