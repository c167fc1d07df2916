"""Prometheus' own judge of what it is given to read."""

import shutil
import subprocess
from pathlib import Path

import pytest

PROMTOOL = shutil.which("promtool") or shutil.which(Path(__file__).parents[1] / "build/promtool") or ""
needed = pytest.mark.skipif(not PROMTOOL, reason="promtool is missing: `scripts/setup.sh --promtool` fetches it, as `make test` does")


def complaints(exposition: str) -> str:
    """Empty for none."""
    checked = subprocess.run([PROMTOOL, "check", "metrics"], input=exposition, capture_output=True, text=True, timeout=60, check=False)
    said = checked.stdout + checked.stderr
    return said or (f"status {checked.returncode}" if checked.returncode else "")
