"""Networks of containers: one bridge per engine, one namespace and one veth pair per container, masqueraded by nftables."""

import os
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import anyio.to_thread
import structlog

from freehold.domain.errors import Unavailable
from freehold.worker.naming import home_key
from freehold.worker.network.commands import ip_batch, ip_json, nft
from freehold.worker.network.firewall import close_way, open_way
from freehold.worker.network.namespaces import new_namespace, path_of, run_inside
from freehold.worker.network.rules import container_rules, remove_table
from freehold.worker.network.subnets import AddressPool, choose_subnet

log = structlog.get_logger(__name__)

_INTERFACES = Path("/sys/class/net")
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_DEFAULT_MTU = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class _Link:
    """The machine's end of a container's cable, and the address of the other end."""

    name: str
    address: IPv4Address


@dataclass(frozen=True, slots=True, kw_only=True)
class _Uplink:
    subnet: IPv4Network
    pool: AddressPool
    mtu: int


class VethNetworks:
    """Implements `Networks`. Namespaces are held by descriptors, not by mounts: they cannot outlive the engine and their containers."""

    def __init__(self, *, home: Path) -> None:
        self._key = home_key(home)
        self._bridge = f"fh-{self._key}"
        self._uplink: _Uplink | None = None
        self._missing = "The engine's network has not been started."
        self._namespaces: dict[str, int] = {}
        self._links: dict[str, _Link] = {}

    async def start(self) -> None:
        """Where the machine lacks what outbound networks need, those are refused, and networks without a way out still work."""
        try:
            self._uplink = await anyio.to_thread.run_sync(self._build_uplink)
        except (Unavailable, OSError) as error:
            self._missing = f"Containers have no network on this machine, only block_network=True works: {error}"
            log.warning("network_degraded", reason=str(error))

    async def stop(self) -> None:
        for key in list(self._namespaces):
            await self.remove(key)
        self._uplink = None
        try:
            await anyio.to_thread.run_sync(self._remove_all)
        except Unavailable as error:
            log.debug("network_not_removed", reason=str(error))

    async def create(self, key: str, *, outbound: bool) -> str:
        descriptor = await new_namespace()
        self._namespaces[key] = descriptor
        try:
            if outbound:
                await self._connect(key, path_of(descriptor))
        except BaseException:
            await self.remove(key)
            raise
        return path_of(descriptor)

    async def remove(self, key: str) -> None:
        with anyio.CancelScope(shield=True):
            if link := self._links.pop(key, None):
                await anyio.to_thread.run_sync(_remove_links, [link.name])
                if self._uplink:
                    self._uplink.pool.give_back(link.address)
            if (descriptor := self._namespaces.pop(key, None)) is not None:
                os.close(descriptor)

    async def _connect(self, key: str, namespace: str) -> None:
        if self._uplink is None:
            raise Unavailable(self._missing)
        uplink = self._uplink
        address = uplink.pool.take()
        link = _Link(name=f"v{self._key}{int(address) - int(uplink.subnet.network_address):x}", address=address)
        self._links[key] = link
        outside = [
            f"link add {link.name} mtu {uplink.mtu} master {self._bridge} type veth peer name eth0 mtu {uplink.mtu} netns {namespace}",
            f"link set {link.name} type bridge_slave isolated on",
            f"link set {link.name} up",
        ]
        inside = [
            f"address add {address}/{uplink.subnet.prefixlen} dev eth0",
            "link set eth0 up",
            f"route add default via {uplink.pool.gateway}",
        ]
        await anyio.to_thread.run_sync(ip_batch, outside)
        await run_inside(namespace, lambda: ip_batch(inside))

    def _build_uplink(self) -> _Uplink:
        self._remove_all()
        routes = ip_json("-4", "route", "show", "table", "all")
        subnet = choose_subnet(_networks(routes), seed=int(self._key, 16))
        uplink = _Uplink(subnet=subnet, pool=AddressPool(subnet), mtu=_mtu(routes))
        ip_batch([
            f"link add {self._bridge} mtu {uplink.mtu} type bridge stp_state 0 forward_delay 0",
            f"address add {uplink.pool.gateway}/{subnet.prefixlen} dev {self._bridge}",
            f"link set {self._bridge} up",
        ])  # fmt: skip
        nft(container_rules(self._key, self._bridge, subnet))
        open_way(self._bridge)
        _FORWARDING.write_text("1")
        return uplink

    def _remove_all(self) -> None:
        """What this engine or an earlier one of the same home made."""
        _remove_links([entry.name for entry in _INTERFACES.iterdir() if entry.name.startswith((f"v{self._key}", self._bridge))])
        nft(remove_table(self._key))
        close_way(self._bridge)


def _remove_links(names: list[str]) -> None:
    present = [name for name in names if (_INTERFACES / name).exists()]
    if present:
        ip_batch([f"link delete {name}" for name in present])


def _networks(routes: list[dict[str, str]]) -> list[IPv4Network]:
    return [IPv4Network(route["dst"]) for route in routes if route["dst"] != "default"]


def _mtu(routes: list[dict[str, str]]) -> int:
    """Of the machine's way out: larger packets would be lost on networks that do not say so."""
    ways_out = [route["dev"] for route in routes if route["dst"] == "default" and "dev" in route]
    return int((_INTERFACES / ways_out[0] / "mtu").read_text()) if ways_out else _DEFAULT_MTU
