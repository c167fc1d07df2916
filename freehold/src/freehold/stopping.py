"""How the engine ends when it is asked to: in order, and if that takes too long, at once.

Whoever asked (`freehold down`, or the supervisor after Ctrl-C) then removes from the machine what is left: an engine that ends in the
middle loses no more than one that is killed.
"""

import asyncio
import os
import signal
import sys
import threading
from dataclasses import dataclass, field

import structlog

from freehold.observability.stacks import where_all_stand

log = structlog.get_logger()

# Tasks get 30 s of grace, their clean-up and callers some more. `freehold down` waits for 60.
LONGEST_STOP = 50.0
OVERDUE = 70  # exit status


@dataclass
class Stopping:
    """Made in the event loop of the engine. `asked` is set by SIGTERM or SIGINT; from then on, the process has `seconds` to end."""

    seconds: float = LONGEST_STOP
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def heed_signals(self) -> None:
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self.ask)

    def ask(self) -> None:
        if self.asked.is_set():
            return
        self.asked.set()
        # A thread, because a loop that is stuck keeps no time.
        deadline = threading.Timer(self.seconds, self._end)
        deadline.daemon = True
        deadline.start()

    def _end(self) -> None:
        try:
            log.error("engine_stop_overdue", after_seconds=self.seconds, tasks=len(asyncio.all_tasks(self._loop)))
            sys.stderr.write(where_all_stand(self._loop))
            sys.stderr.flush()
        finally:
            os._exit(OVERDUE)
