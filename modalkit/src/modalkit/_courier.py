"""Requests that wait together travel together.

An item waits here until there is a batch, or its time is over: the engine could gather batches, too, but it would make one of all that
comes, and then the model rests while the answers to all of them are written. So parcels alternate: one on its way, one at work, one on its
way back.

A hop to the model's container costs milliseconds, whatever it carries. Where the model's work on an item is short beside that, a parcel
takes as many waiting items as make about `PARCEL_SECONDS` of work, also where a batch is smaller; where it is long, batches leave as they
are, so that the engine's scaling sees every one of them. What an item costs is learnt from the replies.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from modalkit._parcels import Failure, Item, Outcome, Parcel, Receipt, Reply
from modalkit.errors import Problem

PARCEL_SECONDS = 0.02  # of the model's work in one parcel: a few times what the hop costs
MAX_PARCEL = 64  # items
OPEN_HANDS = 3  # parcels of quick items under way before others wait: one on its way, one at work, one on its way back

Send = Callable[[Parcel], Awaitable[Reply]]


@dataclass(slots=True)
class _Waiting:
    item: Item
    future: asyncio.Future[Outcome]


class Courier:
    """Carries items of one model from one event loop.

    `wait` is the longest time in seconds that an item waits for others; `batch` the number of items that ends the wait.
    Not more than `max_waiting` items wait at a time: past it an item is refused with 503.
    """

    def __init__(
        self, model: str, send: Send, *, max_waiting: int, on_receipt: Callable[[str, Receipt], None], batch: int = 1, wait: float = 0.0
    ) -> None:
        self._model = model
        self._send = send
        self._max_waiting = max_waiting
        self._on_receipt = on_receipt
        self._batch = batch
        self._wait = wait
        self._waiting: deque[_Waiting] = deque()
        self._under_way: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._seconds_per_item: float | None = None

    async def carry(self, item: Item) -> Outcome:
        """The outcome of one item. A caller who is cancelled takes its item out again, if it has not left."""
        if len(self._waiting) >= self._max_waiting:
            self._forget_the_cancelled()
        if len(self._waiting) >= self._max_waiting:
            return Failure(Problem(503, "Too many requests wait for this model.", "overloaded", retry_after=1.0))
        loop = asyncio.get_running_loop()
        waiting = _Waiting(item, loop.create_future())
        self._waiting.append(waiting)
        if len(self._waiting) in (1, self._enough):
            # After the requests that the loop has in its hands already: they may travel together.
            loop.call_soon(self._leave)
        return await waiting.future

    async def close(self) -> None:
        """Sends what waits, and waits for what is under way."""
        self._wait = 0.0  # for nobody else: no more requests come
        if self._timer is not None:
            self._timer.cancel()
        self._leave()
        while self._under_way:
            await asyncio.wait(self._under_way)

    @property
    def _enough(self) -> int:
        """Items that need not wait for more."""
        return self._batch if self._wait else self._worth_a_hop()

    @property
    def parcel_size(self) -> int:
        """Items that travel together when that many wait."""
        return max(self._batch, self._worth_a_hop()) if self._wait else self._worth_a_hop()

    def _worth_a_hop(self) -> int:
        """Items that make as much work as a hop should carry."""
        if self._seconds_per_item is None:
            return 1
        return max(1, min(MAX_PARCEL, int(PARCEL_SECONDS / max(self._seconds_per_item, 1e-9))))

    def _leave(self) -> None:
        """Sends what may go now."""
        self._forget_the_cancelled()
        while self._waiting and self._may_go():
            size = self.parcel_size
            self._start([self._waiting.popleft() for _ in range(min(size, len(self._waiting)))])

    def _may_go(self) -> bool:
        if len(self._waiting) >= self._enough:
            return True
        if self._wait and not self._has_waited():
            return False
        return len(self._under_way) < OPEN_HANDS or self._worth_a_hop() == 1

    def _has_waited(self) -> bool:
        """Whether the first item waited its time; if not, a timer asks again then."""
        left = self._waiting[0].item.sent + self._wait - time.time()
        if left <= 0:
            return True
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(left, self._ring)
        return False

    def _ring(self) -> None:
        self._timer = None
        self._leave()

    def _start(self, together: list[_Waiting]) -> None:
        task = asyncio.get_running_loop().create_task(self._travel(together))
        self._under_way.add(task)
        task.add_done_callback(self._arrived)

    def _arrived(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._leave()

    async def _travel(self, together: list[_Waiting]) -> None:
        try:
            reply = await self._send(Parcel(self._model, tuple(each.item for each in together)))
            answered = list(zip(together, reply.outcomes, strict=True))
        except BaseException as error:  # noqa: BLE001  # it is each waiting caller's
            _fail(together, error)
            return
        for each, outcome in answered:
            if not each.future.done():
                each.future.set_result(outcome)
        self._learn(reply.receipt)

    def _learn(self, receipt: Receipt) -> None:
        self._on_receipt(self._model, receipt)
        if receipt.items:
            cost = receipt.seconds / receipt.items
            known = self._seconds_per_item
            self._seconds_per_item = cost if known is None else known + 0.2 * (cost - known)

    def _forget_the_cancelled(self) -> None:
        if any(each.future.done() for each in self._waiting):
            self._waiting = deque(each for each in self._waiting if not each.future.done())


def _fail(together: list[_Waiting], error: BaseException) -> None:
    for each in together:
        if not each.future.done():
            if isinstance(error, asyncio.CancelledError):
                each.future.cancel()
            else:
                each.future.set_exception(error)
