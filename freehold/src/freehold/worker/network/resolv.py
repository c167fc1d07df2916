"""Name servers for containers: those of the machine, where a container can reach them."""

from ipaddress import ip_address
from pathlib import Path

_MACHINE = Path("/etc/resolv.conf")
# A resolver that listens on loopback only leaves its own upstream servers in a file.
_UPSTREAMS = (Path("/run/systemd/resolve/resolv.conf"), Path("/run/NetworkManager/no-stub-resolv.conf"))


def container_resolv_conf() -> str:
    """The content of /etc/resolv.conf in a container."""
    texts = [path.read_text(errors="replace") for path in (_MACHINE, *_UPSTREAMS) if path.is_file()]
    return reachable(texts)


def reachable(texts: list[str]) -> str:
    """The first of these texts that names a server off this machine's loopback, without its other servers; or one without servers."""
    for text in texts:
        if any(_is_reachable_server(line) for line in text.splitlines()):
            return _without_unreachable(text)
    return _without_unreachable(texts[0]) if texts else ""


def _without_unreachable(text: str) -> str:
    kept = [line for line in text.splitlines() if not _is_server(line) or _is_reachable_server(line)]
    return "".join(f"{line}\n" for line in kept if line and not line.startswith(("#", ";")))


def _is_server(line: str) -> bool:
    return line.startswith("nameserver") and len(line.split()) > 1


def _is_reachable_server(line: str) -> bool:
    if not _is_server(line):
        return False
    try:
        address = ip_address(line.split()[1].partition("%")[0])
    except ValueError:
        return False
    return address.version == 4 and not address.is_loopback  # noqa: PLR2004 — containers speak IPv4 only
