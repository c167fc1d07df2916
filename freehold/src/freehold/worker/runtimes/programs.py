"""The programs that containers need on the machine, found or named with what installs them."""

import shutil
from pathlib import Path

from freehold.domain.errors import Unavailable
from freehold.worker.cgroups import CgroupMode

# Daemons are often started with a PATH that lacks the administrator's folders.
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def find_runtime(mode: CgroupMode) -> Path:
    """runc, or crun where there is only that. crun refuses hybrid control groups."""
    names = ("runc",) if mode is CgroupMode.HYBRID else ("runc", "crun")
    for name in names:
        if found := shutil.which(name, path=SEARCH_PATH):
            return Path(found)
    msg = f"No container runtime on this machine ({' or '.join(names)} is needed). Install it: apt-get install runc"
    raise Unavailable(msg)


def find_init() -> Path:
    """The program that runs as process 1 of every container; static, because images have other C libraries, or none."""
    if found := shutil.which("tini-static", path=SEARCH_PATH):
        return Path(found)
    msg = "No tini-static on this machine; it reaps orphans and passes signals on in containers. Install it: apt-get install tini"
    raise Unavailable(msg)
