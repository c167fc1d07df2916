"""Which certificate a TLS connection is shown: one for the name that it asks for, made when it is first asked for."""

import os
import ssl
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from freehold.domain.clock import Clock

_RENEWED_BEFORE = timedelta(days=30)
_MOST_NAMES = 1000


class Leaf(Protocol):
    @property
    def pem(self) -> bytes:
        """Key and certificate."""
        ...

    @property
    def expires_at(self) -> datetime: ...


class Authority(Protocol):
    def vouch(self, names: Sequence[str], now: datetime) -> Leaf: ...


class Certificates:
    """`is_ours` says for which host names certificates are made; `own` are the engine's, which all others are shown.

    Wildcards directly below a top-level name (`*.localhost`) are refused by common TLS libraries, so each name gets its own.
    """

    def __init__(self, *, authority: Authority, own: Sequence[str], is_ours: Callable[[str], bool], clock: Clock) -> None:
        self._authority = authority
        self._own = tuple(own)
        self._is_ours = is_ours
        self._clock = clock
        self._contexts: OrderedDict[tuple[str, ...], tuple[ssl.SSLContext, datetime]] = OrderedDict()
        self.context = _context()  # what servers are given; each connection goes on with the one for its name
        self.context.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        wanted = (name or "").lower().removesuffix(".")
        connection.context = self.of((wanted,) if wanted and wanted not in self._own and self._is_ours(wanted) else self._own)

    def of(self, names: tuple[str, ...]) -> ssl.SSLContext:
        now = self._clock.now()
        context, expires_at = self._contexts.get(names, (None, now))
        if context is None or expires_at - now < _RENEWED_BEFORE:
            context, expires_at = self._made(names, now)
        self._contexts[names] = context, expires_at
        self._contexts.move_to_end(names)
        if len(self._contexts) > _MOST_NAMES:
            self._contexts.popitem(last=False)
        return context

    def _made(self, names: tuple[str, ...], now: datetime) -> tuple[ssl.SSLContext, datetime]:
        leaf = self._authority.vouch(names, now)
        context = _context()
        _load(context, leaf.pem)
        return context, leaf.expires_at


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    """Python reads certificates from files only: this one is in memory, and nowhere else."""
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
