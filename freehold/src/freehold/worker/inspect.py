"""What this machine can do for an engine, tried rather than guessed, each lack with its remedy. For `freehold doctor`."""

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from freehold.domain.errors import FreeholdError
from freehold.domain.gpus import inventory
from freehold.worker.builds.pythons import find_pythons
from freehold.worker.cgroups import CgroupMode, read_cgroups
from freehold.worker.gpus import Gpus, find_gpus
from freehold.worker.network.commands import ip_batch, nft
from freehold.worker.network.namespaces import new_namespace, path_of, run_inside
from freehold.worker.network.rules import container_rules
from freehold.worker.network.subnets import choose_subnet
from freehold.worker.runtimes.programs import SEARCH_PATH, find_init, find_runtime
from freehold.worker.snapshots.mounts import mount_overlay, unmount

_NEEDED_CONTROLLERS = frozenset({"memory", "cpu", "pids"})
_IDMAPPED_OVERLAY = (5, 19)  # the kernel from which overlays take layers whose owners are shifted
_ANSWER_SECONDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fact about the machine. Without what `is_required` an engine cannot run containers at all."""

    subject: str
    is_ok: bool
    detail: str
    fix: str = ""
    is_required: bool = False


async def inspect_machine(home: Path, pretended_gpus: str = "") -> list[Finding]:
    """Leaves the machine as it was; takes about half a second. Without root, what needs root is reported as lacking."""
    local = [_root, _runtime, _init, _cgroups, lambda: _overlay(home), _user_namespaces, lambda: _pythons(home), _base_images]
    local.append(lambda: _gpus(find_gpus(pretended_gpus)))
    findings = [await anyio.to_thread.run_sync(check) for check in local]
    findings.insert(5, await _network())
    return findings


def _root() -> Finding:
    return Finding(
        subject="root",
        is_ok=os.geteuid() == 0,
        detail=f"running as uid {os.geteuid()}",
        fix="Start the engine with `sudo -E`: it makes namespaces, mounts and control groups.",
        is_required=True,
    )


def _runtime() -> Finding:
    return _found("runtime", lambda: find_runtime(read_cgroups().mode))


def _init() -> Finding:
    return _found("init", find_init)


def _found(subject: str, find: Callable[[], Path]) -> Finding:
    try:
        program = find()
    except FreeholdError as error:
        what, _, fix = str(error).partition("Install it: ")
        return Finding(subject=subject, is_ok=False, detail=what.strip(), fix=fix, is_required=True)
    return Finding(subject=subject, is_ok=True, detail=f"{program} ({_first_line(str(program), '--version')})", is_required=True)


def _cgroups() -> Finding:
    cgroups = read_cgroups()
    lacking = sorted(_NEEDED_CONTROLLERS - cgroups.controllers)
    return Finding(
        subject="cgroups",
        is_ok=not lacking,
        detail=f"{cgroups.mode}, controllers: {' '.join(sorted(cgroups.controllers)) or 'none'}",
        fix=f"Limits of {', '.join(lacking)} do not hold here. Enable the controllers (kernel parameter cgroup_enable=memory).",
        is_required=cgroups.mode is CgroupMode.NONE,
    )


def _overlay(home: Path) -> Finding:
    """Tried where the layers will be: some file systems cannot hold the upper folder of an overlay."""
    subject = "overlay"
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=home) as folder:
            _try_overlay(Path(folder))
    except OSError as error:
        fix = f"Put FREEHOLD_HOME on ext4 or xfs; now it is {home}. Inside a container, mount a volume there."
        return Finding(subject=subject, is_ok=False, detail=f"cannot be mounted: {error.strerror}", fix=fix, is_required=True)
    return Finding(subject=subject, is_ok=True, detail=f"layers can be mounted in {home}", is_required=True)


def _try_overlay(folder: Path) -> None:
    lower, upper, work, merged = (folder / name for name in ("lower", "upper", "work", "merged"))
    for part in (lower, upper, work, merged):
        part.mkdir()
    try:
        mount_overlay(merged, lower=[lower], upper=upper, work=work)
        (merged / "written").touch()
    finally:
        unmount(merged)


async def _network() -> Finding:
    """Builds the engine's network in a namespace of its own, so that the machine's is not touched."""
    subject = "network"
    try:
        descriptor = await new_namespace()
        try:
            await run_inside(path_of(descriptor), _try_network)
        finally:
            os.close(descriptor)
    except (FreeholdError, OSError) as error:
        fix = "Install what is missing (apt-get install iproute2 nftables). Until then only block_network=True works."
        return Finding(subject=subject, is_ok=False, detail=str(error), fix=fix)
    return Finding(subject=subject, is_ok=True, detail="containers can have a network: bridge, veth and nftables work")


def _try_network() -> None:
    ip_batch(["link add fh-doctor type bridge", "link add v-doctor master fh-doctor type veth peer name eth0"])
    nft(container_rules("doctor", "fh-doctor", choose_subnet([], seed=0)))


def _user_namespaces() -> Finding:
    """A seam: root in containers is root outside today. Says whether this kernel could shift the owners of layers."""
    kernel = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])
    is_ok = kernel >= _IDMAPPED_OVERLAY and Path("/proc/self/ns/user").exists()
    return Finding(
        subject="user namespaces",
        is_ok=is_ok,
        detail=f"kernel {platform.release()} {'can' if is_ok else 'cannot'} map layers to other owners (not used yet)",
        fix="A kernel from 5.19 on can keep root in containers from being root outside.",
    )


def _pythons(home: Path) -> Finding:
    pythons = find_pythons(home).values()
    return Finding(
        subject="pythons",
        is_ok=bool(pythons),
        detail=", ".join(f"{python.version} in {python.prefix}" for python in pythons) or "no self-contained Python found",
        fix="Images of a series need a Python of it: `uv python install 3.12`, `pyenv install 3.12`, or a prefix in FREEHOLD_HOME/pythons.",
    )


def _base_images() -> Finding:
    present = [name for name in ("mmdebstrap", "skopeo") if shutil.which(name, path=SEARCH_PATH)]
    return Finding(
        subject="base images",
        is_ok=bool(present),
        detail=f"{' and '.join(present) or 'neither mmdebstrap nor skopeo'} on this machine",
        fix="apt-get install mmdebstrap (Debian bases without a registry) or skopeo (from a registry)",
    )


def _gpus(gpus: Gpus) -> Finding:
    return Finding(
        subject="gpus",
        is_ok=not gpus.lack,
        detail="; ".join(filter(None, (inventory(gpus.all), gpus.lack))) or "none",
        fix="Install NVIDIA's container toolkit (nvidia-container-toolkit): the engine asks its nvidia-ctk, or reads what it wrote to /etc/cdi.",
    )


def _first_line(*argv: str) -> str:
    try:
        answer = subprocess.run(argv, capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return "it does not answer"
    return (answer.stdout.splitlines() or ["it says nothing"])[0]
