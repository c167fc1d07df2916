"""Who a container's process runs as: `USER` of a Dockerfile, looked up in the image's own /etc/passwd and /etc/group."""

from pathlib import Path

from freehold.domain.errors import InvalidRequest
from freehold.worker.runtimes.spec import User


def resolve_user(rootfs: Path, text: str) -> User:
    """The numbers behind "name", "uid", "name:group" or "uid:gid"; an empty text is root."""
    if not text:
        return User()
    name, _, group = text.partition(":")
    uid, own_gid = _user(rootfs, name)
    return User(uid, _group(rootfs, group) if group else own_gid)


def _user(rootfs: Path, name: str) -> tuple[int, int]:
    for fields in _entries(rootfs / "etc/passwd"):
        if name in (fields[0], fields[2]):
            return int(fields[2]), int(fields[3])
    if name.isdecimal():
        return int(name), 0
    msg = f"USER {name}: the image has no user of this name. Create it with RUN useradd, or give a number."
    raise InvalidRequest(msg)


def _group(rootfs: Path, name: str) -> int:
    if name.isdecimal():
        return int(name)
    for fields in _entries(rootfs / "etc/group"):
        if fields[0] == name:
            return int(fields[2])
    msg = f"USER …:{name}: the image has no group of this name. Create it with RUN groupadd, or give a number."
    raise InvalidRequest(msg)


def _entries(path: Path) -> list[list[str]]:
    # A link could lead out of the image to a file of the machine.
    if path.is_symlink() or path.parent.is_symlink() or not path.is_file():
        return []
    return [line.split(":") for line in path.read_text(errors="replace").splitlines() if line.count(":") >= 3]  # noqa: PLR2004 — name:x:uid:gid
