"""Addresses of containers: a subnet that nothing on this machine uses, and the numbers in it."""

from collections import deque
from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv4Network

from freehold.domain.errors import ResourceExhausted, Unavailable

# A private range in which home and office routers, Docker and Kubernetes do not settle by default.
_RANGE = IPv4Network("10.213.0.0/16")
_PREFIX = 22  # a thousand containers
_WIDEST_TAKEN = 8  # routes wider than this are ways out (VPNs halve the internet), not networks in use


def choose_subnet(taken: Iterable[IPv4Network], seed: int) -> IPv4Network:
    """A subnet that overlaps none of these. Engines with different seeds begin to look in different places."""
    in_use = [network for network in taken if network.prefixlen >= _WIDEST_TAKEN]
    candidates = list(_RANGE.subnets(new_prefix=_PREFIX))
    for offset in range(len(candidates)):
        candidate = candidates[(seed + offset) % len(candidates)]
        if not any(candidate.overlaps(network) for network in in_use):
            return candidate
    msg = f"Every subnet of {_RANGE} is in use on this machine. Stop an engine, or remove a route to that range."
    raise Unavailable(msg)


class AddressPool:
    """Addresses of one subnet. One that was given back is used again as late as possible: peers may remember its connections."""

    def __init__(self, subnet: IPv4Network, taken: Collection[IPv4Address] = ()) -> None:
        hosts = subnet.hosts()
        self.gateway: IPv4Address = next(hosts)
        self._free = deque(host for host in hosts if host not in taken)

    def take(self) -> IPv4Address:
        if not self._free:
            msg = "All container addresses are in use. Lower max_containers, or stop containers."
            raise ResourceExhausted(msg)
        return self._free.popleft()

    def give_back(self, address: IPv4Address) -> None:
        self._free.append(address)
