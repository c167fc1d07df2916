"""From nothing to an answer: engine up, train iris, deploy it, ask it for a prediction, engine down."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from freehold.cli import engine
from freehold.config import Settings
from freehold.domain.web import label_of_host, path_url

BIN = Path(sys.executable).parent
IRIS = Path(__file__).parents[1] / "examples" / "iris"
QUESTION = {"features": [5.1, 3.5, 1.4, 0.2]}
ANSWER = {"prediction": 0, "class_name": "setosa"}
HEADLINES = ("=>", "✓", "├", "└", "Making", "The engine", "Its log", "Accuracy")  # of the hundreds of lines of an image build
ANSWER_SECONDS = 180  # the first container of an image may have to wait for its layers


class DemoFailed(Exception):
    pass


def main() -> None:
    settings = Settings.load()
    phases: dict[str, float] = {}
    try:
        with an_engine(settings, phases):
            timed(phases, "train iris", lambda: run(sys.executable, str(IRIS / "train.py")))
            deployed = timed(phases, "modal deploy", lambda: run(str(BIN / "freehold"), "deploy", str(IRIS / "app.py")))
            url = reachable(web_url(deployed), settings)
            answer = timed(phases, "first prediction (cold)", lambda: predict(url))
            timed(phases, "next prediction (warm)", lambda: predict(url))
    except DemoFailed as error:
        sys.exit(f"\nThe demo failed: {error}{log_tail(settings)}")
    report(url, answer, phases)


@contextmanager
def an_engine(settings: Settings, phases: dict[str, float]) -> Iterator[None]:
    """The engine that runs already, which stays; or one of our own, which goes."""
    if engine.find(settings.root):
        print("An engine runs already; the demo uses it and leaves it running.")
        yield
        return
    try:
        timed(phases, "engine up", lambda: run(str(BIN / "freehold"), "up", "--detach"))
        yield
    except BaseException:
        with suppress(DemoFailed):  # what failed first is what matters
            run(str(BIN / "freehold"), "down")
        raise
    timed(phases, "engine down", lambda: run(str(BIN / "freehold"), "down"))


def timed(phases: dict[str, float], name: str, step: Callable[[], str]) -> str:
    print(f"\n── {name}", flush=True)
    began = time.perf_counter()
    try:
        return step()
    finally:
        phases[name] = time.perf_counter() - began


def run(*command: str) -> str:
    """Run it, showing the headlines of what it prints, or everything once it has failed; that text."""
    environment = os.environ | {"COLUMNS": "200"}  # so that no address is broken over two lines
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    lines = []
    for line in process.stdout or ():
        lines.append(line)
        if line.lstrip().startswith(HEADLINES):
            print(line, end="", flush=True)
    output = "".join(lines)
    if process.wait():
        msg = f"{Path(command[0]).name} {' '.join(command[1:])} ended with exit status {process.returncode}:\n{output}"
        raise DemoFailed(msg)
    return output


def web_url(output: str) -> str:
    """The address in what `modal deploy` printed."""
    found = re.search(r"http://\S+--\S+", output)
    if not found:
        msg = "`modal deploy` printed no address of the endpoint."
        raise DemoFailed(msg)
    return found[0]


def reachable(url: str, settings: Settings) -> str:
    """The same endpoint by path, where this machine does not resolve names under localhost."""
    address = urlsplit(url)
    try:
        socket.getaddrinfo(address.hostname, address.port)
    except OSError:
        label = label_of_host(address.netloc, settings.domain) or ""
        return path_url(label, settings.host, settings.gateway_port).rstrip("/")
    return url.rstrip("/")


def predict(url: str) -> str:
    address = urlsplit(f"{url}/predict")
    connection = HTTPConnection(address.hostname or "", address.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("POST", address.path, json.dumps(QUESTION), {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read().decode(errors="replace")
    except (OSError, HTTPException) as error:
        msg = f"POST {url}/predict was not answered: {error}."
        raise DemoFailed(msg) from error
    finally:
        connection.close()
    if response.status != HTTPStatus.OK or json.loads(answer) != ANSWER:
        msg = f"POST {url}/predict was answered {response.status}: {answer}, not {json.dumps(ANSWER)}."
        raise DemoFailed(msg)
    print(answer)
    return json.dumps(json.loads(answer))


def log_tail(settings: Settings) -> str:
    log = engine.log_file(settings.root)
    return f"\nThe end of {log}:\n{engine.tail(log)}" if log.exists() else ""


def report(url: str, answer: str, phases: dict[str, float]) -> None:
    print("\nWhere the time went")
    for name, seconds in phases.items():
        print(f"  {name:<26}{seconds:>7.2f} s")
    print(f"  {'all':<26}{sum(phases.values()):>7.2f} s")
    print(f"""
{url}/predict
answered {answer} to {json.dumps(QUESTION)}.

What to type next
  export PATH="$PWD/.venv/bin:$PATH"
  freehold deploy examples/iris/app.py     # starts the engine; the app stays until you stop it
  curl -X POST {url}/predict -H 'Content-Type: application/json' -d '{json.dumps(QUESTION)}'
  freehold app logs iris-classifier
  freehold run examples/hello/app.py --name Ada
  freehold down""")


if __name__ == "__main__":
    main()
