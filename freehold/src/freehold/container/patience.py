"""Seam: an engine that does not answer is waited for.

Modal tries again three times, which takes 0.7 s; an engine that is started anew needs longer. Its containers go on when it is back, and
so do the calls that users' code makes in them. What modal bounds by time, or tries without end, stays as it is.
"""

from __future__ import annotations

from typing import Any

_TRIES, _LONGEST_PAUSE = 600, 0.25  # two and a half minutes


def install() -> None:
    """Raises when this client is not as we know it; then nothing was changed."""
    from modal import _grpc_client
    from modal._utils.grpc_utils import Retry

    init: Any = Retry.__init__
    default = _grpc_client._DEFAULT_RETRY
    names = list(Retry.__dataclass_fields__)
    changed = {"max_delay": _LONGEST_PAUSE, "max_retries": _TRIES}
    if type(default) is not Retry or len(names) != len(init.__defaults__) or not changed.keys() <= set(names):
        raise TypeError
    init.__defaults__ = tuple(changed.get(name, value) for name, value in zip(names, init.__defaults__))
    for name, value in changed.items():
        object.__setattr__(default, name, value)
