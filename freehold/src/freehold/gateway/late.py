"""Responses that take long: their callers are sent to an address at which they may ask again, and the exchange goes on meanwhile."""

from collections.abc import Callable
from typing import Any

from starlette.responses import RedirectResponse, Response

from freehold.domain.errors import NotFound
from freehold.gateway.connections import Connection
from freehold.gateway.exchanges import Exchange

PARAMETER = b"__modal_function_call_id"  # as modal's own gateway calls it
_KEPT_SECONDS = 600.0  # without its caller
_MAX_KEPT = 10_000


class Shelf:
    """Takes the place of a caller that was sent away, and writes down what it would have been told."""

    def __init__(self, exchange: Exchange, until: float) -> None:
        self.exchange: Exchange | None = exchange
        self.owner = exchange.owner
        self.until = until
        self.has_begun = False
        self.is_slow = True
        self.is_awaited = False
        self._written: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    def hand_over(self, connection: Connection) -> None:
        if self.exchange:
            self.exchange.caller = connection
            self.exchange.since = connection.state.now
        connection.exchange = self.exchange
        for method, arguments in self._written:
            method(connection, *arguments)
        connection.flush()
        if self.exchange and self.has_begun:
            self.exchange.caller_is_ready()

    def begin(self, status: int, lines: bytes, length: bytes | None) -> None:
        self.has_begun = True
        self._written.append((Connection.begin, (status, lines, length)))
        if self.exchange:
            self.exchange.caller_is_slow()

    def send(self, data: bytes) -> None:
        self._written.append((Connection.send, (data,)))

    def finish(self) -> None:
        self._written.append((Connection.finish, ()))
        self.exchange = None

    def cut(self) -> None:
        self._written.append((Connection.cut, ()))
        self.exchange = None

    def answer(self, response: Response) -> None:
        self._written.append((Connection.answer, (response,)))
        self.has_begun, self.exchange = True, None

    def refuse(self, error: Exception) -> None:
        self._written.append((Connection.refuse, (error,)))
        self.has_begun, self.exchange = True, None

    def inform(self, status: int, lines: bytes = b"") -> None:
        pass

    def switch(self, lines: bytes) -> None:
        pass  # those that wish to are not put off

    def flush(self) -> None:
        pass

    def hold(self) -> None:
        pass

    def let_go(self) -> None:
        pass


class Late:
    """`redirect_after` is how long a caller waits at a time, in seconds."""

    def __init__(self, redirect_after: float) -> None:
        self._redirect_after = redirect_after
        self._shelves: dict[str, Shelf] = {}

    def __len__(self) -> int:
        return len(self._shelves)

    def put_off_if_due(self, exchange: Exchange, now: float) -> None:
        """A HEAD is not put off: what was asked for could not be told from the address any more."""
        caller = exchange.caller
        if now - exchange.since < self._redirect_after or not isinstance(caller, Connection) or not _can_return(exchange):
            return
        if len(self._shelves) < _MAX_KEPT:
            self.keep(exchange)
            caller.answer(RedirectResponse(_address(caller, exchange.call_id), 303))

    def keep(self, exchange: Exchange) -> None:
        shelf = Shelf(exchange, exchange.state.now + _KEPT_SECONDS)
        exchange.caller, exchange.was_put_off = shelf, True
        self._shelves[exchange.call_id] = shelf

    def take(self, call_id: str, owner: object) -> Shelf:
        """What was put off under this id by the same function. Raises NotFound."""
        shelf = self._shelves.get(call_id)
        if shelf is None or shelf.owner != owner:
            msg = f"Nothing is kept here for {call_id[:40]}: its response was fetched already, or nobody asked for it for too long."
            raise NotFound(msg)
        del self._shelves[call_id]
        return shelf

    def sweep(self, now: float) -> None:
        for call_id, shelf in list(self._shelves.items()):
            if shelf.exchange:
                shelf.exchange.check(now)
            if shelf.until < now:
                del self._shelves[call_id]
                if shelf.exchange:
                    shelf.exchange.abandon()

    def close(self) -> None:
        for shelf in self._shelves.values():
            if shelf.exchange:
                shelf.exchange.abandon()
        self._shelves.clear()


def call_id_in(target: bytes) -> str:
    """The id that an address asks for again; empty: it is an ordinary one."""
    if PARAMETER not in target:
        return ""
    pairs = (pair.partition(b"=") for pair in target.partition(b"?")[2].split(b"&"))
    return next((value.decode("latin-1") for name, _, value in pairs if name == PARAMETER), "")


def _can_return(exchange: Exchange) -> bool:
    return exchange.head.method != b"HEAD" and not exchange.head.upgrade


def _address(connection: Connection, call_id: str) -> str:
    head = connection.head
    assert head
    path, _, query = head.target.partition(b"?")
    pairs = [pair for pair in query.split(b"&") if pair and not pair.startswith(PARAMETER + b"=")]
    query = b"&".join([*pairs, PARAMETER + b"=" + call_id.encode()])
    return (connection.told_origin() + path + b"?" + query).decode("latin-1")
