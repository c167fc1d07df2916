"""What an engine must not leave behind on the machine. Everything it makes has the key of its home in its name, or lies in its home."""

import os
import subprocess
from pathlib import Path

from freehold.worker.naming import home_key


def leftovers(home: Path) -> dict[str, list[str]]:
    """What there is of this home's engine, by kind; empty when there is nothing."""
    key = home_key(home)
    found = {
        "processes": [_described(process) for process in Path("/proc").glob("[0-9]*") if _belongs(process, home)],
        "mounts": _mounts(Path("/proc/self"), home),
        "control groups": _control_groups(key),
        "interfaces": [path.name for path in Path("/sys/class/net").iterdir() if key in path.name],
        "namespaces": [str(path) for path in Path("/run/netns").glob(f"*{key}*")],
        "filter tables": [line for line in _tables() if key in line],
    }
    return {kind: names for kind, names in found.items() if names}


def _control_groups(key: str) -> list[str]:
    """Of all hierarchies, or of the only one. Those of others come and go meanwhile, so nobody looks into them."""
    return [str(path) for pattern in (f"*{key}*", f"*/*{key}*") for path in Path("/sys/fs/cgroup").glob(pattern)]


def _belongs(process: Path, home: Path) -> bool:
    """Whether the process runs on this home, or inside a root filesystem that lies in it."""
    if process.name == str(os.getpid()):
        return False
    try:
        own_mounts = (process / "ns/mnt").readlink() != Path("/proc/self/ns/mnt").readlink()
        environment = (process / "environ").read_bytes().split(b"\0")
    except OSError:  # ended meanwhile, or a kernel thread
        return False
    return f"FREEHOLD_HOME={home}".encode() in environment or (own_mounts and bool(_mounts(process, home)))


def _described(process: Path) -> str:
    try:
        command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        command = "(ended)"
    return f"{process.name} {command}"


def _mounts(process: Path, home: Path) -> list[str]:
    try:
        lines = (process / "mountinfo").read_text().splitlines()
    except OSError:
        return []
    return [line for line in lines if str(home) in line]


def _tables() -> list[str]:
    return subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False, timeout=60).stdout.splitlines()
