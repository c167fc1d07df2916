"""Methods and properties that modal's objects had."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from modal_compat import names
from modal_compat.mounts import Mount
from modal_compat.telling import tell


def install(modal: Any) -> None:
    for name in names.LOOKUPS:
        owner = getattr(modal, name.old.split(".")[1])
        if not hasattr(owner, "lookup"):
            owner.lookup = staticmethod(_Lookup(owner, name))
    if not hasattr(modal.Function, "web_url"):
        modal.Function.web_url = property(_web_url)
    for owner in (modal.Function, modal.cls.Obj):
        if not hasattr(owner, "keep_warm"):
            owner.keep_warm = _keep_warm
    for method in (copy_local_file, copy_local_dir, copy_mount):
        if not hasattr(modal.Image, method.__name__):
            setattr(modal.Image, method.__name__, method)


class _Lookup:
    """`from_name`, and then at once the question whether there is such a thing."""

    def __init__(self, owner: Any, name: names.OldName) -> None:
        self._owner = owner
        self._name = name

    def __call__(self, *args: Any, client: Any = None, **options: Any) -> Any:
        return self._from_name(args, options).hydrate(client)

    async def aio(self, *args: Any, client: Any = None, **options: Any) -> Any:
        return await self._from_name(args, options).hydrate.aio(client)

    def _from_name(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        tell(self._name)
        gone = ("namespace", "workspace")
        return self._owner.from_name(*args, **{name: value for name, value in options.items() if name not in gone})


def _web_url(function: Any) -> Any:
    tell(names.WEB_URL)
    return function.get_web_url()


def _keep_warm(function: Any, warm_pool_size: int) -> None:
    tell(names.KEEP_WARM_METHOD)
    function.autoscaler.update(min_containers=warm_pool_size)


def copy_local_file(image: Any, local_path: str | Path, remote_path: str | PurePosixPath = "./") -> Any:
    """As `COPY` of a Dockerfile: into a folder that is there, else under this name; relative to the image's working directory."""
    tell(names.COPY_LOCAL_FILE)
    local = Path(local_path)
    return image.dockerfile_commands([f"COPY {local.name} {remote_path}"], context_dir=local.parent)


def copy_local_dir(image: Any, local_path: str | Path, remote_path: str | PurePosixPath = ".", ignore: Any = ()) -> Any:
    """Its contents, as `COPY .`; relative to the image's working directory."""
    tell(names.COPY_LOCAL_DIR)
    if PurePosixPath(remote_path).is_absolute():
        return image.add_local_dir(local_path, str(remote_path), copy=True, ignore=ignore)
    return image.dockerfile_commands([f"COPY . {remote_path}"], context_dir=local_path, ignore=ignore)


def copy_mount(image: Any, mount: Mount, remote_path: str | PurePosixPath = ".") -> Any:
    """What the mount has, below this folder."""
    tell(names.COPY_MOUNT)
    return mount.onto(image, remote_path, copy=True)
