"""Making network namespaces and acting inside them. A namespace lives as long as a descriptor, process or socket refers to it."""

import asyncio
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import anyio

from freehold.worker import syscalls

T = TypeVar("T")

_OWN_NAMESPACE = "/proc/thread-self/ns/net"
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1
_NO_IPV6 = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")


async def new_namespace() -> int:
    """A descriptor of a fresh namespace in which only loopback exists and is up."""
    return await _in_a_thread_of_its_own(_make)


async def run_inside(namespace: str, work: Callable[[], T]) -> T:
    """Run a function inside a namespace, given by its path. Programs that it starts run there too."""

    def entered() -> T:
        descriptor = os.open(namespace, os.O_RDONLY)
        try:
            syscalls.enter_namespace(descriptor, syscalls.CLONE_NEWNET)
        finally:
            os.close(descriptor)
        return work()

    return await _in_a_thread_of_its_own(entered)


def path_of(descriptor: int) -> str:
    """How other processes reach a namespace that this process holds."""
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def _make() -> int:
    syscalls.unshare(syscalls.CLONE_NEWNET)
    if _NO_IPV6.exists():  # addresses that containers give themselves would reach the machine past its routes
        _NO_IPV6.write_text("1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
    return os.open(_OWN_NAMESPACE, os.O_RDONLY)


async def _in_a_thread_of_its_own(work: Callable[[], T]) -> T:
    """A thread that has changed its namespace must not be used for anything else, so it is none of a pool and ends."""
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(work())
        except BaseException as error:  # noqa: BLE001 — raised again where the answer is awaited
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    with anyio.CancelScope(shield=True):  # an answer nobody takes would leak what it opened
        await asyncio.wait([asyncio.wrap_future(answer)])
    return answer.result()
