"""A mount namespace of the engine's own, so that its mounts end with it, however it ends."""

from pathlib import Path

from freehold.worker import syscalls


def enter_private_mount_namespace() -> None:
    """Call at process start, before any thread exists: a namespace is a matter of threads, and only later ones inherit it.

    What the machine mounts and unmounts still arrives here; what the engine mounts is seen by it and its containers alone.
    The engine works without this call too: its mounts are then visible on the machine until they are swept.
    """
    if sum(1 for _ in Path("/proc/self/task").iterdir()) > 1:
        msg = "enter_private_mount_namespace() was called after a thread had started."
        raise RuntimeError(msg)
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", Path("/"), "none", syscalls.MS_REC | syscalls.MS_SLAVE, "")
