"""What usage costs, by prices that the owner of the machine sets in a file (TOML).

Prices are zero until someone sets them: a figure that nobody has entered must not look like one.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from freehold.domain.errors import InvalidRequest
from freehold.domain.usage import Usage

FILE = "prices.toml"
CPU, MEMORY = "CPU", "Memory"  # as people read them; of GPUs it is the driver's name
ANY = "any"

DEFAULT = """\
# What this machine's time costs. `freehold cost` and `modal billing` go by it; a change counts at once, for all that was ever used.
#
# All prices are 0 until you set them. To get one: what a part costs in a year (its price over the years that it lasts, its electricity),
# by 31,536,000 seconds, by the share of them in which it is used. A machine with 16 cores that costs 1,500 a year and is used half
# of the time: 1500 / 31536000 / 16 / 0.5 = 0.000006 for each core and second.

currency = "USD"

[per_second]
cpu_core = 0.0    # one core, used for one second
memory_gib = 0.0  # one GiB, held for one second

[per_second.gpu]  # one device, held for one second: by type, as in gpu="…"; `any` is for those that are not named
any = 0.0
# T4 = 0.0
# "A100-80GB" = 0.0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """For a second of one core, of one GiB, and of one GPU by type."""

    currency: str = "USD"
    cpu_core: Decimal = Decimal(0)
    memory_gib: Decimal = Decimal(0)
    gpus: Mapping[str, Decimal] = field(default_factory=dict)

    def gpu(self, name: str) -> Decimal:
        """Of a device, by the name that its driver gives it: that of the type which says most about it, else of `any`."""
        words = set(_words(name))
        fitting = [kind for kind in self.gpus if set(_words(kind)) <= words]
        best = max(fitting, key=lambda kind: len(_words(kind)), default=ANY)
        return self.gpus.get(best, Decimal(0))

    @property
    def are_set(self) -> bool:
        """Whether anything has a price."""
        return any(self.table().values())

    def table(self) -> dict[str, Decimal]:
        """By what they are for, as rates are told."""
        return {"cpu_core_second": self.cpu_core, "memory_gib_second": self.memory_gib, **_gpu_rates(self.gpus)}


def cost_of(usage: Usage, prices: Prices) -> dict[str, Decimal]:
    """By resource, of what was used at all. Exact to a billionth."""
    costs = {CPU: _amount(usage.cpu_core_seconds) * prices.cpu_core, MEMORY: _amount(usage.memory_gib_seconds) * prices.memory_gib}
    costs |= {name: _amount(seconds) * prices.gpu(name) for name, seconds in usage.gpu_seconds.items() if seconds}
    return {resource: cost.quantize(_SMALLEST) for resource, cost in costs.items()}


def total_of(usage: Usage, prices: Prices) -> Decimal:
    return sum(cost_of(usage, prices).values(), Decimal(0))


def written(cost: Decimal) -> str:
    """For people, without its currency. What is less than can be shown does not look like nothing."""
    return f"<{_SHOWN}" if 0 < cost < _SHOWN else f"{cost:,.4f}"


def parse(text: str, where: str) -> Prices:
    """The prices in a file. Raises InvalidRequest that names its line: `prices.toml:7: …`."""
    try:
        content = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        msg = f"{where}{':' + line[1] if line else ''}: not valid TOML: {error}"
        raise InvalidRequest(msg) from error
    reader = _Reader(text, where)
    reader.check(_TOP, content, {"currency", "per_second"})
    seconds = reader.part("per_second", content)
    reader.check("per_second", seconds, {"cpu_core", "memory_gib", "gpu"})
    gpus = reader.part("per_second.gpu", seconds)
    return Prices(
        currency=reader.word("currency", content.get("currency", "USD")),
        cpu_core=reader.price("per_second", "cpu_core", seconds.get("cpu_core", 0)),
        memory_gib=reader.price("per_second", "memory_gib", seconds.get("memory_gib", 0)),
        gpus={kind: reader.price("per_second.gpu", kind, price) for kind, price in gpus.items()},
    )


_SMALLEST = Decimal("1e-9")
_SHOWN = Decimal("0.0001")
_TOP = ""  # what is in no table
_KEY = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9_.-]+))\s*=""")
_TABLE = re.compile(r"\s*\[\s*([^\]]+?)\s*\]")


class _Reader:
    """Values of a file, with the line of each where one is wrong."""

    def __init__(self, text: str, where: str) -> None:
        self._lines = text.splitlines()
        self._where = where

    def check(self, table: str, content: Mapping[str, Any], known: set[str]) -> None:
        for key in content:
            if key not in known:
                raise self._wrong(table, key, f"{key!r} is not known here; what may stand here: {', '.join(sorted(known))}.")

    def part(self, path: str, content: Mapping[str, Any]) -> dict[str, Any]:
        table, _, key = path.rpartition(".")
        found = content.get(key, {})
        if not isinstance(found, dict):
            raise self._wrong(table, key, f"{key!r} is a table: [{path}].")
        return found

    def word(self, key: str, value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(r"\S{1,8}", value):
            raise self._wrong(_TOP, key, f'{key!r} is a short text, as in {key} = "USD".')
        return value

    def price(self, table: str, key: str, value: Any) -> Decimal:
        try:
            price = Decimal(value) if isinstance(value, Decimal | int) and not isinstance(value, bool) else Decimal("NaN")
        except InvalidOperation:
            price = Decimal("NaN")
        if not price.is_finite() or price < 0:
            raise self._wrong(table, key, f"{key!r} is a price for one second, a number from 0 on, as in {key} = 0.00001.")
        return price

    def _wrong(self, table: str, key: str, text: str) -> InvalidRequest:
        return InvalidRequest(f"{self._where}:{self._line(table, key)}: {text}")

    def _line(self, table: str, key: str) -> int:
        """Of a key in a table, or of the table of that name; the first, if it is written in some other way."""
        path = f"{table}.{key}".lstrip(".")
        current = ""
        for number, line in enumerate(self._lines, start=1):
            if found := _TABLE.match(line):
                current = found[1]
                if current == path or current.startswith(path + "."):
                    return number
            elif (named := _KEY.match(line)) and f"{current}.{named[1] or named[2] or named[3]}".lstrip(".") == path:
                return number
        return 1


def _amount(value: float) -> Decimal:
    return Decimal(repr(round(value, 6)))


def _gpu_rates(gpus: Mapping[str, Decimal]) -> dict[str, Decimal]:
    return {f"gpu_{kind}_second": price for kind, price in gpus.items()}


def _words(text: str) -> list[str]:
    return ["A10" if word == "A10G" else word for word in re.split(r"[\s-]+", text.upper())]
