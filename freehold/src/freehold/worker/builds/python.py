"""Puts a Python of this machine into an image, so that `python` and `pip` work as in the official python images."""

from pathlib import Path

import anyio.to_thread

from freehold.domain.baseimages import no_python
from freehold.worker.builds.bench import Bench, Command
from freehold.worker.builds.output import BuildLog
from freehold.worker.builds.pythons import MachinePython, copy_python, find_pythons, needed_packages
from freehold.worker.builds.rootfs import resolve
from freehold.worker.builds.running import StepRunner

_FINISH = """
set -e
quietly() {{ said=$("$@" 2>&1) || {{ printf '%s\n' "$said" >&2; exit 1; }}; }}
python=python{series}
if ! ( ldconfig && "$python" -c 'import bz2, ctypes, hashlib, lzma, sqlite3, ssl, zlib' ) 2>/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    quietly apt-get update -qq
    quietly apt-get install -qq --no-install-recommends {packages}
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log
    ldconfig
fi
cd /usr/local/bin
for name in {links}; do ln -sf "$python" "$name"; done
ln -sf "$python-config" python3-config
quietly "$python" -m ensurepip --upgrade
ln -sf "pip{series}" pip
"$python" -m compileall -q /usr/local/lib/"$python" >/dev/null || true
"$python" -c 'import bz2, ctypes, hashlib, lzma, sqlite3, ssl, zlib'
"""


class PythonInstaller:
    """Knows the machine's self-contained Pythons (looked for once) and installs them."""

    def __init__(self, *, home: Path, runner: StepRunner) -> None:
        self._home = home
        self._runner = runner
        self._found: dict[str, MachinePython] | None = None

    async def pythons(self) -> dict[str, MachinePython]:
        if self._found is None:
            self._found = await anyio.to_thread.run_sync(find_pythons, self._home)
        return self._found

    async def get(self, series: str) -> MachinePython:
        pythons = await self.pythons()
        if series not in pythons:
            self._found = None  # a person who is told to add one will try again
            raise no_python(series, pythons)
        return pythons[series]

    async def install(self, bench: Bench, python: MachinePython, log: BuildLog, *, links: tuple[str, ...] = ("python3", "python")) -> None:
        """Into /usr/local of the bench, under these names too. Libraries it needs come as Debian packages, unless the image has them."""
        log.remark(f"Adding Python {python.version} of this machine to the image.")
        packages = await anyio.to_thread.run_sync(needed_packages, python)
        await anyio.to_thread.run_sync(copy_python, python, resolve(bench.rootfs, "/usr/local"))
        script = _FINISH.format(series=python.series, packages=" ".join(packages) or "ca-certificates", links=" ".join(links))
        await self._runner.step(bench, Command(argv=("/bin/sh", "-c", script)), log, f"Adding Python {python.version}")
