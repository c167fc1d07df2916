"""What a machine's CDI description says containers with an NVIDIA GPU need: driver libraries, their links and caches, further devices.

CDI (Container Device Interface) is how NVIDIA's container toolkit describes a driver to any runtime. It is read from the places where the
toolkit puts it, or the toolkit is asked; without either, containers get the GPUs' device nodes alone.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
import yaml

from freehold.domain.gpus import Gpu
from freehold.worker.ports import Bind, Device, Equipment, Hook

log = structlog.get_logger(__name__)

FOLDERS = (Path("/etc/cdi"), Path("/var/run/cdi"))
_KIND = "nvidia.com/gpu"
_TOOLKIT = "nvidia-ctk"
_ANSWER_SECONDS = 30
_LARGEST = 1 << 20  # bytes


class Edits:
    """One description of `nvidia.com/gpu`."""

    def __init__(self, description: Mapping[str, Any]) -> None:
        self._shared = description.get("containerEdits") or {}
        self._devices = {str(device["name"]): device.get("containerEdits") or {} for device in description["devices"]}

    def of(self, gpus: Iterable[Gpu]) -> Equipment:
        """For a container that gets these GPUs. Devices go by index or by UUID there, as the toolkit was told."""
        own = [self._devices.get(str(gpu.index)) or self._devices.get(gpu.uuid) or {} for gpu in gpus]
        edits = [self._shared, *own]
        return Equipment(
            devices=tuple(_devices(_entries(edits, "deviceNodes"))),
            binds=tuple(_bind(mount) for mount in _entries(edits, "mounts")),
            hooks=tuple(_hook(hook) for hook in _entries(edits, "hooks")),
            env=dict(entry.partition("=")[::2] for entry in _entries(edits, "env")),
        )


def find_edits(folders: Sequence[Path] = FOLDERS) -> Edits | None:
    """The first description that names devices of this kind; None if there is none."""
    files = [file for folder in folders for file in sorted(folder.glob("*")) if file.suffix in {".json", ".yaml", ".yml"}]
    for text in (*(_read(file) for file in files), *_asked()):
        try:
            description = yaml.safe_load(text)  # of JSON too
            if description["kind"] == _KIND and description["devices"]:
                return Edits(description)
        except (yaml.YAMLError, TypeError, KeyError, AttributeError, RecursionError) as error:
            log.warning("cdi_not_understood", reason=str(error))
    return None


def _read(file: Path) -> str:
    """Empty where it cannot be read: a machine is of use without it."""
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            return opened.read(_LARGEST)
    except OSError as error:
        log.warning("cdi_not_read", path=str(file), reason=str(error))
        return ""


def _asked() -> Iterable[str]:
    """What the toolkit would write."""
    if not (program := shutil.which(_TOOLKIT)):
        return
    try:
        answer = subprocess.run([program, "cdi", "generate"], capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("cdi_not_asked", reason=str(error))
    else:
        yield answer.stdout


def _entries(edits: Iterable[Mapping[str, Any]], name: str) -> list[Any]:
    """Each once, in order."""
    found = {json.dumps(entry, sort_keys=True): entry for each in edits for entry in each.get(name) or ()}
    return list(found.values())


def _devices(nodes: Iterable[Mapping[str, Any]]) -> Iterable[Device]:
    """Those that there are: descriptions outlive changes of the machine."""
    for node in nodes:
        source = Path(node.get("hostPath") or node["path"])
        if source.is_char_device():
            number = source.stat().st_rdev
            yield Device(path=str(node["path"]), major=os.major(number), minor=os.minor(number))


def _bind(mount: Mapping[str, Any]) -> Bind:
    read_only = "rw" not in (mount.get("options") or ())
    return Bind(source=Path(mount["hostPath"]), target=str(mount["containerPath"]), read_only=read_only)


def _hook(hook: Mapping[str, Any]) -> Hook:
    return Hook(kind=str(hook["hookName"]), path=str(hook["path"]), args=tuple(hook.get("args") or ()), env=tuple(hook.get("env") or ()))
