"""The three files that every container gets of its own: hosts, hostname, resolv.conf."""

from pathlib import Path

from freehold.worker.network.resolv import container_resolv_conf
from freehold.worker.ports import Bind


def write_etc(folder: Path, hostname: str) -> tuple[Bind, ...]:
    """Write the files into a folder; the binds that show them to a container."""
    contents = {
        "hosts": f"127.0.0.1 localhost {hostname}\n::1 localhost ip6-localhost ip6-loopback\n",
        "hostname": f"{hostname}\n",
        "resolv.conf": container_resolv_conf(),
    }
    for name, content in contents.items():
        (folder / name).write_text(content)
        (folder / name).chmod(0o644)
    return tuple(Bind(source=folder / name, target=f"/etc/{name}", read_only=False) for name in contents)
