"""One server of `modalkit dev`: `python -m modalkit._cli.serve APP.PY DESCRIPTOR [FUNCTION]`."""

import logging
import os
import socket
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import uvicorn

from modalkit._catalogue import default_model
from modalkit._cli.apps import in_words, load_app, web_function
from modalkit._local import LocalService
from modalkit._parcels import Parcel
from modalkit.errors import InferenceError, ModalKitError
from modalkit.testing import in_this_process, service_classes, web_app

END_REQUESTS = 5  # seconds


def main() -> None:
    path, descriptor, function = sys.argv[1:4]
    try:
        with socket.socket(fileno=int(descriptor)) as listening:
            serve(Path(path), listening, function)
    except ModalKitError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)


def serve(path: Path, listening: socket.socket, function: str) -> None:
    """Serves an app on a socket until it is told to end. Raises ModalKitError."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    module = load_app(path)
    with in_this_process(module) as services:
        with in_words(path):
            app = web_app(module, web_function(module, function))
        _load_models(module, services)
        _say_where(app, listening)
        uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=END_REQUESTS)).run(sockets=[listening])


def _load_models(module: ModuleType, services: list[LocalService]) -> None:
    """The default model of each service, so that the first request does not wait, and a model that cannot be loaded is told at once."""
    for app_cls, service in zip(service_classes(module), services, strict=True):
        name, began = default_model(app_cls), time.perf_counter()
        try:
            status = service.run_blocking(Parcel(name, asks_status=True)).status
        except InferenceError as error:
            click.echo(str(error), err=True)
            continue
        assert status is not None
        if status.is_ready:
            click.echo(f"Model {name!r} loaded in {time.perf_counter() - began:.2f} s")
        else:
            click.echo(status.reason, err=True)


def _say_where(app: Any, listening: socket.socket) -> None:
    host, port = listening.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    click.echo(f"{app.title} at {url}  (process {os.getpid()}; Ctrl-C ends it)")
    for route, operations in app.openapi()["paths"].items():
        click.echo(f"  {', '.join(operations).upper():<12} {url}{route}")
    click.echo(f"  {'GET':<12} {url}/docs")


if __name__ == "__main__":
    main()
