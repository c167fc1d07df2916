"""A ContainerSpec as an OCI runtime configuration: a pure translation, where the container's confinement is decided."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold.wire.worker import Limits
from freehold.worker.ports import Bind, ContainerSpec, Device, ExecSpec, Hook
from freehold.worker.runtimes import seccomp

INIT = "/__freehold/init"
_CPU_PERIOD = 100_000  # microseconds, the kernel's own default
# What Docker grants, without NET_RAW: forging packets is of use to attackers on a shared bridge only.
_CAPABILITIES = [
    "CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
]  # fmt: skip
_NAMESPACES = ("mount", "pid", "ipc", "uts", "cgroup", "network")
# Entering a namespace takes it, for the moment between a fork and the task that the fork becomes (`seccomp.py` bounds what else it could do).
_ZYGOTE_CAPABILITY = "CAP_SYS_ADMIN"
_MASKED = [
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",
    "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
]  # fmt: skip
_READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


_CAPABILITY_NUMBERS = {
    "CAP_CHOWN": 0, "CAP_DAC_OVERRIDE": 1, "CAP_FOWNER": 3, "CAP_FSETID": 4, "CAP_KILL": 5, "CAP_SETGID": 6, "CAP_SETUID": 7,
    "CAP_SETPCAP": 8, "CAP_NET_BIND_SERVICE": 10, "CAP_SYS_CHROOT": 18, "CAP_MKNOD": 27, "CAP_AUDIT_WRITE": 29, "CAP_SETFCAP": 31,
}  # fmt: skip
TASK_CAPABILITIES = sum(1 << _CAPABILITY_NUMBERS[name] for name in _CAPABILITIES)  # as the kernel counts them


@dataclass(frozen=True, slots=True)
class User:
    """Numbers of a user inside the container."""

    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the machine contributes. `init` runs as process 1: it passes signals on to the command and reaps orphans."""

    init: Path
    open_files: int  # the most that one process may have
    bounds_swap: bool  # whether swap can be limited together with memory


def oci_config(spec: ContainerSpec, *, user: User, cgroup: str, machine: Machine) -> dict[str, Any]:
    binds = (*spec.binds, *spec.equipment.binds, Bind(source=machine.init, target=INIT))
    return {
        "ociVersion": "1.0.2",
        "hostname": spec.hostname,
        "root": {"path": str(spec.rootfs)},
        "process": _process(spec, user, machine.open_files),
        "mounts": [*_kernel_mounts(), *map(_bind_mount, binds)],
        "hooks": _hooks(spec.equipment.hooks),
        "linux": {
            "cgroupsPath": cgroup,
            "devices": [_node(device) for device in spec.equipment.devices],
            "namespaces": _namespaces(spec.netns, spec.pidns),
            "resources": _resources(spec.limits, spec.equipment.devices, bounds_swap=machine.bounds_swap),
            "seccomp": _seccomp(spec),
            "maskedPaths": _MASKED,
            "readonlyPaths": _READ_ONLY,
        },
    }


def _seccomp(spec: ContainerSpec) -> dict[str, Any]:
    if spec.pidns:
        return seccomp.waiter_profile()
    return seccomp.zygote_profile() if spec.is_zygote else seccomp.profile()


def exec_process(spec: ExecSpec, open_files: int) -> dict[str, Any]:
    """A further process of a container, confined as its first one."""
    found = {"args": [*spec.argv], "env": _env(spec.env), "cwd": spec.cwd, **_confined(User(), open_files, _CAPABILITIES)}
    if spec.terminal is None:
        return found
    return {**found, "terminal": True, "consoleSize": {"height": spec.terminal.rows, "width": spec.terminal.columns}}


def _process(spec: ContainerSpec, user: User, open_files: int) -> dict[str, Any]:
    capabilities = [*_CAPABILITIES, _ZYGOTE_CAPABILITY] if spec.is_zygote else _CAPABILITIES
    return {
        "args": [*spec.argv] if spec.pidns else [INIT, "--", *spec.argv],
        "env": _env({**spec.env, **spec.equipment.env}),
        "cwd": spec.cwd,
        **_confined(user, open_files, capabilities),
    }


def _confined(user: User, open_files: int, capabilities: list[str]) -> dict[str, Any]:
    return {
        "user": {"uid": user.uid, "gid": user.gid},
        "noNewPrivileges": True,
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": open_files, "hard": open_files}],
    }


def _env(env: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in env.items()]


def _namespaces(netns: str | None, pidns: str | None) -> list[dict[str, str]]:
    given = {"network": netns, "pid": pidns}
    return [{"type": kind} | ({"path": path} if (path := given.get(kind)) else {}) for kind in _NAMESPACES]


def _resources(limits: Limits, devices: Iterable[Device], *, bounds_swap: bool) -> dict[str, Any]:
    """Devices are allowed one by one, beside those that the runtime gives to all (null, zero, random, …)."""
    allowed = [{"allow": True, "type": "c", "major": each.major, "minor": each.minor, "access": "rw"} for each in devices]
    resources: dict[str, Any] = {"devices": [{"allow": False, "access": "rwm"}, *allowed]}
    if limits.memory_mib:
        size = limits.memory_mib * 1024 * 1024
        resources["memory"] = {"limit": size} | ({"swap": size} if bounds_swap else {})
    if limits.milli_cpu:
        resources["cpu"] = {"period": _CPU_PERIOD, "quota": limits.milli_cpu * _CPU_PERIOD // 1000}
    if limits.pids:
        resources["pids"] = {"limit": limits.pids}
    return resources


def _node(device: Device) -> dict[str, Any]:
    return {"path": device.path, "type": "c", "major": device.major, "minor": device.minor, "fileMode": 0o666, "uid": 0, "gid": 0}


def _hooks(hooks: Iterable[Hook]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for hook in hooks:
        found.setdefault(hook.kind, []).append({"path": hook.path, "args": [*hook.args], "env": [*hook.env]})
    return found


def _kernel_mounts() -> list[dict[str, Any]]:
    return [
        _mount("/proc", "proc"),
        _mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        # No size: its pages count as memory of the container, whose limit holds. Data loaders share gigabytes through it.
        _mount("/dev/shm", "tmpfs", "nosuid", "nodev", "noexec", "mode=1777"),  # noqa: S108 — a path in the container
        _mount("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"),
        _mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro"),
        # Thread pools and garbage collectors size themselves by the limits that they read here.
        _mount("/sys/fs/cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
    ]


def _mount(target: str, kind: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": kind, "options": list(options)}


def _bind_mount(bind: Bind) -> dict[str, Any]:
    access = "ro" if bind.read_only else "rw"
    return {
        "destination": bind.target,
        "type": "bind",
        "source": str(bind.source),
        "options": ["rbind", "rprivate", "nosuid", "nodev", access],
    }
