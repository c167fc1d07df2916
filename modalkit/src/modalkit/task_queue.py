"""Queues that take the results of jobs: what one must do, which there are, and how to add your own.

    class Kafka:
        def __init__(self, config: QueueConfig) -> None: ...
        async def send(self, queue: str, message: bytes, attributes: dict[str, str]) -> None: ...
        async def close(self) -> None: ...

    register_backend("kafka", Kafka)

and `queue_config: { backend: kafka }`, or `backend: "my_package.my_module:Kafka"` without registering. A queue is made in the container of
the model, from `queue_config` alone; making it opens no connection.
"""

import difflib
import importlib
import importlib.util
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from modalkit.errors import ConfigError, QueueRefusedError
from modalkit.settings import QueueConfig

__all__ = [
    "MemoryQueue",
    "Message",
    "QueueRefusedError",
    "TaskQueue",
    "backend_names",
    "check",
    "create_queue",
    "register_backend",
    "required_extra",
]


class TaskQueue(Protocol):
    """A way to queues. It is used from one event loop, by several senders at a time."""

    async def send(self, queue: str, message: bytes, attributes: dict[str, str]) -> None:
        """Returns once the server has the message. Raises QueueRefusedError where another try is of no use, anything else where it may be.

        `message` is JSON in UTF-8; `attributes` has `job_id`, `state`, `model` and `message_id`, which is the same whenever one result is
        sent again.
        """

    async def close(self) -> None:
        """Ends connections. Nothing is sent afterwards."""


Factory = Callable[[QueueConfig], TaskQueue]


@dataclass(frozen=True, slots=True)
class _Backend:
    factory: Factory
    extra: str = ""  # of this package, that installs what it needs
    modules: tuple[str, ...] = ()  # that it imports


@dataclass(frozen=True, slots=True)
class Message:
    """What a memory queue holds."""

    body: bytes
    attributes: dict[str, str]


class MemoryQueue:
    """Queues in this process, for tests and `modalkit dev`: in containers nobody could read them."""

    _queues: dict[str, deque[Message]] = {}  # noqa: RUF012  # one for the process, as a server would be

    def __init__(self, config: QueueConfig) -> None:
        self._max_length = config.max_length

    async def send(self, queue: str, message: bytes, attributes: dict[str, str]) -> None:
        self._queues.setdefault(queue, deque(maxlen=self._max_length)).append(Message(message, attributes))

    async def close(self) -> None:
        pass

    @classmethod
    def take(cls, queue: str) -> list[Message]:
        """What was sent to a queue of this process, oldest first; it is empty afterwards."""
        return list(cls._queues.pop(queue, ()))


def register_backend(name: str, factory: Factory, *, extra: str = "") -> None:
    """Makes `queue_config.backend: <name>` mean `factory(queue_config)`. `extra` of this package is installed in images that use it."""
    _backends[name] = _Backend(factory, extra)


def backend_names() -> list[str]:
    """The names that `queue_config.backend` may have."""
    return sorted(_backends)


def required_extra(config: QueueConfig) -> str:
    """The extra of this package that the configured back-end needs; empty for none."""
    found = _backends.get(config.backend)
    return found.extra if found else ""


def create_queue(config: QueueConfig) -> TaskQueue | None:
    """The configured queue; None without one. Raises ConfigError: unknown, not installed, or not made of this configuration."""
    if not config.backend:
        return None
    backend = _find(config.backend)
    if missing := [name for name in backend.modules if importlib.util.find_spec(name) is None]:
        msg = f"queue_config.backend: {config.backend} needs {' and '.join(missing)}: pip install 'modalkit[{backend.extra}]'"
        raise ConfigError(msg)
    try:
        return backend.factory(config)
    except ConfigError:
        raise
    except Exception as error:
        msg = f"queue_config: {config.backend} cannot be made: {type(error).__name__}: {error}"
        raise ConfigError(msg) from error


def check(config: QueueConfig) -> None:
    """Raises ConfigError where `create_queue` would, without keeping the queue."""
    create_queue(config)


def _find(name: str) -> _Backend:
    if found := _backends.get(name):
        return found
    if ":" in name:
        return _Backend(_imported("queue_config.backend", name))
    near = difflib.get_close_matches(name, _backends, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(backend_names())}, and package.module:factory."
    msg = f"queue_config.backend: there is no {name!r}; {hint}"
    raise ConfigError(msg)


def _imported(setting: str, path: str) -> Any:
    """The object that `package.module:name` says. Raises ConfigError."""
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        msg = f"{setting}: {path!r} cannot be imported: {error}"
        raise ConfigError(msg) from error


def _sqs(config: QueueConfig) -> TaskQueue:
    from modalkit._queues.sqs import SqsQueue  # noqa: PLC0415

    return SqsQueue(config)


def _redis(config: QueueConfig) -> TaskQueue:
    from modalkit._queues.redis_stream import RedisQueue  # noqa: PLC0415

    return RedisQueue(config)


def _taskiq(config: QueueConfig) -> TaskQueue:
    from modalkit._queues.taskiq import TaskiqQueue  # noqa: PLC0415

    broker = _imported("queue_config.taskiq_broker", config.taskiq_broker) if config.taskiq_broker else None
    return TaskiqQueue(config, broker)


_backends: dict[str, _Backend] = {
    "memory": _Backend(MemoryQueue),
    "sqs": _Backend(_sqs, "sqs", ("boto3",)),
    "redis": _Backend(_redis, "redis", ("redis",)),
    "taskiq": _Backend(_taskiq, "taskiq", ("taskiq", "taskiq_redis")),
}
