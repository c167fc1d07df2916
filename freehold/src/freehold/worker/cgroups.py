"""Control groups of all three kinds: which controllers there are, what a group counted, and removing it."""

import contextlib
import os
import signal
import time
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from freehold.wire.worker import Limits

_MOUNTS = Path("/proc/self/mountinfo")
_END_SECONDS = 2.0  # for processes that were killed
_LOOK_SECONDS = 0.005
_NOT_CONTROLLERS = frozenset({"rw", "ro", "xattr", "clone_children", "noprefix"})


class CgroupMode(StrEnum):
    V1 = "v1"
    HYBRID = "hybrid"  # controllers on v1, an almost empty v2 beside them
    V2 = "v2"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cgroups:
    """Where the hierarchies are mounted: v1 by controller, and v2."""

    v1: dict[str, Path]
    v2: Path | None = None

    @property
    def mode(self) -> CgroupMode:
        if self.v1:
            return CgroupMode.HYBRID if self.v2 else CgroupMode.V1
        return CgroupMode.V2 if self.v2 else CgroupMode.NONE

    @property
    def controllers(self) -> frozenset[str]:
        if self.v1 or self.v2 is None:
            return frozenset(self.v1)
        return frozenset((self.v2 / "cgroup.controllers").read_text().split())

    @property
    def bounds_swap(self) -> bool:
        """Whether the kernel can count swap with memory; asking a kernel that cannot is an error."""
        if "memory" in self.v1:
            return (self.v1["memory"] / "memory.memsw.limit_in_bytes").exists()
        return "memory" in self.controllers and Path("/proc/swaps").exists()

    def enforceable(self, limits: Limits) -> Limits:
        """The limits without those that no controller of this machine can hold."""
        present = self.controllers
        return Limits(
            memory_mib=limits.memory_mib if "memory" in present else 0,
            milli_cpu=limits.milli_cpu if "cpu" in present else 0,
            pids=limits.pids if "pids" in present else 0,
        )

    def oom_kills(self, group: str) -> int:
        """How many processes of the group the kernel killed for want of memory; 0 where nobody counts."""
        counter = self._oom_counter(group)
        if counter is None or not counter.exists():
            return 0
        counts = dict(line.split() for line in counter.read_text().splitlines())
        return int(counts.get("oom_kill", 0))

    def cpu_us(self, group: str) -> int:
        """CPU time of all that ever ran in the group, in microseconds; 0 where nobody counts."""
        if "cpuacct" in self.v1:
            return _number(self.v1["cpuacct"] / group.lstrip("/") / "cpuacct.usage") // 1000
        return _fields(self.v2 / group.lstrip("/") / "cpu.stat").get("usage_usec", 0) if self.v2 else 0

    def memory_bytes(self, group: str) -> int:
        """What the group holds now, without the parts of files that the kernel would drop first; 0 where nobody counts."""
        held, idle = ("memory.usage_in_bytes", "total_inactive_file") if "memory" in self.v1 else ("memory.current", "inactive_file")
        folder = self._memory_folder(group)
        return max(_number(folder / held) - _fields(folder / "memory.stat").get(idle, 0), 0) if folder else 0

    def most_memory_bytes(self, group: str) -> int:
        """The most that it ever held, with files; 0 where nobody counts."""
        folder = self._memory_folder(group)
        return _number(folder / ("memory.max_usage_in_bytes" if "memory" in self.v1 else "memory.peak")) if folder else 0

    def enroll(self, group: str, pid: int) -> None:
        """Move a process into a group, in every hierarchy that has it."""
        for root in self._roots:
            members = root / group.lstrip("/") / "cgroup.procs"
            if members.exists():
                members.write_text(str(pid))

    def remove(self, group: str) -> None:
        """Remove an empty group, and its empty children, from every hierarchy."""
        for root in self._roots:
            _remove_tree(root / group.lstrip("/"))

    def end_children(self, group: str, keep: AbstractSet[str]) -> None:
        """Kill what is in the children of a group, and remove them, but those of these names."""
        for root in self._roots:
            for child in (root / group.lstrip("/")).glob("*/"):
                if child.name not in keep:
                    _kill_members(child)
                    _remove_tree(child)

    @property
    def _roots(self) -> set[Path]:
        return {*self.v1.values(), *([self.v2] if self.v2 else [])}

    def _memory_folder(self, group: str) -> Path | None:
        root = self.v1.get("memory", self.v2)
        return root / group.lstrip("/") if root else None

    def _oom_counter(self, group: str) -> Path | None:
        if "memory" in self.v1:
            return self.v1["memory"] / group.lstrip("/") / "memory.oom_control"
        return self.v2 / group.lstrip("/") / "memory.events" if self.v2 else None


def read_cgroups(mounts: str | None = None) -> Cgroups:
    """The hierarchies of this machine, or of the text of a mountinfo file."""
    v1: dict[str, Path] = {}
    v2: Path | None = None
    for line in (mounts or _MOUNTS.read_text()).splitlines():
        before, _, after = line.partition(" - ")
        where, (kind, _, options) = Path(before.split()[4]), after.split(maxsplit=2)
        if kind == "cgroup2":
            v2 = where
        elif kind == "cgroup":
            v1 |= {name: where for name in options.split(",") if name not in _NOT_CONTROLLERS}
    return Cgroups(v1=v1, v2=v2)


def _number(file: Path) -> int:
    """0 where there is no such counter, or its group has gone."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return 0


def _fields(file: Path) -> dict[str, int]:
    try:
        pairs = (line.split() for line in file.read_text().splitlines())
        return {name: int(value) for name, value in pairs}
    except (OSError, ValueError):
        return {}


def _kill_members(group: Path) -> None:
    """And wait until they have left it; what hangs in the kernel is left to the next sweep."""
    deadline = time.monotonic() + _END_SECONDS
    while (pids := _members(group)) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_LOOK_SECONDS)


def _members(group: Path) -> list[int]:
    try:
        return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]
    except OSError:  # it has gone
        return []


def _remove_tree(group: Path) -> None:
    if not group.is_dir():
        return
    for child in group.iterdir():
        if child.is_dir():
            _remove_tree(child)
    with contextlib.suppress(OSError):  # still in use: whoever uses it removes it later
        group.rmdir()
