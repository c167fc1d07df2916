"""Servers: classes that start an HTTP server of their own, reached directly."""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import modal

app = modal.App("servers")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        seen = {"path": self.path, "task": os.environ["MODAL_TASK_ID"], "forwarded_for": self.headers["x-forwarded-for"]}
        content = json.dumps(seen).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def listen(port: int) -> None:
    threading.Thread(target=ThreadingHTTPServer(("0.0.0.0", port), Handler).serve_forever, daemon=True).start()


@app.server(port=8000, unauthenticated=True, scaledown_window=2)
class Site:
    @modal.enter()
    def start(self) -> None:
        listen(8000)

    @modal.exit()
    def end(self) -> None:
        print("the exit hook has run")


@app.server(port=8000, unauthenticated=True, min_containers=2, scaledown_window=2)
class Two:
    @modal.enter()
    def start(self) -> None:
        listen(8000)


@app.server(port=8000)
class Closed:
    @modal.enter()
    def start(self) -> None:
        listen(8000)


@app.server(port=8000, unauthenticated=True, startup_timeout=2)
class Deaf:
    @modal.enter()
    def start(self) -> None:
        print("nothing listens here")
