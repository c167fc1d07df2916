"""Names on the machine (cgroups, interfaces, filter tables) that tell engines of different homes apart."""

import hashlib
from pathlib import Path


def home_key(home: Path) -> str:
    """Eight hex digits that stand for one engine's home."""
    return hashlib.sha256(bytes(home.resolve())).hexdigest()[:8]
