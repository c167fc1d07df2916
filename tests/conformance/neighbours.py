"""Another machine, as far as containers can tell: a namespace of its own beyond this machine, in which servers of the tests listen."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from freehold.worker.network.commands import ip_batch
from freehold.worker.network.namespaces import new_namespace, path_of, run_inside

T = TypeVar("T")
Listen = Callable[[], socket.socket]


@contextmanager
def neighbour() -> Iterator[Listen]:
    """A function that opens listening sockets there, at free ports. Their address is of the range that is kept for such tests (198.18.0.0/15)."""
    third, fourth = divmod(os.getpid() % 2**14, 64)
    here, there = (f"198.18.{third}.{fourth * 4 + host}" for host in (1, 2))
    descriptor, link = asyncio.run(new_namespace()), f"nb-{os.getpid()}"
    namespace = path_of(descriptor)
    with ExitStack() as stack:
        stack.callback(os.close, descriptor)
        ip_batch(
            [f"link add {link} type veth peer name eth0 netns {namespace}", f"address add {here}/30 dev {link}", f"link set {link} up"]
        )
        stack.callback(ip_batch, [f"link delete {link}"])
        _inside(namespace, lambda: ip_batch([f"address add {there}/30 dev eth0", "link set eth0 up"]))

        def listen() -> socket.socket:
            return _inside(namespace, lambda: stack.enter_context(socket.create_server((there, 0))))

        yield listen


def _inside(namespace: str, act: Callable[[], T]) -> T:
    return asyncio.run(run_inside(namespace, act))
