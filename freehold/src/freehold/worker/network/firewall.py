"""The way through a firewall that drops what it forwards, as Docker and ufw set it up: an accept of ours cannot overrule their drop."""

import shutil

from freehold.domain.errors import Unavailable
from freehold.worker.network.commands import iptables

_DROPS = "-P FORWARD DROP"


def open_way(bridge: str) -> None:
    """Let containers out, and answers back in. Our own table still decides what else may pass."""
    if shutil.which("iptables") and _DROPS in iptables("-S", "FORWARD"):
        for rule in _rules(bridge):
            iptables("-I", "FORWARD", *rule)


def close_way(bridge: str) -> None:
    if shutil.which("iptables"):
        for rule in _rules(bridge):
            while _has(rule):
                iptables("-D", "FORWARD", *rule)


def _rules(bridge: str) -> tuple[tuple[str, ...], ...]:
    answers = ("-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED")
    return ("-i", bridge, "-j", "ACCEPT"), ("-o", bridge, *answers, "-j", "ACCEPT")


def _has(rule: tuple[str, ...]) -> bool:
    try:
        iptables("-C", "FORWARD", *rule)
    except Unavailable:
        return False
    return True
