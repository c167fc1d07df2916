"""Redis streams: unlike a list, a stream has attributes beside the message, and readers that confirm what they have done."""

from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from modalkit.errors import QueueRefusedError
from modalkit.settings import QueueConfig


class RedisQueue:
    """Adds an entry with the fields `message` and the attributes to the stream of the queue's name."""

    def __init__(self, config: QueueConfig) -> None:
        self._max_length = config.max_length
        self._client: Any = connect(config.url, config.timeout_seconds)

    async def send(self, queue: str, message: bytes, attributes: dict[str, str]) -> None:
        try:
            await self._client.xadd(queue, {"message": message, **attributes}, maxlen=self._max_length, approximate=True)
        except ResponseError as error:
            if str(error).startswith("WRONGTYPE"):
                msg = f"{queue!r} is no stream: {error}"
                raise QueueRefusedError(msg) from error
            raise

    async def close(self) -> None:
        await self._client.aclose()


def connect(url: str, timeout: float) -> "Redis":
    """A client that has not connected yet. Raises ValueError for an address that is none."""
    if not url:
        msg = "url is missing: write for example redis://localhost:6379/0"
        raise ValueError(msg)
    try:
        return Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout)
    except ValueError:  # it may say a part of the address, and so of its password
        msg = "url is no address of a Redis: write redis://host:port/0 or rediss://…, with %XX for special characters of a password"
        raise ValueError(msg) from None
