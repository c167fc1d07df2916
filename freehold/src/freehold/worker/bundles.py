"""The modal package that a caller uses, as folders laid over any image: made once per version and Python, with bytecode."""

import hashlib
import platform
import shutil
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

import anyio.to_thread
import structlog

import modal_compat.environment
from freehold import container
from freehold.domain.clients import tells_its_task
from freehold.domain.clock import Clock
from freehold.domain.errors import FreeholdError, InvalidRequest
from freehold.domain.ids import LayerId
from freehold.wire.worker import ClientRuntime
from freehold.worker.builds.bench import Benches, Command
from freehold.worker.builds.running import DEFAULT_PATH
from freehold.worker.launch import OWN_PACKAGE
from freehold.worker.locks import KeyedLocks
from freehold.worker.logs import ContainerLog
from freehold.worker.packages import install_packages
from freehold.worker.ports import Bind, Networks, Runtime, Snapshotter
from freehold.worker.servers import install_server, recipe
from freehold.worker.staging import fresh_folder

log = structlog.get_logger(__name__)

WHEELS_FOLDER = "wheels"  # in the engine's home; holds what its owner put there for want of a package index
_RECIPE = 1  # raise when what is done below changes, so that bundles are made anew
_CLIENT = "pkg"  # modal itself, before the image's packages: the caller and the container must agree on it
_DEPENDENCIES = "__modal/deps"  # what modal imports, after the image's packages: the user's versions win
_WEB = "__modal/web"  # FastAPI, likewise
_OLD_FASTAPI = ("fastapi==0.115.0", "pydantic==2.9.2", "anyio==4.6.0")  # newer ones want newer typing_extensions than are there
_CLIENT_PACKAGES = ("modal*", "synchronicity*")
_RETRY = 600.0  # seconds before a server that could not be made is tried again
_TELLING = f"""\
try:
    from {OWN_PACKAGE} import headers
    headers.install()  # this client does not say by itself whose container it is in
except Exception:
    pass
"""
_SITECUSTOMIZE = f'''\
"""Puts modal's dependencies after the image's own packages, then does what the image's own sitecustomize does."""

import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec

sys.path.extend(folder for folder in ("/{_DEPENDENCIES}", "/{_WEB}") if os.path.isdir(folder))
_own = PathFinder.find_spec("sitecustomize", [entry for entry in sys.path if entry != "/{_CLIENT}"])
if _own and _own.loader:
    _own.loader.exec_module(module_from_spec(_own))
'''
# Bytecode is trusted as it is: sources in an image layer have other times than those that were compiled.
_COMPILE = """
for python in python{series} python3 python; do
    if "$python" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "{series}")' 2>/dev/null; then
        "$python" -m compileall -q -j 0 --invalidation-mode unchecked-hash {folder} >/dev/null
        exit 0
    fi
done
exit 1
"""


class Bundles:
    """Implements `Bundles`: folders under `home/bundles`, one per part, version and Python, each made atomically and kept."""

    def __init__(self, *, home: Path, snapshots: Snapshotter, runtime: Runtime, networks: Networks, clock: Clock) -> None:
        self._home = home
        self._root = home / "bundles"
        self._wheels = home / WHEELS_FOLDER
        self._benches = Benches(snapshots=snapshots, runtime=runtime, networks=networks)
        self._clock = clock
        self._locks = KeyedLocks()
        self._given_up: dict[str, float] = {}  # servers that could not be made, and when
        self._own_modules = {path.name: path.read_bytes() for path in sorted(Path(container.__file__).parent.glob("*.py"))}
        self._old_names = modal_compat.environment.sources()

    async def layers_for(self, client: ClientRuntime, image_layers: tuple[LayerId, ...]) -> tuple[Path, ...]:
        if not client.python_series:
            msg = "The image has no Python, so no function can run in it. Start from modal.Image.debian_slim(), or give add_python=."
            raise InvalidRequest(msg)
        own = await self._own(client, image_layers)
        modal = await self._modal(client, image_layers)
        web = (await self._web(client, image_layers),) if client.with_web else ()
        server = await self._server(client, image_layers) if client.with_server else ()
        dependencies = (modal / "dependencies",) if client.with_dependencies else ()
        return (own, *server, modal / "client", *dependencies, *web)

    async def _modal(self, client: ClientRuntime, image_layers: tuple[LayerId, ...]) -> Path:
        told = tells_its_task(client.version)

        async def make(folder: Path) -> None:
            packages = folder / "installed"
            await install_packages(f"modal=={client.version}", client.python_series, packages, wheels=self._wheels)
            await anyio.to_thread.run_sync(partial(_split, packages, folder, tells_by_itself=told))
            await self._compile(client, image_layers, {_CLIENT: folder / "client", _DEPENDENCIES: folder / "dependencies"})

        name = f"modal-{client.version}-{client.python_series}"
        return await self._made(name if told else f"{name}-telling", make)

    async def _own(self, client: ClientRuntime, image_layers: tuple[LayerId, ...]) -> Path:
        """What of ours starts modal's entrypoint, and the names of older SDKs; made anew when their source has changed."""
        packages = {OWN_PACKAGE: self._own_modules, modal_compat.__name__: self._old_names}

        async def make(folder: Path) -> None:
            for name, modules in packages.items():
                await anyio.to_thread.run_sync(_write_package, folder / _CLIENT / name, modules)
            await self._compile(client, image_layers, {_CLIENT: folder})

        return await self._made(f"own-{_digest(packages)}-{client.python_series}", make)

    async def _web(self, client: ClientRuntime, image_layers: tuple[LayerId, ...]) -> Path:
        """What fits the client's requirements, where these are in the image and so come before it."""
        fastapi, *beside = ("fastapi",) if client.with_dependencies else _OLD_FASTAPI

        async def make(folder: Path) -> None:
            await install_packages(fastapi, client.python_series, folder / _WEB, wheels=self._wheels, beside=beside)
            await self._compile(client, image_layers, {_WEB: folder})

        name = "web" if client.with_dependencies else f"web-{_digest(_OLD_FASTAPI)}"
        return await self._made(f"{name}-{client.python_series}", make)

    async def _server(self, client: ClientRuntime, image_layers: tuple[LayerId, ...]) -> tuple[Path, ...]:
        """What serves HTTP. A container without it takes its requests as inputs, so a machine that cannot get it has web functions too."""
        serving = self._own_modules["serving.py"].decode()

        async def make(folder: Path) -> None:
            await install_server(serving, client.python_series, folder / _CLIENT, wheels=self._wheels)
            await self._compile(client, image_layers, {_CLIENT: folder})

        name = f"server-{_digest((recipe(), serving))}-{client.python_series}"
        if self._is_given_up(name):
            return ()
        try:
            return (await self._made(name, make),)
        except (FreeholdError, OSError) as error:
            log.warning("web_functions_without_server", python=client.python_series, reason=str(error))
            self._given_up[name] = self._clock.monotonic()
            return ()

    def _is_given_up(self, name: str) -> bool:
        """For a while: an attempt takes seconds, and each start of a container would wait for it."""
        return self._clock.monotonic() - self._given_up.get(name, -_RETRY) < _RETRY

    async def _made(self, name: str, make: Callable[[Path], Awaitable[None]]) -> Path:
        target = self._root / f"{name}-{platform.machine()}-{_RECIPE}"
        async with self._locks.hold(target.name):
            if not target.exists():
                await self._make(target, make)
        return target

    async def _make(self, target: Path, make: Callable[[Path], Awaitable[None]]) -> None:
        staging = await anyio.to_thread.run_sync(fresh_folder, self._home)
        try:
            await make(staging)
            await anyio.to_thread.run_sync(_open_to_all, staging)
            self._root.mkdir(exist_ok=True)
            staging.rename(target)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(lambda: shutil.rmtree(staging, ignore_errors=True))

    async def _compile(self, client: ClientRuntime, image_layers: tuple[LayerId, ...], parts: Mapping[str, Path]) -> None:
        """With the image's own Python. Without bytecode everything works too, but each start takes 1.3 s longer."""
        for inside, folder in parts.items():
            script = _COMPILE.format(series=client.python_series, folder=f"/{inside}")
            binds = (Bind(source=folder / inside, target=f"/{inside}", read_only=False),)
            command = Command(argv=("/bin/sh", "-c", script), env={"PATH": DEFAULT_PATH}, binds=binds, network=False)
            async with self._benches.over(image_layers) as bench:
                ended = await bench.run(command, ContainerLog(sink=lambda _: None, clock=self._clock))
            if ended.code != 0:
                log.warning("bundle_without_bytecode", folder=str(folder), python=client.python_series)


def _digest(content: object) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


def _write_package(folder: Path, modules: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in modules.items():
        (folder / name).write_bytes(content)


def sitecustomize(*, tells_by_itself: bool) -> str:
    """What every Python in a container runs first. `tells_by_itself` says whether the client reads `MODAL_OVERRIDE_HEADERS`."""
    return _SITECUSTOMIZE if tells_by_itself else _SITECUSTOMIZE.replace("_own = ", f"{_TELLING}_own = ", 1)


def _split(packages: Path, folder: Path, *, tells_by_itself: bool) -> None:
    """Modal's own packages go to one folder, all else to the other."""
    client, dependencies = folder / "client" / _CLIENT, folder / "dependencies" / _DEPENDENCIES
    client.mkdir(parents=True)
    for pattern in _CLIENT_PACKAGES:
        for path in packages.glob(pattern):
            path.rename(client / path.name)
    (client / "sitecustomize.py").write_text(sitecustomize(tells_by_itself=tells_by_itself))
    shutil.rmtree(packages / "bin", ignore_errors=True)
    dependencies.parent.mkdir(parents=True)
    packages.rename(dependencies)


def _open_to_all(folder: Path) -> None:
    """Whatever the umask: a container's user may be anyone."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o444))
