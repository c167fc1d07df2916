"""Writes tests/sdks/<version>.lock for each version of the modal SDK that the tests run: names, versions and hashes of all that it needs.

`<version>.in`, where there is one, says what else must hold for a version that was made before its dependencies changed.
"""

import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
sys.path.insert(0, str(CHECKOUT / "tests"))

from sdks.installed import ALL, FOLDER  # noqa: E402 — found by the line above

_UV = Path(sys.executable).with_name("uv")
_OPTIONS = ("--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url")


def main() -> None:
    for version in ALL:
        constraints = FOLDER / f"{version}.in"
        wanted = f"modal=={version}\n" + (constraints.read_text() if constraints.exists() else "")
        command = [_UV, "pip", "compile", "--quiet", *_OPTIONS, "--output-file", FOLDER / f"{version}.lock", "-"]
        subprocess.run(command, input=wanted, text=True, check=True, cwd=FOLDER)


if __name__ == "__main__":
    main()
