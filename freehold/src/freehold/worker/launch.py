"""How a container of modal's entrypoint is started: its command, its environment and the files of ours that it sees."""

import shutil
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from freehold.domain.errors import NotFound
from freehold.domain.images import ImageConfig
from freehold.domain.seams import Seam
from freehold.domain.volumes import FOLDER, VolumeMount
from freehold.worker.etc import write_etc
from freehold.worker.ports import Bind

CONTROL_FOLDER = Path("run/control")  # in the engine's home; holds the control plane's socket
OWN_PACKAGE = "freehold_container"  # as containers call `freehold.container`
TASKS_FOLDER = Path("run/tasks")
_CONTROL_TARGET = "/__freehold/control"
_ARGUMENTS = "arguments.bin"
_ARGUMENTS_TARGET = "/__freehold/task/arguments.bin"
_WEB_TARGET = "/__freehold/web"
_HOSTNAME = "modal"
_HOME = "/root"
_SOURCES = "/root:/pkg"  # where modal puts the app's modules, and its own
_OF_THE_TASK_ALONE = frozenset({"MODAL_CONTAINER_ARGUMENTS_PATH", "MODAL_OVERRIDE_HEADERS", "MODAL_SERVER_URL"})
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def environment(image: ImageConfig, wished: Mapping[str, str], *, task_id: str, token: str) -> dict[str, str]:
    """Defaults, then the image's, then the app's, then what modal's runtime must find, whatever the others say."""
    env = {"PATH": _PATH, "HOME": _HOME, "PYTHONUNBUFFERED": "1", **image.env, **wished}
    own_modules = env.get("PYTHONPATH")
    return env | {
        "PYTHONPATH": f"{_SOURCES}:{own_modules}" if own_modules else _SOURCES,
        "MODAL_CONTAINER_ARGUMENTS_PATH": _ARGUMENTS_TARGET,
        "MODAL_SERVER_URL": f"unix://{_CONTROL_TARGET}/control.sock",
        "MODAL_OVERRIDE_HEADERS": f"x-task:{task_id},x-task-token:{token}",
        "MODAL_IS_REMOTE": "1",
        "MODAL_TASK_ID": task_id,
    }


def exec_environment(image: ImageConfig, wished: Mapping[str, str], task_id: str) -> dict[str, str]:
    """Of a further process in the container: the same, but for what the task proves itself with."""
    env = environment(image, wished, task_id=task_id, token="")
    return {name: value for name, value in env.items() if name not in _OF_THE_TASK_ALONE}


def command(image: ImageConfig, env: Mapping[str, str], rootfs: Path, seams: Sequence[Seam], *, module: str = "") -> tuple[str, ...]:
    """The image's entrypoint, if it has one, is handed the rest and must execute it. Without seams, modal's own command. `module` is one of
    ours to be run instead of what starts a task.
    """
    own = f"{OWN_PACKAGE}.{module}" if module else OWN_PACKAGE
    entry = (own, *seams) if seams else ("modal._container_entrypoint",)
    return (*image.entrypoint, find_python(rootfs, env["PATH"]), "-m", *entry)


def workdir(image: ImageConfig) -> str:
    return _HOME if image.workdir in ("", "/") else image.workdir


def find_python(rootfs: Path, search: str) -> str:
    """The first `python`, else `python3`, on the container's PATH. A link counts: where it leads is known in the container only."""
    folders = [folder for folder in search.split(":") if folder.startswith("/")]
    for name in ("python", "python3"):
        for folder in folders:
            if (rootfs / folder.lstrip("/") / name).is_symlink() or (rootfs / folder.lstrip("/") / name).is_file():
                return f"{folder}/{name}"
    msg = f"The image has no python on its PATH ({search}). Add one: modal.Image.debian_slim(), or add_python= with from_registry()."
    raise NotFound(msg)


def tasks_folder(home: Path) -> Path:
    """Holds one folder for each container, named after its task."""
    return home / TASKS_FOLDER


def write_files(home: Path, task_id: str, arguments: bytes) -> tuple[Bind, ...]:
    """Write what one container sees of ours into a folder of its own; the binds that show it."""
    folder = tasks_folder(home) / task_id
    folder.mkdir(parents=True, mode=0o700)
    file = folder / _ARGUMENTS
    file.touch(mode=0o600)
    write_arguments(folder, arguments)
    return (Bind(source=file, target=_ARGUMENTS_TARGET), _web_bind(folder / "web"), *write_etc(folder, _HOSTNAME))


def write_arguments(folder: Path, arguments: bytes) -> None:
    """Into the file that is there: a container may see it already."""
    (folder / _ARGUMENTS).write_bytes(arguments)


def _web_bind(folder: Path) -> Bind:
    """Where the container may listen, whoever its user is; outside, only the engine gets there."""
    folder.mkdir()
    folder.chmod(0o1777)
    return Bind(source=folder, target=_WEB_TARGET, read_only=False)


def volume_binds(home: Path, mounts: Sequence[VolumeMount]) -> tuple[Bind, ...]:
    return tuple(
        Bind(source=home / FOLDER / mount.volume_id, target=mount.path, read_only=mount.read_only, below=mount.sub_path) for mount in mounts
    )


def remove_files(home: Path, task_id: str) -> None:
    shutil.rmtree(tasks_folder(home) / task_id, ignore_errors=True)


def sweep_files(home: Path, keep: AbstractSet[str] = frozenset()) -> None:
    """Of all containers but those to keep."""
    for folder in tasks_folder(home).glob("*"):
        if folder.name not in keep:
            shutil.rmtree(folder, ignore_errors=True)


def control_bind(home: Path) -> Bind:
    """The folder, not the socket in it: an engine that starts again makes a new socket."""
    return Bind(source=home / CONTROL_FOLDER, target=_CONTROL_TARGET)
