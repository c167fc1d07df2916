"""The refusals of the engine. Each carries what the person needs next, in a sentence of its own.

FreeholdError
 ├─ InvalidRequest       the request itself is wrong: a name, a size, a path
 ├─ Unauthenticated      no token, or one we do not know
 ├─ PermissionDenied     known, but not allowed this
 ├─ NotFound             no such thing; says where it was looked for and how to make it
 ├─ AlreadyExists        created before, and the caller asked for a new one
 ├─ Conflict             the thing is in a state that does not allow this
 ├─ ResourceExhausted    a bound was reached; may be tried again later
 ├─ DeadlineExceeded     a wait ended without its event
 ├─ Unavailable          cannot be served now; may be tried again
 └─ NotSupported         understood, and not built (yet)

Codes are given at the edges (`control/rpc/errors.py`, `gateway/errors.py`), never here.
"""


class FreeholdError(Exception):
    """Base of every refusal; `str(error)` is the text that a person sees."""


class InvalidRequest(FreeholdError):
    pass


class Unauthenticated(FreeholdError):
    pass


class PermissionDenied(FreeholdError):
    pass


class NotFound(FreeholdError):
    pass


class AlreadyExists(FreeholdError):
    pass


class Conflict(FreeholdError):
    pass


class ResourceExhausted(FreeholdError):
    pass


class DeadlineExceeded(FreeholdError):
    pass


class Unavailable(FreeholdError):
    pass


class NotSupported(FreeholdError):
    pass
