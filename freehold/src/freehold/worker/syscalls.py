"""The few Linux calls that Python 3.11 has no name for. Each raises OSError with the kernel's reason."""

import ctypes
import fcntl
import os
import struct
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_NODEV = 0x4
MS_BIND = 0x1000
MS_REC = 0x4000
MS_SLAVE = 0x80000
MNT_DETACH = 0x2
_PR_SET_CHILD_SUBREAPER = 36
_PIDFD_GET_INFO = 0xC040FF0B  # with the first, 64 bytes long version of its structure
_PIDFD_INFO_EXIT = 1 << 3
_PIDFD_INFO = "QQ11Ii"  # a mask, a control group, eleven ids, the exit code

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)


def mount(source: str, target: Path, kind: str, flags: int, options: str) -> None:
    code = _libc.mount(source.encode(), os.fsencode(target), kind.encode(), flags, options.encode())
    _check(code, str(target))


def unmount(target: Path, flags: int = 0) -> None:
    _check(_libc.umount2(os.fsencode(target), flags), str(target))


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags), "unshare")


def enter_namespace(descriptor: int, kind: int) -> None:
    """Move the calling thread, and only it, into a namespace."""
    _check(_libc.setns(descriptor, kind), "setns")


def become_subreaper() -> None:
    """From now on orphaned descendants become children of this process, which can then wait for them."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def pidfd_exit_code(descriptor: int) -> int | None:
    """The wait status of a process that has ended and been reaped; None on kernels that do not keep it."""
    info = bytearray(struct.pack(_PIDFD_INFO, _PIDFD_INFO_EXIT, *[0] * 13))
    try:
        fcntl.ioctl(descriptor, _PIDFD_GET_INFO, info)
    except OSError:
        return None
    mask, *_, code = struct.unpack(_PIDFD_INFO, info)
    return int(code) if mask & _PIDFD_INFO_EXIT else None


def _check(code: int, what: str) -> None:
    if code != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
