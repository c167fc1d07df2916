"""The prices of this engine's home, as its owner has written them: `<home>/prices.toml`."""

from pathlib import Path

import anyio.to_thread
import structlog

from freehold.domain.cost import DEFAULT, FILE, Prices, parse
from freehold.domain.errors import InvalidRequest

log = structlog.get_logger()


class PriceFile:
    """Read again whenever it has changed."""

    def __init__(self, home: Path) -> None:
        self._file = home / FILE
        self._seen: tuple[int, int] | None = None
        self._prices = Prices()

    def open(self) -> None:
        """Write one with all prices 0 and what they mean, where there is none. Without it they are 0 too: a full disk stops no engine."""
        try:
            if not self._file.exists():
                self._file.write_text(DEFAULT)
        except OSError as error:
            log.warning("prices_not_written", file=str(self._file), reason=str(error))

    async def prices(self) -> Prices:
        """Raises InvalidRequest, with file and line, when they cannot be understood."""
        return await anyio.to_thread.run_sync(self._read)

    def _read(self) -> Prices:
        try:
            found = self._file.stat()
            if (found.st_mtime_ns, found.st_size) != self._seen:
                self._prices = parse(self._file.read_text(), str(self._file))
                self._seen = (found.st_mtime_ns, found.st_size)
        except FileNotFoundError:
            self._prices, self._seen = Prices(), None
        except (OSError, UnicodeDecodeError) as error:
            msg = f"{self._file} cannot be read: {error}"
            raise InvalidRequest(msg) from error
        return self._prices
