"""TaskIQ: a message becomes a task that your workers run."""

import asyncio
from typing import Any

from taskiq import AsyncBroker
from taskiq.kicker import AsyncKicker

from modalkit._queues.redis_stream import connect
from modalkit.settings import QueueConfig


class TaskiqQueue:
    """Asks for the task of the queue's name with the message as its only argument, a text, and the attributes as labels."""

    def __init__(self, config: QueueConfig, broker: AsyncBroker | None = None) -> None:
        self._broker: Any = broker or _stream_broker(config)
        self._is_started = False
        self._starting = asyncio.Lock()  # several send at once

    async def send(self, queue: str, message: bytes, attributes: dict[str, str]) -> None:
        async with self._starting:
            if not self._is_started:
                await self._broker.startup()
                self._is_started = True
        kicker: AsyncKicker[Any, Any] = AsyncKicker(queue, self._broker, dict(attributes))
        await kicker.with_task_id(attributes["message_id"]).kiq(message.decode())

    async def close(self) -> None:
        if self._is_started:
            await self._broker.shutdown()


def _stream_broker(config: QueueConfig) -> AsyncBroker:
    from taskiq_redis import RedisStreamBroker  # noqa: PLC0415

    if not config.url:
        msg = "url is missing: write for example redis://localhost:6379/0, or name your own taskiq_broker"
        raise ValueError(msg)
    connect(config.url, config.timeout_seconds)  # whose words about a wrong address hold no part of it
    within = config.timeout_seconds
    return RedisStreamBroker(config.url, maxlen=config.max_length, socket_timeout=within, socket_connect_timeout=within)
