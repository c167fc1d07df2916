"""The GPUs of this machine, as NVIDIA's management library counts them, and what a container must be given to use some of them.

Nothing of a driver is linked or installed: the library is opened where a driver has brought it, asked once, and closed. See
`docs/decisions/0016-asking-nvml-ourselves.md`.
"""

import ctypes
import os
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import structlog

from freehold.domain.gpus import Gpu
from freehold.worker.cdi import Edits, find_edits
from freehold.worker.ports import Device, Equipment

log = structlog.get_logger(__name__)

_LIBRARY = "libnvidia-ml.so.1"
_TEXT = 96  # bytes; the library's own bounds for a name and a UUID
_MIB = 1024 * 1024
_SHARED_NODES = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools")  # each container with a GPU needs these of the driver
_NULL = (1, 3)  # major and minor number of /dev/null
_DEFAULT_MIB = 16 * 1024  # of a pretended one whose type does not say


class Gpus(Protocol):
    """What GPUs there are. They do not change while the engine runs."""

    @property
    def all(self) -> Sequence[Gpu]: ...

    @property
    def lack(self) -> str:
        """Why containers could not use them; empty if there are none, or nothing is missing."""
        ...

    def equipment(self, devices: Sequence[int]) -> Equipment:
        """What a container gets so that it can use these devices, by index, and no others. Raises OSError when one is not there."""
        ...


class NvidiaGpus:
    """Implements `Gpus`: device nodes of the driver; its libraries and programs where the machine has a CDI description of them."""

    def __init__(self, found: "Sequence[FoundGpu]", edits: Edits | None, *, dev: Path = Path("/dev")) -> None:
        self._found = {each.gpu.index: each for each in found}
        self._edits = edits
        self._dev = dev

    @property
    def all(self) -> Sequence[Gpu]:
        return [each.gpu for each in self._found.values()]

    @property
    def lack(self) -> str:
        return "containers get no driver libraries: no CDI description of nvidia.com/gpu" if self._found and not self._edits else ""

    def equipment(self, devices: Sequence[int]) -> Equipment:
        found = [self._found[index] for index in devices]
        if not found:
            return Equipment()
        own = [_device(self._dev / f"nvidia{each.minor}") for each in found]
        shared = [_device(self._dev / name) for name in _SHARED_NODES if (self._dev / name).exists()]
        edits = self._edits.of([each.gpu for each in found]) if self._edits else Equipment()
        nodes = {device.path: device for device in (*edits.devices, *own, *shared)}
        return replace(edits, devices=tuple(nodes.values()), env={**edits.env, **_visible([each.gpu for each in found])})


class PretendedGpus:
    """Implements `Gpus` for tests: devices that are /dev/null, under the paths that real ones have."""

    lack = ""

    def __init__(self, types: Sequence[str]) -> None:
        self._gpus = [
            Gpu(index=index, name=name, memory_mib=_size(name), uuid=f"GPU-pretended-{index}") for index, name in enumerate(types)
        ]

    @property
    def all(self) -> Sequence[Gpu]:
        return self._gpus

    def equipment(self, devices: Sequence[int]) -> Equipment:
        found = [self._gpus[index] for index in devices]
        nodes = [Device(path=f"/dev/nvidia{gpu.index}", major=_NULL[0], minor=_NULL[1]) for gpu in found]
        return Equipment(devices=tuple(nodes), env=_visible(found)) if found else Equipment()


def find_gpus(pretended: str = "") -> Gpus:
    """The machine's, or those that it is to pretend to have ("T4, A100-80GB")."""
    types = [name.strip() for name in pretended.split(",") if name.strip()]
    if types:
        return PretendedGpus(types)
    found = ask_nvml()
    return NvidiaGpus(found, find_edits() if found else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundGpu:
    gpu: Gpu
    minor: int  # of its device node


class _Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


def ask_nvml(library: str = _LIBRARY) -> list[FoundGpu]:
    """Empty without a driver, or when it does not work, which is logged: a machine is of use without its GPUs, and without one of them."""
    try:
        nvml = ctypes.CDLL(library)
    except OSError:
        return []
    try:
        _call(nvml.nvmlInit_v2)
        count = _number(nvml.nvmlDeviceGetCount_v2)
    except (OSError, AttributeError) as error:
        log.warning("gpus_not_asked", reason=str(error))
        return []
    found = [_ask_one(nvml, index) for index in range(count)]
    nvml.nvmlShutdown()
    return [each for each in found if each is not None]


def _ask_one(nvml: ctypes.CDLL, index: int) -> FoundGpu | None:
    try:
        return _ask(nvml, index)
    except (OSError, AttributeError) as error:
        log.warning("gpu_left_out", index=index, reason=str(error))
        return None


def _ask(nvml: ctypes.CDLL, index: int) -> FoundGpu:
    device, memory = ctypes.c_void_p(), _Memory()
    _call(nvml.nvmlDeviceGetHandleByIndex_v2, ctypes.c_uint(index), ctypes.byref(device))
    _call(nvml.nvmlDeviceGetMemoryInfo, device, ctypes.byref(memory))
    gpu = Gpu(
        index=index,
        name=_text(nvml.nvmlDeviceGetName, device),
        memory_mib=memory.total // _MIB,
        uuid=_text(nvml.nvmlDeviceGetUUID, device),
    )
    return FoundGpu(gpu=gpu, minor=_number(nvml.nvmlDeviceGetMinorNumber, device))


def _number(function: Callable[..., int], *arguments: object) -> int:
    answer = ctypes.c_uint()
    _call(function, *arguments, ctypes.byref(answer))
    return answer.value


def _text(function: Callable[..., int], device: ctypes.c_void_p) -> str:
    answer = ctypes.create_string_buffer(_TEXT)
    _call(function, device, answer, ctypes.c_uint(_TEXT))
    return answer.value.decode(errors="replace")


def _call(function: Callable[..., int], *arguments: object) -> None:
    if code := function(*arguments):
        msg = f"{getattr(function, '__name__', 'NVML')} answers {code}"
        raise OSError(msg)


def _device(node: Path) -> Device:
    found = node.stat()
    if not stat.S_ISCHR(found.st_mode):
        msg = f"{node} is not a device"
        raise OSError(msg)
    return Device(path=str(node), major=os.major(found.st_rdev), minor=os.minor(found.st_rdev))


def _visible(gpus: Sequence[Gpu]) -> dict[str, str]:
    """Which they are for the machine; and for CUDA, which counts only those whose nodes it finds: all of them."""
    return {
        "NVIDIA_VISIBLE_DEVICES": ",".join(gpu.uuid or str(gpu.index) for gpu in gpus),
        "CUDA_VISIBLE_DEVICES": ",".join(str(number) for number in range(len(gpus))),
    }


def _size(name: str) -> int:
    found = re.search(r"(\d+)GB", name.upper())
    return int(found[1]) * 1024 if found else _DEFAULT_MIB
