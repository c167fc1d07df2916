"""`modalkit invoke`: one prediction."""

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import click

from modalkit._cli.files import app_file
from modalkit.errors import ModalKitError

ROUTE = "/predict_sync"
ROUTES = (ROUTE, "/predict_batch", "/predict_async", "/predict_stream", "/infer")  # that an address may name itself
REFUSED, FAILED = 4, 5  # exit status for 4xx and 5xx


@dataclass(frozen=True)
class Question:
    """One request for a prediction."""

    body: bytes
    model: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    timeout: float = 300.0  # seconds

    @classmethod
    def of(cls, data: str, *, model: str, headers: Sequence[str], timeout: float) -> "Question":
        """From the words of a command line. Raises ModalKitError: no JSON, no such file, no header."""
        return cls(_json_of(data), model, dict(map(_header, headers)), timeout)

    def url(self, base: str) -> str:
        """Where it goes: the prediction route of a service, unless the address names a route already."""
        parts = urlsplit(base)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            msg = f"{base} is no address of a service: it begins with http:// or https://."
            raise ModalKitError(msg)
        path = parts.path.rstrip("/")
        path = path if path.endswith(ROUTES) else path + ROUTE
        return parts._replace(path=path, query=self.query or parts.query, fragment="").geturl()

    def request(self, base: str) -> tuple[str, dict[str, str]]:
        """Where it goes and with which headers. Names under `localhost` are this machine's, also where it does not know them (RFC 6761)."""
        url = self.url(base)
        parts = urlsplit(url)
        if parts.scheme != "http" or not (parts.hostname or "").endswith(".localhost"):
            return url, self.all_headers
        port = f":{parts.port}" if parts.port else ""
        return parts._replace(netloc=f"127.0.0.1{port}").geturl(), {**self.all_headers, "Host": parts.netloc}

    @property
    def query(self) -> str:
        return urlencode({"model_name": self.model}) if self.model else ""

    @property
    def all_headers(self) -> dict[str, str]:
        return {"Content-Type": "application/json", **self.headers}


def ask(target: str, question: Question, *, function: str) -> int:
    """Prints the answer, or the problem on standard error; the exit status. Raises ModalKitError: not reached, no such app."""
    status, body = _of_url(target, question) if "://" in target else _of_app(target, question, function)
    if 200 <= status < 300:  # noqa: PLR2004
        click.echo(_pretty(body))
        return 0
    click.echo(readable(status, body), err=True)
    return FAILED if status >= 500 else REFUSED  # noqa: PLR2004


def readable(status: int, body: bytes) -> str:
    """A problem (RFC 9457) in words; another body as it is."""
    try:
        problem = json.loads(body)
    except ValueError:
        return f"{status}: {body[:2000].decode(errors='replace').strip() or 'no body'}"
    if not isinstance(problem, dict) or "detail" not in problem:
        return f"{status}: {json.dumps(problem)[:2000]}"
    lines = [f"{status} {problem.get('title', '')}".rstrip() + f": {problem['detail']}"]
    faults = problem.get("errors") or []
    if len(faults) > 1:
        lines += [f"  {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults]
    if error_id := problem.get("error_id"):
        lines.append(f"  The log of the container has more under {error_id}.")
    return "\n".join(lines)


def _of_url(url: str, question: Question) -> tuple[int, bytes]:
    target, headers = question.request(url)
    request = urllib.request.Request(target, question.body, headers, method="POST")  # noqa: S310  # http(s), checked
    try:
        with urllib.request.urlopen(request, timeout=question.timeout) as answer:  # noqa: S310
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except TimeoutError:
        msg = f"{url} gave no answer within {question.timeout:g} s."
        raise ModalKitError(msg) from None
    except urllib.error.URLError as error:
        msg = f"{url} cannot be reached: {error.reason}."
        raise ModalKitError(msg) from None
    except (OSError, ValueError) as error:
        msg = f"{url} gave no answer: {error}."
        raise ModalKitError(msg) from None


def _of_app(target: str, question: Question, function: str) -> tuple[int, bytes]:
    if not target.endswith(".py") and not Path(target).exists():
        msg = f"{target} is neither a file nor an address, which begins with http:// or https://."
        raise ModalKitError(msg)
    path = app_file(target)
    from modalkit._cli.apps import in_words, load_app, web_function  # noqa: PLC0415  # an address needs neither modal nor an app
    from modalkit.testing import TestClient  # noqa: PLC0415

    module = load_app(path)
    with in_words(path), TestClient(module, function=web_function(module, function)) as client:
        url = f"{ROUTE}?{question.query}".rstrip("?")
        answer = client.post(url, content=question.body, headers=question.all_headers)
        return answer.status_code, answer.content


def _json_of(data: str) -> bytes:
    text = _text_of(data)
    try:
        json.loads(text)
    except ValueError as error:
        msg = f"The input is no JSON: {error}."
        raise ModalKitError(msg) from None
    return text.encode()


def _text_of(data: str) -> str:
    if data == "-":
        return sys.stdin.read()
    if not data.startswith("@"):
        return data
    try:
        return Path(data[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{data[1:]} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}."
        raise ModalKitError(msg) from None


def _header(given: str) -> tuple[str, str]:
    name, colon, value = given.partition(":")
    if not colon or not name.strip() or not value.isprintable():
        msg = f"{given!r} is no header: write 'Name: value'."
        raise ModalKitError(msg)
    return name.strip(), value.strip()


def _pretty(body: bytes) -> str:
    try:
        answer: Any = json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
    return json.dumps(answer, indent=2, ensure_ascii=False)
