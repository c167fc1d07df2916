"""Which parts of modal's container runtime are replaced by ours, for which version of the client.

A seam is a place in the stock runtime where `freehold.container` puts something of its own. It relies on how that version looks
inside, so each pair of version and seam is listed only once the conformance suite has passed through it. All else runs stock.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from freehold.domain.clients import wants_command_line


class Seam(StrEnum):
    """Named as the module of `freehold.container` that installs it; in the order in which they are installed."""

    COMMANDLINE = "commandline"  # the arguments of old clients come where these look
    PHASES = "phases"  # a start is timed, import by import
    INPUTS = "inputs"  # inputs and results over the engine's own socket
    CALLS = "calls"  # calls that the container makes, over the same
    PATIENCE = "patience"  # an engine that does not answer is waited for
    STDIO = "stdio"  # output says which input wrote it
    TRACES = "traces"  # user code runs within the engine's spans
    WEB = "web"  # web functions serve HTTP themselves
    OLD_NAMES = "old_names"  # what apps call by the names of older SDKs


class Transport(StrEnum):
    """How a container gets its inputs, and how its owner may wish that it does (`AUTO`)."""

    AUTO = "auto"
    OWN = "own"
    STOCK = "stock"


class Zygotes(StrEnum):
    """Whether tasks are forked from a process that has imported what they need."""

    AUTO = "auto"  # where that is proved for the client and safe
    OFF = "off"


class WebPath(StrEnum):
    """How web requests get to containers, as their owner wishes it."""

    AUTO = "auto"  # directly, where that is proved for the client
    DATA_CHANNEL = "data_channel"  # as inputs of calls


_PROVED: Mapping[str, frozenset[Seam]] = {
    "1.6.4": frozenset({Seam.PHASES, Seam.INPUTS, Seam.CALLS, Seam.PATIENCE, Seam.STDIO, Seam.TRACES, Seam.WEB, Seam.OLD_NAMES}),
}
_SNAPSHOTS_PROVED = frozenset({"1.6.4"})
_ON_THE_SOCKET = frozenset({Seam.INPUTS, Seam.CALLS, Seam.TRACES, Seam.WEB})  # of the engine


def seams_for(client_version: str, wished: Transport, path: WebPath = WebPath.AUTO, *, is_server: bool = False) -> tuple[Seam, ...]:
    """The seams that a container of this client gets, in order. A server (`@app.server`) can be reached in no other way."""
    if wants_command_line(client_version):
        return (Seam.COMMANDLINE,)
    left_out: set[Seam] = set()
    if wished is Transport.STOCK:
        left_out |= _ON_THE_SOCKET
    if path is WebPath.DATA_CHANNEL:
        left_out.add(Seam.WEB)
    if is_server:
        left_out.discard(Seam.WEB)
    proved = _PROVED.get(client_version, frozenset()) - left_out
    return tuple(seam for seam in Seam if seam in proved)


def has_proved_runtime(seams: Sequence[Seam]) -> bool:
    """Whether a container with these seams runs what was proved: then it can be forked from a process that has imported that."""
    return any(seam is not Seam.COMMANDLINE for seam in seams)


def may_snapshot(client_version: str) -> bool:
    """Whether the state of such a client's runtime can be forked (`container/snapshot.py`)."""
    return client_version in _SNAPSHOTS_PROVED
