"""`python -m freehold_container SEAM …`: modal's container entrypoint, as `python -m modal._container_entrypoint` runs it.

Each seam is a module beside this one with an `install()`. The engine names those that are proved for the client's version
(`domain/seams.py`); one that cannot be installed is left as it was.
"""

import runpy
import sys
from contextlib import suppress
from importlib import import_module


def main() -> None:
    """Nothing of ours may keep the user's code from running: a seam that fails is no seam."""
    seams = sys.argv[1:]
    del sys.argv[1:]  # the user's code sees what it sees with the stock command
    for name in seams:
        with suppress(Exception):
            import_module(f"{__package__}.{name}").install()
    runpy.run_module("modal._container_entrypoint", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
