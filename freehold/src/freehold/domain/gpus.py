"""GPUs: what a function asks for, what a machine has, and which of these answer it.

A function names one type or several, the one that it wants most first: `T4`, `A100:2`, `A100-80GB`, `H100!`, `any`. A machine's devices go by
the names that their driver gives, so any type can be asked for that is part of such a name: `RTX-4090`, `A6000`.

- A memory size is the least that will do: `A100-40GB` is answered by 80 GB too, after those with 40.
- `H100` is answered by an H200 too, as on Modal, and `B200+` by a B300. `!` means this model, and this size if there is one.
- Several GPUs of one container are of one kind.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from freehold.domain.errors import InvalidRequest

Counts = tuple[tuple[str, int], ...]  # kinds of GPUs, by name, and how many; in order of the names, without zeros

_TYPE = re.compile(r"(?P<model>[A-Z0-9]+(?:-[A-Z0-9]+)*?)(?:-(?P<gb>[0-9]{1,4})GB)?(?P<mark>[!+]?)")
_NUMBER = re.compile(r"[1-9][0-9]{0,3}")
_ANY = "ANY"
_SAME = {"A10G": "A10"}  # two names of what is one offer
_SUCCESSORS = {"H100": "H200", "B200": "B300"}
_TAKES_SUCCESSOR = frozenset({"H100"})  # without a +
_LEAST, _MOST = 900, 1100  # MiB that a card has for each GB of its name
_SEPARATOR = ","
_MOST_ALTERNATIVES = 16


class GpuFallback(StrEnum):
    """What becomes of functions that ask for GPUs which no machine has."""

    REFUSE = "refuse"
    CPU = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One device of a machine. `index` is its driver's number for it, `name` the driver's name: "NVIDIA A100-SXM4-80GB"."""

    index: int
    name: str
    memory_mib: int
    uuid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRequest:
    """So many GPUs of a type, which is in capitals."""

    type: str
    count: int = 1

    def __str__(self) -> str:
        return self.type if self.count == 1 else f"{self.type}:{self.count}"


def parse(text: str, count: int = 1) -> tuple[GpuRequest, ...]:
    """One type; or what `joined` wrote. Raises InvalidRequest."""
    if _SEPARATOR not in text:
        return (_parse(text, str(count)),)
    parts = text.split(_SEPARATOR)
    if len(parts) > _MOST_ALTERNATIVES:
        msg = f"At most {_MOST_ALTERNATIVES} types of GPUs can be named for one function."
        raise InvalidRequest(msg)
    return tuple(_parse(*part.partition(":")[::2]) for part in parts)


def joined(requests: Sequence[GpuRequest]) -> str:
    """Alternatives as one text, each with its number: nobody can write that as a type, because a colon ends it."""
    return _SEPARATOR.join(f"{request.type}:{request.count}" for request in requests)


def _parse(text: str, count: str) -> GpuRequest:
    kind = text.upper()
    if not _TYPE.fullmatch(kind) or not _NUMBER.fullmatch(count):
        msg = f'gpu="{text[:100]}" is no type of GPU. Types are written like "T4", "A100:2", "A100-80GB", "H100!" or "any".'
        raise InvalidRequest(msg)
    return GpuRequest(type=kind, count=int(count))


def told(requests: Sequence[GpuRequest]) -> str:
    """As it was written."""
    names = [f'"{request}"' for request in requests]
    return f"gpu={names[0]}" if len(names) == 1 else f"gpu=[{', '.join(names)}]"


def inventory(gpus: Iterable[Gpu]) -> str:
    """What there is, for people; empty for nothing."""
    return ", ".join(f"{count} x {name}" for name, count in counted(gpus))


def lack(requests: Sequence[GpuRequest], gpus: Sequence[Gpu]) -> str:
    """Why these GPUs can answer none of the requests, whatever runs on them; empty if they can answer one."""
    if not requests or any(kinds_for(request, gpus) for request in requests):
        return ""
    return f"asks for {told(requests)}, and {f'what is here is {found}' if (found := inventory(gpus)) else 'there is no GPU here'}"


def counted(gpus: Iterable[Gpu]) -> Counts:
    return tuple(sorted(Counter(gpu.name for gpu in gpus).items()))


def summed(mine: Counts, others: Counts, sign: int = 1) -> Counts:
    """May be less than nothing."""
    if not others:
        return mine
    total = Counter(dict(mine))
    for kind, count in others:
        total[kind] += sign * count
    return tuple(sorted((kind, count) for kind, count in total.items() if count))


def kinds_for(request: GpuRequest, gpus: Sequence[Gpu]) -> tuple[str, ...]:
    """The kinds of which there are enough to answer a request, the most fitting first: its own model, and the least memory that will do."""
    ranks = {gpu.name: rank for gpu in gpus if (rank := _rank(request.type, gpu)) is not None}
    enough = {name for name, count in counted(gpus) if count >= request.count}
    return tuple(sorted(ranks.keys() & enough, key=lambda name: (ranks[name], name)))


def _rank(wanted: str, gpu: Gpu) -> tuple[int, int] | None:
    """How far from what was meant; None if it is not of this type."""
    if wanted == _ANY:
        return 0, gpu.memory_mib
    parts = _TYPE.fullmatch(wanted)
    if parts is None or not _has_memory(int(parts["gb"] or 0), gpu, is_exact=parts["mark"] == "!"):
        return None
    for distance, model in enumerate(_models(parts["model"], parts["mark"])):
        if _is_called(model, gpu.name):
            return distance, gpu.memory_mib
    return None


def _models(model: str, mark: str) -> tuple[str, ...]:
    successor = _SUCCESSORS.get(model)
    if successor and (mark == "+" or (model in _TAKES_SUCCESSOR and not mark)):
        return model, successor
    return (model,)


def _has_memory(gb: int, gpu: Gpu, *, is_exact: bool) -> bool:
    return gpu.memory_mib >= gb * _LEAST and not (is_exact and gb and gpu.memory_mib > gb * _MOST)


def _is_called(model: str, name: str) -> bool:
    """Whether the words of a model follow each other in a name: L4 is not part of L40S, but 4090 of GeForce RTX 4090."""
    wanted, words = _words(model), _words(name)
    return any(words[at : at + len(wanted)] == wanted for at in range(len(words)))


def _words(text: str) -> list[str]:
    return [_SAME.get(word, word) for word in re.split(r"[\s-]+", text.upper())]
