"""What this machine's GPUs are, and what a container gets of them."""

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from freehold.domain.gpus import Gpu
from freehold.worker import cdi
from freehold.worker.cdi import Edits, find_edits
from freehold.worker.gpus import FoundGpu, NvidiaGpus, PretendedGpus, ask_nvml, find_gpus
from freehold.worker.ports import Bind, Device, Equipment, Hook

T4 = Gpu(index=0, name="Tesla T4", memory_mib=15_360, uuid="GPU-00000000-aaaa")
A100 = Gpu(index=1, name="NVIDIA A100-SXM4-80GB", memory_mib=81_920, uuid="GPU-11111111-bbbb")
FOUND = [FoundGpu(gpu=T4, minor=1), FoundGpu(gpu=A100, minor=0)]
DESCRIPTION = {
    "cdiVersion": "0.5.0",
    "kind": "nvidia.com/gpu",
    "devices": [
        {"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/zero"}]}},
        {"name": "GPU-11111111-bbbb", "containerEdits": {"deviceNodes": [{"path": "/dev/full"}, {"path": "/dev/no-such-thing"}]}},
        {"name": "all", "containerEdits": {"deviceNodes": [{"path": "/dev/zero"}, {"path": "/dev/full"}]}},
    ],
    "containerEdits": {
        "env": ["NVIDIA_VISIBLE_DEVICES=void", "OF=the driver"],
        "deviceNodes": [{"path": "/dev/renamed", "hostPath": "/dev/null"}],
        "mounts": [
            {"hostPath": "/usr/lib/libcuda.so.550", "containerPath": "/usr/lib/libcuda.so.550", "options": ["ro", "nosuid", "bind"]},
            {"hostPath": "/run/nvidia", "containerPath": "/run/nvidia", "options": ["rw", "bind"]},
        ],
        "hooks": [{"hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook", "args": ["nvidia-cdi-hook", "update-ldcache"]}],
    },
}


class TestAsking:
    @pytest.fixture
    def library(self, tmp_path):
        """A library with NVML's functions, compiled with these definitions."""
        if shutil.which("cc") is None:
            pytest.skip("There is no C compiler.")

        def compiled(*definitions):
            target = tmp_path / f"{'-'.join(definitions) or 'nvml'}.so"
            source = Path(__file__).with_name("nvml.c")
            subprocess.run(["cc", "-shared", "-fPIC", *(f"-D{name}" for name in definitions), "-o", target, source], check=True)
            return str(target)

        return compiled

    def test_each_device_is_asked_who_it_is(self, library):
        assert ask_nvml(library()) == FOUND

    def test_a_machine_without_the_library_has_none(self):
        assert ask_nvml("libno-such-thing.so.1") == []

    def test_a_driver_that_does_not_work_costs_the_gpus_and_nothing_else(self, library):
        assert ask_nvml(library("NO_DRIVER")) == []

    def test_a_device_that_is_lost_costs_none_of_the_others(self, library):
        assert ask_nvml(library("LOST")) == FOUND[1:]


class TestEquipment:
    @pytest.fixture
    def dev(self, tmp_path):
        """Device nodes that have the numbers of others, which every machine has. Making them takes root."""
        if os.geteuid() != 0:
            pytest.skip("Device nodes take root.")
        for name, minor in {"nvidia0": 3, "nvidia1": 5, "nvidiactl": 7, "nvidia-uvm": 8}.items():
            os.mknod(tmp_path / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
        return tmp_path

    def test_a_container_gets_the_nodes_of_its_devices_and_those_that_all_need(self, dev):
        given = NvidiaGpus(FOUND, None, dev=dev).equipment([1])
        nodes = {Path(device.path).name: (device.major, device.minor) for device in given.devices}
        assert nodes == {"nvidia0": (1, 3), "nvidiactl": (1, 7), "nvidia-uvm": (1, 8)}

    def test_it_is_told_which_they_are_and_how_cuda_counts_them(self, dev):
        given = NvidiaGpus(FOUND, None, dev=dev).equipment([0, 1])
        assert given.env == {"NVIDIA_VISIBLE_DEVICES": "GPU-00000000-aaaa,GPU-11111111-bbbb", "CUDA_VISIBLE_DEVICES": "0,1"}

    def test_who_has_none_gets_nothing(self, dev):
        assert NvidiaGpus(FOUND, Edits(DESCRIPTION), dev=dev).equipment([]) == Equipment()

    def test_a_node_that_is_gone_is_an_error_and_not_a_container_without(self, dev):
        (dev / "nvidia1").unlink()
        with pytest.raises(OSError, match="nvidia1"):
            NvidiaGpus(FOUND, None, dev=dev).equipment([0])

    def test_what_is_described_for_them_comes_too(self, dev):
        given = NvidiaGpus(FOUND, Edits(DESCRIPTION), dev=dev).equipment([1])
        assert {"/dev/renamed", "/dev/full", str(dev / "nvidia0")} <= {device.path for device in given.devices}
        assert given.env["NVIDIA_VISIBLE_DEVICES"] == A100.uuid
        assert given.env["OF"] == "the driver"

    def test_without_a_description_the_lack_is_told(self):
        assert "no CDI description" in NvidiaGpus(FOUND, None).lack
        assert NvidiaGpus(FOUND, Edits(DESCRIPTION)).lack == ""
        assert NvidiaGpus([], None).lack == ""


class TestDescription:
    def test_devices_go_by_index_or_uuid(self):
        edits = Edits(DESCRIPTION)
        assert Device(path="/dev/zero", major=1, minor=5) in edits.of([T4]).devices
        assert [device.path for device in edits.of([A100]).devices] == ["/dev/renamed", "/dev/full"]

    def test_libraries_and_hooks_are_taken_as_they_are(self):
        found = Edits(DESCRIPTION).of([T4, A100])
        assert found.binds == (
            Bind(source=Path("/usr/lib/libcuda.so.550"), target="/usr/lib/libcuda.so.550"),
            Bind(source=Path("/run/nvidia"), target="/run/nvidia", read_only=False),
        )
        assert found.hooks == (Hook(kind="createContainer", path="/usr/bin/nvidia-cdi-hook", args=("nvidia-cdi-hook", "update-ldcache")),)

    @pytest.mark.parametrize("name", ["nvidia.json", "nvidia.yaml"])
    def test_it_is_found_beside_others(self, tmp_path, name):
        (tmp_path / "a-broken.json").write_text("{")
        (tmp_path / "a-bytes.yaml").write_bytes(b"\xff\xfe\x00")
        (tmp_path / "a-folder.json").mkdir()
        (tmp_path / "a-lists.yaml").write_text("kind: nvidia.com/gpu\ndevices: [{name: '0'}, text]")
        (tmp_path / "b-other.json").write_text(json.dumps({"kind": "vendor.com/net", "devices": [{"name": "0"}]}))
        (tmp_path / name).write_text(json.dumps(DESCRIPTION))
        assert find_edits([tmp_path / "none", tmp_path]).of([T4]).binds

    def test_the_toolkit_is_asked_where_nothing_is_written(self, tmp_path, monkeypatch):
        toolkit = tmp_path / "nvidia-ctk"
        toolkit.write_text(f"#!/bin/sh\n[ \"$*\" = 'cdi generate' ] && cat <<'END'\n{json.dumps(DESCRIPTION)}\nEND\n")
        toolkit.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        assert find_edits([tmp_path / "none"]).of([T4]).binds

    def test_a_toolkit_that_fails_is_no_description(self, tmp_path, monkeypatch):
        (tmp_path / "nvidia-ctk").write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "nvidia-ctk").chmod(0o755)
        monkeypatch.setattr(cdi, "_TOOLKIT", str(tmp_path / "nvidia-ctk"))
        assert find_edits([tmp_path / "none"]) is None


class TestPretending:
    def test_a_machine_can_pretend_to_have_some(self):
        pretended = find_gpus("T4, A100-80GB")
        assert [(gpu.index, gpu.name, gpu.memory_mib) for gpu in pretended.all] == [(0, "T4", 16_384), (1, "A100-80GB", 81_920)]

    def test_they_are_null_devices_under_the_paths_of_real_ones(self):
        given = PretendedGpus(["T4", "T4"]).equipment([1])
        assert given.devices == (Device(path="/dev/nvidia1", major=1, minor=3),)
        assert given.env == {"NVIDIA_VISIBLE_DEVICES": "GPU-pretended-1", "CUDA_VISIBLE_DEVICES": "0"}

    def test_nothing_is_pretended_unless_it_is_asked_for(self, monkeypatch):
        monkeypatch.setattr("freehold.worker.gpus.ask_nvml", lambda: FOUND)
        assert list(find_gpus().all) == [T4, A100]
