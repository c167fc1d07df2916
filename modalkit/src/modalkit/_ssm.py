"""API keys from AWS Systems Manager's parameter store, read again every few minutes beside the requests."""

import asyncio
import logging
import threading
from typing import Any

from modalkit.auth import Key, parse_keys
from modalkit.settings import SsmConfig

log = logging.getLogger("modalkit")

RETRY_AFTER = 10.0  # seconds after a read that failed
FIRST_WAIT = 15.0  # seconds that requests wait for the first read


class SsmKeys:
    """The keys as they were last read; a read that fails leaves them as they are. A parameter that is gone takes its keys with it."""

    def __init__(self, config: SsmConfig) -> None:
        self._config = config
        self._keys: tuple[Key, ...] | None = None
        self._was_tried = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def keys(self) -> tuple[Key, ...] | None:
        """None until the first read."""
        return self._keys

    def start(self) -> None:
        """Begins to read, unless that has begun."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="modalkit-ssm", daemon=True)
            self._thread.start()

    async def first(self) -> tuple[Key, ...] | None:
        """The keys, waiting for the first read; None if it failed."""
        self.start()
        await asyncio.to_thread(self._was_tried.wait, FIRST_WAIT)
        return self._keys

    def stop(self) -> None:
        self._stop.set()

    def _watch(self) -> None:
        pause = 0.0
        while not self._stop.wait(pause):
            try:
                self._keys = self._read()
                pause = self._config.ttl_seconds
            except Exception as error:  # noqa: BLE001  # whatever AWS, the network or a parameter's text is guilty of
                pause = min(RETRY_AFTER, self._config.ttl_seconds)
                kept = "there are none yet" if self._keys is None else "those that were read before stay"
                log.warning(
                    "API keys cannot be read from SSM (%s: %s); %s, and it is tried again in %g s", type(error).__name__, error, kept, pause
                )
            self._was_tried.set()

    def _read(self) -> tuple[Key, ...]:
        answer = self._client().get_parameters(Names=self._config.parameters, WithDecryption=True)
        if missing := answer.get("InvalidParameters"):
            log.warning("SSM has no parameter %s: no API key comes from there", ", ".join(missing))
        found = ((each["Name"], each["Value"]) for each in answer["Parameters"])
        return tuple(key for name, value in found for key in parse_keys(value, f"SSM's {name}", name=name.rpartition("/")[2]))

    def _client(self) -> Any:
        """A new one for each read, so that credentials and files that change meanwhile count."""
        import boto3  # type: ignore[import-untyped]  # noqa: PLC0415
        from botocore.config import Config  # type: ignore[import-untyped]  # noqa: PLC0415

        patience = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2})
        return boto3.session.Session().client(
            "ssm", region_name=self._config.region, endpoint_url=self._config.endpoint_url, config=patience
        )
