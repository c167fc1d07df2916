"""Who jobs are delivered to: an HTTP server that says what it is told to, and remembers what it was sent."""

import base64
import contextlib
import hashlib
import hmac
import json
import socket
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = "whsec_" + base64.b64encode(b"a secret of twenty-four b").decode()


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def job(self):
        return json.loads(self.body)

    def is_signed_with(self, secret):
        """As the Standard Webhooks specification says, written down a second time."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = b".".join([self.headers["webhook-id"].encode(), self.headers["webhook-timestamp"].encode(), self.body])
        wanted = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        is_fresh = abs(int(self.headers["webhook-timestamp"]) - time.time()) < 300
        return is_fresh and wanted in self.headers["webhook-signature"].split()


class Receiver:
    """`answers` are given one a request, the last one for ever: a status, a status with headers, seconds to say nothing, or a barrier at
    which requests wait for each other.

    It listens on loopback, or where it is given a socket that does.
    """

    def __init__(self, *answers, listener=None):
        self.answers = list(answers) or [204]
        self.received = []
        listener = listener or socket.create_server(("127.0.0.1", 0))
        self._server = serving(listener, self._handler())
        self.url = "http://{}:{}/hook?token=t".format(*listener.getsockname())

    def _handler(receiver):  # noqa: N805  # two selves
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.received.append(Received(self.path, headers, body))
                self._answer(receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0])

            def _answer(self, answer):
                receiver._wait(answer)
                if isinstance(answer, float):
                    time.sleep(answer)
                    answer = 204
                if isinstance(answer, threading.Barrier):
                    answer.wait()
                    answer = 204
                status, headers = answer if isinstance(answer, tuple) else (answer, {})
                with contextlib.suppress(OSError):  # it did not wait
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.end_headers()

            def log_message(self, *_):
                pass

        return Handler

    def _wait(self, answer):
        """Before it answers; for tests that say when."""

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def serving(listener, handler):
    """An HTTP server on a socket that listens already."""
    server = ThreadingHTTPServer(listener.getsockname(), handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.daemon_threads = True
    return server
