"""Networks of containers: one bridge per engine, one namespace and one veth pair per container, masqueraded by nftables."""

import os
from collections.abc import Collection
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
class _Bridge:
    subnet: IPv4Network
    mtu: int


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
        self._inherited: _Bridge | None = None  # an earlier engine's, which adopted containers hang on

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

    async def adopt(self, key: str, *, pid: int, address: str) -> str:
        descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        self._namespaces[key] = descriptor
        try:
            if address:
                self._links[key] = await anyio.to_thread.run_sync(self._find_link, IPv4Address(address))
        except BaseException:
            await self.remove(key)
            raise
        return path_of(descriptor)

    def address_of(self, key: str) -> str:
        return str(self._links[key].address) if key in self._links else ""

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
        link = self._link(address, uplink.subnet)
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

    def _link(self, address: IPv4Address, subnet: IPv4Network) -> _Link:
        return _Link(name=f"v{self._key}{int(address) - int(subnet.network_address):x}", address=address)

    def _find_link(self, address: IPv4Address) -> _Link:
        """Of an earlier engine."""
        self._inherited = self._inherited or self._find_bridge()
        link = self._link(address, self._inherited.subnet)
        if not (_INTERFACES / link.name).exists():
            msg = f"The interface {link.name} is gone."
            raise Unavailable(msg)
        return link

    def _find_bridge(self) -> _Bridge:
        """Raises Unavailable if an earlier engine has left none."""
        found = ip_json("-4", "address", "show", "dev", self._bridge)
        address = next((info for item in found for info in item.get("addr_info", [])), None)
        if address is None:
            msg = f"The bridge {self._bridge} has lost its address."
            raise Unavailable(msg)
        subnet = IPv4Network((address["local"], address["prefixlen"]), strict=False)
        return _Bridge(subnet=subnet, mtu=found[0]["mtu"])

    def _build_uplink(self) -> _Uplink:
        adopted = [link.name for link in self._links.values()]
        self._remove_all(keep=[self._bridge, *adopted] if adopted else [])
        bridge = self._inherited if self._inherited and adopted else self._make_bridge()
        nft(container_rules(self._key, self._bridge, bridge.subnet))
        open_way(self._bridge)
        _FORWARDING.write_text("1")
        pool = AddressPool(bridge.subnet, {link.address for link in self._links.values()})
        return _Uplink(subnet=bridge.subnet, pool=pool, mtu=bridge.mtu)

    def _make_bridge(self) -> _Bridge:
        routes = ip_json("-4", "route", "show", "table", "all")
        bridge = _Bridge(subnet=choose_subnet(_networks(routes), seed=int(self._key, 16)), mtu=_mtu(routes))
        ip_batch([
            f"link add {self._bridge} address {_mac(self._key)} mtu {bridge.mtu} type bridge stp_state 0 forward_delay 0",
            f"address add {AddressPool(bridge.subnet).gateway}/{bridge.subnet.prefixlen} dev {self._bridge}",
            f"link set {self._bridge} up",
        ])  # fmt: skip
        return bridge

    def _remove_all(self, keep: Collection[str] = ()) -> None:
        """What this engine or an earlier one of the same home made, but the links to keep."""
        present = [entry.name for entry in _INTERFACES.iterdir() if entry.name.startswith((f"v{self._key}", self._bridge))]
        _remove_links([name for name in present if name not in keep])
        if not keep:
            nft(remove_table(self._key))
        close_way(self._bridge)


def _remove_links(names: list[str]) -> None:
    present = [name for name in names if (_INTERFACES / name).exists()]
    if present:
        ip_batch([f"link delete {name}" for name in present])


def _mac(key: str) -> str:
    """A hardware address that stays. A bridge without one takes the lowest of its ports; when that changes, all send to the old one for a while."""
    return "02:" + int(key, 16).to_bytes(32, "big")[-5:].hex(":")


def _networks(routes: list[dict[str, str]]) -> list[IPv4Network]:
    return [IPv4Network(route["dst"]) for route in routes if route["dst"] != "default"]


def _mtu(routes: list[dict[str, str]]) -> int:
    """Of the machine's way out: larger packets would be lost on networks that do not say so."""
    ways_out = [route["dev"] for route in routes if route["dst"] == "default" and "dev" in route]
    return int((_INTERFACES / ways_out[0] / "mtu").read_text()) if ways_out else _DEFAULT_MTU
