"""The memory of `Idempotency-Key`: the same key begins one job.

Without `jobs_config.idempotency_url` each web container remembers its own keys, which is enough where there is one of them
(`handler_max_containers: 1`) or where a client's retries reach the same; with it, they share a Redis.
"""

import asyncio
import hashlib
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from modalkit.errors import ConfigError, InferenceError, Problem
from modalkit.settings import JobsConfig

log = logging.getLogger("modalkit")

Begin = Callable[[], Awaitable[str]]

_BEGINNING = 60  # seconds that a key is held by a container that may have died while it began the job
_PATIENCE = 20.0  # seconds that a request waits for another with its key
_PAUSE = 0.1


class Memory(Protocol):
    """Which keys were used lately, for what, and which job they began."""

    async def once(self, key: str, fingerprint: str, begin: Begin) -> str:
        """The id of the key's job, which `begin` makes where there is none. Raises InferenceError: 409 where the key was used for another
        request, 409 where the first request with it still begins, 503 where the memory does not answer.
        """

    async def close(self) -> None: ...


@dataclass(slots=True)
class _Known:
    fingerprint: str
    until: float  # time.monotonic()
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    job_id: str = ""


class OwnMemory:
    """The newest `most` keys of one web container, each for `ttl` seconds."""

    def __init__(self, ttl: float, most: int) -> None:
        self._ttl = ttl
        self._most = most
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def once(self, key: str, fingerprint: str, begin: Begin) -> str:
        known = self._recall(key, fingerprint)
        _check_same(known.fingerprint, fingerprint)
        async with known.turn:
            if not known.job_id:
                known.job_id = await begin()
        return known.job_id

    async def close(self) -> None:
        pass

    def _recall(self, key: str, fingerprint: str) -> _Known:
        now = time.monotonic()
        known = self._known.get(key)
        if known is None or known.until < now or not (known.job_id or known.turn.locked()):
            known = self._known[key] = _Known(fingerprint, now + self._ttl)
            self._known.move_to_end(key)
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        return known


class SharedMemory:
    """Keys in Redis, for all web containers. `name` keeps apps apart that share one."""

    def __init__(self, url: str, ttl: float, name: str) -> None:
        from modalkit._queues.redis_stream import connect  # noqa: PLC0415

        self._client: Any = connect(url, timeout=5)
        self._ttl = int(ttl)
        self._name = name

    async def once(self, key: str, fingerprint: str, begin: Begin) -> str:
        place = f"modalkit:{self._name}:{hashlib.sha256(key.encode()).hexdigest()}"
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            if await self._asked("set", place, _written(fingerprint), nx=True, ex=_BEGINNING):
                return await self._begun(place, fingerprint, begin)
            if (found := await self._asked("get", place)) is not None:
                known = json.loads(found)
                _check_same(known["fingerprint"], fingerprint)
                if known["job_id"]:
                    return str(known["job_id"])
            await asyncio.sleep(_PAUSE)
        raise InferenceError.of(Problem(409, "The first request with this Idempotency-Key is still begun.", "conflict", retry_after=1))

    async def close(self) -> None:
        await self._client.aclose()

    async def _begun(self, place: str, fingerprint: str, begin: Begin) -> str:
        try:
            job_id = await begin()
        except BaseException:
            await self._asked("delete", place)
            raise
        try:
            await self._asked("set", place, _written(fingerprint, job_id), ex=self._ttl)
        except InferenceError:  # the job is there: whoever is told otherwise begins a second one
            log.warning("The memory of Idempotency-Key did not take job %s", job_id.partition(".")[0])
        return job_id

    async def _asked(self, command: str, *words: Any, **options: Any) -> Any:
        from redis.exceptions import RedisError  # noqa: PLC0415

        try:
            return await getattr(self._client, command)(*words, **options)
        except (RedisError, OSError) as error:
            problem = Problem(503, "The memory of Idempotency-Key does not answer.", "unavailable", retry_after=1)
            raise InferenceError.of(problem) from error


def memory_of(config: JobsConfig, name: str) -> Memory:
    """The configured memory. Raises ConfigError."""
    if not config.idempotency_url:
        return OwnMemory(config.idempotency_ttl_seconds, config.idempotency_keys)
    try:
        return SharedMemory(config.idempotency_url, config.idempotency_ttl_seconds, name)
    except ImportError as error:
        msg = "jobs_config.idempotency_url needs redis: pip install 'modalkit[redis]'"
        raise ConfigError(msg) from error
    except ValueError as error:
        msg = f"jobs_config.idempotency_url: {error}"
        raise ConfigError(msg) from error


def fingerprint_of(model: str, body: bytes) -> str:
    """What tells one request from another."""
    return hashlib.sha256(model.encode() + b"\n" + body).hexdigest()


def _written(fingerprint: str, job_id: str = "") -> str:
    return json.dumps({"fingerprint": fingerprint, "job_id": job_id})


def _check_same(known: str, fingerprint: str) -> None:
    if known != fingerprint:
        raise InferenceError.of(Problem(409, "This Idempotency-Key was used for another request.", "key_reused"))
