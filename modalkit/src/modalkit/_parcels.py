"""What travels between a caller and the model's container.

Callers send parcels; the engine gives a container those that have come (`@modal.batched`); the container answers each parcel with a reply that has
one outcome an item, in order. A parcel holds one item, or several that waited in one web container: see `_courier`.
"""

import pickle
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from modalkit.errors import Problem


@dataclass(frozen=True, slots=True)
class JobOrder:
    """What a job wants besides its result: where else it goes. `message_id` is the same whenever its result is sent again."""

    success_queue: str = ""
    failure_queue: str = ""
    webhook_url: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    message_id: str = field(default_factory=lambda: f"msg_{uuid.uuid4().hex}")


@dataclass(frozen=True, slots=True)
class Item:
    """One input. `trace` is a W3C carrier, `order` makes it a job, `sent` is time.time() when it began to wait."""

    input: Any
    trace: dict[str, str] = field(default_factory=dict)
    order: JobOrder | None = None
    sent: float = 0.0


@dataclass(frozen=True, slots=True)
class Parcel:
    """Items for one model. `asks_status` asks whether the model is ready, with no items."""

    model: str
    items: tuple[Item, ...] = ()
    asks_status: bool = False

    def __reduce__(self) -> "_Reduced":
        return _reduced(Parcel, (self.model, self.items, self.asks_status))


@dataclass(frozen=True, slots=True)
class JobNote:
    """What is known of a job at its end. `ended` is time.time()."""

    ended: float
    meta: dict[str, Any] = field(default_factory=dict)
    deliveries: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """An item that succeeded. `job` is there when it was one."""

    value: Any
    job: JobNote | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that failed, alone."""

    problem: Problem
    job: JobNote | None = None


Outcome = Output | Failure


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the container did, for the sender's metrics. `seconds` is the model's work on the whole engine batch of `items` items."""

    container: str = ""
    seconds: float = 0.0
    items: int = 0
    batches: tuple[int, ...] = ()  # items of each batch that the model was given
    waits: tuple[float, ...] = ()  # seconds that each of this parcel's items waited before its batch began
    loads: tuple[tuple[str, float], ...] = ()  # models loaded meanwhile, and the seconds it took


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """Whether a model can answer, and if not why."""

    model: str
    is_ready: bool
    reason: str = ""
    loaded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one parcel."""

    outcomes: tuple[Outcome, ...] = ()
    receipt: Receipt = Receipt()
    status: ModelStatus | None = None

    def __reduce__(self) -> "_Reduced":
        return _reduced(Reply, (self.outcomes, self.receipt, self.status))


_Reduced = tuple[Callable[..., Any], tuple[Any, ...]]


def _reduced(made: Callable[..., Any], fields: tuple[Any, ...]) -> _Reduced:
    """How something that travels is pickled: its inside by the plain pickler, as one piece.

    The SDK's pickler asks a function of its own about every object, which costs more than all else of a parcel of many items. What needs that
    pickler (classes of a script or of a function's inside, objects of the SDK) still gets it.
    """
    try:
        inside = pickle.dumps(fields, pickle.HIGHEST_PROTOCOL)
    except Exception:  # noqa: BLE001  # whatever it is, the SDK's pickler takes it or says what is wrong
        return made, fields
    return (made, fields) if b"__main__" in inside else (_made, (made, inside))


def _made(made: Callable[..., Any], inside: bytes) -> Any:
    return made(*pickle.loads(inside))  # noqa: S301  # of the same origin as what holds it
