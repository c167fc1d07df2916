import os
from ipaddress import IPv4Network

import pytest

from freehold.domain.errors import ResourceExhausted, Unavailable
from freehold.worker.network.firewall import close_way, open_way
from freehold.worker.network.resolv import reachable
from freehold.worker.network.subnets import AddressPool, choose_subnet

RANGE = IPv4Network("10.213.0.0/16")
ALL = list(RANGE.subnets(new_prefix=22))


class TestSubnet:
    def test_engines_begin_to_look_in_different_places(self):
        assert choose_subnet([], seed=3) == ALL[3]
        assert choose_subnet([], seed=64 + 3) == ALL[3]

    def test_one_that_is_in_use_is_passed_over(self):
        assert choose_subnet([ALL[0], IPv4Network("10.213.4.7/32")], seed=0) == ALL[2]

    def test_a_way_out_is_no_network_in_use(self):
        """Some VPNs replace the default route by two halves."""
        assert choose_subnet([IPv4Network("0.0.0.0/1"), IPv4Network("128.0.0.0/1")], seed=0) == ALL[0]

    def test_a_full_range_is_refused_with_a_remedy(self):
        with pytest.raises(Unavailable, match="Stop an engine"):
            choose_subnet([RANGE], seed=0)


class TestAddressPool:
    def test_the_first_address_is_the_gateway(self):
        pool = AddressPool(IPv4Network("10.0.0.0/29"))

        assert str(pool.gateway) == "10.0.0.1"
        assert [str(pool.take()) for _ in range(5)] == [f"10.0.0.{number}" for number in range(2, 7)]

    def test_an_address_is_used_again_as_late_as_possible(self):
        pool = AddressPool(IPv4Network("10.0.0.0/29"))
        first = pool.take()
        pool.give_back(first)

        assert [pool.take() for _ in range(5)][-1] == first

    def test_no_address_is_given_twice(self):
        pool = AddressPool(IPv4Network("10.0.0.0/30"))
        pool.take()

        with pytest.raises(ResourceExhausted):
            pool.take()


class TestNameServers:
    def test_reachable_servers_and_options_are_kept(self):
        text = "# made by hand\nsearch example.org\nnameserver 192.0.2.53\noptions ndots:2\n"

        assert reachable([text]) == "search example.org\nnameserver 192.0.2.53\noptions ndots:2\n"

    def test_a_resolver_on_loopback_is_replaced_by_its_upstream(self):
        assert reachable(["nameserver 127.0.0.53\n", "nameserver 192.0.2.53\n"]) == "nameserver 192.0.2.53\n"

    def test_servers_that_containers_cannot_reach_are_left_out(self):
        text = "nameserver 127.0.0.1\nnameserver 2001:db8::53\nnameserver fe80::1%eth0\nnameserver 192.0.2.53\n"

        assert reachable([text]) == "nameserver 192.0.2.53\n"

    def test_a_machine_without_servers_gives_none(self):
        assert reachable(["search lan\n"]) == "search lan\n"
        assert reachable([]) == ""


IPTABLES = """#!/bin/sh
cd "$(dirname "$0")" && shift  # past -w
case $1 in
  -S) cat policy rules ;;
  -I) shift 2; echo "$*" >> rules ;;
  -C) shift 2; grep -qxF -e "$*" rules ;;
  -D) shift 2; grep -vxF -e "$*" rules > fewer; mv fewer rules ;;
esac
"""


class TestFirewall:
    @pytest.fixture
    def rules(self, tmp_path, monkeypatch):
        """The FORWARD chain of a program that keeps it in a file: the machine's own is not a test's to change."""
        (tmp_path / "iptables").write_text(IPTABLES)
        (tmp_path / "iptables").chmod(0o755)
        (tmp_path / "policy").write_text("-P FORWARD DROP\n")
        (tmp_path / "rules").touch()
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        return tmp_path / "rules"

    def test_one_that_drops_what_it_forwards_lets_containers_through(self, rules):
        open_way("fh-0")

        assert rules.read_text().splitlines() == ["-i fh-0 -j ACCEPT", "-o fh-0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"]

    def test_one_that_lets_everything_through_is_left_alone(self, rules):
        rules.with_name("policy").write_text("-P FORWARD ACCEPT\n")

        open_way("fh-0")

        assert rules.read_text() == ""

    def test_the_way_is_closed_however_often_it_was_opened(self, rules):
        rules.write_text("-j DOCKER-USER\n")
        open_way("fh-0")
        open_way("fh-0")

        close_way("fh-0")

        assert rules.read_text() == "-j DOCKER-USER\n"
