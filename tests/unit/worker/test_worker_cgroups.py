from dataclasses import replace
from pathlib import Path

import pytest

from freehold.wire.worker import Limits
from freehold.worker.cgroups import CgroupMode, Cgroups, read_cgroups

V1 = """\
30 23 0:26 / /sys/fs/cgroup/systemd rw,nosuid - cgroup cgroup rw,xattr,name=systemd
31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
32 23 0:28 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory
"""
V2 = "33 23 0:29 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


@pytest.mark.parametrize(
    ("mounts", "mode"),
    [(V1, CgroupMode.V1), (V1 + V2, CgroupMode.HYBRID), (V2, CgroupMode.V2), ("1 0 0:1 / / rw - ext4 a rw", CgroupMode.NONE)],
)
def test_the_mode_is_read_from_what_is_mounted(mounts, mode):
    assert read_cgroups(mounts).mode is mode


def test_controllers_that_share_a_hierarchy_are_found_apart():
    assert read_cgroups(V1).controllers == {"cpu", "cpuacct", "memory", "name=systemd"}


def test_limits_that_nothing_can_hold_are_dropped():
    wanted = Limits(memory_mib=64, milli_cpu=500, pids=10)

    assert read_cgroups(V1).enforceable(wanted) == replace(wanted, pids=0)


@pytest.fixture
def v2(tmp_path):
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "freehold-0/ta-1").mkdir(parents=True)
    return Cgroups(v1={}, v2=tmp_path)


def test_kills_for_want_of_memory_are_counted_on_v2(v2):
    (v2.v2 / "freehold-0/ta-1/memory.events").write_text("low 0\noom 2\noom_kill 1\n")

    assert v2.oom_kills("/freehold-0/ta-1") == 1


def test_kills_for_want_of_memory_are_counted_on_v1(tmp_path):
    (tmp_path / "ta-1").mkdir()
    (tmp_path / "ta-1/memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")

    assert Cgroups(v1={"memory": tmp_path}).oom_kills("/ta-1") == 3


def test_a_group_that_is_gone_counted_nothing(v2):
    assert v2.oom_kills("/never/was") == 0


def test_a_group_is_removed_with_its_children(v2):
    v2.remove("/freehold-0")

    assert not (v2.v2 / "freehold-0").exists()
    assert Path(v2.v2).exists()


def test_what_a_group_has_used_is_read_on_v2(v2):
    group = v2.v2 / "freehold-0/ta-1"
    (group / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\n")
    (group / "memory.current").write_text("3000\n")
    (group / "memory.stat").write_text("anon 1500\ninactive_file 1000\nactive_file 500\n")
    (group / "memory.peak").write_text("4000\n")

    assert (v2.cpu_us("/freehold-0/ta-1"), v2.memory_bytes("/freehold-0/ta-1")) == (1_500_000, 2000)
    assert v2.most_memory_bytes("/freehold-0/ta-1") == 4000


@pytest.mark.parametrize("beside", [False, True])
def test_what_a_group_has_used_is_read_on_v1_also_with_a_v2_beside_it(tmp_path, beside):
    group = tmp_path / "ta-1"
    group.mkdir()
    (group / "cpuacct.usage").write_text("1500000999\n")  # nanoseconds
    (group / "memory.usage_in_bytes").write_text("3000\n")
    (group / "memory.stat").write_text("cache 1000\ninactive_file 1\ntotal_inactive_file 1000\n")
    (group / "memory.max_usage_in_bytes").write_text("4000\n")
    cgroups = Cgroups(v1={"cpuacct": tmp_path, "memory": tmp_path}, v2=tmp_path / "unified" if beside else None)

    assert (cgroups.cpu_us("/ta-1"), cgroups.memory_bytes("/ta-1"), cgroups.most_memory_bytes("/ta-1")) == (1_500_000, 2000, 4000)


@pytest.mark.parametrize("cgroups", [Cgroups(v1={}), Cgroups(v1={"memory": Path("/nowhere")}), Cgroups(v1={}, v2=Path("/nowhere"))])
def test_where_nobody_counts_it_is_nothing(cgroups):
    assert (cgroups.cpu_us("/ta-1"), cgroups.memory_bytes("/ta-1"), cgroups.most_memory_bytes("/ta-1")) == (0, 0, 0)
