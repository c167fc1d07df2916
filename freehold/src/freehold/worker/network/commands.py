"""The programs `ip`, `nft` and `iptables`: many changes in one call each, errors in their own words."""

import json
import subprocess
from collections.abc import Sequence
from typing import Any

from freehold.domain.errors import Unavailable

_DEADLINE = 10.0
_PACKAGES = {"ip": "iproute2", "nft": "nftables", "iptables": "iptables"}


def ip_batch(lines: Sequence[str]) -> None:
    _run(("ip", "-batch", "-"), "\n".join(lines) + "\n")


def ip_json(*arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(_run(("ip", "-json", *arguments)) or "[]")
    return found


def nft(rules: str) -> None:
    """All of it or, on an error, nothing."""
    _run(("nft", "-f", "-"), rules)


def iptables(*arguments: str) -> str:
    return _run(("iptables", "-w", *arguments))


def _run(argv: Sequence[str], text: str = "") -> str:
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=_DEADLINE, check=False)
    except FileNotFoundError as error:
        msg = f"The program {argv[0]!r} is missing. Install it: apt-get install {_PACKAGES[argv[0]]}"
        raise Unavailable(msg) from error
    except subprocess.TimeoutExpired as error:
        msg = f"{argv[0]} did not answer within {_DEADLINE:.0f} s."
        raise Unavailable(msg) from error
    if done.returncode != 0:
        msg = f"{argv[0]} failed: {done.stderr.strip()}"
        raise Unavailable(msg)
    return done.stdout
