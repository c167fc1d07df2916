"""`freehold up`: run the engine, here or in the background."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from freehold.config import Settings

Host = Annotated[str | None, typer.Option(help="Address to bind.", show_default="127.0.0.1")]
ControlPort = Annotated[int | None, typer.Option(help="Port of the control plane.", show_default="8970")]
GatewayPort = Annotated[int | None, typer.Option(help="Port of the gateway.", show_default="8980")]
LogLevel = Annotated[str | None, typer.Option(help="debug, info, warning or error.", show_default="info")]
AllowRemote = Annotated[bool | None, typer.Option("--unsafe-allow-remote", help="Allow an address that other machines reach.")]
Tls = Annotated[bool | None, typer.Option("--tls", help="Serve web functions over HTTPS; `freehold trust` says how to trust it.")]
GpuFallback = Annotated[str | None, typer.Option(help="gpu=… that is not there: refuse, or cpu to run it there.", show_default="refuse")]
Detach = Annotated[bool, typer.Option("--detach", "-d", help="Return when the engine answers; its log goes to a file.")]
ReadyFd = Annotated[int | None, typer.Option(hidden=True)]  # where a detaching parent waits for a byte
Supervised = Annotated[str | None, typer.Option(hidden=True)]  # descriptors by which the supervisor reaches the engine


def up(
    *,
    detach: Detach = False,
    host: Host = None,
    control_port: ControlPort = None,
    gateway_port: GatewayPort = None,
    log_level: LogLevel = None,
    unsafe_allow_remote: AllowRemote = None,
    tls: Tls = None,
    gpu_fallback: GpuFallback = None,
    ready_fd: ReadyFd = None,
    supervised: Supervised = None,
) -> None:
    """Run the engine; Ctrl-C ends it and its containers.

    They have half a minute to finish; Ctrl-C again, or a second SIGTERM, ends all at once. An engine that dies is started again.
    """
    from freehold.config import Settings

    flags = {
        "host": host,
        "control_port": control_port,
        "gateway_port": gateway_port,
        "log_level": log_level,
        "unsafe_allow_remote": unsafe_allow_remote,
        "tls": tls,
        "gpu_fallback": gpu_fallback,
    }
    settings = Settings.load(**flags)
    if detach:
        _up_detached(settings, _as_arguments(flags))
    elif supervised is None:
        _supervise(settings, _as_arguments(flags), ready_fd)
    else:
        _run_engine(settings, supervised, ready_fd)


def _up_detached(settings: "Settings", flags: list[str]) -> None:
    from freehold.cli import engine, preflight

    running = engine.find(settings.root)
    if running:
        typer.echo(f"An engine runs already: control plane {running.control_url}, gateway {running.gateway_url}.")
        return
    preflight.check(settings)
    running = engine.start(settings, flags)
    typer.echo(f"The engine is up: control plane {running.control_url}, gateway {_gateway(settings)}.")
    typer.echo(f"Its pages, for one visit within ten minutes: {_link(settings)}")
    _say_trust(settings)
    typer.echo(f"Its log: {engine.log_file(settings.root)}. `freehold down` ends it.")


def _supervise(settings: "Settings", flags: list[str], ready_fd: int | None) -> NoReturn:
    """Replaces this process by one that is small and lives as long as the engine is wanted."""
    from freehold.cli import engine, preflight, supervisor

    engine.check_alone(settings)
    preflight.check(settings)
    if ready_fd is not None:
        os.set_inheritable(ready_fd, True)
    where = [settings.host, str(settings.control_port), str(settings.gateway_port), "-" if ready_fd is None else str(ready_fd)]
    command = [str(Path(sys.executable).with_name("freehold")), "up", *flags]
    python = [sys.executable, "-I", "-S", str(Path(supervisor.__file__))]
    os.execv(sys.executable, [*python, *where, *command])  # noqa: S606 — no shell is wanted


def _run_engine(settings: "Settings", supervised: str, ready_fd: int | None) -> None:
    from freehold.supervision import Supervision

    supervision = Supervision.read(supervised)  # first of all: until then, the engine would outlive its supervisor
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # its fork handlers only warn that they cannot run here
    import uvloop

    from freehold.assembly.engine import serve
    from freehold.cli import engine
    from freehold.observability import logging
    from freehold.worker.mountns import enter_private_mount_namespace

    def on_ready(link: str) -> None:
        supervision.say_ready()
        if ready_fd is None:
            typer.echo(f"The engine is up: control plane {settings.control_url}, gateway {_gateway(settings)}. Ctrl-C ends it.")
            typer.echo(f"Its pages, for one visit within ten minutes: {link}")
            _say_trust(settings)
        else:
            os.write(ready_fd, b"\n")
            os.close(ready_fd)

    with engine.alone(settings, pid=os.getppid()):
        enter_private_mount_namespace()
        logging.configure(settings.log_level, settings.log_format)
        with suppress(KeyboardInterrupt):
            uvloop.run(serve(settings, supervision=supervision, on_ready=on_ready))


def _gateway(settings: "Settings") -> str:
    return f"{'https' if settings.tls else 'http'}://{settings.host}:{settings.gateway_port}"


def _link(settings: "Settings") -> str:
    from freehold.cli import operator

    return str(operator.ask_at(settings, "DashboardLink")["url"])


def _say_trust(settings: "Settings") -> None:
    if settings.tls:
        typer.echo("Its certificates are of this home's own authority: `freehold trust` says how to trust it.")


def _as_arguments(flags: dict[str, Any]) -> list[str]:
    arguments = []
    for name, value in flags.items():
        if value is not None:
            arguments += ["--" + name.replace("_", "-")] + ([] if value is True else [str(value)])
    return arguments
