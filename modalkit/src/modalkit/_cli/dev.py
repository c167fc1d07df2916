"""`modalkit dev`: an app's web endpoints in a process of this machine, started again when its files change.

The socket belongs to the process that watches, so that requests wait while the server starts again instead of being refused.
"""

import contextlib
import errno
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from modalkit._cli.files import AppError, app_file
from modalkit.errors import ModalKitError

SUFFIXES = (".py", ".yaml", ".yml", ".env")
STOP_AFTER = 10.0  # seconds that a server has to end its requests
LOOK_EVERY = 500  # milliseconds between two looks whether the server still runs


def dev(app: str, *, host: str, port: int, function: str, reload: bool) -> None:
    """Serves until it is interrupted. Raises ModalKitError: no such app, a port that is taken, or a package that is missing."""
    path = app_file(app)
    _need("uvicorn", *(["watchfiles"] if reload else []))
    with contextlib.closing(_listening(host, port)) as listening, contextlib.suppress(KeyboardInterrupt):
        if not reload:
            from modalkit._cli.serve import serve  # noqa: PLC0415  # the watching process needs nothing of it

            serve(path, listening, function)
            return
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        _watch(path, listening, function)


def _watch(path: Path, listening: socket.socket, function: str) -> None:
    """One server after the other, for as long as files change."""
    changes = _changes(path)
    while True:
        with _server(path, listening, function) as server:
            changed = _next_change(changes, server)
        click.echo(f"{changed} changed: starting again", err=True)


def _next_change(changes: Iterator[set[str]], server: "subprocess.Popen[bytes]") -> str:
    """The files that changed, once some did. A server that ended by itself waits for that, too: its reason stands above."""
    is_told = False
    for names in changes:
        if names:
            return ", ".join(sorted(names))
        if server.poll() is not None and not is_told:
            click.echo("The server ended. It starts again when a file of the app changes.", err=True)
            is_told = True
    raise KeyboardInterrupt  # the watcher ends when it is interrupted


def _changes(path: Path) -> Iterator[set[str]]:
    """Names of files that changed together; an empty set now and then."""
    import watchfiles  # noqa: PLC0415  # --no-reload does without

    folder = path.resolve().parent
    ours = watchfiles.DefaultFilter()
    for found in watchfiles.watch(
        folder,
        watch_filter=lambda change, name: name.endswith(SUFFIXES) and ours(change, name),
        rust_timeout=LOOK_EVERY,
        yield_on_timeout=True,
    ):
        yield {str(Path(name).relative_to(folder)) for _, name in found}


@contextlib.contextmanager
def _server(path: Path, listening: socket.socket, function: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A server within the block; at its end it has answered what it was asked."""
    arguments = [sys.executable, "-u", "-m", "modalkit._cli.serve", str(path), str(listening.fileno()), function]
    server = subprocess.Popen(arguments, pass_fds=[listening.fileno()])
    try:
        yield server
    finally:
        server.terminate()
        try:
            server.wait(STOP_AFTER)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror:
        msg = f"{host} is no address of this machine."
        raise AppError(msg) from None
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise AppError(_why(error, host, port)) from None
    listening.listen(2048)
    return listening


def _why(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} of {host} is taken by another program. Choose another: --port {port % 65535 + 1}, or --port 0 for any free one."
        )
    return f"{host}:{port} cannot be listened on: {error.strerror}."


def _need(*packages: str) -> None:
    import importlib.util  # noqa: PLC0415

    if missing := [each for each in packages if importlib.util.find_spec(each) is None]:
        msg = f"This needs {' and '.join(missing)}: pip install 'modalkit[dev]'"
        raise ModalKitError(msg)
