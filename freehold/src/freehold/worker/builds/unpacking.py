"""Tar archives from outside, unpacked under a root that they cannot leave: OCI layers (with whiteouts) and archives of ADD."""

import errno
import lzma
import os
import shutil
import stat
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from freehold.domain.errors import InvalidRequest
from freehold.worker.builds.rootfs import make_folders, resolve, resolve_parent

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_CAPABILITY = "SCHILY.xattr.security.capability"
_PERMISSIONS = 0o7777
# Names too long, attributes that are none; errors of gzip and bzip2 have no number.
_OF_THE_ARCHIVE = frozenset({None, errno.ENAMETOOLONG, errno.EINVAL, errno.ENOTDIR})


def unpack_archive(archive: Path, root: Path, folder: str) -> None:
    """Unpack into a folder of a root filesystem. Links that are there already are followed inside the root, as a container would."""
    with _opened(archive) as tar:
        for member in tar:
            _place(tar, member, root, folder)


def unpack_layer(archive: Path, folder: Path) -> None:
    """Unpack an OCI layer into an empty folder that will be overlaid: whiteouts become those of overlayfs."""
    with _opened(archive) as tar:
        for member in tar:
            name = _checked_name(member.name)
            parent, _, base = name.rpartition("/")
            if base == _OPAQUE:
                _make_opaque(resolve(folder, parent), folder)
            elif base.startswith(_WHITEOUT):
                _make_whiteout(resolve_parent(folder, f"{parent}/{base.removeprefix(_WHITEOUT)}"), folder)
            else:
                _place(tar, member, folder, "")


@contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
    """What a damaged or contrived archive does to its readers is the archive's fault; what the disk does is not."""
    try:
        with tarfile.open(archive) as tar:
            yield tar
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError, OverflowError) as error:
        msg = f"The archive {archive.name} cannot be unpacked, it may be damaged: {error}"
        raise InvalidRequest(msg) from error
    except OSError as error:
        if error.errno not in _OF_THE_ARCHIVE:
            raise
        msg = f"The archive {archive.name} cannot be unpacked: {error.strerror or error}."
        raise InvalidRequest(msg) from error


def _checked_name(name: str) -> str:
    if ".." in name.split("/"):
        msg = f"The archive names a path outside of it: {name[:200]!r}. Such archives are not unpacked."
        raise InvalidRequest(msg)
    return name.lstrip("/").removeprefix("./").rstrip("/")


def _place(tar: tarfile.TarFile, member: tarfile.TarInfo, root: Path, folder: str) -> None:
    place = resolve_parent(root, f"{folder}/{_checked_name(member.name)}")
    if place == root or (member.isdev() and not member.isfifo()):
        return  # the root itself; device nodes, which a container gets from its runtime
    make_folders(root, place.parent)
    if not (member.isdir() and place.is_dir() and not place.is_symlink()):
        _clear(place)
    if member.islnk():
        _link(resolve_parent(root, f"{folder}/{_checked_name(member.linkname)}"), place, member)
        return
    _make(tar, member, place)
    _own(member, place)


def _clear(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _make(tar: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    if member.isdir():
        place.mkdir(exist_ok=True)
    elif member.issym():
        place.symlink_to(member.linkname)
    elif member.isfifo():
        os.mkfifo(place)
    else:
        content = tar.extractfile(member)
        assert content is not None
        with place.open("xb") as file:
            shutil.copyfileobj(content, file)


def _link(target: Path, place: Path, member: tarfile.TarInfo) -> None:
    if not target.is_symlink() and not target.is_file():
        msg = f"The archive links {member.name[:200]!r} to {member.linkname[:200]!r}, which is no file in it."
        raise InvalidRequest(msg)
    os.link(target, place, follow_symlinks=False)


def _own(member: tarfile.TarInfo, place: Path) -> None:
    os.chown(place, member.uid, member.gid, follow_symlinks=False)
    if member.issym():
        return
    place.chmod(stat.S_IMODE(member.mode) & _PERMISSIONS)
    _set_capability(member.pax_headers, place)
    os.utime(place, (member.mtime, member.mtime))


def _set_capability(headers: Mapping[str, str], place: Path) -> None:
    """File capabilities (`ping` has one) travel as an extended header whose value is bytes in disguise."""
    if value := headers.get(_CAPABILITY):
        os.setxattr(place, "security.capability", value.encode("utf-8", "surrogateescape"))


def _make_whiteout(place: Path, root: Path) -> None:
    make_folders(root, place.parent)
    _clear(place)
    os.mknod(place, stat.S_IFCHR, os.makedev(0, 0))


def _make_opaque(place: Path, root: Path) -> None:
    make_folders(root, place)
    os.setxattr(place, "trusted.overlay.opaque", b"y")


def is_archive(path: Path) -> bool:
    """Whether ADD unpacks this file: a tar archive, compressed or not."""
    return path.is_file() and tarfile.is_tarfile(path)
