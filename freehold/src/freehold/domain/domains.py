"""Custom domains: host names of the user's own under which a function answers, exact (`api.example.com`) or for all names below one
(`*.example.com`).
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import TypeVar

from freehold.domain.errors import InvalidRequest

V = TypeVar("V")

_LONGEST = 253  # RFC 1035
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?:\*\.)?(?:{_LABEL}\.)+(?!\d+$){_LABEL}")  # the last part is no number: `10.0.0.1` is an address


def checked_domain(name: str, own: str) -> str:
    """The name as it is looked up. `own` is the engine's domain, below which it gives out the names itself."""
    plain = name.lower().removesuffix(".")
    if len(plain) > _LONGEST or not _NAME.fullmatch(plain):
        msg = f"{name[:80]!r} cannot be a custom domain: give a host name such as 'api.example.com', without scheme, port and path."
        raise InvalidRequest(msg)
    if plain.removeprefix("*.") == own or plain.endswith(f".{own}"):
        msg = f"{name!r} is below {own!r}, where the engine gives out the names. Use label=… to choose one."
        raise InvalidRequest(msg)
    return plain


def name_in_host(host: str) -> str:
    """The host name in a Host header, without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower().removesuffix(".")


def of_host(owners: Mapping[str, V], host: str) -> V | None:
    """Whose a host name is: an exact one goes before a wildcard, which stands for one part."""
    name = name_in_host(host)
    return owners.get(name) or owners.get(f"*.{name.partition('.')[2]}")


def finds_functions(host: str, domain: str) -> bool:
    """Whether who asks at this host of the engine's would find functions at hosts of their own, below `domain`: not who knows the engine by
    its address in a network, or by a name of its machine only.
    """
    name = name_in_host(host).strip("[]")
    return name in {domain, "localhost"} or _is_loopback(name)


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
