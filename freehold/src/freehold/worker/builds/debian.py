"""Stand-ins for the official debian and python images: a minimal Debian by mmdebstrap, and over it a Python."""

import shutil
from datetime import timedelta
from pathlib import Path

import anyio.to_thread

from freehold.domain.baseimages import OWN_PYTHON, DebianBase, debian_base, parse_reference
from freehold.domain.errors import InvalidRequest, Unavailable
from freehold.domain.ids import LayerId
from freehold.domain.images import ImageConfig
from freehold.wire.worker import BuiltImage
from freehold.worker.builds.bench import Bench, Command
from freehold.worker.builds.layers import Layers, layer_key
from freehold.worker.builds.output import BuildLog
from freehold.worker.builds.programs import ProgramFailed, run_program
from freehold.worker.builds.python import PythonInstaller
from freehold.worker.builds.running import StepFailed, StepRunner

_RECIPE = 1  # raise when what is done below changes, so that bases are made anew
_DEADLINE = timedelta(minutes=15)
_PACKAGES = "ca-certificates,netbase,tzdata"  # as in the official images
# For steps that install packages; mmdebstrap itself needs the packages that it downloads.
_APT_CONFIG = 'Acquire::Languages "none";\nAPT::Keep-Downloaded-Packages "false";\n'
# Documentation is left out, as in the official slim images; licences stay.
_DPKG_OPTIONS = (
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "force-unsafe-io",  # a layer is written to disk once, when it is finished
)
# Files that mmdebstrap takes from the machine, and devices, which containers get from their runtime.
_OF_THE_MACHINE = ("etc/resolv.conf", "etc/hostname", "var/log/apt", "var/log/dpkg.log", "var/log/bootstrap.log", "dev")
_ENV = {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"}
_OWN_PYTHON = """
set -e
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends python3 python3-dev python3-pip python3-venv >/dev/null
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log
rm -f /usr/lib/python3*/EXTERNALLY-MANAGED
ln -s /usr/bin/python3 /usr/local/bin/python
"""


class DebianBases:
    """Makes base images from Debian packages. Every layer is made once and serves all images over it."""

    def __init__(self, *, layers: Layers, runner: StepRunner, pythons: PythonInstaller) -> None:
        self._layers = layers
        self._runner = runner
        self._pythons = pythons

    async def make(self, reference: str, log: BuildLog) -> BuiltImage:
        """The image that stands in for this reference. Raises InvalidRequest when there is none."""
        base = debian_base(parse_reference(reference), await self._pythons.pythons())
        suite = await self._suite(base.suite, log)
        if not base.python:
            return BuiltImage(layers=(suite,), config=ImageConfig(env=_ENV, cmd=("bash",)))
        version, layer = await (self._own_python(suite, base, log) if base.own_python else self._machine_python(suite, base, log))
        env = {**_ENV, "LANG": "C.UTF-8", "PYTHON_VERSION": version}
        return BuiltImage(layers=(suite, layer), config=ImageConfig(env=env, cmd=("python3",)))

    async def _suite(self, suite: str, log: BuildLog) -> LayerId:
        async def make(folder: Path) -> None:
            log.remark(f"Making the base image of Debian {suite}: once on this machine, about half a minute.")
            await _debootstrap(suite, folder)

        return await self._layers.ensure_folder(layer_key("debian", (), suite=suite, recipe=_RECIPE), make)

    async def _machine_python(self, suite: LayerId, base: DebianBase, log: BuildLog) -> tuple[str, LayerId]:
        python = await self._pythons.get(base.python)
        layer = layer_key("debian-python", (suite,), python=python.fingerprint, recipe=_RECIPE)
        try:
            return python.version, await self._layers.ensure(layer, (suite,), lambda bench: self._pythons.install(bench, python, log))
        except StepFailed as failure:
            if OWN_PYTHON[base.suite] == base.python:
                return await self._own_python(suite, base, log)
            msg = f"Python {python.version} of this machine does not run on Debian {base.suite}: choose a newer suite.\n{failure}"
            raise InvalidRequest(msg) from failure

    async def _own_python(self, suite: LayerId, base: DebianBase, log: BuildLog) -> tuple[str, LayerId]:
        async def make(bench: Bench) -> None:
            log.step(f"Adding Debian's own Python {base.python}.")
            command = Command(argv=("/bin/sh", "-c", _OWN_PYTHON), env=_ENV)
            await self._runner.step(bench, command, log, f"Installing Python {base.python}")

        layer = layer_key("debian-own-python", (suite,), recipe=_RECIPE)
        return base.python, await self._layers.ensure(layer, (suite,), make)


async def _debootstrap(suite: str, folder: Path) -> None:
    options = [f"--dpkgopt={option}" for option in _DPKG_OPTIONS]
    argv = (
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--variant=minbase",
        "--format=directory",
        f"--include={_PACKAGES}",
        *options,
        suite,
        str(folder),
    )
    try:
        await run_program(argv, deadline=_DEADLINE)
    except ProgramFailed as failure:
        msg = (
            f"Could not make a base image of Debian {suite}: {failure} It needs mmdebstrap on this machine and a way to Debian's packages."
        )
        raise Unavailable(msg) from failure
    await anyio.to_thread.run_sync(_finish, folder)


def _finish(folder: Path) -> None:
    for name in _OF_THE_MACHINE:
        place = folder / name
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    (folder / "dev").mkdir(mode=0o755)
    (folder / "etc/apt/apt.conf.d/90slim").write_text(_APT_CONFIG)
