"""Control groups of all three kinds: which controllers there are, what a group counted, and removing it."""

import contextlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from freehold.wire.worker import Limits

_MOUNTS = Path("/proc/self/mountinfo")
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

    def enroll(self, group: str, pid: int) -> None:
        """Move a process into a group, in every hierarchy that has it."""
        for root in {*self.v1.values(), *([self.v2] if self.v2 else [])}:
            members = root / group.lstrip("/") / "cgroup.procs"
            if members.exists():
                members.write_text(str(pid))

    def remove(self, group: str) -> None:
        """Remove an empty group, and its empty children, from every hierarchy."""
        for root in {*self.v1.values(), *([self.v2] if self.v2 else [])}:
            _remove_tree(root / group.lstrip("/"))

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


def _remove_tree(group: Path) -> None:
    if not group.is_dir():
        return
    for child in group.iterdir():
        if child.is_dir():
            _remove_tree(child)
    with contextlib.suppress(OSError):  # still in use: whoever uses it removes it later
        group.rmdir()
