"""What container networks must do, as `worker/ports.py` says it: reach out, and nothing else."""

import os
import socket
import subprocess
import threading
from ipaddress import IPv4Address
from pathlib import Path

import anyio
import pytest
from fakes.worker import DEADLINE

from freehold.domain.errors import Unavailable
from freehold.worker.naming import home_key
from freehold.worker.network.commands import ip_batch, ip_json
from freehold.worker.network.namespaces import new_namespace, path_of, run_inside
from freehold.worker.network.relay import serve_gateway_door
from freehold.worker.network.veth import VethNetworks

BRIEFLY = 0.5  # for answers that must not come
OUTSIDE = "198.51.100.2"  # of a range kept for documentation: no real machine has it


@pytest.fixture
async def networks(tmp_path):
    networks = VethNetworks(home=tmp_path)
    await networks.start()
    yield networks
    await networks.stop()
    assert interfaces_of(tmp_path) == []


@pytest.fixture
async def outside():
    """A host beyond the machine, that answers each connection on port 80 with the address it came from."""
    descriptor = await new_namespace()
    link = f"fo-{os.getpid()}"
    ip_batch(
        [
            f"link add {link} type veth peer name eth0 netns {path_of(descriptor)}",
            f"address add 198.51.100.1/30 dev {link}",
            f"link set {link} up",
        ]
    )
    await run_inside(path_of(descriptor), lambda: ip_batch([f"address add {OUTSIDE}/30 dev eth0", "link set eth0 up"]))
    server = await run_inside(path_of(descriptor), lambda: socket.create_server((OUTSIDE, 80)))
    threading.Thread(target=_tell_where_from, args=(server,), daemon=True).start()
    yield path_of(descriptor)
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    ip_batch([f"link delete {link}"])
    os.close(descriptor)


def _tell_where_from(server):
    while True:
        try:
            connection, address = server.accept()
        except OSError:
            return
        with connection:
            connection.sendall(address[0].encode())


def interfaces_of(home):
    key = home_key(home)
    return [entry.name for entry in Path("/sys/class/net").iterdir() if key in entry.name]


def address_of_eth0():
    return next(item["addr_info"][0]["local"] for item in ip_json("-4", "address", "show", "dev", "eth0"))


def ask(host, port, patience=DEADLINE):
    """What a server says first, "connected" if it says nothing, or the kind of refusal."""
    try:
        connection = socket.create_connection((host, port), timeout=patience)
    except OSError as error:
        return type(error).__name__
    with connection:
        try:
            return connection.recv(100).decode()
        except OSError:
            return "connected"


async def test_a_container_reaches_the_outside_as_the_machine(networks, outside):
    namespace = await networks.create("a", outbound=True)

    assert await run_inside(namespace, lambda: ask(OUTSIDE, 80)) == "198.51.100.1"


async def test_containers_that_come_and_go_do_not_cut_another_off(networks, outside):
    namespace = await networks.create("a", outbound=True)
    assert await run_inside(namespace, lambda: ask(OUTSIDE, 80)) == "198.51.100.1"

    await networks.create("b", outbound=True)
    ip_batch([f"link set {networks._links['b'].name} address 02:00:00:00:00:01"])  # lower than all: what a bridge would take for its own
    assert await run_inside(namespace, lambda: ask(OUTSIDE, 80)) == "198.51.100.1"

    await networks.remove("b")
    assert await run_inside(namespace, lambda: ask(OUTSIDE, 80)) == "198.51.100.1"


@pytest.mark.parametrize("address", ["169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16"])
async def test_credentials_of_a_clouds_machine_are_out_of_reach(networks, outside, address):
    def route(action):
        ip_batch([f"route {action} {address}/32 via {OUTSIDE}"])

    await run_inside(outside, lambda: ip_batch([f"address add {address}/32 dev lo"]))
    name_server = await run_inside(outside, lambda: socket.create_server((address, 53)))
    metadata = await run_inside(outside, lambda: socket.create_server((address, 80)))
    namespace = await networks.create("a", outbound=True)
    route("add")
    try:
        with name_server, metadata:
            assert await run_inside(namespace, lambda: ask(address, 80, BRIEFLY)) == "TimeoutError"
            if address not in {"100.100.100.200", "192.0.0.192"}:
                assert await run_inside(namespace, lambda: ask(address, 53, BRIEFLY)) == "connected", "clouds answer names there"
    finally:
        route("delete")


async def test_its_interface_is_named_as_modals_runtime_expects(networks):
    namespace = await networks.create("a", outbound=True)

    assert IPv4Address(await run_inside(namespace, address_of_eth0)).is_private


async def test_its_packets_are_no_larger_than_the_machines_way_out_takes(networks):
    namespace = await networks.create("a", outbound=True)
    way_out = ip_json("-4", "route", "show", "default")[0]["dev"]
    expected = ip_json("link", "show", "dev", way_out)[0]["mtu"]

    assert (await run_inside(namespace, lambda: ip_json("link", "show", "dev", "eth0")))[0]["mtu"] == expected


async def test_without_a_way_out_there_is_only_loopback(networks):
    namespace = await networks.create("a", outbound=False)

    links = await run_inside(namespace, lambda: ip_json("link", "show"))

    assert [(link["ifname"], "UP" in link["flags"]) for link in links] == [("lo", True)]


async def test_containers_do_not_reach_each_other(networks):
    first, second = await networks.create("a", outbound=True), await networks.create("b", outbound=True)
    address = await run_inside(first, address_of_eth0)
    server = await run_inside(first, lambda: socket.create_server((address, 80)))

    with server:
        assert await run_inside(second, lambda: ask(address, 80, BRIEFLY)) in {"TimeoutError", "OSError"}


@pytest.mark.parametrize("engine", ["same", "other"])
async def test_a_way_round_through_the_machine_is_closed_too(networks, tmp_path, engine):
    """The bridge keeps its ports apart; the machine, being a router, must not undo that."""
    others = networks if engine == "same" else VethNetworks(home=tmp_path / "other")
    if engine == "other":
        await others.start()
    first, second = await networks.create("a", outbound=True), await others.create("b", outbound=True)
    address = await run_inside(first, address_of_eth0)
    server = await run_inside(first, lambda: socket.create_server((address, 80)))
    gateway = (await run_inside(second, lambda: ip_json("route", "show", "default")))[0]["gateway"]

    with server:
        await run_inside(second, lambda: ip_batch([f"route add {address}/32 via {gateway}"]))
        answer = await run_inside(second, lambda: ask(address, 80, BRIEFLY))

    if engine == "other":
        await others.stop()
    assert answer in {"TimeoutError", "OSError"}


async def test_the_machine_itself_reaches_a_container_and_hears_its_answer(networks):
    namespace = await networks.create("a", outbound=True)
    server = await run_inside(namespace, lambda: socket.create_server(("0.0.0.0", 80)))

    with server, socket.create_connection((networks.address_of("a"), 80), timeout=10) as caller:
        served, _ = server.accept()
        with served:
            served.sendall(b"hello")
            assert caller.recv(5) == b"hello"


async def test_services_of_the_machine_are_out_of_reach(networks, outside):
    namespace = await networks.create("a", outbound=True)
    gateway = (await run_inside(namespace, lambda: ip_json("route", "show", "default")))[0]["gateway"]

    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        answers = {
            address: await run_inside(namespace, lambda address=address: ask(address, port, BRIEFLY))
            for address in (gateway, "198.51.100.1")
        }

    assert answers == {gateway: "TimeoutError", "198.51.100.1": "TimeoutError"}


async def test_nobody_outside_reaches_a_container(networks, outside):
    namespace = await networks.create("a", outbound=True)
    address = await run_inside(namespace, address_of_eth0)
    server = await run_inside(namespace, lambda: socket.create_server((address, 80)))

    with server:
        await run_inside(outside, lambda: ip_batch(["route add 10.213.0.0/16 via 198.51.100.1"]))
        assert await run_inside(outside, lambda: ask(address, 80, BRIEFLY)) == "TimeoutError"


async def test_engines_live_side_by_side(networks, tmp_path, outside):
    other = VethNetworks(home=tmp_path / "other")
    await other.start()
    theirs, ours = await other.create("a", outbound=True), await networks.create("a", outbound=True)
    addresses = {await run_inside(namespace, address_of_eth0) for namespace in (theirs, ours)}

    await other.stop()

    assert len(addresses) == 2
    assert interfaces_of(tmp_path / "other") == []
    assert await run_inside(ours, lambda: ask(OUTSIDE, 80)) == "198.51.100.1"


async def test_a_new_engine_of_the_same_home_takes_over_what_a_dead_one_left(networks, tmp_path, outside):
    await networks.create("a", outbound=True)
    successor = VethNetworks(home=tmp_path)

    await successor.start()
    namespace = await successor.create("a", outbound=True)

    assert await run_inside(namespace, lambda: ask(OUTSIDE, 80)) == "198.51.100.1"
    assert len(interfaces_of(tmp_path)) == 2
    await successor.stop()


class TestAdoption:
    @pytest.fixture
    async def container(self, networks):
        """A process in a network that outlives who made it."""
        namespace = await networks.create("a", outbound=True)
        process = await run_inside(namespace, lambda: subprocess.Popen(["sleep", "100"]))
        yield process.pid
        process.kill()
        process.wait()

    @pytest.fixture
    async def successor(self, tmp_path):
        successor = VethNetworks(home=tmp_path)
        yield successor
        await successor.stop()

    async def test_what_is_adopted_keeps_its_way_out_and_its_address(self, networks, container, successor, tmp_path, outside):
        await networks.create("b", outbound=True)
        address = networks.address_of("a")

        namespace = await successor.adopt("a", pid=container, address=address)
        await successor.start()
        fresh = await successor.create("c", outbound=True)

        assert successor.address_of("a") == address == await run_inside(namespace, address_of_eth0)
        assert successor.address_of("c") == await run_inside(fresh, address_of_eth0) != address
        assert await run_inside(namespace, lambda: ask(OUTSIDE, 80)) == "198.51.100.1"
        assert await run_inside(fresh, lambda: ask(OUTSIDE, 80)) == "198.51.100.1"
        assert len(interfaces_of(tmp_path)) == 3, "the bridge, and one interface each for a and c: nobody has adopted b"

    async def test_it_stays_as_closed_as_any_other(self, networks, container, successor):
        namespace = await successor.adopt("a", pid=container, address=networks.address_of("a"))
        await successor.start()
        other = await successor.create("b", outbound=True)
        server = await run_inside(other, lambda: socket.create_server((successor.address_of("b"), 80)))

        with server:
            assert await run_inside(namespace, lambda: ask(successor.address_of("b"), 80, BRIEFLY)) in {"TimeoutError", "OSError"}

    async def test_removing_takes_it_away(self, networks, container, successor, tmp_path):
        await successor.adopt("a", pid=container, address=networks.address_of("a"))
        await successor.start()

        await successor.remove("a")

        assert interfaces_of(tmp_path) == [f"fh-{home_key(tmp_path)}"]

    async def test_a_way_out_that_is_gone_is_refused(self, networks, container, successor, tmp_path):
        address = networks.address_of("a")
        await networks.remove("a")

        with pytest.raises(Unavailable, match="is gone"):
            await successor.adopt("a", pid=container, address=address)
        await networks.stop()
        with pytest.raises(Unavailable):
            await successor.adopt("a", pid=container, address=address)
        await successor.start()
        assert interfaces_of(tmp_path) == [f"fh-{home_key(tmp_path)}"]

    async def test_without_a_way_out_there_is_little_to_adopt(self, container, successor):
        namespace = await successor.adopt("a", pid=container, address="")
        await successor.start()

        assert successor.address_of("a") == ""
        assert "lo" in [link["ifname"] for link in await run_inside(namespace, lambda: ip_json("link", "show"))]


async def test_removing_takes_the_interface_away_and_can_be_repeated(networks, tmp_path):
    await networks.create("a", outbound=True)

    await networks.remove("a")
    await networks.remove("a")

    assert interfaces_of(tmp_path) == [f"fh-{home_key(tmp_path)}"]


async def test_a_machine_without_the_programs_can_still_run_what_needs_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    networks = VethNetworks(home=tmp_path)
    await networks.start()

    await networks.create("a", outbound=False)
    with pytest.raises(Unavailable, match=r"only block_network=True works.*apt-get install"):
        await networks.create("b", outbound=True)

    await networks.stop()


class TestGatewayDoor:
    @pytest.fixture
    def gateway(self):
        """Answers with what it was sent, after the sender's end of file."""
        server = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._echo, args=(server,), daemon=True).start()
        yield server.getsockname()
        server.shutdown(socket.SHUT_RDWR)
        server.close()

    @staticmethod
    def _echo(server):
        try:
            while True:
                with server.accept()[0] as connection:
                    received = bytearray()
                    while chunk := connection.recv(65536):
                        received += chunk
                    connection.sendall(received)
        except OSError:
            return

    @staticmethod
    def _send(port, data):
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            answer = bytearray()
            while chunk := connection.recv(65536):
                answer += chunk
        return bytes(answer)

    @pytest.mark.parametrize("outbound", [True, False])
    async def test_the_gateway_is_on_loopback_of_every_container(self, networks, gateway, outbound):
        namespace = await networks.create("a", outbound=outbound)
        data = os.urandom(5_000_000)

        async with anyio.create_task_group() as group:
            await group.start(serve_gateway_door, namespace, gateway)
            answer = await run_inside(namespace, lambda: self._send(gateway[1], data))
            group.cancel_scope.cancel()

        assert answer == data

    async def test_a_gateway_that_is_down_looks_like_one(self, networks):
        namespace = await networks.create("a", outbound=False)
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = server.getsockname()

        async with anyio.create_task_group() as group:
            await group.start(serve_gateway_door, namespace, address)
            answer = await run_inside(namespace, lambda: ask(*address, BRIEFLY))
            group.cancel_scope.cancel()

        assert answer in {"", "connected"}

    async def test_other_ports_of_the_machine_stay_out_of_reach(self, networks, gateway):
        namespace = await networks.create("a", outbound=False)

        async with anyio.create_task_group() as group:
            await group.start(serve_gateway_door, namespace, ("127.0.0.1", 1))
            answer = await run_inside(namespace, lambda: ask(*gateway))
            group.cancel_scope.cancel()

        assert answer == "ConnectionRefusedError"
