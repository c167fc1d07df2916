"""Pages of functions are shown at hosts of their own: at the engine's host, where functions can be called by path, a script of theirs would
be one of the engine's own pages to a browser, and could do there whatever its owner may.
"""

from freehold.domain.domains import finds_functions
from freehold.gateway.heads import Head
from freehold.gateway.routing import Address

_OPENS_A_PAGE = b"sec-fetch-mode: navigate"  # browsers say it of whatever gets a window or a frame


def own_address(head: Head, address: Address, scheme: str, domain: str) -> str | None:
    """Where a browser is sent to see what it asked for by path; None where it may stay: it asks for no page, or could not find that host."""
    if not address.prefix or _OPENS_A_PAGE not in head.fields_block.lower():
        return None
    host = head.host.decode("latin-1")
    if not finds_functions(host, domain):
        return None
    last = host.rpartition(":")[2]
    port = last if last.isdecimal() else ""
    rest = head.target[len(address.prefix) :].decode("latin-1") or "/"
    place = rest if rest.startswith("/") else f"/{rest}"
    return f"{scheme}://{address.label}.{domain}{port and ':' + port}{place}"
