"""Who jobs are delivered to: an HTTP server on loopback that says what it is told to, and remembers what it was sent."""

import base64
import contextlib
import hashlib
import hmac
import json
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
    """`answers` are given one a request, the last one for ever: a status, a status with headers, or seconds to say nothing."""

    def __init__(self, *answers):
        self.answers = list(answers) or [204]
        self.received = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook?token=t"

    def _handler(receiver):  # noqa: N805  # two selves
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.received.append(Received(self.path, headers, body))
                self._answer(receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0])

            def _answer(self, answer):
                if isinstance(answer, float):
                    time.sleep(answer)
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

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
