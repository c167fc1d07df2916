"""What a build says: our remarks and the output of its steps, streamed as it comes."""

from freehold.domain.clock import Clock
from freehold.domain.logs import LogEntry, LogSource
from freehold.worker.logs import ContainerLog, Sink


class BuildLog:
    """Where one build writes. `container` takes the output of the current step and keeps its last lines, to explain a failure."""

    def __init__(self, sink: Sink, clock: Clock) -> None:
        self._sink = sink
        self._clock = clock
        self.container = ContainerLog(sink=sink, clock=clock)

    @property
    def tail(self) -> str:
        return self.container.tail.text()

    def step(self, text: str) -> None:
        """A new step begins."""
        self.container = ContainerLog(sink=self._sink, clock=self._clock)
        self.remark(f"=> {text}")

    def remark(self, text: str) -> None:
        self._sink([LogEntry(at=self._clock.now().timestamp(), source=LogSource.SYSTEM, text=f"{text}\n")])
