"""What must hold before an engine can start here, each refusal with its remedy."""

import ipaddress
import os

from freehold.cli import supervisor
from freehold.config import Settings
from freehold.domain.errors import Conflict, InvalidRequest, PermissionDenied


def check(settings: Settings) -> None:
    _check_root()
    _check_host(settings)
    _check_port(settings.host, settings.control_port, "FREEHOLD_CONTROL_PORT")
    _check_port(settings.host, settings.gateway_port, "FREEHOLD_GATEWAY_PORT")


def _check_root() -> None:
    if os.geteuid() != 0:
        msg = "The engine needs root: it makes namespaces, mounts and control groups for its containers. Start it with `sudo -E`."
        raise PermissionDenied(msg)


def _check_host(settings: Settings) -> None:
    if _is_loopback(settings.host) or settings.unsafe_allow_remote:
        return
    msg = (
        f"{settings.host} can be reached from other machines, and the engine speaks without encryption and runs code as root. "
        "Keep 127.0.0.1, or give --unsafe-allow-remote on a network that you trust."
    )
    raise InvalidRequest(msg)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_port(host: str, port: int, variable: str) -> None:
    try:
        supervisor.listen(host, port).close()
    except OSError as error:
        msg = f"The engine cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}. Choose another port with {variable}, or end what uses it."
        raise Conflict(msg) from error
