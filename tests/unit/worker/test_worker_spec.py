from dataclasses import replace
from pathlib import Path

import pytest

from freehold.domain.errors import InvalidRequest
from freehold.wire.worker import Limits
from freehold.worker.ports import Bind, ContainerSpec, Device, Equipment, Hook
from freehold.worker.runtimes import seccomp
from freehold.worker.runtimes.spec import TASK_CAPABILITIES, Machine, User, oci_config
from freehold.worker.runtimes.users import resolve_user

SPEC = ContainerSpec(id="ta-1", rootfs=Path("/roots/ta-1"), argv=("python", "app.py"), stdout=1, stderr=2)
MACHINE = Machine(init=Path("/usr/bin/tini-static"), open_files=1024, bounds_swap=True)


def config(machine=MACHINE, **changes):
    return oci_config(replace(SPEC, **changes), user=User(), cgroup="/freehold-0/ta-1", machine=machine)


class TestConfiguration:
    def test_the_command_runs_under_an_init_of_ours(self):
        assert config()["process"]["args"] == ["/__freehold/init", "--", "python", "app.py"]

    def test_every_container_has_namespaces_of_its_own(self):
        kinds = [namespace["type"] for namespace in config()["linux"]["namespaces"]]

        assert kinds == ["mount", "pid", "ipc", "uts", "cgroup", "network"]

    def test_a_given_network_namespace_is_entered(self):
        assert {"type": "network", "path": "/proc/1/fd/9"} in config(netns="/proc/1/fd/9")["linux"]["namespaces"]

    def test_privileges_can_be_neither_held_nor_gained(self):
        process = config()["process"]

        assert process["noNewPrivileges"]
        assert not {"CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SYS_PTRACE"} & set(process["capabilities"]["bounding"])

    def test_limits_become_those_of_the_control_group(self):
        resources = config(limits=Limits(memory_mib=64, milli_cpu=250, pids=9))["linux"]["resources"]

        assert resources["memory"] == {"limit": 64 << 20, "swap": 64 << 20}
        assert resources["cpu"] == {"period": 100_000, "quota": 25_000}
        assert resources["pids"] == {"limit": 9}

    def test_no_limit_is_asked_for_where_none_is_meant(self):
        assert list(config()["linux"]["resources"]) == ["devices"]

    def test_swap_is_bounded_only_where_the_kernel_counts_it(self):
        resources = config(replace(MACHINE, bounds_swap=False), limits=Limits(memory_mib=64))["linux"]["resources"]

        assert resources["memory"] == {"limit": 64 << 20}

    def test_binds_are_read_only_unless_they_say_otherwise(self):
        binds = (Bind(source=Path("/a"), target="/a"), Bind(source=Path("/b"), target="/b", read_only=False))

        access = {mount["destination"]: mount["options"][-1] for mount in config(binds=binds)["mounts"] if mount["type"] == "bind"}

        assert access == {"/a": "ro", "/b": "rw", "/__freehold/init": "ro"}

    def test_devices_are_made_and_allowed_one_by_one(self):
        equipment = Equipment(
            devices=(Device(path="/dev/nvidia1", major=195, minor=1),),
            binds=(Bind(source=Path("/lib/cuda"), target="/lib/cuda"),),
            hooks=(Hook(kind="createContainer", path="/bin/hook", args=("hook", "x")),),
            env={"CUDA_VISIBLE_DEVICES": "0"},
        )

        made = config(equipment=equipment, env={"CUDA_VISIBLE_DEVICES": "7", "A": "a"})

        assert [(node["path"], node["major"], node["minor"]) for node in made["linux"]["devices"]] == [("/dev/nvidia1", 195, 1)]
        assert made["linux"]["resources"]["devices"] == [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 195, "minor": 1, "access": "rw"},
        ]
        assert made["hooks"] == {"createContainer": [{"path": "/bin/hook", "args": ["hook", "x"], "env": []}]}
        assert made["process"]["env"] == ["CUDA_VISIBLE_DEVICES=0", "A=a"]
        assert "/lib/cuda" in {mount["destination"] for mount in made["mounts"]}

    def test_without_devices_none_is_made(self):
        assert config()["linux"]["devices"] == []
        assert config()["linux"]["resources"]["devices"] == [{"allow": False, "access": "rwm"}]

    def test_tmp_is_part_of_the_root(self):
        assert "/tmp" not in {mount["destination"] for mount in config()["mounts"]}

    def test_secrets_are_in_no_repr(self):
        assert "hunter2" not in repr(replace(SPEC, env={"PASSWORD": "hunter2"}))


class TestSystemCalls:
    def allowed(self):
        return {name for rule in seccomp.profile("x86_64")["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}

    @pytest.mark.parametrize("name", ["openat", "execve", "mmap", "futex", "epoll_wait", "rseq", "ptrace", "landlock_restrict_self"])
    def test_programs_have_what_they_need(self, name):
        assert name in self.allowed()

    @pytest.mark.parametrize(
        "name", ["mount", "setns", "unshare", "bpf", "init_module", "kexec_load", "keyctl", "io_uring_setup", "userfaultfd", "socketcall"]
    )
    def test_what_reaches_around_the_container_is_refused(self, name):
        assert name not in self.allowed()

    def test_each_call_is_named_once(self):
        names = [name for rule in seccomp.profile("x86_64")["syscalls"] if rule["names"] != ["personality"] for name in rule["names"]]

        assert len(names) == len(set(names))


class TestUser:
    @pytest.fixture
    def rootfs(self, tmp_path):
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n")
        (tmp_path / "etc/group").write_text("root:x:0:\nweb:x:33:\n")
        return tmp_path

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", User()),
            ("app", User(1000, 1001)),
            ("app:web", User(1000, 33)),
            ("1000", User(1000, 1001)),
            ("7:8", User(7, 8)),
            ("7", User(7, 0)),
        ],
    )
    def test_it_is_looked_up_in_the_image(self, rootfs, text, expected):
        assert resolve_user(rootfs, text) == expected

    def test_a_name_that_the_image_lacks_is_refused(self, rootfs):
        with pytest.raises(InvalidRequest, match="useradd"):
            resolve_user(rootfs, "nobody-here")

    def test_a_link_to_the_machines_users_is_not_followed(self, rootfs):
        (rootfs / "etc/passwd").unlink()
        (rootfs / "etc/passwd").symlink_to("/etc/passwd")

        with pytest.raises(InvalidRequest):
            resolve_user(rootfs, "root")


class TestZygote:
    def test_it_may_enter_namespaces_that_it_is_handed_and_a_task_may_not(self):
        zygote, task = config(is_zygote=True), config()

        assert set(zygote["process"]["capabilities"]["bounding"]) - set(task["process"]["capabilities"]["bounding"]) == {"CAP_SYS_ADMIN"}
        assert calls(zygote["linux"]["seccomp"]) - calls(task["linux"]["seccomp"]) == {"setns", "unshare"}

    def test_it_makes_no_namespaces_but_those_of_pids(self):
        rules = [rule for rule in config(is_zygote=True)["linux"]["seccomp"]["syscalls"] if "unshare" in rule["names"]]

        assert [rule["args"] for rule in rules] == [[{"index": 0, "value": 0x20000000, "op": "SCMP_CMP_EQ"}]]

    @pytest.mark.parametrize(
        ("request_number", "allowed"),
        [(0x5401, True), (0x541B, True), (0x8912, True), (0xC0045877, False), (0xB702, False), (0x1260, False)],
    )
    def test_it_asks_devices_and_file_systems_for_nothing(self, request_number, allowed):
        """TCGETS, FIONREAD and SIOCGIFCONF are harmless; FIFREEZE, NS_GET_PARENT and BLKGETSIZE are not, with its capability."""
        rules = [rule["args"][0] for rule in config(is_zygote=True)["linux"]["seccomp"]["syscalls"] if "ioctl" in rule["names"]]

        assert any(matches(rule, request_number) for rule in rules) is allowed

    def test_a_container_in_a_given_pid_namespace_needs_no_init(self):
        made = config(pidns="/proc/7/ns/pid")

        assert made["process"]["args"] == ["python", "app.py"]
        assert {"type": "pid", "path": "/proc/7/ns/pid"} in made["linux"]["namespaces"]

    def test_what_waits_there_may_do_less_than_a_task(self):
        waiter, task = config(pidns="/proc/7/ns/pid")["linux"]["seccomp"], config()["linux"]["seccomp"]

        assert calls(waiter) < calls(task)
        assert not calls(waiter) & {"socket", "connect", "ptrace", "unshare", "setns", "mknod", "unlink", "rename"}

    def test_what_forks_keep_is_what_a_task_has(self):
        names = config()["process"]["capabilities"]["bounding"]

        assert TASK_CAPABILITIES.bit_count() == len(names)
        assert TASK_CAPABILITIES == 0xA80405FB


def calls(profile):
    return {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}


def matches(rule, number):
    return number & rule["value"] == rule["valueTwo"] if rule["op"] == "SCMP_CMP_MASKED_EQ" else number == rule["value"]
