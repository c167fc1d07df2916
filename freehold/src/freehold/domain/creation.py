"""What a client wants when it names a thing: look it up, make it, replace it, or make one without a name."""

from enum import IntEnum

from freehold.domain.errors import InvalidRequest


class Creation(IntEnum):
    """Numbered as on the wire (`ObjectCreationType`)."""

    LOOK_UP = 0
    IF_MISSING = 1
    MUST_BE_NEW = 2
    OVERWRITE = 3
    ANONYMOUS = 4  # owned by an app
    EPHEMERAL = 5  # owned by nobody

    @classmethod
    def _missing_(cls, value: object) -> "Creation":
        msg = f"This engine does not know the creation type {value}: the client may be newer than the engine."
        raise InvalidRequest(msg)

    @property
    def is_anonymous(self) -> bool:
        return self in {Creation.ANONYMOUS, Creation.EPHEMERAL}
