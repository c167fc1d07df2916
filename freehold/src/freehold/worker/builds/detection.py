"""Finds out which Python an image has."""

import re
from dataclasses import replace

from freehold.domain.clock import Clock
from freehold.domain.errors import Unavailable
from freehold.domain.images import ImageConfig
from freehold.worker.builds.bench import Bench, Command
from freehold.worker.builds.running import DEFAULT_PATH
from freehold.worker.logs import ContainerLog

_ASK = """
for python in python python3; do
    command -v "$python" >/dev/null && exec "$python" -I -S -c 'import sys; print("python", "%d.%d.%d" % sys.version_info[:3])'
done
"""
_ANSWER = re.compile(r"^python (?P<version>(?P<series>3\.\d+)\.\d+)$", re.MULTILINE)


async def with_python(bench: Bench, config: ImageConfig, clock: Clock) -> ImageConfig:
    """The settings with the Python that `python` means in this image, or without one."""
    output = ContainerLog(sink=lambda _: None, clock=clock)
    command = Command(argv=("/bin/sh", "-c", _ASK), env={"PATH": DEFAULT_PATH, **config.env}, network=False)
    try:
        await bench.run(command, output)
    except Unavailable:  # no shell: nothing that the engine could run Python code in
        return replace(config, python_series="", python_version="")
    found = _ANSWER.search(output.tail.text())
    return replace(config, python_series=found["series"] if found else "", python_version=found["version"] if found else "")
